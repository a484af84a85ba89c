import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { asked, askedBy, get } from "../lib/api";
import { showCommand } from "../lib/cli";
import { count, moment, money, short } from "../lib/format";
import { filters, go, useRoute } from "../lib/route";
import type { Budget, Usage, UsageItem } from "../lib/types";
import { Copy } from "../parts/Copy";
import { Link } from "../parts/Link";
import { Name, Party } from "../parts/Name";
import { Answer, Empty } from "../parts/State";

const ORDERS: Record<string, [string, (item: UsageItem) => number]> = {
  cost: ["cost", (it) => it.cost_nanos ?? 0],
  calls: ["calls", (it) => it.calls],
  tokens: ["tokens", (it) => it.input_tokens + it.output_tokens],
  denied: ["denied", (it) => it.denied],
  slow: ["slowest 5 %", (it) => it.p95_ms ?? 0],
};

const millis = (value: number | null | undefined) => (value === null || value === undefined ? "–" : `${count(Math.round(value))} ms`);

/** What a budget counts, as a person says it. */
function amount(budget: Budget, value: number): string {
  return /money|nanos|cost/.test(budget.what) ? money(value, " ") : short(value);
}

function Budgets({ budgets }: { budgets: Budget[] }) {
  return (
    <section className="budgets" aria-label="Budgets">
      {budgets.map((budget) => {
        const share = budget.limit == null ? 0 : budget.limit > 0 ? Math.min(1, budget.used / budget.limit) : 1;
        return (
          <div key={`${budget.workload} ${budget.rule} ${budget.what}`} className="panel budget">
            <p>
              <strong>
                <Name text={budget.workload} />
              </strong>{" "}
              <span className="muted">
                <Name text={budget.what} /> per <Name text={budget.window} />
              </span>
            </p>
            {budget.limit != null && (
              <meter min={0} max={1} low={0.7} high={0.9} optimum={0} value={share} aria-label={`Used of the budget for ${budget.what}`} />
            )}
            <p>
              {amount(budget, budget.used)} {budget.limit != null && (
                <>
                  of {amount(budget, budget.limit)} <span className="muted">({Math.round(share * 100)} %)</span>
                </>
              )}
              {budget.resets && <span className="muted"> · begins anew {moment(budget.resets)}</span>}
            </p>
            <p className="muted">
              <Name text={budget.rule} />
            </p>
          </div>
        );
      })}
    </section>
  );
}

function Row({ item }: { item: UsageItem }) {
  // What is no call of a model has neither tokens nor a price.
  const isCall = item.input_tokens + item.output_tokens + (item.cost_nanos ?? 0) > 0 || !!item.model;
  return (
    <tr>
      <td>
        <Link to="calls" changes={{ source: item.workload }}>
          <Party text={item.workload} />
        </Link>
      </td>
      <td>
        <Name text={item.service} />
      </td>
      <td>
        <Name text={item.model ?? ""} />
      </td>
      <td className="number">{count(item.calls)}</td>
      <td className={`number ${item.denied > 0 ? "text-deny" : ""}`}>{count(item.denied)}</td>
      <td className="number" title={`${count(item.input_tokens)} in, ${count(item.output_tokens)} out`}>
        {isCall ? `${short(item.input_tokens)} / ${short(item.output_tokens)}` : "–"}
      </td>
      <td className="number">{isCall ? money(item.cost_nanos, item.currency) : "–"}</td>
      <td className="number">{millis(item.p50_ms)}</td>
      <td className="number">{millis(item.p95_ms)}</td>
      <td className="number">{millis(item.first_token_p50_ms)}</td>
      <td className={`number ${item.findings > 0 ? "text-fail" : ""}`}>{count(item.findings)}</td>
    </tr>
  );
}

function Shown({ data, order, source }: { data: Usage; order: string; source: string | undefined }) {
  const by = (ORDERS[order] ?? ORDERS["cost"])?.[1] ?? (() => 0);
  const items = [...data.items].sort((a, b) => by(b) - by(a));
  // Budgets are of today, whatever the time; of the filters, only the workload is theirs.
  const fits = (text: string) => !source || (source.endsWith("*") ? text.startsWith(source.slice(0, -1)) : text === source);
  const budgets = data.budgets.filter((it) => fits(it.workload));
  return (
    <>
      {data.truncated && <p className="notice">There were more calls than are summed up here: these are of the newest 50,000. A shorter time or a filter has all of its own.</p>}
      {budgets.length > 0 && <Budgets budgets={budgets} />}
      {items.length === 0 ? (
        <Empty title="No AI calls in this time">
          <p>Calls are counted where a rule looks at requests (<code>operations</code>). Costs need prices: start Cofferdam with a file of them.</p>
        </Empty>
      ) : (
        <div className="table-place dense" tabIndex={0} role="region" aria-label="Calls by workload and model">
          <table>
            <thead>
              <tr>
                <th scope="col">Workload</th>
                <th scope="col">Service</th>
                <th scope="col">Model</th>
                {["Calls", "Denied", "Tokens in / out", "Cost", "Median", "95 %", "First", "Findings"].map((title) => (
                  <th key={title} scope="col" className="number">
                    {title}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {items.map((item) => (
                <Row key={`${item.workload} ${item.service} ${item.model ?? ""}`} item={item} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

export function UsagePage() {
  const { page, params } = useRoute();
  const order = params.get("order") ?? "cost";
  const found = useQuery({
    queryKey: ["usage", ...askedBy(params), ...Object.entries(filters(params)).flat()],
    queryFn: ({ signal }) => get<Usage>("usage", asked(params, Date.now()), signal),
    refetchInterval: params.get("until") ? false : 10_000,
    placeholderData: keepPreviousData,
  });
  return (
    <>
      <div className="bar">
        <label>
          Most{" "}
          <select value={order} onChange={(event) => go(page, { order: event.target.value }, true)}>
            {Object.entries(ORDERS).map(([key, [name]]) => (
              <option key={key} value={key}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <span className="muted">times are of answers that were let through; “first” is to the first byte of an answer</span>
        <span className="end">
          <Copy label="Copy as CLI" text={`${showCommand(["ai_call"], params, Date.now())} --json`} />
        </span>
      </div>
      <Answer of={found} what="AI usage">{(data) => <Shown data={data} order={order} source={filters(params).source} />}</Answer>
    </>
  );
}
