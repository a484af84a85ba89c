import { words } from "../lib/call";
import { count } from "../lib/format";
import { filters, useRoute } from "../lib/route";
import { useStatus } from "../lib/status";
import { Copy } from "../parts/Copy";
import { Name } from "../parts/Name";
import { Empty, Loading, Problem } from "../parts/State";

export function Sensors() {
  const found = useStatus();
  const { node } = filters(useRoute().params);
  if (found.isPending) return <Loading what="sensors" />;
  if (!found.data) return <Problem error={found.error} retry={() => void found.refetch()} />;
  const { ledger, sensors: all, counts } = found.data;
  const sensors = all.filter((sensor) => !node || (node.endsWith("*") ? sensor.name.startsWith(node.slice(0, -1)) : sensor.name === node));
  return (
    <>
      <div className="bar">
        <span className="muted">what watches and enforces, and what of it was lost on the way</span>
        <span className="end">
          <Copy label="Copy as CLI" text="cofferdam status" />
        </span>
      </div>
      <section className="tiles" aria-label="Counts">
        {[
          ["records", counts.records],
          ["denied", counts.denied],
          ["open findings", counts.findings],
          ["open incidents", counts.incidents_open],
        ].map(([name, value]) => (
          <div key={name} className="panel tile">
            <strong>{count(Number(value))}</strong>
            <span className="muted">{name}</span>
          </div>
        ))}
      </section>
      {sensors.length === 0 ? (
        <Empty title={all.length > 0 ? "None of this node" : "No sensors"}>
          <p>{all.length > 0 ? `There are ${count(all.length)} of others: take away the filter on node to see them.` : "Nothing enforces here yet: the ledger is shown as it was left."}</p>
        </Empty>
      ) : (
        <div className="table-place" tabIndex={0} role="region" aria-label="Sensors">
          <table>
            <thead>
              <tr>
                <th scope="col">Sensor</th>
                <th scope="col">Role</th>
                <th scope="col">State</th>
                <th scope="col" className="number">
                  Lost
                </th>
                <th scope="col">Detail</th>
              </tr>
            </thead>
            <tbody>
              {sensors.map((sensor) => (
                <tr key={`${sensor.role} ${sensor.name}`}>
                  <td>
                    <Name text={sensor.name} />
                  </td>
                  <td>
                    <Name text={sensor.role} />
                  </td>
                  <td>{sensor.ready ? <span className="badge v-allow">ready</span> : <span className="badge v-deny">not ready</span>}</td>
                  <td className={`number ${sensor.lost > 0 ? "text-deny" : ""}`}>{count(sensor.lost)}</td>
                  <td>
                    <Name text={words(sensor.detail)} wrap />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <section className="panel">
        <h2>Ledger</h2>
        {ledger ? (
          <dl className="facts">
            <div>
              <dt>file</dt>
              <dd>
                <Name text={ledger.path} wrap />
              </dd>
            </div>
            <div>
              <dt>written since the start</dt>
              <dd>{count(ledger.written)}</dd>
            </div>
            <div>
              <dt>lost</dt>
              <dd className={ledger.lost > 0 ? "text-deny" : ""}>{count(ledger.lost)}</dd>
            </div>
            {ledger.store && (
              <div>
                <dt>asked for records and edges</dt>
                <dd>
                  <Name text={ledger.store} wrap />
                </dd>
              </div>
            )}
            {ledger.problem && (
              <div>
                <dt>problem</dt>
                <dd className="text-deny">
                  <Name text={ledger.problem} wrap />
                </dd>
              </div>
            )}
          </dl>
        ) : (
          <p>
            Nothing is kept. Start Cofferdam with <code>--ledger FILE</code>.
          </p>
        )}
      </section>
    </>
  );
}
