import { useQuery } from "@tanstack/react-query";
import { get } from "../lib/api";
import { count, duration, moment } from "../lib/format";
import { quoted } from "../lib/text";
import type { Fleet, FleetCluster, FleetErrors, FleetFindings, FleetMember, FleetNumbers, FleetRate, FleetRollout, FleetStage, ReleaseRef } from "../lib/types";
import { Copy } from "../parts/Copy";
import { Name } from "../parts/Name";
import { Empty, Loading, Problem } from "../parts/State";

/** After so many seconds without a word of it a cluster stands out; a rollout has its own measure. */
const SILENT = 120;
/** How each phase looks: as a verdict does. */
const LOOKS: Record<string, string> = {
  shadow: "v-none", enforce: "v-allow", through: "v-allow", done: "v-allow", pending: "v-none", waiting: "v-none",
  "rolling-back": "v-deny", "rolled-back": "v-deny", "going-back": "v-deny", back: "v-deny",
};
const PHASES: Record<string, string> = {
  shadow: "judges without effect", enforce: "enforces", through: "through", done: "done", pending: "not begun", waiting: "waits",
  "rolling-back": "is taken back", "rolled-back": "was taken back", "going-back": "goes back", back: "went back",
};

function Phase({ phase }: { phase: string }) {
  return (
    <span className={`badge ${LOOKS[phase] ?? "v-none"}`}>
      <Name text={PHASES[phase] ?? phase} />
    </span>
  );
}

/** A release as people name it. */
function release(of: ReleaseRef | null | undefined): string {
  if (!of) return "–";
  return of.number === 0 ? "none" : String(of.number);
}

const heard = (seconds: number | null | undefined) => (seconds === null || seconds === undefined ? "never" : seconds < 5 ? "just now" : `${duration(seconds)} ago`);

const some = (clusters: number) => `${count(clusters)} ${clusters === 1 ? "cluster" : "clusters"}`;

/** A number beside what the gate asks for. */
function Needs({ name, has, needs, unit }: { name: string; has: number; needs: number; unit: string }) {
  const share = needs === 0 ? 1 : Math.min(1, has / needs);
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        <strong>{count(has)}</strong> of {count(needs)}
        {unit} <meter min={0} max={1} value={share} aria-label={`${name}: ${has} of ${needs}`} />
      </dd>
    </div>
  );
}

/** A number that has a limit. */
function Limit({ name, has, most, note }: { name: string; has: number; most: number | null; note?: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className={most !== null && has > most ? "text-deny" : ""}>
        <strong>{count(has)}</strong>
        {most !== null && <> · at most {count(most)}</>}
        {note && <span className="muted"> {note}</span>}
      </dd>
    </div>
  );
}

function Errors({ most, of }: { most: number; of: FleetErrors }) {
  const { percent, what } = failing(of);
  return (
    <div>
      <dt>errors</dt>
      <dd className={percent > most ? "text-deny" : ""}>
        <strong>{percent.toFixed(1)} %</strong> · at most {most} % at any one cluster {what && <span className="muted">{what}</span>}
      </dd>
    </div>
  );
}

/** Findings by how much they matter, the gravest first; empty where there are none. */
function graveness(of: FleetFindings): string {
  const told = [[of.high, "high"], [of.medium, "medium"], [of.low, "low"]] as const;
  return told.filter(([number]) => number > 0).map(([number, word]) => `${count(number)} ${word}`).join(", ");
}

/** Of connections, names or requests, whichever fail most often: of a hundred how many, and in words. */
function failing(of: FleetErrors): { percent: number; what: string } {
  const all = [[of.connections, "connections"], [of.names, "names"], [of.requests, "requests"]] as const;
  const percent = ({ tried, failed }: FleetRate) => (failed / Math.max(tried, failed, 1)) * 100;
  const [worst, what] = all.reduce((a, b) => (percent(b[0]) > percent(a[0]) ? b : a));
  return { percent: percent(worst), what: worst.failed > 0 ? `${count(worst.failed)} of ${count(worst.tried)} ${what}` : "" };
}

/** Which findings a gate counts, and how many it passes over. */
function counted(severity: string, { findings, by_severity: of }: FleetNumbers): string {
  const lower = Math.max(0, of.low + of.medium + of.high - findings);
  return `of ${severity} severity${severity === "high" ? "" : " or higher"} at any one cluster${lower > 0 ? `, and ${count(lower)} lower` : ""}`;
}

function Members({ of, more, label }: { of: FleetMember[]; more: number; label: string }) {
  return (
    <div className="table-place" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            <th scope="col">Cluster</th>
            <th scope="col">Told to</th>
            <th scope="col">Heard</th>
            {["Seconds", "Flows", "Denials", "Findings", "Errors"].map((title) => (
              <th key={title} scope="col" className="number">
                {title}
              </th>
            ))}
            <th scope="col">Problem</th>
          </tr>
        </thead>
        <tbody>
          {of.map((it) => (
            <tr key={it.name}>
              <td>
                <Name text={it.name} />
              </td>
              <td>
                <Name text={it.told === "shadow" ? "judge it" : it.told === "enforce" ? "enforce it" : it.told === "back" ? "go back" : it.told} />
              </td>
              <td className={(it.silent_seconds ?? Infinity) > SILENT ? "text-deny" : ""}>{heard(it.silent_seconds)}</td>
              <td className="number">{count(it.seconds)}</td>
              <td className="number">{count(it.flows)}</td>
              <td className={`number ${it.denials > 0 ? "text-deny" : ""}`}>{count(it.denials)}</td>
              <td className="number">{graveness(it.by_severity) || count(it.findings)}</td>
              <td className="number" title={it.errors ? failing(it.errors).what : undefined}>{it.errors ? `${failing(it.errors).percent.toFixed(1)} %` : "–"}</td>
              <td>{it.problem && <Name text={it.problem} wrap />}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {more > 0 && <p className="muted">and {count(more)} more</p>}
    </div>
  );
}

function Stage({ stage, rollout, isNow }: { stage: FleetStage; rollout: string; isNow: boolean }) {
  const { gate, numbers } = stage;
  const holds = stage.phase === "enforce" || stage.phase === "through";
  return (
    <li className={isNow ? "panel stage now" : "panel stage"} aria-current={isNow ? "step" : undefined}>
      <p>
        <strong>
          <Name text={stage.name} />
        </strong>{" "}
        <Phase phase={stage.phase} /> <span className="muted">{some(stage.selects)}</span>
        {stage.approval && <span className="tag">needs approval</span>}
      </p>
      <dl className="facts">
        <Needs name={holds ? "enforced for" : "seen for"} has={numbers.seconds} needs={holds ? stage.hold_seconds : gate.seconds} unit=" s" />
        {!holds && <Needs name="flows judged" has={numbers.flows} needs={gate.flows} unit="" />}
        <Limit name={holds ? "denied that worked before" : "would be denied"} has={numbers.denials} most={holds ? null : 0} note={numbers.accepted > 0 ? `and ${count(numbers.accepted)} accepted` : ""} />
        {!holds && <Limit name="findings" has={numbers.findings} most={gate.findings} note={counted(gate.severity, numbers)} />}
        {typeof gate.error_percent === "number" && <Errors most={gate.error_percent} of={numbers.errors} />}
        <Limit name="report" has={numbers.reporting} most={null} note={`of ${count(numbers.clusters)}${numbers.failing > 0 ? `, ${count(numbers.failing)} cannot have it` : ""}`} />
      </dl>
      {stage.missing.length > 0 && (
        <ul className="notice missing" aria-label="What is missing">
          {stage.missing.map((text) => (
            <li key={text}>
              <Name text={text} wrap />
            </li>
          ))}
        </ul>
      )}
      {stage.clusters.length > 0 && (
        <details>
          <summary>{some(stage.clusters.length + stage.more_clusters)}, one by one</summary>
          <Members of={stage.clusters} more={stage.more_clusters} label={`Clusters of stage ${stage.name} of ${rollout}`} />
        </details>
      )}
    </li>
  );
}

function Card({ rollout }: { rollout: FleetRollout }) {
  const edge = rollout.problems.length > 0 || rollout.phase.startsWith("roll") ? "edge-high" : rollout.held || rollout.paused ? "edge-medium" : "";
  return (
    <article className={`card ${edge}`} aria-label={`Rollout ${rollout.name}`}>
      <header>
        <strong>
          <Name text={rollout.name} />
        </strong>
        <Phase phase={rollout.phase} />
        {rollout.held && <span className="tag">held</span>}
        {rollout.paused && (
          <span className="tag">
            paused by <Name text={rollout.paused} />
          </span>
        )}
        <span className="muted">
          release {release(rollout.release)}, falls back to {rollout.fallback ? release(rollout.fallback) : "nothing"}
        </span>
        <span className="end">
          <Copy label="Copy as CLI" text={`cofferdam rollout status ${quoted(rollout.name)} --hub HUB.kubeconfig`} />
        </span>
      </header>
      {rollout.problems.map((problem) => (
        <p key={problem} className="notice bad">
          <Name text={problem} wrap />
        </p>
      ))}
      <ol className="stages" aria-label="Stages">
        {rollout.stages.map((stage) => (
          <Stage key={stage.name} stage={stage} rollout={rollout.name} isNow={stage.name === rollout.stage && !["done", "rolled-back"].includes(rollout.phase)} />
        ))}
      </ol>
      {rollout.decisions.length > 0 && (
        <details>
          <summary>Decisions</summary>
          <ul className="rows">
            {[...rollout.decisions].reverse().map((it, index) => (
              <li key={`${it.time} ${index}`}>
                <span className="muted">{moment(it.time)}</span> <strong>{<Name text={it.what} />}</strong> <Name text={it.stage} />
                {it.by !== "" && (
                  <>
                    {" "}
                    by <Name text={it.by} />
                  </>
                )}{" "}
                <span className="muted">
                  <Name text={it.why} wrap />
                </span>
              </li>
            ))}
          </ul>
        </details>
      )}
    </article>
  );
}

function Table({ clusters, more }: { clusters: FleetCluster[]; more: number }) {
  return (
    <div className="table-place" tabIndex={0} role="region" aria-label="Clusters">
      <table>
        <thead>
          <tr>
            <th scope="col">Cluster</th>
            <th scope="col">Labels</th>
            <th scope="col">Wanted</th>
            <th scope="col">Enforces</th>
            <th scope="col">Judges beside</th>
            <th scope="col">Heard</th>
            <th scope="col" className="number">
              Policies
            </th>
            <th scope="col">Changed there</th>
            <th scope="col">Problem</th>
          </tr>
        </thead>
        <tbody>
          {clusters.map((it) => (
            <tr key={it.name}>
              <td>
                <Name text={it.name} />
              </td>
              <td className="labels">
                {it.labels.map((label) => (
                  <span key={label} className="tag">
                    <Name text={label} />
                  </span>
                ))}
              </td>
              <td>{release(it.wanted)}</td>
              <td className={it.wanted && it.enforced && it.wanted.digest !== it.enforced.digest ? "text-deny" : ""} title={it.effective}>
                {release(it.enforced)}
              </td>
              <td>{release(it.shadow)}</td>
              <td className={(it.silent_seconds ?? Infinity) > SILENT ? "text-deny" : ""}>{heard(it.silent_seconds)}</td>
              <td className="number">{count(it.policies)}</td>
              <td>
                {it.drift.length > 0 ? (
                  <details>
                    <summary className="text-deny">
                      {count(it.drift.length)} {it.drift_is === "report" ? "changed, and left" : "changed, and put back"}
                    </summary>
                    <ul>
                      {it.drift.slice(0, 50).map((policy) => (
                        <li key={policy}>
                          <Name text={policy} wrap />
                        </li>
                      ))}
                    </ul>
                  </details>
                ) : (
                  <span className="muted">nothing</span>
                )}
              </td>
              <td>
                {it.problems.map((problem) => (
                  <p key={problem} className="text-deny">
                    <Name text={problem} wrap />
                  </p>
                ))}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {more > 0 && <p className="muted">and {count(more)} more, which are not shown</p>}
    </div>
  );
}

function Shown({ fleet }: { fleet: Fleet }) {
  const runs = fleet.rollouts.filter((it) => !["done", "rolled-back"].includes(it.phase)).length;
  const drifted = fleet.clusters.filter((it) => it.drift.length > 0).length;
  const silent = fleet.clusters.filter((it) => (it.silent_seconds ?? Infinity) > SILENT).length;
  return (
    <>
      <section className="tiles" aria-label="Counts">
        {[
          ["clusters", fleet.clusters.length + fleet.more_clusters, false],
          ["rollouts under way", runs, false],
          ["with changed policies", drifted, drifted > 0],
          ["not heard of", silent, silent > 0],
        ].map(([name, value, isBad]) => (
          <div key={String(name)} className="panel tile">
            <strong className={isBad ? "text-deny" : ""}>{count(Number(value))}</strong>
            <span className="muted">{name}</span>
          </div>
        ))}
      </section>
      {fleet.rollouts.length > 0 && (
        <div className="cards">
          {fleet.rollouts.map((it) => (
            <Card key={it.name} rollout={it} />
          ))}
        </div>
      )}
      {fleet.clusters.length > 0 ? (
        <Table clusters={fleet.clusters} more={fleet.more_clusters} />
      ) : (
        <Empty title="The hub has no clusters yet">
          <p>
            A cluster joins with a ManagedCluster at the hub and <code>--hub</code> at its controller: see “Promote policy over clusters”.
          </p>
        </Empty>
      )}
    </>
  );
}

/** Clusters of a fleet, and releases on their way to them. */
export function Clusters() {
  const found = useQuery({ queryKey: ["clusters"], queryFn: ({ signal }) => get<Fleet>("clusters", {}, signal), refetchInterval: 5000 });
  if (found.isPending) return <Loading what="the fleet" />;
  if (!found.data) return <Problem error={found.error} retry={() => void found.refetch()} />;
  return (
    <>
      <div className="bar">
        {found.data.has_hub && (
          <span className="muted">
            as their hub has it; to approve, pause or take back: <code>cofferdam rollout</code>
          </span>
        )}
        <span className="end">
          <Copy label="Copy as CLI" text={found.data.has_hub ? "kubectl --kubeconfig HUB.kubeconfig get managedclusters.cofferdam.dev,rollouts.cofferdam.dev" : "cofferdam clusters diff FIRST.yaml SECOND.yaml"} />
        </span>
      </div>
      {found.isError && <Problem error={found.error} retry={() => void found.refetch()} />}
      {found.data.has_hub ? (
        <Shown fleet={found.data} />
      ) : (
        <Empty title="No hub is shown here">
          <p>A hub brings releases of policies to many clusters, stage by stage, as far as what they see of it allows. Here are its clusters, what each enforces, and the numbers of every gate, once this process may look at one:</p>
          <p>
            <code>--serve-hub HUB.kubeconfig</code>
          </p>
          <p>
            What differs between two clusters is told without a hub: <code>cofferdam clusters diff FIRST.yaml SECOND.yaml</code>
          </p>
        </Empty>
      )}
    </>
  );
}
