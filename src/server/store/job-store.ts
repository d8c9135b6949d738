/** {@link JobStore} over SQLite: each verb is one operation for the group commit. */

import type { DatabaseSync } from "node:sqlite";
import type { Job, JobCounts, NewJob } from "../../contract/job.ts";
import type { JobState } from "../../contract/states.ts";
import type {
  JobStore,
  KeepFailed,
  Outcome,
  StreamedValue,
  TakenJob,
} from "../../contract/store.ts";
import type { SqliteBatchStore } from "./batch-store.ts";
import { DATABASE, type Committer } from "./commit.ts";
import { failedFilter, JobQueries, type QueueSums } from "./job-queries.ts";
import { JobMoves, stateBefore } from "./job-moves.ts";
import { JobReader, prepareStatements, type JobRow, type Statements } from "./job-statements.ts";
import { JobRetention } from "./job-retention.ts";
import { JobTakes, type Place } from "./job-takes.ts";
import type { End } from "./journal-records.ts";
import { JobStreams, type ChunkRow } from "./job-streams.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import type { Lanes } from "./lanes.ts";
import { INLINE_INPUT, laneOf, queuedJob, type RecentJobs } from "./recent-jobs.ts";

type FinalOutcome = Exclude<Outcome, { kind: "requeued" }>;
type SettleRequest = Parameters<JobStore["settle"]>[0];

export interface JobStoreOptions {
  db: DatabaseSync;
  committer: Committer;
  lanes: Lanes;
  recent: RecentJobs;
  batches: SqliteBatchStore;
}

export class SqliteJobStore implements JobStore {
  readonly #committer: Committer;
  readonly #lanes: Lanes;
  readonly #recent: RecentJobs;
  readonly #sql: Statements;
  readonly #read: JobReader;
  readonly #keyed: KeyedQueue;
  readonly #queries: JobQueries;
  readonly #streams: JobStreams;
  readonly #moves: JobMoves;
  readonly #takes: JobTakes;
  readonly #retention: JobRetention;

  constructor({ db, committer, lanes, recent, batches }: JobStoreOptions) {
    const sql = prepareStatements(db);
    const keyed = new KeyedQueue(db);
    const read = new JobReader(lanes, sql.largeInput);
    const moves = new JobMoves({ sql, read, lanes, keyed, batches });
    this.#committer = committer;
    this.#lanes = lanes;
    this.#recent = recent;
    this.#sql = sql;
    this.#keyed = keyed;
    this.#read = read;
    this.#moves = moves;
    this.#takes = new JobTakes({ sql, committer, lanes, keyed, recent, moves });
    this.#streams = new JobStreams(sql, { committer, recent });
    this.#queries = new JobQueries({ sql, read, lanes, keyed, recent, committer });
    this.#retention = new JobRetention({ sql, committer, lanes });
  }

  latestAt(): Promise<number | undefined> {
    return this.#queries.latestAt();
  }

  async begin(now: number): Promise<void> {
    // All open jobs are looked through only when there is a reason.
    const isEarlier = ((await this.latestAt()) ?? 0) > now;
    await this.#committer.commit(() => {
      if (isEarlier) {
        const { setBack, setEndsBack, setWebhooksBack } = this.#sql;
        for (const statement of [setBack, setEndsBack, setWebhooksBack]) statement.run({ now });
      }
      this.#keyed.believe(now);
    });
  }

  async hasAlone(): Promise<boolean> {
    // No recent job does.
    return this.#sql.hasAlone.get() !== undefined;
  }

  submit(jobs: readonly NewJob[], { isWaited = false } = {}): Promise<Job[]> {
    return this.#committer.commit(() => jobs.map((job) => this.#submit(job)), {
      accepts: true,
      // In the database it may have been the first of its lane, which later jobs of the journal count on.
      early: isWaited ? "journaled" : undefined,
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
    this.#moves.submitted(lane, job);
    return queuedJob(job);
  }

  take(request: Parameters<JobStore["take"]>[0]): Promise<TakenJob[]> {
    return this.#takes.take(request);
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
    return this.#moves.movedRow(row, { from: "IN_PROGRESS", isRetry: blameless !== true });
  }

  #finish(request: SettleRequest, outcome: FinalOutcome): Job | undefined {
    const { jobId, attempt, now, retentionMs, taken } = request;
    const history = outcome.kind === "failed" ? (outcome.history ?? null) : null;
    const place = this.#takes.placeOf(taken);
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
    return row === undefined ? undefined : this.#moves.endedRow(row, "IN_PROGRESS", now);
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
    this.#moves.moved(place.lane, job, { from: "IN_PROGRESS" });
    this.#moves.writeWebhook(job, now);
    return job;
  }

  progress(jobId: string, attempt: number, output: string): Promise<boolean> {
    return this.#committer.commit(
      () => this.#sql.progress.run(output, jobId, attempt).changes === 1,
      this.#about(jobId),
    );
  }

  appendChunk(jobId: string, attempt: number, value: StreamedValue): Promise<boolean> {
    return this.#streams.append(jobId, attempt, value);
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
      if (row !== undefined)
        return this.#moves.endedRow(row, stateBefore(row as unknown as JobRow), now);
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
    return this.#moves.movedRow(row, { from, isRetry: true });
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
        jobs.push(...this.#moves.endedRows(rows, now));
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
    return this.#committer.commit(() =>
      this.#moves.endedRows(this.#sql.expire.all({ now, limit }), now),
    );
  }

  drop(now: number, limit: number, keep?: KeepFailed): Promise<number> {
    return this.#retention.drop(now, limit, keep);
  }

  #releaseKey(earlier: string, { endpointId, idempotencyKey }: NewJob): void {
    const row = this.#sql.releaseKey.get(earlier);
    this.#sql.dropKey.run(endpointId, idempotencyKey, Number(row?.["seq"]));
  }
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
