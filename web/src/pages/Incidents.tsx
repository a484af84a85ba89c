import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { askedBy, askedTime, get } from "../lib/api";
import { incidentsCommand } from "../lib/cli";
import { ago, moment } from "../lib/format";
import { filters, go, useRoute } from "../lib/route";
import type { Incident, Page } from "../lib/types";
import { SeverityBadge, StateBadge } from "../parts/Badge";
import { Copy } from "../parts/Copy";
import { Link } from "../parts/Link";
import { Name } from "../parts/Name";
import { Answer, Empty } from "../parts/State";

/** A score as a number and a bar. */
export function Score({ value }: { value: number }) {
  return (
    <span className="score">
      <strong>{value}</strong>
      <meter min={0} max={100} low={40} high={70} optimum={0} value={value} aria-label="Risk score of 100">
        {value} of 100
      </meter>
    </span>
  );
}

function Table({ items }: { items: Incident[] }) {
  const now = new Date();
  if (items.length === 0) {
    return (
      <Empty title="No incidents in this time">
        <p>Findings that share a workload, a destination or a moment become one incident. There were none, or all are older than the time chosen above.</p>
      </Empty>
    );
  }
  return (
    <div className="table-place" tabIndex={0} role="region" aria-label="Incidents">
      <table>
        <thead>
          <tr>
            <th scope="col">Risk</th>
            <th scope="col">Incident</th>
            <th scope="col">State</th>
            <th scope="col">Workloads</th>
            <th scope="col">Detectors</th>
            <th scope="col">Last</th>
          </tr>
        </thead>
        <tbody>
          {items.map((incident) => (
            <tr key={incident.id}>
              <td>
                <Score value={incident.score} />
              </td>
              <td className="wide">
                <Link to="incident" changes={{ id: incident.id }}>
                  <Name text={incident.title} wrap />
                </Link>{" "}
                <SeverityBadge severity={incident.severity} />
              </td>
              <td>
                <StateBadge state={incident.state} />
              </td>
              <td>
                <Name text={incident.workloads.join(", ")} wrap />
              </td>
              <td>
                <Name text={incident.detectors.join(", ")} wrap />
              </td>
              <td title={moment(incident.last)}>{ago(incident.last, now)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Incidents() {
  const { page, params } = useRoute();
  const state = params.get("state");
  const { source: workload, q } = filters(params);
  const found = useQuery({
    queryKey: ["incidents", ...askedBy(params), state, workload, q],
    queryFn: ({ signal }) => get<Page<Incident>>("incidents", { ...askedTime(params, Date.now()), state, workload, q }, signal),
    refetchInterval: params.get("until") ? false : 5000,
    placeholderData: keepPreviousData,
  });
  return (
    <>
      <div className="bar">
        <label>
          State{" "}
          <select value={state ?? ""} onChange={(event) => go(page, { state: event.target.value }, true)}>
            <option value="">all</option>
            <option value="open">open</option>
            <option value="acknowledged">acknowledged</option>
            <option value="contained">contained</option>
            <option value="closed">closed</option>
          </select>
        </label>
        <span className="end">
          <Copy label="Copy as CLI" text={incidentsCommand(params, Date.now())} />
        </span>
      </div>
      <Answer of={found} what="incidents">{(data) => <Table items={data.items} />}</Answer>
    </>
  );
}
