/**
 * Waiting between looks, and which failed looks are borne. Unlike the programs' clock this one keeps
 * the process alive: a script awaits it.
 */

import { FlashError } from "../contract/flash-error.ts";
import { backoffMs, type BackoffPolicy } from "../kit/backoff.ts";

/** Delays between looks at a job: 0.25 s, growing by half, at most 5 s. Source: the original. */
export const POLLING: BackoffPolicy = { baseMs: 250, factor: 1.5, capMs: 5000, jitter: 0 };

/** A time limit that is carried through several steps. */
export class Deadline {
  readonly #end: number;
  /** The whole of it, ms. */
  readonly limitMs: number;

  constructor(ms: number | undefined) {
    this.limitMs = ms ?? Infinity;
    this.#end = ms === undefined ? Infinity : performance.now() + ms;
  }

  /** At least 0; Infinity without a limit. */
  get remainingMs(): number {
    return Math.max(0, this.#end - performance.now());
  }

  get isOver(): boolean {
    return this.remainingMs === 0;
  }

  /** The delay before look number `tries`, never past the end. */
  delayMs(tries: number): number {
    return Math.min(backoffMs(POLLING, tries), this.remainingMs);
  }
}

/** Failed looks in a row that a wait bears: the next one is thrown. Source: the original. */
const TOLERATED_FAILURES = 4;
/** A server's `Retry-After` is followed up to this long, ms. */
const MAX_RETRY_AFTER_MS = 60_000;
/** HTTP statuses of servers and proxies that are busy, restarting or away for a moment. */
const PASSING_STATUSES: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/** Failures that pass by themselves: nothing arrived, or the server says it is busy. */
export function isTransient(error: unknown): boolean {
  if (!FlashError.is(error)) return false;
  if (error.code === "CONNECTION_FAILED" || error.code === "CALL_TIMEOUT") return true;
  // A function's own error may have such a status too; only an answer's own counts.
  return PASSING_STATUSES.has(error.status) && error.details?.["status"] === error.status;
}

/** Counts the failed looks of one wait. */
export class Patience {
  #failures = 0;

  /** A look has succeeded. */
  renew(): void {
    this.#failures = 0;
  }

  /**
   * How long to wait before the next look, ms: as the server asks, else longer each time. Throws
   * `error` when it does not pass by itself, when there were too many, and when the time is over.
   */
  delayMs(error: unknown, deadline: Deadline): number {
    if (deadline.isOver || !isTransient(error) || this.#failures >= TOLERATED_FAILURES) throw error;
    const delayMs = Math.max(deadline.delayMs(this.#failures++), retryAfterMs(error as FlashError));
    return Math.min(delayMs, deadline.remainingMs);
  }
}

function retryAfterMs({ details }: FlashError): number {
  const given = details?.["retryAfterMs"];
  return typeof given === "number" ? Math.min(given, MAX_RETRY_AFTER_MS) : 0;
}

/** Resolves after `ms` or as soon as `sooner` settles; rejects when `signal` aborts. */
export function pause(
  ms: number,
  {
    signal,
    sooner,
  }: { signal?: AbortSignal | undefined; sooner?: Promise<unknown> | undefined } = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    const finish = (): void => {
      end();
      resolve();
    };
    const onAbort = (): void => {
      end();
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(finish, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted === true) onAbort();
    sooner?.then(finish, finish);
  });
}

/** `30s`, `1.5s`. */
export function seconds(ms: number): string {
  return `${Number((ms / 1000).toFixed(3))}s`;
}
