/** A disk that is full, as a small file system of its own. Only root may mount one: skipped for others. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rmSync, statfsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { backwards, TestServer } from "./server-support.ts";
import { SqliteStore } from "../../src/server/server.ts";

const SIZE_MIB = 48;

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
