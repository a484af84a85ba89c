// @vitest-environment node
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
// @ts-expect-error a script without types
import { DOCUMENT, TYPES, typeOf, types } from "../scripts/types.mjs";

describe("types of the API's answers", () => {
  it("are what the document makes", () => {
    expect(readFileSync(TYPES, "utf8")).toBe(types(JSON.parse(readFileSync(DOCUMENT, "utf8"))));
  });
  it("tell what is always there from what may be missing, and what may be null", () => {
    const schema = { type: "object", required: ["a", "b"], properties: { a: { type: ["string", "null"] }, b: { $ref: "#/components/schemas/B" }, c: { type: "integer", description: "one */ two" } } };
    expect(typeOf(schema)).toBe("{\n  a: string | null;\n  b: B;\n  /** one * / two */\n  c?: number;\n}");
  });
  it("are of every form that the document uses, and of no other", () => {
    expect(typeOf(true)).toBe("unknown");
    expect(typeOf({ type: "array", items: { enum: ["x", "y"] } })).toBe('("x" | "y")[]');
    expect(typeOf({ anyOf: [{ $ref: "#/x/Y" }, { type: "null" }] })).toBe("Y | null");
    expect(typeOf({ oneOf: [{ const: "a", type: "string" }, { const: "b", type: "string" }] })).toBe('"a" | "b"');
    expect(typeOf({ type: "object" })).toBe("{ [key: string]: never }");
    expect(typeOf({ type: "object", additionalProperties: { type: "integer" } })).toBe("{ [key: string]: number }");
    expect(() => typeOf({ type: "tuple" })).toThrow("no type here");
  });
});
