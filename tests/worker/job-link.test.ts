/** The queue worker over a job link. */

import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import type { EndpointOptions } from "../../src/contract/options.ts";
import { temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { parameter, signature, writeArtifact } from "./artifact.ts";
import { LinkServer } from "./link-server.ts";
import { ProtocolServer } from "./protocol-server.ts";
import { WorkerProcess } from "./worker-process.ts";

interface Started {
  server: LinkServer;
  http: ProtocolServer;
  worker: WorkerProcess;
}

/** A ready worker of one function with one parameter, and the servers it talks to. */
async function start(
  t: Owner,
  { code, options = {} }: { code: string; options?: EndpointOptions },
): Promise<Started> {
  const server = await LinkServer.start(t);
  const http = await ProtocolServer.start(t);
  const fn = signature("demo", [parameter("n", {}, { required: false })]);
  const artifact = writeArtifact(t, { kind: "qb", functions: [fn], code, options });
  const env = { ...http.env, FLASH_JOB_LINK: server.url };
  return { server, http, worker: await WorkerProcess.startReady(t, artifact, { env }) };
}

/** Waits until a file appears, or its signal aborts. */
const GATED = `
import { existsSync } from "node:fs";
queue(async (n) => {
  const { signal } = context();
  while (!existsSync(n)) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return "through";
});`;

describe("over a link", () => {
  test("a job is run and its output sent, with key and attempt, and nothing is polled", async (t) => {
    const { server, http } = await start(t, { code: `queue((n) => ({ twice: n * 2 }));` });
    await server.linked();
    server.give("j1-u1", { n: 21 }, { attempt: 3 });
    const { post, attempt, value } = await server.posted("j1-u1");
    assert.deepEqual([post, attempt, value], ["done", 3, { twice: 42 }]);
    assert.deepEqual([...server.keys], ["worker-secret"]);
    assert.deepEqual([http.takes.length, http.openStops, http.posts.length], [0, 0, 0]);
    await until(() => http.pings.length > 0, { what: "a ping" });
  });

  test("failures, progress and streamed values have frames of their own", async (t) => {
    const { server } = await start(t, {
      code: `queue(async function* (n) {
        context().progress({ at: 1 });
        yield "a"; yield "b";
        if (n === 1) throw new RangeError("enough");
      });`,
    });
    await server.linked();
    server.give("good", { n: 0 });
    await server.posted("good", 4);
    const kinds = server.posts("good").map(({ post, value }) => [post, value]);
    assert.deepEqual(kinds, [
      ["progress", { at: 1 }],
      ["chunk", "a"],
      ["chunk", "b"],
      ["done", ["a", "b"]],
    ]);
    server.give("bad", { n: 1 });
    const { post, value } = await server.posted("bad", 4);
    assert.equal(post, "failed");
    assert.match((value as { error: string }).error, /enough/);
  });

  test("the server never has more slots than there is room for", async (t) => {
    const gate = path.join(temporaryFolder(t), "gate");
    const { server } = await start(t, { code: GATED, options: { maxConcurrency: 2 } });
    await server.linked();
    assert.equal(server.slots, 2);
    server.give("j1", { n: gate });
    server.give("j2", { n: gate });
    // Slots given too early would be there by the next greeting.
    server.cut();
    await server.linked(2);
    assert.deepEqual([server.hellos[1]?.slots, server.slots], [0, 0]);
    assert.deepEqual(server.hellos[1]?.held.toSorted(), ["j1", "j2"]);
    writeFileSync(gate, "");
    await until(() => server.slots === 2, { what: "both slots" });
    await server.posted("j1");
    await server.posted("j2");
  });

  test("a stop reaches the function over the link alone, and its result is not sent", async (t) => {
    const folder = temporaryFolder(t);
    const { server, http } = await start(t, {
      code: `import { writeFileSync } from "node:fs";
        queue((n) => new Promise((resolve) => {
          writeFileSync(n + ".started", "");
          context().signal.addEventListener("abort", () => {
            writeFileSync(n, "");
            resolve("late");
          });
        }));`,
    });
    await server.linked();
    for (const id of ["j1", "j2", "j3"]) {
      const file = path.join(folder, id);
      server.give(id, { n: file });
      await until(() => existsSync(`${file}.started`), { what: "the function" });
      server.stop(id);
      await until(() => existsSync(file), { what: "the abort" });
    }
    // Nobody has asked for stops: none was waited for.
    assert.deepEqual([http.takes.length, http.openStops], [0, 0]);
    await until(() => server.slots === 1, { what: "the slot" });
    assert.deepEqual(server.posts("j3"), []);
  });

  test("a result without acknowledgement is sent again on the next link, until it has one", async (t) => {
    const { server, worker } = await start(t, { code: `queue((n) => n + 1);` });
    server.acknowledges = () => false;
    await server.linked();
    server.give("j1", { n: 1 });
    await server.posted("j1");
    // As a server that is killed and started again.
    await server.close();
    await server.listen();
    await server.linked(2);
    assert.deepEqual(server.hellos[1]?.held, ["j1"]);
    assert.deepEqual((await server.posted("j1", 2)).value, 2);
    server.acknowledges = () => true;
    server.cut();
    await server.posted("j1", 3);
    server.cut();
    await server.linked(4);
    assert.deepEqual(server.hellos[3]?.held, []);
    server.give("j2", { n: 2 });
    await server.posted("j2");
    assert.equal(server.posts("j1").length, 3);
    assert.equal(worker.child.exitCode, null);
  });

  test("a worker that is told to end says so, finishes what it has, and exits", async (t) => {
    const gate = path.join(temporaryFolder(t), "gate");
    const { server, worker } = await start(t, { code: GATED, options: { maxConcurrency: 3 } });
    await server.linked();
    server.give("j1", { n: gate });
    // The job has arrived when the answer to what follows it has.
    server.cut();
    await server.linked(2);
    assert.deepEqual(server.hellos[1]?.held, ["j1"]);
    worker.child.kill("SIGTERM");
    await until(() => server.frames.some(({ kind }) => kind === "drain"), { what: "'drain'" });
    writeFileSync(gate, "");
    assert.equal((await server.posted("j1")).value, "through");
    assert.deepEqual(await worker.exited, { code: 0, signal: null });
  });

  test("a server that sends nonsense is left, and asked again", async (t) => {
    const { server, worker } = await start(t, { code: `queue((n) => n);` });
    await server.linked();
    server.write("nonsense\n");
    await server.linked(2);
    server.give("j1", { n: 1 });
    assert.equal((await server.posted("j1")).value, 1);
    assert.match(worker.stderr, /what is no frame/);
  });

  test("a job whose time is over fails with the reason", async (t) => {
    const { server } = await start(t, {
      code: `queue(() => new Promise((resolve, reject) =>
        context().signal.addEventListener("abort", () => reject(context().signal.reason))));`,
    });
    await server.linked();
    server.give("j1", {}, { executionTimeout: 100 });
    const { post, value } = await server.posted("j1");
    assert.equal(post, "failed");
    assert.match((value as { error: string }).error, /Execution timeout on demo after 0.1s/);
  });
});
