/** Queue endpoints of a class: one instance, its life, and the choice of a method. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { FunctionManifest } from "../../src/contract/manifest.ts";
import type { Owner } from "../support/temp.ts";
import { parameter, signature, writeArtifact } from "./artifact.ts";
import { ProtocolServer } from "./protocol-server.ts";
import { WorkerProcess } from "./worker-process.ts";

const string = { type: "string" } as const;

async function start(
  t: Owner,
  functions: FunctionManifest[],
  code: string,
): Promise<{ server: ProtocolServer; worker: WorkerProcess }> {
  const server = await ProtocolServer.start(t);
  const artifact = writeArtifact(t, { kind: "qb", form: "class", functions, code });
  return { server, worker: WorkerProcess.start(t, artifact, { env: server.env }) };
}

async function messageOf(server: ProtocolServer, jobId: string): Promise<string> {
  const { body } = await server.done(jobId);
  return (JSON.parse(body.error) as { error_message: string }).error_message;
}

const MODEL = `queueClass(class Model {
  #calls = 0;
  async init() { console.log("init"); this.weights = "loaded"; }
  close() { console.log("closed"); }
  predict(prompt) { return { prompt, weights: this.weights, calls: ++this.#calls }; }
  embed(text) { throw new Error("no embedding"); }
});`;

describe("a class with several methods", () => {
  const functions = [
    signature("predict", [parameter("prompt", string)]),
    signature("embed", [parameter("text", string)]),
  ];

  test("the method is named in the input, on one instance that is closed at the end", async (t) => {
    const { server, worker } = await start(t, functions, MODEL);
    server.give(
      { id: "j1", input: { method: "predict", prompt: "a" } },
      { id: "j2", input: { method: "predict", prompt: "b" } },
      { id: "j3", input: { method: "embed", text: "c" } },
    );
    assert.deepEqual((await server.done("j1")).body.output, {
      prompt: "a",
      weights: "loaded",
      calls: 1,
    });
    assert.deepEqual((await server.done("j2")).body.output, {
      prompt: "b",
      weights: "loaded",
      calls: 2,
    });
    assert.equal(await messageOf(server, "j3"), "no embedding");
    worker.child.kill("SIGTERM");
    assert.equal((await worker.exited).code, 0);
    assert.equal(worker.stdout, "init\nclosed\n");
  });

  test("no method, an unknown one and a hook are refused with the list", async (t) => {
    const { server } = await start(t, functions, MODEL);
    server.give(
      { id: "j1", input: { prompt: "a" } },
      { id: "j2", input: { method: "nope" } },
      { id: "j3", input: { method: "init" } },
      { id: "j4", input: null },
    );
    const several =
      'class Model has multiple methods: embed, predict. include a "method" key in the input.';
    assert.equal(await messageOf(server, "j1"), several);
    assert.equal(
      await messageOf(server, "j2"),
      "unknown method 'nope' on Model. available: embed, predict",
    );
    assert.equal(
      await messageOf(server, "j3"),
      "unknown method 'init' on Model. available: embed, predict",
    );
    assert.equal(await messageOf(server, "j4"), several);
    assert.equal((await server.done("j1")).body.retryable, false);
  });
});

describe("a class with one method", () => {
  test("it is used, and a method key is ignored", async (t) => {
    const { server } = await start(
      t,
      [signature("predict", [parameter("prompt", string)])],
      `queueClass(class { predict(prompt) { return prompt; } });`,
    );
    server.give(
      { id: "j1", input: { prompt: "a" } },
      { id: "j2", input: { method: "other", prompt: "b" } },
    );
    assert.equal((await server.done("j1")).body.output, "a");
    assert.equal((await server.done("j2")).body.output, "b");
  });

  test("its parameter may be called method", async (t) => {
    const { server } = await start(
      t,
      [signature("send", [parameter("method", string)])],
      `queueClass(class { send(method) { return method; } });`,
    );
    server.give({ id: "j1", input: { method: "PUT" } });
    assert.equal((await server.done("j1")).body.output, "PUT");
  });
});

test("an instance that cannot be created ends the worker with a readable message", async (t) => {
  const { worker } = await start(
    t,
    [signature("predict")],
    `queueClass(class Model { constructor() { throw new Error("no GPU"); } predict() {} });`,
  );
  assert.equal((await worker.exited).code, 1);
  const [line] = worker.lines("stderr");
  assert.equal(line?.message, "The class Model of 'demo' could not be created: Error: no GPU");
  assert.match(line?.frame, /> \d+ \| queueClass\(class Model/);
});
