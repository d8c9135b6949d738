/**
 * Builds `dist/`: JavaScript and types by the TypeScript compiler, the command line as a few files that
 * load fast, the worker runtime as one file, and the pages of the API browser. `--if-stale` does nothing when no source is newer.
 */

import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { build, type Metafile, type Plugin } from "esbuild";

const root = path.dirname(import.meta.dirname);
const dist = path.join(root, "dist");
/** The build grows here and takes the place of `dist` when it is whole. */
const next = path.join(root, "dist.next");
const stamp = path.join(dist, "runtime", "worker.mjs");
/** Programs that run beside user code. Only the first one travels in what is deployed. */
const PROGRAMS = { worker: "main.ts", live: "live/main.ts", relay: "relay/main.ts" } as const;

/** Rooms that a command enters by their front door, and only when it needs them. */
const ROOMS_APART = /^(?:compiler\/compiler|dev\/dev|sdk\/sdk|server\/server)\.ts$/;

if (!(process.argv.includes("--if-stale") && isFresh())) await buildAll();
linkCommand();
linkPackage();

async function buildAll(): Promise<void> {
  rmSync(next, { recursive: true, force: true });
  const tsc = path.join(root, "node_modules", ".bin", "tsc");
  const config = path.join(root, "tsconfig.build.json");
  const compiled = spawnSync(tsc, ["-p", config, "--outDir", next], { stdio: "inherit" });
  if (compiled.status !== 0) process.exit(compiled.status ?? 1);
  copyApiBrowser();
  await bundlePrograms();
  await bundleCommand();
  await writeConfigSchema();
  // A build that fails leaves the last good one; one that succeeds is never seen half done.
  // Moved aside first: removing takes a while, in which somebody may want to run it.
  const last = path.join(root, "node_modules", ".flash-dist.last");
  rmSync(last, { recursive: true, force: true });
  if (existsSync(dist)) renameSync(dist, last);
  renameSync(next, dist);
  rmSync(last, { recursive: true, force: true });
}

/** The worker runtime travels in every artifact, so each program is one file that needs Node and nothing else. */
async function bundlePrograms(): Promise<void> {
  for (const [name, entry] of Object.entries(PROGRAMS)) {
    await build({
      entryPoints: [path.join(root, "src", "worker", entry)],
      outfile: path.join(next, "runtime", `${name}.mjs`),
      bundle: true,
      platform: "node",
      format: "esm",
      target: "node22",
      legalComments: "none",
      logLevel: "warning",
    });
  }
}

/**
 * `flash` starts with few files: every file that Node opens costs a part of a millisecond, and the
 * modules of the compiler's output would be dozens for a status. What only some commands need is in
 * parts that load with them.
 */
async function bundleCommand(): Promise<void> {
  const outdir = path.join(next, "cli");
  rmSync(outdir, { recursive: true });
  const { metafile } = await build({
    entryPoints: ["main.ts", "update-check.ts"].map((name) => path.join(root, "src", "cli", name)),
    outdir,
    // All in one folder, from which the other rooms are `../room/`.
    chunkNames: "[name]-[hash]",
    bundle: true,
    splitting: true,
    // Heavy, and with programs of their own.
    external: ["esbuild", "typescript"],
    platform: "node",
    format: "esm",
    // `flash init` and `flash --help` also work on the Node that a machine happens to have.
    target: "node18",
    // For Node's own modules; see `startsFast`.
    banner: {
      js: 'import { createRequire as makeRequire } from "node:module";\nconst require = makeRequire(import.meta.url);',
    },
    legalComments: "none",
    logLevel: "warning",
    metafile: true,
    plugins: [startsFast()],
  });
  writeFileSync(path.join(outdir, "LICENSES.txt"), licensesOf(metafile));
}

function startsFast(): Plugin {
  return {
    name: "starts-fast",
    setup(bundling) {
      bundling.onResolve({ filter: /^\.\.?\// }, ({ path: specifier, resolveDir }) => {
        const file = path.relative(path.join(root, "src"), path.resolve(resolveDir, specifier));
        const room = file.split(path.sep).join("/");
        if (!ROOMS_APART.test(room)) return undefined;
        return { path: `../${room.replace(/\.ts$/, ".js")}`, external: true };
      });
      // An `import` of a module of Node's own reads all it has, and with `node:http` that loads a
      // WebSocket client: 13 ms. `require` does not. Commander could run commands that are programs of
      // their own; we have none, and what starts programs is the slowest part of it to load.
      bundling.onResolve({ filter: /^node:/ }, ({ path: name, importer, kind, namespace }) => {
        if (namespace === "node") return { path: name, external: true };
        if (name === "node:child_process" && /[\\/]commander[\\/]/.test(importer)) {
          return { path: "nothing", namespace: "node" };
        }
        return kind === "import-statement" ? { path: name, namespace: "node" } : undefined;
      });
      bundling.onLoad({ filter: /^/, namespace: "node" }, ({ path: name }) => ({
        contents: name === "nothing" ? "" : `module.exports = require(${JSON.stringify(name)});`,
      }));
    },
  };
}

/** What the bundled packages ask for in return. */
function licensesOf({ inputs }: Metafile): string {
  const folders = Object.keys(inputs).flatMap(
    (file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? [],
  );
  const texts = [...new Set(folders)].sort().map((folder) => {
    const name = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file)) ?? "LICENSE";
    return `${path.basename(folder)}\n\n${readFileSync(path.join(folder, name), "utf8").trim()}\n`;
  });
  return texts.join(`\n${"-".repeat(72)}\n\n`);
}

/** What editors check flash.toml with. */
async function writeConfigSchema(): Promise<void> {
  const { configSchema } = await import("../src/cli/config-schema.ts");
  const text = JSON.stringify(configSchema(), null, 2);
  writeFileSync(path.join(next, "flash.schema.json"), `${text}\n`);
}

function copyApiBrowser(): void {
  const from = path.join(root, "node_modules", "swagger-ui-dist");
  const to = path.join(next, "api-browser");
  mkdirSync(to, { recursive: true });
  for (const file of ["swagger-ui-bundle.js", "swagger-ui.css", "LICENSE"]) {
    cpSync(path.join(from, file), path.join(to, file));
  }
}

/** So that `npx flash` inside the checkout runs this build. */
function linkCommand(): void {
  const link = path.join(root, "node_modules", ".bin", "flash");
  if (!existsSync(link)) symlinkSync("../../bin/flash.js", link);
}

/** So that `runpod-flash` resolves in the examples as it does in a user's project. */
function linkPackage(): void {
  const link = path.join(root, "node_modules", "runpod-flash");
  if (!existsSync(link)) symlinkSync("..", link, "junction");
}

function isFresh(): boolean {
  if (!existsSync(stamp)) return false;
  const built = statSync(stamp).mtimeMs;
  return (
    !newerThan(path.join(root, "src"), built) &&
    statSync(path.join(root, "package.json")).mtimeMs < built
  );
}

function newerThan(folder: string, time: number): boolean {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).some(
    (entry) => statSync(path.join(entry.parentPath, entry.name)).mtimeMs > time,
  );
}
