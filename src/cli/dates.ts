/** Times as people read them, in their own zone. */

/** `Thu, Feb 19 2026 1:33 PM PST`; `-` when there is none. */
export function localTime(iso: string | null | undefined): string {
  if (iso === null || iso === undefined) return "-";
  const format = new Intl.DateTimeFormat("en-US", {
    weekday: "short",
    year: "numeric",
    month: "short",
    day: "numeric",
    hour: "numeric",
    minute: "2-digit",
    timeZoneName: "short",
  });
  const parts = format.formatToParts(new Date(iso));
  const part = Object.fromEntries(parts.map(({ type, value }) => [type, value]));
  const { weekday, month, day, year, hour, minute, dayPeriod, timeZoneName } = part;
  return `${weekday}, ${month} ${day} ${year} ${hour}:${minute} ${dayPeriod} ${timeZoneName}`;
}
