/** {@link BatchStore} over SQLite. */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import {
  BATCH_REQUEST_PREFIX,
  type BatchRefusal,
  type BatchRequestRow,
  type BatchRow,
  type BatchStore,
  type NewBatchRequest,
} from "../../contract/batch.ts";
import type { Job } from "../../contract/job.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Committer } from "./commit.ts";

/** A page of requests carries about this much text at most. */
const PAGE_CHARACTERS = 16 * 1024 * 1024;
const UNFINISHED = "('PENDING', 'IN_QUEUE', 'IN_PROGRESS')";

interface Row {
  seq: number;
  id: string;
  endpointId: string;
  name: string | null;
  createdAt: number;
  finalizedAt: number | null;
  cancelledAt: number | null;
}

type Statements = ReturnType<typeof prepare>;

function prepare(db: DatabaseSync) {
  const sql = (text: string): StatementSync => db.prepare(text);
  const batch = `seq, id, endpoint_id AS endpointId, name, created_at AS createdAt,
    finalized_at AS finalizedAt, cancelled_at AS cancelledAt`;
  return {
    insert: sql(`INSERT INTO batches (id, endpoint_id, created_at, drop_at)
      VALUES (?, ?, ?, ?) RETURNING ${batch}`),
    byId: sql(`SELECT ${batch} FROM batches WHERE id = ?`),
    drop: sql("DELETE FROM batches WHERE drop_at <= ?"),
    active: sql(`SELECT count(*) AS n FROM batches WHERE endpoint_id = ? AND (finalized_at IS NULL
      OR EXISTS (SELECT 1 FROM batch_requests WHERE batch = batches.seq AND status IN ${UNFINISHED}))`),
    waiting: sql(`SELECT count(*) AS n FROM batches JOIN batch_requests ON batch = batches.seq
      WHERE endpoint_id = ? AND finalized_at IS NOT NULL AND status IN ('PENDING', 'IN_QUEUE')`),
    queued: sql(`SELECT count(*) AS n FROM batches JOIN batch_requests ON batch = batches.seq
      WHERE endpoint_id = ? AND status = 'IN_QUEUE'`),
    list: sql(`SELECT ${batch} FROM batches WHERE endpoint_id = ?
      ORDER BY seq DESC LIMIT ? OFFSET ?`),
    count: sql("SELECT count(*) AS n FROM batches WHERE endpoint_id = ?"),
    rename: sql("UPDATE batches SET name = ? WHERE seq = ?"),
    finalize: sql("UPDATE batches SET finalized_at = ?, drop_at = ? WHERE seq = ?"),
    cancel: sql(`UPDATE batches SET cancelled_at = ?, finalized_at = coalesce(finalized_at, ?)
      WHERE seq = ?`),
    addRequest: sql("INSERT INTO batch_requests (id, batch, input, key) VALUES (?, ?, ?, ?)"),
    removeRequest: sql("DELETE FROM batch_requests WHERE batch = ? AND id = ?"),
    states: sql("SELECT status, count(*) AS n FROM batch_requests WHERE batch = ? GROUP BY status"),
    requests: sql(`SELECT id, status, output, error, started_at AS startedAt,
      finished_at AS finishedAt FROM batch_requests WHERE batch = ?
      ORDER BY seq LIMIT ? OFFSET ?`),
    cancelPending:
      sql(`UPDATE batch_requests SET status = 'CANCELLED', finished_at = ?, input = NULL
      WHERE batch = ? AND status = 'PENDING'`),
    inQueue: sql("SELECT id FROM batch_requests WHERE batch = ? AND status = 'IN_QUEUE'"),
    submitted: sql("UPDATE batch_requests SET status = 'IN_QUEUE', input = NULL WHERE id = ?"),
    moved:
      sql(`UPDATE batch_requests SET status = ?, started_at = ?, finished_at = ?, error = ?, output = ?
      WHERE id = ?`),
    next: sql(`SELECT batch_requests.id, batches.id AS batchId, input, key
      FROM batches JOIN batch_requests ON batch = batches.seq
      WHERE endpoint_id = ? AND finalized_at IS NOT NULL AND cancelled_at IS NULL AND status = 'PENDING'
      ORDER BY finalized_at, batch_requests.seq LIMIT ?`),
    endpoints: sql(`SELECT DISTINCT endpoint_id AS id FROM batches
      WHERE finalized_at IS NOT NULL AND EXISTS
        (SELECT 1 FROM batch_requests WHERE batch = batches.seq AND status = 'PENDING')`),
  };
}

export class SqliteBatchStore implements BatchStore {
  readonly #committer: Committer;
  readonly #sql: Statements;

  constructor({ db, committer }: { db: DatabaseSync; committer: Committer }) {
    this.#committer = committer;
    this.#sql = prepare(db);
  }

  /**
   * A request follows its job in the transaction that moves it: results of a batch are kept longer than
   * those of jobs, and no crash comes between the two. Call inside that transaction.
   */
  follow(job: Job): void {
    if (!job.id.startsWith(BATCH_REQUEST_PREFIX)) return;
    const { id, state, startedAt, finishedAt, error } = job;
    const output = state === "COMPLETED" || state === "FAILED" ? job.output : null;
    this.#sql.moved.run(state, startedAt, finishedAt, error, output, id);
  }

  /** The same for a request that has become a job: the job has its input from now on. */
  submitted(jobId: string): void {
    if (jobId.startsWith(BATCH_REQUEST_PREFIX)) this.#sql.submitted.run(jobId);
  }

  create(
    batch: { id: string; endpointId: string; requests: readonly NewBatchRequest[] },
    now: number,
  ): Promise<BatchRow | BatchRefusal> {
    return this.#committer.commit(
      () => {
        this.#sql.drop.run(now);
        if (countOf(this.#sql.active.get(batch.endpointId)) >= LIMITS.batchesActive) {
          return "too-many-batches";
        }
        if (batch.requests.length > LIMITS.batchRequests) return "too-many-requests";
        const dropAt = now + LIMITS.retentionBatchMs;
        const row = this.#sql.insert.get(batch.id, batch.endpointId, now, dropAt);
        return this.#filled(row as unknown as Row, batch.requests);
      },
      { accepts: true },
    );
  }

  add(batchId: string, requests: readonly NewBatchRequest[]): Promise<BatchRow | BatchRefusal> {
    return this.#committer.commit(
      () => {
        const row = this.#draft(batchId);
        if (typeof row === "string") return row;
        const present = sum(Object.values(this.#statesOf(row)));
        if (present + requests.length > LIMITS.batchRequests) return "too-many-requests";
        return this.#filled(row, requests);
      },
      { accepts: true },
    );
  }

  removeRequest(batchId: string, requestId: string): Promise<BatchRow | BatchRefusal> {
    return this.#committer.commit(() => {
      const row = this.#draft(batchId);
      if (typeof row === "string") return row;
      const { changes } = this.#sql.removeRequest.run(row.seq, requestId);
      return changes === 0 ? "unknown" : this.#read(row);
    });
  }

  rename(batchId: string, name: string | null): Promise<BatchRow | BatchRefusal> {
    return this.#committer.commit(() => {
      const row = this.#row(batchId);
      if (row === undefined) return "unknown";
      this.#sql.rename.run(name, row.seq);
      return this.#read({ ...row, name });
    });
  }

  finalize(batchId: string, now: number): Promise<BatchRow | BatchRefusal> {
    return this.#committer.commit(() => {
      const row = this.#row(batchId);
      if (row === undefined) return "unknown";
      if (row.finalizedAt !== null) return this.#read(row);
      const own = this.#statesOf(row).PENDING ?? 0;
      const waiting = countOf(this.#sql.waiting.get(row.endpointId));
      if (waiting + own > LIMITS.batchRequestsWaiting) return "too-much-waiting";
      this.#sql.finalize.run(now, now + LIMITS.retentionBatchMs, row.seq);
      return this.#read({ ...row, finalizedAt: now });
    });
  }

  cancel(
    batchId: string,
    now: number,
  ): Promise<{ batch: BatchRow; waiting: string[] } | BatchRefusal> {
    return this.#committer.commit(() => {
      const row = this.#row(batchId);
      if (row === undefined) return "unknown";
      if (row.cancelledAt === null) this.#sql.cancel.run(now, now, row.seq);
      this.#sql.cancelPending.run(now, row.seq);
      const waiting = this.#sql.inQueue.all(row.seq).map(({ id }) => String(id));
      const { cancelledAt, finalizedAt } = row;
      const batch = { ...row, cancelledAt: cancelledAt ?? now, finalizedAt: finalizedAt ?? now };
      return { batch: this.#read(batch), waiting };
    });
  }

  async get(batchId: string): Promise<BatchRow | undefined> {
    const row = this.#row(batchId);
    const batch = row === undefined ? undefined : this.#read(row);
    await this.#committer.durable;
    return batch;
  }

  async list(page: {
    endpointId: string;
    offset: number;
    limit: number;
  }): Promise<{ batches: BatchRow[]; total: number }> {
    const rows = this.#sql.list.all(page.endpointId, page.limit, page.offset) as unknown as Row[];
    const batches = rows.map((row) => this.#read(row));
    const total = countOf(this.#sql.count.get(page.endpointId));
    await this.#committer.durable;
    return { batches, total };
  }

  async requests(page: {
    batchId: string;
    offset: number;
    limit: number;
  }): Promise<BatchRequestRow[]> {
    const row = this.#row(page.batchId);
    const requests: BatchRequestRow[] = [];
    let characters = 0;
    const found =
      row === undefined ? [] : this.#sql.requests.iterate(row.seq, page.limit, page.offset);
    for (const one of found) {
      const request = { ...one } as unknown as BatchRequestRow;
      characters += request.output?.length ?? 0;
      if (requests.length > 0 && characters > PAGE_CHARACTERS) break;
      requests.push(request);
    }
    await this.#committer.durable;
    return requests;
  }

  async next(endpointId: string, most: number): Promise<(NewBatchRequest & { batchId: string })[]> {
    const room = most - countOf(this.#sql.queued.get(endpointId));
    if (room <= 0) return [];
    const rows = this.#sql.next.all(endpointId, room);
    return rows.map((row) => ({
      id: String(row["id"]),
      batchId: String(row["batchId"]),
      input: String(row["input"]),
      key: row["key"] === null ? null : String(row["key"]),
    }));
  }

  async endpoints(): Promise<string[]> {
    return this.#sql.endpoints.all().map(({ id }) => String(id));
  }

  #row(batchId: string): Row | undefined {
    return this.#sql.byId.get(batchId) as unknown as Row | undefined;
  }

  #draft(batchId: string): Row | BatchRefusal {
    const row = this.#row(batchId);
    if (row === undefined) return "unknown";
    return row.finalizedAt === null ? row : "not-draft";
  }

  #filled(row: Row, requests: readonly NewBatchRequest[]): BatchRow {
    for (const { id, input, key } of requests) this.#sql.addRequest.run(id, row.seq, input, key);
    return this.#read(row);
  }

  #read(row: Row): BatchRow {
    const { seq: _, ...batch } = row;
    return { ...batch, requests: this.#statesOf(row) };
  }

  #statesOf({ seq }: Row): BatchRow["requests"] {
    const states = this.#sql.states.all(seq);
    return Object.fromEntries(states.map((row) => [String(row["status"]), Number(row["n"])]));
  }
}

function countOf(row: Record<string, unknown> | undefined): number {
  return Number(row?.["n"] ?? 0);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
