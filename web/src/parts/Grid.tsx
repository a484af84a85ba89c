import { useCallback, useEffect, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import { useVirtualizer } from "@tanstack/react-virtual";

const ROW = 30;

export interface Column<T> {
  key: string;
  title: string;
  /** As a track of CSS grid. */
  width: string;
  cell: (row: T) => ReactNode;
  number?: boolean;
}

interface Props<T> {
  label: string;
  rows: T[];
  id: (row: T) => string | number;
  columns: Column<T>[];
  open: (row: T) => void;
  /** Told when the end comes near. */
  more: (() => void) | null;
  /** Told when the first row comes into or goes out of sight. */
  top: (isTop: boolean) => void;
  className?: (row: T) => string;
}

/** A table of any length: only what is seen is drawn. Arrow keys, Page, Home and End move; Enter opens. */
export function Grid<T>({ label, rows, id, columns, open, more, top, className }: Props<T>) {
  const place = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState(0);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => place.current,
    estimateSize: () => ROW,
    overscan: 12,
    getItemKey: (index) => {
      const row = rows[index];
      return row === undefined ? index : id(row);
    },
  });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && rows.length > 0 && last >= rows.length - 40) more();
  }, [last, more, rows.length]);
  const isTop = (virtual.scrollOffset ?? 0) < ROW;
  useEffect(() => top(isTop), [isTop, top]);

  const move = useCallback(
    (to: number) => {
      const next = Math.max(0, Math.min(rows.length - 1, to));
      setAt(next);
      virtual.scrollToIndex(next);
    },
    [rows.length, virtual],
  );
  const key = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor((place.current?.clientHeight ?? 300) / ROW) - 2);
    const moves: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: rows.length - 1 };
    const to = moves[event.key];
    const row = rows[at];
    if (to !== undefined) move(to);
    else if (event.key === "Enter" && row !== undefined) open(row);
    else return;
    event.preventDefault();
  };
  const tracks = { gridTemplateColumns: columns.map((column) => column.width).join(" ") };
  const shown = items.some((item) => item.index === at);
  return (
    <div
      ref={place}
      className="grid"
      role="grid"
      aria-label={label}
      aria-rowcount={rows.length + 1}
      aria-colcount={columns.length}
      aria-activedescendant={shown ? `row-${at}` : undefined}
      tabIndex={0}
      onKeyDown={key}
    >
      <div role="rowgroup" className="grid-head">
        <div role="row" aria-rowindex={1} className="grid-row" style={tracks}>
          {columns.map((column) => (
            <div key={column.key} role="columnheader" className={column.number ? "number" : undefined}>
              {column.title}
            </div>
          ))}
        </div>
      </div>
      <div role="rowgroup" className="grid-body" style={{ height: virtual.getTotalSize() }}>
        {items.map((item) => {
          const row = rows[item.index];
          if (row === undefined) return null;
          return (
            <div
              key={item.key}
              id={`row-${item.index}`}
              role="row"
              aria-rowindex={item.index + 2}
              aria-selected={item.index === at}
              className={`grid-row ${className?.(row) ?? ""} ${item.index === at ? "at" : ""}`}
              style={{ ...tracks, transform: `translateY(${item.start}px)` }}
              onClick={() => {
                setAt(item.index);
                open(row);
              }}
            >
              {columns.map((column) => (
                <div key={column.key} role="gridcell" className={column.number ? "number" : undefined}>
                  {column.cell(row)}
                </div>
              ))}
            </div>
          );
        })}
      </div>
    </div>
  );
}
