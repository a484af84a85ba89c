import { useCallback, useMemo, useRef, useState } from "react";
import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { asked, get } from "../lib/api";
import { showCommand } from "../lib/cli";
import { count, short } from "../lib/format";
import { ENDED, MOST, useLive } from "../lib/live";
import { filters, go, timespan, useRoute } from "../lib/route";
import { useTheme } from "../lib/theme";
import type { LedgerRecord, Page, Series } from "../lib/types";
import { Chart } from "../parts/Chart";
import { Copy } from "../parts/Copy";
import { Grid } from "../parts/Grid";
import { Empty, Loading, Problem } from "../parts/State";
import { TABLES, type TablePage } from "./columns";
import { WhyDrawer } from "./Why";

/** Records of the first answer, which is to be there soon, and of those behind it. */
const PAGES = [500, 1000] as const;
const NOTHING: LedgerRecord[] = [];
/** Most records that are held of one question; further back, the time range leads. */
const DEEPEST = 100_000;

/** Seconds of one bar, so that about a hundred fit. */
export function step(seconds: number): number {
  return [1, 5, 15, 60, 300, 900, 3600, 21600, 86400].find((it) => seconds / it <= 120) ?? 86400;
}

function useRecords(table: TablePage, params: URLSearchParams) {
  const key = params.toString();
  return useInfiniteQuery({
    queryKey: ["records", table.what, key],
    queryFn: ({ pageParam, signal }) => get<Page<LedgerRecord>>("records", { ...asked(params, Date.now()), kind: table.kinds, tool: table.tool, limit: PAGES[pageParam === null ? 0 : 1], before: pageParam }, signal),
    initialPageParam: null as string | number | null,
    getNextPageParam: (last) => last.next ?? null,
    staleTime: Infinity,
    gcTime: 0,
  });
}

function useSeries(table: TablePage, params: URLSearchParams, live: boolean) {
  return useQuery({
    queryKey: ["series", table.what, params.toString()],
    queryFn: ({ signal }) => {
      const now = Date.now();
      const span = timespan(params, now);
      return get<Series>("series", { ...asked(params, now), kind: table.kinds, tool: table.tool, by: "verdict", step: step(((span.until ?? now) - span.since) / 1000) }, signal);
    },
    refetchInterval: live ? 5000 : false,
    placeholderData: keepPreviousData,
  });
}

/** Without what is only about how the page is shown. */
function question(params: URLSearchParams): URLSearchParams {
  const asked = new URLSearchParams(params);
  for (const key of ["open", "paused"]) asked.delete(key);
  return asked;
}

export function Records({ page }: { page: keyof typeof TABLES }) {
  const table = TABLES[page];
  const { params } = useRoute();
  const theme = useTheme();
  const asking = useMemo(() => question(params), [params]);
  const paused = params.get("paused") === "1";
  const canFollow = timespan(params, 0).until === null;
  const follows = canFollow && !paused;
  const past = useRecords(table, asking);
  const series = useSeries(table, asking, follows);
  // The stream begins behind what was: that is asked for above.
  const behind = past.data?.pages[0]?.items[0]?.number ?? 0;
  const stream = useLive({ ...asked(asking, 0), since: null, until: null, kind: table.kinds, tool: table.tool }, asking.toString(), follows && past.isSuccess, behind, () => void past.refetch());
  // What came belongs to no time in the past.
  const live = canFollow ? stream : ENDED;
  const [heldAt, setHeldAt] = useState<number | null>(null);

  const there = useMemo(() => past.data?.pages.flatMap((it) => it.items) ?? NOTHING, [past.data]);
  const all = useMemo(() => {
    const newest = there[0]?.number ?? 0;
    // Between what came and is no longer kept, and what was there before, records are missing: only what is whole is shown.
    return live.dropped > 0 ? live.records : [...live.records.filter((record) => record.number > newest), ...there];
  }, [live.records, live.dropped, there]);
  // While somebody reads further down, nothing moves under them.
  const from = heldAt === null ? 0 : Math.max(0, all.findIndex((record) => record.number <= heldAt));
  const rows = from === 0 ? all : all.slice(from);
  const newest = useRef(0);
  newest.current = all[0]?.number ?? 0;
  const onTop = useCallback((top: boolean) => setHeldAt(top ? null : newest.current), []);

  const columns = useMemo(() => table.columns(new Date()), [table]);
  const more = live.dropped === 0 && past.hasNextPage && !past.isFetchingNextPage && there.length < DEEPEST ? () => void past.fetchNextPage() : null;
  const isFiltered = Object.keys(filters(params)).length > 0;
  const lost = (past.data?.pages[0]?.lost ?? 0) + live.lost;
  return (
    <>
      <div className="bar">
        {canFollow ? (
          <button type="button" aria-pressed={follows} onClick={() => go(page, { paused: paused ? null : "1" }, true)}>
            <span className={`dot ${follows ? live.state : "off"}`} aria-hidden="true" /> {follows ? "Live" : "Paused"}
          </button>
        ) : (
          <span className="muted">a time in the past</span>
        )}
        <span className="muted" role="status">
          {live.state === "reconnecting" && follows ? "The stream broke; it is joined again by itself. " : ""}
          {count(rows.length)}
          {past.hasNextPage || live.dropped > 0 ? " and more" : ""} {table.what}
        </span>
        {lost > 0 && <span className="bad">{count(lost)} lost</span>}
        {live.dropped > 0 && <span className="muted">the newest {short(MOST)} of what came; choose a time for what was before</span>}
        {there.length >= DEEPEST && <span className="muted">the newest {short(DEEPEST)}; choose a time for what is older</span>}
        <span className="end">
          <Copy label="Copy as CLI" text={showCommand(table.kinds, asking, Date.now(), table.tool)} />
        </span>
      </div>
      {series.data && series.data.series.length > 0 && <Chart series={series.data} theme={theme} choose={(since, until) => go(page, { range: null, since: new Date(since).toISOString(), until: new Date(until).toISOString() })} />}
      {past.isPending ? (
        <Loading what={table.what} />
      ) : past.isError && there.length === 0 ? (
        <Problem error={past.error} retry={() => void past.refetch()} />
      ) : rows.length === 0 ? (
        <Empty title={`No ${table.what} in this time${isFiltered ? " with these filters" : ""}`}>
          <p>{table.nothing}</p>
          <p>
            Try a longer time{isFiltered ? " or fewer filters" : ""}. Nothing runs yet? <code>make run</code> shows the example pipeline with an attack on it.
          </p>
        </Empty>
      ) : (
        <div className="grid-place">
          {from > 0 && (
            <button type="button" className="newer" onClick={() => document.querySelector(".grid")?.scrollTo({ top: 0 })}>
              ↑ {count(from)} newer
            </button>
          )}
          <Grid label={table.what} rows={rows} id={(it) => it.number} columns={columns} more={more} top={onTop} className={(it) => `r-${it.verdict}`} open={(it) => go(page, { open: String(it.number) })} />
        </div>
      )}
      {params.get("open") && <WhyDrawer number={params.get("open") ?? ""} close={() => go(page, { open: null })} />}
    </>
  );
}
