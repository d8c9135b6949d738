/** Calls to deployed endpoints, against a peer that plays the Flash server. */

import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { contextStorage, type Context } from "../../src/contract/context.ts";
import type { ErrorCode } from "../../src/contract/errors.ts";
import type { FunctionManifest } from "../../src/contract/manifest.ts";
import { registry } from "../../src/contract/registry.ts";
import { Endpoint, FlashError, LoadBalancerSlsResource, remote, where } from "../../src/sdk/sdk.ts";
import {
  FakeServer,
  KEY,
  job,
  parameter,
  problem,
  remoteVariables,
  setVariables,
  signature,
  type Reply,
} from "./fake-server.ts";

const NUMBER = { type: "number" } as const;
const STRING = { type: "string" } as const;

async function open(t: TestContext): Promise<FakeServer> {
  const fake = await FakeServer.open(t);
  setVariables(t, remoteVariables(fake));
  return fake;
}

let names = 0;
/** Descriptions are believed for a while, so every test has a name of its own. */
const fresh = (): string => `service-${++names}`;

function lbService(
  fake: FakeServer,
  route: NonNullable<FunctionManifest["route"]>,
  fields: Partial<FunctionManifest>,
): string {
  const name = fresh();
  fake.describe(name, { kind: "lb", form: "routes", functions: [signature({ ...fields, route })] });
  return name;
}

function queueService(fake: FakeServer, ...functions: Partial<FunctionManifest>[]): string {
  const name = fresh();
  fake.describe(name, { kind: "qb", form: "function", functions: functions.map(signature) });
  return name;
}

async function rejected(work: Promise<unknown>, code: ErrorCode): Promise<FlashError> {
  try {
    await work;
  } catch (error) {
    assert.ok(FlashError.is(error), String(error));
    assert.equal(error.code, code, error.message);
    return error;
  }
  return assert.fail("the call succeeded");
}

describe("a route's call", () => {
  const process = { method: "POST", path: "/api/process" } as const;
  const xy = { parameters: [parameter("x", NUMBER), parameter("y", NUMBER, false)] };

  test("becomes a request of the seed's shape, by name, with the key", async (t) => {
    const fake = await open(t);
    const name = lbService(fake, process, xy);
    fake.on("POST /lb/flash/api/process", { body: { result: 8 } });
    const processData = Endpoint({ name }).post("/api/process", async (x: number, y: number) => ({
      result: x + y,
    }));
    assert.equal(where(processData).place, "deployed");
    assert.deepEqual(await processData(5, 3), { result: 8 });
    const { headers, body } = fake.last("POST /lb/flash/api/process");
    assert.deepEqual(JSON.parse(body), { x: 5, y: 3 });
    assert.equal(headers.authorization, `Bearer ${KEY}`);
    assert.equal(headers["x-flash-app"], "shop");
    assert.equal(headers["x-flash-environment"], "staging");
    assert.equal(headers["x-flash-endpoint"], name);
    assert.equal(headers["content-type"], "application/json");
  });

  test("of a production resource goes the same way, sync functions included", async (t) => {
    const fake = await open(t);
    const name = lbService(fake, { method: "GET", path: "/users" }, {});
    fake.on("GET /lb/flash/users", { body: { users: [] } });
    const api = new LoadBalancerSlsResource({ name });
    const listUsers = remote(api, { method: "GET", path: "/users" }, () => ({ users: ["local"] }));
    assert.deepEqual(await listUsers(), { users: [] });
  });

  test("fills and escapes the path, and puts the rest into the query", async (t) => {
    const fake = await open(t);
    const name = lbService(
      fake,
      { method: "GET", path: "/users/{id}/files/{file}" },
      {
        parameters: [
          parameter("id", NUMBER),
          parameter("file", STRING),
          parameter("tags", { type: "array", items: STRING }),
        ],
      },
    );
    const path = "GET /lb/flash/users/7/files/a%2Fb%3F%20c";
    fake.on(path, { body: "text" });
    const get = Endpoint({ name }).get(
      "/users/{id}/files/{file}",
      (_id: number, _file: string, _tags: string[]) => "",
    );
    assert.equal(await get(7, "a/b? c", ["x", "y&z"]), "text");
    assert.equal(fake.last(path).url.split("?")[1], "tags=x&tags=y%26z");
  });

  test("refuses path values that would reach another route", async (t) => {
    const fake = await open(t);
    const name = lbService(
      fake,
      { method: "GET", path: "/users/{id}" },
      {
        parameters: [parameter("id", STRING)],
      },
    );
    const get = Endpoint({ name }).get("/users/{id}", (_id: string) => 1);
    for (const value of ["..", ".", ""]) {
      assert.match((await rejected(get(value), "INVALID_INPUT")).message, /^id must not be /);
    }
    assert.equal(fake.seen.filter(({ url }) => url.startsWith("/lb/")).length, 0);
  });

  test("refuses wrong arguments before anything is sent", async (t) => {
    const fake = await open(t);
    const name = lbService(fake, process, xy);
    const call = Endpoint({ name }).post("/api/process", (...args: unknown[]) => args);
    assert.match((await rejected(call("a", 1), "INVALID_INPUT")).message, /^x /);
    assert.match((await rejected(call(), "INVALID_INPUT")).message, /^x is required/);
    assert.match((await rejected(call(1, 2, 3), "INVALID_INPUT")).message, /^Too many arguments/);
    const unfit = await rejected(call(Number.NaN), "NOT_SERIALIZABLE");
    assert.match(unfit.message, /^JSON serialization error: x is NaN/);
    assert.equal(fake.requests("POST /lb/flash/api/process").length, 0);
  });

  test("carries bytes as a form", async (t) => {
    const fake = await open(t);
    const name = lbService(
      fake,
      { method: "POST", path: "/upload" },
      {
        parameters: [{ ...parameter("file", {}), carrier: "bytes" }, parameter("label", STRING)],
      },
    );
    fake.on("POST /lb/flash/upload", { body: { ok: true } });
    const upload = Endpoint({ name }).post("/upload", (_file: Uint8Array, _label: string) => ({
      ok: true,
    }));
    await upload(new TextEncoder().encode("hello bytes"), "a");
    const { headers, body } = fake.last("POST /lb/flash/upload");
    assert.match(headers["content-type"] ?? "", /^multipart\/form-data; boundary=/);
    assert.match(body, /name="file"[^]*hello bytes[^]*name="label"[^]*\r\n\r\na\r\n/);
  });

  test("gives rich results back as their type says, text as text, bytes as bytes, nothing as undefined", async (t) => {
    const fake = await open(t);
    const answers: [Reply, unknown, object?][] = [
      [{ body: "2026-01-02T03:04:05.000Z" }, "2026-01-02T03:04:05.000Z"],
      [{ status: 204 }, undefined],
      [{ headers: { "content-type": "application/json" }, body: "null" }, null],
      [
        { headers: { "content-type": "application/octet-stream" }, body: new Uint8Array([1, 2]) },
        new Uint8Array([1, 2]),
      ],
      [
        { headers: { "content-type": "application/json" }, body: '"2026-01-02T03:04:05.000Z"' },
        new Date("2026-01-02T03:04:05.000Z"),
        { returns: { type: "string", format: "date-time", "x-flash-type": "date" } },
      ],
    ];
    for (const [reply, expected, fields] of answers) {
      const name = lbService(fake, { method: "GET", path: "/x" }, fields ?? {});
      fake.on("GET /lb/flash/x", reply);
      assert.deepEqual(await Endpoint({ name }).get("/x", (): unknown => 1)(), expected);
    }
  });

  test("gives the Response that the function returned, whatever its status", async (t) => {
    const fake = await open(t);
    const name = lbService(fake, { method: "GET", path: "/x" }, {});
    const call = Endpoint({ name }).get("/x", async () => new Response("made"));
    const headers = { "content-type": "text/plain", "x-flash-result": "response" };
    const replies: [number, string][] = [
      [201, "made"],
      [302, ""],
      [404, "no such thing"],
    ];
    for (const [status, body] of replies) {
      fake.on("GET /lb/flash/x", { status, headers: { ...headers, location: "/y" }, body });
      const response = await call();
      assert.ok(response instanceof Response);
      assert.equal(response.status, status);
      assert.equal(response.headers.get("location"), "/y");
      assert.equal(await response.text(), body);
    }
    // Without the mark it is somebody else's answer.
    fake.on("GET /lb/flash/x", problem(404, "ROUTE_NOT_FOUND", "no route"));
    await rejected(call(), "ROUTE_NOT_FOUND");
    fake.on("GET /lb/flash/x", { status: 308, headers: { location: "https://x.example/" } });
    assert.match((await rejected(call(), "REMOTE_ERROR")).message, /redirected to https:/);
  });

  test("gives the stream of bytes that the function returned", async (t) => {
    const fake = await open(t);
    const name = lbService(fake, { method: "GET", path: "/x" }, { streams: true });
    const call = Endpoint({ name }).get("/x", async (): Promise<ReadableStream> => assert.fail());
    fake.on("GET /lb/flash/x", {
      headers: { "content-type": "application/octet-stream", "x-flash-result": "stream" },
      body: new Uint8Array([1, 2, 3]),
    });
    const stream = await call();
    assert.ok(stream instanceof ReadableStream);
    assert.deepEqual(await new Response(stream).bytes(), new Uint8Array([1, 2, 3]));
  });

  test("streams events, and says when the stream fails", async (t) => {
    const fake = await open(t);
    const name = lbService(fake, { method: "GET", path: "/s" }, { streams: true });
    const stream = Endpoint({ name }).get("/s", async function* (): AsyncGenerator {});
    const events = { "content-type": "text/event-stream; charset=utf-8" };
    const body = `: hello\n\nid: 1\ndata: {"a":\ndata: 1}\n\ndata: plain\r\n\r\ndata: false\n\nevent: ping\ndata: 1\n\n`;
    fake.on("GET /lb/flash/s", { headers: events, body });
    const chunks: unknown[] = [];
    for await (const chunk of await stream()) chunks.push(chunk);
    assert.deepEqual(chunks, [{ a: 1 }, "plain", false]);

    const failure = JSON.stringify(problem(500, "FUNCTION_ERROR", "boom").body);
    fake.on("GET /lb/flash/s", {
      headers: events,
      body: `data: 1\n\nevent: error\ndata: ${failure}\n\n`,
    });
    const all = async (): Promise<void> => {
      for await (const _ of await stream());
    };
    assert.equal((await rejected(all(), "FUNCTION_ERROR")).message, "boom");

    fake.on("GET /lb/flash/s", () => "break-off");
    assert.match(
      (await rejected(all(), "CONNECTION_FAILED")).message,
      /^the stream of endpoint service-\d+ broke off$/,
    );
  });

  test("asks for the description once, and again after an answer that a change would give", async (t) => {
    const fake = await open(t);
    const name = lbService(fake, process, xy);
    const call = Endpoint({ name }).post("/api/process", (_x: number) => 1);
    fake.on(
      "POST /lb/flash/api/process",
      { body: 1 },
      { body: 2 },
      problem(422, "INVALID_INPUT", "z is required"),
      { body: 3 },
    );
    await call(1);
    await call(2);
    assert.equal(fake.requests("GET /api/v1/endpoints").length, 1);
    await rejected(call(3), "INVALID_INPUT");
    await call(4);
    assert.equal(fake.requests("GET /api/v1/endpoints").length, 2);
  });

  test("is encoded again when another release has come: that one refused the call unexecuted", async (t) => {
    const fake = await open(t);
    const name = lbService(fake, process, xy);
    const described = fake.endpoints.get(name);
    assert.ok(described);
    const release = (fingerprint: string, first: string): void => {
      const [fn] = described.functions ?? [];
      assert.ok(fn);
      const parameters = [parameter(first, { type: "number" })];
      fake.describe(name, { ...described, fingerprint, functions: [{ ...fn, parameters }] });
    };
    release("old", "x");
    const call = Endpoint({ name }).post("/api/process", (_x: number) => 1);
    const stale = problem(412, "STALE_DESCRIPTION", "a newer release");
    fake.on(
      "POST /lb/flash/api/process",
      { body: 1 },
      () => {
        release("new", "amount");
        return stale;
      },
      { body: 2 },
      stale,
    );
    await call(1);
    assert.equal(await call(2), 2);
    const sent = fake.requests("POST /lb/flash/api/process");
    assert.deepEqual(
      sent.map(({ headers, body }) => [headers["x-flash-expected-version"], JSON.parse(body)]),
      [
        ["old", { x: 1 }],
        ["old", { x: 2 }],
        ["new", { amount: 2 }],
      ],
    );
    await rejected(call(3), "STALE_DESCRIPTION");
  });
});

describe("a failing route", () => {
  const route = { method: "GET", path: "/x" } as const;

  async function calling(t: TestContext, reply: Parameters<FakeServer["on"]>[1]) {
    const fake = await open(t);
    const name = lbService(fake, route, {});
    fake.on("GET /lb/flash/x", reply);
    return { fake, name, call: Endpoint({ name }).get("/x", () => 1) };
  }

  test("that answers an error gives the status and the body, cut", async (t) => {
    const { name, call } = await calling(t, { status: 500, body: "b".repeat(600) });
    const error = await rejected(call(), "REMOTE_ERROR");
    assert.equal(
      error.message,
      `HTTP error from endpoint ${name}: 500 - ${"b".repeat(500)}... (truncated)`,
    );
    assert.equal(error.status, 500);
  });

  test("that throws gives the user's own error as the cause", async (t) => {
    const reply = problem(500, "FUNCTION_ERROR", "User 9 not found", {
      hint: "Look at the log.",
      error: { name: "UserNotFound", message: "User 9 not found", code: "E_USER" },
    });
    const { name, call } = await calling(t, reply);
    const error = await rejected(call(), "FUNCTION_ERROR");
    assert.ok(error.message.startsWith(`HTTP error from endpoint ${name}: 500 - {`));
    assert.equal(error.hint, "Look at the log.");
    const cause = error.cause as Error & { code?: string };
    assert.deepEqual(
      [cause.name, cause.message, cause.code],
      ["UserNotFound", "User 9 not found", "E_USER"],
    );
  });

  test("that takes too long", async (t) => {
    const { name, call } = await calling(t, () => "silence");
    const error = await rejected(call.with({ timeoutMs: 40 })(), "CALL_TIMEOUT");
    assert.equal(
      error.message,
      `Execution timeout on ${name} after 0.04s: no answer within the time`,
    );
  });

  test("takes its limit from the endpoint, and from FLASH_SENTINEL_TIMEOUT before that", async (t) => {
    const fake = await open(t);
    const name = lbService(fake, route, {});
    fake.on("GET /lb/flash/x", () => "silence");
    const call = Endpoint({ name, executionTimeoutMs: 30 }).get("/x", () => 1);
    assert.match((await rejected(call(), "CALL_TIMEOUT")).message, /after 0\.03s/);
    setVariables(t, { FLASH_SENTINEL_TIMEOUT: "0.05" });
    assert.match((await rejected(call(), "CALL_TIMEOUT")).message, /after 0\.05s/);
  });

  test("waits 30 s by default, as its deadline says", async (t) => {
    const { fake, call } = await calling(t, { body: 1 });
    const before = Date.now();
    await call();
    const deadline = Number(fake.last("GET /lb/flash/x").headers["x-flash-deadline"]);
    assert.ok(deadline >= before + 30_000 && deadline <= Date.now() + 30_000);
  });

  test("that hangs up", async (t) => {
    const { fake, name, call } = await calling(t, () => "hang-up");
    const error = await rejected(call(), "CONNECTION_FAILED");
    assert.ok(
      error.message.startsWith(`Failed to connect to endpoint ${name} (${fake.url}/lb/flash/x): `),
      error.message,
    );
  });

  test("whose server is gone says how to start one", async (t) => {
    const { fake, call } = await calling(t, { body: 1 });
    await fake.close();
    const error = await rejected(call(), "CONNECTION_FAILED");
    assert.match(error.message, /ECONNREFUSED/);
    assert.match(error.hint ?? "", /flash server start/);
  });

  test("ends with the caller's signal, and throws its reason", async (t) => {
    const { call } = await calling(t, () => "silence");
    const abort = new AbortController();
    const reason = new Error("no longer needed");
    const pending = call.with({ signal: abort.signal })();
    abort.abort(reason);
    await assert.rejects(pending, reason);
  });

  test("that is not deployed says so in the original's words", async (t) => {
    const fake = await open(t);
    const name = fresh();
    const text = `endpoint '${name}' not found in app 'shop' environment 'staging'. deploy it first with 'flash deploy'.`;
    assert.equal(
      (await rejected(Endpoint({ name }).get("/x", () => 1)(), "ENDPOINT_NOT_FOUND")).message,
      text,
    );
    // Known a moment ago, and removed since.
    const gone = lbService(fake, route, {});
    fake.on("GET /lb/flash/x", problem(404, "ENDPOINT_NOT_FOUND", "gone"));
    const error = await rejected(
      Endpoint({ name: gone }).get("/x", () => 1)(),
      "ENDPOINT_NOT_FOUND",
    );
    assert.equal(error.message, text.replace(name, gone));
  });

  test("that the deployed release does not have", async (t) => {
    const fake = await open(t);
    const name = lbService(fake, route, {});
    const error = await rejected(Endpoint({ name }).post("/new", () => 1)(), "ROUTE_NOT_FOUND");
    assert.equal(error.message, `endpoint '${name}' is deployed without the route POST /new`);
  });

  test("without a key", async (t) => {
    const { call } = await calling(t, { status: 401, body: "who are you?" });
    const error = await rejected(call(), "UNAUTHORIZED");
    assert.match(error.hint ?? "", /FLASH_API_KEY/);
    setVariables(t, { FLASH_API_KEY: undefined, FLASH_URL: "https://flash.example.com" });
    assert.equal(
      (await rejected(call(), "UNAUTHORIZED")).message,
      "There is no key for https://flash.example.com: FLASH_API_KEY is not set.",
    );
  });

  test("an address that is none", async (t) => {
    const { call } = await calling(t, { body: 1 });
    setVariables(t, { FLASH_URL: "localhost:4747" });
    assert.equal(
      (await rejected(call(), "INVALID_CONFIG")).message,
      "FLASH_URL=localhost:4747 is not a valid http/https URL",
    );
  });
});

describe("a queue function's call", () => {
  const text = { parameters: [parameter("text", STRING), parameter("depth", NUMBER, false)] };

  test("runs a job by name and gives its output", async (t) => {
    const fake = await open(t);
    const name = queueService(fake, text);
    fake.on("POST /v2/flash/runsync", job({ output: { score: 1 } }));
    const analyze = Endpoint({ name }, async (_text: string, _depth = 2) => ({ score: 0 }));
    assert.deepEqual(await analyze("hello", 3), { score: 1 });
    const { headers, body } = fake.last("POST /v2/flash/runsync");
    assert.deepEqual(JSON.parse(body), { input: { text: "hello", depth: 3 } });
    assert.equal(headers["x-flash-endpoint"], name);
    assert.equal(headers["x-flash-deadline"], undefined);
  });

  test("marks an empty input, which would be lost on the way", async (t) => {
    const fake = await open(t);
    const name = queueService(fake, {});
    fake.on("POST /v2/flash/runsync", job({ output: 1 }));
    await Endpoint({ name }, () => 1)();
    assert.deepEqual(JSON.parse(fake.last("POST /v2/flash/runsync").body), {
      input: { __empty: true },
    });
  });

  test("waits on when the answer is not final", async (t) => {
    const fake = await open(t);
    const name = queueService(fake, text);
    fake
      .on("POST /v2/flash/runsync", job({ status: "IN_QUEUE" }))
      .on(
        "GET /v2/flash/status-sync/job-1",
        job({ status: "IN_PROGRESS", output: "progress" }),
        () => "hang-up",
        job({ output: "done" }),
      );
    assert.equal(await Endpoint({ name }, (_text: string) => "")("a"), "done");
    const polls = fake.requests("GET /v2/flash/status-sync/job-1");
    assert.equal(polls.length, 3);
    assert.equal(polls[0]?.url.split("?")[1], "wait=90000");
    assert.equal(polls[0]?.headers["x-flash-app"], "shop");
  });

  test("gives an output that looks like an error as what it is", async (t) => {
    const fake = await open(t);
    const name = queueService(fake, {});
    fake.on("POST /v2/flash/runsync", job({ output: { error: "a field of mine" } }));
    const output = await Endpoint({ name }, (): unknown => 1)();
    assert.deepEqual(output, { error: "a field of mine" });
  });

  test("throws the function's own error as the cause", async (t) => {
    const fake = await open(t);
    const name = queueService(fake, {});
    const call = Endpoint({ name }, () => 1);
    const report = {
      name: "RangeError",
      message: "The prompt is empty",
      stack: "RangeError: at x.ts:1",
    };
    const wire = {
      error_type: "RangeError",
      error_message: "The prompt is empty",
      error_traceback: "…",
      hostname: "h",
      worker_id: "w",
      runpod_version: "1",
    };
    const failures: [string, string, ErrorCode][] = [
      [JSON.stringify({ ...wire, error_report: report }), "RangeError", "FUNCTION_ERROR"],
      [
        JSON.stringify({ ...wire, error_type: "<class 'ValueError'>" }),
        "ValueError",
        "FUNCTION_ERROR",
      ],
      [JSON.stringify({ ...wire, error_type: "<class 'my.pkg.Oops'>" }), "Oops", "FUNCTION_ERROR"],
    ];
    for (const [error, causeName, code] of failures) {
      fake.on("POST /v2/flash/runsync", job({ status: "FAILED", error }));
      const failure = await rejected(call(), code);
      assert.equal(failure.message, "remote execution failed: The prompt is empty");
      assert.equal((failure.cause as Error).name, causeName);
    }
    fake.on(
      "POST /v2/flash/runsync",
      job({ status: "FAILED", error: "job timed out after 1 retries" }),
    );
    const plain = await rejected(call(), "REMOTE_ERROR");
    assert.equal(plain.message, "remote execution failed: job timed out after 1 retries");
    assert.equal(plain.cause, undefined);
    fake.on("POST /v2/flash/runsync", job({ status: "TIMED_OUT", error: "too long" }));
    await rejected(call(), "EXECUTION_TIMEOUT");
    fake.on("POST /v2/flash/runsync", job({ status: "CANCELLED" }));
    assert.match((await rejected(call(), "CANCELLED")).message, /job job-1 was cancelled/);
  });

  test("throws when the job is refused, with every issue", async (t) => {
    const fake = await open(t);
    const name = queueService(fake, {});
    const issues = [{ path: "x", message: "is required" }];
    fake.on("POST /v2/flash/runsync", problem(400, "NOT_ACCEPTED", "x is required", { issues }));
    const error = await rejected(Endpoint({ name }, () => 1)(), "NOT_ACCEPTED");
    assert.deepEqual(error.issues, issues);
  });

  test("throws when the answer is no job", async (t) => {
    const fake = await open(t);
    const name = queueService(fake, {});
    fake.on("POST /v2/flash/runsync", { body: { hello: 1 } });
    const error = await rejected(Endpoint({ name }, () => 1)(), "REMOTE_ERROR");
    assert.equal(error.message, `unexpected response from endpoint ${name}: no job in {"hello":1}`);
  });

  test("of a generator gives all chunks: the output, or what the stream holds", async (t) => {
    const fake = await open(t);
    const name = queueService(fake, { streams: true });
    const count = Endpoint({ name }, async function* (): AsyncGenerator<string> {});
    fake.on("POST /v2/flash/runsync", job({ output: ["x", "y"] }));
    assert.deepEqual(await count(), ["x", "y"]);
    assert.equal(fake.requests("GET /v2/flash/stream/job-1").length, 0);
    const pages = (): void => {
      fake.on(
        "GET /v2/flash/stream/job-1",
        { body: { status: "IN_PROGRESS", stream: [{ output: "a" }, { output: "b" }] } },
        { body: { status: "COMPLETED", stream: [{ output: "c" }] } },
        { body: { status: "COMPLETED", stream: [] } },
      );
    };
    pages();
    fake
      .on("POST /v2/flash/runsync", job({ status: "IN_PROGRESS" }))
      .on("GET /v2/flash/status-sync/job-1", job({ output: [] }))
      .on("POST /v2/flash/run", job({ status: "IN_QUEUE" }))
      .on("GET /v2/flash/status/job-1", job({ output: [] }));
    assert.deepEqual(await count(), ["a", "b", "c"]);
    pages();
    const chunks: string[] = [];
    for await (const chunk of count.stream()) chunks.push(chunk);
    assert.deepEqual(chunks, ["a", "b", "c"]);
    fake.on("GET /v2/flash/status-sync/job-1", job({ status: "FAILED", error: "boom" }));
    await rejected(count(), "REMOTE_ERROR");
  });

  test("submitted by run() can be waited for, a generator's too", async (t) => {
    const fake = await open(t);
    const date = { type: "string", format: "date-time", "x-flash-type": "date" } as const;
    const name = queueService(fake, { streams: true, returns: date });
    const when = Endpoint({ name }, async function* (): AsyncGenerator<Date> {});
    const at = "2026-01-02T03:04:05.000Z";
    fake
      .on("POST /v2/flash/run", job({ status: "IN_QUEUE" }))
      .on("GET /v2/flash/status/job-1", job({ output: [at] }));
    assert.deepEqual(await (await when.run()).result(), [new Date(at)]);
    // Other workers leave the output to the stream.
    fake
      .on("GET /v2/flash/status/job-1", job({ output: [] }))
      .on(
        "GET /v2/flash/stream/job-1",
        { body: { status: "COMPLETED", stream: [{ output: at }] } },
        { body: { status: "COMPLETED", stream: [] } },
      );
    assert.deepEqual(await (await when.run()).result(), [new Date(at)]);
    fake.on("POST /v2/flash/runsync", job({ status: "IN_PROGRESS" }));
    const running = await when.with({ timeoutMs: 2000 }).runsync();
    assert.equal(running.done, false);
    const [, waitMs] = /\?wait=(\d+)$/.exec(fake.last("POST /v2/flash/runsync").url) ?? [];
    // What is left of the time.
    assert.ok(Number(waitMs) > 0 && Number(waitMs) <= 2000, waitMs);
  });

  test("that takes too long names the whole of its time", async (t) => {
    const fake = await open(t);
    const name = queueService(fake, {});
    fake
      .on("POST /v2/flash/runsync", job({ status: "IN_QUEUE" }))
      .on("GET /v2/flash/status-sync/job-1", () => "silence");
    const call = Endpoint({ name }, () => 1).with({ timeoutMs: 60 });
    const error = await rejected(call(), "CALL_TIMEOUT");
    assert.equal(
      error.message,
      `Execution timeout on ${name} after 0.06s: the job did not end within the time`,
    );
  });

  test("of a class names the method when there is a choice", async (t) => {
    const fake = await open(t);
    const predict = signature({ name: "predict", parameters: [parameter("prompt", STRING)] });
    const [one, two] = [fresh(), fresh()];
    fake.describe(one, { kind: "qb", form: "class", functions: [predict] });
    fake.describe(two, {
      kind: "qb",
      form: "class",
      functions: [predict, signature({ name: "size" })],
    });
    fake.on("POST /v2/flash/runsync", job({ output: "x" }));
    class Model {
      predict(prompt: string): string {
        return prompt;
      }
      size(): number {
        return 1;
      }
      added(): number {
        return 1;
      }
    }
    const input = (): unknown =>
      (JSON.parse(fake.last("POST /v2/flash/runsync").body) as { input: unknown }).input;
    await Endpoint({ name: one }, Model).predict("a");
    assert.deepEqual(input(), { prompt: "a" });
    const Two = Endpoint({ name: two }, Model);
    await new Two().predict("a");
    assert.deepEqual(input(), { prompt: "a", method: "predict" });
    await Two.size();
    assert.deepEqual(input(), { method: "size" });
    const error = await rejected(Two.added(), "NOT_FOUND");
    assert.equal(error.message, `endpoint '${two}' is deployed without the method 'added'`);
  });

  test("needs a name", async (t) => {
    await open(t);
    await rejected(Endpoint({}, () => 1)(), "INVALID_USAGE");
  });
});

describe("a worker's call to another endpoint", () => {
  test("takes the signature from the manifest, and passes deadline and signal on", async (t) => {
    const fake = await open(t);
    setVariables(t, { FLASH_MODE: undefined });
    const name = fresh();
    const other = {
      name,
      kind: "qb",
      form: "function",
      functions: [signature({ parameters: [parameter("x", NUMBER)] })],
    };
    Object.assign(registry(), { mode: "serve", endpoint: "me", manifest: { endpoints: [other] } });
    t.after(() =>
      Object.assign(registry(), {
        mode: "script",
        endpoint: undefined,
        manifest: undefined,
        declarations: [],
      }),
    );
    fake.on("POST /v2/flash/runsync", job({ output: 2 }));
    const call = Endpoint({ name }, (x: number) => x);
    const mine = Endpoint({ name: "me" }, async (x: number) => call(x));
    assert.equal(where(call).place, "deployed");
    assert.equal(where(mine).place, "in-process");
    await mine(0);
    assert.equal(fake.requests("GET /api/v1/endpoints").length, 0);

    const abort = new AbortController();
    const deadline = Date.now() + 20_000;
    const context: Context = {
      signal: abort.signal,
      deadline,
      attempt: 1,
      log: console,
      progress: () => undefined,
      trace: { traceId: "a".repeat(32), spanId: "b".repeat(16), isSampled: true },
      chain: ["me"],
    };
    const storage = contextStorage();
    assert.ok(storage);
    await storage.run(context, () => call(1));
    const sent = Number(fake.last("POST /v2/flash/runsync").headers["x-flash-deadline"]);
    assert.equal(sent, deadline);

    fake.on("POST /v2/flash/runsync", () => "silence");
    const pending = storage.run(context, () => call(1));
    const reason = new Error("the job was cancelled");
    abort.abort(reason);
    await assert.rejects(pending, reason);
    const late = { ...context, signal: new AbortController().signal, deadline: Date.now() - 1 };
    const error = await rejected(
      storage.run(late, () => call(1)),
      "CALL_TIMEOUT",
    );
    assert.match(error.message, /the caller's time is over$/);
  });
});
