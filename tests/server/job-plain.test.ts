/**
 * The edge answers plain requests of the job API itself, everything else goes to node:http. Each request
 * here is asked both ways: with a connection that is kept, which makes it plain, and with one that ends.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { describe, test, type TestContext } from "node:test";
import { gzipSync } from "node:zlib";
import { until } from "../support/until.ts";
import { TestServer, type Answer, type RequestOptions } from "./server-support.ts";

interface Both {
  server: TestServer;
  base: string;
  plain: (path: string, options?: RequestOptions) => Promise<Answer>;
  other: (path: string, options?: RequestOptions) => Promise<Answer>;
}

/** A queue endpoint whose jobs wait, unless there is a worker. */
async function serve(t: TestContext, workersMax = 0): Promise<Both> {
  const server = await TestServer.start(t);
  const options = workersMax === 0 ? { env: { START_CRASH: "no worker" } } : {};
  const { endpoints } = await server.deploy("shop", [{ name: "work", kind: "qb", options }]);
  const base = `/v2/${endpoints[0]?.id}`;
  const agent = new http.Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  return {
    server,
    base,
    plain: (path, options) => server.request(`${base}${path}`, { agent, ...options }),
    other: (path, options) => server.request(`${base}${path}`, options),
  };
}

/** What does not differ from one job to the next. */
function shapeOf({ status, headers, json }: Answer): unknown {
  const { id, workerId, delayTime, executionTime, instance, ...rest } = json as Record<
    string,
    unknown
  >;
  const present = { id, workerId, delayTime, executionTime, instance };
  const types = Object.entries(present).map(([name, value]) => `${name}: ${typeof value}`);
  return { status, type: headers["content-type"], retry: headers["retry-after"], types, rest };
}

describe("plain requests of the job API", () => {
  const rows: [what: string, path: string, options: RequestOptions][] = [
    ["a job", "/run", { method: "POST", body: '{"input":{"a":1}}' }],
    ["a job with a ttl", "/run?ttl=20000", { method: "POST", body: '{"input":{"a":"é"}}' }],
    ["no JSON", "/run", { method: "POST", body: '{"input":' }],
    ["a list", "/runsync", { method: "POST", body: "[]" }],
    ["no UTF-8", "/run", { method: "POST", body: Buffer.from('{"input":"é"}', "latin1") }],
    ["a byte order mark", "/run", { method: "POST", body: '\uFEFF{"input":{"a":1}}' }],
    [
      "a compressed body",
      "/run",
      { method: "POST", body: gzipSync("{}"), headers: { "content-encoding": "gzip" } },
    ],
    ["a policy out of bounds", "/run", { method: "POST", body: '{"input":1,"policy":{"ttl":1}}' }],
    ["a delay beyond the ttl", "/run", { method: "POST", body: '{"policy":{"delayMs":1e12}}' }],
    ["a wait that ends first", "/runsync?wait=1", { method: "POST", body: '{"input":{}}' }],
    ["an unknown job", "/status/none", {}],
    ["a slash too many", "/run/", { method: "POST", body: '{"input":{}}' }],
    ["a slash too many to wait", "/runsync/?wait=1", { method: "POST", body: '{"input":{}}' }],
    ["a slash too many after a job", "/status/none/", {}],
    ["no job", "/status/", {}],
    ["the wrong method", "/run", {}],
    ["the wrong key", "/run", { method: "POST", body: "{}", key: "wrong" }],
    [
      "too long an Idempotency-Key",
      "/run",
      { method: "POST", body: "{}", headers: { "idempotency-key": "k".repeat(300) } },
    ],
  ];
  for (const [what, path, options] of rows) {
    test(`${what}: answered as every other request`, async (t) => {
      const { plain, other } = await serve(t);
      assert.deepEqual(shapeOf(await plain(path, options)), shapeOf(await other(path, options)));
    });
  }

  test("an endpoint by name, and one that is not there", async (t) => {
    const { plain, other, server } = await serve(t);
    const names = { "x-flash-app": "shop", "x-flash-environment": "production" };
    for (const endpoint of ["work", "none"]) {
      const headers = { ...names, "x-flash-endpoint": endpoint };
      const options = { method: "POST", body: '{"input":{}}', headers };
      const path = `${server.url}/v2/flash/run`;
      const agent = new http.Agent({ keepAlive: true });
      const answer = await server.request(path, { ...options, agent });
      agent.destroy();
      assert.deepEqual(shapeOf(answer), shapeOf(await server.request(path, options)));
      assert.equal(answer.status, endpoint === "work" ? 200 : 404);
    }
    assert.equal((await plain("/status/none")).status, 404);
    assert.equal((await other("/status/none")).status, 404);
  });

  test("the same Idempotency-Key is the same job, whichever way it comes", async (t) => {
    const { plain, other } = await serve(t);
    const options = { method: "POST", body: "{}", headers: { "idempotency-key": "one" } };
    const [first, second] = [await plain("/run", options), await other("/run", options)];
    assert.equal(first.json.id, second.json.id);
    const status = await plain(`/status/${first.json.id}`);
    assert.equal(status.json.status, "IN_QUEUE");
  });

  test("the end of a job reaches who waits for it, and who asks for it", async (t) => {
    const { plain, other } = await serve(t, 1);
    const options = { method: "POST", body: '{"input":{"echo":[1.0,12345678901234567890]}}' };
    const [first, second] = [await plain("/runsync", options), await other("/runsync", options)];
    assert.deepEqual(shapeOf(first), shapeOf(second));
    assert.equal(first.json.status, "COMPLETED");
    const { text } = await plain(`/status/${first.json.id}`);
    assert.equal(text, first.text);
  });

  test("a client that goes away leaves its job alone", async (t) => {
    const { server, base, other } = await serve(t);
    const { port } = new URL(server.url);
    const socket = net.connect(Number(port), "127.0.0.1");
    const head = `POST ${base}/runsync HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${server.server.key}\r\n`;
    socket.write(`${head}Content-Length: 12\r\n\r\n{"input":{}}`);
    const queued = async (): Promise<boolean> => (await other("/health")).json.jobs.inQueue === 1;
    await until(queued, { what: "the job" });
    socket.destroy();
    await once(socket, "close");
    assert.equal(await queued(), true);
  });

  test("a client that offers HTTP/2 with every request submits jobs, and asks for them", async (t) => {
    const { other } = await serve(t);
    const headers = { connection: "Upgrade, HTTP2-Settings", upgrade: "h2c", "http2-settings": "" };
    const job = await other("/run", { method: "POST", body: '{"input":{}}', headers });
    assert.equal(job.status, 200);
    assert.equal((await other(`/status/${job.json.id}`, { headers })).json.status, "IN_QUEUE");
  });

  test("several requests in one piece are answered in their order", async (t) => {
    const { server, base } = await serve(t);
    const { port } = new URL(server.url);
    const socket = net.connect(Number(port), "127.0.0.1");
    t.after(() => socket.destroy());
    const one = `GET ${base}/status/none HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${server.server.key}\r\n\r\n`;
    const two = `POST ${base}/run HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${server.server.key}\r\nContent-Length: 2\r\n\r\n{}`;
    let text = "";
    socket.setEncoding("latin1").on("data", (chunk: string) => (text += chunk));
    socket.write(one + two + one + two);
    await until(() => text.split("HTTP/1.1 ").length === 5, { what: "four answers" });
    const statuses = [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status);
    assert.deepEqual(statuses, ["404", "200", "404", "200"]);
  });
});
