// What the HTTP API answers (`/api/v1`). Times are RFC 3339 in UTC. Fields that a server of another version lacks are told by `?`.

export type Verdict = "allow" | "deny" | "fail" | "none";
export type Kind = "flow" | "dns" | "tls" | "ai_call" | "finding" | "audit";
export type Severity = "low" | "medium" | "high";

export interface Page<T> {
  items: T[];
  /** Goes into `before`; null at the end. Answers that have no pages lack it. */
  next?: string | number | null;
  /** Records that found no room in the ledger. */
  lost?: number;
}

export interface Me {
  name: string;
  role: "viewer" | "operator" | "admin";
}

export interface Sensor {
  name: string;
  role: string;
  ready: boolean;
  lost: number;
  detail: unknown;
}

export interface Status {
  version: string;
  time: string;
  node: string;
  generation: number;
  enforcement: string;
  degraded: string[];
  ledger: { path: string; written: number; lost: number; problem?: string | null } | null;
  sensors: Sensor[];
  counts: { records: number; denied: number; findings: number; incidents_open: number };
}

export interface LedgerRecord {
  number: number;
  time: string;
  kind: Kind;
  verdict: Verdict;
  node: string;
  source: string;
  destination: string;
  port: number;
  protocol: number;
  rule: string;
  reason: string;
  count: number;
  bytes_sent: number;
  bytes_received: number;
  detail?: unknown;
}

export interface Why {
  record: LedgerRecord;
  deciding: {
    object: string;
    field: string;
    name: string | null;
    file: string | null;
    line: number | null;
    lines: { number: number; text: string; decides: boolean }[];
  } | null;
  joined: LedgerRecord[];
  nearest: { rule: string; lacks: unknown } | null;
}

export interface GraphNode {
  id: string;
  kind: "workload" | "node" | "external" | "provider";
  namespace?: string | null;
  group?: string | null;
  label: string;
}

export interface GraphEdge {
  source: string;
  destination: string;
  ports: string[];
  allowed: number;
  denied: number;
  bytes_sent: number;
  bytes_received: number;
  first_seen: string;
  last_seen: string;
  is_new: boolean;
}

export interface Graph {
  nodes: GraphNode[];
  edges: GraphEdge[];
  truncated: boolean;
}

export interface Edge {
  source: string;
  destination: string;
  port: number;
  protocol: number;
  first_seen: string;
  last_seen: string;
  allowed: number;
  denied: number;
  bytes_sent: number;
  bytes_received: number;
  rule: string;
}

export interface Series {
  step: number;
  start: string;
  series: { name: string; values: number[] }[];
}

export interface UsageItem {
  workload: string;
  service: string;
  model: string | null;
  calls: number;
  denied: number;
  input_tokens: number;
  output_tokens: number;
  cost_nanos: number | null;
  currency?: string | null;
  p50_ms: number | null;
  p95_ms: number | null;
  first_token_p50_ms?: number | null;
  findings: number;
}

export interface Budget {
  workload: string;
  rule: string;
  what: string;
  used: number;
  limit: number | null;
  window: string;
  resets: string | null;
}

export interface Usage {
  items: UsageItem[];
  budgets: Budget[];
}

export interface PolicyRule {
  rule: string;
  field: string;
  name: string | null;
  hits: number;
  denied: number;
  last: string | null;
}

export interface Policy {
  kind: string;
  namespace: string | null;
  name: string;
  file?: string | null;
  line?: number | null;
  tier: string;
  selects: number | string | null;
  rules: PolicyRule[];
  problems: string[];
}

export interface Policies {
  generation: number;
  items: Policy[];
  shadow?: Shadow | null;
}

export interface Shadow {
  sources: string[];
  policies: number;
  problem: string | null;
  judged: number;
  would_deny: number;
  would_allow: number;
  unknown: number;
  unlisted: number;
  differences: Difference[];
}

export interface Difference {
  verdict: string;
  source: string;
  destination: string;
  protocol: string;
  port: number;
  rule: string;
  count: number;
  first: string;
  last: string;
}

export interface PolicySource {
  yaml: string | null;
  file: string | null;
  line: number | null;
}

export interface Finding {
  id: string;
  detector: string;
  severity: Severity;
  time: string;
  until?: string | null;
  workload: string;
  subject: string;
  sentence: string;
  numbers: { name: string; value: number | string; baseline?: number | string | null; threshold?: number | string | null }[];
  count: number;
  records: string[];
  techniques: string[];
  node?: string | null;
  pod?: string | null;
  state?: "open" | "acknowledged";
  first?: string;
  last?: string;
}

export type IncidentState = "open" | "acknowledged" | "contained" | "closed";

export interface Incident {
  id: string;
  title: string;
  state: IncidentState;
  severity: Severity;
  score: number;
  parts: { what: string; points: number; why: string }[];
  workloads: string[];
  destinations: string[];
  detectors: string[];
  techniques: string[];
  first: string;
  last: string;
  findings: string[];
  notes: { time: string; who: string; text: string }[];
  contained: { workload: string; until: string }[];
}

export interface TimelineItem {
  time: string;
  kind: Kind;
  verdict: Verdict;
  source: string;
  destination: string;
  port: number;
  rule: string;
  reason: string;
  sentence: string;
  number: number;
}

export interface BlastRadius {
  workload: string;
  could: { destination: string; port: number | string; rule: string }[];
  could_is_complete: boolean;
  did: Edge[];
}

export interface IncidentWhole {
  incident: Incident;
  findings: Finding[];
  timeline: TimelineItem[];
  timeline_truncated: boolean;
  blast_radius: BlastRadius[];
}

export interface Containment {
  policy: string;
  until: string;
  cuts: Edge[];
  /** Whether the node that was asked holds to it by itself; false where the policy is yet to be applied. */
  in_force?: boolean;
  warnings?: string[];
}

export interface Hunt {
  indicator: string;
  kind: string;
  hits: number;
  first: string | null;
  last: string | null;
  workloads: { workload: string; hits: number; first: string; last: string }[];
  records: LedgerRecord[];
  truncated?: boolean;
}
