/**
 * Recent jobs: those that the database does not know yet. They live in memory, and every move of theirs
 * in the journal; most of them are over before a checkpoint puts them into the database, in one step
 * instead of one for each move. Only plain jobs on plain ways are recent: whatever asks for more than
 * being queued, taken and ended has them put into the database first.
 *
 * Invariants:
 *   1. A job is either recent or in the database, never both.
 *   2. What the journal has refused has not happened: {@link RecentJobs.undo}.
 *   3. `seq` orders all jobs, recent or not.
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import { BATCH_REQUEST_PREFIX } from "../../contract/batch.ts";
import type { Job, NewJob } from "../../contract/job.ts";
import type { JobState } from "../../contract/states.ts";
import type { TakenJob } from "../../contract/store.ts";
import { endedText, submittedText, takenText, type End, type Taken } from "./journal-records.ts";
import type { Journal } from "./journal.ts";
import type { Lane, LaneCounters, LaneOf, Lanes } from "./lanes.ts";
import { Line } from "./line.ts";

/** Inputs with more characters than this live in a table of their own. */
export const INLINE_INPUT = 1024;
/** A checkpoint of so many jobs takes some milliseconds. */
const MAX_JOBS = 256;
/** What more of them are not over yet are too many to write them to the journal once more. */
const MAX_KEPT = MAX_JOBS / 4;
/** Longer results are not worth writing twice, characters. */
const MAX_OUTPUT = 4096;
/** A record without its texts is shorter, characters. */
const RECORD_LENGTH = 512;

/** Where a queued job stands among all. */
export interface Position {
  readonly runAt: number;
  readonly seq: number;
}

export interface RecentJob extends Position {
  readonly lane: number;
  job: Job;
}

interface RecentTake {
  limit: number;
  now: number;
  leaseUntil: number;
  workerId: string;
  /** Only jobs that stand before this. */
  until?: Position | undefined;
}

export interface RecentJobsOptions {
  db: DatabaseSync;
  lanes: Lanes;
  /** Undefined: nothing outlives the process. */
  journal: Journal | undefined;
}

export class RecentJobs {
  readonly #lanes: Lanes;
  readonly #journal: Journal | undefined;
  readonly #insert: StatementSync;
  readonly #turn: StatementSync;
  readonly #jobs = new Map<string, RecentJob>();
  /** Queued ones by lane, as they are to be taken. */
  readonly #lines = new Map<number, Line<RecentJob>>();
  /** By lane. */
  readonly #states = new Map<number, Record<JobState, number>>();
  /** How to take back what the journal does not have yet, newest last. */
  readonly #undoing: (() => void)[] = [];
  #kept: readonly RecentJob[] = [];
  #lastSeq: number;

  constructor({ db, lanes, journal }: RecentJobsOptions) {
    this.#lanes = lanes;
    this.#journal = journal;
    this.#insert = db.prepare(`INSERT INTO jobs (seq, id, lane, state, attempt, run_at, expires_at,
      created_at, started_at, finished_at, drop_at, lease_until, worker_id, via, execution_timeout_ms,
      ttl_ms, extra, error, output, input)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
    this.#turn = db.prepare("UPDATE journal SET generation = ?");
    this.#lastSeq = Number(db.prepare("SELECT max(seq) AS seq FROM jobs").get()?.["seq"] ?? 0);
  }

  get size(): number {
    return this.#jobs.size;
  }

  /** There are enough of them for a checkpoint. */
  get isFull(): boolean {
    return this.#jobs.size >= MAX_JOBS;
  }

  get(id: string): Job | undefined {
    return this.#jobs.get(id)?.job;
  }

  has(id: string): boolean {
    return this.#jobs.has(id);
  }

  /** The place of a new job among all. */
  nextSeq(): number {
    return ++this.#lastSeq;
  }

  /** What the recent jobs of a lane add to its counters. */
  counters(lane: number): LaneCounters | undefined {
    const states = this.#states.get(lane);
    if (states === undefined) return undefined;
    const { IN_QUEUE, IN_PROGRESS, COMPLETED, FAILED, CANCELLED, TIMED_OUT } = states;
    return {
      waiting: IN_QUEUE,
      running: IN_PROGRESS,
      kept_completed: COMPLETED,
      kept_failed: FAILED,
      kept_cancelled: CANCELLED,
      kept_timed_out: TIMED_OUT,
      completed: COMPLETED,
      failed: FAILED + TIMED_OUT,
      retried: 0,
    };
  }

  /** Where the first that waits in these lanes stands. */
  first(lanes: readonly Lane[]): Position | undefined {
    return this.#earliestLine(lanes)?.first;
  }

  hasWaiting(lanes: readonly Lane[]): boolean {
    return this.#earliestLine(lanes) !== undefined;
  }

  running(): Job[] {
    const jobs = [...this.#jobs.values()].map(({ job }) => job);
    return jobs.filter(({ state }) => state === "IN_PROGRESS");
  }

  // --- moves; undefined: not possible here

  submit(job: NewJob): Job | undefined {
    if (!this.#isPlain(job)) return undefined;
    const lane = this.#lanes.find(laneOf(job));
    if (lane === undefined) return undefined;
    const line = this.#lineOf(lane.id);
    if ((line.last?.runAt ?? 0) > job.runAt) return undefined;
    const { runAt } = job;
    const recent = { seq: this.nextSeq(), runAt, lane: lane.id, job: queuedJob(job) };
    this.#journal?.append(submittedText(recent.seq, lane.id, job));
    this.#jobs.set(job.id, recent);
    line.push(recent);
    this.#statesOf(lane.id).IN_QUEUE++;
    this.#undoing.push(() => {
      this.#jobs.delete(job.id);
      line.dropLast();
      this.#statesOf(recent.lane).IN_QUEUE--;
    });
    return recent.job;
  }

  /** The first jobs of these lanes' lines, up to `limit`. Undefined when one of them is too old to be taken. */
  take(
    lanes: readonly Lane[],
    { limit, now, leaseUntil, workerId, until }: RecentTake,
  ): TakenJob[] | undefined {
    const taken: TakenJob[] = [];
    while (taken.length < limit) {
      const line = this.#earliestLine(lanes);
      const recent = line?.first;
      if (line === undefined || recent === undefined) break;
      if (until !== undefined && !isBefore(recent, until)) break;
      const isPossible =
        recent.job.expiresAt > now &&
        this.#journal?.hasRoomFor(RECORD_LENGTH + workerId.length) !== false;
      if (!isPossible) return taken.length === 0 ? undefined : taken;
      taken.push(this.#take(recent, line, { workerId, startedAt: now, leaseUntil }));
    }
    return taken.length === 0 && until !== undefined ? undefined : taken;
  }

  #take(recent: RecentJob, line: Line<RecentJob>, by: Omit<Taken, "attempt">): TakenJob {
    const before = recent.job;
    const attempt = before.attempt + 1;
    const job = { ...before, ...by, attempt, state: "IN_PROGRESS" as const };
    line.shift();
    this.#move(recent, job);
    this.#journal?.append(takenText(recent.seq, { ...by, attempt }));
    this.#undoing.push(() => {
      this.#move(recent, before);
      line.unshift(recent);
    });
    return job;
  }

  /** The attempt's last word. `stale`: another one runs, or none. */
  end(id: string, attempt: number, end: End): Job | "stale" | undefined {
    const recent = this.#jobs.get(id);
    if (recent === undefined) return undefined;
    const before = recent.job;
    if (before.state !== "IN_PROGRESS" || before.attempt !== attempt) return "stale";
    const length = (end.output?.length ?? 0) + (end.error?.length ?? 0);
    if (length > MAX_OUTPUT || this.#journal?.hasRoomFor(RECORD_LENGTH + length) === false) {
      return undefined;
    }
    this.#journal?.append(endedText(recent.seq, end));
    this.#move(recent, { ...before, ...end, leaseUntil: null });
    this.#undoing.push(() => this.#move(recent, before));
    return recent.job;
  }

  // --- journal

  /** Hands the moves since the last call to the operating system. Throws when it refuses. True: there were some. */
  write(): boolean {
    const isDirty = this.#journal?.isDirty === true;
    if (isDirty) this.#journal?.write();
    this.#undoing.length = 0;
    return isDirty;
  }

  /** Takes back the moves since the last {@link write}. */
  undo(): void {
    for (const undo of this.#undoing.toReversed()) undo();
    this.#undoing.length = 0;
    this.#journal?.discard();
  }

  /**
   * Chooses what a checkpoint leaves recent, and hands that to the operating system as the beginning of the
   * journal's next generation: most jobs that are not over yet soon will be. Nothing, when all have to
   * be in the database or there are many. True: that has to be on the disk before the checkpoint is.
   * Throws when the system refuses it.
   */
  prepare(isForAll: boolean): boolean {
    const open = [...this.#jobs.values()].filter(({ job }) => job.finishedAt === null);
    this.#kept = isForAll || open.length > MAX_KEPT ? [] : open;
    return this.#journal?.prepare(this.#kept.map(textsOf).join("")) ?? false;
  }

  /** Puts the others into the database, inside a transaction. {@link forget} them when that is committed. */
  checkpoint(): void {
    const kept = new Set(this.#kept);
    for (const recent of this.#jobs.values()) if (!kept.has(recent)) this.#insertJob(recent);
    if (this.#journal !== undefined) this.#turn.run(this.#journal.generation + 1);
  }

  forget(): void {
    const kept = this.#kept;
    this.#kept = [];
    this.#jobs.clear();
    this.#states.clear();
    this.#undoing.length = 0;
    this.#journal?.turn();
    // Who waits is not over: either all of them are kept, or none.
    if (kept.length === 0) this.#lines.clear();
    for (const recent of kept) {
      this.#jobs.set(recent.job.id, recent);
      this.#statesOf(recent.lane)[recent.job.state]++;
    }
  }

  /** For jobs that the journal had when the store was opened; a {@link checkpoint} of all has to follow. */
  adopt(recent: RecentJob): void {
    this.#lastSeq = Math.max(this.#lastSeq, recent.seq);
    this.#jobs.set(recent.job.id, recent);
  }

  #insertJob({ seq, lane, job }: RecentJob): void {
    this.#insert.run(
      seq,
      job.id,
      lane,
      job.state,
      job.attempt,
      job.runAt,
      job.expiresAt,
      job.createdAt,
      job.startedAt,
      job.finishedAt,
      job.dropAt,
      job.leaseUntil,
      job.workerId,
      job.via,
      job.policy.executionTimeoutMs,
      job.policy.ttlMs,
      job.extra,
      job.error,
      job.output,
      job.input,
    );
    this.#lanes.moved(lane, { to: job.state });
  }

  #isPlain(job: NewJob): boolean {
    const length = job.input.length + (job.extra?.length ?? 0);
    return (
      job.idempotencyKey === null &&
      job.webhook === null &&
      job.key === null &&
      !job.id.startsWith(BATCH_REQUEST_PREFIX) &&
      job.runAt === job.createdAt &&
      length <= INLINE_INPUT &&
      !this.#jobs.has(job.id) &&
      this.#journal?.hasRoomFor(RECORD_LENGTH + job.id.length + length) !== false
    );
  }

  #move(recent: RecentJob, job: Job): void {
    const states = this.#statesOf(recent.lane);
    states[recent.job.state]--;
    states[job.state]++;
    recent.job = job;
  }

  #statesOf(lane: number): Record<JobState, number> {
    let states = this.#states.get(lane);
    if (states === undefined) this.#states.set(lane, (states = { ...NO_JOBS }));
    return states;
  }

  #lineOf(lane: number): Line<RecentJob> {
    let line = this.#lines.get(lane);
    if (line === undefined) this.#lines.set(lane, (line = new Line()));
    return line;
  }

  #earliestLine(lanes: readonly Lane[]): Line<RecentJob> | undefined {
    let earliest: Line<RecentJob> | undefined;
    for (const { id } of lanes) {
      const line = this.#lines.get(id);
      if (line?.first === undefined) continue;
      if (earliest?.first === undefined || isBefore(line.first, earliest.first)) earliest = line;
    }
    return earliest;
  }
}

/** A job that nobody has taken yet. */
export function queuedJob(job: NewJob): Job {
  return { ...job, ...UNTOUCHED, expiresAt: job.createdAt + job.policy.ttlMs };
}

/** The moves that have made a job what it is. */
function textsOf({ seq, lane, job }: RecentJob): string {
  const { attempt, startedAt, leaseUntil, workerId } = job;
  const submitted = submittedText(seq, lane, job);
  if (startedAt === null || leaseUntil === null || workerId === null) return submitted;
  return submitted + takenText(seq, { attempt, startedAt, leaseUntil, workerId });
}

/** The lane that a job belongs into. */
export function laneOf({ endpointId, releaseId, policy, key, keyConcurrency }: NewJob): LaneOf {
  const { lowPriority } = policy;
  return { endpointId, releaseId, lowPriority, isKeyed: key !== null, keyConcurrency };
}

export function isBefore(one: Position, other: Position): boolean {
  return one.runAt < other.runAt || (one.runAt === other.runAt && one.seq < other.seq);
}

const UNTOUCHED = {
  state: "IN_QUEUE",
  output: null,
  error: null,
  attempt: 0,
  failures: 0,
  history: null,
  aloneSince: null,
  workerId: null,
  leaseUntil: null,
  startedAt: null,
  finishedAt: null,
  dropAt: null,
  isKept: false,
} as const;

const NO_JOBS: Readonly<Record<JobState, number>> = {
  IN_QUEUE: 0,
  IN_PROGRESS: 0,
  COMPLETED: 0,
  FAILED: 0,
  CANCELLED: 0,
  TIMED_OUT: 0,
};
