import type { IncidentState, Severity, Verdict } from "../lib/types";

const VERDICTS: Record<Verdict, string> = { allow: "allowed", deny: "denied", fail: "failed", none: "–" };

/** A verdict in a word and a mark: never by colour alone. A verdict of a later version is shown as it is. */
export function VerdictBadge({ verdict }: { verdict: Verdict }) {
  return <span className={`badge v-${verdict}`}>{VERDICTS[verdict] ?? verdict}</span>;
}

export function SeverityBadge({ severity }: { severity: Severity }) {
  return <span className={`badge s-${severity}`}>{severity}</span>;
}

export function StateBadge({ state }: { state: IncidentState | "open" | "acknowledged" }) {
  return <span className={`badge i-${state}`}>{state}</span>;
}
