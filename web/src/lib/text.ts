// Names from the wire, made visible: what would steer, hide or turn text round is written out as its code point.

/** A piece of a text: as it is, or a character that is written out. */
export interface Piece {
  text: string;
  escaped: boolean;
}

/** Longest text that is shown in full; a record's names are shorter, so what is longer was made to be in the way. */
export const LONGEST = 1024;

/**
 * What is written out: controls, line and paragraph separators, formats (direction, joiners, tags), private use, surrogates
 * that stand alone, and spaces that are none or look like one; variation selectors and the combining grapheme joiner; fillers.
 */
const STEERS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}\u00a0\u034f\u115f\u1160\u17b4\u17b5\u2000-\u200a\u202f\u205f\u2800\u3000\u3164\ufe00-\ufe0f\uffa0\u{e0100}-\u{e01ef}]/gu;
/** More marks on one character than any script in use puts there: text that runs over its neighbours. */
const PILES = /(\p{M}{3})\p{M}+/gu;

function written(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
}

/** The text in pieces, bounded in length. */
export function pieces(text: string): Piece[] {
  const cut = text.length > LONGEST;
  const shown = (cut ? text.slice(0, LONGEST) : text).replace(PILES, "$1\ufffd");
  const found: Piece[] = [];
  let from = 0;
  for (const match of shown.matchAll(STEERS)) {
    if (match.index > from) found.push({ text: shown.slice(from, match.index), escaped: false });
    found.push({ text: written(match[0]), escaped: true });
    from = match.index + match[0].length;
  }
  if (from < shown.length) found.push({ text: shown.slice(from), escaped: false });
  if (cut) found.push({ text: `… ${text.length - LONGEST} more`, escaped: true });
  return found;
}

/** The text as one string, for titles and labels that hold no elements. */
export function printable(text: string): string {
  return pieces(text).map((piece) => piece.text).join("");
}

/** Whether a name has letters of several scripts, as names have that are made to be mistaken for others. */
export function mixesScripts(text: string): boolean {
  const scripts = [/\p{Script=Latin}/u, /\p{Script=Cyrillic}/u, /\p{Script=Greek}/u, /\p{Script=Armenian}/u];
  return scripts.filter((script) => script.test(text)).length > 1;
}

/** As one word of a POSIX shell; what steers is written out by `$'…'`. */
export function quoted(word: string): string {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word)) return word;
  if (!new RegExp(STEERS.source, "u").test(word)) return `'${word.replaceAll("'", "'\\''")}'`;
  const bytes = new TextEncoder().encode(word);
  let out = "";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    out += byte < 0x20 || byte > 0x7e || character === "'" || character === "\\" ? `\\x${byte.toString(16).padStart(2, "0")}` : character;
  }
  return `$'${out}'`;
}
