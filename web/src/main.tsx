import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { App } from "./app";
import { ApiError, enter } from "./lib/api";
import { startTheme } from "./lib/theme";
import { Loading } from "./parts/State";
import "./style/tokens.css";
import "./style/base.css";
import "./style/layout.css";
import "./style/parts.css";

/** Refusals are not asked again: they would be refused again. Nor is what took too long: people would wait three times as long. */
function again(failures: number, error: Error): boolean {
  const refused = error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429;
  const late = error instanceof ApiError && error.isLate;
  return !refused && !late && failures < 2;
}

const client = new QueryClient({
  defaultOptions: { queries: { retry: again, staleTime: 2000, gcTime: 60_000, refetchOnWindowFocus: false, networkMode: "always" }, mutations: { networkMode: "always" } },
});

startTheme();
const place = document.getElementById("root");
if (place) {
  const root = createRoot(place);
  root.render(<Loading what="the console" />);
  // A token that is refused shows as such on the first page.
  const entered = enter().catch((error: unknown) => error);
  entered.then((refused) => {
    root.render(
      <StrictMode>
        <QueryClientProvider client={client}>
          <App refused={refused} />
        </QueryClientProvider>
      </StrictMode>,
    );
  });
}
