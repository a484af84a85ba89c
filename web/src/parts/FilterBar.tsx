import { useId, useMemo, useRef, useState, type KeyboardEvent } from "react";
import { useQuery } from "@tanstack/react-query";
import { askedBy, askedTime, get } from "../lib/api";
import { count } from "../lib/format";
import { FIELDS, filters, go, USED, useRoute, type Field } from "../lib/route";
import type { Page } from "../lib/types";
import { Name } from "./Name";

const TELLS: Record<Field, string> = {
  source: "who; ai/* for all that begin so",
  destination: "to whom: workload, name or address",
  verdict: "allow, deny, fail",
  rule: "the rule that decided",
  reason: "why",
  port: "destination port",
  node: "which node recorded it; n* for all that begin so",
  q: "contained in source, destination, rule or reason",
};
const VERDICTS = ["allow", "deny", "fail"];
const HINTED: Field[] = ["source", "destination", "rule", "reason", "node"];

interface Choice {
  field: Field;
  /** Absent where only the field is chosen so far. */
  value?: string;
  note: string;
}

function isField(text: string): text is Field {
  return (FIELDS as readonly string[]).includes(text);
}

/** What somebody typed: a field and the beginning of its value, or neither yet. */
export function typed(text: string): { field: Field | null; value: string } {
  const at = text.search(/[=:]/);
  const field = at > 0 ? text.slice(0, at).trim().toLowerCase() : "";
  return isField(field) ? { field, value: text.slice(at + 1).trim() } : { field: null, value: text.trim() };
}

function useChoices(text: string, open: boolean): Choice[] {
  const { params } = useRoute();
  const { field, value } = typed(text);
  const hinted = field !== null && HINTED.includes(field);
  const hints = useQuery({
    queryKey: ["hints", field, value, ...askedBy(params)],
    queryFn: ({ signal }) => {
      const within = askedTime(params, Date.now());
      return get<Page<{ value: string; count: number }>>("hints", { field, prefix: value, ...within, ...(field === "node" ? { node: null } : {}) }, signal);
    },
    enabled: open && hinted,
    staleTime: 10_000,
    retry: false,
  });
  return useMemo(() => {
    if (field === "verdict") return VERDICTS.filter((it) => it.startsWith(value)).map((it) => ({ field, value: it, note: "" }));
    if (field !== null) {
      const found = (hints.data?.items ?? []).slice(0, 12);
      const choices = found.map((it) => ({ field, value: it.value, note: count(it.count) }));
      const exact = found.some((it) => it.value === value);
      return value !== "" && !exact ? [{ field, value, note: "as typed" }, ...choices] : choices;
    }
    const fields = FIELDS.filter((it) => it !== "q" && it.startsWith(value.toLowerCase())).map((it) => ({ field: it, note: TELLS[it] }));
    return value === "" ? fields : [{ field: "q" as const, value, note: TELLS.q }, ...fields];
  }, [field, value, hints.data]);
}

/** The one filter bar that all pages go by: chips, and hints for the next one. */
export function FilterBar() {
  const { page, params } = useRoute();
  const [text, setText] = useState("");
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(0);
  const list = useId();
  const input = useRef<HTMLInputElement>(null);
  const choices = useChoices(text, open);
  const set = filters(params);
  const chosen = Math.min(at, choices.length - 1);

  const change = (value: string) => {
    setText(value);
    setAt(0);
    setOpen(true);
  };
  const take = (choice: Choice | undefined) => {
    if (!choice) return;
    if (choice.value === undefined) return change(`${choice.field}=`);
    setText("");
    setOpen(false);
    go(page, { [choice.field]: choice.value, open: null });
  };
  const key = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown") setAt(Math.min(chosen + 1, choices.length - 1));
    else if (event.key === "ArrowUp") setAt(Math.max(chosen - 1, 0));
    else if (event.key === "Enter" && text !== "") take(choices[chosen]);
    else if (event.key === "Escape" && open) setOpen(false);
    else if (event.key === "Escape") input.current?.blur();
    else if (event.key === "Backspace" && text === "") {
      const last = FIELDS.filter((field) => set[field]).at(-1);
      if (last) go(page, { [last]: null });
      return;
    } else return;
    event.preventDefault();
  };

  return (
    <div className="filter-bar" role="search">
      {FIELDS.filter((field) => set[field]).map((field) => (
        <span key={field} className={USED[page].includes(field) ? "chip" : "chip unused"}>
          <span className="muted">{field === "q" ? "contains" : field}</span> <Name text={set[field] ?? ""} />
          {!USED[page].includes(field) && <span className="muted">(not on this page)</span>}
          <button type="button" aria-label={`Remove filter ${field}`} onClick={() => go(page, { [field]: null })}>
            ✕
          </button>
        </span>
      ))}
      <span className="filter-input">
        <input
          ref={input}
          id="filter"
          role="combobox"
          aria-label="Filter"
          aria-expanded={open && choices.length > 0}
          aria-controls={list}
          aria-activedescendant={open && choices.length > 0 ? `${list}-${chosen}` : undefined}
          aria-autocomplete="list"
          autoComplete="off"
          spellCheck={false}
          placeholder="Filter: source=, destination=, verdict= … or any text   ( / )"
          value={text}
          onChange={(event) => change(event.target.value)}
          onFocus={() => setOpen(true)}
          onBlur={() => setOpen(false)}
          onKeyDown={key}
        />
        <ul id={list} role="listbox" aria-label="Suggestions" hidden={!open || choices.length === 0}>
          {choices.map((choice, index) => (
            <li
              key={`${choice.field}=${choice.value ?? ""}`}
              id={`${list}-${index}`}
              role="option"
              aria-selected={index === chosen}
              onMouseDown={(event) => {
                event.preventDefault();
                take(choice);
                input.current?.focus();
              }}
            >
              <span>
                <strong>{choice.field === "q" ? "contains" : choice.field}</strong>
                {choice.value === undefined ? "=" : " "}
                {choice.value !== undefined && <Name text={choice.value} />}
              </span>
              <span className="muted">{choice.note}</span>
            </li>
          ))}
        </ul>
      </span>
    </div>
  );
}
