import { useState } from "react";
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { askedBy, askedTime, get, post } from "../lib/api";
import { words } from "../lib/call";
import { findingsCommand } from "../lib/cli";
import { ago, count, moment } from "../lib/format";
import { useOnce } from "../lib/once";
import { filters, go, useRoute } from "../lib/route";
import type { Finding, Measured, Page } from "../lib/types";
import { SeverityBadge, StateBadge } from "../parts/Badge";
import { Copy } from "../parts/Copy";
import { Link } from "../parts/Link";
import { Name } from "../parts/Name";
import { Answer, Empty, Problem } from "../parts/State";
import { WhyDrawer } from "./Why";

/** Findings of one answer. */
const SHOWN = 200;

/** A number as a person reads it. */
function figure(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return words(value);
  return Number.isInteger(value) ? count(value) : value.toPrecision(3);
}

export function Numbers({ finding }: { finding: Finding }) {
  // What a later version counts may look otherwise.
  const numbers = finding.numbers.filter((number): number is Measured => typeof number === "object" && number !== null && typeof (number as Measured).name === "string");
  if (numbers.length === 0) return null;
  return (
    <table className="numbers">
      <thead>
        <tr>
          <th scope="col">measured</th>
          <th scope="col">value</th>
          <th scope="col">usual</th>
          <th scope="col">told from</th>
        </tr>
      </thead>
      <tbody>
        {numbers.map((number) => (
          <tr key={number.name}>
            <th scope="row">
              <Name text={number.name} />
            </th>
            <td>
              <Name text={figure(number.value)} />
            </td>
            <td>
              <Name text={figure(number.baseline)} />
            </td>
            <td>
              <Name text={figure(number.threshold)} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Records as `kind:number`, each one to be opened. */
export function Records({ of }: { of: string[] }) {
  const { page } = useRoute();
  const numbers = of.map((record) => record.slice(record.lastIndexOf(":") + 1)).filter((number) => /^\d+$/.test(number));
  if (numbers.length === 0) return null;
  return (
    <p className="buttons">
      <span className="muted">records</span>
      {numbers.slice(0, 12).map((number) => (
        <button key={number} type="button" onClick={() => go(page, { open: number })}>
          {number}
        </button>
      ))}
      {numbers.length > 12 && <span className="muted">and {count(numbers.length - 12)} more</span>}
    </p>
  );
}

function Acknowledge({ finding }: { finding: Finding }) {
  const [text, setText] = useState("");
  const client = useQueryClient();
  const say = useOnce({
    act: () => post(`findings/${encodeURIComponent(finding.id)}/acknowledge`, { text }),
    done: () => client.invalidateQueries({ queryKey: ["findings"] }),
  });
  if (finding.state === "acknowledged") return null;
  return (
    <form
      className="buttons"
      onSubmit={(event) => {
        event.preventDefault();
        say.run();
      }}
    >
      <input aria-label="Why it is all right" placeholder="why it is all right" required maxLength={500} value={text} onChange={(event) => setText(event.target.value)} />
      <button type="submit" disabled={say.isPending}>
        Acknowledge
      </button>
      {say.isError && <Problem error={say.error} />}
    </form>
  );
}

function Card({ finding }: { finding: Finding }) {
  const now = new Date();
  return (
    <article className={`card edge-${finding.severity}`}>
      <header>
        <SeverityBadge severity={finding.severity} />
        <strong>
          <Name text={finding.detector} />
        </strong>
        {finding.techniques.map((technique) => (
          <span key={technique} className="tag" title="MITRE ATT&CK technique">
            <Name text={technique} />
          </span>
        ))}
        {finding.state === "acknowledged" && <StateBadge state="acknowledged" />}
        <time className="end muted" dateTime={finding.time} title={moment(finding.time)}>
          {ago(finding.last ?? finding.time, now)}
          {finding.count > 1 ? ` · ${count(finding.count)} times` : ""}
        </time>
      </header>
      <p>
        <Name text={finding.sentence} wrap />
      </p>
      <p className="muted">
        <Link to="flows" changes={{ source: finding.workload }}>
          <Name text={finding.workload} />
        </Link>
        {finding.subject && (
          <>
            {" → "}
            <Link to="hunt" changes={{ indicator: finding.subject }}>
              <Name text={finding.subject} />
            </Link>
          </>
        )}
      </p>
      <Numbers finding={finding} />
      <div className="card-foot">
        <Records of={finding.records} />
        <Acknowledge finding={finding} />
      </div>
    </article>
  );
}

export function Findings() {
  const { page, params } = useRoute();
  const state = params.get("state") ?? "open";
  const severity = params.get("severity");
  const { source: workload, destination: subject, q } = filters(params);
  const found = useQuery({
    queryKey: ["findings", ...askedBy(params), state, severity, workload, subject, q],
    queryFn: ({ signal }) => get<Page<Finding>>("findings", { ...askedTime(params, Date.now()), state: state === "all" ? null : state, severity, workload, subject, q, limit: SHOWN }, signal),
    refetchInterval: params.get("until") ? false : 5000,
    placeholderData: keepPreviousData,
  });
  return (
    <>
      <div className="bar">
        <label>
          State{" "}
          <select value={state} onChange={(event) => go(page, { state: event.target.value }, true)}>
            <option value="open">open</option>
            <option value="acknowledged">acknowledged</option>
            <option value="all">all</option>
          </select>
        </label>
        <label>
          Severity{" "}
          <select value={severity ?? ""} onChange={(event) => go(page, { severity: event.target.value }, true)}>
            <option value="">all</option>
            <option value="high">high</option>
            <option value="medium">medium</option>
            <option value="low">low</option>
          </select>
        </label>
        <span className="muted" role="status">
          {found.data ? `${found.data.next ? "the newest " : ""}${count(found.data.items.length)} findings${found.data.next ? "; choose a shorter time or a filter for others" : ""}` : ""}
        </span>
        <span className="end">
          <Copy label="Copy as CLI" text={findingsCommand(params, Date.now())} />
        </span>
      </div>
      <Answer of={found} what="findings">
        {(data) =>
          data.items.length === 0 ? (
            <Empty title="No findings in this time">
              <p>Detectors compare what workloads do with what they did before: tunnels in DNS, beacons, uploads, new destinations, leaks of keys. Nothing stood out.</p>
            </Empty>
          ) : (
            <div className="cards">
              {data.items.map((finding) => (
                <Card key={finding.id} finding={finding} />
              ))}
            </div>
          )
        }
      </Answer>
      {params.get("open") && <WhyDrawer number={params.get("open") ?? ""} close={() => go(page, { open: null })} />}
    </>
  );
}
