/** Clients that end their side of the connection right after their request, as netcat does. */

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { describe, test, type TestContext } from "node:test";
import type { FlashServerOptions } from "../../src/server/server.ts";
import { until } from "../support/until.ts";
import { TestServer, type Answer } from "./server-support.ts";

const IMAGE = { name: "whisper", kind: "qb", form: "image" } as const;
const API = { name: "api", kind: "lb", options: { workers: [1, 1] } } as const;

interface Setting {
  server: TestServer;
  /** Path of the queue endpoint, and of the load-balanced one. */
  queue: string;
  routes: string;
}

async function start(t: TestContext, options: Partial<FlashServerOptions> = {}): Promise<Setting> {
  const server = await TestServer.start(t, options);
  const { endpoints } = await server.deploy("shop", [IMAGE, API]);
  const id = (name: string): string => endpoints.find((one) => one.name === name)?.id ?? "";
  return { server, queue: `/v2/${id("whisper")}`, routes: `/lb/${id("api")}` };
}

interface Asked {
  headers?: Record<string, string>;
  body?: string;
}

/** A request with nothing of a client in it, after which the client's side ends. */
async function shutAfter(
  server: TestServer,
  line: string,
  { headers = {}, body }: Asked = {},
): Promise<string> {
  const socket = connect(server, line, { headers, ...(body === undefined ? {} : { body }) });
  socket.end();
  return await allOf(socket);
}

function connect(server: TestServer, line: string, { headers = {}, body }: Asked = {}): net.Socket {
  const socket = net.connect({
    port: Number(new URL(server.url).port),
    host: "127.0.0.1",
    allowHalfOpen: true,
  });
  const all = {
    host: "127.0.0.1",
    authorization: `Bearer ${server.server.key}`,
    ...(body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) }),
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`${line} HTTP/1.1\r\n${lines.join("")}\r\n${body ?? ""}`);
  return socket;
}

/** Everything until the server's end. */
async function allOf(socket: net.Socket): Promise<string> {
  const parts: Buffer[] = [];
  socket.on("data", (part: Buffer) => parts.push(part));
  socket.on("error", () => undefined);
  await once(socket, "close");
  return Buffer.concat(parts).toString("utf8");
}

/** What a worker of the image does. */
async function asWorker({ server }: Setting): Promise<Record<string, string>> {
  const where = "app=shop&environment=production&endpoint=whisper";
  const made = await server.request(`/api/v1/workers?${where}`, { method: "POST" });
  return made.json.env as Record<string, string>;
}

function take({ server }: Setting, env: Record<string, string>): Promise<Answer> {
  const url = new URL(env["RUNPOD_WEBHOOK_GET_JOB"] ?? "");
  const headers = { authorization: env["RUNPOD_AI_API_KEY"] ?? "" };
  return server.request(url.pathname, { key: null, headers });
}

const body = JSON.stringify({ input: { text: "a" } });

describe("a client that ends its side after its request", () => {
  test("is answered by the job API, however long that takes", async (t) => {
    const setting = await start(t);
    const { server, queue } = setting;
    const env = await asWorker(setting);
    assert.match(await shutAfter(server, `POST ${queue}/run`, { body }), /"IN_QUEUE"/);
    assert.match(await shutAfter(server, `GET ${queue}/health`), /"inQueue":1/);
    const chunked = `c\r\n{"input":{}}\r\n0\r\n\r\n`;
    const socket = connect(server, `POST ${queue}/run`, {
      headers: { "transfer-encoding": "chunked" },
    });
    socket.end(chunked);
    assert.match(await allOf(socket), /"IN_QUEUE"/);
    await server.request(`${queue}/purge-queue`, { method: "POST" });
    for (const headers of [{}, { connection: "close" }, { connection: "keep-alive" }]) {
      const asked = shutAfter(server, `POST ${queue}/runsync`, { headers, body });
      const { json: job } = await take(setting, env);
      const url = (env["RUNPOD_WEBHOOK_POST_OUTPUT"] ?? "").replace("$ID", job.id as string);
      await server.request(new URL(url).pathname, {
        method: "POST",
        key: null,
        headers: { authorization: env["RUNPOD_AI_API_KEY"] ?? "" },
        body: JSON.stringify({ output: "done" }),
      });
      assert.match(await asked, /"COMPLETED".*"output":"done"/);
    }
  });

  test("is answered by a route, unless it has said that it keeps the connection", async (t) => {
    const { server, routes } = await start(t);
    await server.request(`${routes}/pid`);
    for (const headers of [{}, { connection: "close" }]) {
      // The server's patience is a second: on a busy machine that may be over.
      const ask = (): Promise<string> => shutAfter(server, `GET ${routes}/slow?ms=50`, { headers });
      await until(async () => / 200 OK/.test(await ask()), { what: "an answer" });
    }
    const kept = connect(server, `GET ${routes}/slow?ms=60000`, {
      headers: { connection: "keep-alive" },
    });
    await until(async () => (await server.status("shop", "api")).jobs.inProgress === 1, {
      what: "the request at the worker",
    });
    kept.end();
    assert.equal(await allOf(kept), "");
  });

  test("stops its route when the answer takes long: it may have gone", async (t) => {
    const { server, routes } = await start(t);
    await server.request(`${routes}/pid`);
    await until(
      async () => {
        // On a busy machine the patience may be over before the worker has got the request.
        assert.equal(await shutAfter(server, `GET ${routes}/slow?ms=600000`), "");
        return (await server.request(`${routes}/aborted`)).json.aborted > 0;
      },
      { what: "the worker to notice" },
    );
  });

  test("takes nobody's place while it waits", async (t) => {
    const { server, queue } = await start(t, { rateLimits: true });
    const { id } = (await server.request(`${queue}/run`, { method: "POST", body })).json;
    const line = `GET ${queue}/status-sync/${id}`;
    const many = Array.from({ length: 400 }, () => connect(server, `${line}?wait=300000`));
    t.after(() => many.forEach((socket) => socket.destroy()));
    const look = async (): Promise<number> =>
      (await server.request(`${queue}/status-sync/${id}?wait=1000`)).status;
    await until(async () => (await look()) === 429, { what: "every place to be taken" });
    for (const socket of many) socket.end();
    await until(async () => (await look()) === 200, { what: "a place" });
  });

  test("is handed no job, but an answer", async (t) => {
    const setting = await start(t);
    const { server, queue } = setting;
    const env = await asWorker(setting);
    const { pathname } = new URL(env["RUNPOD_WEBHOOK_GET_JOB"] ?? "");
    const authorization = env["RUNPOD_AI_API_KEY"] ?? "";
    assert.match(
      await shutAfter(server, `GET ${pathname}`, { headers: { authorization } }),
      / 204 /,
    );
    await server.request(`${queue}/run`, { method: "POST", body });
    assert.equal((await take(setting, env)).status, 200);
  });

  test("loses the job that only it has use for", async (t) => {
    const { server, queue } = await start(t);
    const headers = { "x-flash-attached": "1" };
    const said = await shutAfter(server, `POST ${queue}/runsync`, { headers, body });
    assert.match(said, /"CANCELLED"/);
  });
});
