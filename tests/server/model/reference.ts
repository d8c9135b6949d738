/**
 * The reference: what a durable queue promises, as simple as it can be said, in memory and without
 * any of the product's code. The test asks both the same things and compares every job.
 *
 * Moves that time alone causes (an expired job, a silent worker, an attempt that takes too long) are
 * not predicted to the millisecond: `explain` accepts them from the moment they are due, and `overdue`
 * tells when one is missing.
 */

import type { Job } from "../../../src/contract/job.ts";
import type { JobState } from "../../../src/contract/states.ts";
import { Turns } from "./turns.ts";

/** A worker's silence after which its attempt is lost, ms. */
const LEASE_MS = 5000;
/** The server ends an attempt this long after its execution timeout, ms. */
const OVERTIME_MS = 1000;
/** Who was further ahead has no say in what time it is when the server starts again, ms. */
const MAX_AHEAD_MS = 24 * 3_600_000;
/** Time moves in steps of this length; what it causes may come that much later than it was due. */
export const STEP_MS = 250;
const RETENTION_MS = { run: 30 * 60_000, runsync: 60_000 } as const;

export interface EndpointRules {
  retries: number;
  isCode: boolean;
  keyConcurrency: number;
}

export interface Attempt {
  worker: string;
  /** Monotonic ms. */
  overAt: number;
  leaseEndsAt: number;
  wasListed: boolean;
  misses: number;
}

export interface ModelJob {
  readonly id: string;
  readonly order: number;
  readonly endpoint: string;
  readonly via: "run" | "runsync";
  readonly input: string;
  /** Its idempotency key. */
  readonly key: string | null;
  /** Its key: whose job it is. */
  readonly tenant: string | null;
  readonly ttlMs: number;
  readonly executionTimeoutMs: number;
  readonly lowPriority: boolean;
  state: JobState;
  attempt: number;
  failures: number;
  createdAt: number;
  runAt: number;
  expiresAt: number;
  output: string | null;
  error: RegExp | null;
  aloneSince: number | null;
  /** Who has it, or had it at the end. */
  workerId: string | null;
  running: Attempt | undefined;
  unread: string[];
  dropAt: number | undefined;
  finishedAt: number | undefined;
}

export interface Totals {
  completed: number;
  failed: number;
  retried: number;
}

export interface RestartTimes {
  /** Of the attempts that run, by job. */
  startedAt: ReadonlyMap<string, number>;
  /** When the store was written to last. */
  latestAt: number | undefined;
}

/** Wall and monotonic time, ms. */
export interface Times {
  now: number;
  elapsed: number;
}

export function isOver(job: ModelJob): boolean {
  return job.state !== "IN_QUEUE" && job.state !== "IN_PROGRESS";
}

export class Reference {
  readonly jobs = new Map<string, ModelJob>();
  readonly rules: Readonly<Record<string, EndpointRules>>;
  readonly totals = new Map<string, Totals>();
  readonly #turns = new Turns();
  /** Workers that have pinged, and whether they ever listed a job. */
  #present = new Map<string, { hasListed: boolean }>();
  #order = 0;
  times: Times = { now: 0, elapsed: 0 };

  constructor(rules: Readonly<Record<string, EndpointRules>>) {
    this.rules = rules;
    for (const endpoint of Object.keys(rules)) {
      this.totals.set(endpoint, { completed: 0, failed: 0, retried: 0 });
    }
  }

  // --- what is asked

  add(
    job: Pick<
      ModelJob,
      | "id"
      | "endpoint"
      | "via"
      | "input"
      | "key"
      | "tenant"
      | "ttlMs"
      | "executionTimeoutMs"
      | "lowPriority"
    > & { runAt: number },
  ): void {
    this.jobs.set(job.id, {
      ...job,
      order: this.#order++,
      state: "IN_QUEUE",
      attempt: 0,
      failures: 0,
      createdAt: this.times.now,
      expiresAt: this.times.now + job.ttlMs,
      output: null,
      error: null,
      aloneSince: null,
      workerId: null,
      running: undefined,
      unread: [],
      dropAt: undefined,
      finishedAt: undefined,
    });
  }

  byKey(endpoint: string, key: string): ModelJob | undefined {
    return this.kept().find((job) => job.endpoint === endpoint && job.key === key);
  }

  /** Jobs whose retention is not over. */
  kept(): ModelJob[] {
    return [...this.jobs.values()].filter(({ dropAt }) => (dropAt ?? Infinity) > this.times.now);
  }

  /** Jobs of an endpoint that this worker may start now, in the order in which it has to. */
  due(endpoint: string, worker: string, limit = Infinity): ModelJob[] {
    const held = this.heldBy(worker);
    if (held.some(({ aloneSince }) => aloneSince !== null)) return [];
    const isIdle = held.length === 0;
    const jobs = [...this.jobs.values()].filter((job) => job.endpoint === endpoint);
    const queued = jobs.filter(({ state }) => state === "IN_QUEUE");
    const running = jobs.filter(({ state }) => state === "IN_PROGRESS");
    const concurrency = this.rules[endpoint]?.keyConcurrency ?? 1;
    return this.#turns.next(
      { queued, running },
      {
        now: this.times.now,
        limit,
        concurrency,
        isIdle,
      },
    );
  }

  /** A take has brought this job: its key has had its turn. In the order of the takes. */
  served(job: ModelJob): void {
    this.#turns.serve(job, this.times.now);
  }

  heldBy(worker: string): ModelJob[] {
    return [...this.jobs.values()].filter((job) => job.running?.worker === worker);
  }

  take(job: ModelJob, worker: string): void {
    job.state = "IN_PROGRESS";
    job.attempt += 1;
    job.workerId = worker;
    job.output = null;
    const { elapsed } = this.times;
    job.running = {
      worker,
      overAt: elapsed + job.executionTimeoutMs + OVERTIME_MS,
      leaseEndsAt: this.#present.has(worker) ? elapsed + LEASE_MS : Infinity,
      wasListed: false,
      misses: 0,
    };
  }

  complete(job: ModelJob, output: string): void {
    this.#end(job, { state: "COMPLETED", output, error: null });
  }

  /** The function threw, and asked for another attempt at a time of its own. */
  failUntil(job: ModelJob, error: string, runAt: number): void {
    if (runAt < job.expiresAt) {
      this.#requeue(job, runAt);
      job.aloneSince = null;
    } else this.#end(job, { state: "FAILED", output: null, error: new RegExp(error) });
  }

  /** The function threw. */
  fail(job: ModelJob, { error, isFinal }: { error: string; isFinal: boolean }): void {
    const { retries, isCode } = this.#rulesOf(job);
    const left = isCode && !isFinal ? retries - job.failures : 0;
    if (left <= 0) this.#end(job, { state: "FAILED", output: null, error: new RegExp(error) });
    // The test's dice always show the middle: no jitter.
    else {
      this.#requeue(job, this.times.now + Math.min(30_000, 500 * 2 ** job.failures));
      job.aloneSince = null;
    }
  }

  /** The worker died or fell silent with other jobs: nobody knows which of them did it. */
  suspect(job: ModelJob): void {
    this.#requeue(job, job.runAt, 0);
    job.aloneSince = this.times.now;
  }

  /** The worker died, fell silent or forgot the job. */
  lose(job: ModelJob): void {
    if (job.failures < Math.max(1, this.#rulesOf(job).retries)) this.#requeue(job, job.runAt);
    else {
      this.#end(job, {
        state: "FAILED",
        output: null,
        error: /^job timed out after \d+ retries: /,
      });
    }
  }

  cancel(job: ModelJob): void {
    if (!isOver(job)) this.#end(job, { state: "CANCELLED", output: null, error: job.error });
  }

  /** Cancelled with the whole queue; all of them are kept equally long. */
  purge(job: ModelJob): void {
    this.cancel(job);
    job.dropAt = Math.max(job.dropAt ?? 0, this.times.now + RETENTION_MS.run);
  }

  retry(job: ModelJob): boolean {
    if (job.state !== "FAILED" && job.state !== "TIMED_OUT") return false;
    const { now } = this.times;
    Object.assign(job, { state: "IN_QUEUE", failures: 0, output: null, error: null });
    Object.assign(job, { runAt: now, expiresAt: now + job.ttlMs, dropAt: undefined });
    Object.assign(job, { workerId: null, unread: [] });
    this.#totalsOf(job).retried += 1;
    return true;
  }

  /** A sign of life; a job that was listed and is missing twice is lost. */
  ping(worker: string, ids: readonly string[] | undefined): void {
    const presence = this.#present.get(worker) ?? { hasListed: false };
    this.#present.set(worker, presence);
    const listed = new Set(ids);
    const leaseEndsAt = this.times.elapsed + LEASE_MS;
    for (const job of this.heldBy(worker)) {
      const attempt = job.running as Attempt;
      if (listed.has(job.id)) {
        Object.assign(attempt, { leaseEndsAt, wasListed: true, misses: 0 });
      } else if (attempt.wasListed) {
        attempt.misses += 1;
        if (attempt.misses >= 2) this.lose(job);
      } else if (!presence.hasListed || attempt.leaseEndsAt === Infinity) {
        attempt.leaseEndsAt = leaseEndsAt;
      }
    }
    if (listed.size > 0) presence.hasListed = true;
  }

  /** `isExpected`: the server itself has ended it. */
  forget(worker: string, isExpected: boolean): void {
    const held = this.heldBy(worker);
    for (const job of held) {
      if (isExpected) this.#requeue(job, job.runAt, 0);
      else if (held.length > 1) this.suspect(job);
      else this.lose(job);
    }
    this.#present.delete(worker);
  }

  /** The server has started again: attempts of workers that are not there any more were never made. */
  restart(
    living: ReadonlySet<string>,
    { startedAt, latestAt = 0 }: RestartTimes,
  ): "set back" | "gone on" {
    this.#present = new Map();
    const isSetBack = latestAt - this.times.now > MAX_AHEAD_MS;
    if (isSetBack) this.#setBack();
    else this.times.now = Math.max(this.times.now, latestAt);
    this.#turns.restart(this.times.now);
    for (const job of this.jobs.values()) {
      if (job.running === undefined) continue;
      if (!living.has(job.running.worker)) this.#requeue(job, job.runAt, 0);
      else {
        const ranForMs = Math.max(0, this.times.now - (startedAt.get(job.id) ?? this.times.now));
        const leftMs = job.executionTimeoutMs + OVERTIME_MS - ranForMs;
        // One that has run for too long is ended by the first timer that fires.
        job.running.overAt = this.times.elapsed + Math.max(0, leftMs);
        Object.assign(job.running, { leaseEndsAt: Infinity, wasListed: false, misses: 0 });
      }
    }
    return isSetBack ? "set back" : "gone on";
  }

  /** What happened later than now counts as if it had happened now. */
  #setBack(): void {
    const { now } = this.times;
    for (const job of this.jobs.values()) {
      const aheadMs = job.expiresAt - job.ttlMs - now;
      if (!isOver(job) && aheadMs > 0) {
        Object.assign(job, { runAt: job.runAt - aheadMs, expiresAt: job.expiresAt - aheadMs });
        if (job.aloneSince !== null) job.aloneSince = Math.min(job.aloneSince, now);
      } else if (isOver(job) && job.finishedAt !== undefined && job.finishedAt > now) {
        if (job.dropAt !== undefined) job.dropAt -= job.finishedAt - now;
        job.finishedAt = now;
      }
      job.createdAt = Math.min(job.createdAt, now);
    }
  }

  // --- what time does

  /**
   * Brings the model's job to what is seen, if moves that are due by now, and then the take of
   * `takenBy`, lead there. Returns what is wrong otherwise.
   */
  explain(job: ModelJob, seen: Job | undefined, takenBy?: string): string | undefined {
    for (const moves of MOVE_ORDERS) {
      const copy = copyOf(job);
      const totals = { ...this.#totalsOf(job) };
      for (const move of moves) this.#move(copy, move);
      if (takenBy !== undefined && copy.state === "IN_QUEUE") this.take(copy, takenBy);
      if (this.#fits(copy, seen)) {
        Object.assign(job, copy);
        this.#leave(job);
        if (seen === undefined) this.jobs.delete(job.id);
        return undefined;
      }
      this.totals.set(job.endpoint, totals);
    }
    return this.#difference(job, seen);
  }

  /** What should have happened `toleranceMs` ago and has not. */
  overdue({ running }: ModelJob, toleranceMs: number): string | undefined {
    const { elapsed } = this.times;
    if (running === undefined) return undefined;
    if (running.overAt + toleranceMs <= elapsed) return "runs beyond its execution timeout";
    if (running.leaseEndsAt + toleranceMs <= elapsed) return "is held by a silent worker";
    return undefined;
  }

  #move(job: ModelJob, move: Move): void {
    const { now, elapsed } = this.times;
    const { running } = job;
    if (move === "expire" && !isOver(job) && job.expiresAt <= now) {
      this.#end(job, { state: "TIMED_OUT", output: null, error: /time to live/ });
      // Nobody wants it any more: it goes with the next sweep.
      job.dropAt = now;
    } else if (move === "overtime" && running !== undefined && running.overAt <= elapsed) {
      this.#end(job, { state: "FAILED", output: null, error: /execution timeout/ });
    } else if (running === undefined || running.leaseEndsAt > elapsed) return;
    else if (move === "silence") this.lose(job);
    else if (move === "shared-silence" && job.aloneSince === null) this.suspect(job);
  }

  #end(job: ModelJob, end: Pick<ModelJob, "state" | "output" | "error">): void {
    Object.assign(job, end, { running: undefined, finishedAt: this.times.now });
    // Keyed jobs are remembered for their whole ttl.
    const kept = this.times.now + RETENTION_MS[job.via];
    job.dropAt = job.key === null ? kept : Math.max(kept, job.expiresAt);
    const totals = this.#totalsOf(job);
    if (job.state === "COMPLETED") totals.completed += 1;
    if (job.state === "FAILED" || job.state === "TIMED_OUT") totals.failed += 1;
    this.#leave(job);
  }

  /** A key is forgotten when nothing of it waits or runs. */
  #leave({ endpoint, tenant }: ModelJob): void {
    const own = [...this.jobs.values()].filter(
      (job) => job.endpoint === endpoint && job.tenant === tenant,
    );
    const [first] = own;
    if (first !== undefined && own.every(isOver)) this.#turns.forget(first);
  }

  #requeue(job: ModelJob, runAt: number, failures = 1): void {
    Object.assign(job, { state: "IN_QUEUE", runAt, output: null, workerId: null, unread: [] });
    job.running = undefined;
    job.failures += failures;
    this.#totalsOf(job).retried += failures;
  }

  #fits(job: ModelJob, seen: Job | undefined): boolean {
    if (seen !== undefined) return this.#difference(job, seen) === undefined;
    return isOver(job) && (job.dropAt ?? Infinity) <= this.times.now;
  }

  #difference(job: ModelJob, seen: Job | undefined): string | undefined {
    if (seen === undefined) return `${job.id}: is lost, expected ${job.state}`;
    const fields = [
      "state",
      "attempt",
      "failures",
      "aloneSince",
      "runAt",
      "expiresAt",
      "output",
      "workerId",
      "input",
    ] as const;
    for (const field of fields) {
      if (job[field] !== seen[field]) {
        return `${job.id}: ${field} is ${String(seen[field])}, expected ${String(job[field])}`;
      }
    }
    const isRight = job.error === null ? seen.error === null : job.error.test(seen.error ?? "");
    if (!isRight) return `${job.id}: error is ${seen.error}, expected ${String(job.error)}`;
    const dropsAsTold = Math.abs((job.dropAt ?? 0) - (seen.dropAt ?? 0)) <= STEP_MS;
    return dropsAsTold ? undefined : `${job.id}: dropAt is ${seen.dropAt}, expected ${job.dropAt}`;
  }

  #rulesOf(job: ModelJob): EndpointRules {
    return this.rules[job.endpoint] as EndpointRules;
  }

  #totalsOf(job: ModelJob): Totals {
    return this.totals.get(job.endpoint) as Totals;
  }
}

type Move = "expire" | "overtime" | "silence" | "shared-silence";

/** What time may have done in one step; a silent worker's job may be expired after it went back. */
const MOVE_ORDERS: readonly (readonly Move[])[] = [
  [],
  ["overtime"],
  ["silence"],
  ["expire"],
  ["silence", "expire"],
  ["shared-silence"],
  ["shared-silence", "expire"],
];

function copyOf(job: ModelJob): ModelJob {
  const running = job.running === undefined ? undefined : { ...job.running };
  return { ...job, unread: [...job.unread], running };
}
