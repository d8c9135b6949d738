/**
 * The stop channel: which jobs a worker should give up. A worker that gets the word before it has
 * registered the job loses it, so an id is repeated until the worker's pings no longer list it.
 */

import type { Clock } from "../../kit/clock.ts";
import { Bells } from "./bells.ts";

/** An id is repeated this often at most: a worker polls again the moment it is answered. */
const REPEAT_MS = 1000;
/**
 * A worker that still lists a job this long after it was told has a function that hears nothing. Ours
 * give one that could hear 5 s, so this is a moment later.
 */
const IGNORED_MS = 5500;
/** A worker that never lists its jobs is told for this long. */
const FORGET_MS = 60_000;

interface Stop {
  since: number;
  toldAt: number;
}

export class Stops {
  readonly #clock: Clock;
  readonly #byWorker = new Map<string, Map<string, Stop>>();
  readonly #bells: Bells;
  readonly #released = new Set<string>();
  #isClosed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#bells = new Bells(clock);
  }

  add(workerId: string, jobId: string): void {
    const stops = this.#byWorker.get(workerId) ?? new Map<string, Stop>();
    this.#byWorker.set(workerId, stops);
    if (stops.has(jobId)) return;
    stops.set(jobId, { since: this.#clock.elapsed(), toldAt: Number.NEGATIVE_INFINITY });
    this.#bells.ring(workerId);
  }

  /** The worker has taken this job again: the word was about an earlier attempt. */
  remove(workerId: string, jobId: string): void {
    const stops = this.#byWorker.get(workerId);
    stops?.delete(jobId);
    if (stops?.size === 0) this.#byWorker.delete(workerId);
  }

  /**
   * A ping: a job that it no longer lists has been stopped. Returns the jobs that it still lists although
   * it should have given them up long ago.
   */
  pinged(workerId: string, listed: readonly string[]): string[] {
    const now = this.#clock.elapsed();
    const ignored: string[] = [];
    for (const [jobId, { since, toldAt }] of this.#byWorker.get(workerId) ?? []) {
      if (listed.includes(jobId)) {
        if (now - since >= IGNORED_MS) ignored.push(jobId);
      } else if (toldAt > Number.NEGATIVE_INFINITY) this.remove(workerId, jobId);
    }
    return ignored;
  }

  forgetWorker(workerId: string): void {
    this.#byWorker.delete(workerId);
    this.#released.delete(workerId);
  }

  /** Ids to stop, as soon as there are any that are due to be told; nothing when the hold ends. */
  async next(workerId: string, holdMs: number, signal?: AbortSignal): Promise<string[]> {
    const wasReleased = this.#released.has(workerId);
    const endsAt = this.#clock.elapsed() + (wasReleased ? Math.min(holdMs, REPEAT_MS) : holdMs);
    const bell = this.#bells.hang(workerId);
    try {
      for (;;) {
        const { ids, nextAt } = this.#due(workerId);
        const left = endsAt - this.#clock.elapsed();
        const isOver = left <= 0 || this.#isClosed || signal?.aborted === true;
        if (ids.length > 0 || isOver) return ids;
        if (!wasReleased && this.#released.has(workerId)) return ids;
        await bell.wait(Math.min(left, nextAt - this.#clock.elapsed()), signal);
      }
    } finally {
      bell.close();
    }
  }

  /** Ends the worker's open stop polls: it waits for them before it exits. Later ones are short. */
  release(workerId: string): void {
    this.#released.add(workerId);
    this.#bells.ring(workerId);
  }

  close(): void {
    this.#isClosed = true;
    this.#bells.ringAll();
  }

  #due(workerId: string): { ids: string[]; nextAt: number } {
    const now = this.#clock.elapsed();
    const ids: string[] = [];
    let nextAt = Number.POSITIVE_INFINITY;
    for (const [jobId, stop] of this.#byWorker.get(workerId) ?? []) {
      if (now - stop.since > FORGET_MS) this.remove(workerId, jobId);
      else if (now - stop.toldAt >= REPEAT_MS) {
        stop.toldAt = now;
        ids.push(jobId);
      } else nextAt = Math.min(nextAt, stop.toldAt + REPEAT_MS);
    }
    return { ids, nextAt };
  }
}
