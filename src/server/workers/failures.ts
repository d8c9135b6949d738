/**
 * Failed starts of one version: each makes the next start wait longer, and from the third on the
 * version counts as broken, so that callers are told why instead of waiting.
 */

import { backoffMs, type BackoffPolicy } from "../../kit/backoff.ts";

const RESTART: BackoffPolicy = { baseMs: 250, factor: 2, capMs: 60_000, jitter: 0.2 };
/** One failure may be bad luck. */
const BROKEN_AFTER = 3;

export class Failures {
  #count = 0;
  #nextStartAt = Number.NEGATIVE_INFINITY;
  #reason = "";

  get count(): number {
    return this.#count;
  }

  /** Monotonic, ms. */
  get nextStartAt(): number {
    return this.#nextStartAt;
  }

  /** Why workers cannot start; undefined while that is not certain. */
  get problem(): string | undefined {
    return this.#count >= BROKEN_AFTER ? this.#reason : undefined;
  }

  add(reason: string, now: number): void {
    this.#nextStartAt = now + backoffMs(RESTART, this.#count);
    this.#count += 1;
    this.#reason = reason;
  }

  clear(): void {
    this.#count = 0;
    this.#nextStartAt = Number.NEGATIVE_INFINITY;
  }
}
