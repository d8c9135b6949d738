/**
 * Files that a project ships although no import names them: `[build] include` of flash.toml. They keep
 * their paths: workers run in the artifact's folder, so `data/words.txt` is found there as in the project.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ignore from "ignore";
import { MANIFEST_FILE, SDK_FILE, WORKER_FILE } from "../contract/manifest.ts";
import { errorAt, warningAt, type Finding } from "./diagnostics.ts";
import { isEnvFile } from "./ignore-rules.ts";
import type { PackEntry } from "./pack.ts";

export interface Included {
  entries: PackEntry[];
  /** Over paths and contents; empty when nothing is included. */
  digest: string;
  findings: Finding[];
}

const OWN_FILES = new Set<string>([MANIFEST_FILE, SDK_FILE, WORKER_FILE]);

/** `files` are those that the ignore rules leave; `patterns` are written as in a .gitignore. */
export function includeFiles(
  root: string,
  files: readonly string[],
  patterns: readonly string[],
): Included {
  const findings: Finding[] = [];
  const matchers = patterns.map((pattern) => ({ pattern, rule: ignore().add(pattern) }));
  for (const { pattern, rule } of matchers) {
    if (files.some((file) => rule.ignores(file))) continue;
    const hint =
      "It is written as in a .gitignore; what the ignore rules exclude is never shipped.";
    findings.push(warningAt(undefined, `The include pattern '${pattern}' matches no file.`, hint));
  }
  const wanted = files.filter(
    (file) => !isEnvFile(file) && matchers.some(({ rule }) => rule.ignores(file)),
  );
  const hash = createHash("sha256");
  const entries = wanted.map((file): PackEntry => {
    if (OWN_FILES.has(file) || file.startsWith("endpoints/")) {
      const message = `'${file}' cannot be included: the artifact has a file of its own there.`;
      findings.push(errorAt(undefined, message, "Move or rename it."));
    }
    const content = readFileSync(join(root, file));
    hash.update(`${file}\0${content.length}\0`).update(content);
    return { path: file, content: { file: join(root, file) } };
  });
  return { entries, digest: entries.length === 0 ? "" : hash.digest("hex"), findings };
}
