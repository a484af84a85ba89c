import { describe, expect, it } from "vitest";
import { call, told } from "../src/lib/call";
import { edgesCommand, findingsCommand, huntCommand, incidentsCommand, showCommand } from "../src/lib/cli";
import { ago, bytes, duration, money } from "../src/lib/format";
import { joined } from "../src/lib/live";
import type { LedgerRecord } from "../src/lib/types";
import { typed } from "../src/parts/FilterBar";
import { silence } from "../src/app";
import { ApiError } from "../src/lib/api";
import { isIndicator } from "../src/pages/Incident";
import { turnedOf } from "../src/pages/Map";
import { step } from "../src/pages/Records";
import { gathered } from "../src/pages/Why";

describe("what is said", () => {
  it("of bytes, as the command line does", () => {
    expect([0, 999, 1000, 1_550_000, 2e9].map(bytes)).toEqual(["0 B", "999 B", "1.0 kB", "1.6 MB", "2.0 GB"]);
  });
  it("of money, and of a price that nobody knows", () => {
    expect(money(5e9, "USD")).toBe("5.00 USD");
    expect(money(1_200_000, "USD")).toBe("0.0012 USD");
    expect(money(null, "USD")).toBe("no price");
  });
  it("of times, also where a clock is ahead", () => {
    const now = new Date("2026-11-26T12:00:00Z");
    expect(ago("2026-11-26T11:00:00Z", now)).toBe("60 min ago");
    expect(ago("2026-11-26T12:10:00Z", now)).toBe("10 min ahead");
    expect(ago("nonsense", now)).toBe("nonsense");
    expect(ago(null, now)).toBe("never");
    expect(duration(86400 * 3)).toBe("3 d");
  });
  it("by bars that are not too many", () => {
    for (const seconds of [60, 3600, 86400, 30 * 86400]) expect(seconds / step(seconds)).toBeLessThanOrEqual(120);
  });
});

describe("commands", () => {
  const now = Date.parse("2026-11-26T12:00:00Z");
  it("tell what the page tells", () => {
    expect(showCommand(["flow", "tls"], new URLSearchParams("verdict=deny&source=ai/Job/t&range=24h"), now)).toBe("cofferdam ledger show --kind flow --kind tls --source ai/Job/t --verdict deny --since 24h");
    expect(edgesCommand(new URLSearchParams("destination=hub.example"), now)).toBe("cofferdam edges --destination hub.example --since 1h");
  });
  it("of each page tell the same time and filters", () => {
    expect(edgesCommand(new URLSearchParams("new=1&range=24h"), now)).toBe("cofferdam edges --new --since 24h");
    expect(findingsCommand(new URLSearchParams("severity=high&source=ai/Job/t"), now)).toBe("cofferdam findings --severity high --from ai/Job/t --since 1h");
    expect(incidentsCommand(new URLSearchParams("state=open&since=2026-11-26T10:00:00Z&until=2026-11-26T11:00:00Z"), now)).toBe("cofferdam incident list --state open --since 2026-11-26T10:00:00.000Z --until 2026-11-26T11:00:00.000Z");
    expect(huntCommand("a b; rm", new URLSearchParams(), now)).toBe("cofferdam hunt 'a b; rm' --since 1h");
  });
  it("name the node, and every other filter, as far as there is a flag", () => {
    const all = new URLSearchParams({ source: "ai/*", destination: "hub.example", verdict: "deny", rule: "r", reason: "why", port: "443", node: "n1", q: "-x" });
    expect(showCommand(["ai_call"], all, now, "*")).toBe("cofferdam ledger show --kind ai-call --tool '*' --source 'ai/*' --destination hub.example --verdict deny --port 443 --rule r --reason why --node n1 --text=-x --since 1h");
    const node = new URLSearchParams("node=n*&range=24h");
    expect(edgesCommand(node, now)).toBe("cofferdam ledger show --kind flow --node 'n*' --since 24h");
    expect(edgesCommand(new URLSearchParams("source=ai/*&verdict=deny&port=53&q=a"), now)).toBe("cofferdam edges --source 'ai/*' --verdict deny --port 53 --text a --since 1h");
    expect(findingsCommand(node, now)).toBe("cofferdam ledger show --kind finding --node 'n*' --since 24h");
    expect(incidentsCommand(node, now)).toBe("cofferdam incident list --node 'n*' --since 24h");
    expect(huntCommand("x.example", node, now)).toBe("cofferdam hunt x.example --node 'n*' --since 24h");
  });
  it("are safe to paste", () => {
    const command = showCommand(["dns"], new URLSearchParams({ destination: "$(reboot)", q: "'; reboot #" }), now);
    expect(command).toBe("cofferdam ledger show --kind dns --destination '$(reboot)' --text ''\\''; reboot #' --since 1h");
  });
});

describe("the footer", () => {
  it("says that nobody answers only where nobody does", () => {
    expect(silence(new ApiError(0, "the server cannot be reached", null))).toMatch(/does not answer/);
    expect(silence(new ApiError(401, "no session", null))).toMatch(/Log in/);
    expect(silence(new ApiError(503, "busy", null))).toMatch(/503/);
  });
});

describe("what an incident is about", () => {
  it("is hunted for where it is a name or an address, and not where it is said in words", () => {
    const subjects = ["huggingface.co", "192.0.2.0/24", "train/Job/x", "DNS past the cluster's resolver", "addresses and ports", ""];
    expect(subjects.filter(isIndicator)).toEqual(["huggingface.co", "192.0.2.0/24", "train/Job/x"]);
  });
});

describe("records", () => {
  const record = (number: number) => ({ number }) as LedgerRecord;
  it("come each once, the newest first, and no more than are kept", () => {
    const found = joined([record(4), record(5), record(5)], [record(3), record(4), record(2)], 3);
    expect(found.records.map((it) => it.number)).toEqual([5, 4, 3]);
    expect(found.dropped).toBe(1);
  });
  it("of a later version are read as far as they are known", () => {
    for (const detail of [null, undefined, 7, "text", [], { operation: null, usage: [], leaks: {} }, { operation: { tools: [1, "a", {}] } }]) {
      expect(call(detail).verb).toBe("");
    }
    expect(call({ operation: { tools: [1, "a", {}] } }).tools).toEqual(["a"]);
    expect(call({ operation: { sources: ["acme/base", "", 7] } }).sources).toEqual(["acme/base", "wherever it is"]);
    expect(told({ type: { a: 1 } }, "type")).toBe("");
  });
});

describe("the way through the tiers", () => {
  const step = (tier: string, found: string, decides = false) => ({ tier, found, decides, text: `${tier} ${found}` });
  it("draws together what was only passed, and never what decides", () => {
    const steps = [step("admin", "selects"), step("admin", "selects"), step("admin", "nothing"), step("network-policy", "selects", true), step("network-policy", "selects"), step("later", "selects")];
    expect(gathered(steps)).toEqual([{ passed: [steps[0], steps[1]] }, steps[2], steps[3], steps[4], steps[5]]);
    expect(gathered([])).toEqual([]);
  });
});

describe("what somebody types", () => {
  it("is a field and a value, or a text", () => {
    expect(typed("source=ai/")).toEqual({ field: "source", value: "ai/" });
    expect(typed("Verdict: deny")).toEqual({ field: "verdict", value: "deny" });
    expect(typed("https://x")).toEqual({ field: null, value: "https://x" });
    expect(typed("__proto__=1")).toEqual({ field: null, value: "__proto__=1" });
  });
  it("and what an address says of boxes is read with care", () => {
    expect([...turnedOf('["n:a",7,{}]')]).toEqual(["n:a"]);
    for (const text of [null, "", "{", "7", "null"]) expect(turnedOf(text).size).toBe(0);
  });
});
