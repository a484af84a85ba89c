import { QueryClient, QueryClientProvider, type UseQueryResult } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import type { ReactNode } from "react";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ApiError } from "../src/lib/api";
import { VerdictBadge } from "../src/parts/Badge";
import { Dialog } from "../src/parts/Dialog";
import { Candidate } from "../src/pages/Candidate";
import { Name } from "../src/parts/Name";
import { Answer, Problem } from "../src/parts/State";
import type { Verdict } from "../src/lib/types";

afterEach(cleanup);

describe("a name", () => {
  it("never becomes markup", () => {
    const { container } = render(<Name text={'<img src=x onerror="window.hurt=1"><b>a</b>'} />);
    expect(container.querySelector("img, b, script")).toBeNull();
    expect(container.textContent).toBe('<img src=x onerror="window.hurt=1"><b>a</b>');
  });
  it("shows what would hide, apart from what was written so", () => {
    const { container } = render(<Name text={"a\u202eb\\u{202e}"} />);
    expect([...container.querySelectorAll(".escaped")].map((it) => it.textContent)).toEqual(["\\u{202e}"]);
  });
  it("is a dash where there is none", () => {
    expect(render(<Name text="" />).container.textContent).toBe("–");
  });
});

describe("a verdict", () => {
  it("of a later version is shown as it is", () => {
    render(<VerdictBadge verdict={"quarantined" as Verdict} />);
    expect(screen.getByText("quarantined")).toBeTruthy();
  });
});

const asking = (inside: ReactNode) => <QueryClientProvider client={new QueryClient()}>{inside}</QueryClientProvider>;

describe("an answer", () => {
  const of = (more: object) => ({ data: undefined, isError: false, error: null, refetch: vi.fn(), ...more }) as unknown as UseQueryResult<string>;
  const shown = (more: object) => render(asking(<Answer of={of(more)} what="it">{(data) => <b>{data}</b>}</Answer>)).container.textContent;
  it("is on its way, then there, and stays when it cannot be heard anew, which is said", () => {
    expect(shown({})).toMatch(/Loading it/);
    expect(shown({ data: "heard" })).toBe("heard");
    expect(shown({ data: "heard", isError: true, error: new ApiError(503, "busy", null) })).toMatch(/busy.*heard/);
    expect(shown({ isError: true, error: new ApiError(503, "busy", null) })).toMatch(/busy.*Try again/);
  });
  it("that nobody can give in time tells what helps", () => {
    expect(new ApiError(0, "no answer within 20 s", null, true).way).toMatch(/shorter time/);
    expect(new ApiError(0, "the server cannot be reached", null).way).not.toMatch(/shorter time/);
  });
});

describe("an error", () => {
  it("of an act tells after a log-in that it was not done, and does nothing by itself", async () => {
    vi.stubGlobal("fetch", vi.fn(async () => new Response("{}", { status: 200 })));
    const retry = vi.fn();
    const { container } = render(asking(<Problem error={new ApiError(401, "no session", null)} retry={retry} />));
    fireEvent.change(container.querySelector("input[type=password]") as HTMLInputElement, { target: { value: "abc" } });
    fireEvent.click(screen.getByText("Log in"));
    expect(await screen.findByText(/was not done: ask again/)).toBeTruthy();
    expect(retry).not.toHaveBeenCalled();
    expect(container.innerHTML).not.toContain("abc");
    vi.unstubAllGlobals();
  });
  it("says what to do, and is tried again", () => {
    vi.stubGlobal("fetch", vi.fn(async () => new Response("{}", { status: 200 })));
    const retry = vi.fn();
    render(asking(<Problem error={new ApiError(401, "no session", "req-7")} retry={retry} />));
    expect(screen.getByText(/#token=/)).toBeTruthy();
    expect(screen.getByText(/req-7/)).toBeTruthy();
    fireEvent.click(screen.getByText("Try again"));
    expect(retry).toHaveBeenCalledOnce();
    vi.unstubAllGlobals();
  });
  it("takes a token where nobody is logged in, sends it once, and says why it was refused", async () => {
    const fetched = vi.fn(async () => new Response('{"title":"Unauthorized","detail":"the token is not valid here"}', { status: 401 }));
    vi.stubGlobal("fetch", fetched);
    const { container } = render(asking(<Problem error={new ApiError(401, "no session", null)} />));
    const field = container.querySelector<HTMLInputElement>("input[type=password]");
    fireEvent.change(field as HTMLInputElement, { target: { value: " abc " } });
    fireEvent.click(screen.getByText("Log in"));
    fireEvent.click(screen.getByText("Log in"));
    expect(await screen.findByText(/the token is not valid here/)).toBeTruthy();
    const sent = (fetched.mock.calls as unknown as [string, RequestInit][]).filter(([address]) => address === "api/v1/session");
    expect(sent.length).toBe(1);
    const [address, request] = sent[0] as [string, RequestInit];
    expect([address, request.body]).toEqual(["api/v1/session", '{"token":"abc"}']);
    vi.unstubAllGlobals();
  });
  it("leads to the identity provider where there is one, and back to the same page", async () => {
    vi.stubGlobal("fetch", vi.fn(async () => new Response('{"provider":"login.example<b>"}', { status: 200 })));
    window.history.replaceState(null, "", "/flows?range=6h&q=a b");
    render(asking(<Problem error={new ApiError(401, "no session", null)} />));
    const link = await screen.findByRole("link", { name: /^Log in with login\.example<b>$/ });
    expect(link.getAttribute("href")).toBe(`api/v1/login?${new URLSearchParams({ page: "flows?range=6h&q=a+b" })}`);
    window.history.replaceState(null, "", "/");
    vi.unstubAllGlobals();
  });
  it("leads to no identity provider where there is none", async () => {
    const fetched = vi.fn(async () => new Response('{"provider":null}', { status: 200 }));
    vi.stubGlobal("fetch", fetched);
    render(asking(<Problem error={new ApiError(401, "no session", null)} />));
    await vi.waitFor(() => expect(fetched).toHaveBeenCalled());
    expect(screen.queryByRole("link")).toBeNull();
    vi.unstubAllGlobals();
  });
  it("asks for no token where something else went wrong", () => {
    const { container } = render(<Problem error={new ApiError(503, "busy", null)} />);
    expect(container.querySelector("input")).toBeNull();
  });
});

describe("a dialog", () => {
  it("closes by its button", () => {
    const close = vi.fn();
    render(
      <Dialog kind="drawer" label="Why?" title="Why?" close={close}>
        <p>inside</p>
      </Dialog>,
    );
    fireEvent.click(screen.getByLabelText("Close"));
    expect(close).toHaveBeenCalledOnce();
  });
});

describe("a candidate", () => {
  const shadow = { sources: ["next/"], policies: 2, problem: null, judged: 7, would_deny: 1, would_allow: 0, unknown: 3, unlisted: 0, differences: [{ verdict: "deny", source: "a/web", destination: "<b>db</b>", protocol: "TCP", port: 80, rule: "NetworkPolicy a/db", count: 1, first: "", last: "" }] };
  it("tells what would be denied, and by which rule", () => {
    const { container } = render(<Candidate shadow={shadow} />);
    expect(container.textContent).toContain("1 would be denied");
    expect(container.textContent).toContain("3 cannot be told");
    expect([...container.querySelectorAll("tbody td")].map((it) => it.textContent).slice(0, 5)).toEqual(["deny", "a/web", "<b>db</b>", "80/TCP", "NetworkPolicy a/db"]);
  });
  it("that cannot be read does not look like one that differs nowhere", () => {
    const { container } = render(<Candidate shadow={{ ...shadow, problem: "it cannot be read", differences: [] }} />);
    expect(container.textContent).toContain("Nothing is judged by it");
    expect(container.textContent).not.toContain("would be denied");
  });
});
