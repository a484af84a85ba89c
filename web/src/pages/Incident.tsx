import { useState } from "react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { apiAddress, get, post } from "../lib/api";
import { count, moment } from "../lib/format";
import { useOnce } from "../lib/once";
import { go, useRoute } from "../lib/route";
import { quoted } from "../lib/text";
import type { BlastRadius, Finding, Incident, IncidentWhole } from "../lib/types";
import { SeverityBadge, StateBadge } from "../parts/Badge";
import { Copy } from "../parts/Copy";
import { Link } from "../parts/Link";
import { Name } from "../parts/Name";
import { Answer, Empty, Problem } from "../parts/State";
import { Contain } from "./Contain";
import { Numbers, Records } from "./Findings";
import { Score } from "./Incidents";
import { Timeline } from "./Timeline";
import { WhyDrawer } from "./Why";

function useAct(id: string, done?: () => void) {
  const client = useQueryClient();
  return useOnce({
    act: ({ what, body }: { what: string; body: object }) => post(`incidents/${encodeURIComponent(id)}/${what}`, body),
    ...(done ? { done } : {}),
    always: () => client.invalidateQueries({ queryKey: ["incident", id] }),
  });
}

function Head({ incident }: { incident: Incident }) {
  const act = useAct(incident.id);
  const [contains, setContains] = useState<string | null>(null);
  const contained = new Set(incident.contained.map((it) => it.workload));
  return (
    <section className="incident-head">
      <p className="badges">
        <SeverityBadge severity={incident.severity} />
        <StateBadge state={incident.state} />
        {incident.techniques.map((technique) => (
          <span key={technique} className="tag" title="MITRE ATT&CK technique">
            <Name text={technique} />
          </span>
        ))}
        <span className="muted">
          {moment(incident.first)} – {moment(incident.last)}
        </span>
      </p>
      <h2>
        <Name text={incident.title} wrap />
      </h2>
      {incident.contained.map((it) => (
        <p key={it.workload} className="notice">
          <strong>
            <Name text={it.workload} />
          </strong>{" "}
          is contained until {moment(it.until)}.{" "}
          <button type="button" onClick={() => act.run({ what: "release", body: { workload: it.workload } })} disabled={act.isPending}>
            Release
          </button>
        </p>
      ))}
      <p className="buttons">
        {incident.workloads
          .filter((workload) => !contained.has(workload))
          .map((workload) => (
            <button key={workload} type="button" className="primary" onClick={() => setContains(workload)}>
              Contain <Name text={workload} />
            </button>
          ))}
        {incident.state === "open" && (
          <button type="button" disabled={act.isPending} onClick={() => act.run({ what: "acknowledge", body: {} })}>
            Acknowledge
          </button>
        )}
        <button type="button" disabled={act.isPending} onClick={() => act.run({ what: incident.state === "closed" ? "reopen" : "close", body: {} })}>
          {incident.state === "closed" ? "Reopen" : "Close"}
        </button>
        <a className="button" href={apiAddress(`incidents/${encodeURIComponent(incident.id)}/evidence`)} download={`incident-${incident.id.replace(/[^\w-]/g, "_")}.tar`}>
          Download evidence
        </a>
        <Copy label="Copy as CLI" text={`cofferdam incident show ${quoted(incident.id)}`} />
      </p>
      {act.isError && <Problem error={act.error} />}
      {contains !== null && <Contain incident={incident.id} workload={contains} close={() => setContains(null)} />}
    </section>
  );
}

function Parts({ incident }: { incident: Incident }) {
  return (
    <section className="panel">
      <h3>Risk</h3>
      <Score value={incident.score} />
      <table className="parts">
        <tbody>
          {[...incident.parts].sort((a, b) => b.points - a.points).map((part) => (
            <tr key={part.what}>
              <td className="number">{part.points > 0 ? `+${part.points}` : part.points}</td>
              <th scope="row">
                <Name text={part.what} />
              </th>
              <td className="muted">
                <Name text={part.why} wrap />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** Destinations of one kind that are listed; the evidence has all. */
const LISTED = 100;

function Radius({ of }: { of: BlastRadius }) {
  const denied = of.did.filter((edge) => edge.allowed === 0);
  const reached = of.did.filter((edge) => edge.allowed > 0);
  return (
    <div className="radius">
      <h4>
        <Name text={of.workload} />
      </h4>
      <p className="muted">
        reached {count(reached.length)}, was stopped from {count(denied.length)}, could reach {count(of.could.length)}
        {of.could_is_complete ? "" : " or more"}
      </p>
      <ul className="rows" tabIndex={0} aria-label="Destinations">
        {reached.slice(0, LISTED).map((edge) => (
          <li key={`${edge.destination}:${edge.port}`}>
            <span className="badge v-allow">reached</span> <Name text={edge.destination} />
            <span className="muted">:{edge.port}</span>
          </li>
        ))}
        {denied.slice(0, LISTED).map((edge) => (
          <li key={`${edge.destination}:${edge.port}`}>
            <span className="badge v-deny">stopped</span> <Name text={edge.destination} />
            <span className="muted">:{edge.port}</span>
          </li>
        ))}
        {of.could.slice(0, LISTED).map((it) => (
          <li key={`could ${it.destination}:${it.port}`}>
            <span className="badge v-none">could</span> <Name text={it.destination} />
            <span className="muted">:{it.port}</span>
          </li>
        ))}
      </ul>
      {Math.max(reached.length, denied.length, of.could.length) > LISTED && <p className="muted">Of each, {count(LISTED)} are listed.</p>}
    </div>
  );
}

function FindingRow({ finding }: { finding: Finding }) {
  return (
    <details className="finding">
      <summary>
        <SeverityBadge severity={finding.severity} /> <strong><Name text={finding.detector} /></strong> <Name text={finding.sentence} wrap />
      </summary>
      <Numbers finding={finding} />
      <Records of={finding.records} />
    </details>
  );
}

function Notes({ incident }: { incident: Incident }) {
  const [text, setText] = useState("");
  const act = useAct(incident.id, () => setText(""));
  return (
    <section className="panel">
      <h3>Notes</h3>
      <ul className="notes">
        {incident.notes.map((note) => (
          <li key={`${note.time} ${note.who}`}>
            <span className="muted">
              {moment(note.time)} <Name text={note.who} />
            </span>
            <br />
            <Name text={note.text} wrap />
          </li>
        ))}
      </ul>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          act.run({ what: "notes", body: { text } });
        }}
      >
        <textarea aria-label="Note" placeholder="what you saw or did" required maxLength={4000} rows={2} value={text} onChange={(event) => setText(event.target.value)} />
        <button type="submit" disabled={act.isPending}>
          Add note
        </button>
      </form>
      {act.isError && <Problem error={act.error} />}
    </section>
  );
}

/** Whether a subject is something to hunt for: others are said in words, such as "addresses and ports". */
export function isIndicator(subject: string): boolean {
  return subject !== "" && !/\s/.test(subject);
}

function Whole({ whole }: { whole: IncidentWhole }) {
  const { incident } = whole;
  const indicators = incident.destinations.filter(isIndicator);
  return (
    <>
      <Head incident={incident} />
      <div className="incident-columns">
        <div>
          <section className="panel">
            <h3>What happened</h3>
            <Timeline items={whole.timeline} truncated={whole.timeline_truncated} />
          </section>
          <section className="panel">
            <h3>Findings</h3>
            {whole.findings.map((finding) => (
              <FindingRow key={finding.id} finding={finding} />
            ))}
          </section>
        </div>
        <div>
          <Parts incident={incident} />
          <section className="panel">
            <h3>Blast radius</h3>
            {whole.blast_radius.map((of) => (
              <Radius key={of.workload} of={of} />
            ))}
          </section>
          {indicators.length > 0 && (
            <section className="panel">
              <h3>Hunt for it elsewhere</h3>
              <p className="buttons">
                {indicators.map((destination) => (
                  <Link key={destination} to="hunt" changes={{ indicator: destination }} className="button">
                    <Name text={destination} />
                  </Link>
                ))}
              </p>
            </section>
          )}
          <Notes incident={incident} />
        </div>
      </div>
    </>
  );
}

export function IncidentPage() {
  const { page, params } = useRoute();
  const id = params.get("id") ?? "";
  const found = useQuery({
    queryKey: ["incident", id],
    queryFn: ({ signal }) => get<IncidentWhole>(`incidents/${encodeURIComponent(id)}`, {}, signal),
    enabled: id !== "",
    refetchInterval: 5000,
  });
  if (id === "") return <Empty title="Which incident?"><p><Link to="incidents">All incidents</Link></p></Empty>;
  return (
    <>
      <p className="crumbs">
        <Link to="incidents">← Incidents</Link>
      </p>
      <Answer of={found} what="the incident">{(data) => <Whole whole={data} />}</Answer>
      {params.get("open") && <WhyDrawer number={params.get("open") ?? ""} close={() => go(page, { open: null })} />}
    </>
  );
}
