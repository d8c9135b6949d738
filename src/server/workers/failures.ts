/**
 * Failed starts of an endpoint's versions: each makes the next start of that version wait longer, and
 * from the third on the version counts as broken, so that callers are told why instead of waiting.
 */

import { backoffMs, type BackoffPolicy } from "../../kit/backoff.ts";
import type { Version } from "./pool-worker.ts";

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

export class FailuresByVersion {
  readonly #failures = new Map<string, Failures>();

  of({ releaseId }: Version): Failures {
    let failures = this.#failures.get(releaseId);
    if (failures === undefined) {
      failures = new Failures();
      this.#failures.set(releaseId, failures);
    }
    return failures;
  }

  /** A clean slate for every version. */
  clear(): void {
    this.#failures.clear();
  }
}
