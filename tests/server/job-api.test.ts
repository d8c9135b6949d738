import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import { once } from "node:events";
import { createHmac } from "node:crypto";
import type { JobFacts } from "../../src/contract/job-failure.ts";
import type { AddressInfo } from "node:net";
import { describe, test, type TestContext } from "node:test";
import { until } from "../support/until.ts";
import { memberTexts } from "../../src/server/gateway/raw-json.ts";
import { preferenceOf } from "../../src/server/gateway/prefer.ts";
import { lookupPublic, WEBHOOK_SECRET } from "../../src/server/jobs/webhooks.ts";
import { setUp, settleDown } from "./jobs-support.ts";
import { newJob } from "./store-support.ts";
import { serveApi, type Api } from "./http-support.ts";

const MIB = 1024 * 1024;

async function submit(api: Api, body: unknown = { input: { a: 1 } }): Promise<string> {
  const { id } = await api.ok("/run", { body });
  return String(id);
}

async function finish(api: Api, body: Record<string, unknown>, workerId = "wk1"): Promise<void> {
  const { id } = await api.take(workerId);
  await api.jobs.done({ jobId: id, workerId, body });
}

describe("run", () => {
  test("answers 200 with an id that goes into a URL as it is, and the state", async (t) => {
    const api = await serveApi(t);
    const { status, json, headers } = await api.ask("/run", { body: { input: { a: 1 } } });
    assert.equal(status, 200);
    assert.equal(headers["content-type"], "application/json");
    const { id, ...rest } = json as { id: string };
    assert.match(id, /^[0-9a-f-]{36}-u1$/);
    assert.deepEqual(rest, { status: "IN_QUEUE" });
  });

  test("treats a missing input as {} and keeps null, whatever the content type says", async (t) => {
    const api = await serveApi(t);
    const inputs: string[] = [];
    for (const body of ["{}", '{"input":null}', '{"input":{}}', '{"input":"text","timeout":3}']) {
      const headers = { "content-type": "text/plain" };
      await api.ok("/run", { method: "POST", headers, body });
      inputs.push((await api.take()).input);
    }
    assert.deepEqual(inputs, ["{}", "null", "{}", '"text"']);
  });

  test("hands numbers on as they were written", async (t) => {
    const api = await serveApi(t);
    const body = '{"policy":{}, "input" : {"big":12345678901234567890,"float":1.0} }';
    await api.ok("/run", { body });
    assert.equal((await api.take()).input, '{"big":12345678901234567890,"float":1.0}');
  });

  for (const [what, body] of [
    ["no JSON", "{"],
    ["an empty body", ""],
    ["a list", "[]"],
    ["a policy out of bounds", '{"input":{},"policy":{"ttl":5}}'],
    ["a policy that is no object", '{"input":{},"policy":5}'],
    ["a webhook that is no text", '{"input":{},"webhook":5}'],
  ] as const) {
    test(`answers 400 in JSON to ${what}`, async (t) => {
      const api = await serveApi(t);
      const { status, json } = await api.ask("/run", { method: "POST", body });
      assert.equal(status, 400);
      const { error, detail } = json as Record<string, unknown>;
      assert.equal(typeof error, "string");
      assert.equal(error, detail);
      assert.equal((await api.jobs.counts("ep1")).inQueue, 0);
    });
  }

  test("refuses an input the function would refuse, before it is a job", async (t) => {
    const parameters = [
      { name: "text", schema: { type: "string" }, required: true, carrier: "value" },
      { name: "depth", schema: { type: "number" }, required: false, carrier: "value" },
    ] as const;
    const api = await serveApi(t, { parameters: [...parameters] });
    const { status, json } = await api.ask("/run", { body: { input: { text: 5, dept: 1 } } });
    assert.equal(status, 400);
    const { code, issues } = json as { code: string; issues: { path: string }[] };
    assert.equal(code, "INVALID_INPUT");
    assert.deepEqual(issues.map(({ path }) => path).sort(), ["dept", "text"]);
    await api.ok("/run", { body: { input: { text: "a", depth: 3 } } });
    await api.ok("/run", { body: { input: { __empty: true, text: "a" } } });
    assert.equal((await api.jobs.counts("ep1")).inQueue, 2);
  });

  test("refuses more than 10 MiB with 413 and runsync more than 20 MiB", async (t) => {
    const api = await serveApi(t);
    const over = JSON.stringify({ input: "x".repeat(10 * MIB) });
    const { status, json } = await api.ask("/run", { body: over });
    assert.equal(status, 413);
    assert.match((json as { error: string }).error, /10485760 bytes/);
    const answer = api.ask("/runsync?wait=1000", { body: over });
    await until(async () => (await api.jobs.counts("ep1")).inQueue === 1, { what: "the job" });
    await api.pass(1000);
    assert.equal((await answer).status, 200);
  });

  test("?ttl= is clamped and wins over the policy; what is no number is ignored", async (t) => {
    const api = await serveApi(t);
    const body = { input: {}, policy: { ttl: 20_000 } };
    for (const [query, ttlMs] of [
      ["?ttl=1", 10_000],
      ["?ttl=30000", 30_000],
      ["?ttl=soon", 20_000],
      ["", 20_000],
    ] as const) {
      const { id } = await api.ok(`/run${query}`, { body });
      assert.equal((await api.get(String(id)))?.policy.ttlMs, ttlMs, query);
    }
  });

  test("the same Idempotency-Key is the same job", async (t) => {
    const api = await serveApi(t);
    const asked = { body: { input: {} }, headers: { "idempotency-key": "order-1" } };
    const first = await api.ok("/run", asked);
    await finish(api, { output: 1 });
    assert.deepEqual(await api.ok("/run", asked), { id: first["id"], status: "COMPLETED" });
  });

  test("s3Config reaches the worker, webhook and policy do not", async (t) => {
    const api = await serveApi(t);
    const s3Config = { bucketName: "b" };
    await submit(api, { input: {}, s3Config, policy: { ttl: 10_000 }, other: 1 });
    assert.equal((await api.take()).extra, JSON.stringify({ s3Config }));
  });
});

describe("runsync and status-sync", () => {
  test("runsync answers the whole document as soon as the job is final", async (t) => {
    const api = await serveApi(t);
    const answer = api.ok("/runsync", { body: { input: {} } });
    const job = await until(
      async () => (await api.store.jobs.list({ endpointId: "ep1", offset: 0, limit: 1 })).jobs[0],
      { what: "the job" },
    );
    assert.match(job.id, /^sync-/);
    api.clock.advance(40);
    await api.take();
    api.clock.advance(15);
    await api.jobs.done({ jobId: job.id, workerId: "wk1", body: { output: { b: 2 } } });
    assert.deepEqual(await answer, {
      id: job.id,
      status: "COMPLETED",
      delayTime: 40,
      executionTime: 15,
      workerId: "wk1",
      output: { b: 2 },
    });
  });

  test("runsync whose wait ends first answers id and state, status-sync goes on waiting", async (t) => {
    const api = await serveApi(t);
    const answer = api.ok("/runsync?wait=1", { body: { input: {} } });
    await until(async () => (await api.jobs.counts("ep1")).inQueue === 1, { what: "the job" });
    // The shortest wait is a second.
    await api.pass(1000);
    const { id, ...rest } = await answer;
    assert.deepEqual(rest, { status: "IN_QUEUE" });
    const synced = api.ok(`/status-sync/${String(id)}?wait=5000`, { method: "POST" });
    await finish(api, { output: "x" });
    assert.equal((await synced)["output"], "x");
  });

  test("Prefer says how long to wait, as ?wait= does, and not to wait at all", async (t) => {
    const api = await serveApi(t);
    const body = { input: {} };
    const headers = { prefer: "respond-async" };
    const { status, json, headers: said } = await api.ask("/runsync", { body, headers });
    const { id } = json as { id: string };
    assert.deepEqual([status, json], [200, { id, status: "IN_QUEUE" }]);
    assert.match(id, /^sync-/);
    assert.equal(said["preference-applied"], "respond-async");
    const asked = [
      ["/runsync", "return=minimal, Wait=2"],
      ["/runsync", "respond-async, wait=2"],
      ["/runsync?wait=2000", "wait=100"],
    ] as const;
    for (const [index, [path, prefer]] of asked.entries()) {
      const answer = api.ok(path, { body, headers: { prefer } });
      const jobs = index + 2;
      await until(async () => (await api.jobs.counts("ep1")).inQueue === jobs, { what: "the job" });
      await api.pass(2000);
      assert.equal((await answer)["status"], "IN_QUEUE");
    }
  });

  test("a preference is read as RFC 7240 says, and what is none is ignored", () => {
    for (const [header, isAsync, waitMs] of [
      [undefined, false, undefined],
      ["respond-async", true, undefined],
      ["Respond-Async, WAIT=10", true, 10_000],
      ['wait="5"; x=1', false, 5000],
      ["return=minimal,wait=1,wait=9", false, 1000],
      ["wait", false, undefined],
      ["wait=-1, wait=x, respond-asynchronously", false, undefined],
    ] as const) {
      assert.deepEqual(preferenceOf(header), { isAsync, waitMs }, header);
    }
  });

  test("a client that goes away leaves its job running", async (t) => {
    const api = await serveApi(t);
    const gone = new AbortController();
    const answer = api.ask("/runsync", { body: { input: {} }, signal: gone.signal });
    await until(async () => (await api.jobs.counts("ep1")).inQueue === 1, { what: "the job" });
    gone.abort();
    await assert.rejects(answer);
    const { id } = await api.take();
    await api.jobs.done({ jobId: id, workerId: "wk1", body: { output: 1 } });
    assert.equal((await api.ok(`/status/${id}`))["status"], "COMPLETED");
  });
});

describe("status", () => {
  test("has what is known in each state, with whole numbers and all five fields at the end", async (t) => {
    const api = await serveApi(t, { retries: 0 });
    const id = await submit(api);
    assert.deepEqual(await api.ok(`/status/${id}`), { id, status: "IN_QUEUE" });
    api.clock.advance(12.6);
    await api.take();
    await api.jobs.done({ jobId: id, workerId: "wk1", body: { status: "IN_PROGRESS", output: 5 } });
    assert.deepEqual(await api.ok(`/status/${id}`, { method: "POST" }), {
      id,
      status: "IN_PROGRESS",
      delayTime: 12,
      workerId: "wk1",
      output: 5,
    });
    await api.jobs.done({ jobId: id, workerId: "wk1", body: { error: { deep: true } } });
    assert.deepEqual(await api.ok(`/status/${id}`), {
      id,
      status: "FAILED",
      delayTime: 12,
      executionTime: 0,
      workerId: "wk1",
      error: '{"deep":true}',
      flash: {
        failure: { kind: "exception", message: '{"deep":true}' },
        attempts: [
          {
            attempt: 1,
            workerId: "wk1",
            startedAt: "2026-01-01T00:00:00.012Z",
            endedAt: "2026-01-01T00:00:00.012Z",
            failure: { kind: "exception", message: '{"deep":true}' },
          },
        ],
      },
    });
  });

  test("a job that never ran has all five fields too", async (t) => {
    const api = await serveApi(t);
    const id = await submit(api);
    assert.deepEqual(await api.ok(`/cancel/${id}`, { method: "POST" }), {
      id,
      status: "CANCELLED",
    });
    assert.deepEqual(await api.ok(`/status/${id}`), {
      id,
      status: "CANCELLED",
      delayTime: 0,
      executionTime: 0,
      workerId: "",
    });
  });

  test("gives an output as its worker wrote it", async (t) => {
    const api = await serveApi(t);
    const id = await submit(api);
    await finish(api, { output: 0, outputText: '{"big":12345678901234567890,"float":2.0}' });
    const { text } = await api.ask(`/status/${id}`);
    assert.match(text, /"output":\{"big":12345678901234567890,"float":2\.0\}/);
  });

  test("unknown jobs, jobs of other endpoints and unknown operations are 404 in JSON", async (t) => {
    const api = await serveApi(t);
    const other = await api.jobs.submit(
      { endpointId: "ep2", releaseId: "rel_1", executionTimeoutMs: 0, retries: 0 },
      { input: {} },
      "run",
    );
    for (const path of [
      "/status/unknown",
      `/status/${other.id}`,
      `/stream/${other.id}`,
      "/status",
      "/status/a/b",
      "/nonsense",
    ]) {
      const { status, json } = await api.ask(path);
      assert.equal(status, 404, path);
      assert.equal(typeof (json as { error: unknown }).error, "string", path);
    }
    for (const path of [`/cancel/${other.id}`, `/retry/${other.id}`]) {
      assert.equal((await api.ask(path, { method: "POST" })).status, 404, path);
    }
    assert.equal((await api.get(other.id))?.state, "IN_QUEUE");
  });

  test("a wrong method is 405 and names the right ones", async (t) => {
    const api = await serveApi(t);
    const { status, headers } = await api.ask("/run", { method: "GET" });
    assert.equal(status, 405);
    assert.equal(headers.allow, "POST");
    assert.equal((await api.ask("/health", { method: "POST" })).status, 405);
    const put = await api.ask("/status/none", { method: "PUT" });
    assert.deepEqual([put.status, put.headers.allow], [405, "GET, HEAD, POST"]);
  });

  test("HEAD answers what GET would, without its body", async (t) => {
    const api = await serveApi(t);
    const id = await submit(api);
    const paths = ["/health", "/metrics", "/requests", "/batch", `/status/${id}`, "/status/none"];
    for (const path of [...paths, "/batch/none", "/nothing"]) {
      const [head, get] = [await api.ask(path, { method: "HEAD" }), await api.ask(path)];
      for (const { headers } of [head, get]) delete headers.date;
      assert.deepEqual([head.status, head.text], [get.status, ""], path);
      assert.deepEqual(head.headers, get.headers, path);
    }
    const refused = await api.ask("/run", { method: "HEAD" });
    assert.deepEqual([refused.status, refused.headers.allow], [405, "POST"]);
    assert.equal((await api.ask("/openai/v1/models", { method: "HEAD" })).status, 405);
    assert.equal((await api.jobs.counts("ep1")).inQueue, 1);
  });

  test("HEAD of a stream takes nothing out of it", async (t) => {
    const api = await serveApi(t);
    const id = await submit(api);
    await api.take();
    await api.jobs.chunk({ jobId: id, workerId: "wk1", output: "first" });
    for (const accept of ["application/json", "text/event-stream"]) {
      const head = await api.ask(`/stream/${id}`, { method: "HEAD", headers: { accept } });
      assert.deepEqual([head.status, head.headers["content-type"]], [200, accept]);
    }
    assert.equal((await api.ask("/stream/none", { method: "HEAD" })).status, 404);
    const { stream } = await api.ok(`/stream/${id}`);
    assert.deepEqual(stream, [{ output: "first" }]);
  });

  test("what is ours says where the new job is, and what is the platform's does not", async (t) => {
    const api = await serveApi(t);
    const body = { input: {} };
    const at = async (path: string, headers = {}, method = "POST"): Promise<unknown> => {
      const answer = await api.ask(path, { method, headers, body });
      const { id } = answer.json as { id: string };
      const { location } = answer.headers;
      return location?.replace(id, "{id}");
    };
    const place = "/v2/ep1/status/{id}";
    assert.equal(await at("/run/order-1", {}, "PUT"), place);
    assert.equal(await at("/runsync", { prefer: "respond-async" }), place);
    assert.equal(await at(`/replay/${await submit(api)}`), place);
    assert.equal(await at("/run"), undefined);
  });
});

describe("stream", () => {
  test("holds until a chunk comes and always has both keys", async (t) => {
    const api = await serveApi(t);
    const id = await submit(api);
    await api.take();
    const held = api.ok(`/stream/${id}`);
    await api.jobs.chunk({ jobId: id, workerId: "wk1", output: { token: "a" } });
    assert.deepEqual(await held, { status: "IN_PROGRESS", stream: [{ output: { token: "a" } }] });
    await api.jobs.done({ jobId: id, workerId: "wk1", body: { output: [] } });
    const end = { status: "COMPLETED", stream: [] };
    assert.deepEqual(await api.ok(`/stream/${id}`, { method: "POST" }), end);
  });

  test("without wait it holds for 5 s, with wait for as long as asked", async (t) => {
    const api = await serveApi(t);
    const id = await submit(api);
    let answered = false;
    const before = api.arrived();
    const held = api.ok(`/stream/${id}`).finally(() => (answered = true));
    await until(() => api.arrived() > before, { what: "the request" });
    await settleDown(api.store);
    await api.pass(4750);
    assert.equal(answered, false);
    await api.pass(500);
    assert.deepEqual(await held, { status: "IN_QUEUE", stream: [] });
    const now = { status: "IN_QUEUE", stream: [] };
    assert.deepEqual(await api.ok(`/stream/${id}?wait=0`), now);
  });
});

describe("cancel, retry, purge-queue", () => {
  test("cancelling a final job answers its real state", async (t) => {
    const api = await serveApi(t);
    const id = await submit(api);
    await finish(api, { output: 1 });
    const body = "";
    assert.deepEqual(await api.ok(`/cancel/${id}`, { method: "POST", body }), {
      id,
      status: "COMPLETED",
    });
  });

  test("a failed job whose result is over is there for those who ask for kept ones", async (t) => {
    const api = await serveApi(t, { retries: 0 });
    const lost = await submit(api);
    await finish(api, { error: "no" });
    api.clock.advance(30 * 60_000);
    await api.pass(1000);
    const POST = { method: "POST" };
    assert.equal((await api.ask(`/status/${lost}`)).status, 404);
    assert.equal((await api.ask(`/stream/${lost}`)).status, 404);
    assert.equal((await api.ask(`/retry/${lost}`, POST)).status, 404);
    assert.equal((await api.ok("/requests?status=FAILED"))["total"], 0);
    assert.equal((await api.ok("/requests?kept=true"))["total"], 1);
    assert.equal((await api.ok("/requests?status=FAILED&kept=true"))["total"], 1);
    assert.equal((await api.ok(`/status/${lost}?kept=true`))["error"], "no");
    const replayed = await api.ok(`/replay/${lost}?kept=true`, POST);
    assert.equal(replayed["replayOf"], lost);
    assert.equal((await api.ok(`/retry/${lost}?kept=true`, POST))["status"], "IN_QUEUE");
  });

  test("retry brings a failed job back and refuses another state with 400", async (t) => {
    const api = await serveApi(t, { retries: 0 });
    const id = await submit(api);
    assert.equal((await api.ask(`/retry/${id}`, { method: "POST" })).status, 400);
    await finish(api, { error: "boom" });
    assert.deepEqual(await api.ok(`/retry/${id}`, { method: "POST" }), { id, status: "IN_QUEUE" });
    const { flash, ...rest } = await api.ok(`/status/${id}`);
    assert.deepEqual(rest, { id, status: "IN_QUEUE", delayTime: 0 });
    assert.deepEqual((flash as JobFacts).failure, { kind: "exception", message: "boom" });
  });

  test("purge-queue says how many it removed", async (t) => {
    const api = await serveApi(t);
    await Promise.all([submit(api), submit(api), submit(api)]);
    await api.take();
    assert.deepEqual(await api.ok("/purge-queue", { body: {} }), {
      removed: 2,
      status: "completed",
    });
  });
});

describe("health, metrics, requests", () => {
  test("health has all eleven numbers", async (t) => {
    const api = await serveApi(t, { retries: 1 });
    await Promise.all([submit(api), submit(api), submit(api), submit(api)]);
    await finish(api, { output: 1 });
    await finish(api, { error: "x", retryable: false });
    await finish(api, { error: "x" });
    assert.deepEqual(await api.ok("/health"), {
      jobs: { completed: 1, failed: 1, inProgress: 0, inQueue: 2, retried: 1 },
      workers: { idle: 1, initializing: 0, ready: 1, running: 0, throttled: 0, unhealthy: 0 },
      flash: { durability: "strict" },
    });
    const { readyWorkers } = await api.ok("/metrics");
    assert.deepEqual(readyWorkers, ["wk1"]);
  });

  test("requests pages through the jobs, newest first and by status, without outputs", async (t) => {
    const api = await serveApi(t);
    const ids = [await submit(api), await submit(api), await submit(api)];
    await finish(api, { output: "secret" });
    const page = await api.ok("/requests?limit=2");
    const jobs = page["requests"] as { id: string }[];
    assert.deepEqual(
      jobs.map(({ id }) => id),
      [ids[2], ids[1]],
    );
    assert.deepEqual([page["total"], page["hasMore"]], [3, true]);
    const done = await api.ok("/requests?status=COMPLETED,FAILED");
    assert.deepEqual(done["total"], 1);
    assert.ok(!JSON.stringify(done).includes("secret"));
    assert.equal((await api.ask("/requests?status=NONSENSE")).status, 400);
  });

  test("requests shows the beginning of a long error, status all of it", async (t) => {
    const api = await serveApi(t);
    const id = await submit(api);
    const error = "e".repeat(250_000);
    await finish(api, { error, retryable: false });
    const [listed] = (await api.ok("/requests"))["requests"] as { error: string }[];
    assert.equal(listed?.error, `${"e".repeat(16 * 1024)}…`);
    assert.equal((await api.ok(`/status/${id}`))["error"], error);
  });

  test("an error of many megabytes is cut, and says so", async (t) => {
    const api = await serveApi(t);
    const id = await submit(api);
    await finish(api, { error: "e".repeat(15_000_000), retryable: false });
    const error = (await api.ok(`/status/${id}`))["error"] as string;
    const cut = /^e{262144}… \((\d+) more characters were left out\)$/.exec(error);
    assert.equal(cut?.[1], String(15_000_000 - 262_144));
  });
});

describe("webhooks", () => {
  interface Receiver {
    url: string;
    got: { body: string; headers: IncomingMessage["headers"]; at: number }[];
  }

  /** Answers with the statuses given, then with 200. */
  async function receiver(
    t: TestContext,
    statuses: number[],
    now: () => number,
  ): Promise<Receiver> {
    const got: Receiver["got"] = [];
    const server = createServer((request, response) => {
      let body = "";
      request.setEncoding("utf8").on("data", (part: string) => (body += part));
      request.once("end", () => {
        got.push({ body, headers: request.headers, at: now() });
        response.writeHead(statuses.shift() ?? 200, { location: "/elsewhere" }).end();
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, got };
  }

  function checkSigned(
    hook: Receiver["got"][number] | undefined,
    id: string,
    secret: string,
  ): void {
    assert.ok(hook !== undefined);
    const { body, headers } = hook;
    assert.equal((JSON.parse(body) as { id: string }).id, id);
    const content = `${String(headers["webhook-id"])}.${String(headers["webhook-timestamp"])}.${body}`;
    const key = Buffer.from(secret.slice("whsec_".length), "base64");
    const signature = createHmac("sha256", key).update(content).digest("base64");
    assert.equal(headers["webhook-signature"], `v1,${signature}`);
  }

  async function finishedJob(setting: Awaited<ReturnType<typeof setUp>>, webhook: string) {
    const { id } = await setting.submit({ webhook });
    await setting.take();
    await setting.jobs.done({ jobId: id, workerId: "wk1", body: { output: { b: 2 } } });
    return id;
  }

  test("bring the status document, signed, and are repeated after 10 s until they are accepted", async (t) => {
    const setting = await setUp(t, { allowPrivateWebhooks: true });
    const { clock, store, pass } = setting;
    const { url, got } = await receiver(t, [500, 302], () => clock.now());
    const id = await finishedJob(setting, url);
    for (const wanted of [1, 2, 3]) {
      await until(() => got.length === wanted, { what: `try ${wanted}` });
      await until(async () => ((await store.webhooks.nextAt()) ?? Infinity) > clock.now(), {
        what: "the next try to be planned",
      });
      if (wanted < 3) await pass(11_250);
    }
    await until(async () => (await store.webhooks.nextAt()) === undefined, { what: "acceptance" });
    const [first, second, third] = got.map(({ at }) => at);
    for (const gap of [(second ?? 0) - (first ?? 0), (third ?? 0) - (second ?? 0)]) {
      assert.ok(gap >= 9000 && gap <= 11_250, `${gap} ms`);
    }
    checkSigned(got[0], id, (await store.control.readSetting(WEBHOOK_SECRET)) ?? "");
  });

  test("that could not be delivered wait for the next start of the server", async (t) => {
    const setting = await setUp(t, { allowPrivateWebhooks: true });
    const { url, got } = await receiver(t, [500], () => 0);
    await finishedJob(setting, url);
    await until(() => got.length === 1, { what: "the first try" });
    await until(async () => ((await setting.store.webhooks.nextAt()) ?? 0) > setting.clock.now(), {
      what: "the next try to be planned",
    });
    await setting.jobs.close();
    setting.clock.advance(20_000);
    await setUp(t, { store: setting.store, clock: setting.clock, allowPrivateWebhooks: true });
    await until(() => got.length === 2, { what: "the second try" });
  });

  test("do not reach a private address, as a number or through a name", async (t) => {
    const { url, got } = await receiver(t, [], () => 0);
    const { store, clock, jobs } = await setUp(t);
    const now = clock.now();
    // Accepted by a server that did not know better.
    for (const webhook of [url, url.replace("127.0.0.1", "localhost")]) {
      const [job] = await store.jobs.submit([newJob({ webhook, createdAt: now, runAt: now })]);
      await jobs.cancel(job?.id ?? "");
    }
    await until(async () => ((await store.webhooks.nextAt()) ?? 0) > now, {
      what: "the refused deliveries to be put off",
    });
    assert.equal(got.length, 0);
  });

  test("look a name up and refuse what it stands for", async () => {
    const { promise, resolve } = Promise.withResolvers<Error | null>();
    lookupPublic("localhost", { all: true }, (error) => resolve(error));
    assert.match((await promise)?.message ?? "", /has the private address/);
  });
});

test("member texts are found whatever surrounds them", () => {
  const text = ' { "a" : "x\\"}" ,"b":[1,{"c":"]"}],"\\u0061":-1.50e3 , "d":{} } ';
  assert.deepEqual(
    [...memberTexts(text)],
    [
      ["a", "-1.50e3"],
      ["b", '[1,{"c":"]"}]'],
      ["d", "{}"],
    ],
  );
  assert.equal(memberTexts("{}").size, 0);
});
