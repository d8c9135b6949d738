/** EndpointJob: waiting, results, streams; and jobs that run in this process. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FlashError } from "../../src/contract/errors.ts";
import type { JobDocument } from "../../src/contract/job.ts";
import { EndpointJob, type JobSource } from "../../src/sdk/job.ts";
import { Deadline, Patience } from "../../src/sdk/pause.ts";
import { Endpoint, context } from "../../src/sdk/sdk.ts";

type Step = Partial<JobDocument> | Error;

/** A source that gives these answers, the last one for ever. */
function sourceOf(...steps: Step[]): JobSource & { reads: number } {
  const source = {
    endpoint: "e",
    reads: 0,
    // Already known to be over, so that no test waits for a delay.
    over: Promise.resolve(),
    async read(): Promise<JobDocument> {
      const step = steps[Math.min(source.reads++, steps.length - 1)];
      if (step instanceof Error) throw step;
      return { id: "j", status: "IN_PROGRESS", ...step };
    },
    cancel: async () => ({ status: "CANCELLED" as const }),
    async *chunks() {},
    decode: (output: unknown) => output,
  };
  return source;
}

const lost = new FlashError("CONNECTION_FAILED", "gone");
const code = (expected: string, message?: RegExp) => (error: unknown) => {
  assert.ok(FlashError.is(error), String(error));
  assert.equal(error.code, expected);
  if (message !== undefined) assert.match(error.message, message);
  return true;
};

describe("waiting for a job", () => {
  test("looks until it is over, however it ended", async () => {
    for (const status of ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"] as const) {
      const source = sourceOf({}, {}, { status });
      const job = new EndpointJob(source, { id: "j", status: "IN_QUEUE" });
      assert.equal(await job.wait(), job);
      assert.equal(job.done, true);
      assert.equal(source.reads, 3);
    }
  });

  test("does not look at a job that is over", async () => {
    const source = sourceOf(lost);
    await new EndpointJob(source, { id: "j", status: "COMPLETED" }).wait();
    assert.equal(source.reads, 0);
  });

  test("bears four failed looks in a row, and throws the fifth", async () => {
    const four = sourceOf(lost, lost, lost, lost, {}, lost, lost, lost, lost, {
      status: "COMPLETED",
    });
    await new EndpointJob(four, { id: "j", status: "IN_QUEUE" }).wait();
    const five = sourceOf(lost);
    await assert.rejects(new EndpointJob(five, { id: "j", status: "IN_QUEUE" }).wait(), lost);
    assert.equal(five.reads, 5);
  });

  test("throws at once what a further look would not change", async () => {
    const source = sourceOf(new FlashError("JOB_NOT_FOUND", "no such job"));
    await assert.rejects(new EndpointJob(source, { id: "j" }).wait(), code("JOB_NOT_FOUND"));
    assert.equal(source.reads, 1);
  });

  test("ends with its time, saying what it knows", async () => {
    const job = new EndpointJob(sourceOf({}), { id: "j", status: "IN_QUEUE" });
    await assert.rejects(
      job.wait({ timeoutMs: 20 }),
      code("CALL_TIMEOUT", /^job j did not complete within 0\.02s \(last status: IN_PROGRESS\)$/),
    );
  });

  test("ends with its signal, and throws the reason", async () => {
    const reason = new Error("enough");
    const job = new EndpointJob({ ...sourceOf({}), over: new Promise(() => {}) }, { id: "j" });
    const abort = new AbortController();
    const waiting = job.wait({ signal: abort.signal });
    abort.abort(reason);
    await assert.rejects(waiting, reason);
    await assert.rejects(job.wait({ signal: AbortSignal.abort(reason) }), reason);
  });

  test("grows its delays by half from 0.25 s to 5 s, never past the deadline", () => {
    const free = new Deadline(undefined);
    assert.deepEqual(
      [0, 1, 2, 3, 8, 20].map((tries) => free.delayMs(tries)),
      [250, 375, 563, 844, 5000, 5000],
    );
    assert.ok(new Deadline(100).delayMs(5) <= 100);
    assert.equal(new Deadline(0).delayMs(5), 0);
  });
});

describe("patience", () => {
  const busy = (status: number, retryAfterMs?: number): FlashError =>
    new FlashError("REMOTE_ERROR", "busy", {
      status,
      details: { status, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) },
    });
  const free = new Deadline(undefined);

  test("waits longer each time, or as long as the server asks, up to a minute", () => {
    const patience = new Patience();
    const delays = [busy(503), busy(429, 7000), busy(502, 3_600_000), busy(504)];
    assert.deepEqual(
      delays.map((error) => patience.delayMs(error, free)),
      [250, 7000, 60_000, 844],
    );
    assert.throws(() => patience.delayMs(lost, free), lost);
    patience.renew();
    assert.equal(patience.delayMs(lost, free), 250);
    assert.ok(new Patience().delayMs(busy(429, 7000), new Deadline(100)) <= 100);
  });

  test("ends at once with what does not pass by itself", () => {
    const own = new FlashError("FUNCTION_ERROR", "busy", { status: 503 });
    for (const error of [own, busy(500), new FlashError("UNAUTHORIZED", "no"), new Error("x")]) {
      assert.throws(() => new Patience().delayMs(error, free), error);
    }
    assert.throws(() => new Patience().delayMs(lost, new Deadline(0)), lost);
  });
});

describe("a job's result", () => {
  test("is its output, or what went wrong", async () => {
    const result = (document: Partial<JobDocument>) =>
      new EndpointJob(sourceOf(document), { id: "j", status: "IN_QUEUE" }).result();
    assert.equal(await result({ status: "COMPLETED", output: 5 }), 5);
    assert.equal(await result({ status: "COMPLETED" }), undefined);
    const wire = JSON.stringify({ error_type: "<class 'ValueError'>", error_message: "bad" });
    await assert.rejects(
      result({ status: "FAILED", error: wire }),
      code("FUNCTION_ERROR", /^remote execution failed: bad$/),
    );
    await assert.rejects(
      result({ status: "FAILED" }),
      code("REMOTE_ERROR", /^remote execution failed: the job ended without a result$/),
    );
    await assert.rejects(result({ status: "CANCELLED" }), code("CANCELLED"));
  });

  test("of a cancelled job is known at once", async () => {
    const job = new EndpointJob(sourceOf({}), { id: "j", status: "IN_QUEUE" });
    assert.equal(await job.cancel(), job);
    assert.equal(job.id, "j");
    assert.equal(job.done, true);
  });
});

describe("a job in this process", () => {
  test("runs after its caller has it, and keeps the result", async () => {
    const order: string[] = [];
    const work = Endpoint({ name: "w" }, async (x: number) => {
      order.push("ran");
      return { x, job: context().job };
    });
    const job = await work.run(1);
    order.push("has it");
    const result = await job.result();
    assert.deepEqual(result, { x: 1, job: { id: job.id, endpoint: "w" } });
    assert.equal(await job.status(), "COMPLETED");
    assert.equal((await work.runsync(2)).output?.x, 2);
    assert.ok(order.includes("ran"));
  });

  test("fails with the function's own error", async () => {
    class Oops extends Error {}
    const work = Endpoint({ name: "w" }, () => {
      throw new Oops("no");
    });
    const job = await work.run();
    await job.wait();
    assert.equal(await job.status(), "FAILED");
    assert.equal(job.error, "Error: no");
    await assert.rejects(job.result(), Oops);
    await assert.rejects(work(), Oops);
  });

  test("shows progress, and hears that it is cancelled", async () => {
    const started = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<string>();
    const work = Endpoint({ name: "w" }, async () => {
      const running = context();
      running.progress({ step: 1 });
      started.resolve();
      await new Promise<void>((resolve) =>
        running.signal.addEventListener("abort", () => resolve()),
      );
      ended.resolve((running.signal.reason as Error).name);
      return "too late";
    });
    const job = await work.run();
    await started.promise;
    await job.status();
    assert.deepEqual(job.output, { step: 1 });
    await job.cancel();
    assert.equal(await ended.promise, "AbortError");
    assert.equal(await job.status(), "CANCELLED");
    await assert.rejects(job.result(), code("CANCELLED"));
  });

  test("streams as the function yields, inside its context", async () => {
    const gate = Promise.withResolvers<void>();
    const count = Endpoint({ name: "w" }, async function* (to: number) {
      for (let n = 0; n < to; n++) {
        if (n === 1) await gate.promise;
        yield `${context().job?.endpoint} ${n}`;
      }
    });
    const chunks: string[] = [];
    for await (const chunk of count.stream(3)) {
      chunks.push(chunk);
      gate.resolve();
    }
    assert.deepEqual(chunks, ["w 0", "w 1", "w 2"]);
    assert.deepEqual(await count(2), ["w 0", "w 1"]);
    const job = await count.run(1);
    assert.deepEqual(await job.result(), ["w 0"]);
  });

  test("is no longer waited for when the call's signal aborts, like a deployed one", async () => {
    const reason = new Error("enough");
    const never = Endpoint({ name: "w" }, () => new Promise<never>(() => undefined));
    const route = Endpoint({ name: "r" }).get("/x", () => new Promise<never>(() => undefined));
    const abort = new AbortController();
    const calls = [never, route].map((one) => one.with({ signal: abort.signal })());
    abort.abort(reason);
    for (const call of calls) await assert.rejects(call, reason);
    const job = await never.run();
    const signal = AbortSignal.abort(reason);
    await assert.rejects(async () => {
      for await (const _ of job.stream({ signal }));
    }, reason);
    await assert.rejects(job.wait({ signal }), reason);
  });

  test("of a stream that fails gives what came before, then the error", async () => {
    const work = Endpoint({ name: "w" }, async function* () {
      yield 1;
      throw new RangeError("after one");
    });
    const chunks: number[] = [];
    await assert.rejects(async () => {
      for await (const chunk of work.stream()) chunks.push(chunk);
    }, RangeError);
    assert.deepEqual(chunks, [1]);
  });
});
