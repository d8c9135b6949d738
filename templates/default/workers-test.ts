/** In a test every endpoint runs right here: no server, no network. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { cpuHello } from "./cpu_worker.ts";
import { gpuHello } from "./gpu_worker.ts";
import { health, processMessage } from "./lb_worker.ts";

test("the GPU worker repeats the message and knows whether it has a GPU", async () => {
  const result = await gpuHello("hi");
  assert.equal(result.message, "hi");
  assert.equal(result.gpuAvailable, result.gpu !== null);
});

test("the CPU worker has a default message", async () => {
  const result = await cpuHello();
  assert.equal(result.message, "Hello from the CPU worker");
  assert.equal(result.node, process.version);
});

test("the service echoes and is healthy", async () => {
  assert.equal((await processMessage("ho", 3)).echo, "ho ho ho");
  assert.deepEqual(await health(), { status: "healthy" });
});
