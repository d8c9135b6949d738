/** Room on the disk: whether new work may be accepted, and what SQLite says when there is none. */

import { FlashError } from "../../contract/errors.ts";

/** How long the answer to "is there room on the disk" is believed at most, ms … */
const ROOM_CHECK_MS = 1000;
/** … and when the answer was no. */
const NO_ROOM_CHECK_MS = 20;
/** More bytes than a burst of large inputs writes in a millisecond. */
const BURST_PER_MS = 5_000_000;

/** SQLITE_IOERR and SQLITE_FULL, the low byte of the extended code. */
const STORAGE_CODES = new Set([10, 13]);
/** What the system says of the journal. */
const SYSTEM_CODES = new Set<unknown>(["ENOSPC", "EDQUOT"]);

/** The disk that the store is on. */
export interface DiskSpace {
  /** Bytes that new work may take. */
  left(): number;
  /** Makes the room that is kept for other work free. False: there is none. */
  giveUpReserve(): boolean;
}

export class Room {
  readonly #space: DiskSpace | undefined;
  #nextCheckAt = Number.NEGATIVE_INFINITY;
  #isThere = true;

  /** `space` undefined: there is no disk that could be full. */
  constructor(space: DiskSpace | undefined) {
    this.#space = space;
  }

  get isThere(): boolean {
    this.look();
    return this.#isThere;
  }

  /** Looks now and then, and again before a burst could have taken what there was. */
  look(): void {
    const now = performance.now();
    if (this.#space === undefined || now < this.#nextCheckAt) return;
    let left: number;
    try {
      left = this.#space.left();
    } catch {
      // No answer is no reason to stop: writing will tell.
      left = Number.POSITIVE_INFINITY;
    }
    this.#isThere = left > 0;
    this.#nextCheckAt =
      now + (left > 0 ? Math.min(left / BURST_PER_MS, ROOM_CHECK_MS) : NO_ROOM_CHECK_MS);
  }

  /** The disk was full just now. */
  noteFull(): void {
    this.#isThere = false;
    this.#nextCheckAt = performance.now() + ROOM_CHECK_MS;
  }

  /** For what is no new work, when the disk was full. False: nothing was won. */
  giveUpReserve(): boolean {
    return this.#space?.giveUpReserve() === true;
  }
}

/** The disk is full, or did not do what it was told to. */
export function isStorageError(error: unknown): boolean {
  const { errcode, code } = (error ?? {}) as { errcode?: unknown; code?: unknown };
  if (SYSTEM_CODES.has(code)) return true;
  return typeof errcode === "number" && STORAGE_CODES.has(errcode & 0xff);
}

export function fullError(cause?: unknown): FlashError {
  return new FlashError("STORAGE_FULL", "The server's disk is full: nothing new is accepted.", {
    hint: "Free some space under FLASH_HOME; running jobs go on meanwhile.",
    ...(cause === undefined ? {} : { cause }),
  });
}
