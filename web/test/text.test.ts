import { describe, expect, it } from "vitest";
import { LONGEST, mixesScripts, pieces, printable, quoted } from "../src/lib/text";

describe("names from the wire", () => {
  const cases: [string, string, string][] = [
    ["plain names stay", "train/Job/llm-trainer", "train/Job/llm-trainer"],
    ["letters of other scripts stay", "bücher.例え.рф", "bücher.例え.рф"],
    ["markup is text", "<img src=x onerror=1>", "<img src=x onerror=1>"],
    ["escapes of terminals are written out", "a\u001b[2Jb", "a\\x1b[2Jb"],
    ["new lines cannot make a second name", "a\nb\r", "a\\x0ab\\x0d"],
    ["what turns text round is written out", "good\u202Egpj.exe", "good\\u{202e}gpj.exe"],
    ["isolates too", "\u2066a\u2069", "\\u{2066}a\\u{2069}"],
    ["what cannot be seen is written out", "in\u200Bvis\u2060ible\uFEFF", "in\\u{200b}vis\\u{2060}ible\\u{feff}"],
    ["tags above the basic plane too", "a\u{E0041}b", "a\\u{e0041}b"],
    ["spaces that are none", "a\u00a0b\u3164c", "a\\xa0b\\u{3164}c"],
    ["a surrogate that stands alone", "a\ud800b", "a\\u{d800}b"],
    ["C1 controls", "a\u009bb", "a\\x9bb"],
  ];
  it.each(cases)("%s", (_name, text, shown) => expect(printable(text)).toBe(shown));

  it("says which pieces were written out, and loses nothing", () => {
    expect(pieces("a\u0000b")).toEqual([{ text: "a", escaped: false }, { text: "\\x00", escaped: true }, { text: "b", escaped: false }]);
    expect(pieces("")).toEqual([]);
  });

  it("bounds what is shown, and says how much is not", () => {
    const found = pieces("x".repeat(LONGEST + 7));
    expect(found.at(-1)).toEqual({ text: "… 7 more", escaped: true });
    expect(found[0]?.text.length).toBe(LONGEST);
  });

  it("bounds marks that pile up on a character", () => {
    expect(printable(`a${"\u0301".repeat(500)}b`).length).toBeLessThan(10);
  });

  it("tells names that mix scripts", () => {
    expect(mixesScripts("pay\u0440al.example")).toBe(true);
    expect(mixesScripts("paypal.example")).toBe(false);
    expect(mixesScripts("例え.example")).toBe(false);
  });
});

describe("words of a shell", () => {
  const cases: [string, string][] = [
    ["ai/Job/train", "ai/Job/train"],
    ["it's; rm -rf $HOME", "'it'\\''s; rm -rf $HOME'"],
    ["", "''"],
    ["a\nb", "$'a\\x0ab'"],
    ["a\u202Eb'", "$'a\\xe2\\x80\\xaeb\\x27'"],
  ];
  it.each(cases)("%j is one word", (word, shown) => expect(quoted(word)).toBe(shown));
});
