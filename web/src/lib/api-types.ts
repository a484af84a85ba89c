// Made by scripts/types.mjs of openapi.json: change the API and run `npm run types`.
// Times are RFC 3339 in UTC. What a field holds is told in the words of the API's own document.

/** What a workload could reach, and did. */
export interface BlastRadius {
  /** What it could reach. */
  could: Reachable[];
  /** Whether that is all. */
  could_is_complete: boolean;
  /** What it did reach, or try to. */
  did: EdgeAnswer[];
  /** Which. */
  workload: string;
}

/** A budget of which something is used. */
export interface Budget {
  /** Of how much; left out where that is not known here. */
  limit?: number | null;
  /** When it begins anew. */
  resets: Moment;
  /** Under which rule. */
  rule: string;
  /** How much is used. */
  used: number;
  /** `requests`, `tokens`, `money` (billionths) or `upload` (bytes). */
  what: string;
  /** `hour` or `day` (UTC). */
  window: string;
  /** Who. */
  workload: string;
}

/** What to contain. */
export interface ContainOrder {
  /** Only say what it would do. */
  dry_run?: boolean;
  /** For how long; at most 10080, a week. */
  minutes: number;
  /** As records have it. */
  workload: string;
}

/** A workload that is contained. */
export interface Contained {
  /** Until when. */
  until: Moment;
  /** Which. */
  workload: string;
}

/** What containing a workload does. */
export interface Containment {
  /** What is open, or was used in the last hour, and will be cut. */
  cuts: EdgeAnswer[];
  /** Whether it is cut off now. */
  in_force: boolean;
  /** The policy. */
  policy: string;
  /** When it ends. */
  until: Moment;
  /** What else somebody should know. */
  warnings: string[];
  /** Which one. */
  workload: string;
}

/** How much there is. */
export interface Counts {
  /** Connections that were denied since then. */
  denied: number;
  /** Findings that nobody acknowledged. */
  findings: number;
  /** Incidents that nobody closed. */
  incidents_open: number;
  /** Records since the process began. */
  records: number;
}

/** A rule that decided something, as its author wrote it. */
export interface Deciding {
  /** Path of the field, for example `spec.ingress[2]`. */
  field: string;
  /** The file; null where it did not come from one. */
  file: string | null;
  /** Where in it, from 1. */
  line: number | null;
  /** The lines around it; empty where the file cannot be read. */
  lines: Line[];
  /** The rule's own name. */
  name: string | null;
  /** Kind, namespace and name of the object. */
  object: string;
}

/** One way in which what happened differs from what other policies would have done. */
export interface Difference {
  /** How many accesses. */
  count: number;
  /** To whom, as records have it. */
  destination: string;
  /** When first. */
  first: Moment;
  /** When last. */
  last: Moment;
  /** Destination port; 0 where the protocol has none. */
  port: number;
  /** Transport protocol. */
  protocol: string;
  /** Their rule: object, field, file and line. */
  rule: string;
  /** Who, as records have it. */
  source: string;
  /** What they would have done, and did not happen: `allow` or `deny`. */
  verdict: string;
}

/** Nothing needs to be said. */
export interface Done { [key: string]: never }

/** Who ever reached, or tried to reach, whom. */
export interface EdgeAnswer {
  /** How often it was let through. */
  allowed: number;
  /** Bytes that it received. */
  bytes_received: number;
  /** Bytes that the source sent. */
  bytes_sent: number;
  /** How often it was not. */
  denied: number;
  /** Whom. */
  destination: string;
  /** When first. */
  first_seen: Moment;
  /** When last. */
  last_seen: Moment;
  /** At which port. */
  port: number;
  /** By which transport protocol. */
  protocol: number;
  /** The rule that decided last. */
  rule: string;
  /** Who. */
  source: string;
}

/** A page of edges. */
export interface Edges {
  /** Those first that were first seen last. */
  items: EdgeAnswer[];
  /** What is not in the ledger: how many records found no room since it was begun. */
  lost: number;
  /** To be given as `before` for those that follow; null: there are no more. It means nothing to anybody but who gave it. */
  next: string | null;
}

/** One thing that happened. */
export interface Event {
  /** To whom. */
  destination: string;
  /** Of what kind. */
  kind: string;
  /** Of the ledger's entry. */
  number: number;
  /** At which port; 0 where there is none. */
  port: number;
  /** Why. */
  reason: string;
  /** The rule that decided. */
  rule: string;
  /** For people. */
  sentence: string;
  /** Who. */
  source: string;
  /** When. */
  time: Moment;
  /** How it was decided. */
  verdict: string;
}

/** Something that somebody should look at, as all that is told of it says. */
export interface Finding {
  /** How many records speak for it. */
  count: number;
  /** What found it. */
  detector: string;
  /** Entries of the ledger that told of it, the newest last. */
  entries: number[];
  /** When it began, as the oldest entry about it says. */
  first: Moment;
  /** The same for all that is told of it. */
  id: string;
  /** As `until`. */
  last: Moment;
  /** The node that told of it; empty where none is known. */
  node: string;
  /** What was measured. */
  numbers: unknown[];
  /** The first of them, as `kind:number`. */
  records: string[];
  /** The rule that was reached; empty where none was. */
  rule: string;
  /** What happened, for people. */
  sentence: string;
  /** How bad it is. */
  severity: "low" | "medium" | "high";
  /** Whether somebody has seen it. */
  state: "open" | "acknowledged";
  /** About what; empty where nothing can be named. Comes from the wire: show it as text only. */
  subject: string;
  /** As MITRE and OWASP number them. */
  techniques: string[];
  /** When it began, as the newest entry says. */
  time: Moment;
  /** When it was last seen. */
  until: Moment;
  /** Who. */
  workload: string;
}

/** A hub, or none. */
export interface Fleet {
  /** By name; at most 1000. */
  clusters: FleetCluster[];
  /** Whether this process was given a hub; without one all else is empty. */
  has_hub: boolean;
  /** Clusters that found no room. */
  more_clusters: number;
  /** Those that are under way first, then by name. */
  rollouts: FleetRollout[];
}

/** One cluster, in its own words. */
export interface FleetCluster {
  /** Policies of the fleet that were changed there since the release came. */
  drift: string[];
  /** What is done where somebody changed a policy of the fleet there: `correct` or `report`. */
  drift_is: string;
  /** Digest of these: two clusters with the same have the same policies. Empty: it never said. */
  effective: string;
  /** What it has in force; left out: it never said. */
  enforced?: ReleaseRef | null;
  /** As `key=value`. */
  labels: string[];
  /** Its name at the hub. */
  name: string;
  /** Policies of the fleet that its API server has. */
  policies: number;
  /** Why it does not have what is wanted. */
  problems: string[];
  /** What it judges beside it, without effect. */
  shadow?: ReleaseRef | null;
  /** Seconds since it was heard, by the hub's clock; left out: never. */
  silent_seconds?: number | null;
  /** What it is to have in force; left out: what it has. */
  wanted?: ReleaseRef | null;
}

/** Something that was decided. */
export interface FleetDecision {
  /** Who asked for it; empty: it followed from what was seen. */
  by: string;
  /** The stage that it is about. */
  stage: string;
  /** When. */
  time: Moment;
  /** What, in one word. */
  what: string;
  /** Why. */
  why: string;
}

/** What became of what workloads tried that the release selects. */
export interface FleetErrors {
  /** Connections over TCP, without those that rules on addresses deny. */
  connections: FleetRate;
  /** Questions to DNS. */
  names: FleetRate;
  /** Requests that gateways of nodes read. */
  requests: FleetRate;
}

/** Findings, by how much they matter. */
export interface FleetFindings {
  /** To be looked at now. */
  high: number;
  /** Worth knowing. */
  low: number;
  /** To be looked at today. */
  medium: number;
}

/** What must be seen of a release before it is enforced. */
export interface FleetGate {
  /** Of a hundred connections, names or requests, so many may fail at any one cluster; left out: nobody looks. */
  error_percent?: number | null;
  /** Most findings at any one cluster. */
  findings: number;
  /** Judged, at all clusters together. */
  flows: number;
  /** At every cluster. */
  seconds: number;
  /** Findings that matter less do not count: `low`, `medium` or `high`. */
  severity: string;
}

/** One cluster of a stage that has begun. */
export interface FleetMember {
  /** The same, by how much they matter. */
  by_severity: FleetFindings;
  /** Denials that nobody accepted. */
  denials: number;
  /** What failed of what workloads tried; left out: nobody counts it. */
  errors?: FleetErrors | null;
  /** Findings. */
  findings: number;
  /** Flows in that time. */
  flows: number;
  /** Its name. */
  name: string;
  /** Why it does not have what is wanted. */
  problem?: string | null;
  /** For so long it judges, or enforces, the release. */
  seconds: number;
  /** Seconds since it was heard; left out: never. */
  silent_seconds?: number | null;
  /** What it was told: `shadow`, `enforce` or `back`. */
  told: string;
}

/** What was seen of clusters together. */
export interface FleetNumbers {
  /** Denials that are meant. */
  accepted: number;
  /** All, by how much they matter. */
  by_severity: FleetFindings;
  /** Clusters. */
  clusters: number;
  /** Denials that nobody accepted. */
  denials: number;
  /** All, where it is counted. */
  errors: FleetErrors;
  /** Of these, that cannot have it. */
  failing: number;
  /** Those that count, by the gate's severity. */
  findings: number;
  /** All. */
  flows: number;
  /** Of these, that said lately how they stand with the release. */
  reporting: number;
  /** The least of them. */
  seconds: number;
}

/** How often something was tried, and failed. */
export interface FleetRate {
  /** Of these. */
  failed: number;
  /** All of them. */
  tried: number;
}

/** A release on its way to clusters. */
export interface FleetRollout {
  /** The newest last; at most 20. */
  decisions: FleetDecision[];
  /** What it falls back to; left out: nothing. */
  fallback?: ReleaseRef | null;
  /** Whether it waits for something that does not come by waiting alone. */
  held: boolean;
  /** Its name. */
  name: string;
  /** Who paused it. */
  paused?: string | null;
  /** `waiting`, `shadow`, `enforce`, `rolling-back`, `rolled-back` or `done`. */
  phase: string;
  /** Why it is no plan, or may not begin. */
  problems: string[];
  /** What is rolled out; left out where the object cannot be read. */
  release?: ReleaseRef | null;
  /** The stage that it is about. */
  stage: string;
  /** In order. */
  stages: FleetStage[];
  /** What it waits for. */
  waits: string[];
}

/** Clusters that get the release together. */
export interface FleetStage {
  /** Whether somebody must approve it. */
  approval: boolean;
  /** Its clusters; at most 200. */
  clusters: FleetMember[];
  /** What its gate asks for. */
  gate: FleetGate;
  /** Seconds for which it is to be enforced before the next begins. */
  hold_seconds: number;
  /** What it waits for. */
  missing: string[];
  /** Those that found no room. */
  more_clusters: number;
  /** Its name. */
  name: string;
  /** What is seen of its clusters. */
  numbers: FleetNumbers;
  /** `pending`, `shadow`, `enforce`, `through`, `going-back` or `back`. */
  phase: string;
  /** Clusters that it selects now. */
  selects: number;
}

/** Who reaches whom, to be drawn. */
export interface Graph {
  /** Each pair once. */
  edges: GraphEdge[];
  /** Parties that belong together were put together: nodes with `members` stand for several. */
  is_folded: boolean;
  /** Of these, how many are in none of the edges. */
  left_out: number;
  /** Each once. */
  nodes: Node[];
  /** Pairs and ports that met, in this time and with these filters. */
  pairs: number;
  /** Not all that met are here: those with the most denials, then bytes, are. */
  truncated: boolean;
}

/** What passed from one end to another, at all ports. */
export interface GraphEdge {
  /** How often it was let through. */
  allowed: number;
  /** Bytes that it received. */
  bytes_received: number;
  /** Bytes that the source sent. */
  bytes_sent: number;
  /** How often it was not. */
  denied: number;
  /** Whom. */
  destination: string;
  /** When first, of what is in the answer. */
  first_seen: Moment;
  /** Whether nobody saw it before the time that was asked for. */
  is_new: boolean;
  /** When last. */
  last_seen: Moment;
  /** As `443/TCP`. */
  ports: string[];
  /** Who. */
  source: string;
}

/** One of them. */
export interface Hint {
  /** How many entries have it. */
  count: number;
  /** The word. */
  value: string;
}

/** Words that a filter could have. */
export interface Hints {
  /** The most frequent first. */
  items: Hint[];
}

/** Where an indicator was seen. */
export interface Hunt {
  /** When first; null: never. */
  first: Moment | null;
  /** How often. */
  hits: number;
  /** As it was asked for. */
  indicator: string;
  /** What it was understood as. */
  kind: string;
  /** When last. */
  last: Moment | null;
  /** The newest of them. */
  records: Record[];
  /** Whether there may be more than was looked at. */
  truncated: boolean;
  /** By whom. */
  workloads: HuntWorkload[];
}

/** A workload that had to do with it. */
export interface HuntWorkload {
  /** When first. */
  first: Moment;
  /** How often. */
  hits: number;
  /** When last. */
  last: Moment;
  /** Which. */
  workload: string;
}

/** Findings that belong together. */
export interface Incident {
  /** Who is contained. */
  contained: Contained[];
  /** To whom. */
  destinations: string[];
  /** What found it. */
  detectors: string[];
  /** Ids. */
  findings: string[];
  /** When it began. */
  first: Moment;
  /** The same for as long as its first finding is in the ledger. */
  id: string;
  /** When it was told of last. */
  last: Moment;
  /** What people wrote down. */
  notes: Note[];
  /** What the score is made of. */
  parts: Part[];
  /** From 0 to 100. */
  score: number;
  /** How bad it is. */
  severity: "low" | "medium" | "high";
  /** Where it stands. */
  state: "open" | "acknowledged" | "contained" | "closed";
  /** As MITRE and OWASP number them. */
  techniques: string[];
  /** For people. */
  title: string;
  /** Who is in it. */
  workloads: string[];
}

/** All about one incident. */
export interface IncidentWhole {
  /** What its workloads could reach, and did. */
  blast_radius: BlastRadius[];
  /** What it is made of. */
  findings: Finding[];
  /** What it is. */
  incident: Incident;
  /** What happened, in order. */
  timeline: Event[];
  /** Not all of it is there. */
  timeline_truncated: boolean;
}

/** What is kept on disk. */
export interface LedgerStatus {
  /** Records for which there was no room, since then. */
  lost: number;
  /** The file. */
  path: string;
  /** Why nothing is written at the moment. */
  problem?: string | null;
  /** What is asked instead of the file for records, edges, the largest, the map and series; left out where nothing is. */
  store?: string | null;
  /** Records that were written since the process began. */
  written: number;
}

/** A line of a file. */
export interface Line {
  /** Whether it is part of what decided. */
  decides: boolean;
  /** From 1. */
  number: number;
  /** Without its end; at most 500 characters. */
  text: string;
}

/** A page of a list. */
export interface ListOfFinding {
  /** The newest, or the largest, first. */
  items: Finding[];
  /** What is not in the ledger: how many records found no room since it was begun. */
  lost: number;
  /** To be given as `before` for those that follow; null: there are no more. */
  next: number | null;
}

/** Incidents. */
export interface ListOfIncident {
  /** The latest first. */
  items: Incident[];
  /** What is not in the ledger: how many records found no room since it was begun. */
  lost: number;
  /** Always null: there are no pages of it. */
  next: number | null;
  /** Whether older findings, or what people did about them, are missing here; absent where nothing is. */
  truncated?: boolean;
}

/** A page of a list. */
export interface ListOfRecord {
  /** The newest, or the largest, first. */
  items: Record[];
  /** What is not in the ledger: how many records found no room since it was begun. */
  lost: number;
  /** To be given as `before` for those that follow; null: there are no more. */
  next: number | null;
}

/** A page of a list. */
export interface ListOfSumAnswer {
  /** The newest, or the largest, first. */
  items: SumAnswer[];
  /** What is not in the ledger: how many records found no room since it was begun. */
  lost: number;
  /** To be given as `before` for those that follow; null: there are no more. */
  next: number | null;
}

/** To log in. */
export interface LogIn {
  /** As the program printed it, or as the cluster gives one. */
  token: string;
}

/** How people log in besides by a token. */
export interface LogInBy {
  /** The host of the identity provider to which `/login` leads; null: there is none. */
  provider: string | null;
}

/** One object as it was written. */
export interface ManifestAnswer {
  /** Where. */
  file: string;
  /** Where it begins, from 1. */
  line: number;
  /** Its text. */
  yaml: string;
}

/** Who asks. */
export interface Me {
  /** As audit entries have it. */
  name: string;
  /** What they may do. */
  role: Role;
}

/** A point in time: RFC 3339, UTC, microseconds. */
export type Moment = string;

/** A rule that nearly allowed something. */
export interface Nearest {
  /** The same with its lines; null where it is not among the sources. */
  deciding: Deciding | null;
  /** What was missing for it. */
  lacks: unknown;
  /** Which. */
  rule: string;
}

/** One end of connections. */
export interface Node {
  /** Of a provider its name in the catalog; of something outside its registrable domain. */
  group?: string | null;
  /** As records have it. */
  id: string;
  /** What it is. */
  kind: NodeKind;
  /** For people. */
  label: string;
  /** For how many parties it stands, as far as they were counted; left out where it is one. */
  members?: number | null;
  /** Of a workload. */
  namespace?: string | null;
}

/** What one end is. */
export type NodeKind = "workload" | "node" | "external" | "provider";

/** What somebody wrote down. */
export interface Note {
  /** What. */
  text: string;
  /** When. */
  time: Moment;
  /** Who. */
  who: string;
}

/** One line of them. */
export interface OneSeries {
  /** Of what. */
  name: string;
  /** All series have as many. */
  values: number[];
}

/** One part of a score. */
export interface Part {
  /** How many. */
  points: number;
  /** Of what. */
  what: string;
  /** For people. */
  why: string;
}

/** All policies in force. */
export interface Policies {
  /** State of policy in force. */
  generation: number;
  /** In order of judgement. */
  items: PolicyItem[];
  /** What other policies would have done, where some are judged beside these; left out where none are. */
  shadow?: Shadow | null;
}

/** One policy. */
export interface PolicyItem {
  /** Where it was written. */
  file?: string | null;
  /** For example `NetworkPolicy`. */
  kind: string;
  /** Where in it. */
  line?: number | null;
  /** Its name. */
  name: string;
  /** Empty where it has none. */
  namespace: string;
  /** Why not all of it is in force. */
  problems: string[];
  /** Its rules. */
  rules: RuleItem[];
  /** How many pods it selects. */
  selects: number;
  /** How it stands on the nodes of a cluster; left out where it is not a cluster's. */
  standing?: Standing | null;
  /** `admin`, `network-policy` or `baseline`. */
  tier: string;
}

/** As JSON has it. */
export interface Problem {
  /** What is wrong, and the way out. */
  detail: string;
  /** Number of the request, as in the header `x-request-id`. */
  request_id: string;
  /** The status. */
  status: number;
  /** The status in words. */
  title: string;
  /** Always `about:blank`: the status says what kind of problem it is. */
  type: string;
}

/** Something that a workload could reach. */
export interface Reachable {
  /** Whom. */
  destination: string;
  /** Ports and protocol, as `443/TCP`; `*` where all are allowed. */
  port: string;
  /** By which rule; empty where that is not one. */
  rule: string;
}

/** One entry of the ledger. */
export interface Record {
  /** Bytes that it received. */
  bytes_received: number;
  /** Bytes that the source sent. */
  bytes_sent: number;
  /** How many; 0 where only bytes were added to connections that were counted before. */
  count: number;
  /** To whom: a workload, a domain name, or an address; empty where there is none. Comes from the wire, too. */
  destination: string;
  /** The whole record, where there is one. */
  detail: unknown;
  /** `flow`, `dns`, `tls`, `ai_call`, `finding` or `audit`. */
  kind: "flow" | "dns" | "tls" | "ai_call" | "finding" | "audit";
  /** The enforcement point. */
  node: string;
  /** From 1, ascending; numbers of what was forgotten do not come again. */
  number: number;
  /** Destination port; 0 where there is none. */
  port: number;
  /** Number of the transport protocol; 0 where there is none. */
  protocol: number;
  /** Why, from the closed table of whoever decided. */
  reason: string;
  /** The rule that decided, with the place where it was written; empty where none did. */
  rule: string;
  /** Who: `namespace/Kind/name` of a workload, or an address. Comes from the wire: show it as text only. */
  source: string;
  /** When; of several alike, when the first was. */
  time: Moment;
  /** `allow`, `deny`, `fail`, or `none` where there was nothing to decide. */
  verdict: "allow" | "deny" | "fail" | "none";
}

/** What to release. */
export interface ReleaseOrder {
  /** As records have it. */
  workload: string;
}

/** A release of policies. */
export interface ReleaseRef {
  /** Of its policies. */
  digest: string;
  /** Its number; 0: no policy of the fleet's. */
  number: number;
}

/** What releasing a workload did. */
export interface Released {
  /** Not, where it was not cut off. */
  released: boolean;
  /** Which one. */
  workload: string;
}

/** What somebody may do; each may do what the one before may. */
export type Role = "viewer" | "operator" | "admin";

/** One rule. */
export interface RuleItem {
  /** How many of them it denied. */
  denied: number;
  /** Path of the field. */
  field: string;
  /** How many accesses it decided, of those in the ledger. */
  hits: number;
  /** When last; null: never. */
  last: Moment | null;
  /** Its own name. */
  name?: string | null;
  /** As records have it. */
  rule: string;
}

/** A part that sees something. */
export interface Sensor {
  /** For people: what it is, or why it is not ready. */
  detail: string;
  /** Events or records that it lost. */
  lost: number;
  /** Of its node, or of the gateway's replica. */
  name: string;
  /** Whether it does its work. */
  ready: boolean;
  /** `kernel`, `dns` or `gateway`; of a collector, itself (`collector`) and who sends to it (`sender`). */
  role: string;
}

/** Counts over time. */
export interface Series {
  /** The largest first; what is beyond the first ten is one, `(other)`. */
  series: OneSeries[];
  /** When the first value begins. */
  start: Moment;
  /** Seconds of one value. */
  step: number;
}

/** What policies that are judged and not enforced would have done. */
export interface Shadow {
  /** Each way in which they differ, would-be denials first, those seen most often first; at most 200. */
  differences: Difference[];
  /** Accesses that were judged by them since they were read as they are. */
  judged: number;
  /** How many there are. */
  policies: number;
  /** Why nothing is judged by them; null where it is. */
  problem: string | null;
  /** Files and folders that they come from. */
  sources: string[];
  /** Accesses of which it cannot be said: they would go by names, and the DNS of the pod is not followed. */
  unknown: number;
  /** Of those that differ, those that `differences` has no room for. */
  unlisted: number;
  /** Of these, those that were denied and would have been allowed. */
  would_allow: number;
  /** Of these, those that were allowed and would have been denied. */
  would_deny: number;
}

/** How a policy stands on the nodes of a cluster, as its controller wrote it into the object's status. */
export interface Standing {
  /** For people: on how many nodes, and which one does not have it and why; or why nobody knows. */
  detail: string;
  /** Whether every node that needs it said that its kernel has it as it is written now; null where nobody knows. */
  in_force: boolean | null;
}

/** How things stand. */
export interface Status {
  /** How much there is. */
  counts: Counts;
  /** Why not everything that was written is in force; empty when it is. */
  degraded: string[];
  /** What is done with policy: `machine`, `lab`, `node` or `judge-only`; `collector`: nothing, for it only has what others send. */
  enforcement: string;
  /** State of policy in force. */
  generation: number;
  /** What is kept on disk. */
  ledger: LedgerStatus;
  /** Which one answers. */
  node: string;
  /** Every part that sees something. */
  sensors: Sensor[];
  /** By its clock. */
  time: Moment;
  /** Of the program. */
  version: string;
}

/** One line of a table of the largest. */
export interface SumAnswer {
  /** Bytes received. */
  bytes_received: number;
  /** Bytes sent. */
  bytes_sent: number;
  /** How often. */
  count: number;
  /** How often it was not let through. */
  denied: number;
  /** Of whom. */
  of: string;
}

/** What calls of models used. */
export interface Usage {
  /** Budgets of which something is used. */
  budgets: Budget[];
  /** The most calls first. */
  items: UsageItem[];
  /** Not all calls of the time were looked at: only the newest are in it. */
  truncated: boolean;
}

/** What one workload used of one model. */
export interface UsageItem {
  /** How many. */
  calls: number;
  /** What they cost, in billionths. */
  cost_nanos: number;
  /** Of what; left out where no price is known. */
  currency?: string | null;
  /** How many of them were refused. */
  denied: number;
  /** Findings about this workload and service. */
  findings: number;
  /** Half of the answers began after at most so many milliseconds. */
  first_token_p50_ms?: number | null;
  /** Tokens that went in. */
  input_tokens: number;
  /** The model that answered, or that was asked for; empty where none is known. */
  model: string;
  /** Tokens that came out. */
  output_tokens: number;
  /** Half of those that were allowed took at most so many milliseconds. */
  p50_ms: number;
  /** Nineteen in twenty. */
  p95_ms: number;
  /** Whom. */
  service: string;
  /** Who. */
  workload: string;
}

/** How the policy in force now judges an access like the record's, tier by tier. What was in force then may have judged otherwise. */
export interface Walk {
  /** State of policy that it is judged by. */
  generation: number;
  /** Of what is denied, the rule that comes nearest to allowing it. */
  nearest: Nearest | null;
  /** The question for a name first, then egress, then ingress; those that are judged here. */
  sides: WalkSide[];
  /** `allow` or `deny`: of the question for a name and the connection; requests over it are judged by their rule. */
  verdict: string;
}

/** One judgement. */
export interface WalkSide {
  /** Whether this one decides: the first that denies, else the last. */
  decides: boolean;
  /** `name`, `egress` or `ingress`. */
  direction: string;
  /** Why, for people. */
  reason: string;
  /** In order. */
  steps: WalkStep[];
  /** At whom it is judged. */
  subject: string;
  /** `allow` or `deny`. */
  verdict: string;
}

/** One thing on the way. */
export interface WalkStep {
  /** What the rule does: `accept`, `deny` or `pass`. */
  action?: string | null;
  /** Whether the judgement ends with it. */
  decides: boolean;
  /** `closed`: what cannot be read closes it; `selects`: a policy selects the pod, and none of its rules matches; `matches`: a rule matches; `nothing`: the tier decides nothing. */
  found: string;
  /** The policy or the rule, with the place where it was written; empty where the tier decides nothing. */
  text: string;
  /** `admin`, `network-policy` or `baseline`; left out before all tiers. */
  tier?: string | null;
}

/** One entry, and why it was decided so. */
export interface Why {
  /** The rule that decided; null where none did, or where it is not among the sources any more. */
  deciding: Deciding | null;
  /** What else belongs to the same connection: same source, destination and port, close in time. At most 100. */
  joined: Record[];
  /** Of what was refused, the rule that came nearest, as the record has it. */
  nearest: Nearest | null;
  /** The entry. */
  record: Record;
  /** How the policy in force now judges the like, tier by tier; null where nobody here can say. */
  walk: Walk | null;
}

/** Why. */
export interface Words {
  /** At most 4096 bytes. */
  text?: string;
}
