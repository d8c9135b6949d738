/** Functions that never give the main thread back, in the real worker program. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { cpuMsOf, endAfterwards } from "../support/processes.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { signature, writeArtifact, PRELUDE } from "./artifact.ts";
import { ProtocolServer } from "./protocol-server.ts";
import { WorkerProcess } from "./worker-process.ts";

const LIMIT_MS = 1000;
/** How much longer a loop may have computed by the time it is ended. On an idle machine about 100 ms. */
const LATE_MS = 800;

async function start(t: TestContext, code: string, env: Record<string, string> = {}) {
  const server = await ProtocolServer.start(t);
  const artifact = writeArtifact(t, { kind: "qb", functions: [signature("demo")], code });
  const worker = await WorkerProcess.startReady(t, artifact, { env: { ...server.env, ...env } });
  return { server, worker };
}

/** Gives a job that spins for ever; resolves with the error that it ends with, when all is as it should be. */
async function spin(t: TestContext): Promise<{ message: string; stack: string; cpuMs: number }> {
  const file = path.join(temporaryFolder(t), "pid");
  const { server, worker } = await start(
    t,
    `
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
function spin() { let n = 0;
  for (;;) n++;
}
queue(() => {
  writeFileSync(process.env.PID_FILE, String(spawn("sleep", ["600"], { stdio: "ignore" }).pid));
  spin();
});`,
    { PID_FILE: file },
  );
  const givenAt = performance.now();
  server.give({ id: "j1", input: {}, attempt: 3, executionTimeout: LIMIT_MS });
  await until(() => server.openTakes === 0 && server.takes.length > 0, { what: "the take" });
  const { child } = worker;
  const cpuMs = (): number => cpuMsOf(child.pid ?? 0) ?? 0;
  const before = cpuMs();
  let after = before;
  await until(
    () => {
      after = Math.max(after, cpuMs());
      return child.exitCode !== null || child.signalCode !== null;
    },
    { what: "the worker's end" },
  );
  const endedAfterMs = performance.now() - givenAt;
  const { body, attempt } = await server.done("j1");
  const exit = await worker.exited;
  // Here the worker does not lead its group.
  endAfterwards(t, [Number(readFileSync(file, "utf8"))]);
  assert.equal(exit.signal, "SIGKILL");
  // In processor time: what else the machine has to do makes a loop end later, but compute less.
  assert.ok(after - before < LIMIT_MS + LATE_MS, `the loop went on for ${after - before} ms`);
  assert.ok(endedAfterMs >= LIMIT_MS, `the worker ended after ${endedAfterMs} ms`);
  const failure = JSON.parse(body.error);
  assert.equal(failure.error_report.code, "EXECUTION_TIMEOUT");
  assert.deepEqual([attempt, body.retryable], ["3", false]);
  const message = String(failure.error_message);
  assert.match(message, /did not finish\./);
  assert.ok(worker.lines("stderr").some((line) => String(line.message).startsWith(message)));
  return { message, stack: String(failure.error_traceback), cpuMs: after - before };
}

test("an endless loop ends at its limit, with everything it started, and the error says where it was", async (t) => {
  // It is asked for 900 ms. A machine that gives it next to no time by then has to do it again.
  let bestCpuMs = 0;
  for (let attempt = 1; attempt <= 5; attempt += 1) {
    const { message, stack, cpuMs } = await spin(t);
    bestCpuMs = Math.max(bestCpuMs, cpuMs);
    if (!message.includes("It was busy")) continue;
    const line = PRELUDE.split("\n").length + 5;
    assert.match(message, new RegExp(`It was busy at spin \\(.*index\\.mjs:${line}:`));
    assert.match(stack, /at spin .*\n.*at .*index\.mjs/);
    return;
  }
  assert.ok(bestCpuMs < LIMIT_MS / 2, "it had the time, and never told where it was");
  t.skip(
    `a busy thread gets ${bestCpuMs} ms of ${LIMIT_MS} ms here: too little to be asked anything`,
  );
});

test("a loop that ends before its limit is left alone, although it is asked where it is", async (t) => {
  // It is asked 400 ms before. A machine that stands still for the 300 ms in between makes it late.
  for (let attempt = 1; ; attempt += 1) {
    const { server, worker } = await start(
      t,
      `queue(() => { const end = Date.now() + 700; while (Date.now() < end); return "done"; });`,
    );
    const isDone = async (id: string): Promise<boolean> => {
      server.give({ id, input: {}, executionTimeout: LIMIT_MS });
      const { body } = await server.done(id);
      if (body.error !== undefined) assert.match(body.error, /EXECUTION_TIMEOUT/);
      return body.output === "done";
    };
    if ((await isDone("j1")) && (await isDone("j2"))) {
      assert.equal(worker.child.exitCode, null);
      return;
    }
    assert.ok(attempt < 10, "it is never left alone");
  }
});

test("a call into native code that does not come back ends too, without a place", async (t) => {
  const { server, worker } = await start(
    t,
    `queue(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));`,
  );
  server.give({ id: "j1", input: {}, executionTimeout: LIMIT_MS });
  const failure = JSON.parse((await server.done("j1")).body.error);
  assert.match(failure.error_message, /did not finish\./);
  assert.equal((await worker.exited).signal, "SIGKILL");
});
