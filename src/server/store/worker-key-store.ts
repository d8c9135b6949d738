/** {@link WorkerKeyStore} over SQLite. A trigger removes the keys of an endpoint with the endpoint. */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { WorkerKeyRow, WorkerKeyStore } from "../../contract/store.ts";
import type { Committer } from "./commit.ts";

export class SqliteWorkerKeyStore implements WorkerKeyStore {
  readonly #committer: Committer;
  readonly #add: StatementSync;
  readonly #list: StatementSync;
  readonly #remove: StatementSync;

  constructor({ db, committer }: { db: DatabaseSync; committer: Committer }) {
    this.#committer = committer;
    this.#add = db.prepare(
      "INSERT INTO worker_keys (worker_id, endpoint_id, digest, created_at) VALUES (?, ?, ?, ?)",
    );
    this.#list = db.prepare(`SELECT worker_id AS workerId, endpoint_id AS endpointId, digest,
      created_at AS createdAt FROM worker_keys
      WHERE ? IS NULL OR endpoint_id = ? ORDER BY created_at, worker_id`);
    this.#remove = db.prepare("DELETE FROM worker_keys WHERE worker_id = ?");
  }

  async add({ workerId, endpointId, digest, createdAt }: WorkerKeyRow): Promise<void> {
    await this.#committer.commit(() => this.#add.run(workerId, endpointId, digest, createdAt), {
      accepts: true,
    });
  }

  async list(endpointId?: string): Promise<WorkerKeyRow[]> {
    const wanted = endpointId ?? null;
    const rows = this.#list.all(wanted, wanted) as unknown as WorkerKeyRow[];
    return rows.map((row) => ({ ...row }));
  }

  remove(workerId: string): Promise<boolean> {
    return this.#committer.commit(() => this.#remove.run(workerId).changes === 1);
  }
}
