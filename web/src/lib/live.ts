// Records as they come, by server-sent events. Bounded: what is shown is the newest, what is dropped is counted.

import { useEffect, useRef, useState } from "react";
import { apiAddress, type Query } from "./api";
import type { LedgerRecord } from "./types";

/** Most records that are kept of the live stream. */
export const MOST = 5000;
/** How often what came is shown, in milliseconds: hundreds a second are one picture each quarter of it. */
const PACE = 250;

/** What came, the newest first. */
export interface Live {
  records: LedgerRecord[];
  /** That the server could not keep for this reader. */
  lost: number;
  /** That came and are no longer kept here. */
  dropped: number;
  state: "off" | "connecting" | "live" | "reconnecting";
}

/** Of no stream. */
export const ENDED: Live = { records: [], lost: 0, dropped: 0, state: "off" };

/** Puts what came before what is there, each number once, at most `most`. */
export function joined(came: LedgerRecord[], there: LedgerRecord[], most: number): { records: LedgerRecord[]; dropped: number } {
  const numbers = new Set<number>();
  const records: LedgerRecord[] = [];
  for (const record of [...came].reverse().concat(there)) {
    if (numbers.has(record.number)) continue;
    numbers.add(record.number);
    records.push(record);
  }
  records.sort((a, b) => b.number - a.number);
  const dropped = Math.max(0, records.length - most);
  return { records: dropped ? records.slice(0, most) : records, dropped };
}

/** After which time a stream that the server ended for good is asked for anew. */
const AGAIN = 3000;

/**
 * Follows the stream behind the record with number `from` while `on`, without a gap; begins anew when the question changes, or `of`. Where
 * that is too far back for the stream, `behind` is told: what lies between is to be asked for otherwise.
 */
export function useLive(query: Query, of: string, on: boolean, from: number, behind: () => void): Live {
  const [live, setLive] = useState<Live>(ENDED);
  const address = apiAddress("records/stream", query);
  const waiting = useRef<LedgerRecord[]>([]);
  const last = useRef({ address: "", of: "", number: 0 });
  const before = useRef({ from, behind });
  before.current = { from, behind };
  useEffect(() => {
    if (!on) {
      setLive((old) => ({ ...old, state: "off" }));
      return;
    }
    waiting.current = [];
    // Whoever paused goes on where they were.
    if (last.current.address === address && last.current.of === of) setLive((old) => ({ ...old, state: "connecting" }));
    else {
      last.current = { address, of, number: 0 };
      setLive({ ...ENDED, state: "connecting" });
    }
    let source: EventSource | null = null;
    let again = 0;
    const open = () => {
      // A browser joins a stream that broke by itself, from the last number on; one that was refused it leaves.
      const newest = Math.max(last.current.number, before.current.from);
      let isFirst = true;
      source = new EventSource(newest > 0 ? `${address}${address.includes("?") ? "&" : "?"}after=${newest}` : address);
      source.addEventListener("open", () => setLive((old) => ({ ...old, state: "live" })));
      source.addEventListener("error", () => {
        setLive((old) => ({ ...old, state: "reconnecting" }));
        if (source?.readyState !== EventSource.CLOSED) return;
        window.clearTimeout(again);
        again = window.setTimeout(open, AGAIN);
      });
      source.addEventListener("record", (event) => {
        try {
          const record = JSON.parse((event as MessageEvent<string>).data) as LedgerRecord;
          if (typeof record.number === "number") {
            isFirst = false;
            waiting.current.push(record);
            last.current.number = Math.max(last.current.number, record.number);
          }
        } catch {
          setLive((old) => ({ ...old, lost: old.lost + 1 }));
        }
        // A page in the background is not drawn: it holds no more than it would show.
        if (waiting.current.length > MOST * 2) {
          const left = waiting.current.length - MOST;
          waiting.current = waiting.current.slice(-MOST);
          setLive((old) => ({ ...old, dropped: old.dropped + left }));
        }
      });
      source.addEventListener("lost", (event) => {
        const { records } = JSON.parse((event as MessageEvent<string>).data) as { records: number };
        // Before the first record it is about what the stream did not go back to.
        if (isFirst) before.current.behind();
        else setLive((old) => ({ ...old, lost: old.lost + records }));
      });
    };
    open();
    const timer = window.setInterval(() => {
      if (waiting.current.length === 0) return;
      const came = waiting.current;
      waiting.current = [];
      setLive((old) => {
        const { records, dropped } = joined(came, old.records, MOST);
        return { ...old, records, dropped: old.dropped + dropped };
      });
    }, PACE);
    return () => {
      source?.close();
      window.clearTimeout(again);
      window.clearInterval(timer);
    };
  }, [address, of, on]);
  return live;
}
