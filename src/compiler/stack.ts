/** Stacks of the describing process, as places in the project's own files. */

import { readFileSync } from "node:fs";
import { SourceMap, type SourceMapping } from "node:module";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import type { Place } from "./diagnostics.ts";

/** Reads the source maps that the describe build has written next to its output. */
export class StackMapper {
  readonly #root: string;
  readonly #outDir: string;
  readonly #maps = new Map<string, SourceMap | undefined>();

  constructor(root: string, outDir: string) {
    this.#root = root;
    this.#outDir = outDir;
  }

  /** The frames that lie in the project, the innermost first. */
  places(stack: string): Place[] {
    return stack.split("\n").flatMap((line) => this.#place(line) ?? []);
  }

  #place(line: string): Place | undefined {
    const frame = /(file:\/\/.+?|\/.+?):(\d+):(\d+)\)?$/.exec(line);
    if (frame?.[1] === undefined) return undefined;
    const file = frame[1].startsWith("file:") ? fileURLToPath(frame[1]) : frame[1];
    if (!file.startsWith(this.#outDir)) return undefined;
    const found = this.#map(file)?.findEntry(Number(frame[2]) - 1, Number(frame[3]) - 1);
    if (found === undefined || !isMapping(found)) return undefined;
    // Sources are written as URLs: `#` and `%` in file names are escaped.
    const source = resolve(dirname(file), decodeURIComponent(found.originalSource));
    const path = projectPath(this.#root, source);
    if (path === undefined) return undefined;
    return { file: path, line: found.originalLine + 1, column: found.originalColumn + 1 };
  }

  #map(file: string): SourceMap | undefined {
    if (!this.#maps.has(file)) {
      try {
        const map = JSON.parse(readFileSync(`${file}.map`, "utf8")) as ConstructorParameters<
          typeof SourceMap
        >[0];
        this.#maps.set(file, new SourceMap(map));
      } catch {
        this.#maps.set(file, undefined);
      }
    }
    return this.#maps.get(file);
  }
}

/** Relative to the project with `/`; undefined for what lies outside or in `node_modules`. */
export function projectPath(root: string, file: string): string | undefined {
  const path = relative(root, file).split(sep).join("/");
  const isForeign = path.startsWith("../") || isAbsolute(path) || path === "..";
  return isForeign || path.split("/").includes("node_modules") ? undefined : path;
}

/** Code that esbuild adds has no origin; Node then gives an empty object. */
function isMapping(entry: object): entry is SourceMapping {
  return typeof (entry as Partial<SourceMapping>).originalSource === "string";
}
