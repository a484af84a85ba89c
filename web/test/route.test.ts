import { describe, expect, it } from "vitest";
import { address, filters, parse, timespan } from "../src/lib/route";

const at = (search: string, page = "/prefix/flows") => parse(page, search);

describe("the address", () => {
  it("names the page by its last segment, whatever the prefix", () => {
    expect(parse("/a/b/findings", "").page).toBe("findings");
    expect(parse("/a/b/", "").page).toBe("map");
    expect(parse("/nothing-of-ours", "").page).toBe("map");
  });

  it("keeps time and filters from page to page, and nothing else", () => {
    const from = at("?range=24h&source=ai%2FJob%2Ftrain&open=7&paused=1");
    expect(address(from, "dns")).toBe("dns?range=24h&source=ai%2FJob%2Ftrain");
    expect(address(from, "flows", { open: "8" })).toBe("flows?range=24h&source=ai%2FJob%2Ftrain&open=8&paused=1");
  });

  it("takes away what is null or empty", () => {
    expect(address(at("?source=a&q=b"), "flows", { source: null, q: "" })).toBe("flows");
  });

  it("carries hostile values as values", () => {
    const value = '"><script>&source=x#y\u202e';
    const read = at(`?${address(at(""), "flows", { q: value }).split("?")[1] ?? ""}`);
    expect(filters(read.params)).toEqual({ q: value });
  });
});

describe("the time", () => {
  const now = Date.parse("2026-11-26T12:00:00Z");
  const span = (search: string) => timespan(at(search).params, now);

  it("is the last hour where nothing is said, or nonsense", () => {
    for (const search of ["", "?range=soon", "?range=constructor", "?since=yesterday"]) {
      expect(span(search)).toEqual({ since: now - 3_600_000, until: null, relative: "1h" });
    }
  });

  it("is exact where both ends are said", () => {
    const found = span("?since=2026-11-26T10:00:00Z&until=2026-11-26T11:00:00Z&range=7d");
    expect(found).toEqual({ since: now - 7_200_000, until: now - 3_600_000, relative: null });
  });
});
