import { useEffect, useState } from "react";
import { moment } from "../lib/format";
import { go, timespan } from "../lib/route";

/** How much before the moment is shown, and its seconds; 0: all from the beginning of the time range on. */
export const WINDOWS: Record<string, [string, number]> = {
  "1m": ["the minute before", 60],
  "5m": ["the 5 minutes before", 300],
  "1h": ["the hour before", 3600],
  all: ["all up to then", 0],
};
/** Steps of a time range. */
const STEPS = 60;
/** Places of the slider, which is finer. */
const NOTCHES = 4 * STEPS;
/** How long one step is shown while it plays, in milliseconds. */
const PACE = 900;

/** The time that the map shows, in milliseconds, where an address names a moment; within its time range. */
export function travelled(params: URLSearchParams, now: number): { since: number; until: number } | null {
  const at = Date.parse(params.get("moment") ?? "");
  if (Number.isNaN(at)) return null;
  const span = timespan(params, now);
  const until = Math.min(Math.max(at, span.since), span.until ?? now);
  const [, seconds] = WINDOWS[windowOf(params)] ?? ["", 0];
  return { since: seconds === 0 ? span.since : Math.max(span.since, until - seconds * 1000), until };
}

/** How much before the moment is shown: as the address says, else about a twelfth of the time range. */
export function windowOf(params: URLSearchParams): string {
  const asked = params.get("window");
  if (asked !== null && Object.hasOwn(WINDOWS, asked)) return asked;
  const span = timespan(params, 0);
  const seconds = ((span.until ?? 0) - span.since) / 1000;
  return seconds <= 900 ? "1m" : seconds <= 21_600 ? "5m" : "1h";
}

/** The same moment one step on or back; null behind the end, which is now. */
export function stepped(at: number, by: number, span: { since: number; until: number }): number | null {
  const next = at + (by * (span.until - span.since)) / STEPS;
  return next >= span.until ? null : Math.max(span.since, next);
}

/** Moves the map through its time range. The moment is in the address. */
export function Travel({ params }: { params: URLSearchParams }) {
  const [plays, setPlays] = useState(false);
  // While somebody travels, the range does not slide away under them.
  const [now] = useState(() => Date.now());
  const whole = timespan(params, now);
  const span = { since: whole.since, until: whole.until ?? now };
  const shown = travelled(params, now);
  const at = shown?.until ?? span.until;
  const to = (time: number | null) => go("map", { moment: time === null ? null : new Date(Math.round(time)).toISOString(), at: null }, true);
  useEffect(() => {
    if (!plays) return;
    const timer = window.setTimeout(() => {
      const next = stepped(at, 1, span);
      to(next);
      if (next === null) setPlays(false);
    }, PACE);
    return () => window.clearTimeout(timer);
  });
  const play = () => {
    if (!plays && shown === null) to(span.since + (span.until - span.since) / STEPS);
    setPlays(!plays);
  };
  return (
    <div className="travel" role="group" aria-label="Time travel">
      <button type="button" aria-pressed={plays} onClick={play} aria-label={plays ? "Pause" : "Play"}>
        {plays ? "❚❚" : "▶"}
      </button>
      <button type="button" onClick={() => to(stepped(at, -1, span) ?? span.since)} aria-label="Step back">
        ‹
      </button>
      <input
        type="range"
        aria-label="Moment"
        min={0}
        max={NOTCHES}
        value={Math.round(((at - span.since) / (span.until - span.since)) * NOTCHES)}
        aria-valuetext={shown ? moment(new Date(at).toISOString()) : "now"}
        onChange={(event) => {
          setPlays(false);
          const notch = Number(event.target.value);
          to(notch >= NOTCHES ? null : span.since + (notch / NOTCHES) * (span.until - span.since));
        }}
      />
      <button type="button" onClick={() => to(stepped(at, 1, span))} aria-label="Step on" disabled={shown === null}>
        ›
      </button>
      {shown ? (
        <>
          <strong>{moment(new Date(shown.until).toISOString())}</strong>
          <select aria-label="How much before it" value={windowOf(params)} onChange={(event) => go("map", { window: event.target.value }, true)}>
            {Object.entries(WINDOWS).map(([key, [name]]) => (
              <option key={key} value={key}>
                {name}
              </option>
            ))}
          </select>
          <button type="button" onClick={() => { setPlays(false); to(null); }}>
            Back to now
          </button>
        </>
      ) : (
        <span className="muted">{whole.until === null ? "now" : "the whole time"}: drag, step or play to see how it came to be</span>
      )}
    </div>
  );
}
