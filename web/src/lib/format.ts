// Numbers and times as people say them. Times are shown in the viewer's zone.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Bytes in powers of ten, as the command line has them. */
export function bytes(count: number): string {
  let unit = 0;
  let value = count;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${count} B` : `${value.toFixed(1)} ${UNITS[unit]}`;
}

const GROUPED = new Intl.NumberFormat("en-GB");
const SHORT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

/** A count with its thousands apart. */
export function count(value: number): string {
  return GROUPED.format(value);
}

/** A count in few characters. */
export function short(value: number): string {
  return SHORT.format(value);
}

/** Money from billionths of its unit. */
export function money(nanos: number | null | undefined, currency: string | null | undefined): string {
  if (nanos === null || nanos === undefined || (nanos === 0 && !currency)) return "no price";
  const value = nanos / 1e9;
  const digits = value !== 0 && Math.abs(value) < 1 ? 4 : 2;
  return `${value.toFixed(digits)} ${currency ?? ""}`.trim();
}

const two = (value: number) => String(value).padStart(2, "0");

/** Hour, minute, second and tenth in the viewer's zone; the day where it is another one than `now`'s. */
export function clock(time: string, now: Date): string {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return time;
  const day = at.toDateString() === now.toDateString() ? "" : `${two(at.getDate())}.${two(at.getMonth() + 1)}. `;
  return `${day}${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${Math.floor(at.getMilliseconds() / 100)}`;
}

/** Day and time in the viewer's zone. */
export function moment(time: string | null | undefined): string {
  if (!time) return "–";
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return time;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** How long ago, in the largest unit; a clock that is ahead is said. */
export function ago(time: string | null | undefined, now: Date): string {
  if (!time) return "never";
  const seconds = Math.round((now.getTime() - new Date(time).getTime()) / 1000);
  if (Number.isNaN(seconds)) return time;
  if (seconds < -5) return `${duration(-seconds)} ahead`;
  return seconds < 5 ? "just now" : `${duration(seconds)} ago`;
}

/** Seconds in the largest unit. */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** Name of a transport protocol. */
export function protocol(number: number): string {
  return { 1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP" }[number] ?? (number === 0 ? "" : `protocol ${number}`);
}

/** The viewer's zone, for titles. */
export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
