// Holds an answer against the API's OpenAPI document, so that what stands in for the API says nothing that it would not.

import { readFileSync } from "node:fs";

const DOCUMENT = JSON.parse(readFileSync(new URL("../../web/openapi.json", import.meta.url), "utf8"));
const BASE = "/api/v1/";

const kindOf = (value) => (value === null ? "null" : Array.isArray(value) ? "array" : Number.isInteger(value) ? "integer" : typeof value);

/** What is wrong with a value, by where it is; a field that the document does not have is wrong, too. */
export function wrongs(schema, value, at = "") {
  if (schema === true || schema === undefined) return [];
  if (schema.$ref) return wrongs(schema.$ref.slice(2).split("/").reduce((of, part) => of[part], DOCUMENT), value, at);
  for (const several of [schema.anyOf, schema.oneOf]) {
    if (several) {
      const all = several.map((one) => wrongs(one, value, at));
      return all.find((it) => it.length === 0) ?? all[0];
    }
  }
  if (schema.const !== undefined) return schema.const === value ? [] : [`${at}: ${JSON.stringify(value)} is not ${JSON.stringify(schema.const)}`];
  if (schema.enum && !schema.enum.includes(value)) return [`${at}: ${JSON.stringify(value)} is not one of ${schema.enum.join(", ")}`];
  const types = [schema.type ?? []].flat();
  const kind = kindOf(value);
  if (types.length > 0 && !types.includes(kind) && !(kind === "integer" && types.includes("number"))) return [`${at}: ${JSON.stringify(value)?.slice(0, 60)} is no ${types.join(" or ")}`];
  if (kind === "array") return value.flatMap((one, index) => wrongs(schema.items, one, `${at}[${index}]`)).slice(0, 5);
  if (kind !== "object" || !types.includes("object")) return [];
  const missing = (schema.required ?? []).filter((name) => !(name in value)).map((name) => `${at}.${name} is missing`);
  const known = schema.properties ?? {};
  return [...missing, ...Object.entries(value).flatMap(([name, one]) => (name in known ? wrongs(known[name], one, `${at}.${name}`) : [`${at}.${name} is not in the document`]))];
}

/** What is wrong with an answer to a request below the API's base. A path that the document does not have is wrong. */
export function wrongAnswer(method, path, answer) {
  const given = path.split("/");
  const fits = (template) => {
    const wanted = template.slice(BASE.length).split("/");
    return wanted.length === given.length && wanted.every((part, index) => part.startsWith("{") || part === given[index]);
  };
  // A path that is written out goes before one with braces.
  const [template] = Object.keys(DOCUMENT.paths).filter(fits).sort((a, b) => a.split("{").length - b.split("{").length);
  const operation = DOCUMENT.paths[template]?.[method.toLowerCase()];
  if (!operation) return [`${method} ${path} is not in the document`];
  return wrongs(operation.responses["200"].content["application/json"]?.schema, answer, `${method} ${template}`);
}
