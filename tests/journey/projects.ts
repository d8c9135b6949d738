/**
 * The programs of the seeds, as little projects, and a queue project that can be made to misbehave; and
 * when a deployment's code answers.
 */

import assert from "node:assert/strict";
import { until } from "../support/until.ts";

/** Greeting, four user routes, processing and calculating, as the guide declares them. */
export const SEEDS: Readonly<Record<string, string>> = {
  "greet.ts": `
import { LiveLoadBalancer, remote } from "runpod-flash";
const api = new LiveLoadBalancer({ name: "example-api" });
export const greetUser = remote(api, { method: "POST", path: "/api/greet" }, async (name: string) => ({
  message: \`Hello, \${name}!\`,
}));
`,
  "users.ts": `
import { LiveLoadBalancer, remote } from "runpod-flash";
const api = new LiveLoadBalancer({ name: "user-service" });
export const listUsers = remote(api, { method: "GET", path: "/users" }, () => ({ users: [] }));
export const createUser = remote(api, { method: "POST", path: "/users" }, async (name: string, email: string) => ({
  id: 1, name, email,
}));
export const getUser = remote(api, { method: "GET", path: "/users/{user_id}" }, (user_id: number) => ({
  id: user_id, name: "Alice",
}));
export const deleteUser = remote(api, { method: "DELETE", path: "/users/{user_id}" }, async (user_id: number) => ({
  deleted: true,
}));
`,
  "process.ts": `
import { LiveLoadBalancer, remote } from "runpod-flash";
const api = new LiveLoadBalancer({ name: "my-api" });
export const processData = remote(api, { method: "POST", path: "/api/process" }, async (x: number, y: number) => ({
  result: x + y,
}));
`,
  "calculate.ts": `
import { LiveLoadBalancer, remote } from "runpod-flash";
const api = new LiveLoadBalancer({ name: "test-api" });
export const calculate = remote(
  api,
  { method: "POST", path: "/api/calculate" },
  async (operation: string, a: number, b: number) => {
    if (operation === "add") return a + b;
    else if (operation === "multiply") return a * b;
    else throw new RangeError(\`Unknown operation: \${operation}\`);
  },
);
`,
};

/** One load-balanced endpoint whose only route adds, with a marker that tells builds apart. */
export function adder(name: string, marker = "", workers = "[0, 1]"): Record<string, string> {
  return {
    "api.ts": `
import { LoadBalancerSlsResource, remote } from "runpod-flash";
const api = new LoadBalancerSlsResource({ name: "${name}", workers: ${workers}, idleTimeoutS: 1 });
export const processData = remote(api, { method: "POST", path: "/api/process" }, async (x: number, y: number) => x + y);
export const explode = remote(api, { method: "POST", path: "/api/explode" }, async () => {
  throw new RangeError("boom at runtime");
});
export const who = remote(api, { method: "GET", path: "/who" }, () => ({ marker: "${marker}", pid: process.pid }));
`,
  };
}

/** A queue function that waits for files to appear, so that a test decides when it goes on. */
export const QUEUE: Readonly<Record<string, string>> = {
  "jobs.ts": `
import { appendFileSync, existsSync } from "node:fs";
import { Endpoint } from "runpod-flash";

/** Writes its process id to 'log', then waits until 'gate' exists. */
export const gated = Endpoint(
  { name: "gated", cpu: "cpu3c-1-2", workers: [0, 1], idleTimeoutS: 1 },
  async (log: string, gate: string) => {
    appendFileSync(log, \`\${process.pid}\\n\`);
    while (!existsSync(gate)) await new Promise((resolve) => setTimeout(resolve, 20));
    return { pid: process.pid };
  },
);

/** Writes a line to 'log', then throws. */
export const failing = Endpoint(
  { name: "failing", cpu: "cpu3c-1-2", workers: [0, 1], retries: 1, idleTimeoutS: 1 },
  async (log: string) => {
    appendFileSync(log, "tried\\n");
    throw new RangeError("this input cannot be processed");
  },
);

export const double = Endpoint(
  { name: "double", cpu: "cpu3c-1-2", workers: [0, 2], idleTimeoutS: 1 },
  async (value: number) => value * 2,
);
`,
};

/** A deployment waits this long for its workers, ms; then the earlier version may answer a little longer. */
const TAKE_OVER_MS = 10_000;

/** Deploys, and asserts that the first answer after it is `marker`'s, unless the machine was too slow for that. */
export async function takesOver<T>(
  deploy: () => Promise<T>,
  { marker, ask }: { marker: string; ask: (deployed: T) => Promise<unknown> },
): Promise<T> {
  const startedAt = performance.now();
  const deployed = await deploy();
  const wasInTime = performance.now() - startedAt < TAKE_OVER_MS;
  if (!wasInTime) await until(async () => (await ask(deployed)) === marker, { what: marker });
  assert.equal(await ask(deployed), marker);
  return deployed;
}
