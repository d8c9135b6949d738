/** {@link JobStore} over SQLite: each verb is one operation for the group commit. */

import type { DatabaseSync } from "node:sqlite";
import { jobDocumentText, type Job, type JobCounts, type NewJob } from "../../contract/job.ts";
import type { JobState } from "../../contract/states.ts";
import {
  ALONE_WAIT_MS,
  type JobStore,
  type KeepFailed,
  type Outcome,
  type TakenJob,
} from "../../contract/store.ts";
import type { SqliteBatchStore } from "./batch-store.ts";
import { DATABASE, type Committer } from "./commit.ts";
import { failedFilter, JobQueries, type QueueSums } from "./job-queries.ts";
import {
  JobReader,
  prepareStatements,
  rowOf,
  type DroppedRow,
  type JobRow,
  type Statements,
} from "./job-statements.ts";
import type { End } from "./journal-records.ts";
import { JobStreams, type ChunkRow } from "./job-streams.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import type { Lane, Lanes, Move } from "./lanes.ts";
import {
  INLINE_INPUT,
  isBefore,
  laneOf,
  queuedJob,
  type Position,
  type RecentJobs,
} from "./recent-jobs.ts";

type TakeRequest = Parameters<JobStore["take"]>[0];
type FinalOutcome = Exclude<Outcome, { kind: "requeued" }>;
type SettleRequest = Parameters<JobStore["settle"]>[0];

export interface JobStoreOptions {
  db: DatabaseSync;
  committer: Committer;
  lanes: Lanes;
  recent: RecentJobs;
  batches: SqliteBatchStore;
}

/** Where a job's row is. */
interface Place {
  seq: number;
  lane: number;
}

export class SqliteJobStore implements JobStore {
  readonly #committer: Committer;
  readonly #lanes: Lanes;
  readonly #recent: RecentJobs;
  readonly #batches: SqliteBatchStore;
  readonly #sql: Statements;
  readonly #read: JobReader;
  readonly #keyed: KeyedQueue;
  readonly #queries: JobQueries;
  readonly #streams: JobStreams;
  /** Rows of taken jobs whose end changes only what it names, and of which nothing has to be fetched. */
  readonly #places = new WeakMap<TakenJob, Place>();

  constructor(options: JobStoreOptions) {
    this.#committer = options.committer;
    this.#lanes = options.lanes;
    this.#recent = options.recent;
    this.#batches = options.batches;
    this.#sql = prepareStatements(options.db);
    this.#keyed = new KeyedQueue(options.db);
    this.#read = new JobReader(options.lanes, this.#sql.largeInput);
    const { lanes, recent, committer } = options;
    this.#streams = new JobStreams(this.#sql, { committer, recent });
    this.#queries = new JobQueries({
      sql: this.#sql,
      read: this.#read,
      lanes,
      keyed: this.#keyed,
      recent,
      committer,
    });
  }

  /** Every move is told here, in the transaction that makes it. */
  #moved(lane: number, job: Job, move: Move): void {
    this.#lanes.moved(lane, { to: job.state, ...move });
    this.#batches.follow(job);
    const { key, state } = job;
    if (key !== null) this.#keyed.moved({ lane: this.#lanes.get(lane), key }, move.from, state);
  }

  /** The same for a row. `from`: where the row came from, which it does not tell. */
  #movedRow(row: unknown, move: Move): Job {
    const job = this.#read.one(row as JobRow);
    this.#moved((row as JobRow).lane, job, move);
    return job;
  }

  begin(now: number): Promise<void> {
    return this.#committer.commit(() => this.#keyed.believe(now));
  }

  async hasAlone(): Promise<boolean> {
    // No recent job does.
    return this.#sql.hasAlone.get() !== undefined;
  }

  submit(jobs: readonly NewJob[]): Promise<Job[]> {
    return this.#committer.commit(() => jobs.map((job) => this.#submit(job)), {
      accepts: true,
      recent: () => this.#submitRecent(jobs),
      concernsRecent: () => false,
    });
  }

  #submitRecent(jobs: readonly NewJob[]): Job[] | typeof DATABASE {
    const [job] = jobs;
    // Of several all or none are accepted, and the first may be gone when the second is refused.
    if (job === undefined || jobs.length > 1) return DATABASE;
    const accepted = this.#recent.submit(job);
    return accepted === undefined ? DATABASE : [accepted];
  }

  #submit(job: NewJob): Job {
    if (job.idempotencyKey !== null) {
      const earlier = this.#read.one(this.#sql.byKey.get(job.endpointId, job.idempotencyKey));
      if (earlier !== undefined && (earlier.dropAt ?? Infinity) > job.createdAt) return earlier;
      // Its retention is over, although no sweep has come yet.
      if (earlier !== undefined) this.#releaseKey(earlier.id, job);
    }
    const { policy } = job;
    const isLarge = job.input.length > INLINE_INPUT;
    const lane = this.#lanes.obtain(laneOf(job));
    const seq = this.#recent.nextSeq();
    this.#sql.insert.run(
      seq,
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
    if (isLarge) this.#sql.insertLargeInput.run(seq, job.input);
    if (job.idempotencyKey !== null) {
      this.#sql.insertKey.run(job.endpointId, job.idempotencyKey, seq);
    }
    this.#lanes.moved(lane.id, { to: "IN_QUEUE" });
    this.#batches.submitted(job.id);
    const { key } = job;
    if (key !== null) this.#keyed.moved({ lane, key }, undefined, "IN_QUEUE");
    return queuedJob(job);
  }

  take(request: TakeRequest): Promise<TakenJob[]> {
    // With nothing on its way to the disk, an empty queue is known to be empty without a transaction.
    if (this.#committer.isIdle && !this.#hasDue(request)) return Promise.resolve([]);
    return this.#committer.commit(() => this.#take(request), {
      early: request.isLocal === true,
      recent: () => this.#takeRecent(request),
      concernsRecent: () => this.#isForRecent(request),
    });
  }

  /** The first job is a recent one, or all have to be looked at. */
  #isForRecent(request: TakeRequest): boolean {
    const lanes = this.#lanes.of(request.endpointId, request.releaseId);
    const first = this.#recent.first(lanes);
    if (first === undefined) return false;
    if (this.#needsAll(request, lanes)) return true;
    const stored = this.#firstDue(lanes, request.now);
    return stored === undefined || isBefore(first, stored);
  }

  /** When the first job is a recent one. */
  #takeRecent(request: TakeRequest): TakenJob[] | typeof DATABASE {
    const lanes = this.#lanes.of(request.endpointId, request.releaseId);
    if (lanes.every(({ waiting }) => waiting === 0)) {
      return this.#recent.take(lanes, request) ?? DATABASE;
    }
    if (!this.#recent.hasWaiting(lanes) || this.#needsAll(request, lanes)) return DATABASE;
    return (
      this.#recent.take(lanes, { ...request, until: this.#firstDue(lanes, request.now) }) ??
      DATABASE
    );
  }

  /**
   * All jobs have to be in one place when keys have turns, and when a job runs alone. A worker of this
   * machine asks again at once; others are to get as many as there are.
   */
  #needsAll({ isLocal = false }: TakeRequest, lanes: readonly Lane[]): boolean {
    return (
      !isLocal ||
      lanes.some(({ isKeyed, waiting }) => isKeyed && waiting > 0) ||
      this.#sql.hasAlone.get() !== undefined
    );
  }

  #firstDue(lanes: readonly Lane[], now: number): Position | undefined {
    let first: Position | undefined;
    for (const { id, waiting } of lanes) {
      const row = waiting === 0 ? undefined : this.#sql.firstDue.get(id, now, now);
      const position = row && { runAt: Number(row["run_at"]), seq: Number(row["seq"]) };
      if (position !== undefined && (first === undefined || isBefore(position, first))) {
        first = position;
      }
    }
    return first;
  }

  #take(request: TakeRequest): TakenJob[] {
    const lanes = this.#lanes.of(request.endpointId, request.releaseId);
    if (lanes.some(({ isKeyed }) => isKeyed)) return this.#takeInTurn(request, lanes);
    const until = this.#recent.first(lanes);
    const due = this.#dueJobs(request, lanes);
    // The next take brings the recent ones, and those behind them.
    const rows = until === undefined ? due : due.filter((row) => isBefore(placeOf(row), until));
    if (rows.some(runsAlone)) return this.#takeInTurn(request, lanes);
    return rows.map((row) => this.#takeOne(request, row));
  }

  /**
   * Jobs without a key stand in one line with the keys of the others: see keyed-queue. One that runs
   * alone ends what a worker is given, or is passed over.
   */
  #takeInTurn(request: TakeRequest, lanes: readonly Lane[], isTogether = false): TakenJob[] {
    const { now, limit, isIdle = true } = request;
    const keyed = lanes.filter(({ isKeyed }) => isKeyed);
    const plainLanes = lanes.filter((lane) => !lane.isKeyed);
    const plain = this.#dueJobs(request, plainLanes, isTogether);
    const taken: TakenJob[] = [];
    while (taken.length < limit) {
      const turn = this.#keyed.next(keyed, now, isTogether);
      const [first] = plain;
      const isPlain = first !== undefined && (turn === undefined || first.run_at <= turn.at);
      const row = isPlain ? first : turn?.row;
      if (row === undefined) return taken;
      if (runsAlone(row) && !(isIdle && taken.length === 0)) {
        const waitsLong = now - (row.alone_since ?? now) >= ALONE_WAIT_MS;
        if (isIdle || waitsLong || taken.length > 0) return taken;
        return this.#takeInTurn(request, lanes, true);
      }
      if (isPlain) plain.shift();
      else this.#keyed.serve(row, this.#lanes.get(row.lane), now);
      taken.push(this.#takeOne(request, row));
      if (runsAlone(row)) return taken;
    }
    return taken;
  }

  /** The row was read in the same transaction, so what becomes of it is known. */
  #takeOne({ workerId, now, leaseUntil }: TakeRequest, row: JobRow): TakenJob {
    const attempt = row.attempt + 1;
    this.#sql.take.run(attempt, workerId, now, leaseUntil, row.seq);
    const change = { attempt, worker_id: workerId, started_at: now, lease_until: leaseUntil };
    Object.assign(row, change, { state: "IN_PROGRESS", output: null });
    const taken = this.#movedRow(row, { from: "IN_QUEUE" }) as TakenJob;
    const { seq, lane } = row;
    if (row.idempotency_key === null && row.input !== null) this.#places.set(taken, { seq, lane });
    return taken;
  }

  #hasDue({ endpointId, releaseId, now }: TakeRequest): boolean {
    const lanes = this.#lanes.of(endpointId, releaseId);
    return lanes.some((lane) => {
      if (this.#recent.hasWaiting([lane])) return true;
      if (lane.waiting === 0) return false;
      return lane.isKeyed
        ? this.#keyed.hasTurn(lane, now)
        : this.#sql.hasDue.get(lane.id, now, now) !== undefined;
    });
  }

  /** The oldest due jobs over these lanes; with `isTogether` only those that may run beside others. */
  #dueJobs({ now, limit }: TakeRequest, lanes: readonly Lane[], isTogether = false): JobRow[] {
    const statement = isTogether ? this.#sql.dueTogether : this.#sql.due;
    const due = lanes.flatMap(({ id }) =>
      (statement.all(id, now, now, limit) as unknown as unknown[][]).map(rowOf),
    );
    if (lanes.length < 2) return due;
    return due.sort((a, b) => a.run_at - b.run_at || a.seq - b.seq).slice(0, limit);
  }

  settle(request: SettleRequest): Promise<Job | undefined> {
    const { outcome } = request;
    return this.#committer.commit(
      () =>
        outcome.kind === "requeued"
          ? this.#requeue(request, outcome)
          : this.#finish(request, outcome),
      {
        recent: () => (outcome.kind === "requeued" ? DATABASE : this.#endRecent(request, outcome)),
        concernsRecent: () => this.#recent.has(request.jobId),
      },
    );
  }

  #endRecent(request: SettleRequest, outcome: FinalOutcome): Job | undefined | typeof DATABASE {
    if (outcome.kind === "failed" && outcome.history !== undefined) return DATABASE;
    const { jobId, attempt } = request;
    const ended = this.#recent.end(jobId, attempt, endOf(request, outcome));
    if (ended === "stale") return undefined;
    return ended ?? DATABASE;
  }

  #requeue(
    { jobId: id, attempt }: SettleRequest,
    { runAt, blameless, history, aloneSince }: Outcome & { kind: "requeued" },
  ): Job | undefined {
    const row = this.#sql.requeue.get({
      id,
      attempt,
      runAt,
      failures: blameless === true ? 0 : 1,
      history: history ?? null,
      keepsAlone: aloneSince === undefined ? 1 : 0,
      aloneSince: aloneSince ?? null,
    });
    if (row === undefined) return undefined;
    this.#sql.dropUnreadChunks.run({ seq: Number(row["seq"]) });
    return this.#movedRow(row, { from: "IN_PROGRESS", isRetry: blameless !== true });
  }

  #finish(request: SettleRequest, outcome: FinalOutcome): Job | undefined {
    const { jobId, attempt, now, retentionMs, taken } = request;
    const history = outcome.kind === "failed" ? (outcome.history ?? null) : null;
    const place = taken === undefined ? undefined : this.#places.get(taken);
    if (taken !== undefined && history === null && place !== undefined) {
      return this.#finishPlain({ request, taken, place }, outcome);
    }
    const row = this.#sql.finish.get({
      id: jobId,
      attempt,
      now,
      dropAt: now + retentionMs,
      history,
      state: FINAL_STATE[outcome.kind],
      output: outcome.kind === "timed-out" ? null : outcome.output,
      error: outcome.kind === "completed" ? null : outcome.error,
    });
    return row === undefined ? undefined : this.#ended(row, "IN_PROGRESS", now);
  }

  #finishPlain(
    { request, taken, place }: { request: SettleRequest; taken: TakenJob; place: Place },
    outcome: FinalOutcome,
  ): Job | undefined {
    const { now } = request;
    const end = endOf(request, outcome);
    const { state, output, error, dropAt } = end;
    const { id, attempt } = taken;
    const finish = this.#sql.finishPlain;
    const { changes } = finish.run(state, output, error, now, dropAt, place.seq, id, attempt);
    if (changes !== 1) return undefined;
    const job = { ...taken, ...end, leaseUntil: null };
    this.#moved(place.lane, job, { from: "IN_PROGRESS" });
    this.#writeWebhook(job, now);
    return job;
  }

  #ended(row: unknown, from: JobState, now: number): Job {
    const job = this.#movedRow(row, { from });
    this.#writeWebhook(job, now);
    return job;
  }

  /** Jobs that were queued or running. */
  #allEnded(rows: readonly unknown[], now: number): Job[] {
    return rows.map((row) => this.#ended(row, stateBefore(row as JobRow), now));
  }

  /** In the step that ends the job: neither can be lost without the other. */
  #writeWebhook(job: Job, now: number): void {
    if (job.webhook === null) return;
    this.#sql.addWebhook.run(job.id, job.webhook, jobDocumentText(job), now, now);
  }

  progress(jobId: string, attempt: number, output: string): Promise<boolean> {
    return this.#committer.commit(
      () => this.#sql.progress.run(output, jobId, attempt).changes === 1,
      this.#about(jobId),
    );
  }

  appendChunk(jobId: string, attempt: number, chunk: string): Promise<boolean> {
    return this.#streams.append(jobId, attempt, chunk);
  }

  readChunks(request: Parameters<JobStore["readChunks"]>[0]): Promise<ChunkRow[]> {
    return this.#streams.read(request);
  }

  drainChunks(jobId: string, limit: number): Promise<string[]> {
    return this.#streams.drain(jobId, limit);
  }

  async renew(workerId: string, jobIds: readonly string[], leaseUntil: number): Promise<void> {
    if (jobIds.length === 0) return;
    await this.#committer.commit(
      () => {
        for (const id of jobIds) this.#sql.renew.run(leaseUntil, id, workerId);
      },
      { concernsRecent: () => jobIds.some((id) => this.#recent.has(id)) },
    );
  }

  cancel(jobId: string, now: number, retentionMs: number): Promise<Job | undefined> {
    return this.#committer.commit(() => {
      const row = this.#sql.cancel.get({ id: jobId, now, dropAt: now + retentionMs });
      if (row !== undefined) return this.#ended(row, stateBefore(row as unknown as JobRow), now);
      return this.#read.one(this.#sql.byId.get(jobId));
    }, this.#about(jobId));
  }

  /** The operation concerns one job. */
  #about(jobId: string): { concernsRecent: () => boolean } {
    return { concernsRecent: () => this.#recent.has(jobId) };
  }

  retry(jobId: string, now: number): Promise<{ job: Job; moved: boolean } | undefined> {
    return this.#committer.commit(() => {
      const before = this.#read.one(this.#sql.byId.get(jobId));
      if (before === undefined) return undefined;
      const job = this.#retry(jobId, before.state, now);
      return job === undefined ? { job: before, moved: false } : { job, moved: true };
    }, this.#about(jobId));
  }

  redrive(request: Parameters<JobStore["redrive"]>[0]): Promise<Job[]> {
    const { before, now, limit } = request;
    return this.#committer.commit(() =>
      this.#sql.redrivable
        .all({ ...failedFilter(request), before, now, limit })
        .flatMap((row) => this.#retry(String(row["id"]), row["state"] as JobState, now) ?? []),
    );
  }

  #retry(id: string, from: JobState, now: number): Job | undefined {
    const row = this.#sql.retry.get({ id, now });
    if (row === undefined) return undefined;
    this.#sql.dropChunks.run(Number(row["seq"]));
    return this.#movedRow(row, { from, isRetry: true });
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
    const job = this.#recent.get(jobId) ?? this.#read.one(this.#sql.byId.get(jobId));
    // Nobody is told of a state that a power failure could still take back.
    await this.#committer.durable;
    return job;
  }

  failed(request: Parameters<JobStore["failed"]>[0]): ReturnType<JobStore["failed"]> {
    return this.#queries.failed(request);
  }

  list(request: Parameters<JobStore["list"]>[0]): ReturnType<JobStore["list"]> {
    return this.#queries.list(request);
  }

  counts(endpointId: string): Promise<JobCounts> {
    return this.#queries.counts(endpointId);
  }

  queue(endpointId: string, now: number): Promise<QueueSums[]> {
    return this.#queries.queue(endpointId, now);
  }

  busyEndpoints(): Promise<string[]> {
    return this.#queries.busyEndpoints();
  }

  nextRunAt(now: number): Promise<number | undefined> {
    return this.#queries.nextRunAt(now);
  }

  running(filter: Parameters<JobStore["running"]>[0] = {}): Promise<TakenJob[]> {
    return this.#queries.running(filter);
  }

  expire(now: number, limit: number): Promise<Job[]> {
    return this.#committer.commit(() => this.#allEnded(this.#sql.expire.all({ now, limit }), now));
  }

  #releaseKey(earlier: string, { endpointId, idempotencyKey }: NewJob): void {
    const row = this.#sql.releaseKey.get(earlier);
    this.#sql.dropKey.run(endpointId, idempotencyKey, Number(row?.["seq"]));
  }

  drop(now: number, limit: number, keep: KeepFailed = KEEP_NONE): Promise<number> {
    return this.#committer.commit(() => {
      const kept = this.#keep(now, limit, keep);
      // More of them may be due: until they are told apart nothing may be dropped.
      if (kept === limit) return kept;
      return Math.max(kept, this.#dropped(this.#sql.drop.all(now, limit)));
    });
  }

  /** Failed jobs whose results are over stay for those who ask for them. Returns how many. */
  #keep(now: number, limit: number, { forMs, jobs }: KeepFailed): number {
    if (forMs <= 0 || jobs <= 0) return 0;
    const rows = this.#sql.keepable.all({ now, keepMs: forMs, limit }) as unknown as DroppedRow[];
    if (rows.length === 0) return 0;
    const seqs = JSON.stringify(rows.map(([seq]) => seq));
    const endpoints = new Set(rows.map(([, lane]) => this.#lanes.get(lane).endpointId));
    for (const [seq, lane, , key] of rows) {
      if (key !== null) this.#sql.dropKey.run(this.#lanes.get(lane).endpointId, key, seq);
    }
    this.#sql.dropStreams.run(seqs);
    this.#sql.keep.run(forMs, seqs);
    for (const endpointId of endpoints) {
      const surplus = Number(this.#sql.countKept.get(endpointId)?.["jobs"]) - jobs;
      if (surplus > 0) this.#dropped(this.#sql.dropKept.all(endpointId, surplus));
    }
    return rows.length;
  }

  /** What belonged to rows that are gone goes with them. Returns how many. */
  #dropped(rows: unknown): number {
    const dropped = rows as DroppedRow[];
    for (const [seq, lane, from, key] of dropped) {
      this.#lanes.moved(lane, { from });
      if (key !== null) this.#sql.dropKey.run(this.#lanes.get(lane).endpointId, key, seq);
    }
    if (dropped.length > 0) {
      const seqs = JSON.stringify(dropped.map(([seq]) => seq));
      this.#sql.dropInputs.run(seqs);
      this.#sql.dropStreams.run(seqs);
    }
    return dropped.length;
  }
}

/** Only a running job has a worker; its end keeps the name. */
function stateBefore({ worker_id: workerId }: JobRow): JobState {
  return workerId === null ? "IN_QUEUE" : "IN_PROGRESS";
}

const FINAL_STATE = {
  completed: "COMPLETED",
  failed: "FAILED",
  "timed-out": "TIMED_OUT",
} as const satisfies Record<Exclude<Outcome["kind"], "requeued">, JobState>;

function endOf({ now, retentionMs }: SettleRequest, outcome: FinalOutcome): End {
  return {
    state: FINAL_STATE[outcome.kind],
    output: outcome.kind === "timed-out" ? null : outcome.output,
    error: outcome.kind === "completed" ? null : outcome.error,
    finishedAt: now,
    dropAt: now + retentionMs,
  };
}

const KEEP_NONE: KeepFailed = { forMs: 0, jobs: 0 };

function placeOf({ run_at: runAt, seq }: JobRow): Position {
  return { runAt, seq };
}

function runsAlone(row: JobRow): boolean {
  return row.alone_since !== null;
}
