import { mixesScripts, pieces, printable } from "../lib/text";

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
