/** Why attempts fail, in real workers of a real server, and who is blamed for a worker that dies. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { boundedError, lossByEnd } from "../../src/server/jobs/failures.ts";
import { PATIENT_CLOCK } from "../support/clocks.ts";
import { deployCode, Queue, type CodeEndpoint, type JobAnswer } from "./code-support.ts";
import { backwards, TestServer } from "./server-support.ts";

const MIB = 1024 * 1024;

const ENDPOINTS: readonly CodeEndpoint[] = [
  {
    // All four start together, then one of them kills the worker; alone it does so at once.
    name: "shared",
    options: { retries: 1, maxConcurrency: 4, workers: [0, 1] },
    code: `
let running = 0;
queue(async (input: { does: string }) => {
  running++;
  const isShared = context().attempt === 1;
  while (isShared && running < 4) await new Promise((resolve) => setTimeout(resolve, 5));
  if (input.does === "kill") {
    console.error("the poison is here");
    // The server has seen by then what its worker uses.
    if (!isShared) await new Promise((resolve) => setTimeout(resolve, 5000));
    process.kill(process.pid, "SIGKILL");
  }
  await new Promise((resolve) => setTimeout(resolve, isShared ? 60_000 : 50));
  const beside = running - 1;
  running--;
  return beside;
});`,
  },
  {
    name: "single",
    options: { retries: 0 },
    code: `
queue(async (input: { does: string }) => {
  if (input.does === "exit") process.exit(3);
  if (input.does === "throw") throw new RangeError("too much");
  if (input.does === "spin") for (;;);
  return "x".repeat(11 * 1024 * 1024);
});`,
  },
  {
    // One hears nothing; the others must not pay for it.
    name: "deaf",
    options: { retries: 0, maxConcurrency: 3, executionTimeoutMs: 120_000, workers: [0, 1] },
    code: `
let running = 0;
queue(async (input: { does: string }) => {
  running++;
  while (context().attempt === 1 && running < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  if (input.does === "spin") for (;;);
  if (context().attempt === 1) await new Promise((resolve) => setTimeout(resolve, 60_000));
  return context().attempt;
});`,
  },
];

/** Real ones: V8's limit on its heap, and the server's on the whole process. */
const HUNGRY: readonly CodeEndpoint[] = (
  [
    ["heap", 1],
    ["heap", 3],
    ["process", 1],
    ["process", 3],
  ] as const
).map(([what, jobs]) => ({
  name: `${what}-${jobs}`,
  options: {
    retries: 0,
    maxConcurrency: jobs,
    executionTimeoutMs: 140_000,
    workers: [0, 1],
    flashboot: false,
    env: { EATS: what, ...(what === "heap" ? { NODE_OPTIONS: "--max-old-space-size=64" } : {}) },
  },
  code: `
let running = 0;
const eaten: unknown[] = [];
queue(async (input: { does: string }) => {
  running++;
  while (context().attempt === 1 && running < ${jobs}) await new Promise((resolve) => setTimeout(resolve, 5));
  while (input.does === "eat") {
    if (process.env.EATS === "heap") eaten.push(Array.from({ length: 100_000 }, (_, index) => ({ index })));
    else eaten.push(Buffer.alloc(32 * 1024 * 1024, 1));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  if (context().attempt === 1) await new Promise((resolve) => setTimeout(resolve, 60_000));
  return "fine";
});`,
}));

describe("out of memory", () => {
  const steps: (() => void | Promise<void>)[] = [];
  const owner = backwards({ after: (run) => void steps.push(run) });
  let server: TestServer;
  let queues: ReadonlyMap<string, Queue> = new Map();

  before(async () => {
    const clock = PATIENT_CLOCK;
    server = await TestServer.start(owner, { workerMemoryBytes: 400 * MIB, clock });
    const endpoints = await deployCode(owner, server, HUNGRY);
    queues = new Map([...endpoints].map(([name, endpoint]) => [name, new Queue(server, endpoint)]));
  });
  after(async () => {
    for (const step of steps) await step();
  });

  for (const { name, options } of HUNGRY) {
    const isProcess = name.startsWith("process");
    const jobs = options?.maxConcurrency ?? 1;
    const beside = jobs === 1 ? "a job alone on its worker" : "one job of several on a worker";
    const limit = isProcess ? "the worker's memory" : "the heap";
    test(`${beside} that uses up ${limit} fails for it, and nobody else does`, async () => {
      const queue = queues.get(name);
      assert.ok(queue);
      const innocent = Array.from({ length: jobs - 1 }, () => queue.submit({ does: "work" }));
      const eater = await queue.finished(await queue.submit({ does: "eat" }));
      const { failure, attempts = [] } = eater.flash ?? {};
      assert.deepEqual([eater.status, failure?.kind], ["FAILED", "out-of-memory"], eater.error);
      const counted = attempts.map((one) => [one.counted, one.failure?.kind]);
      const own = Array.from({ length: 2 }, () => [undefined, "out-of-memory"]);
      assert.deepEqual(counted, jobs === 1 ? own : [[false, "out-of-memory"], ...own]);
      if (isProcess) {
        assert.equal(failure?.memoryLimitBytes, 400 * MIB);
        assert.ok((failure.peakMemoryBytes ?? 0) >= 400 * MIB, `${failure.peakMemoryBytes}`);
        assert.match(eater.error ?? "", /it may use 400 MiB of memory, having used up to \d+ MiB/);
      } else {
        assert.match(failure?.logTail?.join("\n") ?? "", /JavaScript heap out of memory/);
      }
      for (const id of await Promise.all(innocent)) {
        const job = await queue.finished(id);
        assert.deepEqual([job.status, job.output, job.retries], ["COMPLETED", "fine", undefined]);
        const [first] = job.flash?.attempts ?? [];
        const { kind, neighbours } = first?.failure ?? {};
        assert.deepEqual([first?.counted, kind, neighbours], [false, "out-of-memory", jobs - 1]);
      }
    });
  }
});

describe("failures", { concurrency: true }, () => {
  const steps: (() => void | Promise<void>)[] = [];
  const owner = backwards({ after: (run) => void steps.push(run) });
  let queues: ReadonlyMap<string, Queue> = new Map();

  before(async () => {
    const server = await TestServer.start(owner, { clock: PATIENT_CLOCK });
    const endpoints = await deployCode(owner, server, ENDPOINTS);
    queues = new Map([...endpoints].map(([name, endpoint]) => [name, new Queue(server, endpoint)]));
  });
  after(async () => {
    for (const step of steps) await step();
  });

  const run = async (
    name: string,
    all: readonly string[],
    policy?: Record<string, unknown>,
  ): Promise<JobAnswer[]> => {
    const queue = queues.get(name);
    assert.ok(queue);
    const more = policy === undefined ? {} : { policy };
    const ids = await Promise.all(all.map((does) => queue.submit({ does }, more)));
    return Promise.all(ids.map((id) => queue.finished(id)));
  };

  test("a poison job fails with its cause, and its neighbours complete without blame", async () => {
    const [poison, ...innocent] = await run("shared", ["kill", "work", "work", "work"]);
    assert.ok(poison);
    for (const job of innocent) {
      // It ran alone: nobody was beside it, and what happened before does not count.
      assert.deepEqual([job.status, job.output, job.retries], ["COMPLETED", 0, undefined]);
      const [first, last] = job.flash?.attempts ?? [];
      assert.deepEqual([first?.counted, first?.failure?.neighbours], [false, 3]);
      assert.deepEqual([last?.attempt, last?.failure], [2, undefined]);
      assert.equal(job.flash?.failure, undefined);
    }
    assert.deepEqual([poison.status, poison.retries], ["FAILED", 1]);
    const { failure, attempts = [] } = poison.flash ?? {};
    assert.deepEqual(
      attempts.map(({ attempt, counted, failure: why }) => [attempt, counted, why?.kind]),
      [
        [1, false, "signal"],
        [2, undefined, "signal"],
        [3, undefined, "signal"],
      ],
    );
    const workers = new Set(attempts.map(({ workerId }) => workerId));
    assert.equal(workers.size, 3);
    for (const { startedAt, endedAt } of attempts) {
      assert.ok(Date.parse(startedAt) <= Date.parse(endedAt ?? ""), `${startedAt} to ${endedAt}`);
    }
    assert.deepEqual([failure?.kind, failure?.signal], ["signal", "SIGKILL"]);
    assert.deepEqual(failure?.logTail, ["the poison is here"]);
    assert.ok((failure?.peakMemoryBytes ?? 0) > 10 * 1024 * 1024);
    assert.equal(
      attempts[0]?.failure?.logTail,
      undefined,
      "only the newest failure keeps its lines",
    );
  });

  test("an error, an exit, a timeout and a result that is too large are told apart", async () => {
    const answers: JobAnswer[] = [];
    for (const does of ["throw", "large"]) answers.push(...(await run("single", [does])));
    let spun: JobAnswer[] = [];
    // A starved worker ends without having found where it was.
    for (let tries = 1; tries <= 5; tries++) {
      spun = await run("single", ["spin"], { executionTimeout: 5000 });
      if (spun[0]?.flash?.failure?.message?.includes("It was busy at") === true) break;
    }
    answers.push(...spun);
    answers.push(...(await run("single", ["exit"])));
    const [thrown, large, timeout, exit] = answers.map(({ flash }) => flash?.failure);
    assert.deepEqual(thrown, { kind: "exception", message: "RangeError: too much" });
    assert.equal(large?.kind, "bad-result");
    assert.equal(timeout?.kind, "timeout");
    assert.match(timeout.message, /It was busy at/);
    assert.deepEqual([exit?.kind, exit?.exitCode], ["exit", 3]);
  });

  test("a worker that ends for one job that hears nothing costs its neighbours no attempt", async () => {
    const queue = queues.get("deaf");
    assert.ok(queue);
    const policy = { executionTimeout: 5000 };
    const [spinning, ...others] = await Promise.all([
      queue.submit({ does: "spin" }, { policy }),
      queue.submit({ does: "work" }),
      queue.submit({ does: "work" }),
    ]);
    const first = await queue.finished(spinning);
    assert.deepEqual([first.status, first.flash?.failure?.kind], ["FAILED", "timeout"]);
    for (const id of others) {
      const job = await queue.finished(id);
      assert.deepEqual([job.status, job.output, job.retries], ["COMPLETED", 2, undefined]);
      const [ended] = job.flash?.attempts ?? [];
      assert.deepEqual([ended?.counted, ended?.failure?.kind], [false, "ended"]);
    }
  });
});

test("a heap that is full is told apart from other aborts", () => {
  const lossOf = (line: string) =>
    lossByEnd(
      "wk1",
      { code: null, signal: "SIGABRT", logTail: ["before", line] },
      { neighbours: 0, now: 0 },
    ).failure;
  const full = "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory";
  assert.deepEqual(lossOf(full), {
    kind: "out-of-memory",
    message: "worker wk1 was killed by SIGABRT",
    signal: "SIGABRT",
    logTail: ["before", full],
  });
  assert.equal(lossOf("Assertion failed").kind, "signal");
});

test("an error that is too long keeps its beginning, and a report its class and message", () => {
  const most = 256 * 1024;
  assert.equal(boundedError("e".repeat(most)), "e".repeat(most));
  const cut = boundedError("e".repeat(most + 7));
  assert.equal(cut, `${"e".repeat(most)}… (7 more characters were left out)`);
  const report = { error_type: "RangeError", error_message: "too much", error_traceback: "" };
  // Each of these becomes six characters as JSON.
  const traceback = "\u0001".repeat(2_000_000);
  const short = boundedError(JSON.stringify({ ...report, error_traceback: traceback }));
  assert.ok(short.length <= most);
  const { error_traceback: beginning, ...rest } = JSON.parse(short) as typeof report;
  assert.deepEqual(rest, { error_type: "RangeError", error_message: "too much" });
  const kept = "\u0001".repeat(16_384);
  assert.equal(beginning, `${kept}… (1983616 more characters were left out)`);
  // What cannot be shortened text by text is cut as a whole.
  const many = boundedError(JSON.stringify({ ...report, numbers: Array(most).fill(1) }));
  assert.match(many, /^\{"error_type":"RangeError".* more characters were left out\)$/);
  // No half of a character is left.
  assert.equal(boundedError(`a${"😀".repeat(most)}`).isWellFormed(), true);
});
