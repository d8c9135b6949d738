/** Our own package as installed: where it is, and which version. */

import { existsSync, readFileSync } from "node:fs";
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

/**
 * Where this package came from when that was no registry: a folder or a tarball as `file:` with an
 * absolute path, or a URL. A project that it makes is to get the same one.
 */
export function ownSource(root: string = PACKAGE_ROOT): string | undefined {
  const modules = path.dirname(root);
  if (path.basename(modules) !== "node_modules") return `file:${root}`;
  const above = path.dirname(modules);
  const file = path.join(above, "package.json");
  if (!existsSync(file)) return undefined;
  const { dependencies = {}, devDependencies = {} } = JSON.parse(readFileSync(file, "utf8")) as {
    dependencies?: Record<string, string>;
    devDependencies?: Record<string, string>;
  };
  const name = path.basename(root);
  const spec = dependencies[name] ?? devDependencies[name] ?? "";
  if (spec.startsWith("file:")) return `file:${path.resolve(above, spec.slice("file:".length))}`;
  return /^[a-z+]+:\/\//i.test(spec) ? spec : undefined;
}
