/**
 * How many requests may wait for a slot: as many as the workers, at the rate they are seen to have, get
 * through in a bounded time. Measured only while requests wait and every worker that may be there is:
 * at other times the rate says how much there was to do, not how much can be done.
 */

/** A request that would wait longer than this for a slot is refused, ms: clients give up soon after. */
const QUEUE_MS = 30_000;
/** What was seen this long ago counts for a third, ms. */
const MEMORY_MS = 30_000;
/** Seconds after which a refused client is told to come again, at most. */
const MAX_RETRY_AFTER_S = 60;

export class ServiceRate {
  /** Monotonic, ms; undefined while nothing is measured. */
  #since: number | undefined;
  #served = 0;
  #before = { ms: 0, served: 0 };
  #pausedAt = 0;

  /** A request that held a slot has ended while others waited. */
  count(): void {
    this.#served += 1;
  }

  pause(now: number): void {
    if (this.#since === undefined) return;
    this.#fold(now, this.#since);
    this.#since = undefined;
    this.#pausedAt = now;
  }

  /**
   * Requests that are served in a millisecond, at most: those that run, `running`, are taken to be about
   * to end, so that slow ones are not taken for stuck ones before the first of them has ended.
   */
  perMs(now: number, running: number): number {
    if (this.#since === undefined) {
      if (now - this.#pausedAt > MEMORY_MS) this.#before = { ms: 0, served: 0 };
      this.#since = now;
      this.#served = 0;
    } else if (now - this.#since > 1000) {
      this.#fold(now, this.#since);
      this.#since = now;
    }
    const ms = this.#before.ms + now - this.#since;
    return (this.#before.served + this.#served + Math.max(1, running)) / Math.max(1, ms);
  }

  #fold(now: number, since: number): void {
    const weight = Math.exp((since - now) / MEMORY_MS);
    this.#before = {
      ms: this.#before.ms * weight + now - since,
      served: this.#before.served * weight + this.#served,
    };
    this.#served = 0;
  }
}

/** How many may wait at that rate: never none, however slow the workers are. */
export function roomAt(perMs: number): number {
  return Math.max(1, Math.floor(perMs * QUEUE_MS));
}

/** When so many that are too many will have been served, whole seconds. */
export function retryAfterS(excess: number, perMs: number): number {
  return Math.min(MAX_RETRY_AFTER_S, Math.max(1, Math.ceil(excess / perMs / 1000)));
}
