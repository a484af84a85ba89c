// What the HTTP API answers (`/api/v1`), under the names that the console has for it. The types themselves are made of the API's
// document: api-types.ts. A server of another version may say more, or words that are not in them: what is shown falls back to text.

import type * as api from "./api-types";

export type {
  BlastRadius, Budget, Containment, Deciding, Difference, Finding, Fleet, FleetCluster, FleetErrors, FleetFindings, FleetMember, FleetNumbers, FleetRate, FleetRollout, FleetStage, Graph, GraphEdge, Hint, Hunt,
  Incident, IncidentWhole, LogInBy, Me, Nearest, Policies, ReleaseRef, Sensor, Series, Shadow, Status, Usage, UsageItem, Walk, WalkSide, WalkStep, Why,
} from "./api-types";

export type LedgerRecord = api.Record;
export type Verdict = LedgerRecord["verdict"];
export type Kind = LedgerRecord["kind"];
export type Severity = api.Finding["severity"];
export type IncidentState = api.Incident["state"];
export type Edge = api.EdgeAnswer;
export type GraphNode = api.Node;
export type TimelineItem = api.Event;
export type Policy = api.PolicyItem;
export type PolicyRule = api.RuleItem;
export type PolicySource = api.ManifestAnswer;
/** A page of a list; `next` goes into `before` and is null at the end, `lost` are records that found no room in the ledger. */
export type Page<T> = Omit<api.ListOfRecord, "items"> & { items: T[] };

/** What a finding measured: the document leaves its form to each detector. */
export interface Measured {
  name: string;
  value: number | string;
  baseline?: number | string | null;
  threshold?: number | string | null;
}
