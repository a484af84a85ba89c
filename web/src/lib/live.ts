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

const NOTHING: Live = { records: [], lost: 0, dropped: 0, state: "off" };

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

/** Follows the stream while `on`; begins anew when the question changes. */
export function useLive(query: Query, on: boolean): Live {
  const [live, setLive] = useState<Live>(NOTHING);
  const address = apiAddress("records/stream", query);
  const waiting = useRef<LedgerRecord[]>([]);
  useEffect(() => {
    if (!on) {
      setLive((old) => ({ ...old, state: "off" }));
      return;
    }
    waiting.current = [];
    setLive({ ...NOTHING, state: "connecting" });
    const source = new EventSource(address);
    source.addEventListener("open", () => setLive((old) => ({ ...old, state: "live" })));
    source.addEventListener("error", () => setLive((old) => ({ ...old, state: "reconnecting" })));
    source.addEventListener("record", (event) => {
      try {
        const record = JSON.parse((event as MessageEvent<string>).data) as LedgerRecord;
        if (typeof record.number === "number") waiting.current.push(record);
      } catch {
        setLive((old) => ({ ...old, lost: old.lost + 1 }));
      }
      // A page in the background is not drawn: it holds no more than it would show.
      if (waiting.current.length > MOST * 2) waiting.current = waiting.current.slice(-MOST);
    });
    source.addEventListener("lost", (event) => {
      const { records } = JSON.parse((event as MessageEvent<string>).data) as { records: number };
      setLive((old) => ({ ...old, lost: old.lost + records }));
    });
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
      source.close();
      window.clearInterval(timer);
    };
  }, [address, on]);
  return live;
}
