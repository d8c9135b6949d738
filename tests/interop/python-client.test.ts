/** The platform's own Python clients, unmodified, against endpoints of ours. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { suiteRig } from "./rig.ts";

interface Health {
  jobs: Record<string, number>;
  workers: Record<string, number>;
}

const CHUNKS = [0, 1, 2, 3, 4].map((index) => ({ index }));
const HEALTH = ["completed", "failed", "inProgress", "inQueue", "retried"];

describe("runpod for Python", () => {
  const rig = suiteRig();

  test("every method of the synchronous client does what it should", async () => {
    const seen = await rig().python("client.py");
    assert.deepEqual(seen["output"], { sum: 5 });
    assert.equal(seen["status"], "COMPLETED");
    assert.deepEqual(seen["run_sync"], { sum: 42 });
    assert.match(errorOf(seen["refused"]), /^HTTPError: 400/);
    assert.deepEqual(seen["failed"], ["FAILED", null]);
    assert.equal(seen["failed_sync"], null);
    assert.deepEqual(seen["stream"], CHUNKS);
    assert.deepEqual(seen["stream_of_no_generator"], []);
    const health = seen["health"] as Health;
    assert.deepEqual(Object.keys(health.jobs).sort(), HEALTH);
    assert.deepEqual([health.jobs["inProgress"], health.jobs["inQueue"]], [1, 1]);
    assert.equal((seen["cancel_queued"] as [{ status: string }, string])[0].status, "CANCELLED");
    assert.equal((seen["cancel_queued"] as unknown[])[1], "CANCELLED");
    assert.equal((seen["cancel_running"] as [{ status: string }, string])[0].status, "CANCELLED");
    assert.match(errorOf(seen["stream_of_cancelled"]), /^HTTPError: 404/, "its only way to an end");
    assert.deepEqual(seen["purge"], { removed: 3, status: "completed" });
    assert.deepEqual(seen["purged"], ["CANCELLED", "CANCELLED", "CANCELLED"]);
    assert.match(errorOf(seen["unknown_job"]), /^HTTPError: 404/);
    assert.match(errorOf(seen["unknown_endpoint"]), /^HTTPError: 404/);
    assert.match(errorOf(seen["wrong_key"]), /401|[Uu]nauthorized/);
  });

  test("every method of the asyncio client does what it should", async () => {
    const seen = await rig().python("async_client.py");
    assert.deepEqual(seen["output"], { sum: 5 });
    assert.equal(seen["status"], "COMPLETED");
    const sums = Array.from({ length: 20 }, (_, sum) => ({ sum }));
    assert.deepEqual(seen["many"], sums);
    assert.deepEqual(seen["failed"], [null, "FAILED"]);
    assert.deepEqual(seen["stream"], CHUNKS);
    const health = seen["health"] as Health;
    assert.deepEqual([health.jobs["inProgress"], health.jobs["inQueue"]], [1, 2]);
    assert.deepEqual(seen["purge"], { removed: 2, status: "completed" });
    assert.deepEqual(seen["purged"], ["CANCELLED", "CANCELLED"]);
    assert.equal((seen["cancel"] as [{ status: string }, string])[0].status, "CANCELLED");
    assert.equal((seen["cancel"] as unknown[])[1], "CANCELLED");
    assert.equal(seen["timeout"], "Job timed out.");
  });
});

function errorOf(tried: unknown): string {
  return (tried as { error?: string }).error ?? `no error, but ${JSON.stringify(tried)}`;
}
