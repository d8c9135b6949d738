/** What a submission may say beyond its input: when to start, and what it is the same as. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { serveApi } from "./http-support.ts";

describe("a delayed start", () => {
  for (const [what, policy] of [
    ["policy.delayMs", { delayMs: 30_000 }],
    ["policy.runAt in epoch ms", { runAt: Date.UTC(2026, 0, 1) + 30_000 }],
    ["policy.runAt as a time", { runAt: "2026-01-01T01:00:30+01:00" }],
  ] as const) {
    test(`${what} holds a job back until then`, async (t) => {
      const api = await serveApi(t);
      const { id } = await api.ok("/run", { body: { input: {}, policy } });
      await api.pass(29_500);
      await assert.rejects(api.take(), /no job/);
      await api.pass(1000);
      assert.equal((await api.take()).id, id);
      const { delayTime } = await api.ok(`/status/${String(id)}`);
      assert.ok(Number(delayTime) <= 1000, "the wait before it was due is no delay");
    });
  }

  test("a time that is over starts at once", async (t) => {
    const api = await serveApi(t);
    await api.ok("/run", { body: { input: {}, policy: { runAt: 1 } } });
    await api.take();
  });

  for (const [policy, pattern] of [
    [{ delayMs: -1 }, /policy\.delayMs must be a whole number/],
    [{ delayMs: "soon" }, /policy\.delayMs must be a whole number/],
    [{ runAt: "soon" }, /policy\.runAt must be a time/],
    [{ runAt: {} }, /policy\.runAt must be a time/],
    [{ delayMs: 60_000, ttl: 60_000 }, /policy\.delayMs lies beyond/],
    [{ delayMs: 1, runAt: 1 }, /exclude each other/],
  ] as const) {
    test(`${JSON.stringify(policy)} is refused`, async (t) => {
      const api = await serveApi(t);
      const { status, json } = await api.ask("/run", { body: { input: {}, policy } });
      assert.equal(status, 400);
      assert.match((json as { error: string }).error, pattern);
      assert.equal((await api.jobs.counts("ep1")).inQueue, 0);
    });
  }
});

describe("PUT run/{key}", () => {
  test("submits once for a key, whoever comes first and however often", async (t) => {
    const api = await serveApi(t);
    const put = (n: number): Promise<Record<string, unknown>> =>
      api.ok("/run/order%2F17", { method: "PUT", body: { input: { n } } });
    const answers = await Promise.all([1, 2, 3].map(put));
    assert.equal(new Set(answers.map(({ id }) => id)).size, 1);
    const headers = { "idempotency-key": "order/17" };
    const posted = await api.ok("/run", { headers, body: { input: {} } });
    assert.equal(posted["id"], answers[0]?.["id"], "the header means the same");
    assert.equal((await api.jobs.counts("ep1")).inQueue, 1);
  });

  test("other keys and no key are other jobs", async (t) => {
    const api = await serveApi(t);
    const body = { input: {} };
    const one = await api.ok("/run/a", { method: "PUT", body });
    const two = await api.ok("/run/b", { method: "PUT", body });
    const three = await api.ok("/run", { body });
    assert.equal(new Set([one, two, three].map(({ id }) => id)).size, 3);
  });

  test("POST to a key and PUT without one are refused by name", async (t) => {
    const api = await serveApi(t);
    const post = await api.ask("/run/a", { method: "POST", body: { input: {} } });
    assert.deepEqual([post.status, post.headers.allow], [405, "PUT"]);
    const put = await api.ask("/run", { method: "PUT", body: { input: {} } });
    assert.deepEqual([put.status, put.headers.allow], [405, "POST"]);
    const long = await api.ask(`/run/${"k".repeat(300)}`, { method: "PUT", body: { input: {} } });
    assert.equal(long.status, 400);
  });
});
