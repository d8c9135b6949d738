/**
 * Group commit: operations that arrive together share one transaction and one flush to disk.
 *
 * Invariants:
 *   1. A promise resolves after the COMMIT that holds its operation has returned.
 *   2. An operation that throws changes nothing and does not disturb the others of its group.
 *   3. When the disk is full, operations that accept new work fail first, so that the rest can use
 *      what room is left.
 *
 * A group is closed in the check phase of the event loop: everything that was read from sockets in
 * one turn is in it, and a lone operation waits for nothing.
 */

import type { DatabaseSync } from "node:sqlite";
import { FlashError } from "../../contract/errors.ts";

export interface OperationOptions {
  /** The operation accepts new work, and is refused when the disk is full. */
  accepts?: boolean;
}

/** Faults for tests. */
export interface Failpoints {
  /**
   * Breaks invariant 1: operations are acknowledged, and committed this many milliseconds later.
   * Shows that the crash tests would notice.
   */
  commitDelayMs?: number;
}

interface Operation {
  run: () => unknown;
  accepts: boolean;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

type Result = { value: unknown } | { error: unknown };

/** More would make the first of a burst wait for all the others. */
const MAX_GROUP = 1024;
/** How long the answer to "is there room on the disk" is believed, ms. */
const ROOM_CHECK_MS = 1000;

/** SQLITE_IOERR and SQLITE_FULL, the low byte of the extended code. */
const STORAGE_CODES = new Set([10, 13]);

export class Committer {
  readonly #db: DatabaseSync;
  readonly #hasRoom: () => boolean;
  readonly #onRollback: () => void;
  readonly #failpoints: Failpoints;
  #queue: Operation[] = [];
  #state: "idle" | "scheduled" | "closed" = "idle";
  #roomCheckedAt = Number.NEGATIVE_INFINITY;
  #room = true;
  #late: NodeJS.Timeout | undefined;
  /** Transactions committed and operations in them. */
  readonly statistics = { commits: 0, operations: 0 };

  constructor(options: {
    db: DatabaseSync;
    hasRoom: () => boolean;
    /** Called when an operation was undone, for caches of the database's content. */
    onRollback: () => void;
    failpoints: Failpoints;
  }) {
    this.#db = options.db;
    this.#hasRoom = options.hasRoom;
    this.#onRollback = options.onRollback;
    this.#failpoints = options.failpoints;
  }

  /** True when nothing waits to be committed: a read sees the outcome of every call made so far. */
  get isIdle(): boolean {
    return this.#queue.length === 0;
  }

  /**
   * Runs `run` inside the next transaction. It must be synchronous, and may run twice when the first
   * transaction fails.
   */
  commit<T>(run: () => T, options: OperationOptions = {}): Promise<T> {
    if (this.#state === "closed") return Promise.reject(closedError());
    const accepts = options.accepts === true;
    if (accepts && !this.#checkRoom()) return Promise.reject(fullError());
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#queue.push({ run, accepts, resolve: resolve as (value: unknown) => void, reject });
    this.#schedule();
    return promise;
  }

  /** Commits what is queued; later operations are refused. Idempotent. */
  close(): void {
    while (this.#queue.length > 0) this.#flush();
    if (this.#late !== undefined) this.#commitLate();
    this.#state = "closed";
  }

  #schedule(): void {
    if (this.#state !== "idle") return;
    this.#state = "scheduled";
    setImmediate(() => {
      if (this.#state === "closed") return;
      this.#state = "idle";
      this.#flush();
      if (this.#queue.length > 0) this.#schedule();
    });
  }

  #flush(): void {
    const group = this.#queue.splice(0, MAX_GROUP);
    if (group.length === 0) return;
    const error = this.#transact(group);
    if (error === undefined) return;
    if (!isStorageError(error)) {
      for (const operation of group) operation.reject(error);
      return;
    }
    this.#room = false;
    this.#roomCheckedAt = performance.now();
    const refused = fullError(error);
    for (const { accepts, reject } of group) if (accepts) reject(refused);
    const rest = group.filter(({ accepts }) => !accepts);
    if (rest.length === 0) return;
    if (this.#transact(rest) !== undefined) for (const { reject } of rest) reject(refused);
  }

  /** Commits the group and settles its promises; or undoes all of it and returns the error. */
  #transact(group: readonly Operation[]): unknown {
    let results: Result[];
    try {
      if (!this.#db.isTransaction) this.#db.exec("BEGIN");
      results = group.map((operation) => this.#runOne(operation));
      // Some errors end the whole transaction inside SQLite.
      if (!this.#db.isTransaction) throw results.map(errorOf).findLast(isStorageError);
      this.#endTransaction();
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      this.#onRollback();
      return error ?? new FlashError("INTERNAL", "The store lost its transaction.");
    }
    this.statistics.operations += group.length;
    for (const [index, { resolve, reject }] of group.entries()) {
      const result = results[index];
      if (result === undefined || "error" in result) reject(result?.error);
      else resolve(result.value);
    }
    return undefined;
  }

  #runOne(operation: Operation): Result {
    this.#db.exec("SAVEPOINT one");
    try {
      const value = operation.run();
      this.#db.exec("RELEASE one");
      return { value };
    } catch (error) {
      // A full disk concerns the whole group: see invariant 3.
      if (isStorageError(error)) throw error;
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK TO one; RELEASE one");
      this.#onRollback();
      return { error };
    }
  }

  #endTransaction(): void {
    const { commitDelayMs } = this.#failpoints;
    if (commitDelayMs === undefined) {
      this.#db.exec("COMMIT");
      this.statistics.commits++;
      return;
    }
    this.#late ??= setTimeout(() => this.#commitLate(), commitDelayMs);
  }

  #commitLate(): void {
    clearTimeout(this.#late);
    this.#late = undefined;
    if (this.#db.isTransaction) this.#db.exec("COMMIT");
    this.statistics.commits++;
  }

  #checkRoom(): boolean {
    const now = performance.now();
    if (now - this.#roomCheckedAt >= ROOM_CHECK_MS) {
      this.#roomCheckedAt = now;
      this.#room = this.#hasRoom();
    }
    return this.#room;
  }
}

function errorOf(result: Result): unknown {
  return "error" in result ? result.error : undefined;
}

function isStorageError(error: unknown): boolean {
  const code = (error as { errcode?: unknown } | undefined)?.errcode;
  return typeof code === "number" && STORAGE_CODES.has(code & 0xff);
}

function fullError(cause?: unknown): FlashError {
  return new FlashError("STORAGE_FULL", "The server's disk is full: nothing new is accepted.", {
    hint: "Free some space under FLASH_HOME; running jobs go on meanwhile.",
    ...(cause === undefined ? {} : { cause }),
  });
}

function closedError(): FlashError {
  return new FlashError("UNAVAILABLE", "The server is stopping.", {
    hint: "Try again in a moment.",
  });
}
