/** Files that lack what was written to them: it is said, nothing wrong is read, and the damaged file is kept. */

import assert from "node:assert/strict";
import { copyFileSync, existsSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { FlashError } from "../../src/contract/errors.ts";
import { logTo } from "../../src/kit/log.ts";
import { openStore, type SqliteStore } from "../../src/server/store/store.ts";
import { temporaryFolder, type Owner } from "../support/temp.ts";
import { newJob, takeOf } from "./store-support.ts";

const DATABASE = ["flash.db", "flash.db-wal"] as const;
const FILES = [...DATABASE, "flash.journal"] as const;

interface Life extends Owner {
  after(run: () => unknown): void;
}

/** A store and what it said when it was opened. */
function open(owner: Life, home: string): { store: SqliteStore; said: string[] } {
  const said: string[] = [];
  const log = logTo(({ level, message }) => void (level === "error" && said.push(message)));
  const store = openStore({ home, log });
  owner.after(() => store.close());
  return { store, said };
}

function copyFiles(from: string, to: string, files: readonly string[] = FILES): string {
  for (const name of files) {
    if (existsSync(path.join(from, name))) {
      copyFileSync(path.join(from, name), path.join(to, name));
    }
  }
  return to;
}

/** What a killed process leaves behind. */
function copyOf(owner: Owner, home: string): string {
  return copyFiles(home, temporaryFolder(owner));
}

/** Runs one job after the other to its end. After the first of a store they are recent ones. */
async function runJobs(store: SqliteStore, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    await store.jobs.submit([newJob({ id })]);
    const [taken] = await store.jobs.take(takeOf({ isLocal: true }));
    assert.equal(taken?.id, id);
    const outcome = { kind: "completed", output: JSON.stringify(id) } as const;
    const { attempt } = taken;
    await store.jobs.settle({ jobId: id, attempt, taken, outcome, now: 3000, retentionMs: 1e12 });
  }
}

function named(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, n) => `${name}-${n}`);
}

/** Puts recent jobs into the database, and so the journal's next generation begins. */
async function checkpoint(store: SqliteStore): Promise<void> {
  await store.jobs.list({ endpointId: "ep1", offset: 0, limit: 1 });
}

async function outputsOf(store: SqliteStore, ids: readonly string[]): Promise<unknown[]> {
  const jobs = await Promise.all(ids.map((id) => store.jobs.get(id)));
  return jobs.map((job) => (job === undefined ? undefined : JSON.parse(job.output ?? "null")));
}

function flipBit(file: string, at: number): void {
  const bytes = readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  writeFileSync(file, bytes);
}

describe("the write-ahead log", () => {
  test("with one wrong bit is reported and kept, and without it nothing is said", async (t) => {
    const home = temporaryFolder(t);
    const { store, said: saidFirst } = open(t, home);
    const ids = named("job", 30);
    for (const id of ids) {
      await runJobs(store, [id]);
      await checkpoint(store);
    }
    const [whole, damaged, headless] = [copyOf(t, home), copyOf(t, home), copyOf(t, home)];
    const { store: found, said } = open(t, whole);
    assert.deepEqual(await outputsOf(found, ids), ids);
    assert.deepEqual([...saidFirst, ...said], []);

    const file = path.join(damaged, "flash.db-wal");
    flipBit(file, readFileSync(file).length >> 1);
    const before = readFileSync(file);
    const { said: saidOfLog } = open(t, damaged);
    assert.match(
      saidOfLog[0] ?? "",
      /^flash\.db-wal is damaged: \d+ transactions behind a page that is not whole are lost$/,
    );
    assert.ok(readFileSync(`${file}.damaged`).equals(before));

    flipBit(path.join(headless, "flash.db-wal"), 20);
    assert.match(open(t, headless).said[0] ?? "", /^flash\.db-wal is damaged: its head/);
  });
});

describe("the journal", () => {
  test("that is newer than the database is reported, and says nothing of later jobs", async (t) => {
    const home = temporaryFolder(t);
    const { store } = open(t, home);
    await runJobs(store, ["first"]);
    await checkpoint(store);
    const restored = copyOf(t, home);
    for (const name of ["lost-a", "lost-b", "lost-c"]) {
      await runJobs(store, named(name, 3));
      await checkpoint(store);
    }
    await runJobs(store, named("lost-d", 3));
    copyFiles(home, restored, ["flash.journal"]);

    const { store: second, said } = open(t, restored);
    assert.match(said[0] ?? "", /^flash\.journal is damaged: the database is older than it/);
    assert.deepEqual(await outputsOf(second, ["first", "lost-d-0"]), ["first", undefined]);
    // As many generations as it was newer, with moves as long as the lost ones, of as many jobs.
    const later: string[] = [];
    for (const name of ["next-a", "next-b", "next-c", "next-d"]) {
      const id = `${name}-0`;
      later.push(id);
      await runJobs(second, [id]);
      const { store: third, said: saidNext } = open(t, copyOf(t, restored));
      assert.deepEqual(saidNext, []);
      assert.deepEqual(await outputsOf(third, later), later);
      const { total } = await third.jobs.list({ endpointId: "ep1", offset: 0, limit: 1 });
      assert.equal(total, 1 + later.length);
      await checkpoint(second);
    }
  });

  test("that was cut short is reported, and read up to there", async (t) => {
    const home = temporaryFolder(t);
    const { store } = open(t, home);
    await runJobs(store, ["first"]);
    await checkpoint(store);
    await runJobs(store, ["second"]);
    const copy = copyOf(t, home);
    const file = path.join(copy, "flash.journal");
    truncateSync(file, readFileSync(file).length - 100);
    const { store: found, said } = open(t, copy);
    assert.deepEqual(said, ["flash.journal is damaged: it is not there as a whole"]);
    assert.deepEqual(await outputsOf(found, ["first", "second"]), ["first", "second"]);
  });

  test("with one wrong bit is reported when more stands behind it", async (t) => {
    const home = temporaryFolder(t);
    const { store } = open(t, home);
    await runJobs(store, ["first"]);
    await checkpoint(store);
    await runJobs(store, ["second", "third"]);
    const copy = copyOf(t, home);
    const file = path.join(copy, "flash.journal");
    flipBit(file, readFileSync(file).indexOf("third"));
    const { store: found, said } = open(t, copy);
    assert.deepEqual(said, [
      "flash.journal is damaged: batches behind one that is not whole are not read",
    ]);
    assert.deepEqual(await outputsOf(found, ["first", "second", "third"]), [
      "first",
      "second",
      undefined,
    ]);
  });
});

test("a database that cannot be read is refused with its name, and left as it is", (t) => {
  const home = temporaryFolder(t);
  const file = path.join(home, "flash.db");
  const content = "no database ".repeat(1000);
  writeFileSync(file, content);
  assert.throws(
    () => openStore({ home }),
    (error) =>
      FlashError.is(error) &&
      error.code === "INTERNAL" &&
      error.message.startsWith(`${file} is damaged: `) &&
      error.hint?.includes("copy") === true,
  );
  assert.equal(readFileSync(file, "utf8"), content);
});
