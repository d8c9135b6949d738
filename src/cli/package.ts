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
export const ENTRY_FILE: string = programFile("main");

/** A program of the command line by its name. */
export function programFile(name: "main" | "update-check"): string {
  return import.meta.url.endsWith(".ts")
    ? path.join(PACKAGE_ROOT, "src", "cli", `${name}.ts`)
    : path.join(PACKAGE_ROOT, "dist", "cli", `${name}.js`);
}

export function ownVersion(): string {
  const text = readFileSync(path.join(PACKAGE_ROOT, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
