/** Calls between deployed endpoints: what travels along, what ends with its caller, what is refused. */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { Problem } from "../../src/contract/errors.ts";
import { Sandbox, workerPids, type Deployment } from "../support/flash.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";

const OPTIONS = `cpu: "cpu3c-1-2", workers: [0, 2], idleTimeoutS: 5`;

function project(marker = ""): Record<string, string> {
  return {
    "front.ts": `
import { context, Endpoint } from "runpod-flash";
import { add, who, wait } from "./back.ts";
import { ping } from "./loop.ts";
const api = Endpoint({ name: "front", ${OPTIONS} });
export const sum = api.get("/sum", async (x: number, y: number) => ({ sum: await add(x, y), marker: "${marker}" }));
export const trace = api.get("/trace", async () => {
  const { trace, chain } = context();
  return { trace, chain, below: await who() };
});
export const patient = api.post("/wait", async (log: string) => wait(log));
export const impatient = api.post("/impatient", async (log: string) => wait.with({ timeoutMs: 700 })(log));
export const round = api.get("/round", async () => ping());
export const leaf = api.get("/leaf", () => "leaf");
`,
    "back.ts": `
import { appendFileSync } from "node:fs";
import { context, Endpoint } from "runpod-flash";
export const add = Endpoint({ name: "add", ${OPTIONS} }, async (x: number, y: number) => x + y);
export const who = Endpoint({ name: "who", ${OPTIONS} }, async () => {
  const { trace, chain, caller } = context();
  return { trace, chain, caller };
});
/** Never ends by itself; says when it is told to. */
export const wait = Endpoint({ name: "wait", ${OPTIONS}, retries: 0 }, async (log: string) => {
  const { signal, deadline, job } = context();
  appendFileSync(log, JSON.stringify({ job: job?.id, leftMs: (deadline ?? 0) - Date.now() }) + "\\n");
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
  appendFileSync(log, "told\\n");
  signal.throwIfAborted();
});
`,
    "loop.ts": `
import { Endpoint } from "runpod-flash";
import { pong } from "./pong.ts";
export const ping = Endpoint({ name: "ping", ${OPTIONS} }, async (): Promise<string> => pong());
`,
    "pong.ts": `
import { Endpoint } from "runpod-flash";
import { leaf } from "./front.ts";
import { ping } from "./loop.ts";
export const pong = Endpoint({ name: "pong", ${OPTIONS} }, async (): Promise<string> => {
  if ((await leaf()) !== "leaf") throw new Error("no leaf");
  return ping();
});
`,
  };
}

async function deployed(t: { after: (run: () => void | Promise<void>) => void }) {
  const sandbox = await Sandbox.open(t);
  const folder = sandbox.project(project("v1"), "calls");
  return { sandbox, folder, deployment: await sandbox.deploy(folder) };
}

/** Whole lines alone: a file is there before anything is in it. */
function logLines(log: string): string[] {
  return existsSync(log) ? readFileSync(log, "utf8").split("\n").slice(0, -1) : [];
}

async function untilRunning(log: string): Promise<{ job: string; leftMs: number }> {
  const [first] = await until(
    () => {
      const lines = logLines(log);
      return lines.length > 0 && lines;
    },
    { what: "the function that is called" },
  );
  return JSON.parse(first ?? "") as { job: string; leftMs: number };
}

async function untilCancelled(deployment: Deployment, job: string, log: string): Promise<void> {
  await until(
    async () => {
      const { json } = await deployment.call("wait", `GET /status/${job}`);
      return (json as { status?: string }).status === "CANCELLED";
    },
    { what: "the job to be cancelled" },
  );
  await until(() => logLines(log).includes("told"), { what: "its function to be told" });
}

test("endpoints call each other: who calls, in which trace, on whose behalf", async (t) => {
  const { sandbox, deployment } = await deployed(t);
  const { url } = deployment.endpoint("front");
  const sum = await sandbox.fetch(`${url}/sum?x=2&y=3`);
  assert.deepEqual(await sum.json(), { sum: 5, marker: "v1" });

  const traceId = "0af7651916cd43dd8448eb211c80319c";
  const traced = await sandbox.fetch(`${url}/trace`, {
    headers: {
      traceparent: `00-${traceId}-b7ad6b7169203331-01`,
      tracestate: "vendor=1",
      // Of a client these are worth nothing.
      "x-flash-chain": "who",
      "x-flash-caller": "somebody",
    },
  });
  const { trace, chain, below } = (await traced.json()) as {
    trace: { traceId: string; isSampled: boolean; state: string };
    chain: string[];
    below: { trace: { traceId: string; state: string }; chain: string[]; caller: string };
  };
  assert.deepEqual([trace.traceId, trace.isSampled, trace.state], [traceId, true, "vendor=1"]);
  assert.deepEqual(chain, ["front GET /trace"]);
  assert.deepEqual([below.trace.traceId, below.trace.state], [traceId, "vendor=1"]);
  assert.deepEqual([below.caller, below.chain], ["front", ["front GET /trace", "who"]]);

  const fresh = await sandbox.fetch(`${url}/trace`, { headers: { traceparent: "00-zz-1-01" } });
  const own = (await fresh.json()) as typeof below & { below: typeof below };
  assert.match(own.trace.traceId, /^[0-9a-f]{32}$/);
  assert.equal(own.below.trace.traceId, own.trace.traceId);
});

test("functions that wait for each other are refused, and the cycle is named", async (t) => {
  const { sandbox, deployment } = await deployed(t);
  // Another route of an endpoint that waits is no cycle: pong asks the leaf first.
  const answer = await sandbox.fetch(`${deployment.endpoint("front").url}/round`);
  const problem = (await answer.json()) as Problem;
  assert.equal(answer.status, 500);
  assert.match(problem.detail, /would never end: 'ping' → 'pong' → 'ping'/);
  const { json } = await deployment.call("ping", "POST /runsync", { input: {} });
  const job = json as { status: string; error: string; retries?: number };
  assert.equal(job.status, "FAILED");
  assert.equal(job.retries, undefined, "another attempt would find the same loop");
  assert.match(job.error, /would never end: 'ping' → 'pong' → 'ping'/);
});

test("a call that its caller has given up ends, however the caller came to it", async (t) => {
  const { sandbox, deployment } = await deployed(t);
  const folder = temporaryFolder(t);
  const { url } = deployment.endpoint("front");
  const post = (route: string, log: string, signal?: AbortSignal): Promise<Response> =>
    sandbox.fetch(`${url}${route}`, {
      method: "POST",
      body: JSON.stringify({ log }),
      headers: { "content-type": "application/json" },
      ...(signal === undefined ? {} : { signal }),
    });

  // Its own time is shorter than the callee's.
  const late = path.join(folder, "late");
  const answer = await post("/impatient", late);
  // Caller and callee know the same deadline: either may notice it first.
  assert.ok([500, 504].includes(answer.status), `${answer.status}`);
  assert.match(
    ((await answer.json()) as Problem).detail,
    /Execution timeout on wait after 0\.\d+s/,
  );
  if (logLines(late).length > 0) {
    const { job, leftMs } = await untilRunning(late);
    assert.ok(leftMs <= 700, `the callee knows how long is left: ${leftMs}`);
    await until(
      async () => {
        const { json } = await deployment.call("wait", `GET /status/${job}`);
        return (json as { status?: string }).status !== "IN_PROGRESS";
      },
      { what: "the end of the job" },
    );
  }

  // The client of the caller has gone.
  const left = path.join(folder, "left");
  const abort = new AbortController();
  const asked = post("/wait", left, abort.signal).catch(() => undefined);
  const running = await untilRunning(left);
  abort.abort();
  await asked;
  await untilCancelled(deployment, running.job, left);

  // The caller has died.
  const killed = path.join(folder, "killed");
  const dying = post("/wait", killed).then(({ status }) => status);
  const waiting = await untilRunning(killed);
  for (const pid of workerPids(sandbox.home, deployment.endpoint("front").id)) {
    process.kill(pid, "SIGKILL");
  }
  assert.equal(await dying, 502);
  await untilCancelled(deployment, waiting.job, killed);
});

test("releases in the middle of calls: every call is answered", async (t) => {
  const { sandbox, deployment } = await deployed(t);
  const { url } = deployment.endpoint("front");
  const over = new AbortController();
  const seen: { sum?: number; marker?: string }[] = [];
  const ask = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const response = await sandbox.fetch(`${url}/sum?x=20&y=22`);
      seen.push((await response.json()) as (typeof seen)[number]);
    }
  };
  const askers = Array.from({ length: 4 }, ask);
  for (const marker of ["v2", "v3"]) {
    const files = project(marker);
    const back = files["back.ts"]?.replace(
      "(x: number, y: number) => x + y",
      "(b: number, a: number) => a + b",
    );
    await sandbox.deploy(
      sandbox.project(
        { ...files, ...(marker === "v3" && back !== undefined ? { "back.ts": back } : {}) },
        "calls",
      ),
    );
  }
  await until(() => seen.some(({ marker }) => marker === "v3"), { what: "the last release" });
  over.abort();
  await Promise.all(askers);
  assert.deepEqual(
    seen.filter(({ sum }) => sum !== 42),
    [],
  );
});
