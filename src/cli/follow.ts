/** Options that `logs` and `events` share. */

import { FlashError } from "../contract/errors.ts";

/** As many as the server gives at once. */
export const MOST_LINES = 10_000;
const UNITS_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Throws `INVALID_USAGE`. */
export function parseTail(text: string): number {
  if (/^\d{1,7}$/.test(text)) return Number(text);
  throw new FlashError("INVALID_USAGE", `--tail is a number of lines, got '${text}'.`);
}

/** Epoch ms. Throws `INVALID_USAGE`. */
export function parseSince(text: string): number {
  const [, count, unit = ""] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  if (count !== undefined) return Date.now() - Number(count) * (UNITS_MS[unit] ?? 0);
  const time = Date.parse(text);
  if (!Number.isNaN(time)) return time;
  throw new FlashError(
    "INVALID_USAGE",
    `--since is a time such as 10m, 2h or 2026-01-31T12:00:00Z, got '${text}'.`,
  );
}
