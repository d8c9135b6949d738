/** Streamed answers of a load-balanced worker, and clients that leave. */

import assert from "node:assert/strict";
import type http from "node:http";
import { after, before, describe, test } from "node:test";
import { orderedOwner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { parameter, routeOf, writeArtifact } from "./artifact.ts";
import { WorkerProcess } from "./worker-process.ts";

const FUNCTIONS = [
  routeOf("GET /count", [parameter("to", { type: "integer" })], { streams: true }),
  routeOf("GET /sync", [], { streams: true }),
  routeOf("GET /breaks", [], { streams: true }),
  routeOf("GET /breaks-at-once", [], { streams: true }),
  routeOf("GET /bytes"),
  routeOf("GET /bytes-break"),
  routeOf("GET /endless", [], { streams: true }),
  routeOf("GET /flood"),
  routeOf("POST /sum", [parameter("request", {}, { carrier: "request" })]),
  routeOf("GET /wait"),
  routeOf("GET /seen"),
];

const CODE = `
const seen = { aborted: [], returned: 0, produced: 0 };
route("GET", "/count", async function* (to) {
  for (let n = 0; n < to; n++) yield { n, id: context().attempt };
});
route("GET", "/sync", function* () { yield "a"; yield "b"; });
route("GET", "/breaks", async function* () { yield 1; throw new RangeError("broke"); });
route("GET", "/breaks-at-once", async function* () {
  throw Object.assign(new Error("not today"), { status: 409 });
});
route("GET", "/bytes", () => new ReadableStream({ start(controller) {
  controller.enqueue(new TextEncoder().encode("one ")); controller.enqueue("two"); controller.close(); } }));
route("GET", "/bytes-break", () => new ReadableStream({
  async pull(controller) {
    controller.enqueue(new TextEncoder().encode("part"));
    await new Promise((resolve) => setImmediate(resolve));
    controller.error(new Error("source gone"));
  } }));
route("GET", "/endless", async function* () {
  const { signal } = context();
  signal.addEventListener("abort", () => seen.aborted.push("endless"));
  try { for (let n = 0; ; n++) { yield n; await new Promise((resolve) => setTimeout(resolve, 5)); } }
  finally { seen.returned++; }
});
route("GET", "/flood", () => new ReadableStream({ pull(controller) {
  seen.produced += 65536; controller.enqueue(new Uint8Array(65536)); } }));
route("POST", "/sum", async (request) => {
  let size = 0; for await (const chunk of request.body) size += chunk.length; return size; });
route("GET", "/wait", () => new Promise(() => {
  context().signal.addEventListener("abort", () => seen.aborted.push("wait: " + context().signal.reason.code)); }));
route("GET", "/seen", () => seen);
`;

const suite = orderedOwner({ after });
let worker: WorkerProcess;

before(async () => {
  const artifact = writeArtifact(suite, { kind: "lb", functions: FUNCTIONS, code: CODE });
  worker = await WorkerProcess.startReady(suite, artifact);
});
function responseOf(request: http.ClientRequest): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.once("response", resolve);
    request.once("error", reject);
  });
}

async function seen(): Promise<{ aborted: string[]; returned: number; produced: number }> {
  return (await worker.fetch("/seen")).json as {
    aborted: string[];
    returned: number;
    produced: number;
  };
}

describe("events", () => {
  test("an async generator answers with numbered events, inside its context", async () => {
    const { status, headers, text } = await worker.fetch("/count?to=2");
    assert.equal(status, 200);
    assert.equal(headers["content-type"], "text/event-stream; charset=utf-8");
    assert.equal(headers["x-accel-buffering"], "no");
    assert.equal(text, 'id: 0\ndata: {"n":0,"id":1}\n\nid: 1\ndata: {"n":1,"id":1}\n\n');
  });

  test("a plain generator and an empty one stream too", async () => {
    assert.equal((await worker.fetch("/sync")).text, 'id: 0\ndata: "a"\n\nid: 1\ndata: "b"\n\n');
    const empty = await worker.fetch("/count?to=0");
    assert.equal(empty.text, "");
    assert.equal(empty.headers["content-type"], "text/event-stream; charset=utf-8");
  });

  test("a generator that fails on its way ends with an error event", async () => {
    const { text } = await worker.fetch("/breaks");
    const [first, second] = text.split("\n\n");
    assert.equal(first, "id: 0\ndata: 1");
    const problem = JSON.parse(second?.replace("event: error\ndata: ", "") ?? "") as {
      code: string;
      detail: string;
    };
    assert.equal(problem.code, "FUNCTION_ERROR");
    assert.equal(problem.detail, "broke");
  });

  test("a generator that fails before its first value answers with a status", async () => {
    const { status, json } = await worker.fetch("/breaks-at-once");
    assert.equal(status, 409);
    assert.equal(json.detail, "not today");
  });
});

describe("bytes", () => {
  test("a ReadableStream goes through as bytes", async () => {
    const { headers, text } = await worker.fetch("/bytes");
    assert.equal(headers["content-type"], "application/octet-stream");
    assert.equal(headers["x-flash-result"], "stream");
    assert.equal(text, "one two");
  });

  test("a source that breaks breaks the answer off, and the worker lives", async () => {
    await assert.rejects(worker.fetch("/bytes-break"), { code: "ECONNRESET" });
    assert.equal((await worker.fetch("/ping")).status, 200);
  });

  test("a slow reader slows the source down", async () => {
    const response = await responseOf(worker.open("/flood"));
    response.pause();
    let produced = -1;
    // Produces until the buffers on the way are full, then no more.
    await until(
      async () => {
        const before = produced;
        ({ produced } = await seen());
        return produced > 0 && produced === before;
      },
      { what: "the source to stop", everyMs: 100 },
    );
    assert.ok(
      produced < 50 * 1024 * 1024,
      `produced ${produced} bytes for a reader that reads nothing`,
    );
    response.destroy();
  });

  test("a request's body streams into the function", async () => {
    const body = new Uint8Array(3_000_000);
    assert.equal((await worker.fetch("/sum", { body })).text, "3000000");
  });
});

describe("clients that leave", () => {
  test("leaving aborts the signal of a waiting function", async () => {
    const request = worker.open("/wait");
    request.on("error", () => undefined);
    await until(() => request.socket?.bytesWritten, { what: "the request to be sent" });
    // The next answer comes from the same thread, after the request was read.
    await worker.fetch("/ping");
    request.destroy();
    await until(async () => (await seen()).aborted.includes("wait: CANCELLED"), {
      what: "the abort",
    });
  });

  test("leaving an event stream aborts the signal and runs the generator's finally", async () => {
    const response = await responseOf(worker.open("/endless"));
    await new Promise((resolve) => response.once("data", resolve));
    response.destroy();
    await until(
      async () => {
        const { aborted, returned } = await seen();
        return aborted.includes("endless") && returned === 1;
      },
      { what: "the generator's end" },
    );
  });
});
