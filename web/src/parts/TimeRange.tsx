import { useState } from "react";
import { DEFAULT_RANGE, go, RANGES, timespan, useRoute } from "../lib/route";
import { ZONE } from "../lib/format";

const NAMES: Record<string, string> = {
  "5m": "last 5 minutes",
  "15m": "last 15 minutes",
  "1h": "last hour",
  "6h": "last 6 hours",
  "24h": "last 24 hours",
  "7d": "last 7 days",
  "30d": "last 30 days",
};

/** As `datetime-local` wants it: local, without a zone. */
function local(time: number): string {
  const at = new Date(time - new Date(time).getTimezoneOffset() * 60_000);
  return at.toISOString().slice(0, 19);
}

/** The one time range that all pages go by. */
export function TimeRange() {
  const { page, params } = useRoute();
  const [now] = useState(() => Date.now());
  const span = timespan(params, now);
  const exact = span.relative === null;
  const set = (field: "since" | "until", value: string) => {
    const time = new Date(value);
    if (!Number.isNaN(time.getTime())) go(page, { range: null, [field]: time.toISOString() }, true);
  };
  const choose = (value: string) => {
    if (value === "exact") {
      const at = Date.now();
      go(page, { range: null, since: new Date(timespan(params, at).since).toISOString(), until: new Date(at).toISOString() });
    } else go(page, { range: value === DEFAULT_RANGE ? null : value, since: null, until: null });
  };
  return (
    <div className="time-range" role="group" aria-label={`Time range, in your zone ${ZONE}`}>
      <select aria-label="Time range" value={span.relative ?? "exact"} onChange={(event) => choose(event.target.value)}>
        {Object.keys(RANGES).map((range) => (
          <option key={range} value={range}>
            {NAMES[range]}
          </option>
        ))}
        <option value="exact">from … to …</option>
      </select>
      {exact && (
        <>
          <input type="datetime-local" step="1" aria-label="From" value={local(span.since)} onChange={(event) => set("since", event.target.value)} />
          <input
            type="datetime-local"
            step="1"
            aria-label="To"
            value={span.until === null ? "" : local(span.until)}
            onChange={(event) => set("until", event.target.value)}
          />
        </>
      )}
    </div>
  );
}
