/**
 * Scale from zero: from the request to the right answer, nothing running before. Beside a plain
 * Node HTTP script that the same harness starts and polls.
 *
 *   node bench/cold.ts [--rounds 20]
 */

import { parseArgs } from "node:util";
import {
  freePort,
  interleave,
  printReport,
  startProgram,
  stopProgram,
  type Subject,
} from "./harness.ts";
import { flashApp, here } from "./subjects.ts";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "20" } } });
const body = JSON.stringify({ x: 5, y: 3 });
const subjects = [plainNode(), await flash()];
try {
  const report = await interleave("cold", subjects, {
    rounds: Number(values.rounds),
    baseline: "node script",
  });
  printReport(report);
} finally {
  for (const subject of subjects) await subject.close();
}

function plainNode(): Subject {
  return {
    name: "node script",
    async measure() {
      const port = await freePort();
      const start = performance.now();
      const child = await startProgram(process.execPath, [`${here}/peers/node-http.ts`], {
        env: { PORT: String(port) },
        ready: "ready",
      });
      await ask(`http://127.0.0.1:${port}/api/process`, {});
      const ms = performance.now() - start;
      await stopProgram(child, "SIGKILL");
      return { ms };
    },
    close: () => Promise.resolve(),
  };
}

async function flash(): Promise<Subject> {
  const app = await flashApp({
    "api.ts": `import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "bench", cpu: "cpu3c-1-2", workers: [0, 1], idleTimeoutS: 1 });
export const processData = api.post("/api/process", async (x: number, y: number) => ({ result: x + y }));
`,
  });
  const headers = { authorization: `Bearer ${app.key}` };
  return {
    name: "flash, scaled to zero",
    async measure() {
      await untilIdle(() => app.flash(["status", "--json"]));
      const start = performance.now();
      await ask(`${app.endpoints["bench"]}/api/process`, headers);
      return { ms: performance.now() - start };
    },
    close: () => app.close(),
  };
}

async function ask(url: string, headers: Record<string, string>): Promise<void> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
  });
  const text = await answer.text();
  if (!text.includes('"result":8')) throw new Error(`${url} answered ${answer.status} ${text}`);
}

async function untilIdle(status: () => string): Promise<void> {
  for (;;) {
    const { endpoints } = JSON.parse(status()) as {
      endpoints: { workers: Record<string, number> }[];
    };
    const alive = endpoints.flatMap(({ workers }) =>
      Object.entries(workers)
        .filter(([state]) => state !== "STOPPED")
        .map(([, count]) => count),
    );
    if (alive.every((count) => count === 0)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
