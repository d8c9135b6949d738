/** Stacks as authors read them. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { cleanReport, cleanStack, stackStyle, withoutStacks } from "../../src/worker/stack.ts";

const STYLE = stackStyle("file:///artifact/worker.mjs", "/artifact/endpoints/api/index.mjs");

const STACK = `UserNotFound: User 9 not found
    at worker.mjs is only named in this message
    at getUser (/artifact/endpoints/api/src/users.ts:12:9)
    at async file:///artifact/endpoints/api/src/api.ts:3:5
    at Array.map (<anonymous>)
    at /home/me/elsewhere.ts:1:2
    at remote (/artifact/endpoints/api/node_modules/runpod-flash/dist/sdk/calls.js:9:1)
    at Callable.call (file:///artifact/worker.mjs:2293:14)
    at AsyncLocalStorage.run (node:internal/async_local_storage/async_context_frame:63:14)
    at process.processTicksAndRejections (node:internal/process/task_queues:104:5)`;

describe("a stack", () => {
  test("keeps the user's frames, with paths of the project", () => {
    const lines = cleanStack(STACK, STYLE).split("\n");
    assert.equal(lines[0], "UserNotFound: User 9 not found");
    assert.ok(lines.includes("    at getUser (src/users.ts:12:9)"));
    assert.ok(lines.includes("    at async src/api.ts:3:5"));
    assert.ok(lines.includes("    at /home/me/elsewhere.ts:1:2"));
  });

  test("has no frame of the runtime, the SDK and Node", () => {
    const cleaned = cleanStack(STACK, STYLE);
    assert.doesNotMatch(cleaned, /worker\.mjs:\d|runpod-flash|node:|<anonymous>/);
  });

  test("leaves out the runtime's folder when it runs from its sources", () => {
    const style = stackStyle("file:///flash/src/worker/main.ts", "/a/endpoints/api/index.mjs");
    const cleaned = cleanStack(
      "Error: x\n    at a (/flash/src/worker/call.ts:1:1)\n    at b (/flash/src-of-mine/b.ts:1:1)",
      style,
    );
    assert.equal(cleaned, "Error: x\n    at b (/flash/src-of-mine/b.ts:1:1)");
  });
});

describe("a report", () => {
  const report = {
    name: "A",
    message: "a",
    stack: STACK,
    cause: { name: "B", message: "b", stack: STACK },
  };

  test("is cleaned with its causes", () => {
    const cleaned = cleanReport(report, STYLE);
    assert.equal(cleaned.stack, cleaned.cause?.stack);
    assert.notEqual(cleaned.stack, STACK);
  });

  test("loses every stack for strangers", () => {
    assert.deepEqual(withoutStacks(report), {
      name: "A",
      message: "a",
      cause: { name: "B", message: "b" },
    });
  });
});
