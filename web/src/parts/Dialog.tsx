import { useEffect, useRef, type ReactNode } from "react";

interface Props {
  title: ReactNode;
  label: string;
  close: () => void;
  children: ReactNode;
  /** At the side, where the page stays visible, or in the middle. */
  kind: "drawer" | "middle";
}

/** Something over the page: focus goes in and comes back, Escape closes it. */
export function Dialog({ title, label, close, children, kind }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    if (!element) return;
    if (!element.open) {
      if (typeof element.showModal === "function") element.showModal();
      else element.setAttribute("open", "");
    }
    return () => {
      if (element.open && typeof element.close === "function") element.close();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      className={kind}
      aria-label={label}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      onClick={(event) => {
        if (event.target === dialog.current) close();
      }}
    >
      <div className="dialog-inside">
        <header>
          <h2>{title}</h2>
          <button type="button" className="quiet" onClick={close} aria-label="Close">
            ✕
          </button>
        </header>
        <div className="dialog-body" tabIndex={0} role="region" aria-label={`${label}, content`}>
          {children}
        </div>
      </div>
    </dialog>
  );
}
