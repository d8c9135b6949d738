/** `/openai/v1/…` of queue endpoints, with functions in real workers. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { EndpointDocument } from "../../src/contract/control.ts";
import { until } from "../support/until.ts";
import { deployCode, Queue, type CodeEndpoint } from "./code-support.ts";
import { backwards, TestServer } from "./server-support.ts";

const ENDPOINTS: readonly CodeEndpoint[] = [
  {
    name: "echo",
    options: { retries: 0 },
    code: `
queue(async (input: { openai_route: string; openai_input: { fail?: string } }) => {
  const { fail } = input.openai_input;
  if (fail !== undefined) throw new Error(fail);
  return input;
});`,
  },
  {
    name: "waiting",
    code: `
queue(() => new Promise((resolve) => context().signal.addEventListener("abort", resolve)));`,
  },
  {
    // As vLLM's worker does: events ready to be sent.
    name: "events",
    options: { retries: 0 },
    code: `
queue(async function* (input: { openai_input: { stream?: true } }) {
  if (!input.openai_input.stream) return yield { object: "chat.completion" };
  yield 'data: {"n":1}\\n\\ndata: {"n":2}\\n\\n';
  yield 'data: [DONE]\\n\\n';
});`,
  },
  {
    name: "values",
    options: { retries: 0 },
    code: `
queue(async function* () {
  yield { n: 1 };
  yield { n: 2 };
});`,
  },
];

describe("requests of OpenAI's clients", { concurrency: true }, () => {
  const steps: (() => void | Promise<void>)[] = [];
  const owner = backwards({ after: (run) => void steps.push(run) });
  let server: TestServer;
  let endpoints: ReadonlyMap<string, EndpointDocument> = new Map();

  before(async () => {
    server = await TestServer.start(owner);
    endpoints = await deployCode(owner, server, ENDPOINTS, { wrapsInput: false });
  });
  after(async () => {
    for (const step of steps) await step();
  });

  const ask = (name: string, body: unknown, signal?: AbortSignal): Promise<Response> =>
    fetch(`${server.url}/v2/${endpoints.get(name)?.id}/openai/v1/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${server.server.key}` },
      body: JSON.stringify(body),
      ...(signal === undefined ? {} : { signal }),
    });

  test("become jobs with the path and the body, and get the output as it stands", async () => {
    const answer = await ask("echo", { model: "m", messages: [] });
    assert.equal(answer.status, 200);
    assert.deepEqual(await answer.json(), {
      openai_route: "/v1/chat/completions",
      openai_input: { model: "m", messages: [] },
    });
    const url = `${server.url}/v2/${endpoints.get("echo")?.id}/openai/v1/models`;
    const headers = { authorization: `Bearer ${server.server.key}` };
    const models = (await (await fetch(url, { headers })).json()) as Record<string, unknown>;
    assert.deepEqual(models, { openai_route: "/v1/models", openai_input: {} });
  });

  test("of a generator get its one value, or its events as they are when they ask for a stream", async () => {
    const whole = await ask("events", {});
    assert.deepEqual(await whole.json(), { object: "chat.completion" });
    const stream = await ask("events", { stream: true });
    assert.equal(stream.headers.get("content-type"), "text/event-stream");
    assert.equal(await stream.text(), 'data: {"n":1}\n\ndata: {"n":2}\n\ndata: [DONE]\n\n');
  });

  test("get events of values that are none yet", async () => {
    const stream = await ask("values", { stream: true });
    assert.equal(await stream.text(), 'data: {"n":1}\n\ndata: {"n":2}\n\ndata: [DONE]\n\n');
  });

  test("get failures in the form that the clients read, also before a stream has begun", async () => {
    for (const body of [{ fail: "no model" }, { fail: "no model", stream: true }]) {
      const answer = await ask("echo", body);
      assert.equal(answer.status, 500);
      const { error } = (await answer.json()) as { error: { message: string; type: string } };
      assert.deepEqual([error.message, error.type], ["no model", "server_error"]);
    }
    const unreadable = await fetch(
      `${server.url}/v2/${endpoints.get("echo")?.id}/openai/v1/completions`,
      { method: "POST", headers: { authorization: `Bearer ${server.server.key}` }, body: "{" },
    );
    assert.equal(unreadable.status, 400);
  });

  test("end with their connection", async () => {
    const gone = new AbortController();
    const queue = new Queue(server, endpoints.get("waiting"));
    const asked = ask("waiting", {}, gone.signal).catch(() => undefined);
    const running = await until(async () => (await queue.list("IN_PROGRESS"))[0], {
      what: "the job to run",
    });
    gone.abort();
    await asked;
    await until(async () => (await queue.status(running.id)).status === "CANCELLED", {
      what: "the job to be cancelled",
    });
  });
});
