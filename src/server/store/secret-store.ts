/** {@link SecretStore} over SQLite. */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { SecretRow, SecretStore } from "../../contract/identity.ts";
import type { Committer } from "./commit.ts";

const SECRET = `app, environment, name, version, key_id AS keyId, sealed, created_at AS createdAt,
  updated_at AS updatedAt, updated_by AS updatedBy`;

export class SqliteSecretStore implements SecretStore {
  readonly #committer: Committer;
  readonly #nextVersion: StatementSync;
  readonly #put: StatementSync;
  readonly #list: StatementSync;
  readonly #remove: StatementSync;
  readonly #reseal: StatementSync;

  constructor({ db, committer }: { db: DatabaseSync; committer: Committer }) {
    this.#committer = committer;
    this.#nextVersion = db.prepare("UPDATE secret_versions SET last = last + 1 RETURNING last");
    this.#put = db.prepare(`INSERT INTO secrets
      (app, environment, name, version, key_id, sealed, created_at, updated_at, updated_by)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET version = excluded.version, key_id = excluded.key_id,
        sealed = excluded.sealed, updated_at = excluded.updated_at,
        updated_by = excluded.updated_by
      RETURNING ${SECRET}`);
    this.#list = db.prepare(`SELECT ${SECRET} FROM secrets
      WHERE (:app IS NULL OR app = :app) AND (:environment IS NULL OR environment = :environment)
      ORDER BY app, environment, name`);
    this.#remove = db.prepare("DELETE FROM secrets WHERE app = ? AND environment = ? AND name = ?");
    this.#reseal = db.prepare(`UPDATE secrets SET key_id = ?, sealed = ?
      WHERE app = ? AND environment = ? AND name = ?`);
  }

  put(row: Omit<SecretRow, "version" | "createdAt">): Promise<SecretRow> {
    const { app, environment, name, keyId, sealed, updatedAt, updatedBy } = row;
    return this.#committer.commit(
      () => {
        const version = Number(this.#nextVersion.get()?.["last"]);
        const values = [app, environment, name, version, keyId, sealed];
        return {
          ...this.#put.get(...values, updatedAt, updatedAt, updatedBy),
        } as unknown as SecretRow;
      },
      { accepts: true },
    );
  }

  async list(app?: string, environment?: string): Promise<SecretRow[]> {
    const rows = this.#rowsOf(app, environment);
    return rows.map((row) => ({ ...row }));
  }

  remove(app: string, environment: string, name: string): Promise<boolean> {
    return this.#committer.commit(() => this.#remove.run(app, environment, name).changes === 1);
  }

  reseal(seal: (row: SecretRow) => { keyId: string; sealed: Uint8Array }): Promise<number> {
    return this.#committer.commit(() => {
      const rows = this.#rowsOf();
      for (const row of rows) {
        const { keyId, sealed } = seal(row);
        this.#reseal.run(keyId, sealed, row.app, row.environment, row.name);
      }
      return rows.length;
    });
  }

  #rowsOf(app: string | null = null, environment: string | null = null): SecretRow[] {
    return this.#list.all({ app, environment }) as unknown as SecretRow[];
  }
}
