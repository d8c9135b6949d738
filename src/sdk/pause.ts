/** Waiting between polls. Unlike the programs' clock this one keeps the process alive: a script awaits it. */

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
