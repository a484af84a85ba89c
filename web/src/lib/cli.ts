// The command line that tells the same as a page.

import { filters, timespan } from "./route";
import { quoted } from "./text";

const FLAGS = ["source", "destination", "verdict"] as const;

function when(params: URLSearchParams, now: number): string[] {
  const { since, until, relative } = timespan(params, now);
  const words = ["--since", relative ?? new Date(since).toISOString()];
  return until === null ? words : [...words, "--until", new Date(until).toISOString()];
}

/** `cofferdam ledger show` with what an address filters by. What it has no flag for is sought in its JSON. */
export function showCommand(kinds: string[], params: URLSearchParams, now: number): string {
  const asked = filters(params);
  const words = ["cofferdam", "ledger", "show"];
  for (const kind of kinds.slice(0, 1)) words.push("--kind", kind.replace("_", "-"));
  for (const field of FLAGS) {
    const value = asked[field];
    if (value) words.push(`--${field}`, value);
  }
  words.push(...when(params, now));
  const rest = [asked.rule, asked.reason, asked.q, asked.port].filter((value): value is string => value !== undefined);
  const command = words.map(quoted).join(" ");
  return rest.reduce((line, text) => `${line} | grep -F -- ${quoted(text)}`, command);
}

/** `cofferdam edges`, for the map. */
export function edgesCommand(params: URLSearchParams, now: number): string {
  const asked = filters(params);
  const words = params.get("new") === "1" ? ["cofferdam", "edges", "--new"] : ["cofferdam", "edges"];
  for (const field of ["source", "destination"] as const) {
    const value = asked[field];
    if (value) words.push(`--${field}`, value);
  }
  return [...words, ...when(params, now).slice(0, 2)].map(quoted).join(" ");
}

/** `cofferdam findings`, of the severity and workload that an address has. */
export function findingsCommand(params: URLSearchParams, now: number): string {
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
  return [...words, ...when(params, now).slice(0, 2)].map(quoted).join(" ");
}

/** `cofferdam hunt`. */
export function huntCommand(indicator: string, params: URLSearchParams, now: number): string {
  return ["cofferdam", "hunt", indicator, ...when(params, now).slice(0, 2)].map(quoted).join(" ");
}
