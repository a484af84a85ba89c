import { useEffect, useMemo, useState } from "react";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { asked, get, type Query } from "../lib/api";
import { edgesCommand } from "../lib/cli";
import { bytes, count } from "../lib/format";
import { boxOf, hasOthers, newStandsOut, picture, type Line, type Picture } from "../lib/graph";
import { filters, go, useRoute } from "../lib/route";
import { useTheme } from "../lib/theme";
import type { Graph } from "../lib/types";
import { Copy } from "../parts/Copy";
import { Link } from "../parts/Link";
import { Name } from "../parts/Name";
import { Empty, Loading, Problem } from "../parts/State";
import { Drawing } from "./Drawing";
import { Travel, travelled } from "./Travel";

/** Pairs of one answer. */
const LIMIT = 10_000;
/** Boxes that the server is asked to open. */
const OPEN = 64;
/** How often a large graph is asked for anew, in milliseconds: summing it up takes the server seconds. */
const SELDOM = 60_000;
const NOBODY: Graph = { nodes: [], edges: [], truncated: false, pairs: 0, left_out: 0, is_folded: false };

/** The boxes that somebody turned, as the address has them. */
export function turnedOf(text: string | null): Set<string> {
  try {
    const read: unknown = JSON.parse(text ?? "[]");
    return new Set(Array.isArray(read) ? read.filter((it): it is string => typeof it === "string") : []);
  } catch {
    return new Set();
  }
}

/** The question for a graph, with all that somebody filters by. Too many are put together by the server, but for what is open. */
function question(params: URLSearchParams, time: Query, open: string[]): Query {
  return { ...filters(params), ...time, new: params.get("new") === "1" ? true : undefined, fold: true, open, limit: LIMIT };
}

/**
 * What met in a moment, among all that met in the whole time: who stays where they are while somebody travels. Of the whole time parties
 * may be put together that were few enough in the moment to be told one by one: then they are in their box.
 */
export function among(whole: Graph, then: Graph): Graph {
  const known = new Set(whole.nodes.map((node) => node.id));
  const together = new Set(whole.nodes.filter((node) => typeof node.members === "number").map((node) => node.id));
  const moved = new Map<string, string>();
  for (const node of then.nodes) {
    if (known.has(node.id)) continue;
    const place = [boxOf(node).id, "e:(addresses)", "e:(others)"].find((id) => together.has(id) && (id !== "e:(addresses)" || (node.kind === "external" && !node.group)));
    if (place !== undefined) moved.set(node.id, place);
  }
  const place = (id: string) => moved.get(id) ?? id;
  return {
    ...then,
    nodes: [...whole.nodes, ...then.nodes.filter((node) => !known.has(node.id) && !moved.has(node.id))],
    edges: moved.size === 0 ? then.edges : then.edges.map((edge) => ({ ...edge, source: place(edge.source), destination: place(edge.destination) })),
    truncated: whole.truncated || then.truncated,
  };
}

/** What is drawn that has a text in its name; a folded box where any in it has. */
export function matching(of: Picture, text: string): string[] {
  const sought = text.trim().toLowerCase();
  if (sought === "") return [];
  const has = (name: string) => name.toLowerCase().includes(sought);
  return of.boxes.flatMap((box) => {
    const inside = box.nodes.filter((node) => has(node.id) || has(node.label)).map((node) => node.id);
    if (box.folded) return inside.length > 0 || has(box.title) ? [box.id] : [];
    return inside;
  });
}

/** A name of the picture as people know it: boxes have a mark before their name. */
function title(id: string, of: Picture): string {
  return of.boxes.find((box) => box.id === id)?.title ?? id;
}

/** What a name of the picture is as a filter: all of a namespace begin alike; of other boxes, no filter says them. */
export function asFilter(id: string, of: Picture): string | null {
  const box = of.boxes.find((it) => it.id === id);
  if (!box) return id;
  return box.kind === "namespace" && box.id === `n:${box.title}` ? `${box.title}/*` : null;
}

function Ends({ line, of }: { line: Line; of: Picture }) {
  const changes = { source: asFilter(line.source, of), destination: asFilter(line.destination, of), at: null };
  return (
    <li>
      <span className={line.denied > 0 ? (line.allowed > 0 ? "badge v-fail" : "badge v-deny") : "badge v-allow"}>{line.denied > 0 ? (line.allowed > 0 ? "both" : "denied") : "allowed"}</span>{" "}
      {line.isNew && <span className="tag">new</span>}
      <Link to="flows" changes={changes}>
        <Name text={title(line.source, of)} /> → <Name text={title(line.destination, of)} />
      </Link>
      <br />
      <span className="muted">
        {count(line.allowed)} allowed, {count(line.denied)} denied · {bytes(line.bytes)} · <Name text={line.ports.join(" ")} />
      </span>
    </li>
  );
}

function Side({ of, at }: { of: Picture; at: string }) {
  const { page } = useRoute();
  const box = of.boxes.find((it) => it.id === at);
  const inside = new Set(box ? box.nodes.map((node) => node.id) : []);
  const touches = (id: string) => id === at || inside.has(id);
  const lines = of.lines.filter((line) => touches(line.source) || touches(line.destination));
  const own = asFilter(at, of);
  return (
    <aside className="panel map-side" aria-label="Selected">
      <header>
        <h2>
          <Name text={box?.title ?? at} wrap />
        </h2>
        <button type="button" className="quiet" aria-label="Close" onClick={() => go(page, { at: null }, true)}>
          ✕
        </button>
      </header>
      {own !== null && (
        <p className="buttons">
          <Link to="flows" changes={{ source: own, destination: null }} className="button">
            What it did
          </Link>
          <Link to="flows" changes={{ source: null, destination: own }} className="button">
            Who came to it
          </Link>
        </p>
      )}
      {box && <p className="muted">{count(box.size)} parties</p>}
      <ul className="rows">
        {lines.slice(0, 100).map((line) => (
          <Ends key={line.id} line={line} of={of} />
        ))}
      </ul>
      {lines.length > 100 && <p className="muted">and {count(lines.length - 100)} more</p>}
    </aside>
  );
}

function Table({ of, found }: { of: Picture; found: ReadonlySet<string> | null }) {
  const lines = found === null ? of.lines : of.lines.filter((line) => found.has(line.source) || found.has(line.destination));
  return (
    <div className="table-place" tabIndex={0} role="region" aria-label="Who met whom">
      <table>
        <thead>
          <tr>
            <th scope="col">From</th>
            <th scope="col">To</th>
            <th scope="col">Ports</th>
            <th scope="col" className="number">
              Allowed
            </th>
            <th scope="col" className="number">
              Denied
            </th>
            <th scope="col" className="number">
              Bytes
            </th>
          </tr>
        </thead>
        <tbody>
          {lines.slice(0, 500).map((line) => (
            <tr key={line.id}>
              <td>
                <Name text={title(line.source, of)} />
              </td>
              <td>
                <Name text={title(line.destination, of)} /> {line.isNew && <span className="tag">new</span>}
              </td>
              <td>
                <Name text={line.ports.join(" ")} />
              </td>
              <td className="number">{count(line.allowed)}</td>
              <td className={`number ${line.denied > 0 ? "text-deny" : ""}`}>{count(line.denied)}</td>
              <td className="number">{bytes(line.bytes)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {lines.length > 500 && <p className="muted">the first 500 of {count(lines.length)}; filter to see others</p>}
    </div>
  );
}

function Legend({ isThen, allNew }: { isThen: boolean; allNew: boolean }) {
  return (
    <ul className="legend" aria-label="Legend">
      <li><span className="swatch allow" aria-hidden="true" /> allowed</li>
      <li><span className="swatch deny" aria-hidden="true" /> denied</li>
      <li><span className="swatch fail" aria-hidden="true" /> both</li>
      {allNew ? <li className="muted">all are new in this time</li> : <li><span className="swatch fresh" aria-hidden="true" /> new in this time</li>}
      {isThen && <li className="muted">faint: not met in that moment</li>}
      <li className="muted">width: bytes · double click: open or fold</li>
    </ul>
  );
}

export default function MapPage() {
  const { page, params } = useRoute();
  const theme = useTheme();
  const [ready, setReady] = useState(false);
  // What only tells how the picture is shown does not make another one.
  const asking = useMemo(() => {
    const all = new URLSearchParams(params);
    for (const key of ["at", "find", "view", "moment", "window", "turned", "across"]) all.delete(key);
    return all.toString();
  }, [params]);
  const turnedText = params.get("turned");
  // Only where the server puts parties together is there anything for it to open.
  const [isFolded, setFolded] = useState(false);
  const open = useMemo(() => (isFolded ? [...turnedOf(turnedText)].slice(0, OPEN) : []), [isFolded, turnedText]);
  const found = useQuery({
    queryKey: ["graph", asking, open],
    queryFn: ({ signal }) => get<Graph>("graph", question(params, { ...asked(params, Date.now()) }, open), signal),
    refetchInterval: (query) => (params.get("until") ? false : query.state.data?.is_folded ? SELDOM : 10_000),
    placeholderData: keepPreviousData,
  });
  const folded = found.data?.is_folded ?? false;
  useEffect(() => setFolded(folded), [folded]);
  const [opened] = useState(() => Date.now());
  const moment = travelled(params, opened);
  const then = useQuery({
    queryKey: ["graph", "then", asking, open, moment?.since, moment?.until],
    queryFn: ({ signal }) => get<Graph>("graph", question(params, { since: new Date(moment?.since ?? 0).toISOString(), until: new Date(moment?.until ?? 0).toISOString() }, open), signal),
    enabled: moment !== null,
    placeholderData: keepPreviousData,
    staleTime: 60_000,
  });
  const isThen = moment !== null;
  const across = params.get("across") === "1";
  const others = useMemo(() => found.data !== undefined && hasOthers(found.data), [found.data]);
  const of = useMemo(() => {
    if (!found.data) return null;
    return picture(isThen ? among(found.data, then.data ?? NOBODY) : found.data, turnedOf(turnedText), across);
  }, [found.data, then.data, isThen, turnedText, across]);
  const find = params.get("find") ?? "";
  const matches = useMemo(() => (of && find.trim() !== "" ? matching(of, find) : null), [of, find]);
  const foundIds = useMemo(() => (matches ? new Set(matches) : null), [matches]);
  /** One match after the other. */
  const next = () => {
    if (!matches || matches.length === 0) return;
    const place = matches.indexOf(params.get("at") ?? "");
    go(page, { at: matches[(place + 1) % matches.length] ?? null }, true);
  };
  const turn = (id: string) => {
    const turned = turnedOf(params.get("turned"));
    if (!turned.delete(id)) turned.add(id);
    go(page, { turned: turned.size ? JSON.stringify([...turned]) : null, at: null }, true);
  };
  const told = isThen ? then.data : found.data;
  const asTable = params.get("view") === "table";
  const at = params.get("at");
  return (
    <>
      {found.isError && found.data && <Problem error={found.error} retry={() => void found.refetch()} />}
      <div className="bar">
        <button type="button" aria-pressed={asTable} onClick={() => go(page, { view: asTable ? null : "table" }, true)}>
          As a table
        </button>
        <button type="button" aria-pressed={params.get("new") === "1"} onClick={() => go(page, { new: params.get("new") === "1" ? null : "1" }, true)}>
          Only new
        </button>
        {(across || others) && (
          <button type="button" aria-pressed={across} onClick={() => go(page, { across: across ? null : "1", at: null, turned: null }, true)}>
            Between clusters
          </button>
        )}
        <input
          type="search"
          className="find"
          aria-label="Find on the map"
          placeholder="Find on the map"
          value={find}
          onChange={(event) => go(page, { find: event.target.value, at: null }, true)}
          onKeyDown={(event) => event.key === "Enter" && next()}
        />
        {matches && (
          <span role="status" className={matches.length === 0 ? "bad" : "muted"}>
            {count(matches.length)} found{matches.length > 1 ? ", Enter shows the next" : ""}
          </span>
        )}
        {of && (
          <span className="muted" role="status">
            {count(of.boxes.reduce((sum, box) => sum + box.size, 0))} parties, {count(of.lines.length)} lines
            {of.left > 0 ? `; ${count(of.left)} weak ones are not drawn` : ""}
          </span>
        )}
        <span className="end">
          <Copy label="Copy as CLI" text={edgesCommand(params, Date.now())} />
        </span>
      </div>
      {told && (told.is_folded || told.left_out > 0) && (
        <p className="muted" role="status">
          {count(told.pairs)} pairs met{told.is_folded ? ", and are put together: double click opens a box" : ""}.
          {told.left_out > 0 ? ` ${count(told.left_out)} of them are in no line: filter, or choose a shorter time.` : ""}
        </p>
      )}
      <Travel params={params} />
      {then.isError && <Problem error={then.error} retry={() => void then.refetch()} />}
      {found.isPending ? (
        <Loading what="the map" />
      ) : found.isError && !found.data ? (
        <Problem error={found.error} retry={() => void found.refetch()} />
      ) : !of || (of.boxes.length === 0 && !isThen) ? (
        <Empty title={across ? "Nobody of one cluster met anybody of another in this time" : "Nobody met anybody in this time"}>
          <p>
            {across && "Workloads of other clusters are known where identities are exchanged. "}
            The map shows who reached, or tried to reach, whom. Choose a longer time or fewer filters, or let the example run: <code>make run</code>.
          </p>
        </Empty>
      ) : asTable ? (
        <Table of={of} found={foundIds} />
      ) : (
        <div className="map-place">
          <Drawing picture={of} theme={theme} at={at} found={foundIds} select={(id) => go(page, { at: id }, true)} turn={turn} ready={setReady} />
          {!ready && <Loading what="the drawing" />}
          <Legend isThen={isThen} allNew={of.lines.length > 0 && !newStandsOut(of)} />
          {at && <Side of={of} at={at} />}
        </div>
      )}
    </>
  );
}
