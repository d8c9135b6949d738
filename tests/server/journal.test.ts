/** The journal: what recent jobs survive, and in which states a disk may have been left. */

import assert from "node:assert/strict";
import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import type { Job, NewJob } from "../../src/contract/job.ts";
import type { TakenJob } from "../../src/contract/store.ts";
import { SqliteBatchStore } from "../../src/server/store/batch-store.ts";
import { Committer } from "../../src/server/store/commit.ts";
import { openDatabase } from "../../src/server/store/database.ts";
import { SqliteJobStore } from "../../src/server/store/job-store.ts";
import { submittedText, takenText, endedText } from "../../src/server/store/journal-records.ts";
import { Journal } from "../../src/server/store/journal.ts";
import { Lanes } from "../../src/server/store/lanes.ts";
import { RecentJobs } from "../../src/server/store/recent-jobs.ts";
import { openStore, type SqliteStore } from "../../src/server/store/store.ts";
import { temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { newJob, takeOf, temporaryStore } from "./store-support.ts";

const FILES = ["flash.db", "flash.db-wal", "flash.journal"] as const;
/** More than stay recent at once. */
const MANY = 600;

/** The files of a store as they are, under another home: what a killed process leaves behind. */
function copyOf(owner: Owner, home: string, files: readonly string[] = FILES): string {
  const copy = temporaryFolder(owner);
  copyFiles(home, copy, files);
  return copy;
}

function copyFiles(from: string, to: string, files: readonly string[]): void {
  for (const name of files) {
    const file = path.join(from, name);
    if (existsSync(file)) copyFileSync(file, path.join(to, name));
  }
}

/** A store whose endpoint has had a job before: from then on plain jobs are recent ones. */
async function warmStore(owner: Owner & { after(run: () => unknown): void }, home: string) {
  const store = openStore({ home });
  owner.after(() => store.close());
  await store.jobs.submit([newJob({ id: "first" })]);
  const [first] = await store.jobs.take(takeOf());
  if (first !== undefined) await complete(store, first);
  return store;
}

async function submit(store: SqliteStore, changes: Partial<NewJob> = {}): Promise<Job> {
  const [job] = await store.jobs.submit([newJob(changes)]);
  assert.ok(job !== undefined);
  return job;
}

function complete(store: SqliteStore, job: TakenJob, output = '"done"'): Promise<Job | undefined> {
  const { id: jobId, attempt } = job;
  const outcome = { kind: "completed", output } as const;
  return store.jobs.settle({ jobId, attempt, taken: job, outcome, now: 3000, retentionMs: 1e12 });
}

/** Submits, takes and completes one job after the other. */
async function runJobs(store: SqliteStore, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 0; n < count; n++) {
    const { id } = await submit(store);
    const [taken] = await store.jobs.take(takeOf());
    assert.equal(taken?.id, id);
    await complete(store, taken, JSON.stringify(id));
    ids.push(id);
  }
  return ids;
}

async function assertCompleted(store: SqliteStore, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    const job = await store.jobs.get(id);
    assert.equal(job?.state, "COMPLETED", id);
    assert.equal(job.output, JSON.stringify(id));
  }
}

describe("recent jobs", () => {
  test("are there after a kill, in every state and to the last character", async (t) => {
    const home = temporaryFolder(t);
    const store = await warmStore(t, home);
    const input = ' {"text": "zwei\\nZeilen",\n "n": 12345678901234567890, "sign": "𝄞 ü"}';
    const done = await submit(store, { id: "done", input, extra: '{"s3Config":{"a":"ä"}}' });
    const [taken] = await store.jobs.take(takeOf({ workerId: "a worker\nwith a line" }));
    assert.equal(taken?.id, done.id);
    await complete(store, taken, '{"answer":1.0}');
    await submit(store, { id: "runs", via: "runsync" });
    const [running] = await store.jobs.take(takeOf({ workerId: "wk2" }));
    assert.equal(running?.id, "runs");
    await submit(store, { id: "waits" });
    const seen = await Promise.all(["done", "runs", "waits"].map((id) => store.jobs.get(id)));
    const counts = await store.jobs.counts("ep1");

    const found = temporaryStore(t, { home: copyOf(t, home) });
    for (const job of seen) assert.deepEqual({ ...(await found.jobs.get(job?.id ?? "")) }, job);
    assert.deepEqual(await found.jobs.counts("ep1"), counts);
    const [next] = await found.jobs.take(takeOf({ limit: 5 }));
    assert.equal(next?.id, "waits");
    assert.equal((await complete(found, running))?.state, "COMPLETED");
  });

  test("are recovered as often as the process is killed", async (t) => {
    let home = temporaryFolder(t);
    const ids: string[] = [];
    for (let round = 0; round < 5; round++) {
      const store = await (round === 0 ? warmStore(t, home) : temporaryStore(t, { home }));
      ids.push(...(await runJobs(store, 20)));
      home = copyOf(t, home);
    }
    const store = temporaryStore(t, { home });
    await assertCompleted(store, ids);
    assert.equal((await store.jobs.list({ endpointId: "ep1", offset: 0, limit: 1 })).total, 101);
  });

  test("keep their order among the jobs of the database", async (t) => {
    const store = await warmStore(t, temporaryFolder(t));
    for (const isLocal of [true, false]) {
      const ids = ["a", "b", "c", "d", "e"].map((name) => `${name} ${isLocal}`);
      for (const [n, id] of ids.entries()) {
        // One that has a webhook is none of the recent.
        await submit(store, { id, ...(n % 2 === 0 ? {} : { webhook: "https://example.com" }) });
      }
      const taken: string[][] = [];
      while (taken.flat().length < ids.length) {
        const jobs = await store.jobs.take(takeOf({ limit: 2, isLocal }));
        assert.ok(jobs.length > 0);
        taken.push(jobs.map(({ id }) => id));
      }
      assert.deepEqual(taken.flat(), ids);
      // Who is not of this machine gets all there are at once.
      if (!isLocal) assert.deepEqual(taken.slice(0, 2), [ids.slice(0, 2), ids.slice(2, 4)]);
    }
  });

  test("are as many as a few checkpoints, and all of them are found and counted", async (t) => {
    const home = temporaryFolder(t);
    const store = await warmStore(t, home);
    const jobs = await Promise.all(
      Array.from({ length: MANY }, (_, n) => submit(store, { id: `many-${n}` })),
    );
    assert.equal((await store.jobs.counts("ep1")).inQueue, MANY);
    const taken: string[] = [];
    while (taken.length < MANY) {
      const some = await store.jobs.take(takeOf({ limit: 7, isLocal: true }));
      assert.ok(some.length > 0);
      for (const job of some) await complete(store, job);
      taken.push(...some.map(({ id }) => id));
    }
    assert.deepEqual(
      taken,
      jobs.map(({ id }) => id),
    );
    const found = temporaryStore(t, { home: copyOf(t, home) });
    assert.equal((await found.jobs.counts("ep1")).completed, MANY + 1);
  });
});

describe("a disk that has lost its tail", () => {
  test("costs nothing that was acknowledged when a batch is torn", async (t) => {
    const home = temporaryFolder(t);
    const store = await warmStore(t, home);
    const ids = await runJobs(store, 10);
    const before = copyOf(t, home);
    await submit(store, { id: "torn" });
    const [whole, later] = [before, home].map((folder) =>
      readFileSync(path.join(folder, "flash.journal")),
    );
    assert.ok(whole !== undefined && later !== undefined);
    const changed = [...later.keys()].filter((at) => whole[at] !== later[at]);
    const [from = 0, to = 0] = [changed[0], changed.at(-1)];
    for (const at of [from, from + 10, (from + to) >> 1, to]) {
      const torn = Buffer.from(later);
      torn.fill(0, at, to + 1);
      const copy = copyOf(t, before);
      writeFileSync(path.join(copy, "flash.journal"), torn);
      const found = temporaryStore(t, { home: copy });
      await assertCompleted(found, ids);
      assert.equal(await found.jobs.get("torn"), undefined);
    }
  });

  test("has the journal's next generation, but not the checkpoint before it", async (t) => {
    const home = temporaryFolder(t);
    const store = await warmStore(t, home);
    const ids = await runJobs(store, 200);
    const waits = await submit(store, { id: "waits" });
    const disk = copyOf(t, home, ["flash.db", "flash.db-wal"]);
    const { commits } = store.statistics;
    const [taken] = await store.jobs.take(takeOf({ workerId: "slow" }));
    assert.equal(taken?.id, waits.id);
    while (store.statistics.commits === commits) ids.push(...(await runJobs(store, 1)));
    ids.push(...(await runJobs(store, 5)));
    await complete(store, taken, JSON.stringify(waits.id));
    copyFiles(home, disk, ["flash.journal"]);

    const found = temporaryStore(t, { home: disk });
    await assertCompleted(found, [...ids, waits.id]);
    assert.equal((await found.jobs.counts("ep1")).completed, ids.length + 2);
    // And again: what was recovered is in the database for good.
    await assertCompleted(temporaryStore(t, { home: copyOf(t, disk) }), [...ids, waits.id]);
  });

  test("has the opening of a generation that never came", async (t) => {
    const home = temporaryFolder(t);
    const store = await warmStore(t, home);
    await submit(store, { id: "known" });
    await store.close();
    const file = path.join(home, "flash.journal");
    const generation = await generationOf(home);
    const journal = new Journal(file, generation);
    const job = newJob({ id: "kept" });
    const taken = { attempt: 1, startedAt: 2000, leaseUntil: 7000, workerId: "wk1" };
    const end = { finishedAt: 3000, dropAt: 9e12, output: "1", error: null };
    journal.append(submittedText(900, 1, job));
    journal.write();
    // A checkpoint that the database refuses, after which the job goes on.
    journal.prepare(submittedText(900, 1, job));
    journal.append(takenText(900, taken));
    journal.append(endedText(900, { state: "COMPLETED", ...end }));
    journal.write();
    journal.close();
    const found = temporaryStore(t, { home });
    assert.equal((await found.jobs.get("kept"))?.state, "COMPLETED");
    assert.equal((await found.jobs.get("known"))?.state, "IN_QUEUE");
  });

  test("has a job whose lane is lost, which keeps no other from being found", async (t) => {
    const home = temporaryFolder(t);
    const store = await warmStore(t, home);
    await store.close();
    const journal = new Journal(path.join(home, "flash.journal"), await generationOf(home));
    journal.append(submittedText(900, 99, newJob({ id: "homeless" })));
    journal.append(submittedText(901, 1, newJob({ id: "kept" })));
    const taken = { attempt: 1, startedAt: 2000, leaseUntil: 7000, workerId: "wk1" };
    journal.append(takenText(900, taken));
    journal.write();
    journal.close();
    const found = temporaryStore(t, { home });
    assert.equal(await found.jobs.get("homeless"), undefined);
    assert.equal((await found.jobs.get("kept"))?.state, "IN_QUEUE");
  });

  test("has a batch whose forerunner is lost: it says nothing of the jobs that come later", async (t) => {
    const home = temporaryFolder(t);
    const store = await warmStore(t, home);
    await store.close();
    const file = path.join(home, "flash.journal");
    const generation = await generationOf(home);
    const journal = new Journal(file, generation);
    const seq = 1 + (await lastSeqOf(home));
    const lost = submittedText(seq, 1, newJob({ id: "lost-1" }));
    journal.append(lost);
    journal.write();
    const end = { finishedAt: 3000, dropAt: 9e12, output: '"wrong"', error: null } as const;
    journal.append(submittedText(seq + 1, 1, newJob({ id: "lost-2" })));
    journal.append(endedText(seq, { state: "COMPLETED", ...end }));
    journal.write();
    journal.close();
    // Nothing of the two was acknowledged: the disk has kept the second one alone.
    const bytes = readFileSync(file);
    const at = bytes.indexOf(lost);
    assert.ok(at > 0);
    bytes.fill(0, at, at + lost.length);
    writeFileSync(file, bytes);

    const second = openStore({ home });
    assert.equal(await second.jobs.get("lost-2"), undefined);
    // As long as the lost one, and at its place.
    await submit(second, { id: "next-1" });
    const third = temporaryStore(t, { home: copyOf(t, home) });
    await second.close();
    assert.equal((await third.jobs.get("next-1"))?.state, "IN_QUEUE");
    assert.equal(await third.jobs.get("lost-2"), undefined);
  });

  test("has a journal of nonsense, or none", async (t) => {
    const home = temporaryFolder(t);
    const store = await warmStore(t, home);
    const ids = await runJobs(store, 3);
    await store.close();
    const file = path.join(home, "flash.journal");
    for (const content of ["", "x", "Z".repeat(3 * 1024 * 1024)]) {
      writeFileSync(file, content);
      const found = openStore({ home });
      await assertCompleted(found, ids);
      ids.push(...(await runJobs(found, 3)));
      await found.close();
    }
  });
});

test("a journal that cannot be written leaves the move to the database, once", async (t) => {
  const home = temporaryFolder(t);
  await (await warmStore(t, home)).close();
  const { db, journal } = openDatabase(home, "relaxed");
  t.after(() => db.close());
  const lanes = new Lanes(db);
  const recent = new RecentJobs({ db, lanes, journal });
  const committer = new Committer({
    db,
    disk: undefined,
    recent,
    space: undefined,
    beforeCommit: () => lanes.writeMoves(),
    afterCommit: () => lanes.committed(),
    onRollback: () => lanes.forget(),
  });
  const batches = new SqliteBatchStore({ db, committer });
  const jobs = new SqliteJobStore({ db, committer, lanes, recent, batches });
  await jobs.submit([newJob({ id: "journaled" })]);
  journal?.close();
  await jobs.submit([newJob({ id: "refused" })]);
  const taken = await jobs.take(takeOf({ limit: 5 }));
  assert.deepEqual(
    taken.map(({ id, attempt }) => [id, attempt]),
    [
      ["journaled", 1],
      ["refused", 1],
    ],
  );
  const { inProgress, inQueue } = await jobs.counts("ep1");
  assert.deepEqual({ inProgress, inQueue }, { inProgress: 2, inQueue: 0 });
});

function generationOf(home: string): Promise<number> {
  return numberOf(home, "SELECT generation AS number FROM journal");
}

function lastSeqOf(home: string): Promise<number> {
  return numberOf(home, "SELECT max(seq) AS number FROM jobs");
}

async function numberOf(home: string, query: string): Promise<number> {
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(path.join(home, "flash.db"));
  const row = db.prepare(query).get();
  db.close();
  return Number(row?.["number"]);
}

test("status is told when the disk has it, though the worker was told before", async (t) => {
  const store = await warmStore(t, temporaryFolder(t));
  await submit(store, { id: "early" });
  const [taken] = await store.jobs.take(takeOf({ isLocal: true }));
  assert.equal(taken?.id, "early");
  const told = await store.jobs.get("early");
  assert.equal(told?.state, "IN_PROGRESS");
  await until(() => store.statistics.pending === 0, { what: "the flush" });
});
