/** {@link KeyStore} over SQLite. */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Verb } from "../../contract/access.ts";
import { FlashError } from "../../contract/errors.ts";
import type { KeyRow, KeyStore } from "../../contract/identity.ts";
import type { Committer } from "./commit.ts";

const KEY = `id, name, digest, verbs, app, environment, endpoint, created_at AS createdAt,
  created_by AS createdBy, expires_at AS expiresAt, revoked_at AS revokedAt,
  last_used_at AS lastUsedAt`;

export class SqliteKeyStore implements KeyStore {
  readonly #committer: Committer;
  readonly #namesake: StatementSync;
  readonly #add: StatementSync;
  readonly #list: StatementSync;
  readonly #revoke: StatementSync;
  readonly #noteUse: StatementSync;
  readonly #dropVoid: StatementSync;

  constructor({ db, committer }: { db: DatabaseSync; committer: Committer }) {
    this.#committer = committer;
    this.#namesake = db.prepare(`SELECT id FROM api_keys
      WHERE name = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)`);
    this.#add =
      db.prepare(`INSERT INTO api_keys (id, name, digest, verbs, app, environment, endpoint,
      created_at, created_by, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
    this.#list = db.prepare(`SELECT ${KEY} FROM api_keys ORDER BY created_at DESC, id`);
    this.#revoke = db.prepare(
      "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL",
    );
    this.#noteUse = db.prepare("UPDATE api_keys SET last_used_at = ? WHERE id = ?");
    this.#dropVoid = db.prepare("DELETE FROM api_keys WHERE revoked_at < ? OR expires_at < ?");
  }

  async add(row: KeyRow): Promise<void> {
    const { id, name, digest, verbs, scope, createdAt, createdBy, expiresAt } = row;
    const { app, environment, endpoint } = scope;
    const insert = (): void => {
      if (this.#namesake.get(name, createdAt) !== undefined) {
        throw new FlashError("CONFLICT", `There is a key '${name}' already.`, {
          hint: "Choose another name, or revoke that one first.",
        });
      }
      const list = verbs.join(" ");
      const place = [app, environment, endpoint];
      this.#add.run(id, name, digest, list, ...place, createdAt, createdBy, expiresAt);
    };
    await this.#committer.commit(insert, { accepts: true });
  }

  async list(): Promise<KeyRow[]> {
    return this.#list.all().map((row) => {
      const { verbs, app, environment, endpoint, ...rest } = row;
      return {
        ...rest,
        verbs: String(verbs).split(" ") as Verb[],
        scope: { app, environment, endpoint },
      } as unknown as KeyRow;
    });
  }

  revoke(id: string, now: number): Promise<boolean> {
    return this.#committer.commit(() => this.#revoke.run(now, id).changes === 1);
  }

  async noteUses(uses: ReadonlyMap<string, number>): Promise<void> {
    await this.#committer.commit(() => {
      for (const [id, at] of uses) this.#noteUse.run(at, id);
    });
  }

  async dropVoid(before: number): Promise<void> {
    await this.#committer.commit(() => this.#dropVoid.run(before, before));
  }
}
