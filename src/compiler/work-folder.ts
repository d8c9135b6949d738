/**
 * A folder for what one Project needs on disk while it lives. Each has its own: `flash run` and
 * `flash deploy` may build the same project at the same time.
 */

import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { newId } from "../kit/ids.ts";

const NAME = /^work-(\d+)-/;

/** A path that no other Project has. Nothing is made yet. */
export function workFolderIn(outDir: string): string {
  return join(outDir, `work-${process.pid}-${newId(6)}`);
}

/** Removes the folders of processes that ended without doing so. */
export function sweepWorkFolders(outDir: string): void {
  for (const name of readdirSync(outDir)) {
    const owner = NAME.exec(name)?.[1];
    if (owner !== undefined && !isRunning(Number(owner))) removeWorkFolder(join(outDir, name));
  }
}

export function removeWorkFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Somebody else's process may not be signalled, but it runs.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
