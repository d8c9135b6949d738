#!/usr/bin/env node
/**
 * The `flash` command. Flash needs Node 22.18 or newer, but a machine's own `node` is often older, so
 * this file is plain JavaScript for Node 18: it looks for a newer Node that a project brings along
 * (npm package `node`) and starts itself again with that one.
 */

import { createRequire } from "node:module";

// An `import` of these would take 3 ms longer: it reads all that they have, and they load things lazily.
const require = createRequire(import.meta.url);
const { existsSync } = require("node:fs");
const module = require("node:module");
const path = require("node:path");
const { fileURLToPath } = require("node:url");

const NEEDED = [22, 18];
/** What also works on an older Node: it only prints, or writes files. */
const UNDEMANDING = new Set(["init", "help", "--help", "-h", "--version", "-v"]);

/** Set for the process that was started with a newer Node, so that it can never look for another. */
const RESTARTED = "FLASH_RESTARTED";

const self = fileURLToPath(import.meta.url);
const args = process.argv.slice(2);
const wasRestarted = process.env[RESTARTED] === "1";
delete process.env[RESTARTED];

if (isNewEnough(process.version)) await start();
else {
  const newer = wasRestarted ? undefined : findNode();
  if (newer !== undefined) restartWith(newer);
  else if (args.length === 0 || args.some((arg) => UNDEMANDING.has(arg))) await start();
  else refuse();
}

/** Node 22 says of its SQLite, each time, that it is experimental: what we build on, and test there. */
function hushSqlite() {
  const { emitWarning } = process;
  process.emitWarning = (warning, ...rest) => {
    if (!String(warning).startsWith("SQLite is an experimental")) {
      emitWarning.call(process, warning, ...rest);
    }
  };
}

async function start() {
  if (process.version.startsWith("v22.")) hushSqlite();
  module.enableCompileCache?.();
  const entry = new URL("../dist/cli/main.js", import.meta.url);
  if (!existsSync(entry)) {
    process.stderr.write(`✗ ${fileURLToPath(entry)} is missing.\n  Run 'npm run build' first.\n`);
    process.exitCode = 1;
    return;
  }
  await import(entry.href);
}

/** The nearest node of 22.18 or newer, from the current folder upward, then from this file upward. */
function findNode() {
  const { spawnSync } = require("node:child_process");
  const file =
    process.platform === "win32"
      ? path.join("node_modules", "node", "bin", "node.exe")
      : path.join("node_modules", ".bin", "node");
  const candidates = [...upward(process.cwd()), ...upward(path.dirname(self))].map((folder) =>
    path.join(folder, file),
  );
  return [...new Set(candidates)].find((candidate) => {
    if (!existsSync(candidate)) return false;
    const { stdout } = spawnSync(candidate, ["--version"], { encoding: "utf8" });
    return isNewEnough(stdout ?? "");
  });
}

function upward(folder) {
  const parent = path.dirname(folder);
  return parent === folder ? [folder] : [folder, ...upward(parent)];
}

function isNewEnough(version) {
  const [major = 0, minor = 0] = version.trim().replace(/^v/, "").split(".").map(Number);
  return major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1]);
}

function restartWith(node) {
  const { spawn } = require("node:child_process");
  const child = spawn(node, [...process.execArgv, self, ...args], {
    stdio: "inherit",
    env: { ...process.env, [RESTARTED]: "1" },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => {
      // A terminal sends Ctrl-C to the whole group itself; twice would mean "stop at once".
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on("error", (error) => {
    process.stderr.write(`✗ ${node} could not be started: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.on("exit", (code, signal) => {
    process.exitCode =
      code ?? 128 + ({ SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 }[signal] ?? 0);
  });
}

function refuse() {
  process.stderr.write(
    `✗ Flash needs Node ${NEEDED.join(".")} or newer; this is ${process.version} (${process.execPath}).\n` +
      "  Run 'npm install --save-dev node@24' in the project, or install Node 24.\n",
  );
  process.exitCode = 2;
}
