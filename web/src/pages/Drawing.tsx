import { useEffect, useRef } from "react";
import cytoscape, { type Core, type ElementDefinition, type StylesheetJson } from "cytoscape";
import fcose from "cytoscape-fcose";
import { short } from "../lib/format";
import { CROWDED, newStandsOut, width, type Box, type Line, type Picture } from "../lib/graph";
import { printable } from "../lib/text";

cytoscape.use(fcose);

/** The library puts a style element into the page unless one with this id is there; the page's policy forbids style elements. */
const STYLE_ID = "__________cytoscape_stylesheet";
const LABEL = 22;
/** Above so many lines they are straight, thin and without arrows. */
const MANY = 600;
const COLUMN = 330;
/** How near what was looked for is shown at most. */
const CLOSE = 0.9;
/** Room of a workload in a block, and between blocks. */
const BLOCK = 64;
const GAP = 90;
/** Width of a folded box with its name. */
const FOLDED = 140;

function label(text: string): string {
  const shown = printable(text);
  return shown.length > LABEL ? `${shown.slice(0, LABEL - 1)}…` : shown;
}

/** Without what the box says already: `ns/Kind/name` is `name`. */
function nameOf(id: string): string {
  const parts = id.split("/");
  return parts.length === 3 ? (parts[2] ?? id) : id;
}

const isAddress = (text: string) => /^[0-9.]+$|:.*:/.test(text);

function boxElements(box: Box): ElementDefinition[] {
  if (box.folded) {
    return [{ data: { id: box.id, label: `${label(box.title)} (${short(box.size)})` }, classes: `folded ${box.kind}` }];
  }
  const alone = box.nodes.length === 1 && box.kind !== "namespace";
  const nodes = box.nodes.map((node) => ({
    data: { id: node.id, label: label(node.kind === "workload" ? nameOf(node.label) : node.label), ...(alone ? {} : { parent: box.id }) },
    classes: `${box.kind}${box.kind === "external" && isAddress(node.label) ? " unknown" : ""}`,
  }));
  return alone ? nodes : [{ data: { id: box.id, label: label(box.title) }, classes: `box ${box.kind}` }, ...nodes];
}

function lineElement(line: Line, stands: boolean): ElementDefinition {
  const verdict = line.denied === 0 ? "allow" : line.allowed === 0 ? "deny" : "both";
  return { data: { id: line.id, source: line.source, target: line.destination, width: width(line.bytes) }, classes: `${verdict}${line.isNew && stands ? " fresh" : ""}` };
}

function style(of: Element): StylesheetJson {
  const css = getComputedStyle(of);
  const color = (name: string) => css.getPropertyValue(`--${name}`).trim() || "#888";
  const text = { color: color("text"), "font-family": "system-ui, sans-serif", "font-size": 19, "text-background-color": color("surface"), "text-background-opacity": 0.8, "text-background-padding": "1px" };
  return [
    { selector: "node", style: { ...text, label: "data(label)", width: 30, height: 30, "background-color": color("accent"), "text-valign": "bottom", "text-margin-y": 4, "text-max-width": "170px", "min-zoomed-font-size": 6, "border-width": 0 } },
    { selector: "node.box", style: { "background-color": color("surface"), "background-opacity": 0.85, "border-width": 1, "border-color": color("line-strong"), shape: "round-rectangle", "text-valign": "top", "text-margin-y": -4, "font-weight": "bold", padding: "16px" } },
    { selector: "node.folded", style: { shape: "round-rectangle", width: 44, height: 30, "border-width": 2, "border-color": color("line-strong"), "border-style": "double" } },
    { selector: "node.provider", style: { "background-color": color("provider"), shape: "round-hexagon", width: 34, height: 30, "text-valign": "center", "text-halign": "right", "text-margin-x": 6, "text-margin-y": 0 } },
    { selector: "node.external", style: { "background-color": color("external"), shape: "ellipse", "text-valign": "center", "text-halign": "right", "text-margin-x": 6, "text-margin-y": 0 } },
    { selector: "node.box.provider, node.box.external", style: { "background-color": color("surface"), shape: "round-rectangle", "text-valign": "top", "text-halign": "center", "text-margin-y": -4, "text-margin-x": 0 } },
    { selector: "node.node", style: { shape: "round-diamond", "background-color": color("muted") } },
    { selector: "node.unknown", style: { "border-width": 3, "border-style": "dashed", "border-color": color("fail") } },
    { selector: "edge", style: { width: "data(width)", "curve-style": "bezier", "line-color": color("allow"), "target-arrow-color": color("allow"), "target-arrow-shape": "triangle", "arrow-scale": 0.8, "line-opacity": 0.65 } },
    { selector: "edge.many", style: { width: 1, "curve-style": "haystack", "haystack-radius": 0, "target-arrow-shape": "none", "line-opacity": 0.25 } },
    { selector: "edge.deny", style: { "line-color": color("deny"), "target-arrow-color": color("deny"), "line-style": "dashed", "line-opacity": 0.95, width: 2.4 } },
    { selector: "edge.both", style: { "line-color": color("fail"), "target-arrow-color": color("fail"), "line-opacity": 0.95 } },
    { selector: "edge.fresh", style: { "underlay-color": color("fresh"), "underlay-opacity": 0.22, "underlay-padding": 3 } },
    { selector: "node:selected, node.at", style: { "border-width": 3, "border-color": color("text"), "border-style": "solid" } },
    { selector: "node.quiet", style: { opacity: 0.35 } },
    { selector: "node.found", style: { "underlay-color": color("fresh"), "underlay-opacity": 0.55, "underlay-padding": 9, "underlay-shape": "ellipse" } },
    { selector: ".away", style: { opacity: 0.18 } },
  ] as unknown as StylesheetJson;
}

/** Outside names and providers, each in a column right of the namespaces; nodes below them. */
function columns(cy: Core) {
  const inside = cy.nodes(".namespace");
  const box = inside.length ? inside.boundingBox({ includeLabels: false }) : { x1: 0, x2: 0, y1: 0, y2: 400, w: 0, h: 400 };
  const place = (selector: string, x: number) => {
    const nodes = cy.nodes(selector).filter((node) => !node.isParent());
    const sorted = (nodes.toArray() as cytoscape.NodeSingular[]).sort((a, b) => (a.data("parent") ?? a.id()).localeCompare(b.data("parent") ?? b.id()) || a.id().localeCompare(b.id()));
    const room = Math.max(46, Math.min(100, box.h / Math.max(1, sorted.length)));
    // More than the namespaces are high: several columns beside one another.
    const most = Math.max(12, Math.floor(box.h / room));
    const rows = Math.min(sorted.length, most);
    const top = (box.y1 + box.y2) / 2 - ((rows - 1) * room) / 2;
    sorted.forEach((node, index) => node.position({ x: x + Math.floor(index / most) * COLUMN, y: top + (index % most) * room }));
    return Math.ceil(sorted.length / most);
  };
  let x = box.x2 + COLUMN * 0.75;
  x += place(".provider", x) * COLUMN;
  place(".external", x);
  cy.nodes(".node").filter((node) => !node.isParent()).forEach((node, index) => {
    node.position({ x: box.x1 + 60 + index * 90, y: box.y2 + 90 });
  });
}

/** Many: each namespace a block of its workloads, blocks in rows. Nothing overlaps, and it takes no time. */
function blocks(cy: Core) {
  const groups = new Map<string, cytoscape.NodeSingular[]>();
  cy.nodes(".namespace").forEach((node) => {
    if (node.isParent()) return;
    const group: string = node.data("parent") ?? "";
    groups.set(group, [...(groups.get(group) ?? []), node]);
  });
  const all = [...groups].sort(([a], [b]) => a.localeCompare(b));
  const sides = all.map(([, nodes]) => Math.ceil(Math.sqrt(nodes.length)));
  // Folded boxes are together in one block, and their names are longer.
  const steps = all.map(([group]) => (group === "" ? FOLDED : BLOCK));
  const wide = (index: number) => (sides[index] ?? 1) * (steps[index] ?? BLOCK);
  const width = Math.sqrt(all.reduce((sum, _, index) => sum + (wide(index) + GAP) ** 2, 0)) * 1.5;
  let x = 0;
  let y = 0;
  let high = 0;
  all.forEach(([, nodes], index) => {
    const side = sides[index] ?? 1;
    if (x > 0 && x + wide(index) > width) {
      x = 0;
      y += high + GAP;
      high = 0;
    }
    nodes.forEach((node, n) => node.position({ x: x + (n % side) * (steps[index] ?? BLOCK), y: y + Math.floor(n / side) * BLOCK }));
    x += wide(index) + GAP;
    high = Math.max(high, Math.ceil(nodes.length / side) * BLOCK);
  });
}

function arrange(cy: Core, first: boolean) {
  const inside = cy.nodes(".namespace");
  const among = inside.union(inside.edgesWith(inside));
  if (inside.length > CROWDED || among.edges().length > MANY) blocks(cy);
  else if (inside.length > 0) {
    const options = {
      name: "fcose",
      quality: "default",
      randomize: first,
      animate: false,
      fit: false,
      nodeSeparation: 110,
      idealEdgeLength: 110,
      nodeRepulsion: 9000,
      tile: true,
      tilingPaddingVertical: 30,
      tilingPaddingHorizontal: 50,
      nodeDimensionsIncludeLabels: true,
      packComponents: false,
    };
    among.layout(options as unknown as cytoscape.LayoutOptions).run();
  }
  columns(cy);
}

/** Marks what was looked for, and puts aside the rest. */
function highlight(cy: Core, at: string | null, found: ReadonlySet<string> | null) {
  cy.elements().removeClass("away at found quiet");
  cy.nodes().filter((node) => !node.isParent() && node.connectedEdges().empty()).addClass("quiet");
  if (found !== null) {
    const those = cy.nodes().filter((node) => found.has(node.id()));
    those.addClass("found");
    const near = those.union(those.connectedEdges()).union(those.connectedEdges().connectedNodes());
    if (at === null && those.nonempty()) cy.elements().difference(near.union(near.parents())).addClass("away");
  }
  const node = at === null ? cy.collection() : cy.getElementById(at);
  if (node.empty()) return;
  if (found?.has(at ?? "")) cy.center(node);
  const own = node.union(node.descendants());
  const near = own.union(own.connectedEdges()).union(own.connectedEdges().connectedNodes());
  cy.elements().difference(near.union(near.parents())).addClass("away");
  node.addClass("at");
}

interface Props {
  picture: Picture;
  theme: string;
  at: string | null;
  /** What somebody looks for; null: nothing. */
  found: ReadonlySet<string> | null;
  select: (id: string | null) => void;
  turn: (id: string) => void;
  ready: (is: boolean) => void;
}

/** The picture on a canvas. The same is on the page as a table, for those who do not see it. */
export function Drawing({ picture, theme, at, found, select, turn, ready }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const drawn = useRef<{ cy: Core; shape: string } | null>(null);
  const acts = useRef({ select, turn, ready });
  acts.current = { select, turn, ready };

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    if (!document.getElementById(STYLE_ID)) {
      const mark = document.createElement("template");
      mark.id = STYLE_ID;
      document.head.append(mark);
    }
    const cy = cytoscape({ container: element, minZoom: 0.08, maxZoom: 3, wheelSensitivity: 1, boxSelectionEnabled: false, textureOnViewport: false, hideEdgesOnViewport: false, pixelRatio: "auto" as unknown as number });
    cy.on("tap", (event) => acts.current.select(event.target === cy ? null : event.target.isEdge() ? event.target.source().id() : event.target.id()));
    cy.on("dbltap", "node", (event) => {
      const node = event.target;
      const parent = node.isParent() || node.hasClass("folded") ? node : node.parent();
      if (parent.nonempty()) acts.current.turn(parent.first().id());
    });
    drawn.current = { cy, shape: "" };
    // For tests: where things are on the canvas cannot be asked of the page.
    (element as HTMLDivElement & { cy?: Core }).cy = cy;
    return () => {
      drawn.current = null;
      cy.destroy();
    };
  }, []);

  useEffect(() => {
    const element = place.current;
    if (element && drawn.current) drawn.current.cy.style(style(element));
  }, [theme]);

  useEffect(() => {
    const now = drawn.current;
    if (!now) return;
    const { cy } = now;
    const many = picture.lines.length > MANY;
    const stands = newStandsOut(picture);
    const elements = [...picture.boxes.flatMap(boxElements), ...picture.lines.map((line) => lineElement(line, stands))];
    const nodes = new Set(picture.boxes.flatMap((box) => (box.folded ? [box.id] : box.nodes.map((node) => node.id))));
    const shape = JSON.stringify([...nodes].sort());
    const before = new Map(cy.nodes().map((node) => [node.id(), { ...node.position() }]));
    cy.batch(() => {
      cy.elements().remove();
      cy.add(elements);
      if (many) cy.edges().addClass("many");
      cy.nodes().forEach((node) => {
        const position = before.get(node.id());
        if (position && !node.isParent()) node.position(position);
      });
    });
    if (shape !== now.shape) {
      arrange(cy, now.shape === "");
      cy.fit(undefined, 36);
      now.shape = shape;
    }
    acts.current.ready(true);
  }, [picture]);

  useEffect(() => {
    if (drawn.current) highlight(drawn.current.cy, at, found);
  }, [at, found, picture]);

  // Once for each thing that is looked for, not whenever the picture changes.
  const sought = found === null ? "" : [...found].sort().join("\n");
  useEffect(() => {
    const cy = drawn.current?.cy;
    if (!cy || sought === "") return;
    const ids = new Set(sought.split("\n"));
    const those = cy.nodes().filter((node) => ids.has(node.id()));
    if (those.empty()) return;
    cy.fit(those, 160);
    if (cy.zoom() > CLOSE) cy.zoom(CLOSE);
    cy.center(those);
  }, [sought]);

  const parties = picture.boxes.reduce((sum, box) => sum + box.size, 0);
  return <div ref={place} className="drawing" role="img" aria-label={`Map of ${parties} parties and ${picture.lines.length} lines; “As a table” has the same as text`} />;
}
