import { mixesScripts, pieces, printable } from "../lib/text";

/** A party in little room: a workload `namespace/Kind/name` without its kind, which the title has. */
export function Party({ text }: { text: string }) {
  const parts = text.split("/");
  if (parts.length !== 3 || !/^[A-Z]/.test(parts[1] ?? "")) return <Name text={text} />;
  return (
    <span className="party" title={printable(text)}>
      <span className="party-place">
        <Name text={parts[0] ?? ""} />/
      </span>
      <Name text={parts[2] ?? ""} />
    </span>
  );
}

/** A text that somebody else chose. The only way such a text gets onto a page. */
export function Name({ text, wrap = false }: { text: string; wrap?: boolean }) {
  if (text === "") return <span className="muted">–</span>;
  return (
    <bdi dir="ltr" className={wrap ? "name wrap" : "name"} title={printable(text)}>
      {pieces(text).map((piece, index) =>
        piece.escaped ? (
          <span key={index} className="escaped">
            {piece.text}
          </span>
        ) : (
          piece.text
        ),
      )}
      {mixesScripts(text) && (
        <span className="escaped" title="Letters of several scripts: it may imitate another name">
          mixed scripts
        </span>
      )}
    </bdi>
  );
}
