// How things stand, asked for by the footer, the marks beside pages and the page of sensors: one question for all.

import { useQuery } from "@tanstack/react-query";
import { get } from "./api";
import type { Status } from "./types";

export function useStatus() {
  return useQuery({ queryKey: ["status"], queryFn: ({ signal }) => get<Status>("status", {}, signal), refetchInterval: 5000 });
}
