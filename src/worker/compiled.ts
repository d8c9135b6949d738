/**
 * What V8 has compiled of an artifact's code, kept beside it: the next worker of the same artifact
 * reads it instead of compiling again, which is half of the import of a large bundle.
 */

import { enableCompileCache, flushCompileCache } from "node:module";
import path from "node:path";
import { systemClock } from "../kit/clock.ts";

/** In the artifact's folder, with which it goes. */
export const COMPILED_FOLDER = ".compiled";

/** A worker that lives this long writes then, ms; one that ends earlier, when it ends. */
const WRITE_AFTER_MS = 10_000;

/** To be called before the code is imported. Where the folder cannot be written, nothing is kept. */
export function keepCompiled(artifactDir: string): void {
  enableCompileCache(path.join(artifactDir, COMPILED_FOLDER));
  systemClock.after(WRITE_AFTER_MS, flushCompileCache);
}
