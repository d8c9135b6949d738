/**
 * Group commit: operations that arrive together are written together, and flushed to the disk together.
 *
 * Invariants:
 *   1. A promise resolves after what its operation did was written, and, where a disk is to be waited
 *      for, after a flush has forced that to it. The exception are operations that are told `early`.
 *   2. An operation that throws changes nothing and does not disturb the others of its group.
 *   3. When the disk is full, operations that accept new work fail first, so that the rest can use
 *      what room is left; and when that is not enough, the rest has the reserve's.
 *   4. After a flush that failed nothing is acknowledged any more: what the disk holds is unknown.
 *   5. Operations take effect in the order in which they came.
 *
 * A group is closed in the check phase of the event loop: everything that was read from sockets in
 * one turn is in it, and a lone operation waits for nothing.
 *
 * An operation on recent jobs alone goes to the journal. Any other is part of the group's transaction;
 * when it concerns recent jobs, a checkpoint puts these into the database first.
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import { FlashError } from "../../contract/errors.ts";
import type { StoreMeasures } from "../../contract/store.ts";
import { Histogram } from "../../kit/histogram.ts";
import type { Disk } from "./disk.ts";
import { Flusher, type Written } from "./flusher.ts";
import { isEarly, refuse, tell, Undone, type Early, type Operation } from "./operation.ts";
import { withReserve } from "./reserve.ts";
import { fullError, isStorageError, Room, type DiskSpace } from "./room.ts";

export interface OperationOptions {
  /** The operation accepts new work, and is refused when the disk is full. */
  accepts?: boolean;
  early?: Early;
  /** Makes the move on recent jobs alone. {@link DATABASE}: nothing was done, the operation itself has to. */
  recent?: () => unknown;
  /** Whether the operation itself concerns recent jobs. Default: it does. */
  concernsRecent?: () => boolean;
}

/** Says that a move is one for the database. */
export const DATABASE: unique symbol = Symbol("database");

/** Faults for tests. */
export interface Failpoints {
  /**
   * Breaks invariant 1: operations are acknowledged, and written this many milliseconds later.
   * Shows that the crash tests would notice.
   */
  commitDelayMs?: number;
}

/** The jobs that are not in the database yet: see recent-jobs. */
export interface Recent {
  readonly size: number;
  readonly isFull: boolean;
  write(): boolean;
  undo(): void;
  prepare(isForAll: boolean): boolean;
  checkpoint(): void;
  forget(): void;
}

export interface CommitterOptions {
  db: DatabaseSync;
  /** Undefined: nobody waits for one. */
  disk: Disk | undefined;
  recent: Recent;
  /** Undefined: nothing of it is on a disk. */
  space: DiskSpace | undefined;
  /** Called inside a transaction, after its operations: for what is written once for all of them. */
  beforeCommit: () => void;
  /** Called when a transaction has been committed. */
  afterCommit: () => void;
  /** Called when an operation was undone, for caches of the database's content. */
  onRollback: () => void;
  failpoints?: Failpoints;
}

const GROUP_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
const COMMIT_SECONDS = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1];

/** The journal could not be written. */
class JournalFailure extends Error {}

/** More would make the first of a burst wait for all the others. */
const MAX_GROUP = 1024;
/** How long after it has refused something the journal is not written to, ms. */
const JOURNAL_PAUSE_MS = 1000;

export class Committer {
  readonly #options: CommitterOptions;
  readonly #db: DatabaseSync;
  readonly #recent: Recent;
  readonly #flusher: Flusher | undefined;
  readonly #changes: StatementSync;
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  /** Rows ever changed, after the last group; undefined when nobody has looked. */
  #rows: unknown;
  #queue: Operation[] = [];
  #isScheduled = false;
  /** Why nothing is taken any more. */
  #end: FlashError | undefined;
  readonly #room: Room;
  #journalPausedUntil = 0;
  /** A mark of the database's log. */
  #lastCheckpoint = 0;
  #late: NodeJS.Timeout | undefined;
  readonly #statistics = { commits: 0, operations: 0 };
  readonly #groupSizes = new Histogram(GROUP_SIZES);
  readonly #commitSeconds = new Histogram(COMMIT_SECONDS);

  constructor(options: CommitterOptions) {
    const { db, disk, recent } = options;
    this.#options = options;
    this.#db = db;
    this.#recent = recent;
    this.#room = new Room(options.space);
    this.#flusher = disk && new Flusher({ disk, onFailure: (cause) => this.#fail(cause) });
    this.#changes = db.prepare("SELECT total_changes() AS rows");
    this.#rows = this.#rowsChanged();
    this.#begin = db.prepare("BEGIN");
    this.#commit = db.prepare("COMMIT");
  }

  /** Transactions committed, operations that were written, and operations that are not yet acknowledged. */
  get statistics(): Readonly<{ commits: number; operations: number; pending: number }> {
    const pending = this.#queue.length + (this.#flusher?.pending ?? 0);
    return { ...this.#statistics, pending };
  }

  get measures(): StoreMeasures {
    const { pending } = this.statistics;
    return { pending, groupSizes: this.#groupSizes, commitSeconds: this.#commitSeconds };
  }

  /** True when nothing waits to be written: a read sees the outcome of every call made so far. */
  get isIdle(): boolean {
    return this.#queue.length === 0;
  }

  /** Resolves when everything that a read could have seen until now is on the disk. */
  get durable(): Promise<void> {
    return this.#flusher?.flushed() ?? Promise.resolve();
  }

  /**
   * Runs `run` inside the next transaction. It must be synchronous, and may run twice when the first
   * transaction fails.
   */
  commit<T>(run: () => T, options: OperationOptions = {}): Promise<T> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    const { accepts = false, early, recent, concernsRecent } = options;
    if (accepts && !this.#room.isThere) return Promise.reject(fullError());
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#queue.push({
      run,
      recent,
      concernsRecent,
      accepts,
      early,
      resolve: resolve as (value: unknown) => void,
      reject,
      value: undefined,
      place: "nowhere",
    });
    this.#schedule();
    return promise;
  }

  /** For reads of many jobs: puts the recent ones into the database. Not to be called by operations. */
  settleRecent(): void {
    if (this.#recent.size > 0) this.settleAll();
  }

  /** {@link settleRecent}, and the journal's next generation begins even when there are none. */
  settleAll(): void {
    try {
      this.#checkpoint(true);
    } catch (error) {
      throw isStorageError(error) ? fullError(error) : error;
    }
  }

  /** Writes what is queued; later operations are refused. Idempotent. */
  async close(): Promise<void> {
    this.#end ??= new FlashError("UNAVAILABLE", "The server is stopping.", {
      hint: "Try again in a moment.",
    });
    while (this.#queue.length > 0) this.#commitGroup();
    if (this.#late !== undefined) this.#commitLate();
    await this.#flusher?.flushed().catch(() => undefined);
    try {
      this.settleRecent();
    } catch {
      // The journal has them: the next start finds them there.
    }
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#commitGroup();
    });
  }

  #commitGroup(): void {
    if (this.#queue.length === 0) return;
    // The reserve has to be there before somebody else has filled the disk, even when nothing new comes.
    this.#room.look();
    if (this.#recent.isFull) this.#tryCheckpoint({ isForAll: false });
    const startedAt = performance.now();
    const group = this.#queue.splice(0, MAX_GROUP);
    const hasJournaled = this.#write(group);
    const left = group.filter(({ place }) => place === "nowhere");
    const done = left.length === 0 ? group : group.filter(({ place }) => place !== "nowhere");
    this.#queue.unshift(...left);
    if (this.#queue.length > 0) this.#schedule();
    this.#acknowledge(done, { hasJournaled, startedAt });
  }

  /** Tells early ones at once, and the others when the disk has what they did. */
  #acknowledge(
    done: readonly Operation[],
    { hasJournaled, startedAt }: { hasJournaled: boolean; startedAt: number },
  ): void {
    const hasChanges = this.#hasChanged(done);
    const { disk } = this.#options;
    if (hasJournaled) disk?.journal.wrote();
    if (hasChanges) disk?.log.wrote();
    const early = done.filter(isEarly);
    for (const operation of early) tell(operation);
    const others = early.length === 0 ? done : done.filter((operation) => !isEarly(operation));
    if (others.length === 0) return;
    const written: Written = {
      size: others.length,
      isInLog: hasChanges || !hasJournaled,
      tell: () => {
        for (const operation of others) tell(operation);
        if (hasJournaled || hasChanges) this.#measure(done.length, startedAt);
      },
      refuse: (error) => {
        for (const { reject } of others) reject(error);
      },
    };
    // Who changed nothing may have read what is not on the disk yet.
    if (this.#flusher === undefined || disk?.isDirty !== true) written.tell();
    else this.#flusher.add(written);
  }

  #measure(size: number, startedAt: number): void {
    this.#groupSizes.observe(size);
    this.#commitSeconds.observe((performance.now() - startedAt) / 1000);
  }

  /** See invariant 4. */
  #fail(cause: unknown): FlashError {
    this.#end = new FlashError("UNAVAILABLE", "The server's disk has failed to keep data.", {
      hint: "Look at the disk, then start the server again: it goes on with what the disk has kept.",
      cause,
    });
    for (const { reject } of this.#queue.splice(0)) reject(this.#end);
    return this.#end;
  }

  /**
   * Runs what of a group can run before the next checkpoint, and writes it; the rest is left nowhere.
   * True: some of it was written to the journal.
   */
  #write(group: readonly Operation[]): boolean {
    let hasJournaled = false;
    const attempt = (isCareful: boolean): void => {
      this.#runEach(group, isCareful);
      if (this.#db.isTransaction) this.#options.beforeCommit();
      hasJournaled = this.#writeJournal(group) || hasJournaled;
      this.#endTransaction();
    };
    try {
      // What an earlier group has done in this transaction must not be undone.
      attempt(this.#db.isTransaction);
    } catch (error) {
      this.#undoTransaction(group);
      if (error instanceof JournalFailure) {
        // Without a journal all of it is for the database, and comes again.
        this.#undoRecent(group);
        return hasJournaled;
      }
      if (isStorageError(error)) this.#refuseNew(group, error);
      this.#attemptAgain(group, () => attempt(true));
    }
    return hasJournaled;
  }

  /** At most twice: what one reserve cannot make possible is refused. */
  #attemptAgain(group: readonly Operation[], attempt: () => void): void {
    try {
      attempt();
    } catch (error) {
      this.#undoTransaction(group);
      const isFull = isStorageError(error);
      if (isFull && this.#room.giveUpReserve()) {
        this.#refuseNew(group, error);
        this.#attemptAgain(group, attempt);
        return;
      }
      this.#undoRecent(group);
      refuse(group, isFull ? fullError(error) : error);
    }
  }

  /** `isCareful`: each operation of the transaction can be undone by itself. */
  #runEach(group: readonly Operation[], isCareful: boolean): void {
    const mayJournal = performance.now() >= this.#journalPausedUntil;
    for (let index = 0; index < group.length; index++) {
      const operation = group[index];
      if (operation === undefined || operation.place !== "nowhere") continue;
      if (mayJournal && this.#runRecent(operation)) continue;
      if (this.#concernsRecent(operation)) {
        if (index > 0) return;
        if (!this.#tryCheckpoint({ isForAll: true, operation })) continue;
      }
      if (!this.#db.isTransaction) this.#begin.run();
      operation.value = isCareful ? this.#runOne(operation) : operation.run();
      operation.place = "database";
    }
  }

  /** False: it is for the database. */
  #runRecent(operation: Operation): boolean {
    const value = operation.recent === undefined ? DATABASE : operation.recent();
    if (value === DATABASE) return false;
    operation.value = value;
    operation.place = "memory";
    return true;
  }

  #concernsRecent({ concernsRecent }: Operation): boolean {
    return this.#recent.size > 0 && (concernsRecent === undefined || concernsRecent());
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

  #writeJournal(group: readonly Operation[]): boolean {
    if (this.#isLate) return false;
    let hasWritten: boolean;
    try {
      hasWritten = this.#recent.write();
    } catch (cause) {
      throw new JournalFailure("the journal could not be written", { cause });
    }
    for (const operation of group) if (operation.place === "memory") operation.place = "journal";
    return hasWritten;
  }

  #endTransaction(): void {
    if (this.#isLate) {
      this.#late ??= setTimeout(() => this.#commitLate(), this.#options.failpoints?.commitDelayMs);
    } else if (this.#db.isTransaction) this.#commitNow();
  }

  #commitNow(): void {
    this.#commit.run();
    this.#statistics.commits++;
    this.#options.afterCommit();
  }

  get #isLate(): boolean {
    return this.#options.failpoints?.commitDelayMs !== undefined;
  }

  #commitLate(): void {
    clearTimeout(this.#late);
    this.#late = undefined;
    this.#recent.write();
    if (this.#db.isTransaction) this.#commitNow();
  }

  #undoTransaction(group: readonly Operation[]): void {
    if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
    this.#options.onRollback();
    for (const operation of group) if (operation.place === "database") operation.place = "nowhere";
  }

  /** What the journal does not have. */
  #undoRecent(group: readonly Operation[]): void {
    this.#recent.undo();
    this.#journalPausedUntil = performance.now() + JOURNAL_PAUSE_MS;
    for (const operation of group) if (operation.place === "memory") operation.place = "nowhere";
  }

  /** See invariant 3. */
  #refuseNew(group: readonly Operation[], error: unknown): void {
    this.#room.noteFull();
    refuse(
      group.filter(({ accepts }) => accepts),
      fullError(error),
    );
  }

  /** False: it was not possible, and the operation that wanted it is refused. */
  #tryCheckpoint({ isForAll, operation }: { isForAll: boolean; operation?: Operation }): boolean {
    try {
      this.#checkpoint(isForAll);
      return true;
    } catch (error) {
      const isFull = isStorageError(error);
      if (isFull) this.#room.noteFull();
      if (operation !== undefined) refuse([operation], isFull ? fullError(error) : error);
      return false;
    }
  }

  /**
   * Puts recent jobs into the database, whether the journal has them or not; unless it is `isForAll`, a few
   * that are not over stay recent.
   */
  #checkpoint(isForAll: boolean): void {
    withReserve(this.#room, () => this.#checkpointOnce(isForAll));
  }

  #checkpointOnce(isForAll: boolean): void {
    if (this.#late !== undefined) this.#commitLate();
    const { disk, beforeCommit, onRollback } = this.#options;
    // The half of the journal that is next may be all that has what the last checkpoint wrote.
    if (disk?.log.isFlushed(this.#lastCheckpoint) === false) this.#flusher?.force("log");
    if (this.#recent.prepare(isForAll)) {
      disk?.journal.wrote();
      this.#flusher?.force("journal");
    }
    this.#begin.run();
    try {
      this.#recent.checkpoint();
      beforeCommit();
      this.#commitNow();
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      onRollback();
      throw error;
    }
    this.#recent.forget();
    this.#rows = undefined;
    disk?.log.wrote();
    this.#lastCheckpoint = disk?.log.mark ?? 0;
    void this.#flusher?.flushLog();
  }

  /** Nobody else writes, so that a look after the group tells; it costs as much as a move. */
  #hasChanged(group: readonly Operation[]): boolean {
    const changing = group.filter(({ place }) => place === "database");
    if (changing.length === 0) return false;
    if (this.#rows === undefined || changing.some(({ accepts }) => accepts)) {
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
}
