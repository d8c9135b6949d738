/** {@link AuditStore} over SQLite. Triggers keep the trail append-only and within its bound. */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { AuditEntry, AuditFilter, AuditStore } from "../../contract/identity.ts";
import type { Committer } from "./commit.ts";

export class SqliteAuditStore implements AuditStore {
  readonly #committer: Committer;
  readonly #add: StatementSync;
  readonly #list: StatementSync;

  constructor({ db, committer }: { db: DatabaseSync; committer: Committer }) {
    this.#committer = committer;
    this.#add = db.prepare(`INSERT INTO audit
      (at, actor, actor_name, action, app, environment, endpoint, subject, source, result)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
    this.#list = db.prepare(`SELECT id, at, actor, actor_name AS actorName, action, app,
      environment, endpoint, subject, source AS "from", result FROM audit
      WHERE (:app IS NULL OR app = :app) AND (:environment IS NULL OR environment = :environment)
      AND (:endpoint IS NULL OR endpoint = :endpoint) AND (:before IS NULL OR id < :before)
      ORDER BY id DESC LIMIT :limit`);
  }

  async add(entry: AuditEntry): Promise<void> {
    const { at, actor, actorName, action, app, environment, endpoint, subject, from, result } =
      entry;
    const values = [at, actor, actorName, action, app, environment, endpoint, subject];
    await this.#committer.commit(() => this.#add.run(...values, from, result));
  }

  async list(filter: AuditFilter): Promise<(AuditEntry & { id: number })[]> {
    const { app = null, environment = null, endpoint = null, before = null, limit } = filter;
    const rows = this.#list.all({ app, environment, endpoint, before, limit });
    return rows.map((row) => ({ ...row }) as unknown as AuditEntry & { id: number });
  }
}
