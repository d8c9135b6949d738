/**
 * Throughput and latency of `POST /api/process {"x":5,"y":3}`: served directly, through reverse
 * proxies, and through Flash's gateway to a worker. 64 connections, then one. CPU time is that of the
 * subject and its back end, not of the load generator.
 *
 *   node bench/hop.ts [--rounds 5] [--seconds 2]
 */

import { parseArgs } from "node:util";
import { cpuMsOf } from "./cpu.ts";
import {
  interleave,
  LoadProcess,
  median,
  printReport,
  type Report,
  type Subject,
} from "./harness.ts";
import { fastApi, flashApp, nginxHop, nodePeer, type Served } from "./subjects.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    only: { type: "string" },
  },
});
const UNDICI = "undici → node:http";
const durationMs = Number(values.seconds) * 1000;
const generator = new LoadProcess();
const plain = await nodePeer("node:http", "node-http.ts");
const all: Served[] = [
  plain,
  await nodePeer("fastify", "fastify.ts"),
  await fastApi(),
  inFrontOf(plain, await nginxHop(plain)),
  inFrontOf(plain, await nodePeer(UNDICI, "undici-proxy.ts", { BACKEND: plain.url })),
  await flash(),
];
const wanted = values.only?.split(",");
const subjects = all.filter(
  ({ name }) => wanted === undefined || wanted.some((part) => name.includes(part)),
);
try {
  const report = await interleave("hop", subjects.map(toSubject), {
    rounds: Number(values.rounds),
    baseline: "node:http",
  });
  printReport(report);
  printAims(report);
} finally {
  for (const subject of all.toReversed()) await subject.close();
  await generator.close();
}

function inFrontOf(backend: Served, proxy: Served): Served {
  return { ...proxy, pids: [...proxy.pids, ...backend.pids] };
}

/** What Flash is measured by: medians of the ratios within a round, and the added latency. */
function printAims({ samples }: Report): void {
  const compare = (name: string, figure: string, how: (own: number, peer: number) => number) =>
    median(
      (samples["flash"] ?? []).map((row, round) =>
        how(row[figure] ?? 0, samples[name]?.[round]?.[figure] ?? Number.NaN),
      ),
    );
  const times = (name: string): number => compare(name, "req/s", (own, peer) => own / peer);
  const addedMs = compare("node:http", "1 conn p50 ms", (own, peer) => own - peer);
  process.stdout.write(`
| flash, req/s, 64 connections | measured | aim |
|---|---|---|
| beside the undici hop | ${times(UNDICI).toFixed(2)}x | at least 2x |
| beside FastAPI served directly | ${times("fastapi on uvicorn").toFixed(2)}x | at least 2x |
| beside the nginx hop | ${times("nginx → node:http").toFixed(2)}x | at least 0.6x |
| added p50, one connection | ${addedMs.toFixed(3)} ms | at most 0.3 ms |
`);
}

function toSubject(served: Served): Subject {
  const request = {
    target: new URL(served.url).origin,
    method: "POST",
    path: served.path,
    headers: served.headers,
    body: '{"x":5,"y":3}',
    expect: '"result":8',
  };
  return {
    name: served.name,
    async measure() {
      const before = cpuMsOf(served.pids);
      const many = await generator.run({ ...request, connections: 64, durationMs });
      const cpuMs = cpuMsOf(served.pids) - before;
      const one = await generator.run({ ...request, connections: 1, durationMs: durationMs / 2 });
      return {
        "req/s": many.perSecond,
        "p50 ms": many.p50,
        "p99 ms": many.p99,
        "CPU µs/req": (cpuMs * 1000) / many.requests,
        "1 conn p50 ms": one.p50,
      };
    },
    close: () => served.close(),
  };
}

async function flash(): Promise<Served> {
  const app = await flashApp({
    "api.ts": `import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "bench", cpu: "cpu3c-1-2", workers: [1, 1] });
export const processData = api.post("/api/process", async (x: number, y: number) => ({ result: x + y }));
`,
  });
  const base = new URL(app.endpoints["bench"] ?? "");
  return {
    name: "flash",
    url: base.origin,
    path: `${base.pathname}/api/process`,
    headers: { authorization: `Bearer ${app.key}` },
    pids: [app.server.pid ?? 0],
    close: () => app.close(),
  };
}
