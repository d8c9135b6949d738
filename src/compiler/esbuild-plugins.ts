/**
 * How imports are resolved in the two esbuild builds. The SDK is outside in both; packages are outside
 * while describing and inside the bundles.
 */

import { readFile } from "node:fs/promises";
import { isBuiltin } from "node:module";
import { dirname, extname } from "node:path";
import { pathToFileURL } from "node:url";
import type { BuildOptions, Loader, Message, OnResolveResult, Plugin, PluginBuild } from "esbuild";
import { errorAt, warningAt, type Finding, type Place } from "./diagnostics.ts";
import { SOURCE_EXTENSIONS } from "./imports.ts";

/** Files beside code that `import` may name. */
const ASSETS: Record<string, Loader> = {
  ".txt": "text",
  ".md": "text",
  ".sql": "text",
  ".html": "text",
  ".css": "text",
  ".csv": "text",
  ".yaml": "text",
  ".yml": "text",
  ".toml": "text",
  ".graphql": "text",
  ".wasm": "binary",
  ".bin": "binary",
};

/** What both builds share. The tsconfig nearest to each file is esbuild's own business. */
export function baseOptions(root: string): BuildOptions & { metafile: true } {
  return {
    absWorkingDir: root,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node22",
    keepNames: true,
    metafile: true,
    logLevel: "silent",
    logLimit: 0,
    // Node's own conditions: with `module` a package would not be the one that Node loads.
    conditions: [],
    mainFields: ["main"],
    loader: ASSETS,
  };
}

/** `runpod-flash` as one module outside, under the path that the output is to import. */
export function externalSdk(path: string): Plugin {
  return {
    name: "flash-sdk",
    setup(build) {
      build.onResolve({ filter: /^runpod-flash$/ }, () => ({ path, external: true }));
    },
  };
}

/**
 * Packages stay outside, by the absolute URL of what the importing file would get: the build's
 * output lies elsewhere. What is only linked there, as in a workspace, is source like the project's.
 */
export function externalPackages(): Plugin {
  return {
    name: "flash-packages-external",
    setup(build) {
      build.onResolve({ filter: /^[^./]/ }, async (args): Promise<OnResolveResult | undefined> => {
        if (args.pluginData === RESOLVED || args.kind === "entry-point") return undefined;
        if (isBuiltin(args.path) || args.path.startsWith("file:"))
          return { path: args.path, external: true };
        const found = await resolveAgain(build, args);
        // Whether a package that is not there matters is seen when the module runs.
        if (found.errors.length > 0) return { path: args.path, external: true };
        if (found.external || !isInstalled(found.path)) return found;
        const isRequire = args.kind === "require-call" || args.kind === "require-resolve";
        return { path: isRequire ? found.path : pathToFileURL(found.path).href, external: true };
      });
    },
  };
}

/**
 * `import.meta` of modules whose build lies elsewhere: the places of their sources. Each name is replaced
 * by one of the same length, so that places in the file stay what they are, and given a value by an
 * import at the end of the file, which is done before anything else in it. `files` are absolute.
 */
export function ownPlaces(files: readonly string[]): Plugin {
  return {
    name: "flash-places",
    setup(build) {
      if (files.length === 0) return;
      const wanted = new Set(files);
      const extensions = new RegExp(`(${SOURCE_EXTENSIONS.join("|").replaceAll(".", "\\.")})$`);
      build.onLoad({ filter: extensions }, async ({ path, namespace }) => {
        if (namespace !== "file" || !wanted.has(path)) return undefined;
        const text = await readFile(path, "utf8");
        const placed = text.replaceAll(
          /\bimport\.meta\.(url|dirname|filename)\b/g,
          (whole, name: string) => placeholder(whole, name),
        );
        const names = ["url", "dirname", "filename"].map(
          (name) => `${name} as ${placeholder(`import.meta.${name}`, name)}`,
        );
        const from = JSON.stringify(`${PLACE}:${path}`);
        const loader = LOADERS[extname(path)] ?? "ts";
        return { contents: `${placed}\nimport { ${names.join(", ")} } from ${from};\n`, loader };
      });
      build.onResolve({ filter: /^flash-place:/ }, ({ path }) => ({
        path: path.slice(PLACE.length + 1),
        namespace: PLACE,
      }));
      build.onLoad({ filter: /.*/, namespace: PLACE }, ({ path }) => ({
        contents: [
          `export const url = ${JSON.stringify(pathToFileURL(path).href)};`,
          `export const dirname = ${JSON.stringify(dirname(path))};`,
          `export const filename = ${JSON.stringify(path)};`,
        ].join("\n"),
      }));
    },
  };
}

const PLACE = "flash-place";
const LOADERS: Record<string, Loader> = {
  ".js": "js",
  ".mjs": "js",
  ".jsx": "jsx",
  ".tsx": "tsx",
};

function placeholder(whole: string, name: string): string {
  return `__${name}`.padEnd(whole.length, "_");
}

/** Links are resolved by then: a workspace's own package lies outside `node_modules`. */
function isInstalled(file: string): boolean {
  return file.split(/[\\/]/).includes("node_modules");
}

const RESOLVED = Symbol("resolved");

export function resolveAgain(
  build: PluginBuild,
  args: Parameters<Parameters<PluginBuild["onResolve"]>[1]>[0],
): ReturnType<PluginBuild["resolve"]> {
  const { path, importer, namespace, resolveDir, kind } = args;
  return build.resolve(path, { importer, namespace, resolveDir, kind, pluginData: RESOLVED });
}

/** Where esbuild means. Its columns count bytes from 0. */
export function placeOf({ location }: Message): Place | undefined {
  if (location === null) return undefined;
  const { file, line, lineText } = location;
  const before = Buffer.from(lineText).subarray(0, location.column).toString();
  return { file, line, column: before.length + 1 };
}

/** esbuild's messages as findings. */
export function findingOf(message: Message, severity: "error" | "warning"): Finding {
  const { notes } = message;
  const place = placeOf(message);
  const missing = /^Could not resolve "(.+)"$/.exec(message.text)?.[1];
  const text = missing === undefined ? message.text : `Cannot import module '${missing}'`;
  const hint =
    missing === undefined ? notes.map((note) => note.text).join(" ") : adviceFor(missing);
  return (severity === "error" ? errorAt : warningAt)(place, text, hint === "" ? undefined : hint);
}

/** What to do about a module that is not found. */
export function adviceFor(specifier: string): string {
  if (specifier.startsWith(".") || specifier.startsWith("/")) {
    return "No such file. Check the path and its spelling.";
  }
  const name = packageName(specifier);
  return `Install it with 'npm install ${name}', or check the spelling.`;
}

/** `@scope/name/deep/file` → `@scope/name`. */
export function packageName(specifier: string): string {
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}

export function isBuildFailure(
  error: unknown,
): error is { errors: Message[]; warnings: Message[] } {
  return error instanceof Error && Array.isArray((error as { errors?: unknown }).errors);
}
