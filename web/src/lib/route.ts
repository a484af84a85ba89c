// The address is the state: which page, which time, which filters, what is open. Every page is one path segment, so that the
// console works below any prefix with relative addresses.

import { useSyncExternalStore } from "react";

export const PAGES = [
  "map", "flows", "dns", "calls", "tools", "findings", "incidents", "incident", "usage", "policies", "sensors", "clusters", "hunt",
] as const;
export type PageName = (typeof PAGES)[number];

/** Fields that one can filter records by, in the order they are offered. */
export const FIELDS = ["source", "destination", "verdict", "rule", "reason", "port", "node", "q"] as const;
export type Field = (typeof FIELDS)[number];

/** By which of them each page goes. Filters stay while pages change, so a page says which of them mean nothing there. */
export const USED: Record<PageName, readonly Field[]> = {
  map: FIELDS, flows: FIELDS, dns: FIELDS, calls: FIELDS, tools: FIELDS, usage: FIELDS,
  findings: ["source", "destination", "node", "q"], incidents: ["source", "node", "q"], incident: [], hunt: ["node"],
  policies: ["node", "q"], sensors: ["node"], clusters: [],
};

/** What stays when the page changes: the time and the filters. */
const SHARED = new Set<string>(["range", "since", "until", ...FIELDS]);

export interface Route {
  page: PageName;
  params: URLSearchParams;
}

/** Ranges that end now, and their seconds. */
export const RANGES: Record<string, number> = { "5m": 300, "15m": 900, "1h": 3600, "6h": 21600, "24h": 86400, "7d": 604800, "30d": 2592000 };
export const DEFAULT_RANGE = "1h";

/** Reads an address; an unknown page is the map. */
export function parse(path: string, search: string): Route {
  const last = path.slice(path.lastIndexOf("/") + 1);
  const page = PAGES.find((known) => known === last) ?? "map";
  return { page, params: new URLSearchParams(search) };
}

export type Changes = Record<string, string | null | undefined>;

/** The address of a page, relative: with the shared state of `from`, and `changes` on top (null takes away). */
export function address(from: Route, page: PageName, changes: Changes = {}): string {
  const params = new URLSearchParams();
  for (const [key, value] of from.params) {
    if (page === from.page || SHARED.has(key)) params.append(key, value);
  }
  for (const [key, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") params.delete(key);
    else params.set(key, value);
  }
  const search = params.toString();
  return search ? `${page}?${search}` : page;
}

/** The time that an address asks for, in milliseconds; one that ends now has no `until`. */
export function timespan(params: URLSearchParams, now: number): { since: number; until: number | null; relative: string | null } {
  const since = Date.parse(params.get("since") ?? "");
  const until = Date.parse(params.get("until") ?? "");
  if (!Number.isNaN(since)) return { since, until: Number.isNaN(until) ? null : until, relative: null };
  const asked = params.get("range") ?? DEFAULT_RANGE;
  const relative = Object.hasOwn(RANGES, asked) ? asked : DEFAULT_RANGE;
  return { since: now - (RANGES[relative] ?? 3600) * 1000, until: null, relative };
}

/** The filters of an address as parameters of the API. */
export function filters(params: URLSearchParams): Partial<Record<Field, string>> {
  const found: Partial<Record<Field, string>> = {};
  for (const field of FIELDS) {
    const value = params.get(field);
    if (value) found[field] = value;
  }
  return found;
}

let current = "";
let route: Route = { page: "map", params: new URLSearchParams() };
const listeners = new Set<() => void>();

function read(): Route {
  const text = window.location.pathname + window.location.search;
  if (text !== current) {
    current = text;
    route = parse(window.location.pathname, window.location.search);
  }
  return route;
}

function tell() {
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void) {
  listeners.add(listener);
  window.addEventListener("popstate", tell);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) window.removeEventListener("popstate", tell);
  };
}

export function useRoute(): Route {
  return useSyncExternalStore(subscribe, read);
}

/** Goes to a page. `replace` leaves no step behind for the back button: for typing and selecting. */
export function go(page: PageName, changes: Changes = {}, replace = false) {
  const to = address(read(), page, changes);
  if (replace) window.history.replaceState(null, "", to);
  else window.history.pushState(null, "", to);
  tell();
}
