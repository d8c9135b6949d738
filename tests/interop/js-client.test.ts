/** The platform's own JavaScript client, unmodified, against endpoints of ours. */

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { until } from "../support/until.ts";
import { installed, suiteRig } from "./rig.ts";

interface Output {
  id: string;
  status: string;
  output?: unknown;
  error?: string;
  started?: boolean;
  completed?: boolean;
  succeeded?: boolean;
  delayTime?: number;
  executionTime?: number;
}

/** What the package's types say, as far as it is used here. */
interface Endpoint {
  runSync(request: unknown, timeout?: number): Promise<Output>;
  run(request: unknown, timeout?: number): Promise<Output>;
  status(id: string): Promise<Output>;
  statusSync(id: string, timeout?: number): Promise<Output>;
  stream(id: string): AsyncGenerator<{ output: unknown }>;
  cancel(id: string): Promise<Output>;
  health(): Promise<{ jobs: Record<string, number>; workers: Record<string, number> }>;
  purgeQueue(): Promise<{ removed: number; status: string }>;
}

interface Sdk {
  endpoint(id: string): Endpoint;
}

async function loadClient(): Promise<(key: string, options: { baseUrl: string }) => Sdk> {
  const require = createRequire(path.join(installed("INTEROP_JS"), "package.json"));
  const module = (await import(pathToFileURL(require.resolve("runpod-sdk")).href)) as {
    default: (key: string, options: { baseUrl: string }) => Sdk;
  };
  return module.default;
}

describe("runpod-sdk", () => {
  const rig = suiteRig();
  let client: Awaited<ReturnType<typeof loadClient>>;
  let endpoint: (name: string, key?: string) => Endpoint;

  before(async () => {
    client = await loadClient();
    endpoint = (name, key = rig().sandbox.key) =>
      client(key, { baseUrl: rig().base }).endpoint(rig().id(name));
  });

  async function running(name: string, input: unknown): Promise<string> {
    const { id } = await endpoint(name).run({ input });
    await until(async () => (await endpoint(name).status(id)).status === "IN_PROGRESS", {
      what: "the job to run",
    });
    return id;
  }

  test("runSync gives the output and says that the job succeeded", async () => {
    const result = await endpoint("add").runSync({ input: { x: 2, y: 3 } });
    assert.deepEqual(result.output, { sum: 5 });
    assert.equal(result.status, "COMPLETED");
    assert.ok(result.id.startsWith("sync-"));
    assert.deepEqual([result.started, result.completed, result.succeeded], [true, true, true]);
    assert.ok(Number.isInteger(result.delayTime) && Number.isInteger(result.executionTime));
  });

  test("run and status follow a job to its end", async () => {
    const { id, status } = await endpoint("add").run({ input: { x: 2, y: 3 } });
    assert.equal(status, "IN_QUEUE");
    const done = await until(
      async () => {
        const job = await endpoint("add").status(id);
        return job.status === "COMPLETED" && job;
      },
      { what: "the job to complete" },
    );
    assert.deepEqual(done.output, { sum: 5 });
  });

  test("a policy, a webhook field and unknown fields are taken", async () => {
    const result = await endpoint("add").runSync({
      input: { x: 1, y: 1 },
      policy: { executionTimeout: 60_000, ttl: 600_000, lowPriority: false },
      timeout: 1000,
      s3Config: { accessId: "a", accessSecret: "b", bucketName: "c", endpointUrl: "https://d" },
    });
    assert.equal(result.status, "COMPLETED");
  });

  test("statusSync waits for the end", async () => {
    const { id } = await endpoint("add").run({ input: { x: 4, y: 3 } });
    const done = await endpoint("add").statusSync(id, 90_000);
    assert.deepEqual([done.status, done.output], ["COMPLETED", { sum: 7 }]);
  });

  test("a runSync that is not finished in time gives the job to look after", async () => {
    const result = await endpoint("hang").runSync({ input: { label: "a" } }, 1000);
    assert.deepEqual([result.started, result.completed], [true, false]);
    assert.equal((await endpoint("hang").cancel(result.id)).status, "CANCELLED");
  });

  test("a function that throws gives FAILED with its error", async () => {
    const result = await endpoint("fail").runSync({ input: { message: "no such model" } });
    assert.equal(result.status, "FAILED");
    assert.deepEqual([result.completed, result.succeeded], [true, false]);
    assert.match(result.error ?? "", /no such model/);
  });

  test("stream gives every value of a generator once and in order", async () => {
    const { id } = await endpoint("count").run({ input: { to: 20 } });
    const seen: unknown[] = [];
    for await (const chunk of endpoint("count").stream(id)) seen.push(chunk.output);
    assert.deepEqual(
      seen,
      Array.from({ length: 20 }, (_, index) => ({ index })),
    );
  });

  test("stream of a function without values ends", async () => {
    const { id } = await endpoint("add").run({ input: { x: 1, y: 1 } });
    const seen: unknown[] = [];
    for await (const chunk of endpoint("add").stream(id)) seen.push(chunk);
    assert.deepEqual(seen, []);
  });

  test("cancel ends a running job, and again tells that it is cancelled", async () => {
    const id = await running("hang", { label: "a" });
    const cancelled = await endpoint("hang").cancel(id);
    assert.deepEqual([cancelled.id, cancelled.status], [id, "CANCELLED"]);
    assert.equal((await endpoint("hang").status(id)).status, "CANCELLED");
    assert.equal((await endpoint("hang").cancel(id)).status, "CANCELLED");
  });

  test("health counts jobs and workers; purgeQueue removes only what waits", async () => {
    const id = await running("hang", { label: "runs" });
    const waiting = [
      await endpoint("hang").run({ input: { label: "waits" } }),
      await endpoint("hang").run({ input: { label: "waits" } }),
    ];
    const health = await endpoint("hang").health();
    assert.equal(health.jobs["inProgress"], 1);
    assert.equal(health.jobs["inQueue"], 2);
    assert.deepEqual(Object.keys(health.workers).sort(), [
      "idle",
      "initializing",
      "ready",
      "running",
      "throttled",
      "unhealthy",
    ]);
    assert.deepEqual(await endpoint("hang").purgeQueue(), { removed: 2, status: "completed" });
    for (const one of waiting) {
      assert.equal((await endpoint("hang").status(one.id)).status, "CANCELLED");
    }
    assert.equal((await endpoint("hang").status(id)).status, "IN_PROGRESS");
    await endpoint("hang").cancel(id);
  });

  test("mistakes reach the client as errors", async () => {
    await assert.rejects(endpoint("add", "wrong").run({ input: { x: 1, y: 1 } }), /401/);
    await assert.rejects(endpoint("add").status("nothing-u1"), /404/);
    await assert.rejects(endpoint("add").run({ input: { x: "one", y: 1 } }), /400/);
    const nowhere = client(rig().sandbox.key, { baseUrl: rig().base }).endpoint("nothing");
    await assert.rejects(nowhere.run({ input: {} }), /404/);
  });
});
