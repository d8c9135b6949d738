/** What follows every move of a job in the database: counters, the lines of keys, batches, webhooks. */

import { jobDocumentText, type Job } from "../../contract/job.ts";
import type { JobState } from "../../contract/states.ts";
import type { SqliteBatchStore } from "./batch-store.ts";
import type { JobReader, JobRow, Statements } from "./job-statements.ts";
import type { KeyedQueue } from "./keyed-queue.ts";
import type { Lane, Lanes, Move } from "./lanes.ts";

export interface JobMovesOptions {
  sql: Statements;
  read: JobReader;
  lanes: Lanes;
  keyed: KeyedQueue;
  batches: SqliteBatchStore;
}

/** Each is called in the transaction that makes the move. */
export class JobMoves {
  readonly #sql: Statements;
  readonly #read: JobReader;
  readonly #lanes: Lanes;
  readonly #keyed: KeyedQueue;
  readonly #batches: SqliteBatchStore;

  constructor({ sql, read, lanes, keyed, batches }: JobMovesOptions) {
    this.#sql = sql;
    this.#read = read;
    this.#lanes = lanes;
    this.#keyed = keyed;
    this.#batches = batches;
  }

  /** A job is new. */
  submitted(lane: Lane, { id, key }: { id: string; key: string | null }): void {
    this.#lanes.moved(lane.id, { to: "IN_QUEUE" });
    this.#batches.submitted(id);
    if (key !== null) this.#keyed.moved({ lane, key }, undefined, "IN_QUEUE");
  }

  moved(lane: number, job: Job, move: Move): void {
    this.#lanes.moved(lane, { to: job.state, ...move });
    this.#batches.follow(job);
    const { key, state } = job;
    if (key !== null) this.#keyed.moved({ lane: this.#lanes.get(lane), key }, move.from, state);
  }

  /** {@link moved} for a row. `from`: where the row came from, which it does not tell. */
  movedRow(row: unknown, move: Move): Job {
    const job = this.#read.one(row as JobRow);
    this.moved((row as JobRow).lane, job, move);
    return job;
  }

  /** {@link movedRow} to a final state. */
  endedRow(row: unknown, from: JobState, now: number): Job {
    const job = this.movedRow(row, { from });
    this.writeWebhook(job, now);
    return job;
  }

  /** Jobs that were queued or running. */
  endedRows(rows: readonly unknown[], now: number): Job[] {
    return rows.map((row) => this.endedRow(row, stateBefore(row as JobRow), now));
  }

  /** In the step that ends the job: neither can be lost without the other. */
  writeWebhook(job: Job, now: number): void {
    if (job.webhook === null) return;
    this.#sql.addWebhook.run(job.id, job.webhook, jobDocumentText(job), now, now);
  }
}

/** Only a running job has a worker; its end keeps the name. */
export function stateBefore({ worker_id: workerId }: JobRow): JobState {
  return workerId === null ? "IN_QUEUE" : "IN_PROGRESS";
}
