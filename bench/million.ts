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
  note("submitting, first ten thousand", queued[0], "s");
  note("submitting, last ten thousand", queued.at(-1), "s");
  note("last / first (at most 1.5)", (queued.at(-1) ?? 0) / (queued[0] ?? 1), "x");
  note("server memory, all queued (under 300)", memoryOf(app, "VmRSS"), "MiB");
  note("server memory, the most so far", memoryOf(app, "VmHWM"), "MiB");
  note("serving again after kill -9 (under 2)", (await app.restart()) / 1000, "s");

  const startedAt = performance.now();
  const accepted = await submitAll(app, "busy", Number(values.finished));
  note("beside them: submitting, first ten thousand", accepted[0], "s");
  note("beside them: submitting, last ten thousand", accepted.at(-1), "s");
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

/** Submits in steps. Returns how long each took, seconds. */
async function submitAll(to: FlashApp, endpoint: string, count: number): Promise<number[]> {
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
  const seconds: number[] = [];
  // The first requests of a process are slow whatever they find.
  await generator.run({ ...request, requests: STEP });
  for (let done = 0; done < count; done += STEP) {
    const startedAt = performance.now();
    await generator.run({ ...request, requests: STEP });
    seconds.push((performance.now() - startedAt) / 1000);
    if (seconds.length % 10 === 0) {
      const memory = memoryOf(to, "VmRSS").toFixed(0);
      process.stderr.write(
        `${done + STEP} to ${endpoint}: ${seconds.at(-1)?.toFixed(2)} s, ${memory} MiB\n`,
      );
    }
  }
  return seconds;
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
