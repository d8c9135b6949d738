/** The log of an endpoint: whose line is whose, what is asked for, and how much is kept. */

import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { describe, test } from "node:test";
import type { LogLine } from "../../src/contract/control.ts";
import { ManualClock } from "../../src/kit/clock.ts";
import { silentLog } from "../../src/kit/log.ts";
import { Logs } from "../../src/server/control/logs.ts";
import { temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { Queue, deployCode } from "./code-support.ts";
import { TestServer, backwards } from "./server-support.ts";

const TALKER = `
export const talk = queue(async (input) => {
  const { log } = context();
  for (let step = 0; step < 3; step++) {
    console.log(input.name + " step " + step);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  process.stdout.write(input.name + " half");
  await new Promise((resolve) => setTimeout(resolve, 1));
  process.stdout.write(" and half\\n");
  console.warn(input.name + " warned");
  console.error("\\u001b[31m" + input.name + " failed\\u001b[0m");
  log.debug(input.name + " detail", { n: 1n, at: { deep: [input.name] } });
  return input.name;
});
console.log("loaded");
`;

async function linesOf(server: TestServer, query: string): Promise<LogLine[]> {
  const path = `/api/v1/logs?app=code&environment=production&${query}`;
  const { text } = await server.request(path);
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as LogLine);
}

async function talk(owner: Owner, home?: string) {
  const server = await TestServer.start(owner, home === undefined ? {} : { home });
  const options = { maxConcurrency: 4, workers: [0, 1] as [number, number] };
  const deployed = await deployCode(owner, server, [{ name: "talk", options, code: TALKER }]);
  return { server, queue: new Queue(server, deployed.get("talk")) };
}

describe("lines of functions", () => {
  test("name their job, their attempt and their level, although four run at once", async (t) => {
    const { server, queue } = await talk(backwards(t));
    const names = ["a", "b", "c", "d"];
    const ids = await Promise.all(names.map((name) => queue.submit({ name })));
    for (const id of ids) await queue.finished(id);
    await until(async () => (await linesOf(server, "level=debug&tail=999")).length >= 29, {
      what: "all lines",
    });
    const all = await linesOf(server, "tail=999");
    const loaded = all.find(({ message }) => message === "loaded");
    assert.deepEqual([loaded?.job, loaded?.level], [undefined, "info"]);
    for (const [index, name] of names.entries()) {
      const own = all.filter(({ job }) => job === ids[index]);
      // Two halves of a line stay one line unless another job's came between them.
      const texts = own
        .map(({ message }) => message)
        .join("\n")
        .replace("half\n and", "half and");
      assert.deepEqual(texts.split("\n"), [
        `${name} step 0`,
        `${name} step 1`,
        `${name} step 2`,
        `${name} half and half`,
        `${name} warned`,
        `${name} failed`,
        `${name} detail`,
      ]);
      assert.ok(own.every(({ attempt, endpoint }) => attempt === 1 && endpoint === "talk"));
      assert.deepEqual(
        own.slice(-3).map(({ level, stream }) => `${level} ${stream}`),
        ["warn stderr", "error stderr", "debug stdout"],
      );
      assert.deepEqual(own.at(-1)?.fields, { n: "1", at: { deep: [name] } });
    }
  });

  test("are found by job, worker, level and time, and outlive the server", async (t) => {
    const owner = backwards(t);
    const home = temporaryFolder(owner, "flash-home");
    const { server, queue } = await talk(owner, home);
    const first = await queue.submit({ name: "a" });
    await queue.finished(first);
    await until(async () => (await linesOf(server, `job=${first}`)).length === 7, {
      what: "the first job's lines",
    });
    const [line] = await linesOf(server, `job=${first}`);
    const later = encodeURIComponent(new Date(Date.parse(line?.time ?? "") + 60_000).toISOString());
    const levels = await linesOf(server, `job=${first}&level=warn`);
    assert.deepEqual(
      levels.map(({ message }) => message),
      ["a warned", "a failed"],
    );
    assert.equal((await linesOf(server, `worker=${line?.worker}`)).length, 8);
    assert.equal((await linesOf(server, "worker=nobody")).length, 0);
    assert.equal((await linesOf(server, `since=${later}`)).length, 0);
    assert.equal(
      (await linesOf(server, `since=${Date.parse(line?.time ?? "")}`)).at(-1)?.job,
      first,
    );
    for (const wrong of ["since=yesterday", "level=loud"]) {
      const path = `/api/v1/logs?app=code&environment=production&${wrong}`;
      assert.equal((await server.request(path)).status, 400, wrong);
    }
    const logs = new Logs({ home, clock: new ManualClock(), log: silentLog });
    const source = { app: "code", environment: "production", endpoint: "talk" };
    const signal = AbortSignal.timeout(60_000);
    const kept: string[] = [];
    for await (const { message } of logs.read([source], { tail: 1, follow: false, signal })) {
      kept.push(message);
    }
    assert.deepEqual(kept, ["a detail"]);
  });
});

describe("what logs take on the disk", () => {
  const line = (message: string) => ({
    time: new Date(0).toISOString(),
    worker: "w",
    stream: "stdout" as const,
    level: "info" as const,
    message,
  });

  test("is bounded for each endpoint and for all together, oldest first", async (t) => {
    const home = temporaryFolder(t);
    const clock = new ManualClock();
    const limits = { maxBytes: 40_000, maxTotalBytes: 90_000 };
    const logs = new Logs({ home, clock, log: silentLog, ...limits });
    for (const endpoint of ["one", "two", "three", "four"]) {
      for (let count = 0; count < 30; count++) {
        logs.add({ app: "a", environment: "e", endpoint }, line("x".repeat(5000)));
        if (count % 3 === 2) await logs.close();
      }
    }
    await logs.close();
    const folder = path.join(home, "logs/a/e");
    const sizes = new Map(
      readdirSync(folder).map((name) => [name, statSync(path.join(folder, name)).size]),
    );
    const total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    // What is being written to comes on top of what was pruned.
    assert.ok(total <= limits.maxTotalBytes + limits.maxBytes, `${total} bytes`);
    assert.ok(
      [...sizes.values()].every((size) => size < limits.maxBytes),
      JSON.stringify([...sizes]),
    );
    assert.ok(sizes.has("four.ndjson") && !sizes.has("one.ndjson.1"), JSON.stringify([...sizes]));
  });
});

describe("requests", () => {
  test("keep the name that their client gave them, and get one where the server answers itself", async (t) => {
    const server = await TestServer.start(backwards(t));
    const { endpoints } = await server.deploy("shop", [{ name: "api", kind: "lb" }]);
    const url = endpoints[0]?.url ?? "";
    const headers = { "x-request-id": "my-request.1" };
    const agent = new http.Agent({ keepAlive: true });
    t.after(() => agent.destroy());
    const plain = await server.request(`${url}/echo`, { headers, agent });
    assert.equal(plain.headers["x-request-id"], "my-request.1");
    assert.equal(plain.json.headers["x-request-id"], "my-request.1");
    const other = await server.request(`${url}/echo`, {
      method: "POST",
      headers: { ...headers, "transfer-encoding": "chunked" },
      body: "x",
    });
    assert.equal(other.headers["x-request-id"], "my-request.1");
    const refused = await server.request("/api/v1/nothing", { headers });
    assert.deepEqual([refused.status, refused.headers["x-request-id"]], [404, "my-request.1"]);
    const own = await server.request("/api/v1/server", {
      headers: { "x-request-id": "no name at all" },
    });
    assert.match(String(own.headers["x-request-id"]), /^\w+-\w+$/);
    assert.match(
      String((await server.request("/api/v1/server", { key: null })).headers["x-request-id"]),
      /^\w+-\w+$/,
    );
  });
});
