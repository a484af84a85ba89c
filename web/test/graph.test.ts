import { describe, expect, it } from "vitest";
import { CROWDED, hasOthers, MOST_EDGES, newStandsOut, picture, width } from "../src/lib/graph";
import type { Graph, GraphEdge } from "../src/lib/types";
import { asFilter } from "../src/pages/Map";

const NOBODY: Graph = { nodes: [], edges: [], truncated: false, pairs: 0, left_out: 0, is_folded: false };

function edge(source: string, destination: string, more: Partial<GraphEdge> = {}): GraphEdge {
  return { source, destination, ports: ["443/TCP"], allowed: 1, denied: 0, bytes_sent: 10, bytes_received: 5, first_seen: "", last_seen: "", is_new: false, ...more };
}
function graph(workloads: number, edges: GraphEdge[]): Graph {
  const nodes = Array.from({ length: workloads }, (_, n) => ({ id: `ns${n % 4}/Deployment/w${n}`, kind: "workload" as const, namespace: `ns${n % 4}`, label: `w${n}` }));
  return { ...NOBODY, nodes, edges };
}

describe("the map's picture", () => {
  it("shows between clusters who of one met whom of another, each cluster as a box", () => {
    const west = { id: "ml@west/Job/train", kind: "workload" as const, namespace: "ml@west", label: "train" };
    const outside = { id: "api.example", kind: "external" as const, label: "api.example" };
    const edges = [edge("ns0/Deployment/w0", west.id), edge("ns0/Deployment/w0", "ns1/Deployment/w1"), edge("ns1/Deployment/w1", outside.id)];
    const whole = { ...graph(4, edges), nodes: [...graph(4, []).nodes, west, outside] };
    expect(hasOthers(whole) && !hasOthers(graph(4, edges))).toBe(true);
    const found = picture(whole, new Set(), true);
    expect(found.boxes.map((box) => [box.id, box.title, box.nodes.map((node) => node.id)])).toEqual([
      ["c:", "this cluster", ["ns0/Deployment/w0"]], ["c:west", "cluster west", ["ml@west/Job/train"]],
    ]);
    expect(found.lines.map((line) => [line.source, line.destination])).toEqual([["ns0/Deployment/w0", "ml@west/Job/train"]]);
    expect(asFilter("c:west", found)).toBeNull();
    expect(picture(whole, new Set()).boxes.map((box) => box.title)).toContain("ml@west");
  });

  it("shows each workload where there are few", () => {
    const found = picture(graph(8, [edge("ns0/Deployment/w0", "ns1/Deployment/w1")]), new Set());
    expect(found.boxes.map((box) => [box.title, box.folded, box.nodes.length])).toEqual([["ns0", false, 2], ["ns1", false, 2], ["ns2", false, 2], ["ns3", false, 2]]);
    expect(found.lines[0]).toMatchObject({ source: "ns0/Deployment/w0", destination: "ns1/Deployment/w1", bytes: 15 });
  });

  it("folds namespaces where they are a crowd, and sums up their edges", () => {
    const edges = [edge("ns0/Deployment/w0", "ns1/Deployment/w1"), edge("ns0/Deployment/w4", "ns1/Deployment/w5", { denied: 2, allowed: 0 })];
    const found = picture(graph(CROWDED + 1, edges), new Set());
    expect(found.boxes.every((box) => box.folded)).toBe(true);
    expect(found.lines).toHaveLength(1);
    expect(found.lines[0]).toMatchObject({ source: "n:ns0", destination: "n:ns1", allowed: 1, denied: 2, edges: 2 });
  });

  it("opens in a crowd only what somebody opens", () => {
    const found = picture(graph(CROWDED + 1, []), new Set(["n:ns2"]));
    expect(found.boxes.filter((box) => !box.folded).map((box) => box.title)).toEqual(["ns2"]);
  });

  it("groups outside names by their registrable domain", () => {
    const nodes = ["a.cdn.example", "b.cdn.example"].map((id) => ({ id, kind: "external" as const, group: "cdn.example", label: id }));
    const found = picture({ ...NOBODY, nodes, edges: [edge("a.cdn.example", "b.cdn.example")] }, new Set());
    expect(found.boxes).toMatchObject([{ title: "cdn.example", folded: true }]);
    expect(found.lines).toEqual([]);
  });

  it("draws the denied and the new first where there is no room for all, and says how many are left", () => {
    const many = Array.from({ length: MOST_EDGES + 3 }, (_, n) => edge("ns0/Deployment/w0", `o${n}.example`));
    const nodes = many.map((it) => ({ id: it.destination, kind: "external" as const, label: it.destination }));
    const last = many.at(-1);
    if (last) Object.assign(last, { denied: 1, allowed: 0 });
    const found = picture({ ...NOBODY, nodes: [...graph(1, []).nodes, ...nodes], edges: many }, new Set());
    expect(found.lines).toHaveLength(MOST_EDGES);
    expect(found.left).toBe(3);
    expect(found.lines[0]?.denied).toBe(1);
  });

  it("marks what is new only beside what is not", () => {
    const all = [edge("ns0/Deployment/w0", "ns1/Deployment/w1"), edge("ns1/Deployment/w1", "ns0/Deployment/w0")];
    const of = (fresh: boolean[]) => newStandsOut(picture({ ...graph(2, []), edges: all.map((it, n) => ({ ...it, is_new: fresh[n] ?? false })) }, new Set()));
    expect(of([true, false])).toBe(true);
    expect(of([true, true])).toBe(false);
  });

  it("shows what the server put together as boxes, and beside them whom somebody opened", () => {
    const ai = { id: "n:ai", kind: "workload" as const, namespace: "ai", label: "ai", members: 431 };
    const outside = { id: "e:cdn.example", kind: "external" as const, group: "cdn.example", label: "cdn.example", members: 2000 };
    const opened = { id: "data/Pod/a", kind: "workload" as const, namespace: "data", label: "a" };
    const edges = [edge("n:ai", "e:cdn.example"), edge("n:ai", "n:ai"), edge("data/Pod/a", "n:ai"), edge("data/Pod/a", "data/Pod/a")];
    const found = picture({ ...NOBODY, is_folded: true, nodes: [ai, outside, opened], edges }, new Set(["n:data"]));
    expect(found.boxes.map((box) => [box.id, box.folded, box.size])).toEqual([["n:data", false, 1], ["n:ai", true, 431], ["e:cdn.example", true, 2000]]);
    expect(found.lines.map((line) => [line.source, line.destination])).toEqual([["n:ai", "e:cdn.example"], ["data/Pod/a", "n:ai"], ["data/Pod/a", "data/Pod/a"]]);
    expect([asFilter("n:ai", found), asFilter("data/Pod/a", found), asFilter("e:cdn.example", found)]).toEqual(["ai/*", "data/Pod/a", null]);
  });

  it("ignores edges to nodes that it was not told of", () => {
    expect(picture(graph(1, [edge("ns0/Deployment/w0", "gone")]), new Set()).lines).toEqual([]);
  });

  it("widens lines by tenfolds, within bounds", () => {
    expect(width(0)).toBeLessThan(width(1e6));
    expect(width(1e300)).toBeLessThan(9);
  });
});
