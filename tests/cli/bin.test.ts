/**
 * bin/flash.js on an old Node. The file runs in a package of its own whose program only tells how it
 * was started; a preload makes this Node claim to be an old one.
 */

import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { isNodeNewEnough } from "../../src/cli/machine-node.ts";
import { Program, run } from "../support/program.ts";
import { ROOT, temporaryFolder, writeFiles, type Owner } from "../support/temp.ts";

const OLD = "v20.9.0";

const PROGRAM = `
process.stdout.write(JSON.stringify({
  version: process.version, args: process.argv.slice(2), restarted: process.env.FLASH_RESTARTED ?? null,
}) + "\\n");
if (process.argv[2] === "exit") process.exitCode = Number(process.argv[3]);
if (process.argv[2] === "wait") {
  const timer = setInterval(() => {}, 1000);
  process.on("SIGTERM", () => { process.stdout.write("got SIGTERM\\n"); process.exitCode = 7; clearInterval(timer); });
  process.stdout.write("waiting\\n");
}
`;

interface Package {
  cwd: string;
  command: (...args: string[]) => [string, ...string[]];
  env: NodeJS.ProcessEnv;
}

/** An installed copy of the command, run by a Node that says it is \`version\`. */
function install(owner: Owner, version = OLD): Package {
  const base = temporaryFolder(owner, "flash-bin");
  writeFiles(base, {
    "package/package.json": '{ "type": "module" }',
    "package/dist/cli/main.js": PROGRAM,
    "preload.mjs": `if (process.env.FLASH_RESTARTED === undefined)
      Object.defineProperty(process, "version", { value: "${version}" });`,
  });
  mkdirSync(path.join(base, "package/bin"));
  cpSync(path.join(ROOT, "bin/flash.js"), path.join(base, "package/bin/flash.js"));
  const cwd = path.join(base, "project", "deep");
  mkdirSync(cwd, { recursive: true });
  const preload = path.join(base, "preload.mjs");
  const flash = path.join(base, "package/bin/flash.js");
  return {
    cwd,
    env: { ...process.env, FLASH_RESTARTED: undefined },
    command: (...args) => [process.execPath, "--import", preload, flash, ...args],
  };
}

/** This Node, as the npm package \`node\` would put it there. */
function bringNode(folder: string): void {
  const bin = path.join(folder, "node_modules", ".bin");
  mkdirSync(bin, { recursive: true });
  symlinkSync(process.execPath, path.join(bin, "node"));
}

/** `>=22.18` of a package.json → `22.18`. */
function oldestNode(manifest: string): string {
  const { engines } = JSON.parse(readFileSync(path.join(ROOT, manifest), "utf8")) as {
    engines: { node: string };
  };
  return engines.node.replace(">=", "");
}

test("the oldest Node of package.json's engines is the one that the command and new projects name", () => {
  const oldest = oldestNode("package.json");
  assert.equal(oldestNode("templates/default/package-json"), oldest);
  const [major = 0, minor = 0] = oldest.split(".").map(Number);
  assert.ok(isNodeNewEnough(`v${oldest}.0`));
  assert.ok(!isNodeNewEnough(`v${major}.${minor - 1}.9`));
  const bin = readFileSync(path.join(ROOT, "bin/flash.js"), "utf8");
  assert.ok(bin.includes(`const NEEDED = [${major}, ${minor}];`));
});

test("a new Node starts the program itself", async (t) => {
  const { command, cwd, env } = install(t, "v22.18.0");
  const { code, stdout } = await run(command("status", "--json"), { cwd, env });
  assert.equal(code, 0);
  const expected = { version: "v22.18.0", args: ["status", "--json"], restarted: null };
  assert.deepEqual(JSON.parse(stdout), expected);
});

test("an old Node hands over to the project's own, found upward, and ends as that one ends", async (t) => {
  const { command, cwd, env } = install(t);
  bringNode(path.dirname(cwd));
  const { code, stdout } = await run(command("exit", "3"), { cwd, env });
  assert.equal(code, 3);
  const expected = { version: process.version, args: ["exit", "3"], restarted: null };
  assert.deepEqual(JSON.parse(stdout), expected);
});

test("a Node next to the installed package is found as well", async (t) => {
  const { command, cwd, env } = install(t);
  bringNode(path.resolve(cwd, "../../package"));
  const { stdout } = await run(command("status"), { cwd: path.resolve(cwd, "../.."), env });
  assert.equal((JSON.parse(stdout) as { version: string }).version, process.version);
});

test("signals reach the program, and its own exit code counts", async (t) => {
  const { command, cwd, env } = install(t);
  bringNode(cwd);
  const program = Program.start(t, command("wait"), { cwd, env });
  await program.says(/waiting/);
  const { code, stdout } = await program.stop("SIGTERM");
  assert.match(stdout, /got SIGTERM/);
  assert.equal(code, 7);
});

test("without a newer Node the error names both versions and the way out", async (t) => {
  const { command, cwd, env } = install(t);
  const { code, stdout, stderr } = await run(command("deploy"), { cwd, env });
  assert.equal(code, 2);
  assert.equal(stdout, "");
  assert.match(stderr, /Flash needs Node 22\.18 or newer; this is v20\.9\.0/);
  assert.match(stderr, /npm install --save-dev node@24/);
});

test("a Node that is too old itself is not handed to", async (t) => {
  const { command, cwd, env } = install(t);
  const bin = path.join(cwd, "node_modules", ".bin");
  mkdirSync(bin, { recursive: true });
  writeFileSync(path.join(bin, "node"), "#!/bin/sh\necho v22.17.1\n", { mode: 0o755 });
  assert.equal((await run(command("deploy"), { cwd, env })).code, 2);
});

test("init, help and version work on an old Node", async (t) => {
  const { command, cwd, env } = install(t);
  for (const args of [[], ["init", "demo"], ["--help"], ["deploy", "--help"], ["-v"]]) {
    const { code, stdout } = await run(command(...args), { cwd, env });
    assert.equal(code, 0);
    assert.deepEqual((JSON.parse(stdout) as { args: string[] }).args, args);
  }
});
