// The command line that tells the same as a page.

import { filters, timespan, type Field } from "./route";
import { quoted } from "./text";

const FLAGS = ["source", "destination", "verdict", "port", "rule", "reason", "node"] as const;

function when(params: URLSearchParams, now: number): string[] {
  const { since, until, relative } = timespan(params, now);
  const words = ["--since", relative ?? new Date(since).toISOString()];
  return until === null ? words : [...words, "--until", new Date(until).toISOString()];
}

/** The filters of an address as flags. What begins with a dash is one word with its flag. */
function flags(params: URLSearchParams, known: readonly Field[]): string[] {
  const asked = filters(params);
  return known.flatMap((field) => {
    const value = asked[field];
    if (value === undefined) return [];
    const flag = field === "q" ? "--text" : `--${field}`;
    return value.startsWith("-") ? [`${flag}=${value}`] : [flag, value];
  });
}

/** `cofferdam ledger show` with all that an address filters by. */
export function showCommand(kinds: string[], params: URLSearchParams, now: number, tool?: string): string {
  const words = ["cofferdam", "ledger", "show"];
  for (const kind of kinds) words.push("--kind", kind.replace("_", "-"));
  if (tool !== undefined) words.push("--tool", tool);
  return [...words, ...flags(params, [...FLAGS, "q"]), ...when(params, now)].map(quoted).join(" ");
}

/** `cofferdam edges`, for the map. Edges have no node and no reason: who asks for one is told by records. */
export function edgesCommand(params: URLSearchParams, now: number): string {
  const asked = filters(params);
  if (asked.node || asked.reason) return showCommand(["flow"], params, now);
  const words = params.get("new") === "1" ? ["cofferdam", "edges", "--new"] : ["cofferdam", "edges"];
  return [...words, ...flags(params, ["source", "destination", "verdict", "port", "rule", "q"]), ...when(params, now)].map(quoted).join(" ");
}

/** `cofferdam findings`, of the severity and workload that an address has. */
export function findingsCommand(params: URLSearchParams, now: number): string {
  const asked = filters(params);
  // What the command has no flag for, and texts that stand for several.
  if (asked.node || asked.destination || asked.q || asked.source?.endsWith("*")) {
    const own = new URLSearchParams(params);
    for (const field of ["verdict", "rule", "reason", "port"]) own.delete(field);
    return showCommand(["finding"], own, now);
  }
  const words = ["cofferdam", "findings"];
  const severity = params.get("severity");
  // The command means this and what is worse.
  if (severity) words.push("--severity", severity);
  const source = params.get("source");
  if (source) words.push("--from", source);
  return [...words, ...when(params, now)].map(quoted).join(" ");
}

/** `cofferdam incident list`. */
export function incidentsCommand(params: URLSearchParams, now: number): string {
  const words = ["cofferdam", "incident", "list"];
  const state = params.get("state");
  if (state) words.push("--state", state);
  words.push(...flags(params, ["node", "q"]));
  const { source } = filters(params);
  if (source) words.push("--workload", source);
  return [...words, ...when(params, now)].map(quoted).join(" ");
}

/** `cofferdam hunt`. */
export function huntCommand(indicator: string, params: URLSearchParams, now: number): string {
  return ["cofferdam", "hunt", indicator, ...flags(params, ["node"]), ...when(params, now)].map(quoted).join(" ");
}
