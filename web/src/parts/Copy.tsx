import { useEffect, useState } from "react";
import { printable } from "../lib/text";

async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Copies a text; where the browser does not let it (plain HTTP), the text is shown to be selected. */
export function Copy({ text, label }: { text: string; label: string }) {
  const [said, setSaid] = useState<"no" | "copied" | "shown">("no");
  useEffect(() => {
    if (said !== "copied") return;
    const timer = window.setTimeout(() => setSaid("no"), 1500);
    return () => window.clearTimeout(timer);
  }, [said]);
  return (
    <span className="copy">
      <button type="button" className="quiet" title={printable(text)} onClick={async () => setSaid((await copied(text)) ? "copied" : "shown")}>
        {said === "copied" ? "copied" : label}
      </button>
      {said === "shown" && <input readOnly aria-label={label} value={text} onFocus={(event) => event.target.select()} autoFocus />}
    </span>
  );
}
