/** Functions that hear nothing, never end or are frozen, in real workers of a real server. */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { cpuMsOf, isAlive } from "../support/processes.ts";
import { PATIENT_CLOCK } from "../support/clocks.ts";
import { ROOT, temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { deployCode, Queue, type CodeEndpoint } from "./code-support.ts";
import { backwards, TestServer } from "./server-support.ts";

/** Longer than two leases, so that a worker that fell silent would have lost its job. */
const BUSY_MS = Number(process.env["FLASH_BUSY_MS"] ?? 12_000);
const LIMIT_MS = 5000;
/** How much longer a loop may have computed by the time it is ended. On an idle machine it is about 100 ms. */
const LATE_MS = 4000;
/** What "at once" is measured with: jobs that run one after the other in some 300 ms, if nothing else happens. */
const SOON_JOBS = 100;

const NOTE = `
import { appendFileSync } from "node:fs";
import { spawn } from "node:child_process";
const note = (file: string, ...words: unknown[]) => appendFileSync(file, words.join(" ") + "\\n");`;

const ENDPOINTS: readonly CodeEndpoint[] = [
  {
    name: "busy",
    options: { retries: 2, workers: [0, 2] },
    code: `${NOTE}
queue((input: { file: string; ms: number }) => {
  note(input.file, process.pid, spawn("sleep", ["600"], { stdio: "ignore" }).pid);
  const end = Date.now() + input.ms;
  while (Date.now() < end);
  return "rested";
});`,
  },
  {
    name: "endless",
    options: { retries: 2, executionTimeoutMs: LIMIT_MS },
    code: `${NOTE}
queue((input: { file: string }) => {
  note(input.file, process.pid, spawn("sleep", ["600"], { stdio: "ignore" }).pid);

  return spin();
});
function spin(): number {
  let turns = 0;
  while (true) turns++;
}`,
  },
  {
    name: "poison",
    options: { retries: 1 },
    code: `${NOTE}
queue(async () => {
  // Long enough for the server to have seen what its worker uses.
  await new Promise((resolve) => setTimeout(resolve, 5000));
  console.error("about to die");
  process.kill(process.pid, "SIGKILL");
});`,
  },
  {
    name: "moody",
    options: { retries: 2 },
    code: `${NOTE}
import { retryIn, stop } from "${path.join(ROOT, "src", "sdk", "attempts.ts")}";
queue((input: { file: string; mood: string }) => {
  note(input.file, Date.now());
  if (input.mood === "stop") throw stop("bad input");
  if (input.mood === "far") throw retryIn(3_600_000, "the service is closed");
  if (context().attempt < 4) throw retryIn(300);
  return context().attempt;
});`,
  },
  {
    name: "polite",
    code: `${NOTE}
queue(async (input: { file: string }) => {
  const { signal } = context();
  note(input.file, process.pid, spawn("sleep", ["600"], { stdio: "ignore" }).pid);
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
  note(input.file, "heard", signal.reason.code);
});`,
  },
  {
    name: "patient",
    options: { executionTimeoutMs: LIMIT_MS },
    // Its own timers say when: they come in their order, however late all of them are.
    code: `${NOTE}
queue(async (input: { file: string }) => {
  const { signal } = context();
  setTimeout(() => note(input.file, "halfway", process.pid), ${LIMIT_MS / 2});
  const late = setTimeout(() => note(input.file, "100 ms late"), ${LIMIT_MS + 100});
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
  clearTimeout(late);
  note(input.file, "heard", signal.reason.code);
});`,
  },
  { name: "quick", options: { workers: [1, 1] }, code: `queue(() => "done");` },
];

describe("functions that misbehave", { concurrency: true }, () => {
  const steps: (() => void | Promise<void>)[] = [];
  const owner = backwards({ after: (run) => void steps.push(run) });
  let queues: ReadonlyMap<string, Queue> = new Map();
  let folder = "";

  before(async () => {
    folder = temporaryFolder(owner, "flash-notes");
    // Where a worker that fell silent would be missed in time, and where a starved one ends its jobs itself,
    // and says where they were, before the server does.
    const punctual = await TestServer.start(owner);
    const patient = await TestServer.start(owner, { clock: PATIENT_CLOCK });
    const found: [string, Queue][] = [];
    for (const server of [punctual, patient]) {
      const chosen = ENDPOINTS.filter(({ name }) => (name === "busy") === (server === punctual));
      const endpoints = await deployCode(owner, server, chosen);
      for (const [name, endpoint] of endpoints) found.push([name, new Queue(server, endpoint)]);
    }
    queues = new Map(found);
  });
  after(async () => {
    for (const step of steps) await step();
  });

  const queueOf = (name: string): Queue => {
    const queue = queues.get(name);
    assert.ok(queue);
    return queue;
  };
  /** What the function has written, line by line, in words. */
  const notes = (file: string): string[][] =>
    existsSync(file)
      ? readFileSync(file, "utf8")
          .trim()
          .split("\n")
          .map((line) => line.split(" "))
      : [];
  const firstNote = (file: string): Promise<string[]> =>
    until(() => notes(file)[0], { what: "the function to start" });

  test(`${BUSY_MS / 1000} s of busy loop run once`, async () => {
    const file = path.join(folder, "busy");
    const job = await queueOf("busy").finished(await queueOf("busy").submit({ file, ms: BUSY_MS }));
    assert.deepEqual([job.status, job.output, job.retries], ["COMPLETED", "rested", undefined]);
    assert.equal(notes(file).length, 1);
  });

  test("an endless loop ends at its limit, with its children, and the error names the line", async () => {
    let error = "";
    // Half a second is given to find the line: a starved worker ends without it.
    for (let tries = 1; tries <= 5 && !error.includes("It was busy"); tries++) {
      const file = path.join(folder, `endless-${tries}`);
      const submittedAt = performance.now();
      const id = await queueOf("endless").submit({ file });
      const [worker, child] = (await firstNote(file)).map(Number) as [number, number];
      const computedMs = await untilEnded(worker, child);
      const endedAfterMs = performance.now() - submittedAt;
      const job = await queueOf("endless").finished(id);
      error = job.error ?? "";
      assert.deepEqual([job.status, notes(file).length], ["FAILED", 1]);
      assert.match(error, /Execution timeout on endless after 5s/);
      assert.ok(computedMs < LIMIT_MS + LATE_MS, `it went on for ${computedMs} ms`);
      assert.ok(endedAfterMs >= LIMIT_MS, `ended after ${endedAfterMs} ms`);
    }
    assert.match(error, /It was busy at spin \([^)]*src\/endless\.ts:12:/);
  });

  test("a cancelled loop is ended with its children", async () => {
    const file = path.join(folder, "cancelled");
    const queue = queueOf("busy");
    const id = await queue.submit({ file, ms: 600_000 });
    const [worker, child] = (await firstNote(file)).map(Number) as [number, number];
    await queue.cancel(id);
    assert.equal((await queue.status(id)).status, "CANCELLED");
    const computedMs = await untilEnded(worker, child);
    // It has five seconds to hear of it.
    assert.ok(computedMs < 5000 + LATE_MS, `it went on for ${computedMs} ms`);
  });

  test("cancellation reaches the function and its children at once", async () => {
    const [queue, quick] = [queueOf("polite"), queueOf("quick")];
    await quick.finished(await quick.submit({}));
    for (const name of ["polite-1", "polite-2", "polite-3"]) {
      const file = path.join(folder, name);
      const id = await queue.submit({ file });
      const [pid, child] = (await firstNote(file)).map(Number) as [number, number];
      await queue.cancel(id);
      for (let count = 0; count < SOON_JOBS; count++) await quick.finished(await quick.submit({}));
      assert.deepEqual(notes(file).slice(1), [["heard", "CANCELLED"]]);
      assert.equal(isAlive(child), false, "its child, which was not given the signal");
      assert.ok(isAlive(pid), "a worker whose function listens stays");
    }
  });

  test("the deadline reaches the function within 100 ms of its limit, and its worker stays", async () => {
    const file = path.join(folder, "deadline");
    const queue = queueOf("patient");
    const job = await queue.finished(await queue.submit({ file }));
    assert.equal(job.status, "FAILED");
    assert.match(job.error ?? "", /EXECUTION_TIMEOUT/);
    await until(() => notes(file).length > 1, { what: "the signal" });
    const [halfway = [], ...more] = notes(file);
    assert.deepEqual([halfway[0], more], ["halfway", [["heard", "EXECUTION_TIMEOUT"]]]);
    assert.ok(isAlive(Number(halfway[1])), "a worker whose function listens stays");
  });

  test("a job that kills its workers fails with how they died, and holds up nobody", async () => {
    const queue = queueOf("poison");
    const job = await queue.finished(await queue.submit({}));
    assert.deepEqual([job.status, job.retries], ["FAILED", 1]);
    assert.match(
      job.error ?? "",
      /^job timed out after 1 retries: worker \w+ was killed by SIGKILL, having used up to \d+ MiB of memory; its last output:\n {2}about to die/,
    );
    const kinds = job.flash?.attempts?.map(({ failure }) => failure?.kind);
    assert.deepEqual(kinds, ["signal", "signal"], "by the exit, and not by the silence");
  });

  test("stop() ends a job with its reason", async () => {
    const file = path.join(folder, "stop");
    const queue = queueOf("moody");
    const job = await queue.finished(await queue.submit({ file, mood: "stop" }));
    assert.deepEqual([job.status, notes(file).length], ["FAILED", 1]);
    assert.equal(JSON.parse(job.error ?? "").error_message, "bad input");
  });

  test("retryIn() brings the next attempt then, beyond the number of retries", async () => {
    const file = path.join(folder, "retry");
    const queue = queueOf("moody");
    const job = await queue.finished(await queue.submit({ file, mood: "later" }));
    assert.deepEqual([job.status, job.output, job.retries], ["COMPLETED", 4, 3]);
    const times = notes(file).map(([time]) => Number(time));
    for (const [index, time] of times.slice(1).entries()) {
      assert.ok(time - (times[index] ?? 0) >= 300, String(times));
    }
  });

  test("retryIn() beyond the job's time to live ends it", async () => {
    const file = path.join(folder, "far");
    const queue = queueOf("moody");
    const policy = { ttl: 600_000 };
    const job = await queue.finished(await queue.submit({ file, mood: "far" }, { policy }));
    assert.equal(job.status, "FAILED");
    assert.match(job.error ?? "", /the service is closed.*later than its time to live/s);
  });
});

/**
 * Waits until both have ended; how long the worker's main thread has computed meanwhile, ms. A machine
 * with other work makes a loop end later, but compute less: so the time of a clock says nothing.
 */
async function untilEnded(worker: number, child: number): Promise<number> {
  const before = cpuMsOf(worker) ?? 0;
  let after = before;
  await until(
    () => {
      after = cpuMsOf(worker) ?? after;
      return !isAlive(worker) && !isAlive(child);
    },
    { what: "the processes to end" },
  );
  return after - before;
}
