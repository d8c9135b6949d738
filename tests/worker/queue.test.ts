/** The queue worker against a server of the worker protocol. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import type { FunctionManifest } from "../../src/contract/manifest.ts";
import type { EndpointOptions } from "../../src/contract/options.ts";
import { temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { parameter, signature, writeArtifact } from "./artifact.ts";
import { ProtocolServer } from "./protocol-server.ts";
import { WorkerProcess } from "./worker-process.ts";

const number = { type: "number" } as const;
const string = { type: "string" } as const;

interface Started {
  server: ProtocolServer;
  worker: WorkerProcess;
}

/** A ready worker of one function, and its server. */
async function start(
  t: Owner,
  {
    code,
    fn = signature("demo", [parameter("n", number, { required: false })]),
    options = {},
  }: {
    code: string;
    fn?: FunctionManifest;
    options?: EndpointOptions;
  },
): Promise<Started> {
  const server = await ProtocolServer.start(t);
  const artifact = writeArtifact(t, { kind: "qb", functions: [fn], code, options });
  return { server, worker: await WorkerProcess.startReady(t, artifact, { env: server.env }) };
}

/** Says that it runs when SIGUSR2 lets it go on: before that, the signal would end the worker. */
function gatedBySignal(result: string): string {
  return `queue(async () => {
    const told = new Promise((resolve) => process.once("SIGUSR2", resolve));
    console.log("running"); await told; return "${result}"; });`;
}

// oxlint-disable-next-line typescript/no-explicit-any -- tests look into it freely
function failureOf(body: { error: string }): Record<string, any> {
  return JSON.parse(body.error) as Record<string, unknown>;
}

describe("jobs", () => {
  test("a job is taken, run and its output posted, with the raw key and the attempt", async (t) => {
    const { server } = await start(t, {
      code: `queue((n, word = "x") => ({ n, word, job: context().job, attempt: context().attempt }));`,
      fn: signature("demo", [
        parameter("n", number),
        parameter("word", string, { required: false }),
      ]),
    });
    server.give({ id: "j1-u1", input: { n: 5 }, attempt: 3 });
    const { body, isStream, attempt } = await server.done("j1-u1");
    const job = { id: "j1-u1", endpoint: "demo" };
    assert.deepEqual(body, { output: { n: 5, word: "x", job, attempt: 3 } });
    assert.equal(isStream, false);
    assert.equal(attempt, "3");
    assert.deepEqual([...server.keys], ["worker-secret"]);
    assert.equal(server.takes[0]?.get("job_in_progress"), "0");
  });

  test("an input that does not fit fails the job for good and names the parameter", async (t) => {
    const { server } = await start(t, {
      code: `queue((n) => n);`,
      fn: signature("demo", [parameter("n", number)]),
    });
    server.give({ id: "j1", input: { n: "five" } }, { id: "j2", input: null });
    const { body, attempt } = await server.done("j1");
    assert.equal(body.retryable, false);
    assert.match(failureOf(body).error_message, /n must be a number/);
    assert.equal(failureOf(body).error_report.code, "INVALID_INPUT");
    assert.equal(attempt, undefined);
    assert.match(failureOf((await server.done("j2")).body).error_message, /n is required/);
  });

  test("a function that throws fails its job with name, message, stack and cause; the worker goes on", async (t) => {
    const { server, worker } = await start(t, {
      code: `class ModelError extends Error {}
        queue((n) => {
          if (n === 1) throw new ModelError("boom ü", { cause: new Error("because") });
          if (n === 2) throw Object.assign(new Error("final"), { retryable: false });
          return n;
        });`,
    });
    server.give(
      { id: "j1", input: { n: 1 } },
      { id: "j2", input: { n: 2 } },
      { id: "j3", input: { n: 3 } },
    );
    const { body } = await server.done("j1");
    const failure = failureOf(body);
    assert.equal("retryable" in body, false);
    assert.equal(failure.error_type, "ModelError");
    assert.equal(failure.error_message, "boom ü");
    assert.match(failure.error_traceback, /^Error: boom ü\n    at index\.mjs:\d+:\d+$/);
    assert.equal(failure.worker_id, "w1");
    assert.equal(failure.error_report.cause.message, "because");
    assert.equal((await server.done("j2")).body.retryable, false);
    assert.deepEqual((await server.done("j3")).body, { output: 3 });
    assert.ok(worker.lines("stderr").some(({ job, level }) => job === "j1" && level === "error"));
  });

  test("a result that has an error key is a result; one that JSON cannot carry is a failure", async (t) => {
    const { server } = await start(t, {
      code: `queue((n) => [{ error: "mine", rest: 1 }, undefined, { at: [1, NaN] }][n]);`,
    });
    server.give(
      { id: "j0", input: { n: 0 } },
      { id: "j1", input: { n: 1 } },
      { id: "j2", input: { n: 2 } },
    );
    assert.deepEqual((await server.done("j0")).body, { output: { error: "mine", rest: 1 } });
    assert.deepEqual((await server.done("j1")).body, { output: null });
    assert.match(failureOf((await server.done("j2")).body).error_message, /result\.at\[1\] is NaN/);
  });

  test("three jobs run at once when three may", async (t) => {
    const { server } = await start(t, {
      options: { maxConcurrency: 3 },
      code: `let running = 0; let gate = Promise.withResolvers();
        queue(async (n) => {
          if (++running === 3) gate.resolve();
          await gate.promise;
          return running;
        });`,
    });
    await until(() => server.openTakes, { what: "a poll" });
    assert.equal(server.takes[0]?.get("batch_size"), "3");
    server.give({ id: "a", input: {} });
    // The second poll asks for what is still free.
    await until(() => server.takes.some((take) => take.get("batch_size") === "2"), {
      what: "a smaller poll",
    });
    server.give({ id: "b", input: {} }, { id: "c", input: {} });
    for (const id of ["a", "b", "c"]) assert.deepEqual((await server.done(id)).body, { output: 3 });
    assert.ok(server.takes.some((take) => take.get("job_in_progress") === "1"));
  });

  test("an exception that nobody caught fails its own job, and the worker exits 1", async (t) => {
    const { server, worker } = await start(t, {
      code: `queue(() => new Promise(() => setTimeout(() => { throw new Error("stray"); }, 1)));`,
    });
    server.give({ id: "j1", input: {} });
    assert.equal(failureOf((await server.done("j1")).body).error_message, "stray");
    assert.equal((await worker.exited).code, 1);
  });
});

describe("streams and progress", () => {
  test("every value is posted in order, then all of them as the output", async (t) => {
    const { server } = await start(t, {
      code: `queue(async function* (n) { for (let i = 0; i < n; i++) yield { i }; });`,
      fn: signature("demo", [parameter("n", number)], { streams: true }),
    });
    server.onPost = ({ kind }) => (kind === "stream" && Math.random() < 0.3 ? 503 : undefined);
    server.give({ id: "j1", input: { n: 8 }, attempt: 1 });
    const { body, isStream } = await server.done("j1");
    assert.deepEqual(body, { output: [0, 1, 2, 3, 4, 5, 6, 7].map((i) => ({ i })) });
    assert.equal(isStream, true);
    const chunks = server.posts.filter(({ kind }) => kind === "stream");
    assert.deepEqual(
      chunks.map((chunk) => chunk.body.output.i),
      [0, 1, 2, 3, 4, 5, 6, 7],
    );
    assert.ok(chunks.every(({ attempt, isStream }) => attempt === "1" && !isStream));
  });

  test("the output of a stream over the limit is empty", async (t) => {
    const { server } = await start(t, {
      code: `queue(async function* (n) { for (let i = 0; i < n; i++) yield "é".repeat(65536); });`,
      fn: signature("demo", [parameter("n", number)], { streams: true }),
    });
    // 128 KiB of text and its quotes: seven fit into 1 MiB, eight do not.
    server.give({ id: "j1", input: { n: 7 } });
    assert.equal(((await server.done("j1")).body.output as unknown[]).length, 7);
    server.give({ id: "j2", input: { n: 8 } });
    assert.deepEqual((await server.done("j2")).body, { output: [] });
  });

  test("a generator that throws posts what it had, then the error", async (t) => {
    const { server } = await start(t, {
      code: `queue(async function* () { yield 1; throw new RangeError("broke"); });`,
      fn: signature("demo", [], { streams: true }),
    });
    server.give({ id: "j1", input: {} });
    assert.equal(failureOf((await server.done("j1")).body).error_type, "RangeError");
    assert.deepEqual(
      server.posts.map(({ kind }) => kind),
      ["stream", "done"],
    );
  });

  test("progress is posted before the result, and values that JSON cannot carry are refused", async (t) => {
    const { server } = await start(t, {
      code: `queue(async () => {
        context().progress({ step: 0 });
        await new Promise((resolve) => setTimeout(resolve, 50));
        for (let step = 1; step < 500; step++) context().progress({ step });
        try { context().progress(() => 1); } catch (error) { return error.code; }
      });`,
    });
    server.give({ id: "j1", input: {}, attempt: 2 });
    const { body } = await server.done("j1");
    assert.deepEqual(body, { output: "NOT_SERIALIZABLE" });
    const steps = server.posts.filter((post) => post.body.status === "IN_PROGRESS");
    assert.deepEqual(steps[0]?.body, { status: "IN_PROGRESS", output: { step: 0 } });
    assert.equal(steps[0]?.attempt, "2");
    // Values that come faster than they can be sent are skipped.
    assert.ok(steps.length <= 3, `${steps.length} progress posts`);
    assert.equal(server.posts.at(-1)?.body, body);
  });
});

describe("stops and limits", () => {
  test("a stopped job sees its signal, is never posted, and the next one runs", async (t) => {
    const { server, worker } = await start(t, {
      code: `queue((n) => n === 1 ? new Promise((resolve) => {
        console.log("waiting");
        context().signal.addEventListener("abort", () => { console.log("aborted", context().signal.reason.code); resolve("late"); });
      }) : n);`,
    });
    server.give({ id: "j1", input: { n: 1 } });
    await until(() => worker.stdout.includes("waiting") && server.openStops, {
      what: "the job to run",
    });
    server.stop("j1", "unknown");
    await until(() => worker.stdout.includes("aborted CANCELLED"), { what: "the abort" });
    server.give({ id: "j2", input: { n: 2 } });
    await server.done("j2");
    assert.deepEqual(
      server.posts.map(({ jobId }) => jobId),
      ["j2"],
    );
    // Its id leaves the heartbeat.
    await until(() => server.pings.at(-1)?.ids.length === 0, { what: "a ping without jobs" });
  });

  test("a job over its time fails with EXECUTION_TIMEOUT; its own limit wins over the endpoint's", async (t) => {
    const { server } = await start(t, {
      options: { executionTimeoutMs: 60_000 },
      code: `queue((n) => new Promise((resolve) => context().signal.addEventListener("abort", resolve)));`,
    });
    server.give({ id: "j1", input: {}, executionTimeout: 100 });
    const { body } = await server.done("j1");
    assert.equal(failureOf(body).error_report.code, "EXECUTION_TIMEOUT");
    assert.equal(body.retryable, false);
    assert.match(failureOf(body).error_message, /Execution timeout on demo after 0\.1s/);
  });

  test("a function that goes on after its end makes the worker end", async (t) => {
    const { server, worker } = await start(t, { code: `queue(() => new Promise(() => {}));` });
    server.give({ id: "j1", input: {}, executionTimeout: 50 });
    await server.done("j1");
    assert.deepEqual(await worker.exited, { code: 0, signal: null });
    assert.match(worker.stderr, /a function goes on although its time is over/);
  });
});

describe("heartbeats", () => {
  test("pings go on with the job's id while the function keeps the thread busy", async (t) => {
    const gate = path.join(temporaryFolder(t), "gate");
    const { server } = await start(t, {
      code: `import { existsSync } from "node:fs";
        queue(() => { while (!existsSync(${JSON.stringify(gate)})); return "busy"; });`,
    });
    server.give({ id: "j1", input: {} });
    const during = (): typeof server.pings => server.pings.filter(({ ids }) => ids.includes("j1"));
    await until(() => during().length >= 3, { what: "pings of the busy worker" });
    assert.deepEqual(server.posts, []);
    assert.match(during()[0]?.version ?? "", /^flash-/);
    writeFileSync(gate, "");
    assert.deepEqual((await server.done("j1")).body, { output: "busy" });
    await until(() => server.pings.at(-1)?.ids.length === 0, { what: "a ping without jobs" });
  });
});

describe("a server that is away", () => {
  test("a result survives a restart of the server", async (t) => {
    const { server, worker } = await start(t, {
      code: gatedBySignal("kept"),
    });
    server.give({ id: "j1", input: {} });
    await until(() => worker.stdout.includes("running"), { what: "the job to run" });
    await server.close();
    worker.child.kill("SIGUSR2");
    await until(() => worker.stderr.includes("failed"), { what: "the worker to notice" });
    server.onPost = () => (server.posts.length === 0 && refusals-- > 0 ? 503 : undefined);
    let refusals = 2;
    await server.listen();
    assert.deepEqual((await server.done("j1")).body, { output: "kept" });
    server.give({ id: "j2", input: {} });
    await until(() => server.takes.length > 1, { what: "the worker to take jobs again" });
  });

  test("a result that the server refuses is dropped, and the next job runs", async (t) => {
    const { server, worker } = await start(t, { code: `queue((n) => n);` });
    server.onPost = ({ jobId }) => (jobId === "j1" ? 404 : undefined);
    server.give({ id: "j1", input: { n: 1 } }, { id: "j2", input: { n: 2 } });
    assert.deepEqual((await server.done("j2")).body, { output: 2 });
    // A pipe of its own brings it.
    await until(() => worker.stderr.includes("the result of a job was refused"), {
      what: "the worker's word about the refusal",
    });
  });

  test("answers that are not held do not make the worker hammer", async (t) => {
    const fn = signature("demo");
    const artifact = writeArtifact(t, { kind: "qb", functions: [fn], code: `queue(() => 1);` });
    const lastsLong = async (status: number): Promise<void> => {
      const server = await ProtocolServer.start(t);
      // As each comes in: the next one is not sent before it is answered, so that a busy machine can
      // only make the time between them longer.
      const cameAt: number[] = [];
      server.onTake = () => {
        cameAt.push(performance.now());
        return status;
      };
      await WorkerProcess.startReady(t, artifact, { env: server.env });
      await until(() => cameAt.length > 6, { what: "seven takes" });
      const tookMs = (cameAt[6] ?? 0) - (cameAt[0] ?? 0);
      assert.ok(tookMs > 700, `six more takes in ${tookMs} ms at ${status}`);
    };
    await Promise.all([204, 400, 401, 500].map(lastsLong));
  });
});

describe("ending", () => {
  test("SIGTERM with open polls exits 0 without waiting for their end", async (t) => {
    const { server, worker } = await start(t, { code: `queue((n) => n);` });
    await until(() => server.openTakes && server.openStops, { what: "open polls" });
    const since = performance.now();
    worker.child.kill("SIGTERM");
    assert.deepEqual(await worker.exited, { code: 0, signal: null });
    // The polls last for 90 s.
    assert.ok(performance.now() - since < 60_000);
  });

  test("SIGTERM lets the running job finish and posts it, with heartbeats to the end", async (t) => {
    const { server, worker } = await start(t, {
      code: gatedBySignal("finished"),
    });
    server.give({ id: "j1", input: {} });
    await until(() => worker.stdout.includes("running"), { what: "the job to run" });
    worker.child.kill("SIGTERM");
    const before = server.pings.length;
    await until(() => server.pings.length > before + 1, { what: "pings while draining" });
    assert.deepEqual(server.pings.at(-1)?.ids, ["j1"]);
    const takes = server.takes.length;
    worker.child.kill("SIGUSR2");
    assert.deepEqual((await server.done("j1")).body, { output: "finished" });
    assert.deepEqual(await worker.exited, { code: 0, signal: null });
    assert.equal(server.takes.length, takes);
  });

  test("a queue worker without a server to ask says so", async (t) => {
    const artifact = writeArtifact(t, {
      kind: "qb",
      functions: [signature("demo")],
      code: `queue(() => 1);`,
    });
    const worker = WorkerProcess.start(t, artifact);
    assert.equal((await worker.exited).code, 1);
    assert.match(worker.stderr, /RUNPOD_WEBHOOK_GET_JOB is not set/);
  });
});
