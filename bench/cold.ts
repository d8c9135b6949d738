/**
 * Scale from zero: from the request to the right answer, nothing of the endpoint running before. Beside
 * a plain Node HTTP script that the same harness starts and waits for: once as JavaScript, and once as
 * TypeScript, whose types Node takes out at each start.
 *
 *   node bench/cold.ts [--trials 200] [--only load-balanced]
 *
 * Trials go round over several endpoints, so that one is idle while the next is asked; each finds its
 * endpoint without workers, and a standby that has been up for a moment.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { transformSync } from "esbuild";
import {
  freePort,
  interleave,
  printReport,
  startProgram,
  stopProgram,
  type Subject,
} from "./harness.ts";
import { flashApp, here, type FlashApp } from "./subjects.ts";

const ENDPOINTS = 6;
/** Before each trial, for what the last one has left to do, ms. */
const CALM_MS = 150;

const { values } = parseArgs({
  options: { trials: { type: "string", default: "200" }, only: { type: "string", default: "" } },
});
const folder = mkdtempSync(path.join(os.tmpdir(), "flash-bench-cold-"));
const app = await flashApp(projectFiles());
const { only } = values;
const subjects = [
  plainNode("node script", javaScriptPeer()),
  plainNode("node script in TypeScript", `${here}/peers/node-http.ts`),
  flash("flash, load-balanced", "api"),
  flash("flash, first job", "queue"),
  flash("flash, no standby", "plain"),
].filter(({ name }) => name === "node script" || name.includes(only));
try {
  const report = await interleave("cold", subjects, {
    rounds: Number(values.trials),
    baseline: "node script",
  });
  printReport(report);
} finally {
  for (const subject of subjects) await subject.close();
  await app.close();
  rmSync(folder, { recursive: true, force: true });
}

function projectFiles(): Record<string, string> {
  const files: Record<string, string> = {};
  for (let index = 0; index < ENDPOINTS; index++) {
    const options = (name: string, more = ""): string =>
      `{ name: "${name}-${index}", cpu: "cpu3c-1-2", workers: [0, 1], idleTimeoutS: 1${more} }`;
    const handler = "async (x: number, y: number) => ({ result: x + y })";
    files[`endpoints-${index}.ts`] = `import { Endpoint } from "runpod-flash";
export const api = Endpoint(${options("api")}).post("/api/process", ${handler});
export const plain = Endpoint(${options("plain", ", flashboot: false")}).post("/api/process", ${handler});
export const queue = Endpoint(${options("queue")}, ${handler});
`;
  }
  return files;
}

function javaScriptPeer(): string {
  const file = path.join(folder, "node-http.mjs");
  const source = readFileSync(`${here}/peers/node-http.ts`, "utf8");
  writeFileSync(file, transformSync(source, { loader: "ts" }).code);
  return file;
}

function plainNode(name: string, file: string): Subject {
  return {
    name,
    async measure() {
      const port = await freePort();
      const start = performance.now();
      const child = await startProgram(process.execPath, [file], {
        env: { PORT: String(port) },
        ready: "ready",
      });
      await ask(`http://127.0.0.1:${port}/api/process`, { x: 5, y: 3 });
      const ms = performance.now() - start;
      await stopProgram(child, "SIGKILL");
      return { ms };
    },
    close: () => Promise.resolve(),
  };
}

function flash(name: string, endpoint: "api" | "plain" | "queue"): Subject {
  let trial = 0;
  return {
    name,
    async measure() {
      const target = `${endpoint}-${trial++ % ENDPOINTS}`;
      await untilIdle(app, target);
      await untilStandby(app);
      await new Promise((resolve) => setTimeout(resolve, CALM_MS));
      const url = app.endpoints[target] ?? "";
      const start = performance.now();
      await (endpoint === "queue"
        ? ask(`${url}/runsync`, { input: { x: 5, y: 3 } })
        : ask(`${url}/api/process`, { x: 5, y: 3 }));
      return { ms: performance.now() - start };
    },
    close: () => Promise.resolve(),
  };
}

async function ask(url: string, body: unknown): Promise<void> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${app.key}` },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (!text.includes('"result":8')) throw new Error(`${url} answered ${answer.status} ${text}`);
}

/** The standby is there that replaces the one of the last start. */
async function untilStandby({ url, key }: FlashApp): Promise<void> {
  for (;;) {
    const answer = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${key}` } });
    if (/^flash_standbys(\{.*\})? [1-9]/m.test(await answer.text())) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The endpoint has no worker. */
async function untilIdle({ url, key }: FlashApp, endpoint: string): Promise<void> {
  for (;;) {
    const answer = await fetch(`${url}/api/v1/status?app=project&environment=production`, {
      headers: { authorization: `Bearer ${key}` },
    });
    const { endpoints } = (await answer.json()) as {
      endpoints: { name: string; workers: Record<string, number> }[];
    };
    const { workers = {} } = endpoints.find(({ name }) => name === endpoint) ?? {};
    const alive = Object.entries(workers).filter(([state]) => state !== "STOPPED");
    if (alive.every(([, count]) => count === 0)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
