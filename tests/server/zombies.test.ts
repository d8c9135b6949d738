/** Workers that are frozen longer than their lease, and wake up when somebody else has done their work. */

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import { LEASE_MS } from "../../src/server/jobs/attempts.ts";
import { LeapingClock } from "../support/clocks.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { deployCode, Queue, type JobAnswer } from "./code-support.ts";
import { serveImage, type ImageWorker } from "./image-support.ts";
import { backwards, isAlive, TestServer } from "./server-support.ts";

/** Says who runs it until 'gate' exists: as chunks of its stream, and in the file 'log'. */
const CODE = `
import { appendFileSync, existsSync } from "node:fs";
queue(async function* (input) {
  const by = \`\${process.pid} \${context().attempt}\`;
  context().progress({ by });
  while (!existsSync(input.gate)) {
    appendFileSync(input.log, by + "\\n");
    yield by;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  appendFileSync(input.log, by + " done\\n");
});`;

interface Talk {
  input: { gate: string; log: string };
  /** The lines of the log. */
  lines: () => string[];
  open: () => void;
}

function talk(t: TestContext): Talk {
  const folder = temporaryFolder(t, "flash-talk");
  const input = { gate: path.join(folder, "gate"), log: path.join(folder, "log") };
  return {
    input,
    lines: () => (existsSync(input.log) ? readFileSync(input.log, "utf8").trim().split("\n") : []),
    open: () => writeFileSync(input.gate, ""),
  };
}

const WORDS = ["progress", "chunk", "result"];

/** Each says who runs it, and then, when there is a file for its process, something more of its kind. */
const SPEAKER = `
import { existsSync } from "node:fs";
const by = () => ({ by: process.pid });
const pause = () => new Promise((resolve) => setTimeout(resolve, 20));
const opened = async (gate) => {
  while (!existsSync(gate + process.pid)) await pause();
};
const words = {
  async progress(gate) {
    context().progress(by());
    await opened(gate);
    context().progress(by());
    await pause();
    return by();
  },
  async *chunk(gate) {
    yield by();
    await opened(gate);
    yield by();
  },
  async result(gate) {
    context().progress(by());
    await opened(gate);
    return by();
  },
};
queue((input) => words[input.word](input.gate));`;

function hasPinged({ proxy }: ImageWorker, jobs: readonly string[]): boolean {
  const lines = proxy.connections.flatMap(({ sent }) => sent.match(/^GET \S*\/ping\S*/gm) ?? []);
  return lines.some((line) => jobs.every((job) => line.includes(job)));
}

/** Waits until this worker has said something about each of the jobs, and the server has heard it. */
async function untilHeard({ proxy }: ImageWorker, jobs: readonly string[]): Promise<void> {
  const isHeard = (job: string): boolean =>
    proxy.connections.some(({ sent, answered }) => {
      const link = new RegExp(`"(chunk|progress|done)":"${job}","attempt":1,`);
      if (link.test(sent)) return answered.includes(`{"ack":"${job}"}`);
      return (
        new RegExp(`POST \\S+/job-(done|stream)/\\S*${job}`).test(sent) &&
        answered.includes("HTTP/1.1 200 ")
      );
    });
  await until(() => jobs.every(isHeard), {
    what: `words about ${jobs.filter((job) => !isHeard(job)).join(", ")}`,
  });
}

describe("a frozen worker", { concurrency: 2 }, () => {
  for (const carrier of ["link", "HTTP"] as const) {
    for (const when of ["while its jobs run elsewhere", "after they have ended"]) {
      test(`changes nothing by what it says over ${carrier} ${when}`, async (t) => {
        const { queue, startWorker, read, leap } = await serveImage(t, SPEAKER);
        const gate = path.join(temporaryFolder(t, "flash-gate"), "over-");
        const zombie = await startWorker(carrier);
        const jobs = await Promise.all(WORDS.map((word) => queue.submit({ word, gate })));
        const [progress = "", chunk = "", result = ""] = jobs;
        const reader = await read(chunk);
        await untilHeard(zombie, jobs);
        // Its silence counts from when it has said which jobs are alive.
        await until(() => hasPinged(zombie, jobs), { what: "a ping with all jobs" });

        // It hears nothing from here on, and so is not told that its jobs are not its own any more.
        zombie.proxy.hold();
        zombie.child.kill("SIGSTOP");
        // Jobs that lost a worker together have one each from then on.
        const heirs = await Promise.all(jobs.map(() => startWorker("link")));
        leap(LEASE_MS);
        const open = (): void => heirs.forEach(({ pid }) => writeFileSync(`${gate}${pid}`, ""));
        const heirOf = (job: string): Promise<number> =>
          until(
            async () => {
              const by = whoseOutput(await queue.status(job));
              return by !== zombie.pid && by;
            },
            { what: "the next attempt" },
          );
        const ofHeir = (): unknown[] => {
          const from = reader.events.findLastIndex(({ event }) => event === "restart");
          const later = from === -1 ? [] : reader.events.slice(from + 1);
          return later.filter(({ event }) => event === undefined).map(({ data }) => data);
        };
        const owners = [await heirOf(progress), await heirOf(result)];
        await until(() => ofHeir().length > 0, {
          what: "the first value of the next attempt",
        });
        const [value] = ofHeir();
        if (when === "after they have ended") {
          open();
          for (const job of jobs) assert.equal((await queue.finished(job)).status, "COMPLETED");
        }
        const before = await Promise.all(jobs.map((job) => queue.status(job)));

        // What it computes now it says: some progress, a value, a result.
        writeFileSync(`${gate}${zombie.pid}`, "");
        zombie.proxy.mark();
        zombie.child.kill("SIGCONT");
        await untilHeard(zombie, jobs);
        const after = await Promise.all(jobs.map((job) => queue.status(job)));
        assert.deepEqual(after.map(lasting), before.map(lasting));

        open();
        const ends = await Promise.all(jobs.map((job) => queue.finished(job)));
        assert.deepEqual(
          ends.map(({ status }) => status),
          jobs.map(() => "COMPLETED"),
        );
        const [ofProgress, ofChunk, ofResult] = ends as [JobAnswer, JobAnswer, JobAnswer];
        assert.deepEqual([whoseOutput(ofProgress), whoseOutput(ofResult)], owners);
        await reader.end();
        assert.notDeepEqual(value, { by: zombie.pid });
        for (const values of [ofHeir(), ofChunk.output, await queue.chunks(chunk)]) {
          assert.deepEqual(values, [value, value]);
        }

        // It is told, and free for the next one.
        zombie.proxy.release();
        for (const { child } of heirs) child.kill("SIGKILL");
        const next = await queue.finished(await queue.submit({ word: "result", gate }));
        assert.deepEqual([next.status, whoseOutput(next)], ["COMPLETED", zombie.pid]);
      });
    }
  }

  test("of ours is ended, and its job runs again", async (t) => {
    const owner = backwards(t);
    const clock = new LeapingClock(4);
    const server = await TestServer.start(owner, { clock });
    const endpoints = await deployCode(owner, server, [{ name: "frozen", code: CODE }]);
    const queue = new Queue(server, endpoints.get("frozen"));
    const { input, lines, open } = talk(t);
    const id = await queue.submit(input);
    const [line = ""] = await until(() => lines().length > 2 && lines(), { what: "an attempt" });
    const pid = Number.parseInt(line, 10);
    process.kill(pid, "SIGSTOP");
    clock.leap(LEASE_MS);
    await until(() => !isAlive(pid), { what: "the frozen worker to be ended" });
    open();
    const done = await queue.finished(id);
    assert.deepEqual([done.status, done.retries], ["COMPLETED", 1]);
    const [first] = done.flash?.attempts ?? [];
    assert.equal(first?.failure?.kind, "lease-lost", "its silence, and nothing else, ended it");
  });
});

/** The process that has made it. */
function whoseOutput({ output }: JobAnswer): number | undefined {
  return (output as { by?: number } | undefined)?.by;
}

/** Without the times that tell how long it has run. */
function lasting(job: JobAnswer): JobAnswer {
  return { ...job, executionTime: 0 };
}
