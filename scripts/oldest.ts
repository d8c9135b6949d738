/**
 * Runs tests on the oldest Node that package.json's `engines` admits (`npm run test:oldest`): the journey
 * of the packed package, what the store writes and reads, and a worker. The Node comes from the npm
 * registry. Arguments are file patterns and flags of Node's test runner.
 */

import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";

const PATTERNS = [
  "tests/journey/{package,logs}.test.ts",
  "tests/server/{store,journal,jobs,batches,secrets,api-keys,control}.test.ts",
  "tests/worker/stuck.test.ts",
];

const root = path.dirname(import.meta.dirname);
const folder = mkdtempSync(path.join(tmpdir(), "flash-oldest-"));
try {
  main();
} catch (error) {
  console.error(`oldest: ${(error as Error).message}`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function main(): void {
  const args = process.argv.slice(2);
  const patterns = args.filter((arg) => !arg.startsWith("--"));
  const flags = args.filter((arg) => arg.startsWith("--"));
  const files = globSync(patterns.length > 0 ? patterns : PATTERNS, { cwd: root }).sort();
  if (files.length === 0) throw new Error(`no test file matches ${patterns.join(" ")}`);
  const version = oldestNode();
  const node = installNode(version);
  console.log(`Node ${version}, ${files.length} test files`);
  // They wait more than they work: npm, servers that start, workers that stop.
  const atOnce = `--test-concurrency=${availableParallelism() + 1}`;
  const runner = ["--test", "--test-timeout=600000", "--test-reporter=spec", atOnce];
  const result = spawnSync(node, [...runner, ...flags, ...files], {
    cwd: root,
    // What is started as plain `node`, by npm or by a first line of a script, is this one too.
    env: { ...process.env, PATH: `${path.dirname(node)}${path.delimiter}${process.env.PATH}` },
    stdio: "inherit",
  });
  process.exitCode = result.status ?? 1;
}

/** Such as `22.18.0` of `>=22.18`. */
function oldestNode(): string {
  const { engines } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
    engines: { node: string };
  };
  const [, major, minor = "0", patch = "0"] =
    /^>=(\d+)(?:\.(\d+))?(?:\.(\d+))?$/.exec(engines.node) ?? [];
  if (major === undefined) {
    throw new Error(`engines.node is '${engines.node}', which names no oldest version: '>=22.18'`);
  }
  return `${major}.${minor}.${patch}`;
}

/** Returns the executable. It lies outside of node_modules, where it would count as a project's own. */
function installNode(version: string): string {
  const file = process.platform === "win32" ? "node.exe" : "node";
  const prefix = path.join(folder, "npm");
  const node = path.join(folder, "bin", file);
  mkdirSync(prefix);
  mkdirSync(path.dirname(node));
  writeFileSync(path.join(prefix, "package.json"), '{ "private": true }\n');
  run("npm", ["install", "--no-audit", "--no-fund", "--prefix", prefix, `node@${version}`]);
  copyFileSync(path.join(prefix, "node_modules", "node", "bin", file), node);
  const installed = run(node, ["--version"]).trim();
  if (installed !== `v${version}`) throw new Error(`npm brought ${installed}, not v${version}`);
  return node;
}

/** Returns what the command wrote. */
function run(command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
  });
  if (status === 0) return stdout;
  const why = error?.message ?? `${stdout}${stderr}`.trim();
  throw new Error(`${command} ${args.join(" ")} failed:\n${why}`);
}
