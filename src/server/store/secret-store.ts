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
      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8)
      ON CONFLICT DO UPDATE SET version = excluded.version, key_id = excluded.key_id,
        sealed = excluded.sealed, updated_at = excluded.updated_at,
        updated_by = excluded.updated_by
      RETURNING ${SECRET}`);
    this.#list = db.prepare(`SELECT ${SECRET} FROM secrets
      WHERE (?1 IS NULL OR app = ?1) AND (?2 IS NULL OR environment = ?2)
      ORDER BY app, environment, name`);
    this.#remove = db.prepare("DELETE FROM secrets WHERE app = ? AND environment = ? AND name = ?");
    this.#reseal = db.prepare(`UPDATE secrets SET key_id = ?4, sealed = ?5
      WHERE app = ?1 AND environment = ?2 AND name = ?3`);
  }

  put(row: Omit<SecretRow, "version" | "createdAt">): Promise<SecretRow> {
    const { app, environment, name, keyId, sealed, updatedAt, updatedBy } = row;
    return this.#committer.commit(
      () => {
        const version = Number(this.#nextVersion.get()?.["last"]);
        const values = [app, environment, name, version, keyId, sealed, updatedAt, updatedBy];
        return { ...this.#put.get(...values) } as unknown as SecretRow;
      },
      { accepts: true },
    );
  }

  async list(app?: string, environment?: string): Promise<SecretRow[]> {
    const rows = this.#list.all(app ?? null, environment ?? null) as unknown as SecretRow[];
    return rows.map((row) => ({ ...row }));
  }

  remove(app: string, environment: string, name: string): Promise<boolean> {
    return this.#committer.commit(() => this.#remove.run(app, environment, name).changes === 1);
  }

  reseal(seal: (row: SecretRow) => { keyId: string; sealed: Uint8Array }): Promise<number> {
    return this.#committer.commit(() => {
      const rows = this.#list.all(null, null) as unknown as SecretRow[];
      for (const row of rows) {
        const { keyId, sealed } = seal(row);
        this.#reseal.run(row.app, row.environment, row.name, keyId, sealed);
      }
      return rows.length;
    });
  }
}
