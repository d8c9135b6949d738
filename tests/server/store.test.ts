import assert from "node:assert/strict";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import { FlashError } from "../../src/contract/errors.ts";
import { LIMITS } from "../../src/contract/limits.ts";
import type { Manifest } from "../../src/contract/manifest.ts";
import type { Job } from "../../src/contract/job.ts";
import { Committer } from "../../src/server/store/commit.ts";
import { Disk } from "../../src/server/store/disk.ts";
import { openStore } from "../../src/server/store/store.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { newJob, takeOf, temporaryStore } from "./store-support.ts";

const MIB = 1024 * 1024;
const RETENTION = 60_000;

function hasCode(code: string) {
  return (error: unknown): boolean => FlashError.is(error) && error.code === code;
}

async function submitOne(store: ReturnType<typeof openStore>, changes = {}): Promise<Job> {
  const [job] = await store.jobs.submit([newJob(changes)]);
  assert.ok(job);
  return job;
}

describe("group commit", () => {
  test("a hundred submissions that arrive together share one transaction", async (t) => {
    const store = temporaryStore(t);
    const before = store.statistics.commits;
    await Promise.all(Array.from({ length: 100 }, () => store.jobs.submit([newJob()])));
    assert.equal(store.statistics.commits - before, 1);
    assert.equal((await store.jobs.counts("ep1")).inQueue, 100);
  });

  test("a take behind a submission is in the same transaction and gets the job", async (t) => {
    const store = temporaryStore(t);
    const before = store.statistics.commits;
    const [[submitted], [taken]] = await Promise.all([
      store.jobs.submit([newJob()]),
      store.jobs.take(takeOf()),
    ]);
    assert.equal(taken?.id, submitted?.id);
    assert.equal(store.statistics.commits - before, 1);
  });

  test("a failing operation leaves the others of its group alone", async (t) => {
    const store = temporaryStore(t);
    const twice = newJob();
    const results = await Promise.allSettled([
      store.jobs.submit([newJob()]),
      // The second has the first one's id, so neither of this submission may stay.
      store.jobs.submit([twice, twice]),
      store.jobs.submit([newJob()]),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled"],
    );
    assert.equal((await store.jobs.counts("ep1")).inQueue, 2);
    assert.equal(await store.jobs.get(twice.id), undefined);
  });

  test("a lane made by an undone operation is made again by the next one", async (t) => {
    const store = temporaryStore(t);
    const twice = newJob({ endpointId: "ep9" });
    await assert.rejects(store.jobs.submit([twice, twice]));
    await submitOne(store, { endpointId: "ep9" });
    assert.equal((await store.jobs.counts("ep9")).inQueue, 1);
  });

  test("a job is read only once its acknowledgement is out", async (t) => {
    const store = temporaryStore(t);
    const order: string[] = [];
    for (let round = 0; round < 20; round++) {
      const id = `job-${round}`;
      const submitted = store.jobs.submit([newJob({ id })]).then(() => order.push("acknowledged"));
      const isThere = async () => (await store.jobs.counts("ep1")).inQueue > round;
      while (!(await isThere())) await new Promise((resolve) => setImmediate(resolve));
      await store.jobs.get(id).then(() => order.push("read"));
      await submitted;
    }
    assert.deepEqual(order, Array.from({ length: 20 }, () => ["acknowledged", "read"]).flat());
  });

  test("what is queued at closing is committed, what comes later is refused", async (t) => {
    const home = temporaryFolder(t);
    const store = openStore({ home });
    const submitted = store.jobs.submit([newJob({ id: "last" })]);
    await store.close();
    assert.equal((await submitted)[0]?.id, "last");
    await assert.rejects(store.jobs.submit([newJob()]), hasCode("UNAVAILABLE"));
    assert.equal((await temporaryStore(t, { home }).jobs.get("last"))?.state, "IN_QUEUE");
  });
});

/** A committer's surroundings when there are no jobs. */
const NOTHING_RECENT = {
  recent: {
    size: 0,
    isFull: false,
    write: () => false,
    undo() {},
    prepare: () => false,
    checkpoint() {},
    forget() {},
  },
  beforeCommit() {},
  afterCommit() {},
  onRollback() {},
};

describe("flushing", () => {
  /** A committer whose flushes end when the test says so. */
  function withFlushes(t: Parameters<typeof temporaryFolder>[0], { hasJournal = false } = {}) {
    const db = new DatabaseSync(":memory:");
    t.after(() => db.close());
    db.exec("CREATE TABLE things (text TEXT)");
    const insert = db.prepare("INSERT INTO things VALUES ('x')");
    const flushes: PromiseWithResolvers<void>[] = [];
    const flush = (): Promise<void> => {
      const one = Promise.withResolvers<void>();
      flushes.push(one);
      return one.promise;
    };
    const file = { flush, flushNow: () => assert.fail("the group is too large to wait") };
    const disk = new Disk({ journal: file, log: file });
    const recent = { ...NOTHING_RECENT.recent, write: () => hasJournal };
    const committer = new Committer({ db, disk, ...NOTHING_RECENT, recent, space: undefined });
    // So many that nobody waits for their flush.
    const add = () =>
      Promise.all(Array.from({ length: 10 }, () => committer.commit(() => insert.run())));
    return { committer, flushes, add, insert };
  }

  test("comes before every acknowledgement, and what arrives meanwhile is the next group", async (t) => {
    const { committer, flushes, add } = withFlushes(t);
    const acknowledged: string[] = [];
    const first = add().then(() => acknowledged.push("first"));
    await until(() => flushes.length === 1, { what: "the first flush" });
    const others = [1, 2, 3].map(() => add().then(() => acknowledged.push("other")));
    const readable = committer.durable.then(() => acknowledged.push("readable"));
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(acknowledged, []);
    flushes[0]?.resolve();
    await Promise.all([first, readable]);
    assert.deepEqual(new Set(acknowledged), new Set(["first", "readable"]));
    await until(() => flushes.length === 2, { what: "the second flush" });
    flushes[1]?.resolve();
    await Promise.all(others);
    assert.equal(committer.statistics.commits, 2);
  });

  test("is not waited for by what need not be on the disk, if the journal has it", async (t) => {
    const { committer, flushes, insert } = withFlushes(t, { hasJournal: true });
    const early = { early: "journaled", accepts: true } as const;
    const run = (): unknown => insert.run();
    assert.equal(await committer.commit(run, { ...early, recent: () => "journaled" }), "journaled");
    assert.equal(flushes.length, 0);
    let isTold = false;
    const group = Array.from({ length: 10 }, () => committer.commit(run, early));
    const told = Promise.all(group).then(() => (isTold = true));
    const readable = committer.durable.then(() => assert.ok(flushes.length > 0));
    await until(() => flushes.length > 0, { what: "a flush" });
    assert.equal(isTold, false);
    await until(() => (flushes.forEach(({ resolve }) => resolve()), isTold), { what: "the end" });
    await Promise.all([told, readable]);
  });

  test("is not needed by operations that change nothing", async (t) => {
    const { committer, flushes } = withFlushes(t);
    assert.equal(await committer.commit(() => 1), 1);
    assert.equal(flushes.length, 0);
  });

  test("that fails acknowledges nothing, then or later", async (t) => {
    const { flushes, add } = withFlushes(t);
    const first = add();
    await until(() => flushes.length === 1, { what: "the flush" });
    const waiting = add();
    flushes[0]?.reject(new Error("EIO"));
    await assert.rejects(first, hasCode("UNAVAILABLE"));
    await assert.rejects(waiting, /failed to keep data/);
    await assert.rejects(add(), /failed to keep data/);
  });
});

describe("a full disk", () => {
  /** A database that may not grow beyond a few pages, which SQLite reports like a full disk. */
  function smallDatabase(t: Parameters<typeof temporaryFolder>[0]) {
    const db = new DatabaseSync(join(temporaryFolder(t), "small.db"));
    t.after(() => db.close());
    db.exec("CREATE TABLE things (text TEXT); INSERT INTO things VALUES ('old')");
    db.exec("PRAGMA max_page_count = 8");
    const committer = new Committer({
      db,
      disk: undefined,
      ...NOTHING_RECENT,
      space: undefined,
    });
    return { db, committer };
  }

  test("refuses what accepts new work and still completes the rest of the group", async (t) => {
    const { db, committer } = smallDatabase(t);
    const insert = db.prepare("INSERT INTO things VALUES (?)");
    const update = db.prepare("UPDATE things SET text = 'new'");
    const [accepted, completed] = await Promise.allSettled([
      committer.commit(() => insert.run("x".repeat(100_000)), { accepts: true }),
      committer.commit(() => update.run()),
    ]);
    assert.equal(accepted.status, "rejected");
    assert.ok(hasCode("STORAGE_FULL")(accepted.reason));
    assert.equal(completed.status, "fulfilled");
    assert.deepEqual({ ...db.prepare("SELECT text FROM things").get() }, { text: "new" });
  });

  test("refuses new work before it touches the disk while there is no room", async (t) => {
    const { db } = smallDatabase(t);
    const committer = new Committer({
      db,
      disk: undefined,
      ...NOTHING_RECENT,
      space: { left: () => 0, giveUpReserve: () => false },
    });
    await assert.rejects(
      committer.commit(() => assert.fail("must not run"), { accepts: true }),
      hasCode("STORAGE_FULL"),
    );
    assert.equal(await committer.commit(() => 1), 1);
  });
});

describe("taking", () => {
  test("hands out due jobs oldest first and never more than the limit", async (t) => {
    const store = temporaryStore(t);
    await store.jobs.submit([
      newJob({ id: "late", runAt: 1500 }),
      newJob({ id: "early", runAt: 1100 }),
      newJob({ id: "future", runAt: 9000 }),
      newJob({ id: "low", runAt: 1300, policy: { ...newJob().policy, lowPriority: true } }),
    ]);
    const taken = await store.jobs.take(takeOf({ limit: 2 }));
    assert.deepEqual(
      taken.map(({ id }) => id),
      ["early", "low"],
    );
    assert.deepEqual(
      (await store.jobs.take(takeOf({ limit: 5 }))).map(({ id }) => id),
      ["late"],
    );
    assert.deepEqual(await store.jobs.take(takeOf()), []);
  });

  test("keeps to one release when asked", async (t) => {
    const store = temporaryStore(t);
    await store.jobs.submit([
      newJob({ id: "old", releaseId: "rel_1" }),
      newJob({ releaseId: "rel_2" }),
    ]);
    const taken = await store.jobs.take(takeOf({ releaseId: "rel_1", limit: 5 }));
    assert.deepEqual(
      taken.map(({ id }) => id),
      ["old"],
    );
  });

  test("never starts a job whose time to live is over", async (t) => {
    const store = temporaryStore(t);
    await submitOne(store, { policy: { ...newJob().policy, ttlMs: 500 } });
    assert.deepEqual(await store.jobs.take(takeOf({ now: 2000 })), []);
  });

  test("two workers that ask together never get the same job", async (t) => {
    const store = temporaryStore(t);
    await store.jobs.submit(Array.from({ length: 20 }, () => newJob()));
    const hands = await Promise.all(
      Array.from({ length: 30 }, (_, index) => store.jobs.take(takeOf({ workerId: `wk${index}` }))),
    );
    const ids = hands.flat().map(({ id }) => id);
    assert.equal(ids.length, 20);
    assert.equal(new Set(ids).size, 20);
  });
});

describe("fencing", () => {
  test("only the running attempt may settle, report progress or stream", async (t) => {
    const store = temporaryStore(t);
    const { id } = await submitOne(store);
    const [first] = await store.jobs.take(takeOf());
    assert.equal(first?.attempt, 1);
    const requeued = { kind: "requeued", runAt: 1000 } as const;
    const base = { jobId: id, now: 3000, retentionMs: RETENTION };
    assert.equal(
      (await store.jobs.settle({ ...base, attempt: 1, outcome: requeued }))?.failures,
      1,
    );
    const [second] = await store.jobs.take(takeOf({ workerId: "wk2" }));
    assert.equal(second?.attempt, 2);

    const done = { kind: "completed", output: '"stale"' } as const;
    assert.equal(await store.jobs.settle({ ...base, attempt: 1, outcome: done }), undefined);
    assert.equal(await store.jobs.progress(id, 1, "1"), false);
    assert.equal(await store.jobs.appendChunk(id, 1, { pieces: ["1"] }), false);
    assert.equal((await store.jobs.get(id))?.state, "IN_PROGRESS");

    const right = { kind: "completed", output: '"right"' } as const;
    assert.equal(
      (await store.jobs.settle({ ...base, attempt: 2, outcome: right }))?.output,
      '"right"',
    );
    assert.equal(await store.jobs.settle({ ...base, attempt: 2, outcome: done }), undefined);
    assert.equal((await store.jobs.get(id))?.output, '"right"');
  });

  test("a blameless requeue grows the attempt number but not the failures", async (t) => {
    const store = temporaryStore(t);
    const { id } = await submitOne(store);
    await store.jobs.take(takeOf());
    const outcome = { kind: "requeued", runAt: 1000, blameless: true } as const;
    const settle = { jobId: id, attempt: 1, outcome, now: 1, retentionMs: 1 };
    assert.equal((await store.jobs.settle(settle))?.failures, 0);
    assert.equal((await store.jobs.take(takeOf()))[0]?.attempt, 2);
    assert.equal((await store.jobs.counts("ep1")).retried, 0);
  });

  test("a lease is renewed only by the worker that holds the job", async (t) => {
    const store = temporaryStore(t);
    const { id } = await submitOne(store);
    await store.jobs.take(takeOf());
    await store.jobs.renew("wk2", [id], 99_000);
    assert.equal((await store.jobs.get(id))?.leaseUntil, 7000);
    await store.jobs.renew("wk1", [id, "unknown"], 99_000);
    assert.equal((await store.jobs.get(id))?.leaseUntil, 99_000);
  });
});

describe("moves by people and by time", () => {
  test("cancel ends queued and running jobs and leaves final ones as they are", async (t) => {
    const store = temporaryStore(t);
    const { id } = await submitOne(store);
    assert.equal((await store.jobs.cancel(id, 5, RETENTION))?.state, "CANCELLED");
    const again = await store.jobs.cancel(id, 99, RETENTION);
    assert.equal(again?.finishedAt, 5);
    assert.equal(await store.jobs.cancel("unknown", 5, RETENTION), undefined);
  });

  test("retry brings a failed job back with nothing of its past but the attempt number", async (t) => {
    const store = temporaryStore(t);
    const { id } = await submitOne(store);
    await store.jobs.take(takeOf());
    await store.jobs.appendChunk(id, 1, { pieces: ["1"] });
    const failed = { kind: "failed", error: "boom", output: "1" } as const;
    await store.jobs.settle({ jobId: id, attempt: 1, outcome: failed, now: 3, retentionMs: 9 });
    const result = await store.jobs.retry(id, 4000);
    assert.equal(result?.moved, true);
    const { state, output, error, failures, dropAt } = result.job;
    assert.deepEqual(
      { state, output, error, failures, dropAt },
      { state: "IN_QUEUE", output: null, error: null, failures: 0, dropAt: null },
    );
    assert.deepEqual(
      await store.jobs.readChunks({ jobId: id, attempt: 1, after: 0, limit: 10 }),
      [],
    );
    assert.equal((await store.jobs.retry(id, 4000))?.moved, false);
    assert.equal((await store.jobs.take(takeOf({ now: 5000 })))[0]?.attempt, 2);
  });

  test("purge cancels what was queued until now, in steps, and leaves running jobs alone", async (t) => {
    const store = temporaryStore(t);
    await store.jobs.submit([
      ...Array.from({ length: 5 }, () => newJob()),
      newJob({ createdAt: 9000 }),
    ]);
    await store.jobs.take(takeOf());
    const request = { endpointId: "ep1", now: 5000, retentionMs: RETENTION, limit: 3 };
    assert.equal((await store.jobs.purge(request)).length, 3);
    assert.equal((await store.jobs.purge(request)).length, 1);
    const { inQueue, inProgress } = await store.jobs.counts("ep1");
    assert.deepEqual({ inQueue, inProgress }, { inQueue: 1, inProgress: 1 });
  });

  test("expired jobs become TIMED_OUT with a reason and are then dropped", async (t) => {
    const store = temporaryStore(t);
    const { id } = await submitOne(store, { policy: { ...newJob().policy, ttlMs: 10_000 } });
    assert.deepEqual(await store.jobs.expire(10_999, 10), []);
    const [expired] = await store.jobs.expire(11_000, 10);
    assert.equal(expired?.state, "TIMED_OUT");
    assert.match(expired.error ?? "", /time to live of 10 s/);
    assert.equal(await store.jobs.drop(11_000, 10), 1);
    assert.equal(await store.jobs.get(id), undefined);
  });

  test("a record is dropped when its retention is over, not before", async (t) => {
    const store = temporaryStore(t);
    const { id } = await submitOne(store, { input: JSON.stringify("x".repeat(5000)) });
    await store.jobs.cancel(id, 1000, RETENTION);
    assert.equal(await store.jobs.drop(60_999, 10), 0);
    assert.equal(await store.jobs.drop(61_000, 10), 1);
  });
});

describe("idempotency keys", () => {
  test("the same key on the same endpoint is the same job, on another endpoint another", async (t) => {
    const store = temporaryStore(t);
    const first = await submitOne(store, { idempotencyKey: "k" });
    const second = await submitOne(store, { idempotencyKey: "k", input: "2" });
    assert.equal(second.id, first.id);
    const other = await submitOne(store, { idempotencyKey: "k", endpointId: "ep2" });
    assert.notEqual(other.id, first.id);
  });

  test("a finished job with a key is remembered for its whole ttl, then forgotten", async (t) => {
    const store = temporaryStore(t);
    const policy = { ...newJob().policy, ttlMs: 100_000 };
    const first = await submitOne(store, { idempotencyKey: "k", policy });
    await store.jobs.cancel(first.id, 2000, 10);
    assert.equal(await store.jobs.drop(100_999, 10), 0);
    assert.equal((await submitOne(store, { idempotencyKey: "k" })).id, first.id);
    assert.equal(await store.jobs.drop(101_000, 10), 1);
    assert.notEqual((await submitOne(store, { idempotencyKey: "k" })).id, first.id);
  });
});

describe("chunks", () => {
  test("a drain returns every chunk once while readers can read again", async (t) => {
    const store = temporaryStore(t);
    const { id } = await submitOne(store);
    await store.jobs.take(takeOf());
    for (const chunk of ["1", "2", "3"]) await store.jobs.appendChunk(id, 1, { pieces: [chunk] });
    assert.deepEqual(await store.jobs.drainChunks(id, 2), ["1", "2"]);
    assert.deepEqual(await store.jobs.drainChunks(id, 2), ["3"]);
    assert.deepEqual(await store.jobs.drainChunks(id, 2), []);
    assert.deepEqual(await store.jobs.readChunks({ jobId: id, attempt: 1, after: 1, limit: 10 }), [
      { position: 2, chunk: "2" },
      { position: 3, chunk: "3" },
    ]);
  });

  test("unread chunks of an attempt that did not finish are dropped, positions go on", async (t) => {
    const store = temporaryStore(t);
    const { id } = await submitOne(store);
    await store.jobs.take(takeOf());
    await store.jobs.appendChunk(id, 1, { pieces: ['"read"'] });
    await store.jobs.drainChunks(id, 10);
    await store.jobs.appendChunk(id, 1, { pieces: ['"unread"'] });
    const outcome = { kind: "requeued", runAt: 1000 } as const;
    await store.jobs.settle({ jobId: id, attempt: 1, outcome, now: 1, retentionMs: 1 });
    await store.jobs.take(takeOf());
    await store.jobs.appendChunk(id, 2, { pieces: ['"again"'] });
    assert.deepEqual(await store.jobs.readChunks({ jobId: id, attempt: 2, after: 0, limit: 10 }), [
      { position: 2, chunk: '"again"' },
    ]);
    assert.deepEqual(await store.jobs.readChunks({ jobId: id, attempt: 1, after: 0, limit: 10 }), [
      { position: 1, chunk: '"read"' },
    ]);
    assert.deepEqual(await store.jobs.drainChunks(id, 10), ['"again"']);
  });
});

describe("numbers", () => {
  test("counts follow every move", async (t) => {
    const store = temporaryStore(t);
    const jobs = await store.jobs.submit(Array.from({ length: 6 }, () => newJob()));
    await store.jobs.take(takeOf({ limit: 4 }));
    const [a, b, c, , e] = jobs.map(({ id }) => id);
    const base = { attempt: 1, now: 3000, retentionMs: RETENTION };
    assert.ok(a !== undefined && b !== undefined && c !== undefined && e !== undefined);
    await store.jobs.settle({ ...base, jobId: a, outcome: { kind: "completed", output: null } });
    await store.jobs.settle({
      ...base,
      jobId: b,
      outcome: { kind: "failed", error: "x", output: null },
    });
    await store.jobs.settle({ ...base, jobId: c, outcome: { kind: "requeued", runAt: 0 } });
    await store.jobs.cancel(e, 3000, RETENTION);
    assert.deepEqual(await store.jobs.counts("ep1"), {
      completed: 1,
      failed: 1,
      inProgress: 1,
      inQueue: 2,
      retried: 1,
    });
    await store.jobs.drop(1e9, 100);
    assert.deepEqual(await store.jobs.counts("ep1"), {
      completed: 1,
      failed: 1,
      inProgress: 1,
      inQueue: 2,
      retried: 1,
    });
    assert.equal((await store.jobs.list({ endpointId: "ep1", offset: 0, limit: 9 })).total, 3);
  });

  test("lists have the beginnings of long errors, and a character more", async (t) => {
    const store = temporaryStore(t);
    const { id } = await submitOne(store);
    await store.jobs.take(takeOf());
    const error = "e".repeat(LIMITS.errorLength);
    const outcome = { kind: "failed", error, output: null } as const;
    await store.jobs.settle({ jobId: id, attempt: 1, outcome, now: 3000, retentionMs: RETENTION });
    const page = { endpointId: "ep1", offset: 0, limit: 9 };
    for (const { jobs } of [await store.jobs.list(page), await store.jobs.failed(page)]) {
      assert.equal(jobs[0]?.error?.length, LIMITS.listedErrorLength + 1);
    }
    assert.equal((await store.jobs.get(id))?.error, error);
  });

  test("the scaler's view leaves out low priority and delayed jobs", async (t) => {
    const store = temporaryStore(t);
    const low = { ...newJob().policy, lowPriority: true };
    await store.jobs.submit([
      newJob({ runAt: 1200 }),
      newJob({ runAt: 1100 }),
      newJob({ runAt: 9000 }),
      newJob({ policy: low }),
    ]);
    assert.deepEqual(await store.jobs.queue("ep1", 2000), [
      { releaseId: "rel_1", waiting: 2, lowPriority: 1, oldestAt: 1100, running: 0 },
    ]);
    assert.equal(await store.jobs.nextRunAt(2000), 9000);
    assert.deepEqual(await store.jobs.busyEndpoints(), ["ep1"]);
  });

  test("lists an endpoint's jobs newest first, by state and page, without their inputs", async (t) => {
    const store = temporaryStore(t);
    await store.jobs.submit(["a", "b", "c"].map((id) => newJob({ id })));
    await store.jobs.cancel("b", 1, RETENTION);
    const queued = await store.jobs.list({
      endpointId: "ep1",
      states: ["IN_QUEUE"],
      offset: 0,
      limit: 1,
    });
    assert.equal(queued.total, 2);
    assert.deepEqual(
      queued.jobs.map(({ id, input }) => ({ id, input })),
      [{ id: "c", input: "null" }],
    );
  });

  test("running jobs are found by worker and by lapsed lease or time", async (t) => {
    const store = temporaryStore(t);
    await store.jobs.submit([newJob({ id: "a" }), newJob({ id: "b" })]);
    await store.jobs.take(takeOf({ workerId: "wk1", leaseUntil: 3000 }));
    await store.jobs.take(takeOf({ workerId: "wk2", leaseUntil: 9000 }));
    const ids = async (filter: Parameters<typeof store.jobs.running>[0]) =>
      (await store.jobs.running(filter)).map(({ id }) => id);
    assert.deepEqual(await ids({}), ["a", "b"]);
    assert.deepEqual(await ids({ workerId: "wk2" }), ["b"]);
    assert.deepEqual(await ids({ expiredAt: 3000 }), ["a"]);
    assert.deepEqual(await ids({ expiredAt: 602_000 }), ["a", "b"]);
  });

  test("an input larger than a row travels whole", async (t) => {
    const store = temporaryStore(t);
    const input = JSON.stringify({ text: "ü".repeat(100_000) });
    const { id } = await submitOne(store, { input });
    assert.equal((await store.jobs.take(takeOf()))[0]?.input, input);
    assert.equal((await store.jobs.get(id))?.input, input);
  });

  for (const [what, keyOf] of [
    ["without keys", () => null],
    ["of many keys", (n: number) => `key-${n}`],
  ] as const) {
    test(`large inputs ${what} are handed out a few at a time, and never none`, async (t) => {
      const store = temporaryStore(t, { durability: "memory" });
      const input = JSON.stringify("x".repeat(12 * MIB));
      const huge = JSON.stringify("x".repeat(33 * MIB));
      const inputs = ["1", input, input, input, huge, huge, "2"];
      for (const [n, one] of inputs.entries()) {
        await submitOne(store, { id: `job-${n}`, input: one, key: keyOf(n), runAt: 1000 + n });
      }
      const takes: string[][] = [];
      for (let left = inputs.length; left > 0; left -= takes.at(-1)?.length ?? left) {
        takes.push((await store.jobs.take(takeOf({ limit: 100 }))).map(({ id }) => id));
      }
      assert.deepEqual(takes, [
        ["job-0", "job-1", "job-2"],
        ["job-3"],
        ["job-4"],
        ["job-5"],
        ["job-6"],
      ]);
    });
  }
});

describe("webhooks", () => {
  test("are written with the final state and wait for their time", async (t) => {
    const store = temporaryStore(t);
    const { id } = await submitOne(store, { webhook: "https://example.com/hook" });
    assert.equal(await store.webhooks.nextAt(), undefined);
    await store.jobs.cancel(id, 5000, RETENTION);
    const [row] = await store.webhooks.due(5000, 10);
    assert.equal(row?.jobId, id);
    assert.equal((JSON.parse(row.body) as { status: string }).status, "CANCELLED");
    await store.webhooks.postpone(row.id, 8000);
    assert.deepEqual(await store.webhooks.due(7999, 10), []);
    assert.equal((await store.webhooks.due(8000, 10))[0]?.tries, 1);
    await store.webhooks.remove(row.id);
    assert.equal(await store.webhooks.nextAt(), undefined);
  });
});

describe("the folder", () => {
  test("belongs to one server at a time", async (t) => {
    const home = temporaryFolder(t);
    const store = temporaryStore(t, { home });
    assert.throws(() => openStore({ home }), hasCode("CONFLICT"));
    await store.close();
    await temporaryStore(t, { home }).close();
  });

  test("is refused when a newer version wrote it", async (t) => {
    const home = temporaryFolder(t);
    await temporaryStore(t, { home }).close();
    const db = new DatabaseSync(join(home, "flash.db"));
    db.exec("INSERT INTO schema_version VALUES (999, 'later')");
    db.close();
    assert.throws(() => openStore({ home }), /newer runpod-flash: its schema is 999/);
    // The failed attempt has let go of the lock.
    assert.throws(() => openStore({ home }), /schema is 999/);
  });

  test("keeps its data to its owner", async (t) => {
    const home = temporaryFolder(t);
    const store = temporaryStore(t, { home });
    await submitOne(store);
    for (const file of ["flash.db", "flash.db-wal", "flash.journal"]) {
      assert.equal(statSync(join(home, file)).mode & 0o077, 0, file);
    }
  });

  test("is not needed by a store in memory", async (t) => {
    const home = join(temporaryFolder(t), "nowhere");
    const store = temporaryStore(t, { home, durability: "memory" });
    await submitOne(store);
    assert.equal((await store.jobs.counts("ep1")).inQueue, 1);
    assert.equal(existsSync(home), false);
  });
});

describe("control records", () => {
  function manifest(...names: string[]): Manifest {
    const endpoints = names.map((name) => ({ name, kind: "qb", fingerprint: name, options: {} }));
    return { version: 1, app: "shop", builtWith: "0", endpoints, fingerprint: "" } as never;
  }

  function build(id: string, ...names: string[]) {
    const sizes = { bytes: 1, unpackedBytes: 2 };
    return { id, app: "shop", digest: id, ...sizes, manifest: manifest(...names), createdAt: 1 };
  }

  function release(id: string, buildId: string, environment = "production") {
    let next = 0;
    const proposeId = () => (next++ === 0 ? "flash" : `${id}e${next}`);
    return { id, app: "shop", environment, buildId, now: 5, proposeId };
  }

  test("a build with a known digest is the known build", async (t) => {
    const { control } = temporaryStore(t);
    await control.putBuild(build("b1", "a"));
    const again = await control.putBuild({ ...build("b2", "a"), digest: "b1" });
    assert.equal(again.id, "b1");
    assert.deepEqual(await control.listBuilds("shop"), [build("b1", "a")]);
  });

  test("a release keeps endpoint ids by name, supersedes the last one and names what went", async (t) => {
    const { control } = temporaryStore(t);
    await control.putBuild(build("b1", "a", "b"));
    await control.putBuild(build("b2", "b", "c"));
    const first = await control.release(release("r1", "b1"));
    const second = await control.release(release("r2", "b2"));
    const idOf = (endpoints: typeof first.endpoints, name: string) =>
      endpoints.find((endpoint) => endpoint.name === name)?.id;
    assert.equal(second.release.version, 2);
    assert.equal(idOf(second.endpoints, "b"), idOf(first.endpoints, "b"));
    assert.deepEqual(
      second.removed.map(({ name }) => name),
      ["a"],
    );
    assert.equal((await control.getRelease("r1"))?.state, "SUPERSEDED");
    assert.equal((await control.getEnvironment("shop", "production"))?.activeReleaseId, "r2");
    assert.equal(await control.findEndpoint("shop", "production", "a"), undefined);
    const third = await control.release(release("r3", "b1"));
    assert.equal(idOf(third.endpoints, "a"), idOf(first.endpoints, "a"));
    assert.deepEqual(
      third.endpoints.filter(({ id }) => id === "flash"),
      [],
    );
  });

  test("a release of an unknown build is refused and leaves nothing behind", async (t) => {
    const { control } = temporaryStore(t);
    await assert.rejects(control.release(release("r1", "nope")), hasCode("NOT_FOUND"));
    assert.deepEqual(await control.listEnvironments(), []);
  });

  test("removing an environment cancels its jobs and leaves other environments alone", async (t) => {
    const store = temporaryStore(t);
    await store.control.putBuild(build("b1", "a"));
    const { endpoints } = await store.control.release(release("r1", "b1"));
    await store.control.release(release("r2", "b1", "staging"));
    const endpointId = endpoints[0]?.id ?? "";
    await store.jobs.submit([newJob({ endpointId }), newJob({ endpointId })]);
    await store.jobs.take(takeOf({ endpointId }));
    assert.equal(await store.control.removeEnvironment("shop", "production", 9), true);
    assert.equal(await store.control.removeEnvironment("shop", "production", 9), false);
    assert.deepEqual(await store.jobs.busyEndpoints(), []);
    assert.equal(await store.control.getEndpoint(endpointId), undefined);
    assert.equal((await store.control.listEndpoints("shop")).length, 1);
    assert.equal((await store.control.getRelease("r1"))?.state, "REMOVED");
  });

  test("settings are read back as written last", async (t) => {
    const { control } = temporaryStore(t);
    assert.equal(await control.readSetting("a"), undefined);
    await control.writeSetting("a", "1");
    await control.writeSetting("a", "2");
    assert.equal(await control.readSetting("a"), "2");
  });
});

test("fifty thousand queued jobs give submit and take no more to compute than a few do", async (t) => {
  const store = temporaryStore(t, { durability: "memory" });
  const submit = (): Promise<unknown> =>
    Promise.all(Array.from({ length: 500 }, () => store.jobs.submit([newJob()])));
  const take = async (): Promise<void> => {
    for (let round = 0; round < 50; round++) await store.jobs.take(takeOf({ limit: 1 }));
  };
  /** Processor time, which a busy machine does not add to, ms. */
  const costOf = async (step: () => Promise<unknown>): Promise<number> => {
    const costs: number[] = [];
    for (let round = 0; round < 5; round++) {
      const before = process.cpuUsage();
      await step();
      const { user, system } = process.cpuUsage(before);
      costs.push((user + system) / 1000);
    }
    return Math.min(...costs);
  };
  for (const step of [submit, take]) await costOf(step);
  const early = [await costOf(submit), await costOf(take)];
  for (let at = 0; at < 50_000; at += 1000) {
    await store.jobs.submit(Array.from({ length: 1000 }, () => newJob()));
  }
  const late = [await costOf(submit), await costOf(take)];
  // A queue that is scanned costs a hundred times as much.
  for (const [index, before] of early.entries()) {
    assert.ok(
      (late[index] ?? 0) < before * 20,
      `${early.join(", ")} ms grew to ${late.join(", ")}`,
    );
  }
});
