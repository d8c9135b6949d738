/**
 * A million queued jobs and a hundred thousand finished ones, through HTTP, in a real server process that is
 * looked at from outside: whether the last ten thousand submissions take longer than the first, how much
 * memory the server needs, and how long it takes to serve again after kill -9.
 *
 *   node bench/million.ts [--queued 1000000] [--finished 100000]
 *
 * The queued jobs are of low priority, so that no worker is started for them.
 */

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { LoadProcess, printRows, type Row } from "./harness.ts";
import { flashApp, type FlashApp } from "./subjects.ts";

const STEP = 10_000;
const CONNECTIONS = 32;
const NO_TIME: Step = { seconds: Number.NaN, cpuSeconds: Number.NaN };
const FOREVER_MS = 24 * 60 * 60 * 1000;

const { values } = parseArgs({
  options: {
    queued: { type: "string", default: "1000000" },
    finished: { type: "string", default: "100000" },
  },
});
const generator = new LoadProcess();
const app = await flashApp({
  "work.ts": `import { Endpoint } from "runpod-flash";
export const waiting = Endpoint({ name: "waiting", cpu: "cpu3c-1-2", workers: [0, 1] },
  async (x: number, y: number) => ({ result: x + y }));
export const busy = Endpoint({ name: "busy", cpu: "cpu3c-1-2", workers: [1, 1], maxConcurrency: 10 },
  async (x: number, y: number) => ({ result: x + y }));
`,
});
const rows: Row[] = [];
try {
  const queued = await submitAll(app, "waiting", Number(values.queued));
  noteSteps("", queued);
  note("server memory, all queued (under 300)", memoryOf(app, "VmRSS"), "MiB");
  note("server memory, the most so far", memoryOf(app, "VmHWM"), "MiB");
  note("serving again after kill -9 (under 2)", (await app.restart()) / 1000, "s");

  const startedAt = performance.now();
  const accepted = await submitAll(app, "busy", Number(values.finished));
  noteSteps("beside them: ", accepted);
  const finished = Number(values.finished) + STEP;
  await untilCompleted(app, finished);
  const seconds = (performance.now() - startedAt) / 1000;
  note("beside them: jobs submitted and finished", finished / seconds, "jobs/s");
  note("server memory, with finished ones (under 300)", memoryOf(app, "VmRSS"), "MiB");
  note("server memory, the most since the restart", memoryOf(app, "VmHWM"), "MiB");
  note("serving again after kill -9, with all (under 2)", (await app.restart()) / 1000, "s");
  const { jobs } = await healthOf(app, "waiting");
  note("queued jobs that are still there", jobs.inQueue, "jobs");
  note("finished jobs that are still there", (await healthOf(app, "busy")).jobs.completed, "jobs");
  printRows("million", rows);
} finally {
  await generator.close();
  await app.close();
}

function note(what: string, value: number | undefined, unit: string): void {
  rows.push({ what, value: value ?? Number.NaN, unit });
  process.stderr.write(`${what}: ${(value ?? Number.NaN).toFixed(2)} ${unit}\n`);
}

/** The first ten thousand beside the last: as the client sees it, and what the server had to do for it. */
function noteSteps(where: string, steps: readonly Step[]): void {
  const [first, last] = [steps[0] ?? NO_TIME, steps.at(-1) ?? NO_TIME];
  note(`${where}submitting, first ten thousand`, first.seconds, "s");
  note(`${where}submitting, last ten thousand`, last.seconds, "s");
  note(`${where}last / first (at most 1.5)`, last.seconds / first.seconds, "x");
  note(`${where}the same in processor time of the server`, last.cpuSeconds / first.cpuSeconds, "x");
}

/** Submits in steps, and says of each how long it took. */
async function submitAll(to: FlashApp, endpoint: string, count: number): Promise<Step[]> {
  const url = new URL(to.endpoints[endpoint] ?? "");
  const request = {
    target: url.origin,
    method: "POST",
    path: `${url.pathname}/run`,
    headers: { authorization: `Bearer ${to.key}` },
    body: JSON.stringify({
      input: { x: 5, y: 3 },
      ...(endpoint === "waiting" ? { policy: { lowPriority: true } } : {}),
    }),
    connections: CONNECTIONS,
    durationMs: FOREVER_MS,
    expect: "IN_QUEUE",
  };
  const steps: Step[] = [];
  // The first requests of a process are slow whatever they find.
  await generator.run({ ...request, requests: STEP });
  for (let done = 0; done < count; done += STEP) {
    const startedAt = performance.now();
    const cpuBefore = cpuSecondsOf(to);
    await generator.run({ ...request, requests: STEP });
    const seconds = (performance.now() - startedAt) / 1000;
    steps.push({ seconds, cpuSeconds: cpuSecondsOf(to) - cpuBefore });
    if (steps.length % 10 === 0) {
      const memory = memoryOf(to, "VmRSS").toFixed(0);
      process.stderr.write(
        `${done + STEP} to ${endpoint}: ${seconds.toFixed(2)} s, ${memory} MiB\n`,
      );
    }
  }
  return steps;
}

interface Step {
  seconds: number;
  /** Of the server process, all threads. */
  cpuSeconds: number;
}

async function untilCompleted(of: FlashApp, count: number): Promise<void> {
  for (;;) {
    const { jobs } = await healthOf(of, "busy");
    if (jobs.completed >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

interface Health {
  jobs: { completed: number; inQueue: number };
}

async function healthOf(of: FlashApp, endpoint: string): Promise<Health> {
  const headers = { authorization: `Bearer ${of.key}` };
  const answer = await fetch(`${of.endpoints[endpoint]}/health`, { headers });
  return (await answer.json()) as Health;
}

/** Of the server process, as the kernel sees it, MiB. */
function memoryOf(of: FlashApp, field: "VmRSS" | "VmHWM"): number {
  const status = readFileSync(`/proc/${of.server.pid}/status`, "utf8");
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
}

/** What the server process has used, all threads together. */
function cpuSecondsOf(of: FlashApp): number {
  const stat = readFileSync(`/proc/${of.server.pid}/stat`, "utf8");
  // Behind the name, which may hold anything, user and system time are the twelfth and thirteenth.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const TICKS_PER_SECOND = 100;
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
