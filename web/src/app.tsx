import { Component, lazy, Suspense, useEffect, useState, type ReactNode } from "react";
import { useQuery } from "@tanstack/react-query";
import { ApiError, get, leave } from "./lib/api";
import { count, moment, ZONE } from "./lib/format";
import { useRoute, type PageName } from "./lib/route";
import { useStatus } from "./lib/status";
import { setTheme, useTheme } from "./lib/theme";
import type { Me, Status } from "./lib/types";
import { FilterBar } from "./parts/FilterBar";
import { Link } from "./parts/Link";
import { Name } from "./parts/Name";
import { Loading, Problem } from "./parts/State";
import { TimeRange } from "./parts/TimeRange";
import { Clusters } from "./pages/Clusters";
import { Findings } from "./pages/Findings";
import { Hunt } from "./pages/Hunt";
import { IncidentPage } from "./pages/Incident";
import { Incidents } from "./pages/Incidents";
import { Policies } from "./pages/Policies";
import { Records } from "./pages/Records";
import { Sensors } from "./pages/Sensors";
import { UsagePage } from "./pages/Usage";

const MapPage = lazy(() => import("./pages/Map"));

const NAV: { title: string; pages: [PageName, string][] }[] = [
  { title: "Look", pages: [["map", "Map"], ["flows", "Flows"], ["dns", "DNS"], ["calls", "API calls"], ["tools", "Tools"], ["usage", "AI usage"]] },
  { title: "Respond", pages: [["incidents", "Incidents"], ["findings", "Findings"], ["hunt", "Hunt"]] },
  { title: "Run", pages: [["policies", "Policies"], ["sensors", "Sensors"], ["clusters", "Clusters"]] },
];
const TITLES = new Map<PageName, string>(NAV.flatMap((group) => group.pages));

function Nav({ status }: { status: Status | undefined }) {
  const { page } = useRoute();
  const marks: Partial<Record<PageName, number>> = { incidents: status?.counts.incidents_open ?? 0, findings: status?.counts.findings ?? 0 };
  return (
    <nav aria-label="Pages">
      <Link to="map" className="brand">
        <img src="./icon.svg" alt="" width="26" height="26" /> Cofferdam
      </Link>
      {NAV.map((group) => (
        <div key={group.title} className="nav-group" role="group" aria-label={group.title}>
          <span className="nav-title" aria-hidden="true">
            {group.title}
          </span>
          {group.pages.map(([name, title]) => (
            <Link key={name} to={name} current={page === name || (name === "incidents" && page === "incident")}>
              {title}
              {marks[name] ? <span className="mark">{count(marks[name])}</span> : null}
            </Link>
          ))}
        </div>
      ))}
    </nav>
  );
}

/** Why it is not known how things stand. Who answers, if only with an error, is not gone. */
export function silence(error: unknown): string {
  const status = error instanceof ApiError ? error.status : 0;
  if (status === 401) return "Log in to see how things stand.";
  const why = status === 0 ? "Cofferdam does not answer." : `Cofferdam does not say how things stand (status ${status}).`;
  return `${why} It is asked again by itself.`;
}

function Footer({ status, error }: { status: Status | undefined; error: unknown }) {
  if (error !== null) {
    return (
      <footer className="bad">
        <span role="status">
          {silence(error)} {status && `What is shown is what was last heard at ${moment(status.time)}.`}
        </span>
      </footer>
    );
  }
  if (!status) return <footer />;
  const lost = (status.ledger?.lost ?? 0) + status.sensors.reduce((sum, sensor) => sum + sensor.lost, 0);
  return (
    <footer>
      {lost > 0 && (
        <Link to="sensors" className="bad">
          {count(lost)} records lost
        </Link>
      )}
      {status.ledger === null && <span className="bad">no ledger: nothing is kept</span>}
      {status.ledger?.problem && (
        <span className="bad">
          ledger: <Name text={status.ledger.problem} />
        </span>
      )}
      {status.degraded.map((what) => (
        <span key={what} className="bad">
          <Name text={what} wrap />
        </span>
      ))}
      <span>
        node <Name text={status.node} />
      </span>
      <span>
        enforced by <Name text={status.enforcement} />
      </span>
      <span>generation {count(status.generation)}</span>
      {lost === 0 && <span>no records lost</span>}
      <span className="end">
        times in {ZONE} · <Name text={status.version} />
      </span>
    </footer>
  );
}

/** One page that breaks does not take the others with it. */
class Fence extends Component<{ page: string; children: ReactNode }, { error: unknown; page: string }> {
  override state = { error: null as unknown, page: this.props.page };
  static getDerivedStateFromError(error: unknown) {
    return { error };
  }
  static getDerivedStateFromProps(props: { page: string }, state: { page: string }) {
    return props.page === state.page ? null : { error: null, page: props.page };
  }
  override render() {
    if (this.state.error === null) return this.props.children;
    return <Problem error={this.state.error} retry={() => this.setState({ error: null })} />;
  }
}

function Shown({ page }: { page: PageName }) {
  switch (page) {
    case "map":
      return (
        <Suspense fallback={<Loading what="the map" />}>
          <MapPage />
        </Suspense>
      );
    case "flows":
    case "dns":
    case "calls":
    case "tools":
      return <Records key={page} page={page} />;
    case "findings":
      return <Findings />;
    case "incidents":
      return <Incidents />;
    case "incident":
      return <IncidentPage />;
    case "usage":
      return <UsagePage />;
    case "policies":
      return <Policies />;
    case "sensors":
      return <Sensors />;
    case "hunt":
      return <Hunt />;
    case "clusters":
      return <Clusters />;
  }
}

/** `/` goes to the filter, as elsewhere. Not while something is over the page. */
function useKeys() {
  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      document.getElementById("filter")?.focus();
    };
    window.addEventListener("keydown", key);
    return () => window.removeEventListener("keydown", key);
  }, []);
}

export function App({ refused }: { refused: unknown }) {
  const { page } = useRoute();
  const theme = useTheme();
  const status = useStatus();
  const me = useQuery({ queryKey: ["me"], queryFn: ({ signal }) => get<Me>("me", {}, signal), staleTime: 60_000 });
  const [notLeft, setNotLeft] = useState<unknown>();
  useKeys();
  const title = page === "incident" ? "Incident" : (TITLES.get(page) ?? "");
  useEffect(() => {
    document.title = `${title} · Cofferdam`;
  }, [title]);
  return (
    <div className="app">
      <a className="skip" href="#content">
        Skip to content
      </a>
      <Nav status={status.data} />
      <header className="top">
        <FilterBar />
        <TimeRange />
        <button type="button" className="quiet" onClick={() => setTheme(theme === "dark" ? "light" : "dark")} aria-label={`Use the ${theme === "dark" ? "light" : "dark"} theme`}>
          {theme === "dark" ? "☀" : "☾"}
        </button>
        {me.data && (
          <span className="me muted" title={`role ${me.data.role}`}>
            <Name text={me.data.name} />
          </span>
        )}
        {me.data && (
          // Loaded anew, the page has nothing left of what only somebody who is logged in may see.
          <button type="button" className="quiet" onClick={() => void leave().then(() => window.location.reload(), setNotLeft)}>
            Log out
          </button>
        )}
      </header>
      <main id="content" tabIndex={-1} className={`page-${page}`}>
        <h1 className={page === "incident" ? "hidden" : undefined}>{title}</h1>
        {notLeft !== undefined && <Problem error={notLeft} />}
        {refused !== undefined ? <Problem error={refused} /> : me.error ? <Problem error={me.error} retry={() => void me.refetch()} /> : null}
        {!me.error && (
          <Fence page={page}>
            <Shown page={page} />
          </Fence>
        )}
      </main>
      <Footer status={status.data} error={status.error} />
    </div>
  );
}
