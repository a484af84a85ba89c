// The types of what the API answers, made of its OpenAPI document: openapi.json -> src/lib/api-types.ts.
// `node scripts/types.mjs` writes them, `--check` fails where they are not what it would write.
// The document itself is held against the API by `cargo test -p api --test all document`.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const HEAD = `// Made by scripts/types.mjs of openapi.json: change the API and run \`npm run types\`.
// Times are RFC 3339 in UTC. What a field holds is told in the words of the API's own document.
`;

const last = (reference) => reference.slice(reference.lastIndexOf("/") + 1);
const isName = (text) => /^[A-Za-z_$][\w$]*$/.test(text);

/** A comment over what it is about; nothing that is in it ends it. */
function comment(text, indent) {
  return text ? `${indent}/** ${text.replaceAll("*/", "* /").replace(/\s+/g, " ").trim()} */\n` : "";
}

/** A union; what is wider than another member is left as it is written. */
function union(parts) {
  return [...new Set(parts)].join(" | ");
}

/** A schema as a TypeScript type. What it does not know is an error, and not `unknown`. */
export function typeOf(schema, indent = "") {
  if (schema === true || Object.keys(schema).every((key) => ["description", "title", "default", "examples"].includes(key))) return "unknown";
  if (schema.$ref) return last(schema.$ref);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return union(schema.enum.map((word) => JSON.stringify(word)));
  for (const several of ["anyOf", "oneOf"]) if (schema[several]) return union(schema[several].map((it) => typeOf(it, indent)));
  if (Array.isArray(schema.type)) return union(schema.type.map((type) => typeOf({ ...schema, type }, indent)));
  switch (schema.type) {
    case "string":
    case "boolean":
    case "null":
      return schema.type;
    case "integer":
    case "number":
      return "number";
    case "array": {
      const of = typeOf(schema.items ?? true, indent);
      return / \| /.test(of) ? `(${of})[]` : `${of}[]`;
    }
    case "object":
      return schema.properties ? fields(schema, indent) : `{ [key: string]: ${schema.additionalProperties ? typeOf(schema.additionalProperties, indent) : "never"} }`;
  }
  throw new Error(`a schema that has no type here: ${JSON.stringify(schema)}`);
}

function fields(schema, indent) {
  const required = new Set(schema.required ?? []);
  const lines = Object.entries(schema.properties).map(([name, of]) => {
    const inner = `${indent}  `;
    return `${comment(of.description, inner)}${inner}${isName(name) ? name : JSON.stringify(name)}${required.has(name) ? "" : "?"}: ${typeOf(of, inner)};\n`;
  });
  return `{\n${lines.join("")}${indent}}`;
}

/** Everything, in the order of names. */
export function types(document) {
  const schemas = Object.entries(document.components.schemas).sort(([a], [b]) => (a < b ? -1 : 1));
  const parts = schemas.map(([name, schema]) => {
    if (!isName(name)) throw new Error(`${name} is no name of a type`);
    const body = typeOf(schema);
    return `${comment(schema.description, "")}export ${body.startsWith("{") ? `interface ${name} ${body}` : `type ${name} = ${body};`}\n`;
  });
  return `${HEAD}\n${parts.join("\n")}`;
}

export const DOCUMENT = fileURLToPath(new URL("../openapi.json", import.meta.url));
export const TYPES = fileURLToPath(new URL("../src/lib/api-types.ts", import.meta.url));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const made = types(JSON.parse(readFileSync(DOCUMENT, "utf8")));
  if (process.argv.includes("--check")) {
    if (readFileSync(TYPES, "utf8") !== made) {
      console.error("src/lib/api-types.ts is stale: npm run types");
      process.exit(1);
    }
  } else writeFileSync(TYPES, made);
}
