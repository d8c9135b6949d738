/** Step 2, first half: one esbuild build of all candidates, for evaluation only. */

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build, type Message, type Metafile } from "esbuild";
import type { DescribeFile } from "./describe-report.ts";
import { warningAt, type Finding } from "./diagnostics.ts";
import {
  baseOptions,
  externalPackages,
  externalSdk,
  findingOf,
  isBuildFailure,
  ownPlaces,
  placeOf,
} from "./esbuild-plugins.ts";
import { importClosure } from "./imports.ts";
import type { OwnPackage } from "./own-package.ts";

export interface DescribeOutput {
  files: DescribeFile[];
  /** What was read, by path relative to the project. */
  inputs: Metafile["inputs"];
  findings: Finding[];
}

/** esbuild's names for imports whose target only running the code tells. */
const COMPUTED = ["unsupported-dynamic-import", "unsupported-require-call"];

/** The text is the original's. */
function computedImport(message: Message): Finding {
  return warningAt(
    placeOf(message),
    "unresolvable dynamic import (non-literal argument); ensure the module is on the worker image or bundle it explicitly",
    "Write the names out: import() with a text, or a table of functions that import one each.",
  );
}

/** Each run has a folder of its own. */
export class DescribeBuild {
  readonly #root: string;
  readonly #outDir: string;
  readonly #own: OwnPackage;

  constructor(root: string, outDir: string, own: OwnPackage) {
    this.#root = root;
    this.#outDir = outDir;
    this.#own = own;
  }

  /**
   * Builds what can be built: a file with a syntax error takes those that import it out, and the
   * others are still described, so that their mistakes are reported in the same run. `placed` are
   * the files that ask where they lie.
   */
  async run(
    candidates: readonly string[],
    graph: ReadonlyMap<string, readonly string[]>,
    placed: readonly string[] = [],
  ): Promise<DescribeOutput> {
    const findings: Finding[] = [];
    let files = candidates;
    while (files.length > 0) {
      try {
        const { inputs, warnings } = await this.#build(files, placed);
        findings.push(...warnings);
        return { files: files.map((file) => this.#output(file)), inputs, findings };
      } catch (error) {
        if (!isBuildFailure(error)) throw error;
        findings.push(...error.errors.map((message) => findingOf(message, "error")));
        const broken = new Set(error.errors.map(({ location }) => location?.file));
        const left = files.filter(
          (file) => !importClosure(file, graph).some((one) => broken.has(one)),
        );
        if (left.length === files.length) break;
        files = left;
      }
    }
    return { files: [], inputs: {}, findings };
  }

  async #build(
    files: readonly string[],
    placed: readonly string[],
  ): Promise<{ inputs: Metafile["inputs"]; warnings: Finding[] }> {
    await rm(this.#outDir, { recursive: true, force: true });
    const { metafile, warnings } = await build({
      ...baseOptions(this.#root),
      entryPoints: files.map((file) => ({ in: join(this.#root, file), out: file })),
      outdir: this.#outDir,
      outExtension: { ".js": ".mjs" },
      chunkNames: "chunks/[hash]",
      splitting: true,
      sourcemap: "linked",
      sourcesContent: false,
      plugins: [
        ownPlaces(placed.map((file) => join(this.#root, file))),
        externalSdk(sdkUrl(this.#own)),
        externalPackages(),
      ],
      logOverride: Object.fromEntries(COMPUTED.map((id) => [id, "warning"])),
    });
    const computed = warnings.filter(({ id }) => COMPUTED.includes(id));
    return { inputs: metafile.inputs, warnings: computed.map(computedImport) };
  }

  #output(file: string): DescribeFile {
    return { file, url: pathToFileURL(join(this.#outDir, `${file}.mjs`)).href };
  }
}

/** What the SDK is to the modules that are evaluated. */
export function sdkUrl(own: OwnPackage): string {
  return pathToFileURL(own.sdk).href;
}
