/**
 * The deadlines of running attempts, on the monotonic clock: a wall clock that jumps must neither
 * end an attempt nor keep a dead one. The store stays the truth about what runs; this is only the
 * index of when to look, rebuilt from the store at a start.
 *
 * When an attempt counts as lost:
 *   - its worker pings and has listed the job: no listing for {@link LEASE_MS}, or two pings without it;
 *   - its worker lists others, or is known to list all, but never listed it: {@link LEASE_MS} after
 *     the take;
 *   - its worker pings without ever listing (SDK 1.7.1): any ping renews;
 *   - its worker never pinged: never. Its connection and its container speak for it.
 */

import { afterListening, type Clock } from "../../kit/clock.ts";
import type { TakenJob } from "../../contract/store.ts";

/** A worker of ours pings every second. */
export const LEASE_MS = 5000;
/**
 * Beyond its execution timeout an attempt gets this long, ms: the worker ends it first, so that the
 * function hears of it through its signal, and the error can say where it was.
 */
export const OVERTIME_GRACE_MS = 1000;
/** A lapse is written down this often at most: the store needs it only for the next start. */
const WRITE_LEASE_MS = LEASE_MS / 2;
/** Pings without a job that was listed before until it counts as lost. */
const MAX_MISSES = 2;

export interface Attempt {
  readonly jobId: string;
  readonly attempt: number;
  readonly workerId: string;
  /** As it was taken. */
  readonly job: TakenJob;
  /** When the execution time and its grace are over, monotonic ms. */
  readonly overAt: number;
  /** When the lease ends, monotonic ms. */
  leaseEndsAt: number;
  wasListed: boolean;
  misses: number;
  leaseWrittenAt: number;
}

/** Why an attempt is over. */
export interface Over {
  why: "lease" | "time";
  /** Other attempts that its worker held when it fell silent; some may have been over before. */
  neighbours: number;
}

export interface PingEffect {
  lost: Attempt[];
  /** Jobs whose lease should be written to the store. */
  renewed: string[];
  /** Ids the worker lists without holding an attempt that is known here. */
  unknown: string[];
}

interface Presence {
  hasListed: boolean;
  /**
   * Jobs whose attempts were over before the worker had said so, and which it may still be running: they
   * count as company until a ping does not list them. A worker that freezes has its attempts lapse one
   * after another, each when its own lease is over, and may end between two of them: the last was not alone.
   */
  readonly lapsed: Set<string>;
}

export class Attempts {
  readonly #clock: Clock;
  readonly #onOver: (attempt: Attempt, over: Over) => void;
  readonly #byJob = new Map<string, Attempt>();
  readonly #byWorker = new Map<string, Map<string, Attempt>>();
  /** Workers that have pinged. */
  readonly #present = new Map<string, Presence>();
  #cancelTimer: (() => void) | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, onOver: (attempt: Attempt, over: Over) => void) {
    this.#clock = clock;
    this.#onOver = onOver;
  }

  get size(): number {
    return this.#byJob.size;
  }

  /** `ranForMs`: how long it has been running already, for attempts found at a start. */
  add(job: TakenJob, ranForMs = 0): void {
    const now = this.#clock.elapsed();
    const attempt: Attempt = {
      jobId: job.id,
      attempt: job.attempt,
      workerId: job.workerId,
      job,
      overAt: now + job.policy.executionTimeoutMs + OVERTIME_GRACE_MS - ranForMs,
      leaseEndsAt: this.#present.has(job.workerId) ? now + LEASE_MS : Number.POSITIVE_INFINITY,
      wasListed: false,
      misses: 0,
      leaseWrittenAt: now,
    };
    this.#byJob.set(job.id, attempt);
    const held = this.#byWorker.get(job.workerId);
    const lapsed = this.#present.get(job.workerId)?.lapsed;
    // Whatever an idle worker has held before is nothing to a job that it takes now.
    if (held === undefined) lapsed?.clear();
    else lapsed?.delete(job.id);
    if (held === undefined) this.#byWorker.set(job.workerId, new Map([[job.id, attempt]]));
    else held.set(job.id, attempt);
    this.#armFor(Math.min(attempt.overAt, attempt.leaseEndsAt));
  }

  /** The running attempt of a job, as it was taken. */
  taken(jobId: string): TakenJob | undefined {
    return this.#byJob.get(jobId)?.job;
  }

  /** How many attempts a worker holds. */
  heldBy(workerId: string): number {
    return this.#byWorker.get(workerId)?.size ?? 0;
  }

  /** Jobs that a worker may still be running although their attempts are over. */
  lapsedUnder(workerId: string): Iterable<string> {
    return this.#present.get(workerId)?.lapsed ?? [];
  }

  /** True when the worker holds a job that runs alone. */
  isAlone(workerId: string): boolean {
    const held = this.#byWorker.get(workerId);
    if (held?.size !== 1) return false;
    return [...held.values()].some(({ job }) => job.aloneSince !== null);
  }

  /** The attempt is over; a newer one of the same job stays. */
  remove(jobId: string, attempt: number): void {
    const known = this.#byJob.get(jobId);
    if (known === undefined || known.attempt !== attempt) return;
    this.#forget(known);
  }

  #forget(known: Attempt): void {
    const { jobId } = known;
    this.#byJob.delete(jobId);
    const held = this.#byWorker.get(known.workerId);
    held?.delete(jobId);
    if (held?.size === 0) this.#byWorker.delete(known.workerId);
  }

  ping(workerId: string, jobIds: readonly string[] | undefined): PingEffect {
    const held = this.#byWorker.get(workerId) ?? new Map<string, Attempt>();
    const presence = this.#presenceOf(workerId);
    const listed = new Set(jobIds);
    for (const id of presence.lapsed) if (!listed.has(id)) presence.lapsed.delete(id);
    const effect: PingEffect = {
      lost: [],
      renewed: [],
      unknown: [...listed].filter((id) => !held.has(id)),
    };
    for (const attempt of held.values()) {
      if (listed.has(attempt.jobId)) this.#renew(attempt, effect);
      else if (attempt.wasListed) {
        attempt.misses++;
        if (attempt.misses >= MAX_MISSES) effect.lost.push(attempt);
      } else if (!presence.hasListed) this.#renew(attempt, effect, false);
      else if (attempt.leaseEndsAt === Number.POSITIVE_INFINITY) {
        attempt.leaseEndsAt = this.#clock.elapsed() + LEASE_MS;
        this.#armFor(attempt.leaseEndsAt);
      }
    }
    if (listed.size > 0) presence.hasListed = true;
    return effect;
  }

  /** The worker's pings name all its jobs, so that an empty list is one. */
  listsAll(workerId: string): void {
    this.#presenceOf(workerId).hasListed = true;
  }

  forgetWorker(workerId: string): void {
    this.#present.delete(workerId);
  }

  close(): void {
    this.#cancelTimer?.();
    this.#byJob.clear();
    this.#byWorker.clear();
  }

  #presenceOf(workerId: string): Presence {
    const presence = this.#present.get(workerId) ?? { hasListed: false, lapsed: new Set() };
    this.#present.set(workerId, presence);
    return presence;
  }

  #renew(attempt: Attempt, effect: PingEffect, isListed = true): void {
    const now = this.#clock.elapsed();
    attempt.leaseEndsAt = now + LEASE_MS;
    this.#armFor(attempt.leaseEndsAt);
    if (isListed) {
      attempt.wasListed = true;
      attempt.misses = 0;
    }
    if (now - attempt.leaseWrittenAt >= WRITE_LEASE_MS) {
      attempt.leaseWrittenAt = now;
      effect.renewed.push(attempt.jobId);
    }
  }

  /**
   * One timer for all attempts, at the earliest deadline or before: one that fires early finds nothing
   * and is set again, which is cheaper than moving it with every ping.
   */
  #armFor(deadline: number): void {
    if (deadline >= this.#timerAt) return;
    this.#cancelTimer?.();
    this.#timerAt = deadline;
    const waitMs = deadline - this.#clock.elapsed();
    this.#cancelTimer = afterListening(this.#clock, waitMs, () => this.#fire());
  }

  #fire(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    const now = this.#clock.elapsed();
    let next = Number.POSITIVE_INFINITY;
    const over: [Attempt, Over][] = [];
    for (const attempt of this.#byJob.values()) {
      if (attempt.overAt > now && attempt.leaseEndsAt > now) {
        next = Math.min(next, attempt.overAt, attempt.leaseEndsAt);
        continue;
      }
      const why = attempt.overAt <= now ? "time" : "lease";
      const { workerId } = attempt;
      const lapsed = this.#present.get(workerId)?.lapsed.size ?? 0;
      over.push([attempt, { why, neighbours: this.heldBy(workerId) + lapsed - 1 }]);
    }
    for (const [attempt, how] of over) {
      this.#forget(attempt);
      this.#present.get(attempt.workerId)?.lapsed.add(attempt.jobId);
      this.#onOver(attempt, how);
    }
    this.#armFor(next);
  }
}
