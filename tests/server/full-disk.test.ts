/** A disk that is full, as a small file system of its own. Only root may mount one: skipped for others. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  openSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { MANIFEST_FILE, WORKER_FILE } from "../../src/contract/manifest.ts";
import type { TakenJob } from "../../src/contract/store.ts";
import { backwards, manifestOf, pack, TestServer } from "./server-support.ts";
import { newJob, takeOf } from "./store-support.ts";
import { SqliteStore } from "../../src/server/server.ts";

const SIZE_MIB = 48;
const API = { name: "api", kind: "lb" } as const;

/** A file system of its own, or undefined where that is not allowed. */
function mountSmall(owner: Owner): string | undefined {
  const folder = temporaryFolder(owner, "flash-small");
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${SIZE_MIB}m`, "tmpfs", folder], {
      stdio: "ignore",
    });
  } catch {
    return undefined;
  }
  owner.after(() => {
    execFileSync("umount", ["-l", folder]);
  });
  return folder;
}

function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** Writes until the file system has not a byte left. */
function fillUp(file: string): void {
  const fd = openSync(file, "w");
  try {
    for (const size of [1024 * 1024, 4096, 1]) {
      try {
        while (writeSync(fd, Buffer.alloc(size)) === size);
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
      }
    }
  } finally {
    closeSync(fd);
  }
}

/** A store on a small file system, and one that is opened again; both closed before it is unmounted. */
function smallStore(owner: Owner, home: string): { store: SqliteStore } {
  const opened = { store: new SqliteStore({ home }) };
  owner.after(() => opened.store.close());
  return opened;
}

/** Longer than what is kept in the journal alone. */
const LONG_OUTPUT = JSON.stringify("y".repeat(10_000));

async function complete(store: SqliteStore, job: TakenJob): Promise<void> {
  const { id: jobId, attempt } = job;
  const outcome = { kind: "completed", output: LONG_OUTPUT } as const;
  const settled = await store.jobs.settle({
    jobId,
    attempt,
    outcome,
    now: 2500,
    retentionMs: 5000,
  });
  assert.equal(settled?.state, "COMPLETED");
}

test("a queue that fills the disk stops before the last byte, and works off what it has accepted, after a restart, too", async (t) => {
  const owner = backwards(t);
  const home = mountSmall(owner);
  if (home === undefined) return t.skip("file systems cannot be mounted here");
  const opened = smallStore(owner, home);
  const input = JSON.stringify("x".repeat(100_000));
  const accepted: string[] = [];
  await assert.rejects(async () => {
    for (;;) {
      const jobs = await opened.store.jobs.submit(
        Array.from({ length: 4 }, () => newJob({ input })),
      );
      accepted.push(...jobs.map(({ id }) => id));
    }
  }, /disk is full/);
  assert.ok(accepted.length > 40, `${accepted.length} jobs`);
  const share = (SIZE_MIB * 1024 * 1024) / 20;
  assert.ok(freeBytes(home) >= share, `${freeBytes(home)} bytes are free of ${share}`);
  assert.ok(existsSync(path.join(home, "flash.reserve")));

  const workOff = async (limit: number): Promise<void> => {
    const taken = await opened.store.jobs.take(takeOf({ limit }));
    assert.equal(taken.length, limit);
    for (const job of taken) await complete(opened.store, job);
  };
  await workOff(20);
  await opened.store.close();
  opened.store = new SqliteStore({ home });
  await workOff(20);
  const { jobs } = opened.store;
  const request = { endpointId: "ep1", now: 3000, retentionMs: 5000, limit: 10_000 };
  assert.equal((await jobs.purge(request)).length, accepted.length - 40);
  for (const id of accepted) assert.notEqual(await jobs.get(id), undefined);
});

test("results are kept on a disk that somebody else has filled, and its room is reserved again later", async (t) => {
  const owner = backwards(t);
  const home = mountSmall(owner);
  if (home === undefined) return t.skip("file systems cannot be mounted here");
  const opened = smallStore(owner, home);
  const reserve = path.join(home, "flash.reserve");
  await opened.store.jobs.submit(Array.from({ length: 60 }, () => newJob()));
  const taken = await opened.store.jobs.take(takeOf({ limit: 60 }));
  assert.equal(statSync(reserve).mode & 0o777, 0o600);
  const [soon, late] = [taken.slice(0, 30), taken.slice(30)];

  const filler = path.join(home, "filler");
  fillUp(filler);
  for (const job of soon) await complete(opened.store, job);
  assert.ok(!existsSync(reserve), "the reserve was of no use");
  await assert.rejects(opened.store.jobs.submit([newJob()]), /disk is full/);
  await opened.store.close();
  opened.store = new SqliteStore({ home });
  for (const job of late) await complete(opened.store, job);
  for (const { id } of taken) {
    assert.equal((await opened.store.jobs.get(id))?.output, LONG_OUTPUT);
  }

  rmSync(filler);
  await until(() => opened.store.jobs.submit([newJob()]), { what: "acceptance" });
  await until(
    async () => {
      await opened.store.jobs.renew("wk1", [], 9000);
      return existsSync(reserve);
    },
    { what: "the reserve" },
  );
});

test("a store opens on a disk without a byte left", async (t) => {
  const owner = backwards(t);
  const home = mountSmall(owner);
  if (home === undefined) return t.skip("file systems cannot be mounted here");
  const opened = smallStore(owner, home);
  await opened.store.jobs.submit([newJob()]);
  await opened.store.close();
  fillUp(path.join(home, "filler"));
  opened.store = new SqliteStore({ home });
  const [job] = await opened.store.jobs.take(takeOf());
  assert.ok(job !== undefined);
  await complete(opened.store, job);
});

test("a full disk stops acceptance, not completion, and both go on when there is room again", async (t) => {
  const owner = backwards(t);
  const home = mountSmall(owner);
  if (home === undefined) return t.skip("file systems cannot be mounted here");
  const server = await TestServer.start(owner, { home, store: new SqliteStore({ home }) });
  const { endpoints } = await server.deploy("shop", [
    { name: "orders", kind: "qb", options: { workers: [0, 1] } },
  ]);
  const url = `/v2/${endpoints[0]?.id}`;
  const submit = (input: unknown) =>
    server.request(`${url}/run`, { method: "POST", body: JSON.stringify({ input }) });
  const statusOf = async (id: unknown): Promise<unknown> =>
    (await server.request(`${url}/status/${String(id)}`)).json.status;
  const accepted = await Promise.all(
    Array.from({ length: 5 }, async (_, n) => (await submit({ n, sleepMs: 300 })).json.id),
  );

  const filler = path.join(home, "filler");
  const leave = 1024 * 1024;
  writeFileSync(filler, Buffer.alloc(freeBytes(home) - leave));
  const refused = await until(
    async () => {
      const answer = await submit({ late: true });
      return answer.status === 200 ? undefined : answer;
    },
    { what: "a refusal" },
  );
  assert.equal(refused.status, 507, refused.text);
  assert.ok(Number(refused.headers["retry-after"]) > 0);
  for (const id of accepted) {
    await until(async () => (await statusOf(id)) === "COMPLETED", { what: `${String(id)} to end` });
  }

  rmSync(filler);
  const late = await until(
    async () => {
      const answer = await submit({ again: true });
      return answer.status === 200 ? answer : undefined;
    },
    { what: "acceptance" },
  );
  await until(async () => (await statusOf(late.json.id)) === "COMPLETED", { what: "the last job" });
});

test("a build that leaves room for the queue is accepted on a small disk, a larger one is not", async (t) => {
  const owner = backwards(t);
  const home = mountSmall(owner);
  if (home === undefined) return t.skip("file systems cannot be mounted here");
  const server = await TestServer.start(owner, { home, store: new SqliteStore({ home }) });
  const artifact = await pack([
    { target: MANIFEST_FILE, content: JSON.stringify(manifestOf("shop", [API])) },
    { target: WORKER_FILE, content: "// nothing" },
    { target: "endpoints/api/index.mjs", content: "export {};" },
  ]);
  const digest = createHash("sha256").update(artifact).digest("hex");
  const begin = (bytes: number) =>
    server.request(`/api/v1/uploads?app=shop&digest=${digest}&offset=0&bytes=${bytes}`, {
      method: "PUT",
      body: artifact,
    });
  const refused = await begin(Math.floor(freeBytes(home) / 2));
  assert.equal(refused.status, 507, refused.text);
  const accepted = await begin(artifact.length);
  assert.equal(accepted.status, 200, accepted.text);
  const built = await server.request(`/api/v1/uploads/complete?app=shop&digest=${digest}`, {
    method: "POST",
  });
  assert.equal(built.status, 200, built.text);
});
