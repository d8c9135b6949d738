/** Batches: filled, set going, run a few at a time, cancelled, kept through crashes. */

import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { LIMITS } from "../../src/contract/limits.ts";
import { SqliteStore } from "../../src/server/server.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { serveApi, type Api } from "./http-support.ts";
import { TestServer } from "./server-support.ts";

interface BatchDocument {
  id: string;
  status: string;
  name?: string;
  requestTotal: number;
  requestInProgress: number;
  requestCompleted: number;
  requestFailed: number;
}

interface Page {
  requests: {
    id: string;
    status: string;
    output?: unknown;
    error?: string;
    completedAt?: string;
  }[];
  total: number;
  hasMore: boolean;
}

const inputs = (count: number): { input: { n: number } }[] =>
  Array.from({ length: count }, (_, n) => ({ input: { n } }));

async function draft(api: Api, count: number): Promise<string> {
  const batch = await api.ok("/batch", { body: inputs(count) });
  assert.equal(batch["status"], "DRAFT");
  return String(batch["id"]);
}

async function finalized(api: Api, count: number): Promise<string> {
  const id = await draft(api, count);
  await api.ok(`/batch/${id}/finalize`, { method: "POST" });
  return id;
}

async function look(api: Api, id: string): Promise<BatchDocument> {
  return (await api.ok(`/batch/${id}`)) as unknown as BatchDocument;
}

async function page(api: Api, id: string, query = ""): Promise<Page> {
  return (await api.ok(`/batch/${id}/requests${query}`)) as unknown as Page;
}

/** Works until nothing is left; returns the inputs in the order in which they were taken. */
async function work(api: Api): Promise<number[]> {
  const order: number[] = [];
  for (;;) {
    const [job] = await api.jobs.take({ endpointId: "ep1", workerId: "w", limit: 1, holdMs: 0 });
    if (job === undefined) {
      await new Promise((resolve) => setImmediate(resolve));
      const isFed = (await api.store.batches.next("ep1", 100)).length === 0;
      if (isFed && (await api.jobs.counts("ep1")).inQueue === 0) return order;
      continue;
    }
    const { n } = JSON.parse(job.input) as { n: number };
    order.push(n);
    await api.jobs.done({ jobId: job.id, workerId: "w", body: { output: n * 2 } });
  }
}

describe("filling", () => {
  test("a draft takes requests, gives one back, and is named", async (t) => {
    const api = await serveApi(t);
    const id = await draft(api, 0);
    assert.match(id, /^batch_/);
    await api.ok(`/batch/${id}/requests`, { body: { requests: inputs(2) } });
    await api.ok(`/batch/${id}/requests`, { body: { requests: inputs(1) } });
    const { requests, total } = await page(api, id);
    assert.equal(total, 3);
    assert.ok(requests.every((one) => one.id.startsWith("req_")));
    await api.ok(`/batch/${id}/requests/${requests[0]?.id}`, { method: "DELETE" });
    await api.ok(`/batch/${id}`, { method: "PUT", body: { name: "nightly" } });
    const batch = await look(api, id);
    assert.deepEqual([batch.requestTotal, batch.name, batch.status], [2, "nightly", "DRAFT"]);
    assert.equal((await api.jobs.counts("ep1")).inQueue, 0, "nothing runs yet");
  });

  test("an empty body is an empty draft", async (t) => {
    const api = await serveApi(t);
    const batch = await api.ok("/batch", { method: "POST" });
    assert.equal(batch["requestTotal"], 0);
  });

  test("inputs the function would refuse are refused with their place", async (t) => {
    const parameters = [
      { name: "n", schema: { type: "number" }, required: true, carrier: "value" },
    ] as const;
    const api = await serveApi(t, { parameters: [...parameters] });
    const body = [{ input: { n: 1 } }, { input: { n: "two" } }];
    const { status, json } = await api.ask("/batch", { body });
    assert.equal(status, 400);
    assert.match((json as { error: string }).error, /^requests\[1\] was not accepted/);
  });

  test("numbers arrive as they were written", async (t) => {
    const api = await serveApi(t);
    const body = ' [ {"x":[1, {}], "input" : {"big":12345678901234567890} } , {} ] ';
    const { id } = await api.ok("/batch", { method: "POST", body });
    await api.ok(`/batch/${String(id)}/finalize`, { method: "POST" });
    await until(async () => (await api.jobs.counts("ep1")).inQueue === 2, { what: "two jobs" });
    assert.equal((await api.take()).input, '{"big":12345678901234567890}');
    assert.equal((await api.take()).input, "{}");
  });

  test("what does not exist, or is over, is refused by name", async (t) => {
    const api = await serveApi(t);
    const id = await finalized(api, 1);
    const adding = { body: { requests: inputs(1) } };
    for (const [path, asked, status] of [
      [`/batch/${id}/requests`, adding, 409],
      ["/batch/nothing", {}, 404],
      [`/batch/${id}/requests/req_nothing`, { method: "DELETE" }, 409],
      [`/batch/${id}/what`, {}, 404],
      [`/batch/${id}`, { method: "DELETE" }, 405],
      ["/batch", { body: { requests: [] } }, 400],
      [`/batch/${id}`, { method: "PUT", body: { name: 5 } }, 400],
    ] as const) {
      const answer = await api.ask(path, asked);
      assert.equal(answer.status, status, `${path}: ${answer.text}`);
      assert.equal(typeof (answer.json as { error: string }).error, "string");
    }
  });

  test("an endpoint has ten active batches at most, a batch 5000 requests", async (t) => {
    const api = await serveApi(t);
    const ids: string[] = [];
    for (let count = 0; count < LIMITS.batchesActive; count++) ids.push(await draft(api, 0));
    const eleventh = await api.ask("/batch", { body: [] });
    assert.equal(eleventh.status, 429);
    assert.ok(eleventh.headers["retry-after"]);
    await api.ok(`/batch/${ids[0]}/finalize`, { method: "POST" });
    const id = await draft(api, LIMITS.batchRequests);
    const more = await api.ask(`/batch/${id}/requests`, { body: { requests: inputs(1) } });
    assert.equal(more.status, 400);
    assert.equal((await look(api, id)).requestTotal, LIMITS.batchRequests);
  });
});

describe("running", () => {
  test("every request runs once, in order, and its result is kept", async (t) => {
    const api = await serveApi(t);
    const id = await finalized(api, 30);
    await until(async () => (await api.jobs.counts("ep1")).inQueue > 0, { what: "jobs" });
    assert.deepEqual(
      await work(api),
      inputs(30).map(({ input }) => input.n),
    );
    const batch = await look(api, id);
    assert.deepEqual(
      [batch.status, batch.requestTotal, batch.requestCompleted, batch.requestFailed],
      ["FINALIZED", 30, 30, 0],
    );
    const { requests, hasMore } = await page(api, id, "?offset=10&limit=5");
    assert.deepEqual(
      requests.map(({ output }) => output),
      [20, 22, 24, 26, 28],
    );
    assert.equal(hasMore, true);
    assert.match(requests[0]?.completedAt ?? "", /^2026-01-01T/);
  });

  test("only a few wait in the queue at a time, and single jobs come in between", async (t) => {
    const api = await serveApi(t);
    await finalized(api, 200);
    await until(async () => (await api.jobs.counts("ep1")).inQueue > 0, { what: "jobs" });
    assert.ok((await api.jobs.counts("ep1")).inQueue <= 10);
    await api.submit({ inputText: '{"n":-1}', input: undefined });
    const order = await work(api);
    assert.ok(order.indexOf(-1) <= 10, `it was number ${order.indexOf(-1)}`);
    assert.equal(order.length, 201);
  });

  test("its jobs know their batch, and a failure is one request's", async (t) => {
    const api = await serveApi(t, { retries: 0 });
    const id = await finalized(api, 2);
    await until(async () => (await api.jobs.counts("ep1")).inQueue === 2, { what: "jobs" });
    const first = await api.take();
    assert.deepEqual(JSON.parse(first.extra ?? ""), { batchId: id });
    assert.equal((await look(api, id)).requestInProgress, 1);
    await api.jobs.done({ jobId: first.id, workerId: "wk1", body: { error: "boom" } });
    const second = await api.take();
    await api.jobs.done({ jobId: second.id, workerId: "wk1", body: { output: "fine" } });
    const batch = await look(api, id);
    assert.deepEqual([batch.requestCompleted, batch.requestFailed], [1, 1]);
    const { requests } = await page(api, id);
    assert.deepEqual(
      requests.map(({ status, error, output }) => [status, error ?? output]),
      [
        ["FAILED", "boom"],
        ["COMPLETED", "fine"],
      ],
    );
  });

  test("requests with a key run one at a time, beside those of another", async (t) => {
    const api = await serveApi(t);
    const keys = ["a", "a", "b", undefined];
    const body = keys.map((key, n) => ({ input: { n }, ...(key && { policy: { key } }) }));
    const { id } = await api.ok("/batch", { body });
    await api.ok(`/batch/${String(id)}/finalize`, { method: "POST" });
    const request = { endpointId: "ep1", workerId: "w", limit: 10, holdMs: 0 };
    await until(async () => (await api.jobs.counts("ep1")).inQueue === 4, { what: "the jobs" });
    const first = await api.jobs.take(request);
    const seen = first.map(({ input, key }) => `${input} ${key}`).toSorted();
    assert.deepEqual(seen, ['{"n":0} a', '{"n":2} b', '{"n":3} null']);
    assert.deepEqual(await api.jobs.take(request), []);
    const one = first.find(({ key }) => key === "a");
    await api.jobs.done({ jobId: one?.id ?? "", workerId: "w", body: { output: 1 } });
    assert.deepEqual(
      (await api.jobs.take(request)).map(({ input, key }) => [input, key]),
      [['{"n":1}', "a"]],
    );
    const refused = await api.ask("/batch", { body: [{ input: { n: 1 }, policy: { key: 5 } }] });
    assert.equal(refused.status, 400);
    assert.match(JSON.stringify(refused.json), /requests\[0\].*policy\.key must be a text/);
  });

  test("results outlive their jobs", async (t) => {
    const api = await serveApi(t);
    const id = await finalized(api, 1);
    await until(async () => (await api.jobs.counts("ep1")).inQueue === 1, { what: "a job" });
    const job = await api.take();
    await api.jobs.done({ jobId: job.id, workerId: "wk1", body: { output: "kept" } });
    await api.pass(250);
    api.clock.jump(LIMITS.retentionRunMs + 1000);
    await api.pass(2000);
    assert.equal(await api.get(job.id), undefined);
    assert.equal((await page(api, id)).requests[0]?.output, "kept");
  });

  test("cancelling ends what waits and lets what runs finish", async (t) => {
    const api = await serveApi(t);
    const id = await finalized(api, 50);
    await until(async () => (await api.jobs.counts("ep1")).inQueue > 1, { what: "jobs" });
    const running = await api.take();
    const cancelled = await api.ok(`/batch/${id}/cancel`, { method: "POST" });
    assert.equal(cancelled["status"], "FINALIZED", "one still runs");
    await assert.rejects(api.take("wk2"), /no job/);
    await api.jobs.done({ jobId: running.id, workerId: "wk1", body: { output: 1 } });
    const batch = await look(api, id);
    assert.deepEqual(
      [batch.status, batch.requestCompleted, batch.requestFailed],
      ["CANCELLED", 1, 49],
    );
  });

  test("a list has the newest first", async (t) => {
    const api = await serveApi(t);
    const ids = [await draft(api, 0), await draft(api, 0), await draft(api, 0)];
    const { batches, total, hasMore } = (await api.ok("/batch?limit=2")) as unknown as {
      batches: BatchDocument[];
      total: number;
      hasMore: boolean;
    };
    assert.deepEqual(
      batches.map(({ id }) => id),
      ids.reverse().slice(0, 2),
    );
    assert.deepEqual([total, hasMore], [3, true]);
  });
});

describe("on a server", () => {
  async function start(t: TestContext, home: string): Promise<TestServer> {
    return await TestServer.start(t, { home, store: new SqliteStore({ home }) });
  }

  test("a restart goes on where the last server stopped", async (t) => {
    const home = temporaryFolder(t);
    const first = await start(t, home);
    const spec = { name: "queue", kind: "qb", options: { workers: 0 } } as const;
    const url = `/v2/${(await first.deploy("shop", [spec])).endpoints[0]?.id}`;
    const body = JSON.stringify(inputs(40));
    const { json } = await first.request(`${url}/batch`, { method: "POST", body });
    await first.request(`${url}/batch/${json.id}/finalize`, { method: "POST" });
    await first.server.close({ graceMs: 0 });

    const second = await start(t, home);
    await second.deploy("shop", [{ ...spec, options: { workers: 2 } }]);
    const batch = await until(
      async () => {
        const answer = await second.request(`${url}/batch/${json.id}`);
        return answer.json.requestCompleted + answer.json.requestFailed === 40 && answer.json;
      },
      { what: "all requests to end" },
    );
    assert.equal(batch.requestTotal, 40);
    assert.equal(batch.requestCompleted, 40);
  });

  test("batches go with their endpoint", async (t) => {
    const server = await start(t, temporaryFolder(t));
    const { endpoints } = await server.deploy("shop", [{ name: "queue", kind: "qb" }]);
    const id = endpoints[0]?.id;
    const { json } = await server.request(`/v2/${id}/batch`, { method: "POST", body: "[]" });
    await server.request("/api/v1/endpoints?app=shop&environment=production", { method: "DELETE" });
    assert.equal((await server.request(`/v2/${id}/batch/${json.id}`)).status, 404);
  });
});
