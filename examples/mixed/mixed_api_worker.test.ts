/** In a test both endpoints run in this process: the route's call to the queue function is a plain call. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { generate, health, processWithGpu } from "./mixed_api_worker.ts";

test("the queue function runs in process", async () => {
  assert.deepEqual(await processWithGpu("a red fox", 5), {
    prompt: "a red fox",
    steps: 5,
    tokens: 3,
  });
});

test("the route calls the queue function", async () => {
  assert.deepEqual(await generate("a red fox"), {
    status: "done",
    result: { prompt: "a red fox", steps: 20, tokens: 3 },
  });
  assert.deepEqual(await health(), { status: "healthy" });
});

test("the queue function's own error reaches the route's caller", async () => {
  await assert.rejects(async () => generate(" "), RangeError);
});
