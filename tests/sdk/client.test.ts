/** Clients of endpoints whose code is not the user's. */

import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { Endpoint, FlashError } from "../../src/sdk/sdk.ts";
import { until } from "../support/until.ts";
import { FakeServer, KEY, job, problem, remoteVariables, setVariables } from "./fake-server.ts";

async function open(t: TestContext): Promise<FakeServer> {
  const fake = await FakeServer.open(t);
  setVariables(t, remoteVariables(fake));
  return fake;
}

const flashError = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(FlashError.is(error), String(error));
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};

describe("a client by id", () => {
  test("runs jobs under its id, always wrapping the input once", async (t) => {
    const fake = await open(t);
    fake
      .on("POST /v2/abc/run", job({ status: "IN_QUEUE" }))
      .on("POST /v2/abc/runsync", job({ output: 5 }));
    const endpoint = Endpoint({ id: "abc" });
    const started = await endpoint.run(
      { input: 1 },
      { webhook: "http://x/y", policy: { ttl: 60_000 } },
    );
    assert.deepEqual(JSON.parse(fake.last("POST /v2/abc/run").body), {
      input: { input: 1 },
      webhook: "http://x/y",
      policy: { ttl: 60_000 },
    });
    assert.equal(String(started), "EndpointJob(id='job-1', status='IN_QUEUE')");
    const done = await endpoint.runsync<number>();
    assert.equal(done.output, 5);
    assert.equal(done.done, true);
    const { headers, body } = fake.last("POST /v2/abc/runsync");
    assert.deepEqual(JSON.parse(body), { input: {} });
    assert.equal(headers.authorization, `Bearer ${KEY}`);
    assert.equal(headers["x-flash-app"], undefined);
    assert.equal(headers["x-flash-deadline"], undefined);
    assert.equal(fake.last("POST /v2/abc/runsync").url, "/v2/abc/runsync?wait=60000");
    await endpoint.runsync({}, { timeoutMs: 5 });
    assert.equal(fake.last("POST /v2/abc/runsync").url, "/v2/abc/runsync?wait=1000");
  });

  test("looks at jobs, cancels and retries them, and at the endpoint", async (t) => {
    const fake = await open(t);
    const health = { jobs: { completed: 1 }, workers: { idle: 0 } };
    fake
      .on("GET /v2/abc/status/j%2F1", job({ id: "j/1", status: "FAILED", error: "boom" }))
      .on("POST /v2/abc/cancel/j", job({ id: "j", status: "CANCELLED" }))
      .on("POST /v2/abc/retry/j", job({ id: "j", status: "IN_QUEUE" }))
      .on("GET /v2/abc/health", { body: health })
      .on("POST /v2/abc/purge-queue", { body: { removed: 2, status: "completed" } })
      .on(
        "GET /v2/abc/stream/j",
        { body: { status: "COMPLETED", stream: [{ output: 1 }] } },
        { body: { status: "COMPLETED", stream: [] } },
      )
      .on("GET /v2/abc/status/j", job({ id: "j" }));
    const endpoint = Endpoint({ id: "abc" });
    assert.equal((await endpoint.status("j/1")).error, "boom");
    assert.equal(String(await endpoint.cancel("j")), "EndpointJob(id='j', status='CANCELLED')");
    assert.equal((await endpoint.retry("j")).done, false);
    assert.deepEqual(await endpoint.health(), health);
    assert.deepEqual(await endpoint.purge(), { removed: 2, status: "completed" });
    const chunks: unknown[] = [];
    for await (const chunk of endpoint.stream("j")) chunks.push(chunk);
    assert.deepEqual(chunks, [1]);
  });

  test("sends HTTP requests with query, headers and data", async (t) => {
    const fake = await open(t);
    fake
      .on("GET /lb/abc/v1/models", { body: { data: [] } })
      .on("POST /lb/abc/v1/chat", { status: 404, body: "no such model" });
    const endpoint = Endpoint({ id: "abc" });
    const options = { query: { page: 2, tags: ["a", "b"] }, headers: { "x-mine": "1" } };
    assert.deepEqual(await endpoint.get("/v1/models?z=1", { q: "x y" }, options), { data: [] });
    const seen = fake.last("GET /lb/abc/v1/models");
    assert.equal(seen.url, "/lb/abc/v1/models?z=1&q=x+y&page=2&tags=a&tags=b");
    assert.equal(seen.headers["x-mine"], "1");
    await assert.rejects(
      endpoint.post("/v1/chat", { prompt: "hi" }),
      flashError("REMOTE_ERROR", /^HTTP error from endpoint abc: 404 - no such model$/),
    );
    assert.deepEqual(JSON.parse(fake.last("POST /lb/abc/v1/chat").body), { prompt: "hi" });
    const raw = await endpoint.post("/v1/chat", {}, { raw: true });
    assert.equal(raw.status, 404);
    assert.equal(await raw.text(), "no such model");
  });

  test("waits through a server that is busy, restarting or behind a proxy that is", async (t) => {
    const fake = await open(t);
    fake
      .on("POST /v2/abc/run", job({ status: "IN_QUEUE" }))
      .on(
        "GET /v2/abc/status/job-1",
        problem(503, "UNAVAILABLE", "restarting"),
        { status: 502, body: "<html>bad gateway</html>" },
        job({ output: 1 }),
      );
    const running = await Endpoint({ id: "abc" }).run();
    assert.equal(await running.result(), 1);
    assert.equal(fake.requests("GET /v2/abc/status/job-1").length, 3);
    fake.on("GET /v2/abc/status/job-2", { status: 500, body: "broken" });
    fake.on("POST /v2/abc/run", job({ id: "job-2", status: "IN_QUEUE" }));
    const broken = await Endpoint({ id: "abc" }).run();
    await assert.rejects(broken.wait(), flashError("REMOTE_ERROR", /500 - broken/));
    assert.equal(fake.requests("GET /v2/abc/status/job-2").length, 1);
  });

  test("says when a busy server wants to be asked again", async (t) => {
    const fake = await open(t);
    const later = new Date(Date.now() + 600_000).toUTCString();
    fake.on(
      "GET /v2/abc/health",
      { status: 429, headers: { "retry-after": "7" } },
      { status: 503, headers: { "retry-after": later } },
      { status: 503, headers: { "retry-after": "soon" } },
    );
    const details = async (): Promise<Record<string, unknown>> => {
      const error = await Endpoint({ id: "abc" })
        .health()
        .catch((thrown: unknown) => thrown);
      assert.ok(FlashError.is(error));
      return error.details ?? {};
    };
    assert.deepEqual(await details(), { status: 429, retryAfterMs: 7000 });
    const { retryAfterMs } = await details();
    // The time from the date's making to its reading is the machine's.
    assert.ok(Number(retryAfterMs) > 300_000 && Number(retryAfterMs) <= 600_000);
    assert.deepEqual(await details(), { status: 503 });
  });

  test("gives up every operation when its signal aborts", async (t) => {
    const fake = await open(t);
    const silent = () => "silence" as const;
    fake
      .on("POST /v2/abc/run", silent)
      .on("POST /v2/abc/runsync", silent)
      .on("GET /v2/abc/status/j", silent)
      .on("POST /v2/abc/cancel/j", silent)
      .on("POST /v2/abc/retry/j", silent)
      .on("GET /v2/abc/stream/j", silent)
      .on("GET /v2/abc/health", silent)
      .on("POST /v2/abc/purge-queue", silent)
      .on("GET /lb/abc/x", silent);
    const endpoint = Endpoint({ id: "abc" });
    const next = async (stream: AsyncIterable<unknown>): Promise<void> => {
      for await (const _ of stream);
    };
    const operations: ((signal: AbortSignal) => Promise<unknown>)[] = [
      (signal) => endpoint.run({}, { signal }),
      (signal) => endpoint.runsync({}, { signal }),
      (signal) => endpoint.status("j", { signal }),
      (signal) => endpoint.cancel("j", { signal }),
      (signal) => endpoint.retry("j", { signal }),
      (signal) => next(endpoint.stream("j", { signal })),
      (signal) => endpoint.health({ signal }),
      (signal) => endpoint.purge({ signal }),
      (signal) => endpoint.get("/x", undefined, { signal }),
    ];
    for (const operation of operations) {
      const abort = new AbortController();
      const reason = new Error("enough");
      const count = fake.seen.length;
      const pending = operation(abort.signal);
      pending.catch(() => undefined);
      await until(() => fake.seen.length > count, { what: "the request" });
      abort.abort(reason);
      await assert.rejects(pending, reason);
      await assert.rejects(operation(AbortSignal.abort(reason)), reason);
    }
    fake.on("POST /v2/abc/run", job({ id: "j", status: "IN_QUEUE" }));
    const started = await endpoint.run();
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(started.status({ signal }), /^Error: enough$/);
    await assert.rejects(started.cancel({ signal }), /^Error: enough$/);
    await assert.rejects(next(started.stream({ signal })), /^Error: enough$/);
    await assert.rejects(started.status({ timeoutMs: 20 }), flashError("CALL_TIMEOUT", /0\.02s/));
  });

  test("refuses what cannot be sent", async (t) => {
    await open(t);
    const endpoint = Endpoint({ id: "abc" });
    await assert.rejects(
      endpoint.get("models"),
      flashError("INVALID_USAGE", /^path must start with '\/', got: models$/),
    );
    await assert.rejects(endpoint.get("/x", 5), flashError("INVALID_USAGE", /must be an object/));
    await assert.rejects(
      endpoint.run({ a: [Number.NaN] }),
      flashError("NOT_SERIALIZABLE", /^JSON serialization error: input\.a\[0\] is NaN/),
    );
  });

  test("goes to Runpod without a FLASH_URL, with Runpod's key", async (t) => {
    const fake = await open(t);
    setVariables(t, { FLASH_URL: undefined, FLASH_API_KEY: undefined });
    const endpoint = Endpoint({ id: "abc" });
    await assert.rejects(endpoint.run({}), flashError("UNAUTHORIZED", /^No RunPod API key found/));
    setVariables(t, { RUNPOD_ENDPOINT_BASE_URL: `${fake.url}/v2/`, RUNPOD_API_KEY: "rp_key" });
    fake.on("POST /v2/abc/run", job({ status: "IN_QUEUE" }));
    await endpoint.run({});
    assert.equal(fake.last("POST /v2/abc/run").headers.authorization, "Bearer rp_key");
  });
});

describe("a client of an image", () => {
  test("is called by name, jobs and routes alike", async (t) => {
    const fake = await open(t);
    fake
      .on("POST /v2/flash/run", job({ status: "IN_QUEUE" }))
      .on("GET /lb/flash/v1/models", { body: 1 });
    const vllm = Endpoint({ name: "vllm", image: "vllm/vllm-openai:latest" });
    await vllm.run({ prompt: "hi" });
    assert.equal(fake.last("POST /v2/flash/run").headers["x-flash-endpoint"], "vllm");
    assert.equal(await vllm.get("/v1/models"), 1);
    fake.on("GET /lb/flash/v1/models", problem(404, "ENDPOINT_NOT_FOUND", "?"));
    await assert.rejects(
      vllm.get("/v1/models"),
      flashError(
        "ENDPOINT_NOT_FOUND",
        /^endpoint 'vllm' not found in app 'shop' environment 'staging'/,
      ),
    );
  });
});
