/**
 * Group commit: operations that arrive together share one transaction and one flush to disk.
 *
 * Invariants:
 *   1. A promise resolves after the COMMIT that holds its operation has returned and, when there is a
 *      `flush`, after that has forced it to the disk.
 *   2. An operation that throws changes nothing and does not disturb the others of its group.
 *   3. When the disk is full, operations that accept new work fail first, so that the rest can use
 *      what room is left.
 *   4. After a flush that failed nothing is acknowledged any more: what the disk holds is unknown.
 *
 * A group is closed in the check phase of the event loop: everything that was read from sockets in
 * one turn is in it, and a lone operation waits for nothing.
 *
 * A disk that flushes quicker than another thread could be asked to is simply waited for, when little
 * else goes on. With any other, and after large groups, the flush runs outside the event loop, which has
 * requests to read meanwhile; what arrives during a flush becomes the next group.
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import { FlashError } from "../../contract/errors.ts";
import type { StoreMeasures } from "../../contract/store.ts";
import { Histogram } from "../../kit/histogram.ts";

export interface OperationOptions {
  /** The operation accepts new work, and is refused when the disk is full. */
  accepts?: boolean;
  /** Told before the others of its group: somebody can go on working while they are told. */
  first?: boolean;
}

/** Faults for tests. */
export interface Failpoints {
  /**
   * Breaks invariant 1: operations are acknowledged, and committed this many milliseconds later.
   * Shows that the crash tests would notice.
   */
  commitDelayMs?: number;
}

export interface CommitterOptions {
  db: DatabaseSync;
  /** Forces what has been committed to the disk. */
  flush?: (() => Promise<void>) | undefined;
  /** The same, while the event loop waits. */
  flushNow?: (() => void) | undefined;
  /** False when the disk has too little room for new work. */
  hasRoom: () => boolean;
  /** Called inside a transaction, after its operations: for what is written once for all of them. */
  beforeCommit: () => void;
  /** Called when an operation was undone, for caches of the database's content. */
  onRollback: () => void;
  failpoints?: Failpoints;
}

interface Operation {
  run: () => unknown;
  accepts: boolean;
  first: boolean;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

/** A group whose transaction has been committed; `values` are its operations', in order. */
interface Committed {
  group: readonly Operation[];
  values: readonly unknown[];
  hasChanges: boolean;
}

const GROUP_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
const COMMIT_SECONDS = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1];

/** In place of the value of an operation that was undone. */
class Undone {
  readonly error: unknown;

  constructor(error: unknown) {
    this.error = error;
  }
}

/** More would make the first of a burst wait for all the others. */
const MAX_GROUP = 1024;
/** How long the answer to "is there room on the disk" is believed, ms. */
const ROOM_CHECK_MS = 1000;

/** After a group of more operations there are more requests to read than a flush is worth waiting for. */
const MAX_WAITED_GROUP = 6;
/** The event loop waits for flushes while they take less than this, ms … */
const QUICK_FLUSH_MS = 0.5;
/** … but for this many slower ones in a row: a busy processor makes a quick disk look slow, even often. */
const MAX_SLOW_FLUSHES = 50;
/** After those it waits for none in this time, ms; then it begins anew. */
const WARY_MS = 30_000;

/** SQLITE_IOERR and SQLITE_FULL, the low byte of the extended code. */
const STORAGE_CODES = new Set([10, 13]);

export class Committer {
  readonly #options: CommitterOptions;
  readonly #db: DatabaseSync;
  readonly #changes: StatementSync;
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  /** Rows ever changed, after the last group; undefined when nobody has looked. */
  #rows: unknown;
  #queue: Operation[] = [];
  #isScheduled = false;
  #flushing: Promise<void> | undefined;
  /** Why nothing is taken any more. */
  #end: FlashError | undefined;
  #roomCheckedAt = Number.NEGATIVE_INFINITY;
  #room = true;
  #late: NodeJS.Timeout | undefined;
  /** Slow flushes in a row. */
  #slowFlushes = 0;
  /** Until when flushes are not waited for. */
  #waryUntil = 0;
  /** Operations whose flush is under way. */
  #flushed = 0;
  readonly #statistics = { commits: 0, operations: 0 };
  readonly #groupSizes = new Histogram(GROUP_SIZES);
  readonly #commitSeconds = new Histogram(COMMIT_SECONDS);

  constructor(options: CommitterOptions) {
    this.#options = options;
    this.#db = options.db;
    this.#changes = options.db.prepare("SELECT total_changes() AS rows");
    this.#rows = this.#rowsChanged();
    this.#begin = options.db.prepare("BEGIN");
    this.#commit = options.db.prepare("COMMIT");
  }

  /** Transactions committed, operations in them, and operations that are not yet acknowledged. */
  get statistics(): Readonly<{ commits: number; operations: number; pending: number }> {
    return { ...this.#statistics, pending: this.#queue.length + this.#flushed };
  }

  get measures(): StoreMeasures {
    const { pending } = this.statistics;
    return { pending, groupSizes: this.#groupSizes, commitSeconds: this.#commitSeconds };
  }

  /** True when nothing waits to be committed: a read sees the outcome of every call made so far. */
  get isIdle(): boolean {
    return this.#queue.length === 0;
  }

  /** Resolves when everything that a read could have seen until now is on the disk. */
  get durable(): Promise<void> {
    return this.#flushing ?? Promise.resolve();
  }

  /**
   * Runs `run` inside the next transaction. It must be synchronous, and may run twice when the first
   * transaction fails.
   */
  commit<T>(run: () => T, options: OperationOptions = {}): Promise<T> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    const accepts = options.accepts === true;
    if (accepts && !this.#checkRoom()) return Promise.reject(fullError());
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const first = options.first === true;
    this.#queue.push({ run, accepts, first, resolve: resolve as (value: unknown) => void, reject });
    this.#schedule();
    return promise;
  }

  /** Commits what is queued; later operations are refused. Idempotent. */
  async close(): Promise<void> {
    this.#end ??= new FlashError("UNAVAILABLE", "The server is stopping.", {
      hint: "Try again in a moment.",
    });
    for (;;) {
      await this.#flushing;
      if (this.#queue.length === 0) break;
      this.#commitGroup();
    }
    if (this.#late !== undefined) this.#commitLate();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#flushing !== undefined) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (this.#flushing === undefined) this.#commitGroup();
    });
  }

  #commitGroup(): void {
    const group = this.#queue.splice(0, MAX_GROUP);
    const startedAt = performance.now();
    const committed = group.length === 0 ? undefined : this.#transactOrRefuse(group);
    const { flush } = this.#options;
    if (committed !== undefined && (flush === undefined || !committed.hasChanges)) {
      settle(committed);
      if (committed.hasChanges) this.#measure(committed, startedAt);
    } else if (committed !== undefined && flush !== undefined) {
      if (this.#persistNow(committed)) this.#measure(committed, startedAt);
      else {
        this.#flushing = this.#persist(committed, flush).finally(() =>
          this.#measure(committed, startedAt),
        );
      }
    }
    if (this.#queue.length > 0) this.#schedule();
  }

  #measure({ group }: Committed, startedAt: number): void {
    this.#groupSizes.observe(group.length);
    this.#commitSeconds.observe((performance.now() - startedAt) / 1000);
  }

  /** False when there is better to do than to wait for the disk. */
  #persistNow(committed: Committed): boolean {
    const { flushNow } = this.#options;
    const started = performance.now();
    if (flushNow === undefined || started < this.#waryUntil) return false;
    if (committed.group.length > MAX_WAITED_GROUP) return false;
    try {
      flushNow();
    } catch (cause) {
      this.#fail(committed, cause);
      return true;
    }
    const ended = performance.now();
    this.#slowFlushes = ended - started > QUICK_FLUSH_MS ? this.#slowFlushes + 1 : 0;
    if (this.#slowFlushes >= MAX_SLOW_FLUSHES) {
      this.#slowFlushes = 0;
      this.#waryUntil = ended + WARY_MS;
    }
    settle(committed);
    return true;
  }

  async #persist(committed: Committed, flush: () => Promise<void>): Promise<void> {
    this.#flushed = committed.group.length;
    try {
      await flush();
      settle(committed);
    } catch (cause) {
      this.#fail(committed, cause);
    } finally {
      this.#flushing = undefined;
      this.#flushed = 0;
    }
    // After the continuations of what has just been settled: what they ask for joins the next group.
    if (this.#queue.length > 0) this.#schedule();
  }

  /** See invariant 4. */
  #fail(committed: Committed, cause: unknown): void {
    this.#end = new FlashError("UNAVAILABLE", "The server's disk has failed to keep data.", {
      hint: "Look at the disk, then start the server again: it goes on with what the disk has kept.",
      cause,
    });
    for (const { reject } of [...committed.group, ...this.#queue.splice(0)]) reject(this.#end);
  }

  #transactOrRefuse(group: readonly Operation[]): Committed | undefined {
    try {
      return this.#transact(group);
    } catch (error) {
      if (!isStorageError(error)) {
        for (const { reject } of group) reject(error);
        return undefined;
      }
      return this.#withoutRoom(group, fullError(error));
    }
  }

  /** See invariant 3. */
  #withoutRoom(group: readonly Operation[], refusal: FlashError): Committed | undefined {
    this.#room = false;
    this.#roomCheckedAt = performance.now();
    for (const { accepts, reject } of group) if (accepts) reject(refusal);
    const rest = group.filter(({ accepts }) => !accepts);
    if (rest.length === 0) return undefined;
    try {
      return this.#transact(rest);
    } catch {
      for (const { reject } of rest) reject(refusal);
      return undefined;
    }
  }

  /** Commits the group, or undoes all of it and throws. */
  #transact(group: readonly Operation[]): Committed {
    try {
      const values = this.#runTogether(group) ?? group.map((operation) => this.#runOne(operation));
      this.#endTransaction();
      this.#statistics.operations += group.length;
      return { group, values, hasChanges: this.#hasChanged(group) };
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      this.#options.onRollback();
      throw error;
    }
  }

  /**
   * Runs a group whose operations all succeed, as they nearly always do. Undefined, and nothing is
   * done, when one of them fails: then each has to be undone by itself.
   */
  #runTogether(group: readonly Operation[]): unknown[] | undefined {
    // What an earlier group has done in this transaction must not be undone.
    if (this.#db.isTransaction) return undefined;
    this.#begin.run();
    try {
      const values = group.map(({ run }) => run());
      this.#options.beforeCommit();
      return values;
    } catch (error) {
      if (isStorageError(error)) throw error;
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      this.#options.onRollback();
      this.#begin.run();
      return undefined;
    }
  }

  #runOne(operation: Operation): unknown {
    this.#db.exec("SAVEPOINT one");
    try {
      const value = operation.run();
      this.#options.beforeCommit();
      this.#db.exec("RELEASE one");
      return value;
    } catch (error) {
      // A full disk concerns the whole group; and some errors end the transaction inside SQLite.
      if (isStorageError(error) || !this.#db.isTransaction) throw error;
      this.#db.exec("ROLLBACK TO one; RELEASE one");
      this.#options.onRollback();
      return new Undone(error);
    }
  }

  #endTransaction(): void {
    const commitDelayMs = this.#options.failpoints?.commitDelayMs;
    if (commitDelayMs === undefined) {
      this.#commit.run();
      this.#statistics.commits++;
    } else this.#late ??= setTimeout(() => this.#commitLate(), commitDelayMs);
  }

  #commitLate(): void {
    clearTimeout(this.#late);
    this.#late = undefined;
    if (this.#db.isTransaction) this.#db.exec("COMMIT");
    this.#statistics.commits++;
  }

  /** Nobody else writes, so that a look after the group tells; it costs as much as a move. */
  #hasChanged(group: readonly Operation[]): boolean {
    if (group.some(({ accepts }) => accepts)) {
      this.#rows = undefined;
      return true;
    }
    const before = this.#rows;
    this.#rows = this.#rowsChanged();
    return this.#rows !== before;
  }

  #rowsChanged(): unknown {
    return this.#changes.get()?.["rows"];
  }

  #checkRoom(): boolean {
    const now = performance.now();
    if (now - this.#roomCheckedAt >= ROOM_CHECK_MS) {
      this.#roomCheckedAt = now;
      this.#room = this.#options.hasRoom();
    }
    return this.#room;
  }
}

function settle(committed: Committed): void {
  tell(committed, true);
  tell(committed, false);
}

function tell({ group, values }: Committed, isFirst: boolean): void {
  for (let index = 0; index < group.length; index++) {
    const operation = group[index];
    if (operation?.first !== isFirst) continue;
    const value = values[index];
    if (value instanceof Undone) operation.reject(value.error);
    else operation.resolve(value);
  }
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
