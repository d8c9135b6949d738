/**
 * Step 5: one module for each endpoint. Local modules and packages are taken in; what the endpoint
 * lists in `dependencies` stays outside, and so does the SDK, which all share. Endpoints of the same files share one build.
 */

import { createHash } from "node:crypto";
import { join } from "node:path";
import { build, type BuildOptions, type Metafile, type Plugin } from "esbuild";
import { SDK_FILE } from "../contract/manifest.ts";
import { findAssets, type Asset } from "./assets.ts";
import { compare, errorAt, type Finding } from "./diagnostics.ts";
import {
  baseOptions,
  externalSdk,
  findingOf,
  isBuildFailure,
  packageName,
  resolveAgain,
} from "./esbuild-plugins.ts";
import { IgnoreRules } from "./ignore-rules.ts";
import { graphOf, importClosure } from "./imports.ts";
import type { OwnPackage } from "./own-package.ts";

/** What goes into one bundle. */
export interface BundleUnit {
  endpoint: string;
  /** Files to evaluate, relative, sorted. */
  files: readonly string[];
  /** Package names that stay outside, sorted. */
  externals: readonly string[];
  /** Exports by which the worker names endpoints that have no name in the code. */
  exports: readonly { file: string; exportName: string; name: string }[];
}

export interface Bundle {
  code: Uint8Array;
  map: Uint8Array;
  /** Files that the code reads from beside itself. */
  assets: Asset[];
  /** SHA-256 of the code and the assets. */
  digest: string;
  /** Project files that are in it, relative. */
  inputs: string[];
  /** Bytes of the code by the file that they come from. */
  sizes: Record<string, number>;
  /** Names of outside packages that must be there when it is loaded. */
  loads: string[];
}

export interface BundleResult {
  /** By endpoint. */
  bundles: Map<string, Bundle>;
  findings: Finding[];
}

/** CommonJS packages inside an ES module look for these. As globals they never clash with user code. */
const BANNER = [
  'import { createRequire as __flash_createRequire } from "node:module";',
  "globalThis.require ??= __flash_createRequire(import.meta.url);",
  "globalThis.__filename ??= import.meta.filename;",
  "globalThis.__dirname ??= import.meta.dirname;",
].join("\n");

/** From `endpoints/<name>/index.mjs`. */
const SDK_FROM_BUNDLE = `../../${SDK_FILE}`;

const ENTRY = "flash-entry";

/** Keeps bundles, and the files that each was made from. */
export class Bundler {
  readonly #root: string;
  readonly #known = new Map<string, KnownBundle>();

  constructor(root: string) {
    this.#root = root;
  }

  /**
   * Bundles the units. `changed` says which files may differ from the last call, while no others came
   * or went: what was made without them is as it was. Without it everything is made again.
   */
  async run(units: readonly BundleUnit[], changed?: ReadonlySet<string>): Promise<BundleResult> {
    const result: BundleResult = { bundles: new Map(), findings: [] };
    this.#forget(new Set(units.map(keyOf)), changed);
    const groups = new Map<string, BundleUnit[]>();
    for (const unit of units) {
      if (this.#known.has(keyOf(unit))) continue;
      const externals = unit.externals.join("\n");
      groups.set(externals, [...(groups.get(externals) ?? []), unit]);
    }
    for (const group of groups.values()) result.findings.push(...(await this.#make(group)));
    for (const unit of units) {
      const known = this.#known.get(keyOf(unit));
      if (known === undefined) continue;
      result.bundles.set(unit.endpoint, known.bundle);
      result.findings.push(...known.findings);
    }
    return result;
  }

  #forget(wanted: ReadonlySet<string>, changed: ReadonlySet<string> | undefined): void {
    for (const [key, { reads }] of this.#known) {
      const isStale = changed === undefined || reads.some((file) => changed.has(file));
      if (isStale || !wanted.has(key)) this.#known.delete(key);
    }
  }

  /** Makes the bundles of units with the same outside packages; gives what is wrong with them. */
  async #make(group: readonly BundleUnit[]): Promise<Finding[]> {
    const sources = new Map(group.map((unit) => [entryId(unit), entrySource(unit)]));
    try {
      const built = await build(this.#options(sources, group[0]?.externals ?? []));
      const contents = new Map(built.outputFiles.map(({ path, contents }) => [path, contents]));
      const graph = graphOf(built.metafile.inputs);
      const rules = new IgnoreRules(this.#root);
      for (const unit of group) {
        const name = `${entryId(unit)}.mjs`;
        const code = contents.get(join(this.#root, name));
        const map = contents.get(join(this.#root, `${name}.map`));
        const output = built.metafile.outputs[name];
        if (code === undefined || map === undefined || output === undefined)
          throw new Error(`esbuild made no ${name}`);
        const beside = findAssets(this.#root, Object.keys(output.inputs), rules);
        const reads = importClosure(`${ENTRY}:${entryId(unit)}`, graph);
        this.#known.set(keyOf(unit), {
          bundle: bundleOf({ code, map, output, assets: beside.assets }),
          reads: [...reads, ...beside.assets.map(({ file }) => file)],
          findings: beside.findings,
        });
      }
      return [];
    } catch (error) {
      if (!isBuildFailure(error)) throw error;
      return error.errors.map((message) => bundleFinding(findingOf(message, "error")));
    }
  }

  #options(
    sources: ReadonlyMap<string, string>,
    externals: readonly string[],
  ): BuildOptions & { metafile: true; write: false } {
    return {
      ...baseOptions(this.#root),
      entryPoints: [...sources.keys()].map((id) => ({ in: `${ENTRY}:${id}`, out: id })),
      outdir: this.#root,
      outExtension: { ".js": ".mjs" },
      write: false,
      // Without the comment: the file gets another name in the artifact.
      sourcemap: "external",
      sourcesContent: true,
      legalComments: "none",
      banner: { js: BANNER },
      external: [...externals],
      plugins: [entryPlugin(this.#root, sources), externalSdk(SDK_FROM_BUNDLE), nativePlugin()],
    };
  }
}

interface KnownBundle {
  bundle: Bundle;
  /** Every file that was looked at, also for code that was left out in the end. */
  reads: readonly string[];
  /** What is said about it in every build. */
  findings: readonly Finding[];
}

function keyOf(unit: BundleUnit): string {
  return `${entryId(unit)} ${unit.externals.join(" ")}`;
}

function bundleOf(made: {
  code: Uint8Array;
  map: Uint8Array;
  output: Metafile["outputs"][string];
  assets: Asset[];
}): Bundle {
  const { map, output, assets } = made;
  const code = withMapComment(made.code);
  const hash = createHash("sha256").update(code);
  for (const { path, content } of assets)
    hash.update(`\0${path}\0${content.length}\0`).update(content);
  const sizes = Object.entries(output.inputs).map(([file, { bytesInOutput }]): [string, number] => [
    file,
    bytesInOutput,
  ]);
  return {
    code,
    map,
    assets,
    digest: hash.digest("hex"),
    inputs: sizes.map(([file]) => file).sort(),
    sizes: Object.fromEntries(sizes),
    loads: loadedPackages(output.imports),
  };
}

/**
 * The SDK as one file, which all bundles of an artifact import: taken into each of them, it would be
 * most of what a large project builds, packs and uploads.
 */
export async function bundleSdk(own: OwnPackage): Promise<Uint8Array> {
  const { outputFiles } = await build({
    absWorkingDir: own.base,
    entryPoints: [own.sdk],
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node22",
    legalComments: "none",
    logLevel: "silent",
    write: false,
  });
  const [file] = outputFiles;
  if (file === undefined) throw new Error(`esbuild made nothing of ${own.sdk}`);
  return file.contents;
}

/** An `import()` inside a function may never run; what stands at the top of a file always does. */
function loadedPackages(
  imports: readonly { path: string; kind: string; external?: boolean }[],
): string[] {
  const loaded = imports.filter(
    ({ external, kind, path }) =>
      external === true && kind !== "dynamic-import" && !path.startsWith("."),
  );
  return [...new Set(loaded.map(({ path }) => packageName(path)))];
}

function entrySource({ files, exports }: BundleUnit): string {
  const lines = files.map((file) => `import ${JSON.stringify(`./${file}`)};`);
  const named = [...exports].sort((a, b) => compare(a.name, b.name));
  for (const { file, exportName, name } of named) {
    const from = JSON.stringify(`./${file}`);
    lines.push(`export { ${JSON.stringify(exportName)} as ${JSON.stringify(name)} } from ${from};`);
  }
  return `${lines.join("\n")}\n`;
}

/** The same content has the same id: endpoints of the same files share a build. */
function entryId(unit: BundleUnit): string {
  return createHash("sha256").update(entrySource(unit)).digest("hex").slice(0, 16);
}

function entryPlugin(root: string, sources: ReadonlyMap<string, string>): Plugin {
  return {
    name: ENTRY,
    setup(build) {
      build.onResolve({ filter: /^flash-entry:/ }, ({ path }) => ({
        path: path.slice(ENTRY.length + 1),
        namespace: ENTRY,
      }));
      build.onLoad({ filter: /.*/, namespace: ENTRY }, ({ path }) => ({
        contents: sources.get(path) ?? "",
        resolveDir: root,
        loader: "js",
      }));
      // A project may say `"sideEffects": false`; declaring an endpoint is one all the same.
      build.onResolve({ filter: /^\.\//, namespace: ENTRY }, ({ path }) => ({
        path: join(root, path),
        sideEffects: true,
      }));
    },
  };
}

/** Machine code cannot be taken into a bundle, and is for one platform only. */
function nativePlugin(): Plugin {
  return {
    name: "flash-native",
    setup(build) {
      build.onResolve({ filter: /\.node$/ }, async (args) => {
        if (args.pluginData !== undefined) return undefined;
        const { path } = await resolveAgain(build, args);
        const owner = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(
          path === "" ? args.importer : path,
        )?.[1];
        const name = owner ?? packageName(args.path);
        return {
          errors: [
            {
              text: `native module '${args.path}' of '${name}' cannot be bundled`,
              notes: [
                {
                  text: `List '${name}' in the endpoint's dependencies, so that it is installed for the worker's platform.`,
                },
              ],
            },
          ],
        };
      });
    },
  };
}

/** esbuild's places lie in packages at times; what is not the project's has no frame. */
function bundleFinding(finding: Finding): Finding {
  if (finding.file?.includes("node_modules/") !== true) return finding;
  return errorAt(undefined, `${finding.message} (imported by ${finding.file})`, finding.hint);
}

function withMapComment(code: Uint8Array): Uint8Array {
  return Buffer.concat([code, Buffer.from("//# sourceMappingURL=index.mjs.map\n")]);
}
