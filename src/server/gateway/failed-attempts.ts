/**
 * Attempts with keys that nobody has, counted by address. Beyond an allowance they are answered with
 * 429, so that a guesser fills no log and learns nothing fast. A valid key is never refused,
 * wherever it comes from: whoever guesses behind the same address locks nobody out.
 */

import { FlashError } from "../../contract/errors.ts";
import type { Clock } from "../../kit/clock.ts";

/** Attempts at once, and how fast the allowance comes back. */
const ALLOWANCE = 100;
const REFILL_MS = 1000;
/** Addresses that are remembered: an attacker with more of them starts anew with each anyway. */
const MAX_ADDRESSES = 10_000;

export class FailedAttempts {
  readonly #clock: Clock;
  /** When each address has its whole allowance back, monotonic ms. Oldest attempt first. */
  readonly #wholeAt = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Counts one. Throws `OVERLOADED` beyond the allowance. */
  note(address: string): void {
    const now = this.#clock.elapsed();
    const wholeAt = Math.max(now, this.#wholeAt.get(address) ?? now);
    if (wholeAt - now > (ALLOWANCE - 1) * REFILL_MS) {
      throw new FlashError("OVERLOADED", "Too many attempts with keys that are not valid.", {
        hint: "Correct the key; requests with a valid one are answered.",
        details: { retryAfterS: Math.ceil(REFILL_MS / 1000) },
      });
    }
    // Deleted first, so that the order is that of the newest attempts.
    this.#wholeAt.delete(address);
    this.#wholeAt.set(address, wholeAt + REFILL_MS);
    const [oldest] = this.#wholeAt.keys();
    if (this.#wholeAt.size > MAX_ADDRESSES && oldest !== undefined) this.#wholeAt.delete(oldest);
  }
}
