/**
 * Step 5: one module for each endpoint. Local modules and packages are taken in; what the endpoint
 * lists in `dependencies` stays outside, and so does the SDK, which all share. Endpoints of the same files share one build.
 */

import { createHash } from "node:crypto";
import { join } from "node:path";
import { build, context, type BuildContext, type BuildOptions, type Plugin } from "esbuild";
import { SDK_FILE } from "../contract/manifest.ts";
import { compare, errorAt, type Finding } from "./diagnostics.ts";
import {
  baseOptions,
  externalSdk,
  findingOf,
  isBuildFailure,
  packageName,
  resolveAgain,
} from "./esbuild-plugins.ts";
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
  /** Project files that are in it, relative. */
  inputs: string[];
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

type GroupContext = BuildContext<BuildOptions & { metafile: true; write: false }>;

/** Keeps esbuild's contexts: one for each set of outside packages. */
export class Bundler {
  readonly #root: string;
  readonly #contexts = new Map<string, { entries: string; context: GroupContext }>();

  constructor(root: string) {
    this.#root = root;
  }

  async run(units: readonly BundleUnit[]): Promise<BundleResult> {
    const result: BundleResult = { bundles: new Map(), findings: [] };
    const groups = new Map<string, BundleUnit[]>();
    for (const unit of units) {
      const key = unit.externals.join("\n");
      groups.set(key, [...(groups.get(key) ?? []), unit]);
    }
    for (const key of this.#contexts.keys()) if (!groups.has(key)) await this.#drop(key);
    for (const [key, group] of groups) await this.#runGroup(key, group, result);
    return result;
  }

  async close(): Promise<void> {
    for (const key of this.#contexts.keys()) await this.#drop(key);
  }

  async #runGroup(key: string, group: readonly BundleUnit[], result: BundleResult): Promise<void> {
    const sources = new Map<string, string>();
    for (const unit of group) sources.set(entryId(unit), entrySource(unit));
    try {
      const context = await this.#contextOf(key, sources, group[0]?.externals ?? []);
      const { outputFiles, metafile } = await context.rebuild();
      const outputs = new Map(outputFiles.map((file) => [file.path, file.contents]));
      for (const unit of group) {
        const name = `${entryId(unit)}.mjs`;
        const code = outputs.get(join(this.#root, name));
        const map = outputs.get(join(this.#root, `${name}.map`));
        const output = metafile.outputs[name];
        const inputs = Object.keys(output?.inputs ?? {}).sort();
        if (code === undefined || map === undefined) throw new Error(`esbuild made no ${name}`);
        result.bundles.set(unit.endpoint, {
          code: withMapComment(code),
          map,
          inputs,
          loads: loadedPackages(output?.imports ?? []),
        });
      }
    } catch (error) {
      if (!isBuildFailure(error)) throw error;
      for (const message of error.errors)
        result.findings.push(bundleFinding(findingOf(message, "error")));
    }
  }

  async #contextOf(
    key: string,
    sources: ReadonlyMap<string, string>,
    externals: readonly string[],
  ): Promise<GroupContext> {
    const entries = [...sources.values()].join("\n");
    const known = this.#contexts.get(key);
    if (known?.entries === entries) return known.context;
    await this.#drop(key);
    const made = await context({
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
    });
    this.#contexts.set(key, { entries, context: made });
    return made;
  }

  async #drop(key: string): Promise<void> {
    const known = this.#contexts.get(key);
    this.#contexts.delete(key);
    await known?.context.dispose();
  }
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
