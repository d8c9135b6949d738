/** Which lines of a log, or which events, the parameters of a request ask for. */

import type { LogFilter, LogQuery } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { EventQuery } from "../../contract/events.ts";
import { isLogLevel, LOG_LEVELS } from "../../contract/logs.ts";

const DEFAULT_TAIL = 100;
const MAX_TAIL = 10_000;
/** The latest time that has a date, epoch ms. */
const MAX_TIME = 8.64e15;

/** Throws `INVALID_REQUEST`. */
export function logQueryOf(query: URLSearchParams): LogQuery {
  const since = sinceOf(query);
  return {
    tail: tailOf(query, since === undefined ? DEFAULT_TAIL : MAX_TAIL),
    follow: query.get("follow") === "1",
    ...(since === undefined ? {} : { since }),
    ...textOf(query, "worker"),
    ...textOf(query, "job"),
    ...textOf(query, "request"),
    ...levelOf(query),
  };
}

/** Which events. A stream goes on until its reader leaves, from the last event that it has seen. */
export function eventQueryOf(
  query: URLSearchParams,
  { isStream, last }: { isStream: boolean; last?: string },
): EventQuery {
  const since = sinceOf(query);
  const after = last ?? query.get("after") ?? undefined;
  const isBounded = since === undefined && after === undefined;
  const names = ["app", "environment", "endpoint", "worker", "kind"] as const;
  const filters = names.flatMap((name) => {
    const value = query.get(name) ?? "";
    return value === "" ? [] : [[name, value]];
  });
  return {
    tail: tailOf(query, isBounded ? DEFAULT_TAIL : MAX_TAIL),
    follow: isStream || query.get("follow") === "1",
    ...(since === undefined ? {} : { since }),
    ...(after === undefined ? {} : { after }),
    ...(Object.fromEntries(filters) as Partial<EventQuery>),
  };
}

/** How many of the newest. Throws `INVALID_REQUEST`. */
export function tailOf(query: URLSearchParams, byDefault: number): number {
  const text = query.get("tail") ?? String(byDefault);
  if (/^\d{1,9}$/.test(text)) return Math.min(Number(text), MAX_TAIL);
  throw new FlashError("INVALID_REQUEST", `'tail' must be a whole number, got '${text}'.`);
}

/** Epoch ms, of a number or an ISO 8601 time. Throws `INVALID_REQUEST`. */
export function sinceOf(query: URLSearchParams): number | undefined {
  const text = query.get("since");
  if (text === null) return undefined;
  const time = /^\d{1,15}$/.test(text) ? Number(text) : Date.parse(text);
  if (Number.isFinite(time) && time <= MAX_TIME) return time;
  throw new FlashError(
    "INVALID_REQUEST",
    `'since' must be a time: ISO 8601 or epoch milliseconds, got '${text}'.`,
  );
}

function textOf(query: URLSearchParams, name: "worker" | "job" | "request"): LogFilter {
  const value = query.get(name);
  return value === null ? {} : { [name]: value };
}

function levelOf(query: URLSearchParams): LogFilter {
  const level = query.get("level");
  if (level === null) return {};
  if (isLogLevel(level)) return { level };
  const levels = LOG_LEVELS.join(", ");
  throw new FlashError("INVALID_REQUEST", `'level' must be one of ${levels}, got '${level}'.`);
}
