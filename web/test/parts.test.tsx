import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ApiError } from "../src/lib/api";
import { VerdictBadge } from "../src/parts/Badge";
import { Dialog } from "../src/parts/Dialog";
import { Name } from "../src/parts/Name";
import { Problem } from "../src/parts/State";
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

describe("an error", () => {
  it("says what to do, and is tried again", () => {
    const retry = vi.fn();
    render(<Problem error={new ApiError(401, "no session", "req-7")} retry={retry} />);
    expect(screen.getByText(/#token=/)).toBeTruthy();
    expect(screen.getByText(/req-7/)).toBeTruthy();
    fireEvent.click(screen.getByText("Try again"));
    expect(retry).toHaveBeenCalledOnce();
  });
  it("takes a token where nobody is logged in, sends it once, and says why it was refused", async () => {
    const fetched = vi.fn(async () => new Response('{"title":"Unauthorized","detail":"the token is not valid here"}', { status: 401 }));
    vi.stubGlobal("fetch", fetched);
    const { container } = render(<Problem error={new ApiError(401, "no session", null)} />);
    const field = container.querySelector<HTMLInputElement>("input[type=password]");
    fireEvent.change(field as HTMLInputElement, { target: { value: " abc " } });
    fireEvent.click(screen.getByText("Log in"));
    fireEvent.click(screen.getByText("Log in"));
    expect(await screen.findByText(/the token is not valid here/)).toBeTruthy();
    expect(fetched).toHaveBeenCalledOnce();
    const [address, request] = fetched.mock.calls[0] as unknown as [string, RequestInit];
    expect([address, request.body]).toEqual(["api/v1/session", '{"token":"abc"}']);
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
