/**
 * Runs a script on the project's own Node (npm package `node`), after installing and building what is
 * missing. This file itself must run on the machine's Node, whatever that is, so it is plain
 * JavaScript and needs no package.
 *
 *   node scripts/with-toolchain.mjs scripts/test.ts [arguments]
 */

import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const bin = path.join(root, "node_modules", ".bin");
const node = path.join(bin, process.platform === "win32" ? "node.cmd" : "node");
// npm sets these for the script it runs; a nested npm must find its own.
const env = {
  ...process.env,
  PATH: `${bin}${path.delimiter}${process.env.PATH ?? ""}`,
  // A package of the API browser would report installations to its makers.
  SCARF_ANALYTICS: "false",
};

const [script, ...args] = process.argv.slice(2);
if (needsInstall()) run("npm", ["ci", "--no-audit", "--no-fund"], "Installing packages …");
const isBuild = script === "scripts/build.ts";
if (!isBuild) run(node, [path.join(root, "scripts/build.ts"), "--if-stale"]);

const child = spawn(node, [path.join(root, script), ...args], { cwd: root, env, stdio: "inherit" });
// A terminal sends Ctrl-C to the whole group; a plain kill reaches only this process.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    if (!process.stdin.isTTY || signal !== "SIGINT") child.kill(signal);
  });
}
// npm passes signals on to its shell, and the shell dies without a word to us.
const { ppid } = process;
if (process.env.npm_lifecycle_event !== undefined) {
  const watch = setInterval(() => {
    if (process.ppid === ppid) return;
    clearInterval(watch);
    child.kill("SIGTERM");
  }, 250).unref();
}
child.on("exit", (code, signal) => {
  process.exitCode = code ?? (signal === "SIGINT" ? 130 : 1);
});

/** True when node_modules is absent or older than the lock file it should match. */
function needsInstall() {
  const marker = path.join(root, "node_modules", ".package-lock.json");
  if (!existsSync(node) || !existsSync(marker)) return true;
  const lock = path.join(root, "package-lock.json");
  if (statSync(lock).mtimeMs <= statSync(marker).mtimeMs) return false;
  const wanted = JSON.parse(readFileSync(lock, "utf8")).packages;
  const installed = JSON.parse(readFileSync(marker, "utf8")).packages;
  return Object.entries(wanted).some(
    ([name, entry]) =>
      name !== "" && entry.optional !== true && installed[name]?.version !== entry.version,
  );
}

function run(command, commandArgs, message) {
  if (message !== undefined) process.stderr.write(`${message}\n`);
  const result = spawnSync(command, commandArgs, { cwd: root, env, stdio: ["ignore", 2, 2] });
  if (result.status === 0) return;
  process.stderr.write(
    `${command} ${commandArgs.join(" ")} failed (${result.error?.message ?? `exit code ${result.status}`}).\n`,
  );
  process.exit(1);
}
