import { printable } from "../lib/text";

const VERDICTS: Record<string, string> = { allow: "allowed", deny: "denied", fail: "failed", none: "–" };

/** As part of a class: a word of a later version is one without a style. */
const word = (text: string) => text.replace(/[^\w-]/g, "_");

/** A verdict in a word and a mark: never by colour alone. A verdict of a later version is shown as it is. */
export function VerdictBadge({ verdict }: { verdict: string }) {
  return <span className={`badge v-${word(verdict)}`}>{Object.hasOwn(VERDICTS, verdict) ? VERDICTS[verdict] : printable(verdict)}</span>;
}

export function SeverityBadge({ severity }: { severity: string }) {
  return <span className={`badge s-${word(severity)}`}>{printable(severity)}</span>;
}

export function StateBadge({ state }: { state: string }) {
  return <span className={`badge i-${word(state)}`}>{printable(state)}</span>;
}
