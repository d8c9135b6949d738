/** Temporary folders that go away with the test, and projects inside them. */

import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/** Root of the checkout. */
export const ROOT = path.resolve(import.meta.dirname, "../..");

/** Whatever can run something at its end: `test`'s context, or `node:test`'s `after`. */
export interface Owner {
  after(run: () => void | Promise<void>): void;
}

/** node:test runs `after` hooks first in, first out; what depends on something must end before it. */
export function orderedOwner(owner: Owner): Owner {
  const steps: (() => void | Promise<void>)[] = [];
  owner.after(async () => {
    for (const step of steps.reverse()) await step();
  });
  return { after: (run) => void steps.push(run) };
}

/** A new folder, removed after the test. */
export function temporaryFolder(owner: Owner, label = "flash-test"): string {
  const folder = mkdtempSync(path.join(tmpdir(), `${label}-`));
  // A worker that is being killed may still write: removal tries again.
  owner.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 20 }));
  return folder;
}

/** A project with these files (path → text) and `runpod-flash` linked to this checkout. */
export function writeProject(folder: string, files: Readonly<Record<string, string>>): void {
  writeFiles(folder, { "package.json": '{ "type": "module" }\n', ...files });
  const modules = path.join(folder, "node_modules");
  mkdirSync(modules, { recursive: true });
  symlinkSync(ROOT, path.join(modules, "runpod-flash"), "dir");
}

export function writeFiles(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
}

/** The files of a project: path → text. Packages and our own output are left out. */
export function readFiles(folder: string): Record<string, string> {
  const files: Record<string, string> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const name = path.relative(folder, path.join(entry.parentPath, entry.name));
    if (!entry.isFile() || /(^|[\\/])(node_modules|\.flash)[\\/]/.test(name)) continue;
    files[name] = readFileSync(path.join(folder, name), "utf8");
  }
  return files;
}
