/** Functions that hear nothing, never end or are frozen, in real workers of a real server. */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { ROOT, temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { deployCode, Queue, type CodeEndpoint } from "./code-support.ts";
import { backwards, isAlive, TestServer } from "./server-support.ts";

/** Longer than two leases, so that a worker that fell silent would have lost its job. */
const BUSY_MS = Number(process.env["FLASH_BUSY_MS"] ?? 12_000);
const LIMIT_MS = 5000;

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
  const child = spawn("sleep", ["600"], { stdio: "ignore" });
  note(input.file, process.pid, child.pid, Date.now());
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
queue(async (input: { file: string }) => {
  // Long enough for its worker to have said what it uses.
  await new Promise((resolve) => setTimeout(resolve, 1200));
  console.error("about to die");
  note(input.file, Date.now());
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
  ...["polite", "patient"].map((name) => ({
    name,
    options: { executionTimeoutMs: LIMIT_MS },
    code: `${NOTE}
queue(async (input: { file: string }) => {
  const { signal } = context();
  spawn("sleep", ["600"], { stdio: "ignore", signal }).on("error", () => undefined)
    .on("spawn", function () { note(input.file, process.pid, this.pid, Date.now()); });
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
  note(input.file, "heard", signal.reason.code, Date.now());
});`,
  })),
];

describe("functions that misbehave", { concurrency: true }, () => {
  const steps: (() => void | Promise<void>)[] = [];
  const owner = backwards({ after: (run) => void steps.push(run) });
  let queues: ReadonlyMap<string, Queue> = new Map();
  let folder = "";

  before(async () => {
    folder = temporaryFolder(owner, "flash-notes");
    const server = await TestServer.start(owner);
    const endpoints = await deployCode(owner, server, ENDPOINTS);
    queues = new Map([...endpoints].map(([name, endpoint]) => [name, new Queue(server, endpoint)]));
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
    const file = path.join(folder, "endless");
    const job = await queueOf("endless").finished(await queueOf("endless").submit({ file }));
    const [note = [], ...more] = notes(file);
    const [worker, child] = note.map(Number) as [number, number];
    await until(() => !isAlive(worker) && !isAlive(child), { what: "the processes to end" });
    const endedAfterMs = Date.now() - Number(note[2]);
    assert.deepEqual([job.status, more], ["FAILED", []]);
    assert.match(job.error ?? "", /Execution timeout on endless after 5s/);
    assert.match(job.error ?? "", /It was busy at spin \([^)]*src\/endless\.ts:12:/);
    assert.ok(Math.abs(endedAfterMs - LIMIT_MS) < 400, `ended after ${endedAfterMs} ms`);
  });

  test("a cancelled loop is ended with its children", async () => {
    const file = path.join(folder, "cancelled");
    const queue = queueOf("busy");
    const id = await queue.submit({ file, ms: 600_000 });
    const [worker, child] = (await firstNote(file)).map(Number) as [number, number];
    const since = performance.now();
    await queue.cancel(id);
    assert.equal((await queue.status(id)).status, "CANCELLED");
    await until(() => !isAlive(worker) && !isAlive(child), { what: "the processes to end" });
    const tookMs = performance.now() - since;
    assert.ok(tookMs < 8000, `ended after ${tookMs} ms`);
  });

  test("cancellation reaches the function and its children within 100 ms", async () => {
    const file = path.join(folder, "polite");
    const queue = queueOf("polite");
    const id = await queue.submit({ file });
    const [pid, child] = (await firstNote(file)).map(Number) as [number, number];
    const cancelledAt = Date.now();
    await queue.cancel(id);
    const [, heard] = await until(() => notes(file)[1] && notes(file), { what: "the signal" });
    assert.equal(heard?.[1], "CANCELLED");
    const tookMs = Number(heard?.[2]) - cancelledAt;
    assert.ok(tookMs < 100, `heard after ${tookMs} ms`);
    await until(() => !isAlive(child), { what: "its child to end" });
    assert.ok(isAlive(pid), "a worker whose function listens stays");
  });

  test("the deadline reaches the function within 100 ms of its limit, and its worker stays", async () => {
    const file = path.join(folder, "deadline");
    const queue = queueOf("patient");
    const job = await queue.finished(await queue.submit({ file }));
    assert.equal(job.status, "FAILED");
    assert.match(job.error ?? "", /EXECUTION_TIMEOUT/);
    const [started = [], heard = []] = notes(file);
    const tookMs = Number(heard[2]) - Number(started[2]) - LIMIT_MS;
    assert.equal(heard[1], "EXECUTION_TIMEOUT");
    assert.ok(tookMs < 100, `heard ${tookMs} ms late`);
    assert.ok(isAlive(Number(started[0])), "a worker whose function listens stays");
  });

  test("a job that kills its workers fails with how they died, and holds up nobody", async () => {
    const file = path.join(folder, "poison");
    const queue = queueOf("poison");
    const job = await queue.finished(await queue.submit({ file }));
    assert.deepEqual([job.status, job.retries], ["FAILED", 1]);
    assert.match(
      job.error ?? "",
      /^job timed out after 1 retries: worker \w+ was killed by SIGKILL, having used up to \d+ MiB of memory; its last output:\n {2}about to die/,
    );
    const [first, second] = notes(file).map(([time]) => Number(time)) as [number, number];
    assert.ok(second - first < 1200 + 1000, `the second attempt came ${second - first} ms later`);
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
