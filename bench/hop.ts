/**
 * Throughput and latency of `POST /api/process {"x":5,"y":3}`: served directly, through reverse
 * proxies, and through Flash's gateway to a worker. 64 connections, then one.
 *
 *   node bench/hop.ts [--rounds 5] [--seconds 2]
 */

import { parseArgs } from "node:util";
import { interleave, LoadProcess, printReport, type Subject } from "./harness.ts";
import { fastApi, flashApp, nginxHop, nodePeer, type Served } from "./subjects.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    only: { type: "string" },
  },
});
const durationMs = Number(values.seconds) * 1000;
const generator = new LoadProcess();
const plain = await nodePeer("node:http", "node-http.ts");
const all: Served[] = [
  plain,
  await nodePeer("fastify", "fastify.ts"),
  await fastApi(),
  await nginxHop(plain),
  await nodePeer("undici → node:http", "undici-proxy.ts", { BACKEND: plain.url }),
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
} finally {
  for (const subject of all.toReversed()) await subject.close();
  await generator.close();
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
      const many = await generator.run({ ...request, connections: 64, durationMs });
      const one = await generator.run({ ...request, connections: 1, durationMs: durationMs / 2 });
      return {
        "req/s": many.perSecond,
        "p50 ms": many.p50,
        "p99 ms": many.p99,
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
    close: () => app.close(),
  };
}
