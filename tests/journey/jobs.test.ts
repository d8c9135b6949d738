/** What becomes of a job when its code, its worker or the server fails. */

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { Sandbox, type Deployment } from "../support/flash.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { QUEUE } from "./projects.ts";

/** Files through which a test and a gated job talk. */
interface Gate {
  input: { log: string; gate: string };
  open: () => void;
  /** Process ids of the attempts so far. */
  attempts: () => number[];
}

function makeGate(t: TestContext): Gate {
  const folder = temporaryFolder(t, "flash-gate");
  const log = path.join(folder, "log");
  const gate = path.join(folder, "gate");
  return {
    input: { log, gate },
    open: () => writeFileSync(gate, ""),
    // Whole lines alone: a file is there before anything is in it.
    attempts: () =>
      existsSync(log) ? readFileSync(log, "utf8").split("\n").slice(0, -1).map(Number) : [],
  };
}

async function submit(deployment: Deployment, name: string, input: unknown): Promise<string> {
  const answer = await deployment.call(name, "POST /run", { input });
  assert.equal(answer.status, 200, answer.text);
  const { id, status } = answer.json as { id: string; status: string };
  assert.equal(status, "IN_QUEUE");
  return id;
}

test("a job that throws is tried again and ends FAILED with its error", async (t) => {
  const sandbox = await Sandbox.open(t);
  const deployment = await sandbox.deploy(sandbox.project(QUEUE));
  const log = path.join(temporaryFolder(t), "log");
  const id = await submit(deployment, "failing", { log });
  const job = await deployment.finished("failing", id);
  assert.equal(job.status, "FAILED");
  assert.match(job.error ?? "", /this input cannot be processed/);
  assert.equal(readFileSync(log, "utf8"), "tried\ntried\n", "one attempt and one retry");
});

test("a job whose worker is killed runs again and completes", async (t) => {
  const sandbox = await Sandbox.open(t);
  const deployment = await sandbox.deploy(sandbox.project(QUEUE));
  const gate = makeGate(t);
  const id = await submit(deployment, "gated", gate.input);
  const [first] = await until(() => gate.attempts().length > 0 && gate.attempts(), {
    what: "the first attempt",
  });
  assert.ok(first);
  process.kill(first, "SIGKILL");
  await until(() => gate.attempts().length > 1, { what: "the second attempt" });
  gate.open();
  const job = await deployment.finished("gated", id);
  assert.equal(job.status, "COMPLETED");
  assert.notEqual((job.output as { pid: number }).pid, first);
});

test("a killed server loses nothing that it had accepted", async (t) => {
  const sandbox = await Sandbox.open(t);
  const server = await sandbox.serve();
  const deployment = await sandbox.deploy(sandbox.project(QUEUE));
  const gate = makeGate(t);
  const running = await submit(deployment, "gated", gate.input);
  await until(() => gate.attempts().length > 0, { what: "the first attempt" });
  // These wait behind the first: the endpoint has one worker.
  const waiting = await Promise.all([1, 2, 3].map(() => submit(deployment, "gated", gate.input)));

  server.child.kill("SIGKILL");
  await server.finished;
  await sandbox.serve();
  gate.open();
  for (const id of [running, ...waiting]) {
    const job = await deployment.finished("gated", id);
    assert.equal(job.status, "COMPLETED", id);
  }
});

test("every job that was acknowledged completes, however often the server is killed", async (t) => {
  const sandbox = await Sandbox.open(t);
  let server = await sandbox.serve();
  const deployment = await sandbox.deploy(sandbox.project(QUEUE));
  const accepted: string[] = [];
  for (let round = 0; round < 3; round += 1) {
    const before = accepted.length;
    const burst = Array.from({ length: 30 }, async (_, value) => {
      accepted.push(await submit(deployment, "double", { value }));
    });
    // In the middle of it: the rest of the burst fails, which is no promise broken.
    await until(() => accepted.length > before + 5, { what: "some jobs" });
    server.child.kill("SIGKILL");
    await Promise.allSettled([server.finished, ...burst]);
    server = await sandbox.serve();
  }
  const jobs = await Promise.all(accepted.map((id) => deployment.finished("double", id)));
  assert.deepEqual([...new Set(jobs.map(({ status }) => status))], ["COMPLETED"]);
});

test("wrong input is refused before a job exists, and names the parameter", async (t) => {
  const sandbox = await Sandbox.open(t);
  const deployment = await sandbox.deploy(sandbox.project(QUEUE));
  const refused = await deployment.call("double", "POST /run", { input: { value: "a" } });
  assert.equal(refused.status, 400);
  assert.match(refused.text, /value/);
  const done = await deployment.call("double", "POST /runsync", { input: { value: 21 } });
  const { status, output } = done.json as { status: string; output: unknown };
  assert.deepEqual([status, output], ["COMPLETED", 42]);
});
