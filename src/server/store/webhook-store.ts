/** {@link WebhookStore} over SQLite. Rows are written by the job store, in the step that ends a job. */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { WebhookRow, WebhookStore } from "../../contract/store.ts";
import type { Committer } from "./commit.ts";

export class SqliteWebhookStore implements WebhookStore {
  readonly #committer: Committer;
  readonly #due: StatementSync;
  readonly #next: StatementSync;
  readonly #remove: StatementSync;
  readonly #postpone: StatementSync;

  constructor({ db, committer }: { db: DatabaseSync; committer: Committer }) {
    this.#committer = committer;
    this.#due = db.prepare(`SELECT id, job_id AS jobId, url, body, tries, created_at AS createdAt
      FROM webhooks WHERE next_at <= ? ORDER BY next_at LIMIT ?`);
    this.#next = db.prepare("SELECT next_at FROM webhooks ORDER BY next_at LIMIT 1");
    this.#remove = db.prepare("DELETE FROM webhooks WHERE id = ?");
    this.#postpone = db.prepare("UPDATE webhooks SET tries = tries + 1, next_at = ? WHERE id = ?");
  }

  async due(now: number, limit: number): Promise<WebhookRow[]> {
    return this.#due.all(now, limit) as unknown as WebhookRow[];
  }

  async nextAt(): Promise<number | undefined> {
    const row = this.#next.get();
    return row === undefined ? undefined : Number(row["next_at"]);
  }

  async remove(id: number): Promise<void> {
    await this.#committer.commit(() => this.#remove.run(id));
  }

  async postpone(id: number, nextAt: number): Promise<void> {
    await this.#committer.commit(() => this.#postpone.run(nextAt, id));
  }
}
