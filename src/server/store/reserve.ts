/**
 * The reserve: a file that keeps a piece of the disk for the end of work. Who fills the disk, the queue or
 * somebody else, fills it around this file; given up, it leaves room for the results of running jobs, for
 * checkpoints, and for opening the database. It is made only when room gets scarce, so that most homes
 * never have one, and as long as it cannot be made nothing new is accepted.
 */

import { randomBytes } from "node:crypto";
import { closeSync, openSync, rmSync, statfsSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { isStorageError, type DiskSpace } from "./room.ts";

const MIB = 1024 * 1024;

/** While new work may take more than this, nobody needs a reserve, bytes. */
const LITTLE_ROOM = 1024 * MIB;
/** The reserve's size, and as much must be free besides, or no job is accepted any more … */
const RESERVE_BYTES = 32 * MIB;
/** … but never more than this share of a small disk. */
const RESERVE_SHARE = 0.05;
/** How long after the system has refused the file it is not asked again, ms. */
const REFUSED_MS = 10_000;

/** The reserve's size on a disk of `totalBytes`; new work leaves as much free besides. */
export function reserveBytes(totalBytes: number): number {
  return Math.floor(Math.min(RESERVE_BYTES, totalBytes * RESERVE_SHARE));
}

export class Reserve implements DiskSpace {
  readonly #home: string;
  readonly #file: string;
  /** Bytes that the file holds. */
  #held: number;
  #refusedUntil = 0;

  constructor(home: string) {
    this.#home = home;
    this.#file = join(home, "flash.reserve");
    this.#held = sizeOf(this.#file);
  }

  /** Bytes that new work may take; makes the file when they are few. */
  left(): number {
    const { bavail, bsize, blocks } = statfsSync(this.#home);
    const size = reserveBytes(blocks * bsize);
    const missing = this.#held >= size ? 0 : size;
    // The write-ahead log is still to be copied into the database.
    const log = sizeOf(join(this.#home, "flash.db-wal"));
    const left = bavail * bsize - missing - size - log;
    if (missing > 0 && left > 0 && left < LITTLE_ROOM) this.#make(size);
    return left;
  }

  /** Gives the file's room to whoever needs it now. False: there is none. */
  giveUpReserve(): boolean {
    if (this.#held === 0) return false;
    this.#held = 0;
    try {
      rmSync(this.#file, { force: true });
      return true;
    } catch {
      return false;
    }
  }

  #make(size: number): void {
    if (performance.now() < this.#refusedUntil) return;
    try {
      write(this.#file, size);
      this.#held = size;
    } catch {
      this.#refusedUntil = performance.now() + REFUSED_MS;
      this.#held = 0;
      rmSync(this.#file, { force: true });
    }
  }
}

/** Runs `run`, and once more without the reserve when the disk was full. */
export function withReserve<T>(space: Pick<DiskSpace, "giveUpReserve">, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!isStorageError(error) || !space.giveUpReserve()) throw error;
    return run();
  }
}

/** Neither a hole nor anything that a file system could compress: that would keep no room. */
function write(file: string, size: number): void {
  const bytes = randomBytes(Math.min(size, MIB));
  const fd = openSync(file, "w", 0o600);
  try {
    for (let at = 0; at < size;) {
      at += writeSync(fd, bytes, 0, Math.min(bytes.length, size - at), at);
    }
  } finally {
    closeSync(fd);
  }
}

/** In bytes; 0 for a file that is not there. */
function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}
