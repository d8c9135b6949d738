/**
 * Workers that misbehave, in a server that has good ones: each is handled as docs/Workers.md says, and
 * its neighbours notice nothing. The neighbour answers all the while, without a failure and from the
 * process it began with.
 */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import { MAX_OPEN_FILES } from "../../src/server/workers/worker-process.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { backwards, isAlive, TestServer, type Answer } from "./server-support.ts";

const MIB = 1024 ** 2;

interface Street {
  server: TestServer;
  /** A request to the one that misbehaves. */
  ask: (path: string) => Promise<Answer>;
  /** All that the neighbour has answered so far: more than before, and only what it should. */
  neighbourIsFine: () => Promise<void>;
  /** The neighbour asks no more. */
  moveOut: () => Promise<void>;
  /** Lines about workers and of them. */
  log: () => Promise<string>;
}

async function street(
  t: TestContext,
  { env = {}, memoryMib }: { env?: Record<string, string>; memoryMib?: number } = {},
): Promise<Street> {
  const owner = backwards(t);
  const limit = memoryMib === undefined ? {} : { workerMemoryBytes: memoryMib * MIB };
  const server = await TestServer.start(owner, limit);
  const { endpoints } = await server.deploy("street", [
    { name: "bad", kind: "lb", options: { workers: [0, 2], idleTimeoutS: 60, env } },
    { name: "good", kind: "lb", options: { workers: [1, 1] } },
  ]);
  const urlOf = (name: string): string => endpoints.find((one) => one.name === name)?.url ?? "";
  const first = await server.request(`${urlOf("good")}/pid`);
  const wrong: string[] = [];
  let answered = 0;
  const over = new AbortController();
  const asking = (async () => {
    while (!over.signal.aborted) {
      const answer = await server.request(`${urlOf("good")}/pid`);
      answered += 1;
      const isRight = answer.status === 200 && answer.json.pid === first.json.pid;
      if (!isRight && wrong.length < 3) wrong.push(`${answer.status} ${answer.text}`);
    }
  })();
  const moveOut = async (): Promise<void> => {
    over.abort();
    await asking;
  };
  owner.after(moveOut);
  return {
    server,
    moveOut,
    ask: (path) => server.request(`${urlOf("bad")}${path}`),
    neighbourIsFine: async () => {
      const before = answered;
      await until(() => answered > before + 5, { what: "the neighbour's answers" });
      assert.deepEqual(wrong, []);
    },
    log: async () => {
      const lines = await server.server.control.logs(
        { app: "street", environment: "production", endpoint: "bad" },
        { tail: 10_000, follow: false, signal: AbortSignal.timeout(60_000) },
      );
      let text = "";
      for await (const { message } of lines) text += `${message}\n`;
      return text;
    },
  };
}

describe("a worker that", { concurrency: true }, () => {
  test("leaks memory is drained and replaced, and no request notices", async (t) => {
    const { server, ask, neighbourIsFine, log } = await street(t, { memoryMib: 300 });
    const gate = path.join(temporaryFolder(t), "gate");
    const slow = ask(`/gate?file=${encodeURIComponent(gate)}`);
    const { pid } = (await ask("/leak?mb=210")).json;
    await until(async () => (await log()).includes("it is replaced"), { what: "the replacement" });
    assert.match(await log(), /its memory grew to 2\d\d MiB of 300 MiB: it is replaced/);
    const next = await ask("/pid");
    assert.equal(next.status, 200);
    assert.notEqual(next.json.pid, pid);
    writeFileSync(gate, "");
    assert.equal((await slow).status, 200);
    await until(() => !isAlive(pid), { what: "its end" });
    assert.equal((await server.status("street", "bad")).problem, undefined);
    await neighbourIsFine();
  });

  test("takes more memory than it may have is ended, and another one answers", async (t) => {
    const { ask, neighbourIsFine, log } = await street(t, { memoryMib: 300 });
    const { pid } = (await ask("/pid")).json;
    // Without an answer: one that is seen on its way there, as a leak, and has nothing to finish, ends of its own accord.
    const leaking = ask("/leak?mb=320&answers=never");
    await until(() => !isAlive(pid), { what: "its end" });
    assert.equal((await leaking).status, 502);
    await until(async () => (await log()).includes("may use 300 MiB"), { what: "the reason" });
    const next = await ask("/pid");
    assert.equal(next.status, 200);
    await neighbourIsFine();
  });

  test("has a limit on open files that Node cannot raise", async (t) => {
    const { ask } = await street(t);
    const { soft, hard } = (await ask("/limits")).json;
    assert.ok(soft <= MAX_OPEN_FILES && hard <= MAX_OPEN_FILES, `${soft} ${hard}`);
  });

  test("forks children that ignore SIGTERM takes them with it, wherever they went", async (t) => {
    const { server, ask, neighbourIsFine } = await street(t);
    const { pids } = (await ask("/fork?count=6")).json as { pids: number[] };
    assert.ok(pids.length === 6 && pids.every(isAlive));
    await server.server.control.remove({
      app: "street",
      environment: "production",
      endpoint: "bad",
    });
    await until(() => !pids.some(isAlive), { what: "the children's end" });
    await neighbourIsFine();
  });

  test("floods stdout has the surplus dropped, and goes on", async (t) => {
    const { ask, neighbourIsFine, log } = await street(t);
    const { pid } = (await ask("/pid")).json;
    assert.equal((await ask("/flood")).status, 200);
    await until(async () => (await log()).includes("bytes of output dropped"), {
      what: "the note about what was dropped",
    });
    assert.equal((await ask("/pid")).json.pid, pid);
    await neighbourIsFine();
  });

  test("answers its health check with 500 gets no requests, and is replaced", async (t) => {
    const { server, ask, neighbourIsFine, log } = await street(t);
    const { pid } = (await ask("/pid")).json;
    await ask("/sick?status=500");
    await until(async () => (await server.status("street", "bad")).workers.UNHEALTHY === 1, {
      what: "it counts as unhealthy",
    });
    // Held until its replacement is there.
    const next = await ask("/pid");
    assert.equal(next.status, 200);
    assert.notEqual(next.json.pid, pid);
    await until(() => !isAlive(pid), { what: "its end" });
    assert.match(await log(), /fails its health check/);
    await neighbourIsFine();
  });

  test("ignores SIGTERM is killed when its grace is over", async (t) => {
    const { server, ask, neighbourIsFine, moveOut } = await street(t, {
      env: { IGNORE_SIGTERM: "1" },
    });
    const { pid } = (await ask("/pid")).json;
    await neighbourIsFine();
    await moveOut();
    await server.server.close({ graceMs: 300 });
    assert.equal(isAlive(pid), false);
  });

  test("crashes at its start is tried again later and later, and the status says why", async (t) => {
    const { server, ask, neighbourIsFine } = await street(t, { env: { START_CRASH: "no model" } });
    const answer = await ask("/pid");
    assert.equal(answer.status, 503);
    assert.match(answer.json.detail, /'bad' cannot start: no model/);
    const { state, problem } = await server.status("street", "bad");
    assert.deepEqual([state, problem], ["unhealthy", "no model"]);
    await neighbourIsFine();
  });
});
