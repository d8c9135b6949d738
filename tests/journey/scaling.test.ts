/** Workers come when there is work, and go when there is none. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Sandbox, workerPids } from "../support/flash.ts";
import { isAlive } from "../support/processes.ts";
import { until } from "../support/until.ts";
import { adder, QUEUE } from "./projects.ts";

test("a load-balanced endpoint with workers [0, 1] has no process when idle", async (t) => {
  const sandbox = await Sandbox.open(t);
  const deployment = await sandbox.deploy(sandbox.project(adder("adder")));
  const { id } = deployment.endpoint("adder");
  const workers = (): number[] => workerPids(sandbox.home, id);
  assert.deepEqual(workers(), []);
  assert.equal((await deployment.status("adder")).state, "idle");

  const answer = await deployment.call("adder", "POST /api/process", { x: 5, y: 3 });
  assert.equal(answer.json, 8, "the first request waits for a cold start");
  // Not looked for among the processes: it stops a second after its answer, wherever the test is by then.
  const { pid } = (await deployment.call("adder", "GET /who")).json as { pid: number };
  assert.notEqual(pid, process.pid);

  await until(() => !isAlive(pid), { what: "the worker that has answered to stop" });
  await until(() => workers().length === 0, { what: "the idle worker to stop" });
  await until(async () => (await deployment.status("adder")).state === "idle", { what: "idle" });
  const again = await deployment.call("adder", "POST /api/process", { x: 1, y: 1 });
  assert.equal(again.json, 2, "and it comes back");
});

test("a queue endpoint scales from zero and back", async (t) => {
  const sandbox = await Sandbox.open(t);
  const deployment = await sandbox.deploy(sandbox.project(QUEUE));
  const { id } = deployment.endpoint("double");
  assert.deepEqual(workerPids(sandbox.home, id), []);
  const done = await deployment.call("double", "POST /runsync", { input: { value: 4 } });
  assert.equal((done.json as { output: unknown }).output, 8);
  await until(() => workerPids(sandbox.home, id).length === 0, { what: "the worker to stop" });
});

test("undeploy removes the endpoints and their workers", async (t) => {
  const sandbox = await Sandbox.open(t);
  const project = sandbox.project(adder("adder", "", "[1, 1]"));
  const deployment = await sandbox.deploy(project);
  const { id, url } = deployment.endpoint("adder");
  await until(() => workerPids(sandbox.home, id).length === 1, { what: "the standing worker" });
  const removed = await sandbox.flash(project, "undeploy", "adder", "--force");
  assert.equal(removed.code, 0, removed.stderr);
  await until(() => workerPids(sandbox.home, id).length === 0, { what: "the worker to stop" });
  assert.equal((await sandbox.fetch(`${url}/who`)).status, 404);
});
