/** Jobs with keys: how many of one key run at once, and whose turn it is, over a real store. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { NewJob } from "../../src/contract/job.ts";
import type { TakenJob } from "../../src/contract/store.ts";
import type { SqliteStore } from "../../src/server/store/store.ts";
import { temporaryFolder } from "../support/temp.ts";
import { newJob, takeOf, temporaryStore } from "./store-support.ts";

let now = 10_000;

async function submit(store: SqliteStore, key: string | null, changes: Partial<NewJob> = {}) {
  now += 1;
  const [job] = await store.jobs.submit([newJob({ key, runAt: now, createdAt: now, ...changes })]);
  assert.ok(job);
  return job;
}

async function take(
  store: SqliteStore,
  changes: Parameters<typeof takeOf>[0] = {},
): Promise<TakenJob[]> {
  now += 1;
  return store.jobs.take(takeOf({ now, leaseUntil: now + 5000, ...changes }));
}

async function complete(store: SqliteStore, { id, attempt }: TakenJob): Promise<void> {
  now += 1;
  const outcome = { kind: "completed", output: "1" } as const;
  await store.jobs.settle({ jobId: id, attempt, outcome, now, retentionMs: 60_000 });
}

const keysOf = (jobs: readonly TakenJob[]): (string | null)[] => jobs.map(({ key }) => key);

describe("how many jobs of a key run at once", () => {
  test("one, unless the endpoint says more", async (t) => {
    const store = temporaryStore(t);
    for (let i = 0; i < 3; i++) await submit(store, "a");
    for (let i = 0; i < 3; i++) await submit(store, "b", { keyConcurrency: 1 });
    assert.deepEqual(keysOf(await take(store, { limit: 10 })), ["a", "b"]);
    assert.deepEqual(await take(store, { limit: 10 }), []);
  });

  test("as many as the release says that accepted the job", async (t) => {
    const store = temporaryStore(t);
    const endpoint = { endpointId: "ep2", keyConcurrency: 2 };
    for (let i = 0; i < 3; i++) await submit(store, "a", endpoint);
    assert.equal((await take(store, { endpointId: "ep2", limit: 10 })).length, 2);
    await submit(store, "a", { ...endpoint, releaseId: "rel_2", keyConcurrency: 3 });
    const [third] = await take(store, { endpointId: "ep2", releaseId: "rel_2" });
    assert.equal(third?.releaseId, "rel_2");
    assert.deepEqual(await take(store, { endpointId: "ep2", limit: 10 }), []);
  });

  test("the jobs of two releases count together", async (t) => {
    const store = temporaryStore(t);
    await submit(store, "a");
    await submit(store, "a", { releaseId: "rel_2" });
    const [first] = await take(store, { releaseId: "rel_1" });
    assert.ok(first);
    assert.deepEqual(await take(store, { releaseId: "rel_2" }), []);
    await complete(store, first);
    assert.equal((await take(store, { releaseId: "rel_2" })).length, 1);
  });

  test("whatever ends or requeues a job makes room for the next", async (t) => {
    const store = temporaryStore(t);
    const ends: ((job: TakenJob) => Promise<unknown>)[] = [
      (job) => complete(store, job),
      (job) => store.jobs.cancel(job.id, now, 1000),
      ({ id: jobId, attempt }) =>
        store.jobs.settle({
          jobId,
          attempt,
          outcome: { kind: "requeued", runAt: now + 1_000_000 },
          now,
          retentionMs: 1000,
        }),
      ({ expiresAt }) => store.jobs.expire(expiresAt, 1),
    ];
    for (const [index, end] of ends.entries()) {
      const key = `key-${index}`;
      const ttlMs = end === ends.at(-1) ? 1000 : 10_000_000;
      const policy = { executionTimeoutMs: 5000, ttlMs, lowPriority: false };
      const first = await submit(store, key, { policy });
      const second = await submit(store, key);
      const [taken] = await take(store);
      assert.equal(taken?.id, first.id);
      assert.deepEqual(await take(store), []);
      await end(taken);
      const [next] = await take(store);
      assert.equal(next?.id, second.id, `after end ${index}`);
      await complete(store, next);
    }
  });

  test("a finished job that is retried stands in its key's line again", async (t) => {
    const store = temporaryStore(t);
    const job = await submit(store, "a");
    const [taken] = await take(store);
    const outcome = { kind: "failed", error: "no", output: null } as const;
    await store.jobs.settle({ jobId: job.id, attempt: 1, outcome, now, retentionMs: 60_000 });
    assert.ok(taken);
    const other = await submit(store, "a");
    await store.jobs.retry(job.id, (now += 1));
    assert.deepEqual(
      (await take(store, { limit: 9 })).map(({ id }) => id),
      [other.id],
    );
    await store.jobs.cancel(other.id, now, 1000);
    assert.deepEqual(
      (await take(store, { limit: 9 })).map(({ id }) => id),
      [job.id],
    );
  });

  test("a restart changes nothing", async (t) => {
    const home = temporaryFolder(t);
    const before = temporaryStore(t, { home });
    for (let i = 0; i < 2; i++) await submit(before, "a");
    const [running] = await take(before);
    assert.ok(running);
    await before.close();
    const store = temporaryStore(t, { home });
    assert.deepEqual(await take(store), []);
    await complete(store, running);
    assert.equal((await take(store)).length, 1);
  });
});

describe("whose turn it is", () => {
  test("a key with one job does not wait for all jobs of another", async (t) => {
    const store = temporaryStore(t);
    for (let i = 0; i < 50; i++) await submit(store, "big", { keyConcurrency: 50 });
    await submit(store, "small", { keyConcurrency: 50 });
    assert.deepEqual(keysOf(await take(store, { limit: 4 })), ["big", "small", "big", "big"]);
  });

  test("keys go round, also when one take brings many", async (t) => {
    const store = temporaryStore(t);
    const many = { keyConcurrency: 10 };
    for (const key of ["a", "a", "a", "b", "b", "b", "c", "c", "c"]) await submit(store, key, many);
    assert.deepEqual(keysOf(await take(store, { limit: 9 })), [
      "a",
      "b",
      "c",
      "a",
      "b",
      "c",
      "a",
      "b",
      "c",
    ]);
  });

  test("the key that was served longest ago is next", async (t) => {
    const store = temporaryStore(t);
    for (const key of ["a", "a", "b", "b", "c"]) await submit(store, key);
    const order: (string | null)[] = [];
    for (let i = 0; i < 5; i++) {
      const [job] = await take(store);
      assert.ok(job);
      order.push(job.key);
      await complete(store, job);
    }
    assert.deepEqual(order, ["a", "b", "c", "a", "b"]);
  });

  test("jobs without a key stand in the same line, each for itself", async (t) => {
    const store = temporaryStore(t);
    await submit(store, "a");
    await submit(store, null);
    await submit(store, "a");
    await submit(store, null);
    assert.deepEqual(keysOf(await take(store, { limit: 9 })), ["a", null, null]);
  });

  test("a key whose first job is not due yet holds up nobody, nor itself", async (t) => {
    const store = temporaryStore(t);
    await submit(store, "a", { runAt: now + 1000 });
    await submit(store, "b");
    await submit(store, "a");
    assert.deepEqual(keysOf(await take(store, { limit: 9 })), ["b", "a"]);
  });

  test("a clock that was set back while no server ran keeps nobody waiting", async (t) => {
    const home = temporaryFolder(t);
    const before = temporaryStore(t, { home });
    for (let i = 0; i < 2; i++) await submit(before, "a", { runAt: 5000, keyConcurrency: 2 });
    assert.equal((await take(before, { now: 900_000 })).length, 1);
    await before.close();
    const store = temporaryStore(t, { home });
    await store.jobs.begin(6000);
    assert.equal((await take(store, { now: 6000 })).length, 1);
  });

  test("only what may start counts as waiting", async (t) => {
    const store = temporaryStore(t);
    for (let i = 0; i < 20; i++) await submit(store, "a", { keyConcurrency: 3 });
    for (let i = 0; i < 2; i++) await submit(store, "b", { keyConcurrency: 3 });
    const waiting = async (): Promise<number | undefined> =>
      (await store.jobs.queue("ep1", now + 1))[0]?.waiting;
    assert.equal(await waiting(), 5);
    await take(store, { limit: 4 });
    assert.equal(await waiting(), 1);
  });
});

test("with ten thousand keys and a hundred thousand jobs of one, every key gets its turn, once", async (t) => {
  const store = temporaryStore(t, { durability: "memory" });
  const job = (key: string): NewJob => newJob({ key, runAt: (now += 1), createdAt: now });
  for (let i = 0; i < 10; i++) {
    await store.jobs.submit(Array.from({ length: 10_000 }, () => job("big")));
  }
  await store.jobs.submit(Array.from({ length: 10_000 }, (_, index) => job(`key-${index}`)));
  // Every key once, the big one among them: it has waited longest.
  const served = new Set(keysOf(await take(store, { limit: 10_001 })));
  assert.equal(served.size, 10_001);
  assert.deepEqual(await take(store, { limit: 10 }), []);
});
