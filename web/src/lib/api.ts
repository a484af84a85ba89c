// The only place that speaks with the server. Errors say what was asked and what to do.

import { filters, timespan } from "./route";

/** Below which path the server answers: beside the page, whatever the prefix. */
export const BASE = "api/v1/";
/** After which time an answer is given up. */
const PATIENCE = 20_000;

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly request: string | null,
    /** Nothing came in time: who asks again at once only waits again. */
    readonly isLate = false,
  ) {
    super(message);
  }

  /** What somebody can do about it. */
  get way(): string {
    if (this.status === 401) return "Open the address with #token= that Cofferdam printed when it started, or give a token: that one, or on a cluster one that “kubectl create token” prints.";
    if (this.status === 403) return "Your role may look and not do this. Ask somebody with the role operator.";
    if (this.status === 404) return "It may be older than what the ledger keeps. Widen the time, or go back to the list.";
    if (this.status === 429 || this.status === 503) return "The server is busy. It is asked again in a moment; a shorter time range helps.";
    if (this.isLate) return "Where much was recorded, a shorter time or more filters help.";
    if (this.status === 0) return "Does Cofferdam still run, and does a port-forward or proxy before it? It is asked again by itself.";
    return "See the log of Cofferdam for this request.";
  }
}

export type Query = Record<string, string | number | boolean | string[] | null | undefined>;

function search(query: Query): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [String(value)]) params.append(key, one);
  }
  const text = params.toString();
  return text ? `?${text}` : "";
}

/** The address of an answer, relative to the page. */
export function apiAddress(path: string, query: Query = {}): string {
  return BASE + path + search(query);
}

async function ask(method: string, address: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const limit = AbortSignal.timeout(PATIENCE);
  const headers: Record<string, string> = { accept: "application/json" };
  if (method !== "GET") headers["x-cofferdam-csrf"] = "1";
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer: Response;
  try {
    answer = await fetch(address, {
      method,
      headers,
      credentials: "same-origin",
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const why = limit.aborted ? `no answer within ${PATIENCE / 1000} s` : "the server cannot be reached";
    throw new ApiError(0, why, null, limit.aborted);
  }
  if (answer.ok) return answer;
  const problem: { title?: unknown; detail?: unknown } = await answer.json().catch(() => ({}));
  const said = [problem.title, problem.detail].filter((part): part is string => typeof part === "string" && part !== "");
  throw new ApiError(answer.status, said.join(": ") || `status ${answer.status}`, answer.headers.get("x-request-id"));
}

export async function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return (await ask("GET", apiAddress(path, query), undefined, signal)).json() as Promise<T>;
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  return (await ask("POST", apiAddress(path), body)).json() as Promise<T>;
}

/** Time and filters of an address as parameters of the API, from `now` on. */
export function asked(params: URLSearchParams, now: number): Query {
  const { since, until } = timespan(params, now);
  return {
    ...filters(params),
    since: new Date(since).toISOString(),
    until: until === null ? undefined : new Date(until).toISOString(),
  };
}

/** Only the time, and the node. */
export function askedTime(params: URLSearchParams, now: number): Query {
  const { since, until, node } = asked(params, now);
  return { since, until, node };
}

/** Of an address, what such a question goes by: its key while answers are remembered. */
export function askedBy(params: URLSearchParams): (string | null)[] {
  return ["range", "since", "until", "node"].map((field) => params.get(field));
}

/**
 * Trades the token in the address for a cookie that scripts cannot read, and takes it out of the address and the history
 * before anything else happens.
 */
export async function enter(): Promise<void> {
  const fragment = new URLSearchParams(window.location.hash.slice(1));
  const token = fragment.get("token");
  if (token === null) return;
  window.history.replaceState(null, "", window.location.pathname + window.location.search);
  await logIn(token);
}

/** Trades a token for a cookie. */
export async function logIn(token: string): Promise<void> {
  await post("session", { token });
}

/** Ends the log-in, here and at the server. That at an identity provider goes on. */
export async function leave(): Promise<void> {
  await ask("DELETE", apiAddress("session"), undefined);
}
