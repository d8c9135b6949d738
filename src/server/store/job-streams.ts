/** Chunks of jobs' streams: appending, reading, and draining, which gives every chunk once. */

import type { JobStore, StreamedValue } from "../../contract/store.ts";
import type { Committer } from "./commit.ts";
import type { Statements } from "./job-statements.ts";
import type { RecentJobs } from "./recent-jobs.ts";

/** One answer of a stream carries about this much text at most. */
const DRAIN_CHARACTERS = 8 * 1024 * 1024;

export interface ChunkRow {
  position: number;
  chunk: string;
}

export class JobStreams {
  readonly #sql: Statements;
  readonly #committer: Committer;
  readonly #recent: RecentJobs;

  constructor(
    sql: Statements,
    { committer, recent }: { committer: Committer; recent: RecentJobs },
  ) {
    this.#sql = sql;
    this.#committer = committer;
    this.#recent = recent;
  }

  append(jobId: string, attempt: number, { pieces, number }: StreamedValue): Promise<boolean> {
    const sql = this.#sql;
    return this.#committer.commit(
      () => {
        // Sent again by a worker that did not hear that it had arrived: always the last one.
        if (number !== undefined && lastNumber(sql, jobId, attempt) >= number) return true;
        return pieces.every(
          (piece) => sql.appendChunk.run(piece, number ?? null, jobId, attempt).changes === 1,
        );
      },
      { concernsRecent: () => this.#recent.has(jobId) },
    );
  }

  async read({
    jobId,
    attempt,
    after,
    limit,
  }: Parameters<JobStore["readChunks"]>[0]): Promise<ChunkRow[]> {
    const chunks = portionOf(this.#sql.readChunks.iterate(jobId, after, attempt, limit));
    await this.#committer.durable;
    return chunks;
  }

  async drain(jobId: string, limit: number): Promise<string[]> {
    // Readers wait in vain most of the time; that must not cost a transaction each.
    if (this.#committer.isIdle && this.#sql.unreadChunks.all(jobId, 1).length === 0) return [];
    return this.#committer.commit(
      () => {
        const chunks = portionOf(this.#sql.unreadChunks.iterate(jobId, limit));
        const last = chunks.at(-1);
        if (last !== undefined) this.#sql.markDrained.run(last.position, jobId);
        return chunks.map(({ chunk }) => chunk);
      },
      // It has streamed nothing as long as it is recent.
      { concernsRecent: () => false },
    );
  }
}

/** 0: the attempt has streamed nothing yet, or nothing that was numbered. */
function lastNumber(sql: Statements, jobId: string, attempt: number): number {
  const row = sql.lastChunk.get(jobId, attempt) as { number: number | null } | undefined;
  return row?.number ?? 0;
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
