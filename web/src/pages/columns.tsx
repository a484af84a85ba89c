import type { ReactNode } from "react";
import type { Column } from "../parts/Grid";
import { call, told } from "../lib/call";
import { bytes, clock, count, money, short } from "../lib/format";
import type { Kind, LedgerRecord } from "../lib/types";
import { VerdictBadge } from "../parts/Badge";
import { Name, Party } from "../parts/Name";

type C = Column<LedgerRecord>;

function time(now: Date): C {
  return { key: "time", title: "Time", width: "82px", cell: (it) => <time dateTime={it.time}>{clock(it.time, now)}</time> };
}
const VERDICT: C = { key: "verdict", title: "Verdict", width: "78px", cell: (it) => <VerdictBadge verdict={it.verdict} /> };
const SOURCE: C = { key: "source", title: "From", width: "minmax(115px, 1fr)", cell: (it) => <Party text={it.source} /> };
const RULE: C = { key: "rule", title: "Decided by", width: "minmax(130px, 1.7fr)", cell: (it) => <Name text={it.rule || it.reason} /> };
const COUNT: C = { key: "count", title: "Count", width: "52px", number: true, cell: (it) => count(it.count) };
const NODE: C = { key: "node", title: "Node", width: "minmax(60px, 0.4fr)", cell: (it) => <Name text={it.node} /> };

const DESTINATION: C = {
  key: "destination",
  title: "To",
  width: "minmax(140px, 1fr)",
  cell: (it) => (
    <>
      <Party text={it.destination} />
      {it.port !== 0 && <span className="muted">:{it.port}</span>}
    </>
  ),
};
const SENT: C = { key: "sent", title: "Sent", width: "70px", number: true, cell: (it) => bytes(it.bytes_sent) };
const RECEIVED: C = { key: "received", title: "Received", width: "70px", number: true, cell: (it) => bytes(it.bytes_received) };

const ASKED: C = { key: "asked", title: "Name", width: "minmax(180px, 1.6fr)", cell: (it) => <Name text={it.destination} /> };
const TYPE: C = { key: "type", title: "Type", width: "60px", cell: (it) => <Name text={told(it.detail, "type") || told(it.detail, "record_type")} /> };
const REASON: C = { key: "reason", title: "Why", width: "minmax(100px, 0.7fr)", cell: (it) => <Name text={it.reason} /> };

const SERVICE: C = { key: "service", title: "Service", width: "minmax(105px, 0.9fr)", cell: (it) => <Name text={it.destination} /> };
const VERB: C = { key: "verb", title: "Does", width: "76px", cell: (it) => <Name text={call(it.detail).verb} /> };
const WHAT: C = {
  key: "what",
  title: "What",
  width: "minmax(105px, 1fr)",
  cell: (it) => {
    const of = call(it.detail);
    return <Name text={of.model || of.resource || of.path} />;
  },
};
const TOKENS: C = {
  key: "tokens",
  title: "Tokens",
  width: "58px",
  number: true,
  cell: (it) => {
    const { tokens } = call(it.detail);
    return tokens === null ? <span className="muted">–</span> : short(tokens);
  },
};
const COST: C = {
  key: "cost",
  title: "Cost",
  width: "82px",
  number: true,
  cell: (it) => {
    const of = call(it.detail);
    return of.cost === null ? <span className="muted">–</span> : money(of.cost, of.currency);
  },
};
const TOOK: C = {
  key: "took",
  title: "Took",
  width: "62px",
  number: true,
  cell: (it) => {
    const { milliseconds } = call(it.detail);
    return milliseconds === null ? <span className="muted">–</span> : `${count(Math.round(milliseconds))} ms`;
  },
};
const TOOLS: C = { key: "tools", title: "Tools", width: "minmax(180px, 1.4fr)", cell: (it) => <Name text={call(it.detail).tools.join(", ")} /> };

export interface TablePage {
  kinds: Kind[];
  what: string;
  columns: (now: Date) => C[];
  /** Only requests with such a tool. */
  tool?: string;
  /** Why there may be nothing. */
  nothing: ReactNode;
}

/** The pages that are a table of records. */
export const TABLES: Record<"flows" | "dns" | "calls" | "tools", TablePage> = {
  flows: {
    kinds: ["flow", "tls"],
    what: "connections",
    columns: (now) => [time(now), VERDICT, SOURCE, DESTINATION, RULE, COUNT, SENT, RECEIVED, NODE],
    nothing: "Connections appear here a moment after they are opened or denied. Allowed ones that are alike are one line for 15 seconds.",
  },
  dns: {
    kinds: ["dns"],
    what: "DNS queries",
    columns: (now) => [time(now), VERDICT, SOURCE, ASKED, TYPE, REASON, RULE, COUNT, NODE],
    nothing: "What pods ask DNS for appears here. Only policies that name domains make a pod's queries be looked at.",
  },
  calls: {
    kinds: ["ai_call"],
    what: "API calls",
    columns: (now) => [time(now), VERDICT, SOURCE, SERVICE, VERB, WHAT, TOKENS, COST, TOOK, RULE, NODE],
    nothing: (
      <>
        Requests appear here where a rule looks at them: one with <code>operations</code>, <code>models</code>, <code>tools</code> and the like. Other rules let connections through unopened.
      </>
    ),
  },
  tools: {
    kinds: ["ai_call"],
    what: "calls with tools",
    columns: (now) => [time(now), VERDICT, SOURCE, SERVICE, TOOLS, WHAT, RULE, NODE],
    tool: "*",
    nothing: (
      <>
        Requests that offer or call tools appear here where a rule looks at them: one with <code>operations</code>, <code>tools</code> and the like.
      </>
    ),
  },
};
