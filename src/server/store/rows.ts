/** Statements by their text, prepared once; rows as plain objects. */

import type { DatabaseSync, StatementSync } from "node:sqlite";

export type Value = string | number | null;

export class Rows {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  one(sql: string, ...values: Value[]): Record<string, unknown> | undefined {
    const row = this.#prepare(sql).get(...values);
    return row === undefined ? undefined : plain(row);
  }

  all(sql: string, ...values: Value[]): Record<string, unknown>[] {
    return this.#prepare(sql)
      .all(...values)
      .map(plain);
  }

  /** Rows changed. */
  run(sql: string, ...values: Value[]): number {
    return Number(this.#prepare(sql).run(...values).changes);
  }

  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}

/** Rows come without a prototype, which equality checks and printing trip over. */
function plain(row: Record<string, unknown>): Record<string, unknown> {
  return { ...row };
}
