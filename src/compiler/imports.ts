/**
 * Which project file imports which, by text. It errs on the side of seeing an import that is none
 * (in a comment, type-only): who asks wants a superset, and parsing a thousand files costs seconds.
 */

import { posix } from "node:path";
import type { Metafile } from "esbuild";

export interface ImportSite {
  specifier: string;
  /** Offset of the specifier in the text. */
  offset: number;
}

export interface SourceFile {
  /** Relative, with `/`. */
  path: string;
  imports: ImportSite[];
  hasExports: boolean;
  /** Uses `import.meta`. */
  asksWhereItIs: boolean;
}

/** `paths` of a tsconfig, with absolute targets made relative to the project where they are inside. */
export interface PathPatterns {
  base: string;
  paths: Readonly<Record<string, readonly string[]>>;
}

export const SOURCE_EXTENSIONS = [".ts", ".mts", ".js", ".mjs", ".tsx", ".jsx"] as const;

/** `import "./a.js"` may mean `a.ts`. */
const WRITTEN_AS: Record<string, readonly string[]> = {
  ".js": [".ts", ".tsx"],
  ".jsx": [".tsx"],
  ".mjs": [".mts"],
};

const IMPORT =
  /\bfrom\s*(["'])([^"'\n]+)\1|\bimport\s*\(?\s*(["'])([^"'\n]+)\3|\brequire\s*\(\s*(["'])([^"'\n]+)\5/g;

export function isSource(path: string): boolean {
  return (
    SOURCE_EXTENSIONS.some((extension) => path.endsWith(extension)) && !/\.d\.m?ts$/.test(path)
  );
}

export function isScript(path: string): boolean {
  return /\.m?jsx?$/.test(path);
}

export function scanSource(path: string, text: string): SourceFile {
  const imports: ImportSite[] = [];
  for (const match of text.matchAll(IMPORT)) {
    const specifier = match[2] ?? match[4] ?? match[6] ?? "";
    imports.push({ specifier, offset: match.index + match[0].lastIndexOf(specifier) });
  }
  return {
    path,
    imports,
    hasExports: /^[ \t]*export\b/m.test(text),
    asksWhereItIs: text.includes("import.meta."),
  };
}

/** Resolves specifiers to project files. */
export class ImportResolver {
  readonly #files: ReadonlySet<string>;
  readonly #patterns: PathPatterns | undefined;

  constructor(files: Iterable<string>, patterns?: PathPatterns) {
    this.#files = new Set(files);
    this.#patterns = patterns;
  }

  /** The project file that `specifier` means in `importer`, if it is one. */
  resolve(specifier: string, importer: string): string | undefined {
    if (specifier.startsWith(".")) {
      return this.#file(posix.join(posix.dirname(importer), specifier));
    }
    for (const target of this.#mapped(specifier)) {
      const found = this.#file(target);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #mapped(specifier: string): string[] {
    if (this.#patterns === undefined) return [];
    const { base, paths } = this.#patterns;
    return Object.entries(paths).flatMap(([pattern, targets]) => {
      const [head = "", tail] = pattern.split("*");
      const isMatch =
        tail === undefined
          ? specifier === pattern
          : specifier.startsWith(head) && specifier.endsWith(tail);
      if (!isMatch) return [];
      const middle = specifier.slice(head.length, specifier.length - (tail ?? "").length);
      return targets.map((target) => posix.join(base, target.replace("*", middle)));
    });
  }

  #file(path: string): string | undefined {
    const extension = posix.extname(path);
    const stem = path.slice(0, path.length - extension.length);
    const tries = [
      path,
      ...(WRITTEN_AS[extension] ?? []).map((other) => stem + other),
      ...SOURCE_EXTENSIONS.map((one) => path + one),
      ...SOURCE_EXTENSIONS.map((one) => posix.join(path, `index${one}`)),
    ];
    return tries.find((one) => this.#files.has(one));
  }
}

/** The same graph, of what esbuild has read. */
export function graphOf(inputs: Metafile["inputs"]): Map<string, string[]> {
  return new Map(
    Object.entries(inputs).map(([file, { imports }]) => [
      file,
      imports.filter(({ external }) => external !== true).map(({ path }) => path),
    ]),
  );
}

/** Files that `from` imports, directly or not, itself included. */
export function importClosure(
  from: string,
  graph: ReadonlyMap<string, readonly string[]>,
): string[] {
  const seen = new Set([from]);
  for (const file of seen) for (const next of graph.get(file) ?? []) seen.add(next);
  return [...seen].sort();
}
