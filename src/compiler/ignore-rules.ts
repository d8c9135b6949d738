/**
 * Which files of a folder belong to a project: the project's `.gitignore` files, nested ones
 * included, and built-in patterns that no `.gitignore` can undo (source: spec/cli.md 18), as editors' files are.
 */

import { readFileSync, readdirSync, statSync, type Dirent } from "node:fs";
import { basename, dirname, join } from "node:path";
import ignore, { type Ignore } from "ignore";
import { isEditorFile } from "./editor-files.ts";

/** gitignore syntax. `env/` and `venv/` are meant for Python environments at the top. */
const BUILT_IN = [
  ".build/",
  ".flash/",
  ".runpod/",
  "*.tar.gz",
  ".git/",
  ".gitignore",
  "dist/",
  "build/",
  "node_modules/",
  "coverage/",
  "*.tsbuildinfo",
  "__pycache__/",
  "*.pyc",
  "*.pyo",
  "*.pyd",
  "*.egg-info/",
  "/.venv/",
  "/venv/",
  "/env/",
  ".vscode/",
  ".idea/",
  ".env",
  ".env.*",
  "!.env.example",
  "*.pem",
  "*.key",
  "tests/",
  "__tests__/",
  "*.test.*",
  "*.spec.*",
  "test_*.py",
  "*_test.py",
  "docs/",
  "*.md",
  "!README.md",
];

/** Tells ignored paths; asked with paths relative to the project, with `/`, folders with a `/` at the end. */
export class IgnoreRules {
  readonly #root: string;
  readonly #builtIn: Ignore = ignore().add(BUILT_IN);
  /** By folder, `""` for the project. */
  readonly #local = new Map<string, Ignore | undefined>();

  constructor(root: string) {
    this.#root = root;
  }

  /** True when the path itself or a folder above it is ignored. */
  ignores(path: string): boolean {
    const parts = path.split("/");
    return parts.some((_, index) => {
      const isLast = index === parts.length - 1;
      const prefix = parts.slice(0, index + 1).join("/");
      return prefix !== "" && this.#ignoresEntry(isLast ? prefix : `${prefix}/`);
    });
  }

  /** As git decides: the nearest `.gitignore` with an opinion wins; then the built-in patterns. */
  #ignoresEntry(entry: string): boolean {
    if (this.#builtIn.ignores(entry)) return true;
    if (!entry.endsWith("/") && isEditorFile(basename(entry))) return true;
    for (let folder = dirname(entry); ; folder = dirname(folder)) {
      const at = folder === "." ? "" : folder;
      const rules = this.#rulesOf(at);
      if (rules !== undefined) {
        const result = rules.test(at === "" ? entry : entry.slice(at.length + 1));
        if (result.ignored || result.unignored) return result.ignored;
      }
      if (at === "") return false;
    }
  }

  #rulesOf(folder: string): Ignore | undefined {
    if (!this.#local.has(folder)) {
      this.#local.set(folder, readRules(join(this.#root, folder, ".gitignore")));
    }
    return this.#local.get(folder);
  }
}

export interface ProjectFiles {
  /** Relative, with `/`, sorted. */
  files: string[];
  /** Folders that could not be read, with the reason. */
  unreadable: { folder: string; reason: string }[];
}

/** Every file that the rules leave. Linked folders are not entered: they may lead out or in circles. */
export function listProjectFiles(root: string, rules = new IgnoreRules(root)): ProjectFiles {
  const found: ProjectFiles = { files: [], unreadable: [] };
  const visit = (folder: string): void => {
    let entries: Dirent[];
    try {
      entries = readdirSync(join(root, folder), { withFileTypes: true });
    } catch (error) {
      found.unreadable.push({ folder, reason: (error as Error).message });
      return;
    }
    for (const entry of entries) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (!rules.ignores(`${path}/`)) visit(path);
      } else if (isFile(join(root, path), entry) && !rules.ignores(path)) found.files.push(path);
    }
  };
  visit("");
  found.files.sort();
  return found;
}

function isFile(path: string, entry: Dirent): boolean {
  if (!entry.isSymbolicLink()) return entry.isFile();
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

function readRules(file: string): Ignore | undefined {
  try {
    return ignore().add(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}

/** True for environment files, which no artifact may hold, whatever asks for them. */
export function isEnvFile(path: string): boolean {
  const name = basename(path);
  return /^\.env(\.|$)/.test(name) && name !== ".env.example";
}
