/**
 * Durable jobs through HTTP: submit, run in a separate process (ten at once), wait for the result. With
 * 32 clients and with one. Every stack validates the same input.
 *
 *   node bench/jobs.ts [--rounds 5] [--seconds 3] [--only flash,bullmq]
 */

import { spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import {
  freePort,
  interleave,
  LoadProcess,
  printReport,
  startProgram,
  stopProgram,
  type Subject,
} from "./harness.ts";
import { answers, flashApp, here } from "./subjects.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    only: { type: "string" },
  },
});
const durationMs = Number(values.seconds) * 1000;
const generator = new LoadProcess();
const stacks: [name: string, start: () => Promise<Stack>][] = [
  ["bullmq, redis everysec", () => bullmq("everysec")],
  ["bullmq, redis always", () => bullmq("always")],
  ["graphile-worker, postgres", graphile],
  ["no queue, computed in fastify", inProcess],
  ["flash", flash],
];
const wanted = values.only?.split(",");
const chosen = stacks.filter(([name]) => wanted?.some((part) => name.includes(part)) ?? true);
const subjects: Subject[] = [];
try {
  for (const [name, start] of chosen) subjects.push(toSubject(name, await start()));
  const report = await interleave("jobs", subjects, {
    rounds: Number(values.rounds),
    baseline: chosen[0]?.[0] ?? "",
  });
  printReport(report);
} finally {
  for (const subject of subjects) await subject.close();
  await generator.close();
}

interface Stack {
  origin: string;
  base: string;
  headers: Record<string, string>;
  close(): Promise<void>;
}

function toSubject(name: string, stack: Stack): Subject {
  const request = {
    target: stack.origin,
    method: "POST",
    headers: stack.headers,
    body: '{"input":{"x":5,"y":3}}',
  };
  const runsync = { ...request, path: `${stack.base}/runsync`, expect: '"result":8' };
  return {
    name,
    async measure() {
      const submit = await generator.run({
        ...request,
        path: `${stack.base}/run`,
        expect: "IN_QUEUE",
        connections: 32,
        durationMs: durationMs / 3,
      });
      await generator.run({ ...runsync, connections: 1, durationMs: 1 });
      const many = await generator.run({ ...runsync, connections: 32, durationMs });
      const one = await generator.run({ ...runsync, connections: 1, durationMs: durationMs / 2 });
      return {
        "submits/s": submit.perSecond,
        "jobs/s": many.perSecond,
        "done p50 ms": many.p50,
        "done p99 ms": many.p99,
        "1 client p50 ms": one.p50,
      };
    },
    close: () => stack.close(),
  };
}

async function bullmq(fsync: "everysec" | "always"): Promise<Stack> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "flash-bench-redis-"));
  const redisPort = await freePort();
  const redis = await startProgram(
    "redis-server",
    [
      "--port",
      String(redisPort),
      "--bind",
      "127.0.0.1",
      "--dir",
      folder,
      "--appendonly",
      "yes",
      "--appendfsync",
      fsync,
      "--save",
      "",
    ],
    { ready: "Ready to accept connections" },
  );
  const env = { REDIS_PORT: String(redisPort) };
  const worker = await peer("bullmq-worker.ts", env);
  return await webStack("bullmq.ts", env, { folder, children: [worker, redis] });
}

async function graphile(): Promise<Stack> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "flash-bench-pg-"));
  const version = spawnSync("ls", ["/usr/lib/postgresql"], { encoding: "utf8" })
    .stdout.trim()
    .split("\n")
    .at(-1);
  const bin = `/usr/lib/postgresql/${version}/bin`;
  const port = await freePort();
  spawnSync("chown", ["postgres", folder]);
  const asPostgres = (command: string): string[] => ["-s", "/bin/sh", "postgres", "-c", command];
  spawnSync("su", asPostgres(`${bin}/initdb -D ${folder}/data -A trust`), { cwd: folder });
  const postgres = await startProgram(
    "su",
    asPostgres(`exec ${bin}/postgres -D ${folder}/data -p ${port} -k ${folder} -h 127.0.0.1 2>&1`),
    { ready: "ready to accept connections", cwd: folder },
  );
  const env = { DATABASE_URL: `postgres://postgres@127.0.0.1:${port}/postgres` };
  const web = await webStack("graphile.ts", env, { folder, children: [] });
  const worker = await peer("graphile-worker.ts", env);
  return {
    ...web,
    close: async () => {
      await stopProgram(worker);
      await web.close();
      // su passes the signal on to the server it became.
      await stopProgram(postgres, "SIGINT");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function inProcess(): Promise<Stack> {
  return webStack("fastify-jobs.ts", {}, { folder: undefined, children: [] });
}

async function flash(): Promise<Stack> {
  const app = await flashApp({
    "work.ts": `import { Endpoint } from "runpod-flash";
export const work = Endpoint({ name: "work", cpu: "cpu3c-1-2", workers: [1, 1], maxConcurrency: 10 },
  async (x: number, y: number) => ({ result: x + y }));
`,
  });
  const base = new URL(app.endpoints["work"] ?? "");
  return {
    origin: base.origin,
    base: base.pathname,
    headers: { authorization: `Bearer ${app.key}` },
    close: () => app.close(),
  };
}

async function webStack(
  file: string,
  env: Record<string, string>,
  owned: { folder: string | undefined; children: readonly ChildProcess[] },
): Promise<Stack> {
  const port = await freePort();
  const web = await peer(file, { ...env, PORT: String(port) });
  const origin = `http://127.0.0.1:${port}`;
  await answers(origin);
  return {
    origin,
    base: "",
    headers: {},
    close: async () => {
      await stopProgram(web);
      for (const child of owned.children) await stopProgram(child);
      if (owned.folder !== undefined) rmSync(owned.folder, { recursive: true, force: true });
    },
  };
}

function peer(file: string, env: Record<string, string>): Promise<ChildProcess> {
  return startProgram(process.execPath, [path.join(here, "peers", file)], { env, ready: "ready" });
}
