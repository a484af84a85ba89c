// Light or dark: as the system says, or as somebody chose. A preference of the viewer, and so not in the address.

import { useSyncExternalStore } from "react";

const KEY = "cofferdam-theme";
const listeners = new Set<() => void>();
let unkept: string | null = null;
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function stored(): string | null {
  try {
    return window.localStorage.getItem(KEY) ?? unkept;
  } catch {
    return unkept;
  }
}

function theme(): "light" | "dark" {
  const chosen = stored();
  if (chosen === "light" || chosen === "dark") return chosen;
  return dark.matches ? "dark" : "light";
}

function show() {
  document.documentElement.dataset.theme = theme();
  for (const listener of listeners) listener();
}

export function startTheme() {
  dark.addEventListener("change", show);
  show();
}

export function setTheme(chosen: "light" | "dark") {
  // Without storage it holds as long as the page does.
  unkept = chosen;
  try {
    window.localStorage.setItem(KEY, chosen);
  } catch {
    // Then it is not kept.
  }
  show();
}

export function useTheme(): "light" | "dark" {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, theme);
}
