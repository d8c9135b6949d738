/** Retention: dropping the records of jobs whose results are over, and keeping failed ones for longer. */

import type { KeepFailed } from "../../contract/store.ts";
import type { Committer } from "./commit.ts";
import type { DroppedRow, Statements } from "./job-statements.ts";
import type { Lanes } from "./lanes.ts";

const KEEP_NONE: KeepFailed = { forMs: 0, jobs: 0 };

export class JobRetention {
  readonly #sql: Statements;
  readonly #committer: Committer;
  readonly #lanes: Lanes;

  constructor(options: { sql: Statements; committer: Committer; lanes: Lanes }) {
    this.#sql = options.sql;
    this.#committer = options.committer;
    this.#lanes = options.lanes;
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
