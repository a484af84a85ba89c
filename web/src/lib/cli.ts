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
  const words = ["cofferdam", "edges"];
  for (const field of ["source", "destination"] as const) {
    const value = asked[field];
    if (value) words.push(`--${field}`, value);
  }
  return [...words, ...when(params, now).slice(0, 2)].map(quoted).join(" ");
}
