/**
 * A thousand deployed endpoints without a worker: what the server needs for them, and whether the start
 * of one of them is any slower than of one of twenty. Needs Linux (/proc) and none of the
 * peers.
 *
 *   node bench/thousand.ts [--endpoints 1000] [--trials 30]
 */

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { interleave, printReport, type Subject } from "./harness.ts";
import { flashApp, type FlashApp } from "./subjects.ts";

const ENDPOINTS_PER_FILE = 10;
/** What many endpoints are compared with. */
const FEW = 20;
const IDLE_MS = 10_000;
/** Between two starts the used standby is replaced, and the worker ends, ms. */
const CALM_MS = 1500;
/** Clock ticks of /proc in a second, on every Linux that Node runs on. */
const TICKS = 100;

const { values } = parseArgs({
  options: {
    endpoints: { type: "string", default: "1000" },
    trials: { type: "string", default: "30" },
  },
});
const many = Number(values.endpoints);
const crowd = await flashApp(projectOf(many));
const few = await flashApp(projectOf(FEW));
try {
  await pause(5000);
  for (const [name, app] of [
    [`${many} endpoints`, crowd],
    [`${FEW} endpoints`, few],
  ] as const) {
    const before = cpuSeconds(app);
    await pause(IDLE_MS);
    const percent = ((cpuSeconds(app) - before) / (IDLE_MS / 1000)) * 100;
    process.stdout.write(
      `${name}: ${rssMib(app)} MiB resident, ${percent.toFixed(1)} % CPU idle\n`,
    );
  }
  const report = await interleave("thousand", [start("few", few), start("many", crowd)], {
    rounds: Number(values.trials),
    baseline: "few",
  });
  printReport(report);
  process.stdout.write(`after the starts: ${rssMib(crowd)} MiB resident\n`);
} finally {
  await crowd.close();
  await few.close();
}

function projectOf(count: number): Record<string, string> {
  const files: Record<string, string> = {};
  for (let from = 0; from < count; from += ENDPOINTS_PER_FILE) {
    const lines = [`import { Endpoint } from "runpod-flash";`];
    for (let index = from; index < Math.min(count, from + ENDPOINTS_PER_FILE); index++) {
      lines.push(
        `export const api${index} = Endpoint({ name: "api-${index}", cpu: "cpu3c-1-2", workers: [0, 1], idleTimeoutS: 1 }).post("/process", async (x: number, y: number) => ({ result: x + y }));`,
      );
    }
    files[`endpoints-${from}.ts`] = lines.join("\n");
  }
  return files;
}

function start(name: string, app: FlashApp): Subject {
  const urls = Object.values(app.endpoints);
  let trial = 0;
  return {
    name,
    async measure() {
      // Spread over all of them.
      const url = urls[(trial++ * 37) % urls.length] ?? "";
      await pause(CALM_MS);
      const since = performance.now();
      const answer = await fetch(`${url}/process`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${app.key}` },
        body: JSON.stringify({ x: 5, y: 3 }),
      });
      const text = await answer.text();
      if (!text.includes('"result":8')) throw new Error(`${url} answered ${answer.status} ${text}`);
      return { ms: performance.now() - since };
    },
    close: () => Promise.resolve(),
  };
}

function rssMib(app: FlashApp): number {
  const status = readFileSync(`/proc/${app.server.pid}/status`, "utf8");
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
}

function cpuSeconds(app: FlashApp): number {
  const stat = readFileSync(`/proc/${app.server.pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
