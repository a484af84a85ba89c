import { useState } from "react";
import type { FormEvent, ReactNode } from "react";
import { useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { ApiError, apiAddress, get, logIn } from "../lib/api";
import { address, useRoute } from "../lib/route";
import type { LogInBy } from "../lib/types";
import { Name } from "./Name";

/** What is shown while an answer is on its way: for 20 seconds at most, then it is an error. */
export function Loading({ what }: { what: string }) {
  return (
    <p className="state" role="status">
      <span className="spinner" aria-hidden="true" /> Loading {what}…
    </p>
  );
}

/** What went wrong, what to do about it, and how to try again. */
export function Problem({ error, retry }: { error: unknown; retry?: () => void }) {
  const known = error instanceof ApiError ? error : null;
  return (
    <div className="state problem" role="alert">
      <strong>{known?.status === 401 ? "You are not logged in" : "This did not work"}</strong>
      <p>
        <Name text={error instanceof Error ? error.message : String(error)} wrap />
      </p>
      {known && <p>{known.way}</p>}
      {known?.status === 401 && <Provider />}
      {known?.status === 401 && <LogIn />}
      {known?.request && (
        <p className="muted">
          request <Name text={known.request} />
        </p>
      )}
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** What was asked for: on its way, not to be had, or there. What was heard before stays while it cannot be heard anew, and that is said. */
export function Answer<T>({ of, what, children }: { of: UseQueryResult<T>; what: string; children: (data: T) => ReactNode }) {
  const retry = () => void of.refetch();
  if (of.data === undefined) return of.isError ? <Problem error={of.error} retry={retry} /> : <Loading what={what} />;
  return (
    <>
      {of.isError && <Problem error={of.error} retry={retry} />}
      {children(of.data)}
    </>
  );
}

/** Longest page that a log-in comes back to: a longer one without its time and filters. */
const LONGEST = 1000;

/** The way over the identity provider, where there is one: it leads away, and back to this page. */
function Provider() {
  const route = useRoute();
  const by = useQuery({ queryKey: ["login-provider"], queryFn: ({ signal }) => get<LogInBy>("login/provider", {}, signal), staleTime: 60_000, retry: false });
  if (!by.data?.provider) return null;
  const here = address(route, route.page);
  return (
    <p>
      <a className="button" href={apiAddress("login", { page: here.length > LONGEST ? route.page : here })}>
        Log in with <Name text={by.data.provider} />
      </a>
    </p>
  );
}

/** A token is typed or pasted, sent once, and kept nowhere in the page. What somebody was at stays as it is. */
function LogIn() {
  const [token, setToken] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [refused, setRefused] = useState("");
  const [isIn, setIn] = useState(false);
  const client = useQueryClient();
  const send = (event: FormEvent) => {
    event.preventDefault();
    if (token.trim() === "" || isBusy) return;
    setBusy(true);
    logIn(token.trim()).then(
      () => {
        setToken("");
        setBusy(false);
        setIn(true);
        return client.invalidateQueries();
      },
      (error: unknown) => {
        setRefused(error instanceof Error ? error.message : String(error));
        setBusy(false);
      },
    );
  };
  if (isIn) return <p role="status">You are logged in. What you asked for before was not done: ask again.</p>;
  return (
    <form onSubmit={send}>
      <label>
        Token{" "}
        <input type="password" autoComplete="off" spellCheck={false} value={token} onChange={(event) => setToken(event.target.value)} />
      </label>{" "}
      <button type="submit" disabled={isBusy}>
        Log in
      </button>
      {refused !== "" && (
        <p>
          <Name text={refused} wrap />
        </p>
      )}
    </form>
  );
}

/** Why there is nothing, and how there would be something. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="state empty">
      <strong>{title}</strong>
      {children}
    </div>
  );
}
