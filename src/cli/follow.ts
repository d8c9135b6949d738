/** What `logs` and `events` share: what an environment has kept, the newest of it, and what comes. */

import type { Cloud, CloudOptions, Target } from "../contract/cloud.ts";
import { FlashError } from "../contract/errors.ts";
import type { Invocation } from "./command.ts";
import type { Output } from "./output.ts";
import { openTarget, type TargetOptions } from "./target.ts";

/** As many as the server gives at once. */
export const MOST_LINES = 10_000;
const UNITS_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export interface FollowOptions extends TargetOptions {
  follow?: true;
  tail?: number;
  since?: number;
}

/** What is asked for in any case. */
export interface Range {
  tail: number;
  follow: boolean;
  endpoint?: string;
  since?: number;
}

export interface Followed<Entry> {
  /** What the entries are called: `lines`. */
  what: string;
  /** How many to begin with, unless `--tail` or `--since` say so. */
  tail: number;
  read: (
    cloud: Cloud,
    target: Target,
    request: { range: Range; options: CloudOptions },
  ) => AsyncIterable<Entry>;
  text: (entry: Entry, output: Output) => string;
}

/** Prints entries of the endpoint that the first argument names, or of all. */
export async function follow<Entry>(
  invocation: Invocation,
  { what, tail, read, text }: Followed<Entry>,
): Promise<void> {
  const { args, output, signal } = invocation;
  const options = invocation.options as FollowOptions;
  const [endpoint] = args;
  const { cloud, target } = await openTarget(invocation);
  const range: Range = {
    tail: options.tail ?? (options.since === undefined ? tail : MOST_LINES),
    follow: options.follow ?? false,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(options.since === undefined ? {} : { since: options.since }),
  };
  let isNothing = true;
  for await (const entry of read(cloud, target, { range, options: { signal } })) {
    isNothing = false;
    output.data(output.json ? JSON.stringify(entry) : text(entry, output));
  }
  if (!isNothing) return;
  const place = [target.app, target.environment, endpoint].filter(Boolean).join(" / ");
  output.say(`No ${what} of ${place} fit.`);
}

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
