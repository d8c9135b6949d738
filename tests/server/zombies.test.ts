/** Workers that are frozen longer than their lease, and wake up when somebody else has done their work. */

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { describe, test, type TestContext } from "node:test";
import { MANIFEST_FILE, WORKER_FILE } from "../../src/contract/manifest.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { parameter, signature, writeArtifact } from "../worker/artifact.ts";
import { WorkerProcess } from "../worker/worker-process.ts";
import { deployCode, Queue } from "./code-support.ts";
import { backwards, isAlive, manifestOf, pack, TestServer } from "./server-support.ts";

/** Says who runs it until 'gate' exists: as chunks of its stream, and in the file 'log'. */
const CODE = `
import { appendFileSync, existsSync } from "node:fs";
queue(async function* (input) {
  const by = \`\${process.pid} \${context().attempt}\`;
  context().progress({ by });
  while (!existsSync(input.gate)) {
    appendFileSync(input.log, by + "\\n");
    yield by;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  appendFileSync(input.log, by + " done\\n");
});`;

interface Talk {
  input: { gate: string; log: string };
  /** The lines of the log. */
  lines: () => string[];
  open: () => void;
}

function talk(t: TestContext): Talk {
  const folder = temporaryFolder(t, "flash-talk");
  const input = { gate: path.join(folder, "gate"), log: path.join(folder, "log") };
  return {
    input,
    lines: () => (existsSync(input.log) ? readFileSync(input.log, "utf8").trim().split("\n") : []),
    open: () => writeFileSync(input.gate, ""),
  };
}

/** A server whose only endpoint is an image, and a way to start workers for it as others would. */
async function serveImage(t: TestContext) {
  const owner = backwards(t);
  const server = await TestServer.start(owner);
  const { control } = server.server;
  const manifest = manifestOf("zombies", [{ name: "demo", kind: "qb" }]);
  for (const endpoint of manifest.endpoints) {
    endpoint.form = "image";
    endpoint.options.image = "example/demo:1";
    delete endpoint.bundle;
  }
  const artifact = await pack([
    { target: MANIFEST_FILE, content: JSON.stringify(manifest) },
    { target: WORKER_FILE, content: "" },
  ]);
  const { id } = await control.putBuild("zombies", Readable.from([artifact]));
  const where = { app: "zombies", environment: "production" };
  const { endpoints } = await control.deploy({ ...where, build: id });
  const code = writeArtifact(owner, {
    kind: "qb",
    functions: [signature("demo", [parameter("input")], { streams: true })],
    code: CODE,
  });
  return {
    queue: new Queue(server, endpoints[0]),
    server,
    startWorker: async () => {
      const { env } = await control.addWorker({ ...where, endpoint: "demo" });
      const options = { env: { ...env, RUNPOD_PING_INTERVAL: "500" } };
      return await WorkerProcess.startReady(owner, code, options);
    },
  };
}

/** For the message when it takes too long: who has run it so far. */
function said(lines: readonly string[]): never {
  throw new Error([...new Set(lines)].join(", "));
}

function isEndOf(line: string, pid: number | undefined): boolean {
  return line.startsWith(`${pid} `) && line.endsWith(" done");
}

describe("a frozen worker", { concurrency: true }, () => {
  test("of somebody else's writes nothing when it wakes up after its job was done elsewhere", async (t) => {
    const { queue, startWorker } = await serveImage(t);
    const { input, lines, open } = talk(t);
    const first = await startWorker();
    const id = await queue.submit(input);
    // Long enough for it to have said that it lives.
    await until(() => lines().length > 20, { what: "the first attempt" });
    first.child.kill("SIGSTOP");
    const second = await startWorker();
    // Usually the second attempt; a machine that is slow enough loses leases of its own accord.
    const by = await until(
      () => lines().find((line) => line.startsWith(`${second.child.pid} `)) ?? said(lines()),
      { what: "another attempt", withinMs: 60_000 },
    );
    open();
    const done = await queue.finished(id);
    assert.equal(done.status, "COMPLETED");

    first.child.kill("SIGCONT");
    await until(() => lines().some((line) => isEndOf(line, first.child.pid)), {
      what: "the zombie's end",
    });
    // Its result has been posted, or it was told: either way it is free for the next job.
    second.child.kill("SIGKILL");
    await second.exited;
    const next = await queue.finished(await queue.submit(input));
    assert.deepEqual([next.status, first.child.exitCode], ["COMPLETED", null]);
    assert.deepEqual(await queue.status(id), done);
    const chunks = await queue.chunks(id);
    assert.ok(chunks.length > 0);
    const strangers = chunks.filter((chunk) => chunk !== by);
    assert.deepEqual(strangers, [], "chunks of the attempt that was lost");
  });

  test("of ours is ended, and its job runs again", async (t) => {
    const owner = backwards(t);
    const server = await TestServer.start(owner);
    const endpoints = await deployCode(owner, server, [{ name: "frozen", code: CODE }]);
    const queue = new Queue(server, endpoints.get("frozen"));
    const { input, lines, open } = talk(t);
    const id = await queue.submit(input);
    const [line = ""] = await until(() => lines().length > 2 && lines(), { what: "an attempt" });
    const pid = Number.parseInt(line, 10);
    process.kill(pid, "SIGSTOP");
    const since = performance.now();
    await until(() => !isAlive(pid), { what: "the frozen worker to be ended" });
    const tookMs = performance.now() - since;
    assert.ok(tookMs > 3000 && tookMs < 7000, `ended after ${tookMs} ms of silence`);
    open();
    const done = await queue.finished(id);
    assert.deepEqual([done.status, done.retries], ["COMPLETED", 1]);
  });
});
