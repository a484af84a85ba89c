import { ago, count } from "../lib/format";
import type { Shadow } from "../lib/types";
import { Copy } from "../parts/Copy";
import { Name } from "../parts/Name";

/** How policies that are judged and not enforced differ from those in force. */
export function Candidate({ shadow }: { shadow: Shadow }) {
  const now = new Date();
  const edge = shadow.problem || shadow.would_deny > 0 ? "edge-high" : "";
  return (
    <article className={`card ${edge}`} aria-label="Candidate">
      <header>
        <strong>
          Candidate <Name text={shadow.sources.join(" ")} />
        </strong>
        <span className="tag">judged, not enforced</span>
        <span className="end">
          <Copy label="Copy as CLI" text="cofferdam shadow" />
        </span>
      </header>
      {shadow.problem ? (
        <p className="notice bad">
          <strong>Nothing is judged by it:</strong> <Name text={shadow.problem} wrap />
        </p>
      ) : (
        <p>
          {count(shadow.judged)} accesses judged, <span className={shadow.would_deny > 0 ? "text-deny" : ""}>{count(shadow.would_deny)} would be denied</span>,{" "}
          {count(shadow.would_allow)} would be allowed
          {shadow.unknown > 0 && <>, {count(shadow.unknown)} cannot be told, for the DNS of their pods is not followed</>}
        </p>
      )}
      {shadow.differences.length > 0 && (
        <table className="rules">
          <thead>
            <tr>
              <th scope="col">Would</th>
              <th scope="col">From</th>
              <th scope="col">To</th>
              <th scope="col">Port</th>
              <th scope="col">By</th>
              <th scope="col" className="number">
                Count
              </th>
              <th scope="col">Last</th>
            </tr>
          </thead>
          <tbody>
            {shadow.differences.map((it) => (
              <tr key={[it.verdict, it.source, it.destination, it.protocol, it.port, it.rule].join(" ")}>
                <td className={it.verdict === "deny" ? "text-deny" : ""}>{it.verdict === "deny" ? "deny" : "allow"}</td>
                <td>
                  <Name text={it.source} />
                </td>
                <td>
                  <Name text={it.destination} />
                </td>
                <td>{it.port === 0 ? <Name text={it.protocol} /> : <Name text={`${it.port}/${it.protocol}`} />}</td>
                <td>
                  <Name text={it.rule} wrap />
                </td>
                <td className="number">{count(it.count)}</td>
                <td>{ago(it.last, now)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {shadow.unlisted > 0 && <p className="muted">and {count(shadow.unlisted)} accesses that differ and found no room in the list</p>}
    </article>
  );
}
