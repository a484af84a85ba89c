// Acts that must not be done twice, however often somebody clicks.

import { useRef } from "react";
import { useMutation } from "@tanstack/react-query";

/** As `useMutation`; what comes while one is under way is dropped, from the very click on and not from the next drawing on. */
export function useOnce<Answer, Asked = void>(options: { act: (asked: Asked) => Promise<Answer>; done?: (answer: Answer) => unknown; always?: () => unknown }) {
  const isBusy = useRef(false);
  const mutation = useMutation({
    mutationFn: options.act,
    ...(options.done ? { onSuccess: options.done } : {}),
    onSettled: () => {
      isBusy.current = false;
      return options.always?.();
    },
  });
  const run = (asked: Asked) => {
    if (isBusy.current) return;
    isBusy.current = true;
    mutation.mutate(asked);
  };
  return { run, isPending: mutation.isPending, isError: mutation.isError, error: mutation.error };
}
