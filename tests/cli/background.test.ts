/** A server that is started in the background: its first words count, whenever they are read. */

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { ready } from "../../src/cli/background.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";

const { signal } = new AbortController();

/** A process that stays until it is ended, after it has said what `says` makes it say. */
function start(t: TestContext, says: string): ChildProcess {
  const child = spawn(process.execPath, ["-e", `setInterval(() => {}, 1000); ${says}`], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  t.after(() => child.kill("SIGKILL"));
  return child;
}

/** Keeps this process from everything else. */
function standStill(until: () => boolean): void {
  while (!until());
}

test("a server that was ready while its starter stood still is not ended", async (t) => {
  const told = path.join(temporaryFolder(t), "told");
  const file = JSON.stringify(told);
  const child = start(
    t,
    `process.send({ url: "http://one" }, () => require("node:fs").writeFileSync(${file}, ""));`,
  );
  const withinMs = 1;
  const url = ready(child, { signal, withinMs });
  const endsAt = performance.now() + 10 * withinMs;
  standStill(() => existsSync(told) && performance.now() > endsAt);
  assert.equal(await url, "http://one");
  assert.equal(child.killed, false);
});

test("a server that says nothing is ended, and not taken for one that runs", async (t) => {
  const child = start(t, "");
  await assert.rejects(ready(child, { signal, withinMs: 1 }), {
    code: "UNAVAILABLE",
    message: "The Flash server was not ready within 0.001 s.",
  });
  await until(() => child.signalCode === "SIGTERM", { what: "its end" });
});
