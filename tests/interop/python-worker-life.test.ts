/** The life of the platform's own Python worker: cancelling, dying, draining, restarts of the server. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { Relay } from "./relay.ts";
import { PythonWorker, suiteRig } from "./rig.ts";

/** A job that waits for this one waits until it is stopped. */
const NEVER = "/nonexistent/gate";

/** A file that jobs wait for, and what makes it. */
function makeGate(owner: Owner): { wait_for: string; open: () => void } {
  const gate = path.join(temporaryFolder(owner), "gate");
  return { wait_for: gate, open: () => writeFileSync(gate, "") };
}

describe("runpod.serverless: life", () => {
  const rig = suiteRig();

  async function workers(handler: string): Promise<Record<string, number>> {
    return { ...(await rig().deployment.status(`py-${handler}`)).workers };
  }

  test("an idle worker asks less than once a second, and counts as idle", async (t) => {
    const relay = await Relay.start(t, rig().sandbox.url);
    const worker = await rig().worker(t, "plain", { url: relay.url });
    await until(async () => (await workers("plain"))["IDLE"] === 1, { what: "an idle worker" });
    await until(() => relay.count("ping") >= 5, { what: "five seconds of pings" });
    assert.ok(relay.count("job-take", "job-take-batch", "job-stop") <= 4, relay.passed.join());
    const { json } = await rig().deployment.call("py-plain", "GET /health");
    assert.equal((json as { workers: Record<string, number> }).workers["ready"], 1);
    await worker.kill();
    await until(async () => (await workers("plain"))["IDLE"] === 0, { what: "nobody" });
  });

  test("cancelling stops an async handler", async (t) => {
    const worker = await rig().worker(t, "async");
    const { id } = await rig().submit("async", { wait_for: NEVER });
    await worker.untilNoted(`start ${id}`);
    const answer = await rig().deployment.call("py-async", `POST /cancel/${id}`);
    assert.equal((answer.json as { status: string }).status, "CANCELLED");
    await worker.untilNoted(`cancelled ${id}`);
    assert.equal((await rig().job("async", {})).status, "COMPLETED", "it works on");
  });

  test("what a handler returns after it was cancelled changes nothing", async (t) => {
    const worker = await rig().worker(t, "async");
    const { id } = await rig().submit("async", { wait_for: NEVER, swallow: true });
    await worker.untilNoted(`start ${id}`);
    await rig().deployment.call("py-async", `POST /cancel/${id}`);
    await worker.untilNoted(`cancelled ${id}`);
    assert.equal((await rig().job("async", {})).status, "COMPLETED");
    const { status, output } = await rig().status("async", id);
    assert.deepEqual([status, output], ["CANCELLED", undefined]);
  });

  test("a blocking handler runs on after its job was cancelled, and its result is ignored", async (t) => {
    const worker = await rig().worker(t, "plain");
    const { wait_for, open } = makeGate(t);
    const { id } = await rig().submit("plain", { wait_for });
    await worker.untilNoted(`start ${id}`);
    await rig().deployment.call("py-plain", `POST /cancel/${id}`);
    open();
    await worker.untilNoted(`end ${id}`);
    assert.equal((await rig().job("plain", {})).status, "COMPLETED");
    const { status, output } = await rig().status("plain", id);
    assert.deepEqual([status, output], ["CANCELLED", undefined]);
  });

  test("a blocking handler is no dead worker", async (t) => {
    await rig().worker(t, "plain");
    const job = await rig().job("plain", { sleep: 12 });
    assert.equal(job.status, "COMPLETED");
    assert.equal(job.retries, undefined);
  });

  test("a job whose result cannot be posted is tried once more, then fails", async (t) => {
    const worker = await rig().worker(t, "plain");
    const job = await rig().job("plain", { unserialisable: true });
    assert.equal(job.status, "FAILED");
    assert.equal(job.retries, 1);
    assert.match(job.error ?? "", /^job timed out after 1 retries/);
    assert.equal(worker.notes.filter((note) => note === `start ${job.id}`).length, 2);
  });

  test("a job that kills its worker is given to one more, then fails", async (t) => {
    await rig().worker(t, "plain");
    await rig().worker(t, "plain");
    const job = await rig().job("plain", { die: true });
    assert.equal(job.status, "FAILED");
    assert.equal(job.retries, 1);
    assert.match(job.error ?? "", /^job timed out after 1 retries/);
  });

  test("a job of a killed worker runs on another one", async (t) => {
    const first = await rig().worker(t, "async");
    const { wait_for, open } = makeGate(t);
    const { id } = await rig().submit("async", { wait_for });
    await first.untilNoted(`start ${id}`);
    const second = await rig().worker(t, "async");
    await first.kill();
    open();
    const done = await rig().untilStatus("async", id, "COMPLETED");
    assert.ok(second.notes.includes(`start ${id}`));
    assert.equal(done.retries, 1);
  });

  test("a worker that is removed finishes its job, and ends at SIGTERM", async (t) => {
    const worker = await rig().worker(t, "async");
    const { wait_for, open } = makeGate(t);
    const { id } = await rig().submit("async", { wait_for });
    await worker.untilNoted(`start ${id}`);
    await rig().remove(worker);
    open();
    await rig().untilStatus("async", id, "COMPLETED");
    assert.equal(
      (await worker.program.stop("SIGTERM")).code,
      0,
      "it did not wait for an open poll",
    );
  });

  test("a worker that is removed while it polls ends at once", async (t) => {
    const worker = await rig().worker(t, "async");
    assert.equal((await rig().job("async", {})).status, "COMPLETED");
    await rig().remove(worker);
    assert.equal(
      (await worker.program.stop("SIGTERM")).code,
      0,
      "it did not wait for an open poll",
    );
  });

  test("a removed worker's key opens nothing any more", async (t) => {
    const worker = await rig().worker(t, "plain");
    assert.equal((await rig().job("plain", {})).status, "COMPLETED");
    await rig().remove(worker);
    await worker.kill();
    const { RUNPOD_AI_API_KEY: key = "" } = worker.key.env;
    // Not a ping, which would be a sign of life.
    const url = `${rig().base}/${rig().id("add")}/health`;
    const asked = (): Promise<Response> => fetch(url, { headers: { authorization: key } });
    await until(async () => (await asked()).status === 401, { what: "a refusal" });
  });

  test("refresh_worker in the configuration: the worker exits after one job, and may come back", async (t) => {
    const worker = await rig().worker(t, "refreshing");
    assert.equal((await rig().job("refreshing", {})).status, "COMPLETED");
    const { code } = await worker.program.finished;
    assert.equal(code, 0);
    const { handler, key } = worker;
    PythonWorker.start(t, { handler, key });
    assert.equal((await rig().job("refreshing", {})).status, "COMPLETED");
  });

  test("refresh_worker in a result: the worker gets no further job until it was restarted", async (t) => {
    const first = await rig().worker(t, "plain");
    const job = await rig().job("plain", { refresh: true });
    assert.equal(job.status, "COMPLETED");
    assert.deepEqual(Object.keys(job.output as object), ["pid"]);
    await until(async () => (await workers("plain"))["DRAINING"] === 1, { what: "a drain" });
    const { id } = await rig().submit("plain", {});
    const second = await rig().worker(t, "plain");
    await second.untilNoted(`end ${id}`);
    assert.ok(!first.notes.includes(`start ${id}`));
  });

  test("a result that meets a short outage is kept", async (t) => {
    const relay = await Relay.start(t, rig().sandbox.url);
    relay.failures.set("job-done", [503]);
    const worker = await rig().worker(t, "plain", { url: relay.url });
    const job = await rig().job("plain", {});
    assert.deepEqual([job.status, job.retries], ["COMPLETED", undefined]);
    assert.equal(relay.count("job-done"), 2);
    assert.deepEqual(worker.notes, [`start ${job.id}`, `end ${job.id}`]);
  });

  test("a wrong key is refused slowly, and the server is none the worse", async (t) => {
    const worker = await rig().worker(t, "plain", { env: { RUNPOD_AI_API_KEY: "wrong" } });
    await worker.program.says(/401/);
    await rig().worker(t, "plain");
    assert.equal((await rig().job("plain", {})).status, "COMPLETED");
  });
});

describe("runpod.serverless: restarts of the server", () => {
  const rig = suiteRig();

  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    test(`a job that runs while the server restarts after ${signal} ends once`, async (t) => {
      const worker = await rig().worker(t, "async");
      const { id } = await rig().submit("async", { sleep: 6 });
      await worker.untilNoted(`start ${id}`);
      await rig().stopServer(signal);
      await rig().startServer();
      const done = await rig().untilStatus("async", id, "COMPLETED");
      assert.equal(done.retries, undefined);
      assert.deepEqual(worker.notes, [`start ${id}`], "the attempt went on");
    });
  }

  test("a job whose result came while the server was away runs again", async (t) => {
    const worker = await rig().worker(t, "async");
    const { wait_for, open } = makeGate(t);
    const { id } = await rig().submit("async", { wait_for });
    await worker.untilNoted(`start ${id}`);
    await rig().stopServer("SIGKILL");
    open();
    await worker.program.says(/Failed to return job results/);
    await rig().startServer();
    const done = await rig().untilStatus("async", id, "COMPLETED");
    assert.equal(done.retries, 1);
    assert.deepEqual(worker.notes, [`start ${id}`, `start ${id}`]);
  });
});
