/**
 * Damage: what the files of a store lack when it is opened although it was written. A kill leaves none. A
 * disk that forgets, files of different moments and a power failure do; what is lost with the last of
 * these nobody was told of, unless the store is `relaxed`.
 */

import { copyFileSync } from "node:fs";
import { basename } from "node:path";
import type { Log } from "../../kit/log.ts";

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
