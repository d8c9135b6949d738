/** Readers that leave, and commands that are interrupted. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import type { Readable } from "node:stream";
import { test } from "node:test";
import { ENTRY, machine } from "./cli.ts";

test("a reader that has read enough is no failure: flash explain | head -1", async (t) => {
  const { cwd, env } = machine(t);
  const command = `set -o pipefail; '${process.execPath}' '${ENTRY}' explain | head -1`;
  const child = spawn("bash", ["-c", command], { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (text) => (stdout += String(text)));
  child.stderr.on("data", (text) => (stderr += String(text)));
  const [code] = (await once(child, "close")) as [number];
  assert.match(stdout, /^INVALID_INPUT .*\n$/);
  assert.equal(stderr, "");
  assert.equal(code, 0);
});

test("a reader that closes before anything is written is no failure either", async (t) => {
  const { cwd, env } = machine(t);
  const child = spawn(process.execPath, [ENTRY, "--help"], { cwd, env });
  child.stdout.destroy();
  let stderr = "";
  child.stderr.on("data", (text) => (stderr += String(text)));
  const [code] = (await once(child, "close")) as [number];
  assert.equal(stderr, "");
  assert.equal(code, 0);
});

test("a server whose log cannot be written goes on, and ends as it should", async (t) => {
  if (process.platform !== "linux") return t.skip("needs /dev/full");
  const { cwd, env } = machine(t);
  const full = openSync("/dev/full", "w");
  t.after(() => closeSync(full));
  const child = spawn(process.execPath, [ENTRY, "server", "start", "--foreground", "--port", "0"], {
    cwd,
    env: { ...env, LOG_LEVEL: "debug" },
    stdio: ["ignore", "pipe", full],
  });
  t.after(() => child.kill("SIGKILL"));
  await once(child.stdout as Readable, "data");
  // Told on stderr, before anything is closed.
  child.kill("SIGTERM");
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  assert.deepEqual([code, signal], [0, null]);
});

test("a full disk is told in one line, with the exit code of a failure", async (t) => {
  if (process.platform !== "linux") return t.skip("needs /dev/full");
  const { cwd, env } = machine(t);
  const full = openSync("/dev/full", "w");
  t.after(() => closeSync(full));
  const child = spawn(process.execPath, [ENTRY, "--help"], {
    cwd,
    env,
    stdio: ["ignore", full, "pipe"],
  });
  let stderr = "";
  child.stderr?.on("data", (text) => (stderr += String(text)));
  const [code] = (await once(child, "close")) as [number];
  assert.match(stderr, /^✗ The output cannot be written: ENOSPC.*\n$/);
  assert.equal(code, 1);
});
