import { describe, expect, it } from "vitest";
import { picture } from "../src/lib/graph";
import type { Graph, GraphEdge } from "../src/lib/types";
import { among, matching } from "../src/pages/Map";
import { stepped, travelled, windowOf } from "../src/pages/Travel";

const NOW = Date.parse("2026-11-26T12:00:00Z");
const HOUR = 3_600_000;
const of = (text: string) => new URLSearchParams(text);

describe("time travel", () => {
  it("is off without a moment, and with one that is none", () => {
    for (const text of ["", "moment=", "moment=yesterday", "moment=%3Cb%3E"]) expect(travelled(of(text), NOW)).toBeNull();
  });
  it("shows what was a while before the moment, within the time range", () => {
    expect(travelled(of("moment=2026-11-26T11:30:00Z&window=5m"), NOW)).toEqual({ since: NOW - HOUR / 2 - 300_000, until: NOW - HOUR / 2 });
    expect(travelled(of("moment=2026-11-26T11:30:00Z&window=all"), NOW)).toEqual({ since: NOW - HOUR, until: NOW - HOUR / 2 });
    expect(travelled(of("moment=2026-11-26T11:02:00Z&window=5m"), NOW)?.since).toBe(NOW - HOUR);
    expect(travelled(of("moment=2020-01-01T00:00:00Z"), NOW)).toEqual({ since: NOW - HOUR, until: NOW - HOUR });
    expect(travelled(of("moment=2036-01-01T00:00:00Z"), NOW)?.until).toBe(NOW);
  });
  it("looks back by the length of the range, or as the address says", () => {
    expect(["range=5m", "", "range=24h", "range=24h&window=1m", "window=constructor"].map((text) => windowOf(of(text)))).toEqual(["1m", "5m", "1h", "1m", "5m"]);
  });
  it("steps within its range and ends at now", () => {
    const span = { since: NOW - HOUR, until: NOW };
    expect(stepped(NOW - HOUR / 2, 1, span)).toBe(NOW - HOUR / 2 + HOUR / 60);
    expect(stepped(NOW - HOUR, -1, span)).toBe(NOW - HOUR);
    expect(stepped(NOW - 1, 1, span)).toBeNull();
  });
});

describe("the map", () => {
  const edge = (source: string, destination: string): GraphEdge => ({ source, destination, ports: [], allowed: 1, denied: 0, bytes_sent: 0, bytes_received: 0, first_seen: "", last_seen: "", is_new: false });
  const node = (id: string) => ({ id, kind: "workload" as const, namespace: id.split("/")[0], label: id });
  const whole: Graph = { nodes: ["a/Deployment/x", "a/Deployment/y", "b/Job/z"].map(node), edges: [edge("a/Deployment/x", "b/Job/z"), edge("a/Deployment/y", "b/Job/z")], truncated: false, pairs: 0, left_out: 0, is_folded: false };

  it("keeps everybody and shows only the lines of the moment", () => {
    const then: Graph = { nodes: [node("a/Deployment/x"), node("c/Job/gone")], edges: [edge("a/Deployment/x", "c/Job/gone")], truncated: true, pairs: 0, left_out: 0, is_folded: false };
    const shown = among(whole, then);
    expect(shown.nodes.map((it) => it.id)).toEqual(["a/Deployment/x", "a/Deployment/y", "b/Job/z", "c/Job/gone"]);
    expect([shown.edges, shown.truncated]).toEqual([then.edges, true]);
  });
  it("puts those of a moment into the boxes that the whole time has for them", () => {
    const box = (id: string, kind: "workload" | "external", label: string) => ({ id, kind, label, members: 5, ...(kind === "workload" ? { namespace: label } : { group: label }) });
    const folded: Graph = { ...whole, is_folded: true, nodes: [box("n:a", "workload", "a"), box("e:(addresses)", "external", "(addresses)"), box("e:(others)", "external", "(others)")], edges: [] };
    const outside = (id: string, group?: string) => ({ id, kind: "external" as const, label: id, ...(group ? { group } : {}) });
    const then: Graph = { ...whole, nodes: [node("a/Deployment/x"), outside("10.0.0.1"), outside("x.new.example", "new.example")], edges: [edge("a/Deployment/x", "10.0.0.1"), edge("a/Deployment/x", "x.new.example")] };
    const shown = among(folded, then);
    expect(shown.nodes.map((it) => it.id)).toEqual(["n:a", "e:(addresses)", "e:(others)"]);
    expect(shown.edges.map((it) => [it.source, it.destination])).toEqual([["n:a", "e:(addresses)"], ["n:a", "e:(others)"]]);
    expect(picture(shown, new Set()).lines).toHaveLength(2);
  });
  it("finds by any part of a name, in either case, and folded boxes by what is in them", () => {
    const open = picture(whole, new Set());
    expect(matching(open, " DEPLOYMENT/x")).toEqual(["a/Deployment/x"]);
    expect(matching(picture(whole, new Set(["n:a"])), "deployment/x")).toEqual(["n:a"]);
    expect([matching(open, ""), matching(open, "(.*)")]).toEqual([[], []]);
  });
});
