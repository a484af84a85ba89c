import { useEffect, useRef, useState } from "react";
import { clock } from "../lib/format";
import { go, useRoute } from "../lib/route";
import type { TimelineItem } from "../lib/types";
import { printable } from "../lib/text";
import { VerdictBadge } from "../parts/Badge";
import { Name } from "../parts/Name";

const LANES: [string[], string][] = [
  [["finding"], "findings"],
  [["ai_call"], "API calls"],
  [["flow", "tls"], "connections"],
  [["dns"], "DNS"],
  [["audit"], "actions"],
];
/** Where kinds of a later version are. */
const OTHERS = "others";
const KNOWN = new Set(LANES.flatMap(([kinds]) => kinds));
const SHORT: Record<string, string> = { finding: "finding", ai_call: "call", flow: "flow", tls: "tls", dns: "dns", audit: "action" };
const HIGH = 26;
const LEFT = 86;

/** All kinds on one axis of time: where things came together is seen at once. */
function Axis({ items }: { items: TimelineItem[] }) {
  const { page } = useRoute();
  const place = useRef<HTMLDivElement>(null);
  const [wide, setWide] = useState(640);
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const watch = new ResizeObserver(() => setWide(Math.max(240, element.clientWidth)));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  const times = items.map((item) => Date.parse(item.time)).filter((time) => !Number.isNaN(time));
  const first = times.reduce((least, time) => Math.min(least, time), Infinity);
  const last = times.reduce((most, time) => Math.max(most, time), -Infinity);
  const long = Math.max(1, last - first);
  const others = [...new Set(items.map((item) => item.kind).filter((kind) => !KNOWN.has(kind)))];
  const lanes = [...LANES, [others, OTHERS] as [string[], string]].filter(([kinds]) => items.some((item) => kinds.includes(item.kind)));
  const x = (time: string) => LEFT + 10 + ((Date.parse(time) - first) / long) * (wide - LEFT - 24);
  const now = new Date();
  const high = lanes.length * HIGH + 22;
  return (
    <div ref={place} className="axis-place">
    <svg className="axis" width={wide} height={high} role="img" aria-label={`${items.length} events from ${new Date(first).toLocaleString()} to ${new Date(last).toLocaleString()}; each one is in the list below`}>
      {lanes.map(([kinds, name], lane) => (
        <g key={name}>
          <line x1={LEFT} x2={wide - 4} y1={lane * HIGH + HIGH / 2} y2={lane * HIGH + HIGH / 2} className="lane" />
          <text x={0} y={lane * HIGH + HIGH / 2 + 4} className="lane-name">
            {name}
          </text>
          {items
            .filter((item) => kinds.includes(item.kind) && !Number.isNaN(Date.parse(item.time)))
            .map((item, index) => (
              <circle
                key={`${item.number} ${index}`}
                cx={x(item.time)}
                cy={lane * HIGH + HIGH / 2}
                r={item.kind === "finding" ? 7 : 5}
                className={`event e-${item.kind === "finding" ? "finding" : item.kind === "audit" ? "audit" : /^\w+$/.test(item.verdict) ? item.verdict : "none"}`}
                onClick={() => go(page, { open: String(item.number) })}
              />
            ))}
        </g>
      ))}
      <text x={LEFT} y={high - 4} className="lane-name">
        {clock(new Date(first).toISOString(), now)}
      </text>
      <text x={wide - 4} y={high - 4} textAnchor="end" className="lane-name">
        {clock(new Date(last).toISOString(), now)}
      </text>
    </svg>
    </div>
  );
}

export function Timeline({ items, truncated }: { items: TimelineItem[]; truncated: boolean }) {
  const { page } = useRoute();
  const now = new Date();
  if (items.length === 0) return <p className="muted">Nothing of it is in the ledger any more.</p>;
  return (
    <>
      <Axis items={items} />
      {truncated && <p className="notice">There is more than is shown: allowed connections were left out first. The evidence has all of it.</p>}
      <ol className="timeline" tabIndex={0} aria-label="Timeline">
        {items.map((item, index) => (
          <li key={`${item.number} ${index}`} className={`t-${item.kind}`}>
            <button type="button" className="row-button" onClick={() => go(page, { open: String(item.number) })}>
              <time dateTime={item.time} className="muted">
                {clock(item.time, now)}
              </time>
              <span className="kind">{SHORT[item.kind] ?? printable(item.kind)}</span>
              {item.verdict !== "none" && <VerdictBadge verdict={item.verdict} />}
              <Name text={item.sentence || `${item.source} → ${item.destination}`} wrap />
            </button>
          </li>
        ))}
      </ol>
    </>
  );
}
