import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { count } from "../lib/format";
import type { Series } from "../lib/types";

const COLORS: Record<string, string> = { allow: "--allow", deny: "--deny", fail: "--fail", none: "--muted" };
const HEIGHT = 104;
/** From the bottom up: what was not let through stands on the ground, where it is seen beside much that was. */
const ORDER = ["deny", "fail", "none", "allow"];
const level = (name: string) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const SECOND = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "2-digit", hour: "2-digit", minute: "2-digit" });

function color(name: string, of: Element): string {
  return getComputedStyle(of).getPropertyValue(COLORS[name] ?? "--accent").trim() || "#888";
}

/** What a chart shows, for those who do not see it. */
export function told(series: Series): string {
  const sums = series.series.map((one) => `${one.name} ${count(one.values.reduce((sum, value) => sum + value, 0))}`);
  return sums.length ? `Over time: ${sums.join(", ")}` : "Nothing in this time";
}

/** Bars over time, one colour a verdict; dragging chooses a time. */
export function Chart({ series, choose, theme }: { series: Series; choose: (since: number, until: number) => void; theme: string }) {
  const place = useRef<HTMLDivElement>(null);
  const chosen = useRef(choose);
  chosen.current = choose;
  useEffect(() => {
    const element = place.current;
    const stacked = [...series.series].sort((a, b) => level(a.name) - level(b.name));
    const length = Math.max(0, ...stacked.map((one) => one.values.length));
    if (!element || length === 0) return;
    const start = Date.parse(series.start) / 1000;
    const times = Array.from({ length }, (_, index) => start + index * series.step);
    // Stacked from the top: the last one is drawn first and is the sum of all.
    const sums: number[][] = [];
    for (const one of stacked) {
      const below = sums.at(-1);
      sums.push(times.map((_, index) => (one.values[index] ?? 0) + (below?.[index] ?? 0)));
    }
    const order = stacked.map((_, index) => stacked.length - 1 - index);
    const muted = color("none", element);
    const line = getComputedStyle(element).getPropertyValue("--line").trim();
    const axis = { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px system-ui" };
    const format = length * series.step > 129_600 ? DAY : series.step < 15 ? SECOND : HOUR;
    const bars = uPlot.paths.bars?.({ size: [0.9, 40] });
    const options: uPlot.Options = {
      width: Math.max(200, element.clientWidth),
      height: HEIGHT,
      padding: [6, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false } },
      scales: { y: { range: (_self, _min, max) => [0, Math.max(1, max)] } },
      axes: [{ ...axis, size: 30, values: (_self, splits) => splits.map((it) => format.format(it * 1000)) }, { ...axis, size: 44, splits: (_self, _axis, _min, max) => [0, max / 2, max], values: (_self, splits) => splits.map((it) => (Number.isInteger(it) ? String(it) : "")) }],
      series: [
        {},
        ...order.map((index) => {
          const name = stacked[index]?.name ?? "";
          return { label: name, fill: color(name, element), alpha: name === "allow" ? 0.55 : 1, width: 0, points: { show: false }, ...(bars ? { paths: bars } : {}) };
        }),
      ],
      hooks: {
        setSelect: [
          (self) => {
            if (self.select.width < 4) return;
            chosen.current(self.posToVal(self.select.left, "x") * 1000, self.posToVal(self.select.left + self.select.width, "x") * 1000);
          },
        ],
      },
    };
    const plot = new uPlot(options, [times, ...order.map((index) => sums[index] ?? [])] as uPlot.AlignedData, element);
    const watch = new ResizeObserver(() => plot.setSize({ width: Math.max(200, element.clientWidth), height: HEIGHT }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      plot.destroy();
    };
  }, [series, theme]);
  return <div className="chart" ref={place} role="img" aria-label={told(series)} />;
}
