/**
 * Flushing: when what has been written is forced to the disk, and who is told then.
 *
 * Invariants:
 *   1. Who was added is told after a flush that began after it was added, in order.
 *   2. After a flush that failed nobody is told anything but that: what the disk holds is unknown.
 *
 * A disk that flushes quicker than another thread could be asked to is simply waited for, when little
 * else goes on. With any other, and after large groups, the flush runs outside the event loop, which has
 * requests to read meanwhile; what is added during a flush is told after the next one.
 */

import type { Disk } from "./disk.ts";

/** Operations that have been written. */
export interface Written {
  /** How many they are. */
  readonly size: number;
  /** Some of it was written to the database's log, and not only to the journal. */
  readonly isInLog: boolean;
  tell(): void;
  refuse(error: unknown): void;
}

export interface FlusherOptions {
  disk: Disk;
  /** Called once, when a flush has failed. Returns what those are told who waited for it. */
  onFailure: (cause: unknown) => Error;
}

/** After a group of more operations there are more requests to read than a flush is worth waiting for. */
const MAX_WAITED_GROUP = 6;
/** The event loop waits for flushes while they take less than this, ms … */
const QUICK_FLUSH_MS = 0.5;
/** … but for this many slower ones in a row: a busy processor makes a quick disk look slow, even often. */
const MAX_SLOW_FLUSHES = 50;
/** After those it waits for none in this time, ms; then it begins anew. */
const WARY_MS = 30_000;

const NOTHING = -1;

export class Flusher {
  readonly #options: FlusherOptions;
  /** They wait for the next flush, or for the one that is under way. */
  #waiting: Written[] = [];
  #flushed: Written[] = [];
  #flushing: Promise<void> | undefined;
  /** What everybody is told from now on. */
  #failure: Error | undefined;
  /** What the flush that is under way covers, a mark of the disk; {@link NOTHING} of the log. */
  #covered = NOTHING;
  /** Slow flushes in a row. */
  #slowFlushes = 0;
  /** Until when flushes are not waited for. */
  #waryUntil = 0;

  constructor(options: FlusherOptions) {
    this.#options = options;
  }

  /** Forces the database's log to the disk although nobody waits for it. A failure is everybody's. */
  async flushLog(): Promise<void> {
    try {
      await this.#options.disk.log.flush();
    } catch (cause) {
      // The system tells of it only once: the next flush may succeed.
      this.#fail(cause);
    }
  }

  /** Forces a file to the disk before anything else is done. Throws what everybody is told when that fails. */
  force(file: "journal" | "log"): void {
    try {
      this.#options.disk[file].flushNow();
    } catch (cause) {
      throw this.#fail(cause);
    }
  }

  /** Operations that have not been told. */
  get pending(): number {
    return sizeOf(this.#waiting) + sizeOf(this.#flushed);
  }

  /** Tells `written` when it is on the disk; maybe before this returns. */
  add(written: Written): void {
    if (this.#failure !== undefined) written.refuse(this.#failure);
    else if (this.#flushing === undefined && this.#isWorthWaiting(written)) this.#flushNow(written);
    else {
      this.#waiting.push(written);
      this.#start();
    }
  }

  /** Resolves when everything that has been written until now is on the disk. */
  async flushed(): Promise<void> {
    const { disk } = this.#options;
    if (this.#failure !== undefined) throw this.#failure;
    if (!disk.isDirty) return;
    await new Promise<void>((resolve, reject) => {
      const one = { size: 0, isInLog: true, tell: resolve, refuse: reject };
      const isUnderWay = this.#flushing !== undefined && this.#covered === disk.mark;
      (isUnderWay ? this.#flushed : this.#waiting).push(one);
      this.#start();
    });
  }

  #isWorthWaiting({ size }: Written): boolean {
    return size <= MAX_WAITED_GROUP && performance.now() >= this.#waryUntil;
  }

  #flushNow(written: Written): void {
    const started = performance.now();
    try {
      this.#options.disk.flushNow(written.isInLog);
    } catch (cause) {
      written.refuse(this.#fail(cause));
      return;
    }
    const ended = performance.now();
    this.#slowFlushes = ended - started > QUICK_FLUSH_MS ? this.#slowFlushes + 1 : 0;
    if (this.#slowFlushes >= MAX_SLOW_FLUSHES) {
      this.#slowFlushes = 0;
      this.#waryUntil = ended + WARY_MS;
    }
    written.tell();
  }

  /** See invariant 2. */
  #fail(cause: unknown): Error {
    this.#failure ??= this.#options.onFailure(cause);
    for (const one of [...this.#flushed, ...this.#waiting]) one.refuse(this.#failure);
    [this.#flushed, this.#waiting] = [[], []];
    return this.#failure;
  }

  #start(): void {
    this.#flushing ??= this.#flushAll().finally(() => {
      this.#flushing = undefined;
      // Somebody may have come since the last look.
      if (this.#waiting.length > 0) this.#start();
    });
  }

  async #flushAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      [this.#flushed, this.#waiting] = [this.#waiting, []];
      const { disk } = this.#options;
      const withLog = this.#flushed.some(({ isInLog }) => isInLog);
      this.#covered = withLog ? disk.mark : NOTHING;
      try {
        await disk.flush(withLog);
      } catch (cause) {
        this.#fail(cause);
        return;
      }
      const told = this.#flushed;
      this.#flushed = [];
      for (const one of told) one.tell();
    }
  }
}

function sizeOf(all: readonly Written[]): number {
  return all.reduce((sum, { size }) => sum + size, 0);
}
