import type { MouseEvent, ReactNode } from "react";
import { address, go, useRoute, type Changes, type PageName } from "../lib/route";

interface Props {
  to: PageName;
  changes?: Changes;
  children: ReactNode;
  className?: string;
  current?: boolean;
  label?: string;
}

/** A link within the console: a real one, so that it opens in a tab and can be copied. */
export function Link({ to, changes = {}, children, className, current = false, label }: Props) {
  const route = useRoute();
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to, changes);
  };
  return (
    <a href={address(route, to, changes)} onClick={follow} className={className} aria-current={current ? "page" : undefined} aria-label={label}>
      {children}
    </a>
  );
}
