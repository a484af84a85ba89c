import { useEffect, useState } from "react";
import { useQuery } from "@tanstack/react-query";
import { askedBy, askedTime, get } from "../lib/api";
import { clock, count, moment } from "../lib/format";
import { go, useRoute } from "../lib/route";
import { huntCommand } from "../lib/cli";
import type { Hunt as Found } from "../lib/types";
import { VerdictBadge } from "../parts/Badge";
import { Copy } from "../parts/Copy";
import { Link } from "../parts/Link";
import { Name } from "../parts/Name";
import { Answer, Empty } from "../parts/State";
import { WhyDrawer } from "./Why";

function Hits({ found }: { found: Found }) {
  const { page } = useRoute();
  const now = new Date();
  if (found.hits === 0) {
    return (
      <Empty title="Nobody met it in this time">
        <p>
          It was taken as: <Name text={found.kind} />. Choose a longer time above to look further back.
        </p>
      </Empty>
    );
  }
  return (
    <>
      <p>
        <strong>{count(found.hits)}</strong> hits as <Name text={found.kind} />, from {moment(found.first)} to {moment(found.last)}.{found.truncated ? " There are more than were looked at: choose a shorter time." : ""}
      </p>
      <div className="table-place" tabIndex={0} role="region" aria-label="Workloads that met it">
        <table>
          <thead>
            <tr>
              <th scope="col">Workload</th>
              <th scope="col" className="number">
                Hits
              </th>
              <th scope="col">First</th>
              <th scope="col">Last</th>
            </tr>
          </thead>
          <tbody>
            {found.workloads.map((it) => (
              <tr key={it.workload}>
                <td>
                  <Link to="flows" changes={{ source: it.workload }}>
                    <Name text={it.workload} />
                  </Link>
                </td>
                <td className="number">{count(it.hits)}</td>
                <td>{moment(it.first)}</td>
                <td>{moment(it.last)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <h2>Newest records</h2>
      <ul className="rows">
        {found.records.map((record) => (
          <li key={record.number}>
            <button type="button" className="row-button" onClick={() => go(page, { open: String(record.number) })}>
              <span className="muted">{clock(record.time, now)}</span>
              <span className="kind">{record.kind.replace("_", " ")}</span>
              <VerdictBadge verdict={record.verdict} />
              <span>
                <Name text={record.source} /> → <Name text={record.destination} />
              </span>
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

export function Hunt() {
  const { page, params } = useRoute();
  const indicator = params.get("indicator") ?? "";
  const [text, setText] = useState(indicator);
  useEffect(() => setText(indicator), [indicator]);
  const found = useQuery({
    queryKey: ["hunt", indicator, ...askedBy(params)],
    queryFn: ({ signal }) => get<Found>("hunt", { indicator, ...askedTime(params, Date.now()) }, signal),
    enabled: indicator !== "",
  });
  return (
    <>
      <form
        className="bar"
        onSubmit={(event) => {
          event.preventDefault();
          go(page, { indicator: text.trim(), open: null });
        }}
      >
        <input className="hunt-input" aria-label="Indicator" placeholder="domain, address, CIDR, workload, model, key fingerprint, hash or rule" value={text} onChange={(event) => setText(event.target.value)} />
        <button type="submit" className="primary">
          Hunt
        </button>
        <span className="end">{indicator && <Copy label="Copy as CLI" text={huntCommand(indicator, params, Date.now())} />}</span>
      </form>
      {indicator === "" ? (
        <Empty title="Who ever met this?">
          <p>Give a domain, an address, a model, a hash or another indicator: all that the ledger kept is searched for it, in the time chosen above.</p>
        </Empty>
      ) : (
        <Answer of={found} what="what the ledger kept">
          {(data) => <Hits found={data} />}
        </Answer>
      )}
      {params.get("open") && <WhyDrawer number={params.get("open") ?? ""} close={() => go(page, { open: null })} />}
    </>
  );
}
