/**
 * Every statement about jobs, one verb each, and the reading of a job's row. A statement that moves a
 * job names the state it must come from: that guard, and the attempt number where a worker speaks,
 * is what makes a late word harmless.
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Job } from "../../contract/job.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { JobState } from "../../contract/states.ts";
import type { Lanes } from "./lanes.ts";

/** A job's columns, as SQLite returns them. */
export interface JobRow {
  seq: number;
  id: string;
  lane: number;
  state: JobState;
  attempt: number;
  failures: number;
  run_at: number;
  expires_at: number;
  created_at: number;
  started_at: number | null;
  finished_at: number | null;
  drop_at: number | null;
  lease_until: number | null;
  worker_id: string | null;
  via: "run" | "runsync";
  execution_timeout_ms: number;
  ttl_ms: number;
  idempotency_key: string | null;
  webhook: string | null;
  extra: string | null;
  error: string | null;
  key: string | null;
  history: string | null;
  alone_since: number | null;
  kept: number;
  output: string | null;
  input: string | null;
}

const narrow = (
  error: string,
): string => `seq, id, lane, state, attempt, failures, run_at, expires_at, created_at, started_at, finished_at,
  drop_at, lease_until, worker_id, via, execution_timeout_ms, ttl_ms, idempotency_key, webhook, extra, ${error}, key, history, alone_since, kept`;
const ALL = `${narrow("error")}, output, input`;
/** Errors with a character more than a list shows, to tell that there is more. */
const LISTED = `${narrow(`substr(error, 1, ${LIMITS.listedErrorLength + 1}) AS error`)},
  NULL AS output, 'null' AS input`;
/** What {@link rowOf} reads. */
export const COLUMNS = ALL;

/**
 * A row of {@link ALL} from an array. SQLite gives arrays at a fraction of the price of objects, which
 * counts where a job is taken.
 */
export function rowOf(columns: readonly unknown[]): JobRow {
  // oxlint-disable-next-line typescript/no-explicit-any -- what SQLite returns
  const at = columns as any[];
  return {
    seq: at[0],
    id: at[1],
    lane: at[2],
    state: at[3],
    attempt: at[4],
    failures: at[5],
    run_at: at[6],
    expires_at: at[7],
    created_at: at[8],
    started_at: at[9],
    finished_at: at[10],
    drop_at: at[11],
    lease_until: at[12],
    worker_id: at[13],
    via: at[14],
    execution_timeout_ms: at[15],
    ttl_ms: at[16],
    idempotency_key: at[17],
    webhook: at[18],
    extra: at[19],
    error: at[20],
    key: at[21],
    history: at[22],
    alone_since: at[23],
    kept: at[24],
    output: at[25],
    input: at[26],
  };
}

/** A keyed job is remembered for its whole ttl, or a late repetition would run a second time. */
const DROP_AT = "drop_at = iif(idempotency_key IS NULL, :dropAt, max(:dropAt, expires_at))";

const DROPPED = "seq, lane, state, idempotency_key";
/** A row of {@link DROPPED}. */
export type DroppedRow = [seq: number, lane: number, state: JobState, key: string | null];

/** What a filter means of the jobs that have failed for good: they have an index of their own. */
const FAILED = `lane IN (SELECT id FROM lanes WHERE endpoint_id = :endpointId)
  AND state IN ('FAILED', 'TIMED_OUT') AND kept <= :kept
  AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
  AND (:key IS NULL OR key = :key)
  AND (:kinds IS NULL OR iif(state = 'TIMED_OUT', 'expired', history ->> '$[#-1].failure.kind')
    IN (SELECT value FROM json_each(:kinds)))`;

export type Statements = ReturnType<typeof prepareStatements>;

// Prepared once: preparing costs more than most of these take to run.
export function prepareStatements(db: DatabaseSync) {
  const sql = (text: string): StatementSync => db.prepare(text);
  /** Rows come as arrays, for {@link rowOf}. */
  const arrays = (text: string): StatementSync => {
    const statement = sql(text);
    statement.setReturnArrays(true);
    return statement;
  };
  return {
    insert: sql(`INSERT INTO jobs (seq, id, lane, state, run_at, expires_at, created_at, via,
      execution_timeout_ms, ttl_ms, idempotency_key, webhook, extra, input, key)
      VALUES (?, ?, ?, 'IN_QUEUE', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`),
    insertLargeInput: sql("INSERT INTO large_inputs (job, input) VALUES (?, ?)"),
    largeInput: sql("SELECT input FROM large_inputs WHERE job = ?"),
    /** Without reading it. */
    largeInputBytes: sql("SELECT octet_length(input) AS bytes FROM large_inputs WHERE job = ?"),
    insertKey: sql("INSERT INTO idempotency_keys (endpoint_id, key, job) VALUES (?, ?, ?)"),
    byKey: sql(`SELECT ${ALL} FROM jobs WHERE seq =
      (SELECT job FROM idempotency_keys WHERE endpoint_id = ? AND key = ?)`),
    byId: sql(`SELECT ${ALL} FROM jobs WHERE id = ?`),

    hasDue: sql(`SELECT 1 FROM jobs
      WHERE lane = ? AND state = 'IN_QUEUE' AND run_at <= ? AND expires_at > ? LIMIT 1`),
    firstDue: sql(`SELECT run_at, seq FROM jobs
      WHERE lane = ? AND state = 'IN_QUEUE' AND run_at <= ? AND expires_at > ?
      ORDER BY run_at, seq LIMIT 1`),
    // For a bare parameter as its limit SQLite would prepare the statement again with every number.
    due: arrays(`SELECT ${ALL} FROM jobs
      WHERE lane = ? AND state = 'IN_QUEUE' AND run_at <= ? AND expires_at > ?
      ORDER BY run_at, seq LIMIT ? + 0`),
    /** Of those that may run beside others. */
    dueTogether: arrays(`SELECT ${ALL} FROM jobs
      WHERE lane = ? AND state = 'IN_QUEUE' AND run_at <= ? AND expires_at > ? AND alone_since IS NULL
      ORDER BY run_at, seq LIMIT ? + 0`),
    take: sql(`UPDATE jobs SET state = 'IN_PROGRESS', attempt = ?, worker_id = ?,
      started_at = ?, lease_until = ?, output = NULL
      WHERE seq = ? AND state = 'IN_QUEUE'`),

    finish: sql(`UPDATE jobs SET state = :state, output = :output, error = :error,
      history = coalesce(:history, history),
      finished_at = :now, lease_until = NULL, ${DROP_AT}
      WHERE id = :id AND attempt = :attempt AND state = 'IN_PROGRESS' RETURNING ${ALL}`),
    /**
     * {@link finish} of a job without an idempotency key, when nothing of it needs to be read. The place
     * of a dropped job may have become another's: the id tells.
     */
    finishPlain: sql(`UPDATE jobs SET state = ?, output = ?, error = ?,
      finished_at = ?, lease_until = NULL, drop_at = ?
      WHERE seq = ? AND id = ? AND attempt = ? AND state = 'IN_PROGRESS'`),
    requeue:
      sql(`UPDATE jobs SET state = 'IN_QUEUE', run_at = :runAt, failures = failures + :failures,
      history = coalesce(:history, history), alone_since = iif(:keepsAlone, alone_since, :aloneSince),
      output = NULL, lease_until = NULL, worker_id = NULL
      WHERE id = :id AND attempt = :attempt AND state = 'IN_PROGRESS' RETURNING ${ALL}`),
    /** What an attempt that did not finish has streamed, and nobody has read, is not part of the result. */
    dropUnreadChunks: sql(`DELETE FROM chunks WHERE job = :seq
      AND position > (SELECT drained FROM jobs WHERE seq = :seq)`),
    progress: sql(`UPDATE jobs SET output = ?
      WHERE id = ? AND attempt = ? AND state = 'IN_PROGRESS'`),
    renew: sql(`UPDATE jobs SET lease_until = ?
      WHERE id = ? AND worker_id = ? AND state = 'IN_PROGRESS'`),

    appendChunk: sql(`INSERT INTO chunks (job, position, attempt, chunk, number)
      SELECT seq, 1 + coalesce((SELECT max(position) FROM chunks WHERE job = seq), drained),
        attempt, ?, ?
      FROM jobs WHERE id = ? AND attempt = ? AND state = 'IN_PROGRESS'`),
    lastChunk: sql(`SELECT number FROM chunks
      WHERE job = (SELECT seq FROM jobs WHERE id = ?) AND attempt = ?
      ORDER BY position DESC LIMIT 1`),
    readChunks: sql(`SELECT position, chunk FROM chunks
      WHERE job = (SELECT seq FROM jobs WHERE id = ?) AND position > ? AND attempt = ?
      ORDER BY position LIMIT ?`),
    unreadChunks: sql(`SELECT position, chunk FROM chunks
      JOIN jobs ON chunks.job = jobs.seq
      WHERE jobs.id = ? AND position > jobs.drained ORDER BY position LIMIT ?`),
    markDrained: sql("UPDATE jobs SET drained = ? WHERE id = ?"),

    cancel: sql(`UPDATE jobs SET state = 'CANCELLED', finished_at = :now, output = NULL,
      lease_until = NULL, ${DROP_AT}
      WHERE id = :id AND state IN ('IN_QUEUE', 'IN_PROGRESS') RETURNING ${ALL}`),
    retry: sql(`UPDATE jobs SET state = 'IN_QUEUE', run_at = :now, expires_at = :now + ttl_ms,
      failures = 0, output = NULL, error = NULL, finished_at = NULL, drop_at = NULL,
      worker_id = NULL, drained = 0, kept = 0
      WHERE id = :id AND state IN ('FAILED', 'TIMED_OUT') RETURNING ${ALL}`),
    dropChunks: sql("DELETE FROM chunks WHERE job = ?"),
    purge: sql(`UPDATE jobs SET state = 'CANCELLED', finished_at = :now, ${DROP_AT}
      WHERE state = 'IN_QUEUE' AND seq IN (SELECT seq FROM jobs
        WHERE lane = :lane AND state = 'IN_QUEUE' AND created_at <= :now LIMIT :limit)
      RETURNING ${ALL}`),
    cancelLane: sql(`UPDATE jobs SET state = 'CANCELLED', finished_at = :now, output = NULL,
      lease_until = NULL, ${DROP_AT}
      WHERE seq IN (SELECT seq FROM jobs WHERE lane = :lane
        AND state IN ('IN_QUEUE', 'IN_PROGRESS') LIMIT :limit)
      RETURNING ${ALL}`),
    expire: sql(`UPDATE jobs SET state = 'TIMED_OUT', finished_at = :now, drop_at = :now,
      output = NULL, lease_until = NULL,
      error = 'the job''s time to live of ' || rtrim(rtrim(ttl_ms / 1000.0, '0'), '.') || ' s (ttl) is over'
      WHERE seq IN (SELECT seq FROM jobs WHERE state IN ('IN_QUEUE', 'IN_PROGRESS')
        AND expires_at <= :now ORDER BY expires_at LIMIT :limit)
      RETURNING ${ALL}`),
    /** Those whose results are over, but which are kept because they have failed. */
    keepable: arrays(`SELECT ${DROPPED} FROM jobs WHERE drop_at <= :now AND kept = 0
      AND state IN ('FAILED', 'TIMED_OUT') AND finished_at > :now - :keepMs
      ORDER BY drop_at LIMIT :limit`),
    /** Of a JSON array of jobs. */
    keep: sql(`UPDATE jobs SET kept = 1, idempotency_key = NULL, drop_at = finished_at + ?
      WHERE seq IN (SELECT value FROM json_each(?))`),
    countKept: sql(`SELECT count(*) AS jobs FROM jobs WHERE kept = 1
      AND lane IN (SELECT id FROM lanes WHERE endpoint_id = ?)`),
    countHidden: sql(`SELECT count(*) AS jobs FROM jobs WHERE kept = 1
      AND lane IN (SELECT id FROM lanes WHERE endpoint_id = :endpointId)
      AND state IN (SELECT value FROM json_each(:states))`),
    dropKept: arrays(`DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs WHERE kept = 1
        AND lane IN (SELECT id FROM lanes WHERE endpoint_id = ?) ORDER BY finished_at, seq LIMIT ?)
      RETURNING ${DROPPED}`),
    drop: arrays(`DELETE FROM jobs WHERE seq IN
      (SELECT seq FROM jobs WHERE drop_at <= ? ORDER BY drop_at LIMIT ?) RETURNING ${DROPPED}`),
    releaseKey: sql("UPDATE jobs SET idempotency_key = NULL WHERE id = ? RETURNING seq"),
    /** Of a JSON array of jobs. */
    dropInputs: sql("DELETE FROM large_inputs WHERE job IN (SELECT value FROM json_each(?))"),
    dropStreams: sql("DELETE FROM chunks WHERE job IN (SELECT value FROM json_each(?))"),
    dropKey: sql("DELETE FROM idempotency_keys WHERE endpoint_id = ? AND key = ? AND job = ?"),

    list: sql(`SELECT ${LISTED} FROM jobs
      WHERE lane IN (SELECT id FROM lanes WHERE endpoint_id = :endpointId)
        AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
        AND kept <= :kept
      ORDER BY seq DESC LIMIT :limit OFFSET :offset`),
    failed: sql(`SELECT ${LISTED} FROM jobs WHERE ${FAILED}
      ORDER BY seq DESC LIMIT :limit OFFSET :offset`),
    countFailed: sql(`SELECT count(*) AS jobs FROM jobs WHERE ${FAILED}`),
    redrivable: sql(`SELECT id, state FROM jobs WHERE ${FAILED}
      AND finished_at <= :before AND drop_at > :now ORDER BY seq LIMIT :limit`),
    counters: sql("SELECT * FROM lanes WHERE endpoint_id = ?"),
    busy: sql("SELECT DISTINCT endpoint_id FROM lanes WHERE waiting > 0 OR running > 0"),
    waitingLanes: sql("SELECT id FROM lanes WHERE waiting > 0"),
    delayed: sql(`SELECT count(*) AS jobs FROM jobs
      WHERE lane = ? AND state = 'IN_QUEUE' AND run_at > ?`),
    first: sql(`SELECT run_at FROM jobs
      WHERE lane = ? AND state = 'IN_QUEUE' ORDER BY run_at LIMIT 1`),
    nextRunAt: sql(`SELECT run_at FROM jobs
      WHERE lane = ? AND state = 'IN_QUEUE' AND run_at > ? ORDER BY run_at LIMIT 1`),
    // When something was written last. Each of these is a look at the end of an index, however many jobs
    // there are: ids grow with their times.
    newest: sql("SELECT created_at AS at FROM jobs ORDER BY seq DESC LIMIT 1"),
    lastDropped: sql(`SELECT finished_at AS at FROM jobs WHERE drop_at IS NOT NULL
      ORDER BY drop_at DESC LIMIT 1`),
    lastStarted: sql(`SELECT max(started_at) AS at FROM jobs INDEXED BY jobs_running
      WHERE state = 'IN_PROGRESS'`),
    /** A job that was sent back has its ttl anew, so this is when one was queued. Behind delayed ones, too. */
    lastQueued: sql(`SELECT max(at) AS at FROM (SELECT expires_at - ttl_ms AS at FROM jobs
      WHERE lane = ? AND state = 'IN_QUEUE' ORDER BY run_at DESC LIMIT 20)`),
    /** Open jobs that were queued later than now, as if it had been now. */
    setBack: sql(`UPDATE jobs SET run_at = run_at - (expires_at - ttl_ms - :now),
      expires_at = :now + ttl_ms, created_at = min(created_at, :now),
      started_at = min(started_at, :now), alone_since = min(alone_since, :now)
      WHERE state IN ('IN_QUEUE', 'IN_PROGRESS') AND expires_at > :now AND expires_at - ttl_ms > :now`),
    /** Jobs that ended later than now: they would be kept until it is later. */
    setEndsBack: sql(`UPDATE jobs SET drop_at = drop_at - (finished_at - :now), finished_at = :now,
      created_at = min(created_at, :now), started_at = min(started_at, :now)
      WHERE drop_at > :now AND finished_at > :now`),
    setWebhooksBack: sql(`UPDATE webhooks SET created_at = :now, next_at = :now
      WHERE next_at > :now AND created_at > :now`),
    hasAlone: sql(
      "SELECT 1 FROM jobs WHERE alone_since IS NOT NULL AND state = 'IN_QUEUE' LIMIT 1",
    ),
    running: sql(`SELECT ${ALL} FROM jobs INDEXED BY jobs_running
      WHERE state = 'IN_PROGRESS' ORDER BY seq`),
    runningOf: sql(`SELECT ${ALL} FROM jobs INDEXED BY jobs_running
      WHERE state = 'IN_PROGRESS' AND worker_id = ? ORDER BY seq`),

    addWebhook: sql(`INSERT INTO webhooks (job_id, url, body, created_at, next_at)
      VALUES (?, ?, ?, ?, ?)`),
  };
}

/** Reads rows into jobs. */
export class JobReader {
  readonly #lanes: Lanes;
  readonly #largeInput: StatementSync;

  constructor(lanes: Lanes, largeInput: StatementSync) {
    this.#lanes = lanes;
    this.#largeInput = largeInput;
  }

  one(row: JobRow): Job;
  one(row: unknown): Job | undefined;
  one(row: unknown): Job | undefined {
    return row === undefined ? undefined : this.#read(row as JobRow);
  }

  all(rows: readonly unknown[]): Job[] {
    return rows.map((row) => this.#read(row as JobRow));
  }

  #read(row: JobRow): Job {
    const lane = this.#lanes.get(row.lane);
    const job: Job = {
      id: row.id,
      endpointId: lane.endpointId,
      releaseId: lane.releaseId,
      via: row.via,
      input: row.input ?? "null",
      policy: {
        executionTimeoutMs: row.execution_timeout_ms,
        ttlMs: row.ttl_ms,
        lowPriority: lane.lowPriority,
      },
      webhook: row.webhook,
      extra: row.extra,
      runAt: row.run_at,
      createdAt: row.created_at,
      idempotencyKey: row.idempotency_key,
      key: row.key,
      keyConcurrency: lane.keyConcurrency,
      state: row.state,
      output: row.output,
      error: row.error,
      attempt: row.attempt,
      failures: row.failures,
      history: row.history,
      aloneSince: row.alone_since,
      expiresAt: row.expires_at,
      workerId: row.worker_id,
      leaseUntil: row.lease_until,
      startedAt: row.started_at,
      finishedAt: row.finished_at,
      dropAt: row.drop_at,
      isKept: row.kept === 1,
    };
    return row.input === null ? this.#withLargeInput(job, row.seq) : job;
  }

  /** Reads a large input when it is asked for: most readers of a job want its state. */
  #withLargeInput(job: Job, seq: number): Job {
    const statement = this.#largeInput;
    let text: string | undefined;
    return Object.defineProperty(job, "input", {
      enumerable: true,
      get: () => (text ??= String(statement.get(seq)?.["input"] ?? "null")),
    });
  }
}
