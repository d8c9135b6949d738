/** Room on the disk: whether new work may be accepted, and what SQLite says when there is none. */

import { FlashError } from "../../contract/errors.ts";

/** How long the answer to "is there room on the disk" is believed, ms. */
const ROOM_CHECK_MS = 1000;

/** SQLITE_IOERR and SQLITE_FULL, the low byte of the extended code. */
const STORAGE_CODES = new Set([10, 13]);

export class Room {
  readonly #hasRoom: () => boolean;
  #checkedAt = Number.NEGATIVE_INFINITY;
  #isThere = true;

  constructor(hasRoom: () => boolean) {
    this.#hasRoom = hasRoom;
  }

  /** Looks now and then. */
  get isThere(): boolean {
    const now = performance.now();
    if (now - this.#checkedAt >= ROOM_CHECK_MS) {
      this.#checkedAt = now;
      this.#isThere = this.#hasRoom();
    }
    return this.#isThere;
  }

  /** The disk was full just now. */
  noteFull(): void {
    this.#isThere = false;
    this.#checkedAt = performance.now();
  }
}

export function isStorageError(error: unknown): boolean {
  const code = (error as { errcode?: unknown } | undefined)?.errcode;
  return typeof code === "number" && STORAGE_CODES.has(code & 0xff);
}

export function fullError(cause?: unknown): FlashError {
  return new FlashError("STORAGE_FULL", "The server's disk is full: nothing new is accepted.", {
    hint: "Free some space under FLASH_HOME; running jobs go on meanwhile.",
    ...(cause === undefined ? {} : { cause }),
  });
}
