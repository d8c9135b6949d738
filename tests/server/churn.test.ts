/**
 * Requests of 64 connections while every second a worker is killed or told to end, and every five
 * seconds a deployment or the return to an earlier build replaces all of them. Half of the connections
 * ask workers of ours, over the request link; half ask the tests' own worker, over HTTP.
 *
 * FLASH_CHURN_MS makes it longer, FLASH_SEED replays its choices.
 */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { MANIFEST_FILE, WORKER_FILE } from "../../src/contract/manifest.ts";
import { Random } from "../support/random.ts";
import { ROOT, temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { PRELUDE, parameter, routeOf } from "../worker/artifact.ts";
import {
  artifactOf,
  backwards,
  isAlive,
  manifestOf,
  pack,
  TestServer,
  type EndpointSpec,
} from "./server-support.ts";

const CHURN_MS = Number(process.env["FLASH_CHURN_MS"] ?? 10_000);
const CONNECTIONS = 64;
const BLOW_MS = 1000;
const BLOWS_PER_RELEASE = 5;
const BUILDS = 3;
const METHODS = ["GET", "PUT", "POST"] as const;
const seed = Number(process.env["FLASH_SEED"] ?? Date.now() % 1_000_000);

/** Notes that it has run, and says who it is. */
const CODE = `
import { appendFileSync } from "node:fs";
for (const method of ["GET", "PUT", "POST"])
  route(method, "/once", (id) => {
    appendFileSync(process.env.EXECUTIONS, id + "\\n");
    return { pid: process.pid };
  });`;

function specOf(version: number, executions: string): EndpointSpec {
  const env = { EXECUTIONS: executions };
  const options = { workers: [2, 4] as [number, number], scalerValue: 16, env };
  return { name: "api", kind: "lb", version: String(version), options };
}

/** The endpoint with the program that real artifacts have. */
async function ownArtifact(app: string, spec: EndpointSpec): Promise<Buffer> {
  const manifest = manifestOf(app, [spec]);
  const [endpoint] = manifest.endpoints;
  assert.ok(endpoint?.bundle !== undefined);
  endpoint.functions = METHODS.map((method) => routeOf(`${method} /once`, [parameter("id")]));
  return await pack([
    { target: MANIFEST_FILE, content: JSON.stringify(manifest) },
    { target: WORKER_FILE, content: readFileSync(path.join(ROOT, "dist/runtime/worker.mjs")) },
    { target: endpoint.bundle, content: `${PRELUDE}\n${CODE}` },
  ]);
}

/** One app under churn. */
interface Target {
  url: string;
  /** Makes one of its builds the active one. */
  release: (index: number) => Promise<void>;
  /** Processes that have answered. */
  pids: Set<number>;
}

async function deploy(
  server: TestServer,
  app: string,
  artifacts: readonly Buffer[],
): Promise<Target> {
  const { control } = server.server;
  const builds: string[] = [];
  for (const artifact of artifacts) {
    builds.push((await control.putBuild(app, Readable.from([artifact]))).id);
  }
  const release = async (index: number): Promise<string> => {
    const build = builds[index % BUILDS] ?? "";
    const deployed = await control.deploy({ app, environment: "production", build });
    return deployed.endpoints[0]?.url ?? "";
  };
  const url = await release(0);
  return { url, pids: new Set(), release: async (index) => void (await release(index)) };
}

class Clients {
  readonly failures: string[] = [];
  readonly answered = { GET: 0, PUT: 0, POST: 0 };
  lostPosts = 0;
  #next = 0;
  readonly #over = new AbortController();
  readonly #running: Promise<void>[];

  constructor(server: TestServer, targets: readonly Target[], agent: http.Agent) {
    this.#running = Array.from({ length: CONNECTIONS }, async (_, index) => {
      const target = targets[index % targets.length];
      const method = METHODS[index % METHODS.length];
      assert.ok(target !== undefined && method !== undefined);
      while (!this.#over.signal.aborted) await this.#ask(server, { target, method, agent });
    });
  }

  async stop(): Promise<void> {
    this.#over.abort();
    await Promise.all(this.#running);
  }

  async #ask(
    server: TestServer,
    {
      target,
      method,
      agent,
    }: { target: Target; method: keyof Clients["answered"]; agent: http.Agent },
  ): Promise<void> {
    const id = `${method}-${this.#next++}`;
    const url = `${target.url}/once?id=${id}`;
    const answer = await server
      .request(url, {
        method,
        agent,
        ...(method === "GET"
          ? {}
          : { headers: { "content-type": "application/json" }, body: JSON.stringify({ id }) }),
      })
      .catch((error: unknown) => ({ status: 0, text: String(error), json: undefined }));
    if (answer.status === 200) {
      this.answered[method] += 1;
      target.pids.add((answer.json as { pid: number }).pid);
    } else if (method === "POST" && answer.status === 502) {
      // Lost with its worker, said honestly; nothing else may fail.
      this.lostPosts += 1;
    } else if (this.failures.length < 10) {
      this.failures.push(`${id} of ${target.url}: ${answer.status} ${answer.text}`);
    }
  }
}

/** Kills a worker of each app, or tells it to end as an operator would. Returns how many were hit. */
function strike(targets: readonly Target[], random: Random): number {
  let hits = 0;
  for (const { pids } of targets) {
    for (const pid of pids) if (!isAlive(pid)) pids.delete(pid);
    const victim = random.pick(pids);
    if (victim === undefined) continue;
    process.kill(victim, random.chance(0.5) ? "SIGKILL" : "SIGTERM");
    pids.delete(victim);
    hits += 1;
  }
  return hits;
}

async function start(t: Owner, executions: string): Promise<[TestServer, Target[]]> {
  const server = await TestServer.start(t);
  const specs = Array.from({ length: BUILDS }, (_, version) => specOf(version, executions));
  const own = await Promise.all(specs.map((spec) => ownArtifact("own", spec)));
  const foreign = await Promise.all(specs.map((spec) => artifactOf("foreign", [spec])));
  return [server, [await deploy(server, "own", own), await deploy(server, "foreign", foreign)]];
}

test(`${CHURN_MS / 1000} s of dying workers and rolling releases: no GET or PUT fails and no POST runs twice`, async (t) => {
  const owner = backwards(t);
  const executions = path.join(temporaryFolder(owner), "executions");
  writeFileSync(executions, "");
  const [server, targets] = await start(owner, executions);
  const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  owner.after(() => agent.destroy());
  const clients = new Clients(server, targets, agent);
  const random = new Random(seed);
  let hits = 0;
  const end = performance.now() + CHURN_MS;
  // A slow machine goes on until there is something to tell.
  const isEnough = (): boolean =>
    hits > 0 && METHODS.every((method) => clients.answered[method] > 100);
  for (let blow = 1; performance.now() < end || !isEnough(); blow++) {
    await pause(BLOW_MS);
    hits += strike(targets, random);
    if (blow % BLOWS_PER_RELEASE !== 0) continue;
    for (const target of targets) await target.release(random.between(0, BUILDS - 1));
  }
  await clients.stop();

  const { answered, failures, lostPosts } = clients;
  t.diagnostic(
    `seed ${seed}: ${JSON.stringify(answered)} answered, ${hits} workers hit, ${lostPosts} POSTs lost with their worker`,
  );
  assert.deepEqual(failures, []);
  const runs = new Map<string, number>();
  for (const id of readFileSync(executions, "utf8").trim().split("\n")) {
    runs.set(id, (runs.get(id) ?? 0) + 1);
  }
  const twice = [...runs].filter(([id, count]) => id.startsWith("POST") && count > 1);
  assert.deepEqual(twice, []);
  // No count of a request has leaked, and every worker that was replaced is gone.
  for (const app of ["own", "foreign"]) {
    const { jobs } = await server.status(app, "api");
    assert.deepEqual([jobs.inProgress, jobs.inQueue], [0, 0]);
    await until(async () => (await server.workers(app, "api")) <= 4, {
      what: "the old workers' end",
    });
  }
});
