/** Our own package as installed: where it is, and which version. */

import { readFileSync } from "node:fs";
import path from "node:path";
// `import.meta.dirname` is missing on Node 18, where `flash init` and `--help` still work.
import { fileURLToPath } from "node:url";

/** Folder of the installed package; `src/cli` and `dist/cli` are equally deep in it. */
export const PACKAGE_ROOT: string = path.resolve(
  path.dirname(fileURLToPath(import.meta.url)),
  "../..",
);

/** The program: its source in the checkout, its bundle in the package. */
export const ENTRY_FILE: string = path.join(
  PACKAGE_ROOT,
  ...(import.meta.url.endsWith(".ts") ? ["src", "cli", "main.ts"] : ["dist", "cli", "main.js"]),
);

export function ownVersion(): string {
  const text = readFileSync(path.join(PACKAGE_ROOT, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
