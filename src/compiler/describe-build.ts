/** Step 2, first half: one esbuild build of all candidates, for evaluation only. */

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { context, type BuildContext, type BuildOptions, type Metafile } from "esbuild";
import type { DescribeFile } from "./describe-report.ts";
import type { Finding } from "./diagnostics.ts";
import {
  baseOptions,
  externalPackages,
  externalSdk,
  findingOf,
  isBuildFailure,
} from "./esbuild-plugins.ts";
import { importClosure } from "./imports.ts";
import type { OwnPackage } from "./own-package.ts";

export interface DescribeOutput {
  files: DescribeFile[];
  /** What was read, by path relative to the project. */
  inputs: Metafile["inputs"];
  findings: Finding[];
}

/** Keeps esbuild's context while the list of candidates stays the same. */
export class DescribeBuild {
  readonly #root: string;
  readonly #outDir: string;
  readonly #own: OwnPackage;
  #context: BuildContext<BuildOptions & { metafile: true }> | undefined;
  #key: string | undefined;

  constructor(root: string, outDir: string, own: OwnPackage) {
    this.#root = root;
    this.#outDir = outDir;
    this.#own = own;
  }

  /**
   * Builds what can be built: a file with a syntax error takes those that import it out, and the
   * others are still described, so that their mistakes are reported in the same run.
   */
  async run(
    candidates: readonly string[],
    graph: ReadonlyMap<string, readonly string[]>,
  ): Promise<DescribeOutput> {
    const findings: Finding[] = [];
    let files = candidates;
    while (files.length > 0) {
      try {
        const inputs = await this.#build(files);
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

  async close(): Promise<void> {
    const context = this.#context;
    this.#context = undefined;
    this.#key = undefined;
    await context?.dispose();
  }

  async #build(files: readonly string[]): Promise<Metafile["inputs"]> {
    const key = files.join("\n");
    if (this.#context === undefined || key !== this.#key) {
      await this.close();
      await rm(this.#outDir, { recursive: true, force: true });
      this.#context = await context({
        ...baseOptions(this.#root),
        entryPoints: files.map((file) => ({ in: join(this.#root, file), out: file })),
        outdir: this.#outDir,
        outExtension: { ".js": ".mjs" },
        chunkNames: "chunks/[hash]",
        splitting: true,
        sourcemap: "linked",
        sourcesContent: false,
        plugins: [externalSdk(pathToFileURL(this.#own.sdk).href), externalPackages()],
      });
      this.#key = key;
    }
    return (await this.#context.rebuild()).metafile.inputs;
  }

  #output(file: string): DescribeFile {
    return { file, url: pathToFileURL(join(this.#outDir, `${file}.mjs`)).href };
  }
}
