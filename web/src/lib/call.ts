// What the detail of a record of an API call tells, read with care: a later version may say other things.

export interface Call {
  provider: string;
  verb: string;
  resource: string;
  model: string;
  /** What it has copied, besides: where a copy comes from. */
  sources: string[];
  tools: string[];
  tokens: number | null;
  cost: number | null;
  currency: string | null;
  milliseconds: number | null;
  firstByte: number | null;
  leaks: string[];
  status: number | null;
  method: string;
  path: string;
}

type Fields = Record<string, unknown>;

function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}
const text = (value: unknown) => (typeof value === "string" ? value : "");
const number = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const texts = (value: unknown) => list(value).filter((it): it is string => typeof it === "string");

/** Reads it; what is not there is empty. */
export function call(detail: unknown): Call {
  const all = fields(detail);
  const operation = fields(all["operation"]);
  const usage = fields(all["usage"]);
  const cost = fields(all["cost"]);
  const input = number(usage["input_tokens"]);
  const output = number(usage["output_tokens"]);
  const micros = number(all["duration_micros"]);
  const first = number(all["first_byte_micros"]);
  return {
    provider: text(operation["provider"]),
    verb: text(operation["verb"]),
    resource: text(operation["resource"]),
    model: text(operation["model"]) || text(usage["model"]),
    sources: texts(operation["sources"]).map((source) => source || "wherever it is"),
    tools: texts(operation["tools"]),
    tokens: input === null && output === null ? null : (input ?? 0) + (output ?? 0),
    cost: number(cost["nanos"]),
    currency: text(cost["currency"]) || null,
    milliseconds: micros === null ? null : micros / 1000,
    firstByte: first === null ? null : first / 1000,
    leaks: list(all["leaks"]).map((leak) => text(fields(leak)["rule"])),
    status: number(all["status"]),
    method: text(all["method"]),
    path: text(all["path"]),
  };
}

/** Any value as a text to be read. */
export function words(value: unknown): string {
  if (typeof value === "string") return value;
  if (Array.isArray(value) && value.every((it) => typeof it === "string")) return value.join("; ");
  return value === null || value === undefined ? "" : JSON.stringify(value);
}

/** A field of a detail that is a text or a number, as text. */
export function told(detail: unknown, field: string): string {
  const value = fields(detail)[field];
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  return text(value);
}
