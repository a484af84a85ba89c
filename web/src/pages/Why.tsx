import { useQuery } from "@tanstack/react-query";
import { get } from "../lib/api";
import { call, words } from "../lib/call";
import { bytes, clock, count, money, moment, protocol } from "../lib/format";
import { go, useRoute, type Field } from "../lib/route";
import { printable, quoted } from "../lib/text";
import type { Deciding, LedgerRecord, Nearest, Walk, WalkSide, WalkStep, Why } from "../lib/types";
import { VerdictBadge } from "../parts/Badge";
import { Copy } from "../parts/Copy";
import { Dialog } from "../parts/Dialog";
import { Name } from "../parts/Name";
import { Loading, Problem } from "../parts/State";

/** What happened, as one sentence. */
function verb(record: LedgerRecord): string {
  const done = { allow: "was allowed to", deny: "was not allowed to", fail: "failed to", none: "did" }[record.verdict] ?? record.verdict;
  const what: Partial<Record<string, string>> = { dns: "ask for", ai_call: "call" };
  return `${done} ${what[record.kind] ?? "connect to"}`;
}

function Lines({ why }: { why: Why }) {
  const { deciding, record } = why;
  if (!deciding) {
    return (
      <p>
        {record.rule ? <Name text={record.rule} wrap /> : "No rule of a policy decided this"}
        {record.reason && (
          <>
            {" "}
            (<Name text={record.reason} />)
          </>
        )}
        . <span className="muted">Its lines are not at hand: it is built in, or its file is not on this node.</span>
      </p>
    );
  }
  return <Written deciding={deciding} />;
}

function Excerpt({ lines, label }: { lines: Deciding["lines"]; label: string }) {
  if (lines.length === 0) return null;
  return (
    <pre className="yaml" tabIndex={0} aria-label={label}>
      {lines.map((line) => (
        <span key={line.number} className={line.decides ? "line decides" : "line"}>
          <span className="line-number">{line.number}</span>
          <span className="line-mark">{line.decides ? "▸" : " "}</span>
          <Name text={line.text || " "} />
        </span>
      ))}
    </pre>
  );
}

/** A rule and its lines. */
function Written({ deciding }: { deciding: Deciding }) {
  return (
    <>
      <p>
        <strong>
          <Name text={deciding.object} />
        </strong>{" "}
        <Name text={deciding.field} />
        {deciding.name && (
          <>
            {" "}
            “<Name text={deciding.name} />”
          </>
        )}
        {deciding.file && (
          <span className="muted">
            {" "}
            · <Name text={deciding.file} />
            {deciding.line !== null ? `:${deciding.line}` : ""}
          </span>
        )}
      </p>
      <Excerpt lines={deciding.lines} label="Lines of the policy; those that decided are marked" />
    </>
  );
}

const TIERS: Record<string, string> = { admin: "Admin", "network-policy": "NetworkPolicy", baseline: "Baseline" };
const SIDES: Record<string, string> = { name: "may ask for the name", egress: "may leave", ingress: "may come in" };
const DOES: Record<string, string> = { accept: "allows it", deny: "denies it", pass: "passes it on" };

/** What one step found, as a sentence around the name of the policy or rule. */
function found(step: WalkStep): string {
  if (step.found === "nothing") return "decides nothing";
  if (step.found === "closed") return "cannot be read, and so closes it";
  if (step.found === "selects") return "selects it; none of its rules matches";
  return step.action ? (DOES[step.action] ?? printable(step.action)) : printable(step.found);
}

/** Policies of one tier that were passed without a word of theirs that decides: together, for there may be many. */
interface Passed {
  passed: WalkStep[];
}

/** Steps in order, with those that were only passed drawn together where there are several. */
export function gathered(steps: WalkStep[]): (WalkStep | Passed)[] {
  const all: (WalkStep | Passed)[] = [];
  for (const step of steps) {
    const last = all.at(-1);
    if (step.found !== "selects" || step.decides) all.push(step);
    else if (last && "passed" in last && last.passed[0]?.tier === step.tier) last.passed.push(step);
    else all.push({ passed: [step] });
  }
  return all.map((it) => ("passed" in it && it.passed.length === 1 && it.passed[0] ? it.passed[0] : it));
}

const tierOf = (step: WalkStep | undefined) => (step?.tier ? (TIERS[step.tier] ?? printable(step.tier)) : "before all tiers");

function PassedStep({ passed }: Passed) {
  return (
    <li className="step">
      <span className="tier">{tierOf(passed[0])}</span>
      <details>
        <summary>{count(passed.length)} policies select it; none of their rules matches</summary>
        <ul className="rows">
          {passed.map((step, index) => (
            <li key={index}>
              <Name text={step.text} wrap />
            </li>
          ))}
        </ul>
      </details>
    </li>
  );
}

function Side({ side }: { side: WalkSide }) {
  return (
    <div className="walk">
      <p>
        <VerdictBadge verdict={side.verdict} /> <Name text={side.subject} /> <strong>{SIDES[side.direction] ?? printable(side.direction)}</strong>
        {side.decides && (
          <>
            {" "}
            <span className="tag">decides</span>
          </>
        )}
      </p>
      <ol>
        {gathered(side.steps).map((step, index) =>
          "passed" in step ? (
            <PassedStep key={index} passed={step.passed} />
          ) : (
            <li key={index} className={step.decides ? "step decides" : "step"}>
              <span className="tier">{tierOf(step)}</span>
              <span>
                {step.text !== "" && <Name text={step.text} wrap />} {found(step)}
              </span>
            </li>
          ),
        )}
      </ol>
      <p className="muted">
        <Name text={side.reason} wrap />
      </p>
    </div>
  );
}

/** The way through the tiers. It is of the policy in force now, and says so where that would judge otherwise. */
function Tiers({ walk, record }: { walk: Walk; record: LedgerRecord }) {
  const differs = record.kind !== "ai_call" && (record.verdict === "allow" || record.verdict === "deny") && record.verdict !== walk.verdict;
  return (
    <section aria-label="Tiers">
      <h3>
        The tiers, as policy in force now judges it (generation {count(walk.generation)})
      </h3>
      {differs && (
        <p className="notice">
          Policy has changed, or what is known of the other end: now it would be <strong>{walk.verdict === "allow" ? "allowed" : "denied"}</strong>.
        </p>
      )}
      {walk.sides.map((side) => (
        <Side key={side.direction} side={side} />
      ))}
    </section>
  );
}

/** The rule that would have allowed it, but for something. `shown`: its lines are above already. */
function NearestRule({ nearest, shown }: { nearest: Nearest; shown: boolean }) {
  return (
    <section>
      <h3>Nearest rule that allows</h3>
      <p>
        <Name text={nearest.rule} wrap /> <span className="muted">would, but</span> <Name text={words(nearest.lacks)} wrap />
      </p>
      {!shown && nearest.deciding && <Excerpt lines={nearest.deciding.lines} label="Lines of the nearest rule" />}
    </section>
  );
}

function Facts({ record }: { record: LedgerRecord }) {
  const of = record.kind === "ai_call" ? call(record.detail) : null;
  const facts: [string, string][] = [
    ["time", moment(record.time)],
    ["reason", record.reason],
    ["port", record.port === 0 ? "" : `${record.port} ${protocol(record.protocol)}`],
    ["count", count(record.count)],
    ["sent", bytes(record.bytes_sent)],
    ["received", bytes(record.bytes_received)],
    ["node", record.node],
    ["does", of ? `${of.verb} ${of.resource}`.trim() : ""],
    ["copies from", of?.sources.join(", ") ?? ""],
    ["request", of ? `${of.method} ${of.path}`.trim() : ""],
    ["status", of?.status ? String(of.status) : ""],
    ["model", of?.model ?? ""],
    ["tools", of?.tools.join(", ") ?? ""],
    ["tokens", of?.tokens == null ? "" : count(of.tokens)],
    ["cost", of?.cost == null ? "" : money(of.cost, of.currency)],
    ["first byte", of?.firstByte == null ? "" : `${Math.round(of.firstByte)} ms`],
    ["took", of?.milliseconds == null ? "" : `${Math.round(of.milliseconds)} ms`],
    ["leaks", of?.leaks.join(", ") ?? ""],
  ];
  return (
    <dl className="facts">
      {facts
        .filter(([, value]) => value !== "")
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <Name text={value} wrap />
            </dd>
          </div>
        ))}
    </dl>
  );
}

function Joined({ records }: { records: LedgerRecord[] }) {
  const { page } = useRoute();
  const now = new Date();
  return (
    <ul className="rows">
      {records.map((record) => (
        <li key={record.number}>
          <button type="button" className="row-button" onClick={() => go(page, { open: String(record.number) })}>
            <span className="muted">{clock(record.time, now)}</span>
            <span className="kind">{printable(record.kind).replace("_", " ")}</span>
            <VerdictBadge verdict={record.verdict} />
            <Name text={record.destination} />
            <Name text={record.reason} />
          </button>
        </li>
      ))}
    </ul>
  );
}

function Narrow({ record }: { record: LedgerRecord }) {
  const { page } = useRoute();
  const fields: [Field, string][] = [
    ["source", record.source],
    ["destination", record.destination],
    ["rule", record.rule],
  ];
  return (
    <p className="buttons">
      {fields
        .filter(([, value]) => value !== "")
        .map(([field, value]) => (
          <button key={field} type="button" onClick={() => go(page, { [field]: value, open: null })}>
            only this {field}
          </button>
        ))}
    </p>
  );
}

/** Why one access was decided as it was. */
export function WhyDrawer({ number, close }: { number: string; close: () => void }) {
  const why = useQuery({
    queryKey: ["why", number],
    queryFn: ({ signal }) => get<Why>(`records/${encodeURIComponent(number)}`, {}, signal),
    staleTime: 60_000,
  });
  const record = why.data?.record;
  // What the record says is of then; without it, what is nearest now is all that is known.
  const nearest = why.data?.nearest ?? (record?.verdict === "deny" ? why.data?.walk?.nearest : null);
  return (
    <Dialog kind="drawer" label="Why?" title={record ? <VerdictBadge verdict={record.verdict} /> : "Why?"} close={close}>
      {why.isPending && <Loading what={`record ${number}`} />}
      {why.isError && <Problem error={why.error} retry={() => void why.refetch()} />}
      {why.data && record && (
        <>
          <p className="sentence">
            <Name text={record.source} wrap /> {verb(record)} <Name text={record.destination} wrap />
            {record.port !== 0 && record.kind !== "dns" ? ` at port ${record.port}` : ""}.
          </p>
          <section>
            <h3>Decided by</h3>
            <Lines why={why.data} />
          </section>
          {nearest && <NearestRule nearest={nearest} shown={why.data.deciding !== null && nearest.rule === record.rule} />}
          {why.data.walk && <Tiers walk={why.data.walk} record={record} />}
          <section>
            <h3>What is known of it</h3>
            <Facts record={record} />
          </section>
          <section>
            <h3>Together with it</h3>
            {why.data.joined.length > 0 ? <Joined records={why.data.joined} /> : <p className="muted">Nothing else was recorded of the same connection.</p>}
          </section>
          <Narrow record={record} />
          <p className="buttons">
            <Copy label="Copy as CLI" text={`cofferdam ledger show --before ${record.number + 1} --limit 1 --json`} />
            <Copy label="Copy what was asked for" text={quoted(record.destination)} />
            <Copy label="Copy as JSON" text={JSON.stringify(record, null, 1)} />
          </p>
        </>
      )}
    </Dialog>
  );
}
