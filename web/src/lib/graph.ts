// What the map draws of a graph: namespaces, groups of external names and providers as boxes, open or folded; never more than
// people can look at.

import type { Graph, GraphEdge, GraphNode } from "./types";

/** Above so many nodes, boxes fold by themselves. */
export const CROWDED = 200;
/** Most edges that are drawn; the strongest, and all denied ones before them. */
export const MOST_EDGES = 5000;

export interface Box {
  id: string;
  title: string;
  kind: "namespace" | "external" | "provider" | "node";
  nodes: GraphNode[];
  /** How many there are: more than are in `nodes` where the server put them together. */
  size: number;
  folded: boolean;
}

export interface Line {
  id: string;
  source: string;
  destination: string;
  allowed: number;
  denied: number;
  bytes: number;
  isNew: boolean;
  ports: string[];
  /** How many edges of the graph it stands for. */
  edges: number;
}

export interface Picture {
  boxes: Box[];
  lines: Line[];
  /** Of the lines, those that found no room. */
  left: number;
}

/** The box of a node. */
export function boxOf(node: GraphNode): { id: string; title: string; kind: Box["kind"] } {
  switch (node.kind) {
    case "workload": {
      const namespace = node.namespace ?? (node.id.includes("/") ? node.id.slice(0, node.id.indexOf("/")) : "(none)");
      return { id: `n:${namespace}`, title: namespace, kind: "namespace" };
    }
    case "provider":
      return { id: `p:${node.group ?? node.label}`, title: node.group ?? node.label, kind: "provider" };
    case "node":
      return { id: "h:", title: "nodes", kind: "node" };
    default:
      return { id: `e:${node.group ?? node.label}`, title: node.group ?? node.label, kind: "external" };
  }
}

/** The other cluster that a workload is of, whose namespace is called `ml@west` here. */
function clusterOf(node: GraphNode): string | null {
  const { title, kind } = boxOf(node);
  return kind === "namespace" && title.includes("@") ? title.slice(title.lastIndexOf("@") + 1) : null;
}

/** Whether any workload is of another cluster. */
export function hasOthers(graph: Graph): boolean {
  return graph.nodes.some((node) => clusterOf(node) !== null);
}

/** The box of a node where each cluster is one. */
function clusterBoxOf(node: GraphNode): ReturnType<typeof boxOf> {
  const box = boxOf(node);
  if (box.kind !== "namespace") return box;
  const cluster = clusterOf(node);
  return { id: `c:${cluster ?? ""}`, title: cluster === null ? "this cluster" : `cluster ${cluster}`, kind: "namespace" };
}

/** What is between workloads of two clusters. */
export function betweenClusters(graph: Graph): Graph {
  const clusters = new Map(graph.nodes.map((node) => [node.id, clusterOf(node)]));
  const edges = graph.edges.filter((edge) => clusters.get(edge.source) !== clusters.get(edge.destination));
  const ends = new Set(edges.flatMap((edge) => [edge.source, edge.destination]));
  return { ...graph, edges, nodes: graph.nodes.filter((node) => ends.has(node.id)) };
}

function boxes(nodes: GraphNode[], turned: ReadonlySet<string>, placeOf: typeof boxOf): Map<string, Box> {
  const found = new Map<string, Box>();
  const together: Box[] = [];
  for (const node of nodes) {
    const of = placeOf(node);
    if (typeof node.members === "number") {
      together.push({ id: node.id, title: node.label, kind: of.kind, nodes: [], size: node.members, folded: true });
      continue;
    }
    const box = found.get(of.id);
    if (box) {
      box.nodes.push(node);
      box.size += 1;
    } else found.set(of.id, { ...of, nodes: [node], size: 1, folded: false });
  }
  // Of an outside group the one name is the box; of a crowd only boxes are shown, until somebody opens them.
  for (const box of found.values()) {
    const byItself = nodes.length > CROWDED || (box.kind !== "namespace" && box.nodes.length > 1);
    box.folded = box.nodes.length > 1 && byItself !== turned.has(box.id);
  }
  for (const box of together) found.set(box.id, box);
  return found;
}

function strength(line: Line): number {
  return (line.denied > 0 ? 2 ** 52 : 0) + (line.isNew ? 2 ** 51 : 0) + Math.min(line.bytes + line.allowed, 2 ** 50);
}

/** What is drawn, with the boxes in `turned` the other way than they would be by themselves; of `byCluster`, only what is between clusters. */
export function picture(whole: Graph, turned: ReadonlySet<string>, byCluster = false): Picture {
  const graph = byCluster ? betweenClusters(whole) : whole;
  const all = boxes(graph.nodes, turned, byCluster ? clusterBoxOf : boxOf);
  const shown = new Map<string, string>();
  for (const box of all.values()) {
    if (box.nodes.length === 0) shown.set(box.id, box.id);
    for (const node of box.nodes) shown.set(node.id, box.folded ? box.id : node.id);
  }
  const lines = new Map<string, Line>();
  for (const edge of graph.edges) {
    const source = shown.get(edge.source);
    const destination = shown.get(edge.destination);
    if (source === undefined || destination === undefined) continue;
    // What happens within a box is not drawn; somebody who meets themselves is.
    if (source === destination && (edge.source !== edge.destination || all.has(source))) continue;
    add(lines, source, destination, edge);
  }
  const sorted = [...lines.values()].sort((a, b) => strength(b) - strength(a));
  return { boxes: [...all.values()], lines: sorted.slice(0, MOST_EDGES), left: Math.max(0, sorted.length - MOST_EDGES) };
}

function add(lines: Map<string, Line>, source: string, destination: string, edge: GraphEdge) {
  const id = JSON.stringify([source, destination]);
  const line = lines.get(id) ?? { id, source, destination, allowed: 0, denied: 0, bytes: 0, isNew: false, ports: [], edges: 0 };
  line.allowed += edge.allowed;
  line.denied += edge.denied;
  line.bytes += edge.bytes_sent + edge.bytes_received;
  line.isNew ||= edge.is_new;
  line.edges += 1;
  for (const port of edge.ports) if (line.ports.length < 12 && !line.ports.includes(port)) line.ports.push(port);
  lines.set(id, line);
}

/** Whether lines that are new differ from others: where all are, a mark on each says nothing, and hides their colours. */
export function newStandsOut(of: Picture): boolean {
  return of.lines.some((line) => !line.isNew);
}

/** Width of a line by its bytes: each tenfold is a step. */
export function width(bytes: number): number {
  return 1.2 + Math.min(6, Math.log10(Math.max(1, bytes)) * 0.55);
}
