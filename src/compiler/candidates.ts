/**
 * Step 1: which files may declare endpoints. Those that import `runpod-flash`, and those that import
 * such a file and export something: they may declare through a function of the project's own. A file
 * that only imports endpoints and exports nothing is a script that uses them, and is left alone.
 */

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { FlashError } from "../contract/errors.ts";
import { buildFailed, errorAt, warningAt, type Finding, type Place } from "./diagnostics.ts";
import { listProjectFiles, type ProjectFiles } from "./ignore-rules.ts";
import {
  importClosure,
  ImportResolver,
  isSource,
  scanSource,
  type PathPatterns,
  type SourceFile,
} from "./imports.ts";

export interface Candidates {
  /** Every file of the project that the ignore rules leave, sorted. */
  files: string[];
  sources: ReadonlyMap<string, SourceFile>;
  /** Importer → imported project files. */
  graph: ReadonlyMap<string, readonly string[]>;
  /** Files to evaluate, sorted. */
  candidates: string[];
  /** False when a file came or went since the last scan, or when there was none. */
  hasSameFiles: boolean;
  /** Folders that could not be read, with the reason. */
  unreadable: ProjectFiles["unreadable"];
}

/** Keeps what was read between builds, so that a rebuild reads only what changed. */
export class CandidateScan {
  readonly #root: string;
  readonly #scanned = new Map<string, { text: string; source: SourceFile }>();
  #last: Candidates | undefined;

  constructor(root: string) {
    this.#root = root;
  }

  /**
   * Lists and scans the project. `changed` says which files may differ from the last scan; without
   * it every file is read again. Throws `BUILD_FAILED` when there is no source file.
   */
  scan(patterns: PathPatterns | undefined, changed?: ReadonlySet<string>): Candidates {
    const last = this.#last;
    const known = last === undefined ? undefined : this.#knownFiles(last, changed);
    const { files, unreadable } = known ?? listProjectFiles(this.#root);
    const sources = this.#read(files.filter(isSource), changed);
    if (sources.size === 0) throw noProject(this.#root);
    const resolver = new ImportResolver(sources.keys(), patterns);
    const graph = new Map<string, string[]>();
    for (const { path, imports } of sources.values()) {
      const targets = imports.map(({ specifier }) => resolver.resolve(specifier, path));
      graph.set(path, [...new Set(targets.filter((target) => target !== undefined))]);
    }
    this.#last = {
      files,
      sources,
      graph,
      candidates: choose(sources, graph),
      hasSameFiles: known !== undefined || isSameList(files, last?.files ?? []),
      unreadable,
    };
    return this.#last;
  }

  /** The files of the last scan, when those that changed were and are among them. */
  #knownFiles(
    last: Candidates,
    changed: ReadonlySet<string> | undefined,
  ): ProjectFiles | undefined {
    const isKnown = (file: string): boolean =>
      last.sources.has(file) &&
      statSync(join(this.#root, file), { throwIfNoEntry: false })?.isFile() === true;
    return changed !== undefined && [...changed].every(isKnown) ? last : undefined;
  }

  /** Where `file`, or a file that it leads to, imports the package `name`. */
  importPlace({ sources, graph }: Candidates, file: string, name: string): Place | undefined {
    for (const path of importClosure(file, graph)) {
      const site = sources
        .get(path)
        ?.imports.find(({ specifier }) => specifier === name || specifier.startsWith(`${name}/`));
      if (site === undefined) continue;
      const before = (this.text(path) ?? "").slice(0, site.offset).split("\n");
      return { file: path, line: before.length, column: (before.at(-1) ?? "").length + 1 };
    }
    return undefined;
  }

  /** The text of a source file as it was scanned. */
  text(path: string): string | undefined {
    return this.#scanned.get(path)?.text;
  }

  #read(paths: readonly string[], changed?: ReadonlySet<string>): Map<string, SourceFile> {
    const result = new Map<string, SourceFile>();
    for (const path of paths) {
      let known = this.#scanned.get(path);
      if (known === undefined || changed === undefined || changed.has(path)) {
        const text = readText(join(this.#root, path));
        if (text === undefined) continue;
        known = text === known?.text ? known : { text, source: scanSource(path, text) };
        this.#scanned.set(path, known);
      }
      result.set(path, known.source);
    }
    for (const path of this.#scanned.keys()) if (!result.has(path)) this.#scanned.delete(path);
    return result;
  }
}

export function unreadableFolders({ unreadable }: Candidates): Finding[] {
  return unreadable.map(({ folder, reason }) =>
    warningAt(undefined, `Permission denied: ${folder} - ${reason}`),
  );
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((one, index) => one === b[index]);
}

function choose(
  sources: ReadonlyMap<string, SourceFile>,
  graph: ReadonlyMap<string, readonly string[]>,
): string[] {
  const importers = new Map<string, string[]>();
  for (const [importer, targets] of graph) {
    for (const target of targets)
      importers.set(target, [...(importers.get(target) ?? []), importer]);
  }
  const chosen = new Set<string>();
  for (const { path, imports } of sources.values()) {
    if (imports.some(({ specifier }) => isSdk(specifier))) chosen.add(path);
  }
  for (const file of chosen) {
    for (const importer of importers.get(file) ?? []) {
      if (sources.get(importer)?.hasExports === true) chosen.add(importer);
    }
  }
  return [...chosen].sort();
}

export function isSdk(specifier: string): boolean {
  return specifier === "runpod-flash" || specifier.startsWith("runpod-flash/");
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // Deleted since the listing: a build that runs while files move sees them gone.
    return undefined;
  }
}

function noProject(root: string): FlashError {
  return buildFailed([
    errorAt(
      undefined,
      `Not a valid Flash project: no TypeScript or JavaScript files found in ${root}`,
      "Run 'flash init' to start a project here, or run the command in the project's folder.",
    ),
  ]);
}
