/** Requests of many connections while workers are killed and releases replace each other. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { TestServer, type EndpointSpec } from "./server-support.ts";

const CONNECTIONS = 32;
const KILLS = 12;

test("while workers die and releases roll, no GET or PUT fails and no POST runs twice", async (t) => {
  const executions = path.join(temporaryFolder(t), "executions");
  writeFileSync(executions, "");
  const server = await TestServer.start(t);
  const release = (version: string): EndpointSpec => ({
    name: "api",
    kind: "lb",
    version,
    options: { workers: [2, 3], scalerValue: 8, env: { EXECUTIONS: executions } },
  });
  const [endpoint] = (await server.deploy("shop", [release("0")])).endpoints;
  const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  t.after(() => agent.destroy());

  const failures: string[] = [];
  const answered = new Map<string, number>();
  const lostPosts = new Set<string>();
  let next = 0;
  const over = new AbortController();
  const client = async (method: string): Promise<void> => {
    while (!over.signal.aborted) {
      const id = `${method}-${next++}`;
      const answer = await server
        .request(`${endpoint?.url}/once?id=${id}`, {
          method,
          agent,
          ...(method === "GET" ? {} : { body: `body of ${id}` }),
        })
        .catch((error: unknown) => ({ status: 0, text: String(error) }));
      answered.set(method, (answered.get(method) ?? 0) + 1);
      if (answer.status === 200) continue;
      // A POST may be lost with its worker, said honestly; nothing else may fail.
      if (method === "POST" && answer.status === 502) lostPosts.add(id);
      else failures.push(`${id}: ${answer.status} ${answer.text}`);
    }
  };
  const methods = Array.from(
    { length: CONNECTIONS },
    (_, index) => ["GET", "PUT", "POST"][index % 3],
  );
  const clients = methods.map((method) => client(method ?? "GET"));

  for (let kill = 1; kill <= KILLS; kill++) {
    const { pid } = (await server.request(`${endpoint?.url}/pid`)).json;
    process.kill(pid, "SIGKILL");
    if (kill % 4 === 0) await server.deploy("shop", [release(String((kill / 4) % 3))]);
    const target = next + 100;
    await until(() => next > target, { what: "further requests" });
  }
  over.abort();
  await Promise.all(clients);

  assert.deepEqual(failures, []);
  for (const method of ["GET", "PUT", "POST"]) assert.ok((answered.get(method) ?? 0) > 100);
  const runs = new Map<string, number>();
  for (const id of readFileSync(executions, "utf8").trim().split("\n")) {
    runs.set(id, (runs.get(id) ?? 0) + 1);
  }
  const twice = [...runs].filter(([id, count]) => id.startsWith("POST") && count > 1);
  assert.deepEqual(twice, []);
  t.diagnostic(`${next} requests, ${KILLS} kills, ${lostPosts.size} POSTs lost with their worker`);
});
