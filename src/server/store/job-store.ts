/** {@link JobStore} over SQLite: each verb is one operation for the group commit. */

import type { DatabaseSync } from "node:sqlite";
import { jobDocumentText, type Job, type JobCounts, type NewJob } from "../../contract/job.ts";
import type { JobState } from "../../contract/states.ts";
import type { JobStore, Outcome, TakenJob } from "../../contract/store.ts";
import type { Committer } from "./commit.ts";
import {
  JobReader,
  prepareStatements,
  rowOf,
  type JobRow,
  type Statements,
} from "./job-statements.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import type { Lane, Lanes } from "./lanes.ts";

/** Inputs with more characters than this live in a table of their own. */
const INLINE_INPUT = 1024;
/** One answer of a stream carries about this much text at most. */
const DRAIN_CHARACTERS = 8 * 1024 * 1024;

/** A lane's counters. */
interface Counters {
  id: number;
  release_id: string;
  waiting: number;
  running: number;
  kept_completed: number;
  kept_failed: number;
  kept_cancelled: number;
  kept_timed_out: number;
  completed: number;
  failed: number;
  retried: number;
}

const COUNTER_OF: Record<JobState, keyof Counters> = {
  IN_QUEUE: "waiting",
  IN_PROGRESS: "running",
  COMPLETED: "kept_completed",
  FAILED: "kept_failed",
  CANCELLED: "kept_cancelled",
  TIMED_OUT: "kept_timed_out",
};

type TakeRequest = Parameters<JobStore["take"]>[0];
type FinalOutcome = Exclude<Outcome, { kind: "requeued" }>;
type SettleRequest = Parameters<JobStore["settle"]>[0];

export class SqliteJobStore implements JobStore {
  readonly #committer: Committer;
  readonly #lanes: Lanes;
  readonly #sql: Statements;
  readonly #read: JobReader;
  readonly #keyed: KeyedQueue;
  /** Rows of taken jobs whose end changes only what it names, and of which nothing has to be fetched. */
  readonly #places = new WeakMap<TakenJob, number>();

  constructor(options: { db: DatabaseSync; committer: Committer; lanes: Lanes }) {
    this.#committer = options.committer;
    this.#lanes = options.lanes;
    this.#sql = prepareStatements(options.db);
    this.#keyed = new KeyedQueue(options.db);
    this.#read = new JobReader(options.lanes, this.#sql.largeInput);
  }

  begin(now: number): Promise<void> {
    return this.#committer.commit(() => this.#keyed.believe(now));
  }

  submit(jobs: readonly NewJob[]): Promise<Job[]> {
    return this.#committer.commit(() => jobs.map((job) => this.#submit(job)), { accepts: true });
  }

  #submit(job: NewJob): Job {
    if (job.idempotencyKey !== null) {
      const earlier = this.#read.one(this.#sql.byKey.get(job.endpointId, job.idempotencyKey));
      if (earlier !== undefined && (earlier.dropAt ?? Infinity) > job.createdAt) return earlier;
      // Its retention is over: nobody can see it any more, although no sweep has dropped it yet.
      if (earlier !== undefined) this.#sql.dropOne.run(earlier.id);
    }
    const { policy } = job;
    const isLarge = job.input.length > INLINE_INPUT;
    const lane = this.#lanes.obtain({
      endpointId: job.endpointId,
      releaseId: job.releaseId,
      lowPriority: policy.lowPriority,
      isKeyed: job.key !== null,
      keyConcurrency: job.keyConcurrency,
    });
    const { lastInsertRowid } = this.#sql.insert.run(
      job.id,
      lane.id,
      job.runAt,
      job.createdAt + policy.ttlMs,
      job.createdAt,
      job.via,
      policy.executionTimeoutMs,
      policy.ttlMs,
      job.idempotencyKey,
      job.webhook,
      job.extra,
      isLarge ? null : job.input,
      job.key,
    );
    if (isLarge) this.#sql.insertLargeInput.run(lastInsertRowid, job.input);
    if (job.idempotencyKey !== null) {
      this.#sql.insertKey.run(job.endpointId, job.idempotencyKey, lastInsertRowid);
    }
    return { ...job, ...UNTOUCHED, expiresAt: job.createdAt + policy.ttlMs };
  }

  async take(request: TakeRequest): Promise<TakenJob[]> {
    // With nothing on its way to the disk, an empty queue is known to be empty without a transaction.
    if (this.#committer.isIdle && !this.#hasDue(request)) return [];
    return this.#committer.commit(() => {
      const lanes = this.#lanes.of(request.endpointId, request.releaseId);
      if (lanes.some(({ isKeyed }) => isKeyed)) return this.#takeTurns(request, lanes);
      return this.#dueJobs(request, lanes).map((row) => this.#takeOne(request, row));
    });
  }

  /** Jobs without a key stand in one line with the keys of the others: see keyed-queue. */
  #takeTurns(request: TakeRequest, lanes: readonly Lane[]): TakenJob[] {
    const { now, limit } = request;
    const keyed = lanes.filter(({ isKeyed }) => isKeyed);
    const plain = this.#dueJobs(
      request,
      lanes.filter(({ isKeyed }) => !isKeyed),
    );
    const taken: TakenJob[] = [];
    while (taken.length < limit) {
      const turn = this.#keyed.next(keyed, now);
      const [first] = plain;
      if (first !== undefined && (turn === undefined || first.run_at <= turn.at)) {
        plain.shift();
        taken.push(this.#takeOne(request, first));
      } else if (turn === undefined) return taken;
      else {
        this.#keyed.serve(turn.row, this.#lanes.get(turn.row.lane), now);
        taken.push(this.#takeOne(request, turn.row));
      }
    }
    return taken;
  }

  /** The row was read in the same transaction, so what becomes of it is known. */
  #takeOne({ workerId, now, leaseUntil }: TakeRequest, row: JobRow): TakenJob {
    const attempt = row.attempt + 1;
    this.#sql.take.run(attempt, workerId, now, leaseUntil, row.seq);
    const change = { attempt, worker_id: workerId, started_at: now, lease_until: leaseUntil };
    Object.assign(row, change, { state: "IN_PROGRESS", output: null });
    const taken = this.#read.one(row) as TakenJob;
    if (row.idempotency_key === null && row.input !== null) this.#places.set(taken, row.seq);
    return taken;
  }

  #hasDue({ endpointId, releaseId, now }: TakeRequest): boolean {
    const lanes = this.#lanes.of(endpointId, releaseId);
    return lanes.some((lane) =>
      lane.isKeyed
        ? this.#keyed.hasTurn(lane, now)
        : this.#sql.hasDue.get(lane.id, now, now) !== undefined,
    );
  }

  /** The oldest due jobs over these lanes. */
  #dueJobs({ now, limit }: TakeRequest, lanes: readonly Lane[]): JobRow[] {
    const due = lanes.flatMap(({ id }) =>
      (this.#sql.due.all(id, now, now, limit) as unknown as unknown[][]).map(rowOf),
    );
    if (lanes.length < 2) return due;
    return due.sort((a, b) => a.run_at - b.run_at || a.seq - b.seq).slice(0, limit);
  }

  settle(request: SettleRequest): Promise<Job | undefined> {
    return this.#committer.commit(() =>
      request.outcome.kind === "requeued"
        ? this.#requeue(request, request.outcome)
        : this.#finish(request, request.outcome),
    );
  }

  #requeue(
    { jobId, attempt }: SettleRequest,
    { runAt, blameless }: Outcome & { kind: "requeued" },
  ): Job | undefined {
    const row = this.#sql.requeue.get(runAt, blameless === true ? 0 : 1, jobId, attempt);
    if (row !== undefined) this.#sql.dropUnreadChunks.run({ seq: Number(row["seq"]) });
    return this.#read.one(row);
  }

  #finish(request: SettleRequest, outcome: FinalOutcome): Job | undefined {
    const { jobId, attempt, now, retentionMs, taken } = request;
    if (taken !== undefined && this.#places.has(taken)) {
      return this.#finishPlain(request, taken, outcome);
    }
    const row = this.#sql.finish.get({
      id: jobId,
      attempt,
      now,
      dropAt: now + retentionMs,
      state: FINAL_STATE[outcome.kind],
      output: outcome.kind === "timed-out" ? null : outcome.output,
      error: outcome.kind === "completed" ? null : outcome.error,
    });
    return this.#ended(this.#read.one(row), now);
  }

  #finishPlain(
    { now, retentionMs }: SettleRequest,
    taken: TakenJob,
    outcome: FinalOutcome,
  ): Job | undefined {
    const end = {
      state: FINAL_STATE[outcome.kind],
      output: outcome.kind === "timed-out" ? null : outcome.output,
      error: outcome.kind === "completed" ? null : outcome.error,
      finishedAt: now,
      leaseUntil: null,
      dropAt: now + retentionMs,
    };
    const { state, output, error, dropAt } = end;
    const { id, attempt } = taken;
    const seq = this.#places.get(taken) ?? 0;
    const finish = this.#sql.finishPlain;
    const { changes } = finish.run(state, output, error, now, dropAt, seq, id, attempt);
    return changes === 1 ? this.#ended({ ...taken, ...end }, now) : undefined;
  }

  /** The webhook is written down in the step that ends the job: neither can be lost without the other. */
  #ended<T extends Job | undefined>(job: T, now: number): T {
    if (job !== undefined && job.webhook !== null) {
      this.#sql.addWebhook.run(job.id, job.webhook, jobDocumentText(job), now, now);
    }
    return job;
  }

  #allEnded(rows: readonly unknown[], now: number): Job[] {
    return this.#read.all(rows).map((job) => this.#ended(job, now));
  }

  progress(jobId: string, attempt: number, output: string): Promise<boolean> {
    return this.#committer.commit(
      () => this.#sql.progress.run(output, jobId, attempt).changes === 1,
    );
  }

  appendChunk(jobId: string, attempt: number, chunk: string): Promise<boolean> {
    return this.#committer.commit(
      () => this.#sql.appendChunk.run(chunk, jobId, attempt).changes === 1,
    );
  }

  async readChunks({
    jobId,
    attempt,
    after,
    limit,
  }: Parameters<JobStore["readChunks"]>[0]): Promise<ChunkRow[]> {
    const chunks = portionOf(this.#sql.readChunks.iterate(jobId, after, attempt, limit));
    await this.#committer.durable;
    return chunks;
  }

  async drainChunks(jobId: string, limit: number): Promise<string[]> {
    // Readers wait in vain most of the time; that must not cost a transaction each.
    if (this.#committer.isIdle && this.#sql.unreadChunks.all(jobId, 1).length === 0) return [];
    return this.#committer.commit(() => {
      const chunks = portionOf(this.#sql.unreadChunks.iterate(jobId, limit));
      const last = chunks.at(-1);
      if (last !== undefined) this.#sql.markDrained.run(last.position, jobId);
      return chunks.map(({ chunk }) => chunk);
    });
  }

  async renew(workerId: string, jobIds: readonly string[], leaseUntil: number): Promise<void> {
    if (jobIds.length === 0) return;
    await this.#committer.commit(() => {
      for (const id of jobIds) this.#sql.renew.run(leaseUntil, id, workerId);
    });
  }

  cancel(jobId: string, now: number, retentionMs: number): Promise<Job | undefined> {
    return this.#committer.commit(() => {
      const row = this.#sql.cancel.get({ id: jobId, now, dropAt: now + retentionMs });
      if (row !== undefined) return this.#ended(this.#read.one(row), now);
      return this.#read.one(this.#sql.byId.get(jobId));
    });
  }

  retry(jobId: string, now: number): Promise<{ job: Job; moved: boolean } | undefined> {
    return this.#committer.commit(() => {
      const row = this.#sql.retry.get({ id: jobId, now });
      if (row !== undefined) this.#sql.dropChunks.run(Number(row["seq"]));
      const job = this.#read.one(row ?? this.#sql.byId.get(jobId));
      return job === undefined ? undefined : { job, moved: row !== undefined };
    });
  }

  purge(request: Parameters<JobStore["purge"]>[0]): Promise<Job[]> {
    return this.#endLanes(request, this.#sql.purge);
  }

  /** Queued and running jobs of an endpoint that is being removed → CANCELLED, up to `limit`. */
  cancelAll(request: Parameters<JobStore["purge"]>[0]): Promise<Job[]> {
    return this.#endLanes(request, this.#sql.cancelLane);
  }

  #endLanes(
    { endpointId, now, retentionMs, limit }: Parameters<JobStore["purge"]>[0],
    statement: Statements["purge"],
  ): Promise<Job[]> {
    return this.#committer.commit(() => {
      const jobs: Job[] = [];
      for (const { id: lane } of this.#lanes.of(endpointId)) {
        const room = limit - jobs.length;
        if (room <= 0) break;
        const rows = statement.all({ lane, now, dropAt: now + retentionMs, limit: room });
        jobs.push(...this.#allEnded(rows, now));
      }
      return jobs;
    });
  }

  async get(jobId: string): Promise<Job | undefined> {
    const job = this.#read.one(this.#sql.byId.get(jobId));
    // Nobody is told of a state that a power failure could still take back.
    await this.#committer.durable;
    return job;
  }

  async list({
    endpointId,
    states,
    offset,
    limit,
  }: Parameters<JobStore["list"]>[0]): Promise<{ jobs: Job[]; total: number }> {
    const rows = this.#sql.list.all({
      endpointId,
      states: states === undefined ? null : JSON.stringify(states),
      offset,
      limit,
    });
    const counted = states ?? (Object.keys(COUNTER_OF) as JobState[]);
    const lanes = this.#counters(endpointId);
    const total = sum(counted.flatMap((state) => lanes.map((lane) => lane[COUNTER_OF[state]])));
    return { jobs: this.#read.all(rows), total };
  }

  async counts(endpointId: string): Promise<JobCounts> {
    const lanes = this.#counters(endpointId);
    return {
      completed: sum(lanes.map(({ completed }) => completed)),
      failed: sum(lanes.map(({ failed }) => failed)),
      inProgress: sum(lanes.map(({ running }) => running)),
      inQueue: sum(lanes.map(({ waiting }) => waiting)),
      retried: sum(lanes.map(({ retried }) => retried)),
    };
  }

  async queue(endpointId: string, now: number): Promise<QueueSums[]> {
    const releases = new Map<string, QueueSums>();
    for (const lane of this.#counters(endpointId)) {
      if (lane.waiting === 0 && lane.running === 0) continue;
      const { release_id: releaseId } = lane;
      const sums = releases.get(releaseId) ?? { ...NO_JOBS, releaseId, oldestAt: now };
      sums.running += lane.running;
      const due = this.#due(lane, now);
      if (this.#lanes.get(lane.id).lowPriority) sums.lowPriority += due.jobs;
      else if (due.jobs > 0) {
        sums.waiting += due.jobs;
        sums.oldestAt = Math.min(sums.oldestAt, due.oldestAt);
      }
      releases.set(releaseId, sums);
    }
    return [...releases.values()];
  }

  /** Jobs that may start now. */
  #due({ id, waiting }: Counters, now: number): { jobs: number; oldestAt: number } {
    if (waiting === 0) return { jobs: 0, oldestAt: now };
    const lane = this.#lanes.get(id);
    if (lane.isKeyed) return this.#keyed.startable(lane, now);
    // Delayed jobs are few beside a long queue, so they are counted and the due ones are the rest.
    const jobs = waiting - Number(this.#sql.delayed.get(id, now)?.["jobs"]);
    return { jobs, oldestAt: jobs > 0 ? Number(this.#sql.first.get(id)?.["run_at"]) : now };
  }

  async busyEndpoints(): Promise<string[]> {
    return this.#sql.busy.all().map((row) => String(row["endpoint_id"]));
  }

  async nextRunAt(now: number): Promise<number | undefined> {
    const times = this.#sql.waitingLanes
      .all()
      .map((lane) => this.#sql.nextRunAt.get(Number(lane["id"]), now)?.["run_at"])
      .filter((time) => time !== undefined)
      .map(Number);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  async running(
    filter: { workerId?: string; endpointId?: string; expiredAt?: number } = {},
  ): Promise<TakenJob[]> {
    const { workerId, endpointId, expiredAt } = filter;
    const rows =
      workerId === undefined ? this.#sql.running.all() : this.#sql.runningOf.all(workerId);
    return this.#read
      .all(rows)
      .filter((job) => endpointId === undefined || job.endpointId === endpointId)
      .filter((job) => expiredAt === undefined || isOver(job, expiredAt)) as TakenJob[];
  }

  expire(now: number, limit: number): Promise<Job[]> {
    return this.#committer.commit(() => this.#allEnded(this.#sql.expire.all({ now, limit }), now));
  }

  drop(now: number, limit: number): Promise<number> {
    return this.#committer.commit(() => Number(this.#sql.drop.run(now, limit).changes));
  }

  #counters(endpointId: string): Counters[] {
    return this.#sql.counters.all(endpointId) as unknown as Counters[];
  }
}

const NO_JOBS = { waiting: 0, lowPriority: 0, running: 0 };

type QueueSums = Awaited<ReturnType<JobStore["queue"]>>[number];

interface ChunkRow {
  position: number;
  chunk: string;
}

/** As many as one answer should carry, but at least one. */
function portionOf(rows: Iterable<unknown>): ChunkRow[] {
  let characters = 0;
  const chunks: ChunkRow[] = [];
  for (const row of rows) {
    const { position, chunk } = row as ChunkRow;
    characters += chunk.length;
    if (chunks.length > 0 && characters > DRAIN_CHARACTERS) break;
    chunks.push({ position, chunk });
  }
  return chunks;
}

const FINAL_STATE = {
  completed: "COMPLETED",
  failed: "FAILED",
  "timed-out": "TIMED_OUT",
} as const satisfies Record<Exclude<Outcome["kind"], "requeued">, JobState>;

const UNTOUCHED = {
  state: "IN_QUEUE",
  output: null,
  error: null,
  attempt: 0,
  failures: 0,
  workerId: null,
  leaseUntil: null,
  startedAt: null,
  finishedAt: null,
  dropAt: null,
} as const;

function isOver(job: Job, at: number): boolean {
  const hasLapsed = job.leaseUntil !== null && job.leaseUntil <= at;
  return hasLapsed || (job.startedAt ?? at) + job.policy.executionTimeoutMs <= at;
}

function sum(values: readonly (number | string)[]): number {
  return values.reduce((total: number, value) => total + Number(value), 0);
}
