/**
 * Runs the tests with unmodified Runpod clients and workers (`npm run test:interop`). What they need is
 * installed first, from npm and PyPI, into node_modules/.cache/interop. Arguments are file patterns
 * and flags of Node's test runner.
 */

import { spawnSync, type SpawnSyncReturns } from "node:child_process";
import { existsSync, globSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

const JS_CLIENT = "1.1.2";
/** Client and worker. */
const PYTHON = "1.12.0";
/** A worker from before batch taking, fitness checks and the stop channel. */
const OLD_PYTHON = "1.6.2";

const root = path.dirname(import.meta.dirname);
const cache = path.join(root, "node_modules", ".cache", "interop");

try {
  main();
} catch (error) {
  console.error(`interop: ${(error as Error).message}`);
  process.exitCode = 1;
}

function main(): void {
  mkdirSync(cache, { recursive: true });
  const env = {
    ...process.env,
    INTEROP_JS: once(`js-${JS_CLIENT}`, installJs),
    INTEROP_PYTHON: once(`python-${PYTHON}`, (folder) => installPython(folder, PYTHON)),
    INTEROP_OLD_PYTHON: once(`python-${OLD_PYTHON}`, (folder) => installPython(folder, OLD_PYTHON)),
  };
  const args = process.argv.slice(2);
  const patterns = args.filter((arg) => !arg.startsWith("--"));
  const flags = args.filter((arg) => arg.startsWith("--"));
  const files = globSync(patterns.length > 0 ? patterns : "tests/interop/*.test.ts", {
    cwd: root,
  });
  if (files.length === 0) throw new Error(`no test file matches ${patterns.join(" ")}`);
  const runner = ["--test", "--test-timeout=900000", "--test-reporter=spec"];
  const result = spawnSync(process.execPath, [...runner, ...flags, ...files.sort()], {
    cwd: root,
    env,
    stdio: "inherit",
  });
  process.exitCode = result.status ?? 1;
}

/** Fills a folder of the cache unless an earlier run has; one that was cut short does not count. */
function once(name: string, fill: (folder: string) => void): string {
  const folder = path.join(cache, name);
  const done = path.join(folder, ".complete");
  if (existsSync(done)) return folder;
  rmSync(folder, { recursive: true, force: true });
  console.error(`Installing ${name} …`);
  fill(folder);
  writeFileSync(done, "");
  return folder;
}

function installJs(folder: string): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "package.json"), '{ "private": true }\n');
  const quiet = ["--no-audit", "--no-fund", "--silent"];
  run("npm", ["install", ...quiet, "--prefix", folder, `runpod-sdk@${JS_CLIENT}`]);
}

function installPython(folder: string, version: string): void {
  makeVenv(folder);
  const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
  run(path.join(folder, "bin", "python"), [...pip, `runpod==${version}`]);
}

/** Debian keeps venv in a package of its own, which a fresh machine may not have. */
function makeVenv(folder: string): void {
  if (spawnSync("python3", ["--version"]).status !== 0) {
    throw new Error("python3 is missing: install Python 3.10 or newer.");
  }
  if (attempt("python3", ["-m", "venv", folder]).status === 0) return;
  const isRoot = process.getuid?.() === 0;
  const hasApt = spawnSync("apt-get", ["--version"]).status === 0;
  if (!isRoot || !hasApt) {
    throw new Error("python3 cannot make virtual environments: apt-get install python3-venv.");
  }
  console.error("Installing python3-venv …");
  run("apt-get", ["update", "-qq"]);
  run("apt-get", ["install", "-y", "-qq", "python3-venv"]);
  rmSync(folder, { recursive: true, force: true });
  run("python3", ["-m", "venv", folder]);
}

function run(command: string, args: readonly string[]): void {
  const { status, stdout, stderr, error } = attempt(command, args);
  if (status === 0) return;
  const why = error?.message ?? `${stdout}${stderr}`.trim();
  throw new Error(`${command} ${args.join(" ")} failed:\n${why}`);
}

function attempt(command: string, args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(command, args, { cwd: root, encoding: "utf8" });
}
