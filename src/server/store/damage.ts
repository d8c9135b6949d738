/**
 * Damage: what the files of a store lack when it is opened although it was written. A kill leaves none. A
 * disk that forgets, files of different moments and a power failure do; what is lost with the last of
 * these nobody was told of, unless the store is `relaxed`.
 */

import { copyFileSync } from "node:fs";
import { basename } from "node:path";
import { FlashError } from "../../contract/errors.ts";
import type { Log } from "../../kit/log.ts";

/** SQLITE_CORRUPT and SQLITE_NOTADB. */
const DAMAGE_CODES = new Set<unknown>([11, 26]);

export interface Damage {
  file: string;
  reason: string;
}

/** Says it, and keeps the file as it is beside the one that will be written over. */
export function reportDamage({ file, reason }: Damage, log: Log | undefined): void {
  const copy = `${file}.damaged`;
  let kept: string | undefined;
  try {
    copyFileSync(file, copy);
    kept = copy;
  } catch {
    // On a full disk the store is opened all the same.
  }
  log?.error(`${basename(file)} is damaged: ${reason}`, { file, ...(kept && { kept }) });
}

/** SQLite cannot read what is in its file. */
export function isDamageError(error: unknown): boolean {
  const { errcode } = (error ?? {}) as { errcode?: unknown };
  return typeof errcode === "number" && DAMAGE_CODES.has(errcode & 0xff);
}

export function damagedError(file: string, cause: unknown): FlashError {
  return new FlashError("INTERNAL", `${file} is damaged: ${(cause as Error).message}.`, {
    hint: "Put back a copy of the whole FLASH_HOME, or see what 'sqlite3 flash.db .recover' finds.",
    cause,
  });
}
