/** Folders that are made with those above them. */

import { existsSync, mkdirSync, statSync } from "node:fs";
import path from "node:path";

/**
 * Makes a folder, and what is missing above it, unless it is there. Node's own recursive mkdir never
 * returns where a file system says that a folder does not exist in which nothing can be made, as below
 * `/proc`. Throws what the file system says.
 */
export function makeFolder(folder: string, mode = 0o777): void {
  try {
    mkdirSync(folder, { mode });
  } catch (error) {
    if (isFolder(folder)) return;
    const above = path.dirname(folder);
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    if (!isMissing || existsSync(above)) throw error;
    makeFolder(above, mode);
    makeFolder(folder, mode);
  }
}

function isFolder(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isDirectory() === true;
}
