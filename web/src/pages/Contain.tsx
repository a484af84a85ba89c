import { useState } from "react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { post } from "../lib/api";
import { bytes, count, moment } from "../lib/format";
import { useOnce } from "../lib/once";
import { quoted } from "../lib/text";
import type { Containment } from "../lib/types";
import { Copy } from "../parts/Copy";
import { Dialog } from "../parts/Dialog";
import { Name } from "../parts/Name";
import { Loading, Problem } from "../parts/State";

/** Connections that are listed of those that would be cut. */
const LISTED = 100;
const TIMES: [number, string][] = [[30, "30 minutes"], [120, "2 hours"], [480, "8 hours"], [1440, "a day"]];

/** What containing would cut, seen before it is done. */
export function Contain({ incident, workload, close }: { incident: string; workload: string; close: () => void }) {
  const [minutes, setMinutes] = useState(120);
  const [pending, setPending] = useState<Containment | null>(null);
  const client = useQueryClient();
  const path = `incidents/${encodeURIComponent(incident)}/contain`;
  const review = useQuery({
    queryKey: ["contain", incident, workload, minutes],
    queryFn: () => post<Containment>(path, { workload, minutes, dry_run: true }),
    staleTime: 0,
    gcTime: 0,
  });
  const act = useOnce({
    act: () => post<Containment>(path, { workload, minutes, dry_run: false }),
    done: async (done) => {
      await client.invalidateQueries({ queryKey: ["incident", incident] });
      if (done.in_force === false) setPending(done);
      else close();
    },
  });
  return (
    <Dialog kind="middle" label="Contain a workload" title={<>Contain <Name text={workload} /></>} close={close}>
      <p>All connections of its pods are cut, in and out, names too, until the time is over or somebody releases it. Doing it twice is one containment.</p>
      <p>
        <label>
          For{" "}
          <select value={minutes} onChange={(event) => setMinutes(Number(event.target.value))}>
            {TIMES.map(([value, name]) => (
              <option key={value} value={value}>
                {name}
              </option>
            ))}
          </select>
        </label>
      </p>
      {review.isPending && <Loading what="what this would cut" />}
      {review.isError && <Problem error={review.error} retry={() => void review.refetch()} />}
      {review.data && (
        <>
          <h3>This cuts {count(review.data.cuts.length)} that are open or were used in the last hour</h3>
          <ul className="rows">
            {review.data.cuts.slice(0, LISTED).map((edge) => (
              <li key={`${edge.source} ${edge.destination}:${edge.port}`}>
                <Name text={edge.source} /> → <Name text={edge.destination} />
                <span className="muted">
                  :{edge.port} · {bytes(edge.bytes_sent + edge.bytes_received)}
                </span>
              </li>
            ))}
          </ul>
          {review.data.cuts.length > LISTED && <p className="muted">and {count(review.data.cuts.length - LISTED)} more</p>}
          {(pending ?? review.data).warnings?.map((warning) => (
            <p key={warning} className="notice">
              <Name text={warning} wrap />
            </p>
          ))}
          {pending && <p className="notice bad" role="alert">It is NOT in force yet: the notes above say what is missing.</p>}
          <details open={pending !== null}>
            <summary>The policy</summary>
            <pre className="yaml" tabIndex={0} aria-label="The policy as YAML">
              <Name text={review.data.policy.replaceAll("\t", "  ")} wrap />
            </pre>
          </details>
          <p className="buttons">
            <button type="button" className="danger" disabled={act.isPending} onClick={() => act.run()}>
              {act.isPending ? "Containing…" : `Contain until ${moment(review.data.until)}`}
            </button>
            <button type="button" onClick={close}>
              Cancel
            </button>
            <Copy label="Copy as CLI" text={`cofferdam incident contain ${quoted(incident)} --workload ${quoted(workload)} --for ${minutes}m`} />
          </p>
        </>
      )}
      {act.isError && <Problem error={act.error} retry={() => act.run()} />}
    </Dialog>
  );
}
