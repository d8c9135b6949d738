/** Requests to a load-balanced worker: routing, binding, results and failures. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { orderedOwner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { parameter, routeOf, writeArtifact } from "./artifact.ts";
import { WorkerProcess } from "./worker-process.ts";

const number = { type: "number" } as const;
const string = { type: "string" } as const;

const FUNCTIONS = [
  routeOf("POST /api/process", [parameter("x", number), parameter("y", number)], {
    returns: number,
  }),
  routeOf("GET /users", [parameter("tags", { type: "array", items: string }, { required: false })]),
  routeOf("GET /users/{user_id}", [parameter("user_id", { type: "integer" })]),
  routeOf("DELETE /users/{user_id}", [parameter("user_id", { type: "integer" })]),
  routeOf("POST /person", [
    parameter("person", { type: "object", properties: { name: string }, required: ["name"] }),
  ]),
  routeOf("GET /nothing"),
  routeOf("GET /text", [], { returns: string }),
  routeOf("GET /rows"),
  routeOf("GET /date", [], {
    returns: { type: "string", format: "date-time", "x-flash-type": "date" },
  }),
  routeOf("GET /nan", [], { returns: { type: "object", properties: { score: number } } }),
  routeOf("GET /cycle"),
  routeOf("GET /throws"),
  routeOf("GET /throws-status"),
  routeOf("GET /throws-text"),
  routeOf("GET /response"),
  routeOf("POST /echo", [parameter("request", {}, { carrier: "request" })]),
  routeOf("POST /upload", [
    parameter("file", { type: "string", "x-flash-type": "bytes" }, { carrier: "bytes" }),
    parameter("note", string),
  ]),
  routeOf("GET /context"),
  routeOf("GET /late-rejection"),
  routeOf("GET /log"),
];

const CODE = `
class UserNotFound extends Error { status = 404; code = "USER_NOT_FOUND"; }
route("POST", "/api/process", (x, y) => x + y);
route("GET", "/users", (tags = ["none"]) => ({ tags }));
route("GET", "/users/{user_id}", (user_id) => ({ id: user_id, type: typeof user_id }));
route("DELETE", "/users/{user_id}", async (user_id) => ({ deleted: user_id }));
route("POST", "/person", (person) => ({ hello: person.name }));
route("GET", "/nothing", () => undefined);
route("GET", "/text", () => "plain");
route("GET", "/date", () => new Date(0));
route("GET", "/rows", () => [{ id: 1, at: new Date(0), note: null }]);
route("GET", "/nan", () => ({ score: NaN }));
route("GET", "/cycle", () => { const a = {}; a.self = a; return a; });
route("GET", "/throws", () => { throw new TypeError("boom", { cause: new Error("because") }); });
route("GET", "/throws-status", async () => { throw new UserNotFound("User 9 not found"); });
route("GET", "/throws-text", () => { throw "just text"; });
route("GET", "/response", () => {
  const headers = new Headers({ "x-own": "1", connection: "close" });
  headers.append("set-cookie", "a=1"); headers.append("set-cookie", "b=2");
  return new Response("made", { status: 201, headers });
});
route("POST", "/echo", async (request) => new Response(request.body, { headers: {
  "x-method": request.method, "x-url": request.url, "x-type": request.headers.get("content-type") ?? "" } }));
route("POST", "/upload", (file, note) => ({ isBytes: file instanceof Uint8Array, size: file.length, note }));
route("GET", "/context", () => {
  const { attempt, deadline, signal, job, request } = context();
  return { attempt, hasDeadline: deadline !== undefined, aborted: signal.aborted, job: job ?? null,
    url: request.url, agent: request.headers.get("x-agent") };
});
route("GET", "/late-rejection", () => { Promise.reject(new Error("nobody waits")); return "fine"; });
route("GET", "/log", () => {
  const own = { name: "x" }; own.self = own;
  context().log.warn("looked", { own, big: 1n, error: new Error("inner") });
  console.log("a plain line");
  return "logged";
});
`;

const suite = orderedOwner({ after });
let worker: WorkerProcess;

before(async () => {
  const artifact = writeArtifact(suite, { kind: "lb", functions: FUNCTIONS, code: CODE });
  worker = await WorkerProcess.startReady(suite, artifact);
});
describe("binding", () => {
  test("a JSON body gives the parameters by name", async () => {
    const { status, text, headers } = await worker.fetch("/api/process", { json: { x: 5, y: 3 } });
    assert.equal(status, 200);
    assert.equal(text, "8");
    assert.equal(headers["content-type"], "application/json; charset=utf-8");
  });

  test("a wrong type answers 422 and names the parameter", async () => {
    const { status, json, headers } = await worker.fetch("/api/process", {
      json: { x: "a", y: 3 },
    });
    assert.equal(status, 422);
    assert.equal(headers["content-type"], "application/problem+json");
    assert.equal(json.code, "INVALID_INPUT");
    assert.equal(json.issues[0].path, "x");
    assert.equal(json.issues.length, 1);
  });

  test("JSON is read whatever the content type says", async () => {
    for (const type of [
      "text/plain",
      "application/x-www-form-urlencoded",
      "application/json; charset=latin1",
    ]) {
      const { text } = await worker.fetch("/api/process", {
        headers: { "content-type": type },
        body: '{"x":1,"y":2}',
      });
      assert.equal(text, "3", type);
    }
  });

  test("a body that is no UTF-8 is refused, and a byte order mark is none of it", async () => {
    const latin = Buffer.from('{"x":1,"y":2,"é":0}', "latin1");
    const refused = await worker.fetch("/api/process", { method: "POST", body: latin });
    assert.equal(refused.status, 400);
    assert.match(refused.text, /not UTF-8/);
    const marked = await worker.fetch("/api/process", { body: '\uFEFF{"x":1,"y":2}' });
    assert.equal(marked.text, "3");
  });

  test("a form that is no JSON gives the parameters, too", async () => {
    const { text } = await worker.fetch("/api/process", {
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: "x=4&y=5",
    });
    assert.equal(text, "9");
  });

  test("broken JSON answers 400", async () => {
    const { status, json } = await worker.fetch("/api/process", { body: '{"x":' });
    assert.equal(status, 400);
    assert.equal(json.code, "INVALID_REQUEST");
  });

  test("path and query parameters are converted to their types", async () => {
    assert.deepEqual((await worker.fetch("/users/7")).json, { id: 7, type: "number" });
    assert.equal((await worker.fetch("/users/seven")).status, 422);
    assert.deepEqual((await worker.fetch("/users?tags=a&tags=b%20c")).json, { tags: ["a", "b c"] });
    assert.deepEqual((await worker.fetch("/users")).json, { tags: ["none"] });
  });

  test("one object parameter is the body itself, and a wrapped form is explained", async () => {
    assert.deepEqual((await worker.fetch("/person", { json: { name: "Ada" } })).json, {
      hello: "Ada",
    });
    const wrapped = await worker.fetch("/person", { json: { person: { name: "Ada" } } });
    assert.equal(wrapped.status, 422);
    assert.match(wrapped.json.hint, /send \{"name":"Ada"\}/);
  });

  test("multipart form data gives files and fields", async () => {
    const form = new FormData();
    form.set("file", new File([new Uint8Array(2000)], "data.bin"));
    form.set("note", "hi");
    const encoded = new Response(form);
    const { json } = await worker.fetch("/upload", {
      headers: { "content-type": encoded.headers.get("content-type") ?? "" },
      body: new Uint8Array(await encoded.arrayBuffer()),
    });
    assert.deepEqual(json, { isBytes: true, size: 2000, note: "hi" });
    const refused = await worker.fetch("/upload", { json: { file: "x", note: "y" } });
    assert.equal(refused.status, 415);
  });

  test("a Request parameter gets the raw request with its body", async () => {
    const { text, headers } = await worker.fetch("/echo?a=1", {
      headers: { "content-type": "text/csv", host: "api.example" },
      body: "1,2,3",
    });
    assert.equal(text, "1,2,3");
    assert.equal(headers["x-method"], "POST");
    assert.equal(headers["x-url"], "http://api.example/echo?a=1");
    assert.equal(headers["x-type"], "text/csv");
  });

  test("a body over 30 MB is refused with 413, announced or not", async () => {
    const body = new Uint8Array(30 * 1024 * 1024 + 1).fill(0x20);
    const announced = await worker.fetch("/api/process", { body });
    assert.equal(announced.status, 413);
    const chunked = await worker.fetch("/api/process", {
      headers: { "transfer-encoding": "chunked" },
      body,
    });
    assert.equal(chunked.status, 413);
    assert.equal(chunked.json.code, "PAYLOAD_TOO_LARGE");
  });
});

describe("routing", () => {
  test("HEAD answers as GET without a body", async () => {
    const { status, text, headers } = await worker.fetch("/users/7", { method: "HEAD" });
    assert.equal(status, 200);
    assert.equal(text, "");
    assert.equal(headers["content-length"], String('{"id":7,"type":"number"}'.length));
  });

  test("an unknown method answers 405, OPTIONS lists what is allowed", async () => {
    const wrong = await worker.fetch("/users/7", { method: "PUT", json: {} });
    assert.equal(wrong.status, 405);
    assert.equal(wrong.headers.allow, "GET, DELETE, HEAD, OPTIONS");
    assert.equal(wrong.json.code, "METHOD_NOT_ALLOWED");
    const options = await worker.fetch("/users/7", { method: "OPTIONS" });
    assert.equal(options.status, 204);
    assert.equal(options.headers.allow, "GET, DELETE, HEAD, OPTIONS");
  });

  test("an unknown path answers 404, and so does /execute", async () => {
    for (const [url, method] of [
      ["/nowhere", "GET"],
      ["/execute", "POST"],
      ["//users", "GET"],
    ] as const) {
      const { status, json } = await worker.fetch(url, { method });
      assert.equal(status, 404, url);
      assert.equal(json.code, "ROUTE_NOT_FOUND");
    }
  });

  test("/ping answers healthy and /openapi.json describes the routes", async () => {
    assert.deepEqual((await worker.fetch("/ping")).json, { status: "healthy" });
    const { json } = await worker.fetch("/openapi.json");
    assert.ok("/api/process" in json.paths);
    assert.equal("/execute" in json.paths, false);
  });
});

describe("results", () => {
  test("undefined becomes null, text a JSON string, a Date its ISO form", async () => {
    assert.equal((await worker.fetch("/nothing")).text, "null");
    assert.equal((await worker.fetch("/text")).text, '"plain"');
    assert.equal((await worker.fetch("/date")).text, '"1970-01-01T00:00:00.000Z"');
  });

  test("a Date in a result of unknown type travels as text", async () => {
    const { json } = await worker.fetch("/rows");
    assert.deepEqual(json, [{ id: 1, at: "1970-01-01T00:00:00.000Z", note: null }]);
  });

  test("what JSON cannot carry answers 500 and names the place", async () => {
    const nan = await worker.fetch("/nan");
    assert.equal(nan.status, 500);
    assert.equal(nan.json.code, "INVALID_OUTPUT");
    assert.match(nan.json.detail, /result\.score is NaN/);
    assert.match((await worker.fetch("/cycle")).json.detail, /result\.self refers back/);
  });

  test("a Response passes through with its status and every cookie", async () => {
    const { status, text, headers } = await worker.fetch("/response");
    assert.equal(status, 201);
    assert.equal(text, "made");
    assert.equal(headers["x-own"], "1");
    assert.deepEqual(headers["set-cookie"], ["a=1", "b=2"]);
    assert.equal(headers["x-flash-result"], "response");
    assert.equal((await worker.fetch("/context")).headers["x-flash-result"], undefined);
  });

  test("context() knows the request and its signal", async () => {
    const { json } = await worker.fetch("/context?q=1", {
      headers: { "x-agent": "test", host: "h" },
    });
    assert.deepEqual(json, {
      attempt: 1,
      hasDeadline: false,
      aborted: false,
      job: null,
      url: "http://h/context?q=1",
      agent: "test",
    });
  });
});

describe("failures", () => {
  test("a route that throws answers 500 with name, message and cause, and the worker lives", async () => {
    const { status, json } = await worker.fetch("/throws");
    assert.equal(status, 500);
    assert.equal(json.code, "FUNCTION_ERROR");
    assert.equal(json.detail, "boom");
    assert.deepEqual(json.error, {
      name: "TypeError",
      message: "boom",
      cause: { name: "Error", message: "because" },
    });
    assert.equal((await worker.fetch("/api/process", { json: { x: 5, y: 3 } })).text, "8");
  });

  test("the stack goes to stderr, without frames of the runtime", async () => {
    await worker.fetch("/throws", { headers: { "x-request-id": "r-17" } });
    const line = await until(
      () => worker.lines("stderr").find(({ request }) => request === "r-17"),
      {
        what: "the failure's log line",
      },
    );
    assert.equal(line.level, "error");
    assert.match(line.message, /^GET \/throws failed: boom$/);
    assert.match(line.error.stack, /index\.mjs:\d+:\d+/);
    assert.doesNotMatch(line.error.stack, /worker\/|node:internal/);
  });

  test("an error chooses its status, and text can be thrown", async () => {
    const { status, json } = await worker.fetch("/throws-status");
    assert.equal(status, 404);
    assert.equal(json.detail, "User 9 not found");
    assert.equal(json.error.name, "UserNotFound");
    assert.equal(json.error.code, "USER_NOT_FOUND");
    assert.equal((await worker.fetch("/throws-text")).json.detail, "just text");
  });

  test("a rejection that nobody waits for is logged, and the worker lives", async () => {
    const answer = await worker.fetch("/late-rejection", { headers: { "x-request-id": "r-18" } });
    assert.equal(answer.text, '"fine"');
    const line = await until(
      () => worker.lines("stderr").find(({ request }) => request === "r-18"),
      {
        what: "the rejection's log line",
      },
    );
    assert.equal(line.error.message, "nobody waits");
    assert.equal((await worker.fetch("/ping")).status, 200);
  });

  test("context().log writes one line of JSON to stdout, console.log goes through as it is", async () => {
    await worker.fetch("/log", { headers: { "x-request-id": "r-19" } });
    const line = await until(
      () => worker.lines("stdout").find(({ request }) => request === "r-19"),
      {
        what: "the log line",
      },
    );
    assert.equal(line.level, "warn");
    assert.equal(line.message, "looked");
    assert.equal(line.big, "1");
    assert.equal(line.own.self, "[circular: self]");
    assert.equal(line.error.message, "inner");
    assert.match(worker.stdout, /^a plain line$/m);
  });
});
