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
