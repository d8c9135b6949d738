/**
 * Builds `dist/`: JavaScript and types by the TypeScript compiler, the worker runtime as one file,
 * and the pages of the API browser. `--if-stale` does nothing when no source is newer.
 */

import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import path from "node:path";
import { build } from "esbuild";

const root = path.dirname(import.meta.dirname);
const dist = path.join(root, "dist");
/** The build grows here and takes the place of `dist` when it is whole. */
const next = path.join(root, "dist.next");
const stamp = path.join(dist, "runtime", "worker.mjs");
/** Programs that run beside user code. Only the first one travels in what is deployed. */
const PROGRAMS = { worker: "main.ts", live: "live/main.ts", relay: "relay/main.ts" } as const;

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
  // A build that fails leaves the last good one; one that succeeds is never seen half done.
  rmSync(dist, { recursive: true, force: true });
  renameSync(next, dist);
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
