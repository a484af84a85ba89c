import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { get } from "../lib/api";
import { ago, count } from "../lib/format";
import { filters, go, useRoute } from "../lib/route";
import type { Policies as All, Policy, PolicySource } from "../lib/types";
import { Copy } from "../parts/Copy";
import { Dialog } from "../parts/Dialog";
import { Link } from "../parts/Link";
import { Name } from "../parts/Name";
import { Answer, Empty, Loading, Problem } from "../parts/State";
import { Candidate } from "./Candidate";

function key(policy: Policy): string {
  return [policy.kind, policy.namespace || "-", policy.name].map(encodeURIComponent).join("/");
}

/** Of an address, which anybody may have written. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Whether something of it is not in force somewhere. */
function lacks(policy: Policy): boolean {
  return policy.problems.length > 0 || policy.standing?.in_force === false;
}

function Standing({ standing }: { standing: NonNullable<Policy["standing"]> }) {
  const word = standing.in_force === null ? "Nobody knows where it is in force:" : standing.in_force ? "In force:" : "Not in force on every node:";
  return (
    <p className={standing.in_force === false ? "notice bad" : "muted"}>
      <strong>{word}</strong> <Name text={standing.detail} wrap />
    </p>
  );
}

function hits(policy: Policy): number {
  return policy.rules.reduce((sum, rule) => sum + rule.hits, 0);
}

function Source({ policy, close }: { policy: string; close: () => void }) {
  const found = useQuery({ queryKey: ["policy", policy], queryFn: ({ signal }) => get<PolicySource>(`policies/${policy.split("/").map(decoded).map(encodeURIComponent).join("/")}`, {}, signal) });
  const name = policy.split("/").map(decoded).join(" ");
  const start = found.data?.line ?? 1;
  return (
    <Dialog kind="drawer" label="Policy" title={<Name text={name} />} close={close}>
      {found.isPending && <Loading what="the policy" />}
      {found.isError && <Problem error={found.error} retry={() => void found.refetch()} />}
      {found.data && (
        <>
          <p className="muted">{found.data.file ? <Name text={`${found.data.file}:${found.data.line ?? 1}`} /> : "its file is not on this node"}</p>
          {typeof found.data.yaml === "string" && (
            <>
              <pre className="yaml" tabIndex={0} aria-label="The policy as YAML">
                {found.data.yaml.split("\n").map((line, index) => (
                  <span key={index} className="line">
                    <span className="line-number">{start + index}</span>
                    <Name text={line || " "} />
                  </span>
                ))}
              </pre>
              <p className="buttons">
                <Copy label="Copy YAML" text={found.data.yaml} />
              </p>
            </>
          )}
        </>
      )}
    </Dialog>
  );
}

function Rules({ policy }: { policy: Policy }) {
  const now = new Date();
  return (
    <table className="rules">
      <thead>
        <tr>
          <th scope="col">Rule</th>
          <th scope="col" className="number">
            Hits
          </th>
          <th scope="col" className="number">
            Denied
          </th>
          <th scope="col">Last</th>
        </tr>
      </thead>
      <tbody>
        {policy.rules.map((rule) => (
          <tr key={`${rule.rule} ${rule.field}`}>
            <td>
              <Link to="flows" changes={{ rule: rule.rule }}>
                <Name text={rule.name ?? rule.field} />
              </Link>{" "}
              {rule.name && (
                <span className="muted">
                  <Name text={rule.field} />
                </span>
              )}
            </td>
            <td className="number">{rule.hits === 0 ? <span className="tag">never hit</span> : count(rule.hits)}</td>
            <td className={`number ${rule.denied > 0 ? "text-deny" : ""}`}>{count(rule.denied)}</td>
            <td>{ago(rule.last, now)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Card({ policy }: { policy: Policy }) {
  const { page } = useRoute();
  return (
    <article className={`card ${lacks(policy) ? "edge-high" : ""}`}>
      <header>
        <button type="button" className="link" onClick={() => go(page, { open: key(policy) })}>
          <Name text={policy.namespace ? `${policy.namespace}/${policy.name}` : policy.name} />
        </button>
        <span className="tag">
          <Name text={policy.kind} />
        </span>
        {policy.tier !== policy.kind && (
          <span className="tag">
            tier <Name text={policy.tier} />
          </span>
        )}
        <span className="end muted">
          selects {typeof policy.selects === "number" ? `${count(policy.selects)} ${policy.selects === 1 ? "pod" : "pods"}` : <Name text={policy.selects ?? "?"} />}
          {policy.file ? (
            <>
              {" · "}
              <Name text={`${policy.file}:${policy.line ?? 1}`} />
            </>
          ) : null}
        </span>
      </header>
      {policy.problems.map((problem) => (
        <p key={problem} className="notice bad">
          <strong>Not fully enforced:</strong> <Name text={problem} wrap />
        </p>
      ))}
      {policy.standing && <Standing standing={policy.standing} />}
      {policy.rules.length > 0 ? <Rules policy={policy} /> : <p className="muted">No rules: what it selects is closed in the directions it names.</p>}
    </article>
  );
}

export function Policies() {
  const { page, params } = useRoute();
  const show = params.get("show") ?? "all";
  const { q: text = "", node } = filters(params);
  const found = useQuery({
    queryKey: ["policies", node],
    queryFn: ({ signal }) => get<All>("policies", { node }, signal),
    refetchInterval: 10_000,
    placeholderData: keepPreviousData,
  });
  const all = found.data?.items ?? [];
  const fits = (policy: Policy) => {
    if (text && !`${policy.kind} ${policy.namespace ?? ""}/${policy.name}`.toLowerCase().includes(text.toLowerCase())) return false;
    if (show === "problems") return lacks(policy);
    if (show === "unused") return policy.rules.some((rule) => rule.hits === 0);
    return true;
  };
  const items = all.filter(fits).sort((a, b) => Number(lacks(b)) - Number(lacks(a)) || b.problems.length - a.problems.length || hits(b) - hits(a));
  return (
    <>
      <div className="bar">
        <label>
          Show{" "}
          <select value={show} onChange={(event) => go(page, { show: event.target.value }, true)}>
            <option value="all">all ({all.length})</option>
            <option value="problems">not fully enforced ({all.filter(lacks).length})</option>
            <option value="unused">with rules never hit ({all.filter((it) => it.rules.some((rule) => rule.hits === 0)).length})</option>
          </select>
        </label>
        {found.data && <span className="muted">generation {count(found.data.generation)} · hits are all that the ledger has, whatever the time above</span>}
        <span className="end">
          <Copy label="Copy as CLI" text="cofferdam top rule --since 30d" />
        </span>
      </div>
      <Answer of={found} what="policies">
        {(data) => (
          <>
            {data.shadow && <Candidate shadow={data.shadow} />}
            {items.length > 0 ? (
              <div className="cards">
                {items.map((policy) => (
                  <Card key={key(policy)} policy={policy} />
                ))}
              </div>
            ) : (
              <Empty title={all.length === 0 ? "No policies" : "None of them"}>
                {all.length === 0 && (
                  <p>
                    Without policies everything is allowed, and recorded. <code>cofferdam policy check -f FOLDER</code> says what a folder of manifests means.
                  </p>
                )}
              </Empty>
            )}
          </>
        )}
      </Answer>
      {params.get("open") && <Source policy={params.get("open") ?? ""} close={() => go(page, { open: null })} />}
    </>
  );
}
