/** Workers that somebody else starts: their keys, their presence, their end. */

import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import type { WorkerKeyDocument } from "../../src/contract/control.ts";
import { ManualClock } from "../../src/kit/clock.ts";
import { SqliteStore } from "../../src/server/server.ts";
import { noWorkers } from "../../src/server/workers/roster.ts";
import { Guests } from "../../src/server/workers/guests.ts";
import { StoppedClock } from "../support/clocks.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { TestServer, type Answer } from "./server-support.ts";

const IMAGE = { name: "whisper", kind: "qb", form: "image" } as const;
const WHERE = "app=shop&environment=production";

/** What a worker does with its environment. */
class Guest {
  readonly key: WorkerKeyDocument;
  readonly #server: TestServer;

  constructor(server: TestServer, key: WorkerKeyDocument) {
    this.#server = server;
    this.key = key;
  }

  static async of(server: TestServer): Promise<Guest> {
    const answer = await server.request(`/api/v1/workers?${WHERE}&endpoint=whisper`, {
      method: "POST",
    });
    assert.equal(answer.status, 200, answer.text);
    return new Guest(server, answer.json as WorkerKeyDocument);
  }

  ask(variable: string, body?: string): Promise<Answer> {
    const { env } = this.key;
    const [name = "", job = ""] = variable.split(" ");
    return this.#server.request((env[`RUNPOD_WEBHOOK_${name}`] ?? "").replace("$ID", job), {
      method: body === undefined ? "GET" : "POST",
      key: null,
      headers: { authorization: env["RUNPOD_AI_API_KEY"] ?? "" },
      ...(body === undefined ? {} : { body }),
    });
  }
}

async function submit(server: TestServer, id: string): Promise<string> {
  const body = JSON.stringify({ input: { text: "a" } });
  return (await server.request(`/v2/${id}/run`, { method: "POST", body })).json.id as string;
}

async function start(t: TestContext, home?: string): Promise<{ server: TestServer; id: string }> {
  const options = home === undefined ? {} : { home, store: new SqliteStore({ home }) };
  const server = await TestServer.start(t, options);
  const { endpoints } = await server.deploy("shop", [IMAGE, { name: "code", kind: "qb" }]);
  return { server, id: endpoints.find(({ name }) => name === "whisper")?.id ?? "" };
}

describe("worker keys", () => {
  test("a worker with a key takes jobs and ends them", async (t) => {
    const { server, id } = await start(t);
    const job = await submit(server, id);
    const guest = await Guest.of(server);
    assert.equal((await guest.ask("PING")).status, 200);
    const taken = await guest.ask("GET_JOB");
    assert.deepEqual([taken.json.id, taken.json.input], [job, { text: "a" }]);
    await guest.ask(`POST_OUTPUT ${job}`, '{"output":1}');
    const { json } = await server.request(`/v2/${id}/status/${job}`);
    assert.deepEqual([json.status, json.output, json.workerId], ["COMPLETED", 1, guest.key.worker]);
  });

  test("a take URL in which the worker has left its id unexpanded is the worker's own", async (t) => {
    const { server, id } = await start(t);
    const job = await submit(server, id);
    const guest = await Guest.of(server);
    const authorization = guest.key.env["RUNPOD_AI_API_KEY"] ?? "";
    const ask = (path: string): Promise<Answer> =>
      server.request(`/v2/${id}/${path}`, { key: null, headers: { authorization } });
    const taken = await ask("job-take/$RUNPOD_POD_ID&job_in_progress=0");
    assert.deepEqual([taken.status, taken.json.id], [200, job]);
    assert.equal((await ask("ping/%24RUNPOD_POD_ID?job_id=")).status, 200);
    const { json } = await server.request(`/v2/${id}/status/${job}`);
    assert.equal(json.workerId, guest.key.worker);
    // The literal stands for nobody else, and no other name does.
    assert.equal((await ask("ping/$OTHER_ID?job_id=")).status, 401);
  });

  test("no worker of the server's own is started for an image", async (t) => {
    const { server, id } = await start(t);
    await submit(server, id);
    const guest = await Guest.of(server);
    await guest.ask("PING");
    const { workers, problem } = await server.status("shop", "whisper");
    assert.deepEqual(workers, { ...noWorkers(), IDLE: 1 });
    assert.equal(problem, undefined);
  });

  test("the templates name the URL under which the worker reaches the server", async (t) => {
    const { server } = await start(t);
    const url = encodeURIComponent("https://jobs.example.com/flash/");
    const { json } = await server.request(`/api/v1/workers?${WHERE}&endpoint=whisper&url=${url}`, {
      method: "POST",
    });
    const { env, worker } = json as WorkerKeyDocument;
    assert.match(
      env["RUNPOD_WEBHOOK_GET_JOB"] ?? "",
      new RegExp(`^https://jobs.example.com/flash/v2/\\w+/job-take/${worker}\\?`),
    );
    assert.equal(env["RUNPOD_POD_ID"], worker);
    const wrong = await server.request(`/api/v1/workers?${WHERE}&endpoint=whisper&url=ftp://a`, {
      method: "POST",
    });
    assert.equal(wrong.status, 400);
  });

  test("an endpoint with code of its own takes no such workers", async (t) => {
    const { server } = await start(t);
    const answer = await server.request(`/api/v1/workers?${WHERE}&endpoint=code`, {
      method: "POST",
    });
    assert.equal(answer.status, 400);
    assert.match(answer.json.detail, /'code' runs its own code/);
  });

  test("a key opens only its own worker's part of the protocol", async (t) => {
    const { server, id } = await start(t);
    const [first, second] = [await Guest.of(server), await Guest.of(server)];
    const headers = { authorization: first.key.env["RUNPOD_AI_API_KEY"] ?? "" };
    const asOther = `/v2/${id}/ping/${second.key.worker}?gpu=CPU`;
    assert.equal((await server.request(asOther, { key: null, headers })).status, 401);
    const control = `/api/v1/workers?${WHERE}&endpoint=whisper`;
    assert.equal(
      (await server.request(control, { method: "POST", key: null, headers })).status,
      403,
    );
  });

  test("a key survives the server, and the job that runs goes on", async (t) => {
    const home = temporaryFolder(t);
    const { server, id } = await start(t, home);
    const guest = await Guest.of(server);
    const job = await submit(server, id);
    await guest.ask("GET_JOB");
    await server.server.close({ graceMs: 0 });

    const again = await TestServer.start(t, { home, store: new SqliteStore({ home }) });
    const moved = new Guest(again, {
      ...guest.key,
      env: Object.fromEntries(
        Object.entries(guest.key.env).map(([name, value]) => [
          name,
          value.replace(server.url, again.url),
        ]),
      ),
    });
    await moved.ask(`POST_OUTPUT ${job}`, '{"output":1}');
    const { json } = await again.request(`/v2/${id}/status/${job}`);
    assert.deepEqual([json.status, json.retries], ["COMPLETED", undefined]);
  });

  test("a key that was removed is void when its worker is not there, and unknown from then on", async (t) => {
    const { server } = await start(t);
    const guest = await Guest.of(server);
    const path = `/api/v1/workers?${WHERE}&endpoint=whisper&worker=${guest.key.worker}`;
    assert.equal((await server.request(path, { method: "DELETE" })).status, 200);
    assert.equal((await guest.ask("PING")).status, 401);
    assert.equal((await server.request(path, { method: "DELETE" })).status, 404);
  });

  test("keys go with their endpoint", async (t) => {
    const { server, id } = await start(t);
    const guest = await Guest.of(server);
    const code = (await server.status("shop", "code")).id;
    const headers = { authorization: guest.key.env["RUNPOD_AI_API_KEY"] ?? "" };
    const health = (): Promise<Answer> =>
      server.request(`/v2/${code}/health`, { key: null, headers });
    assert.equal((await health()).status, 200);
    await server.request(`/api/v1/endpoints?${WHERE}&name=whisper`, { method: "DELETE" });
    assert.equal((await health()).status, 401);
    assert.equal((await server.request(`/v2/${id}/health`)).status, 404);
  });

  test("a removed worker may say how its job ended", async (t) => {
    const { server, id } = await start(t);
    const guest = await Guest.of(server);
    const job = await submit(server, id);
    await guest.ask("GET_JOB");
    await server.request(`/api/v1/workers?${WHERE}&endpoint=whisper&worker=${guest.key.worker}`, {
      method: "DELETE",
    });
    const other = await submit(server, id);
    assert.equal((await guest.ask("GET_JOB")).status, 204, "no more jobs");
    await guest.ask(`POST_OUTPUT ${job}`, '{"output":1}');
    assert.equal((await server.request(`/v2/${id}/status/${job}`)).json.status, "COMPLETED");
    assert.equal((await server.request(`/v2/${id}/status/${other}`)).json.status, "IN_QUEUE");
    await until(async () => (await guest.ask("PING")).status === 401, {
      what: "the key to be void",
      everyMs: 2000,
    });
  });
});

describe("presence", () => {
  function setUp(clock = new ManualClock()): {
    clock: ManualClock;
    guests: Guests;
    heard: string[];
  } {
    const heard: string[] = [];
    const guests = new Guests({
      clock,
      onArrived: (id) => heard.push(`${id} arrived`),
      onGone: (id) => heard.push(`${id} gone`),
      onDraining: (id) => heard.push(`${id} draining`),
    });
    return { clock, guests, heard };
  }

  test("a guest is gone after five silent seconds", () => {
    const { clock, guests, heard } = setUp();
    guests.enter("a")();
    clock.advance(4000);
    guests.enter("a")();
    clock.advance(4999);
    assert.deepEqual(heard, ["a arrived"]);
    clock.advance(1);
    assert.deepEqual(heard, ["a arrived", "a gone"]);
    assert.equal(guests.size, 0);
  });

  test("one that could not be heard, as the server stood still, is not gone for that", () => {
    const clock = new StoppedClock();
    const { guests, heard } = setUp(clock);
    guests.enter("a")();
    guests.enter("b")();
    clock.advance(4000);
    clock.standStill(60_000);
    clock.advance(1000);
    guests.enter("a")();
    clock.advance(1500);
    assert.deepEqual(heard, ["a arrived", "b arrived", "b gone"]);
  });

  test("an open poll is a sign of life", () => {
    const { clock, guests, heard } = setUp();
    const leave = guests.enter("a");
    clock.advance(60_000);
    assert.deepEqual(heard, ["a arrived"]);
    leave();
    clock.advance(10_000);
    assert.deepEqual(heard, ["a arrived", "a gone"]);
  });

  test("one that drains is let go sooner, and counts as draining until then", () => {
    const { clock, guests, heard } = setUp();
    guests.enter("a")();
    guests.enter("b")();
    guests.drain("a", () => heard.push("void"));
    const counts = noWorkers();
    guests.addTo(counts);
    assert.deepEqual(counts, { ...noWorkers(), DRAINING: 1, IDLE: 1 });
    assert.deepEqual(guests.ready(), ["b"]);
    clock.advance(1500);
    assert.deepEqual(heard, ["a arrived", "b arrived", "a draining", "a gone", "void"]);
  });

  test("after the end nobody arrives any more", () => {
    const { clock, guests, heard } = setUp();
    guests.enter("a")();
    guests.close();
    guests.enter("b")();
    clock.advance(60_000);
    assert.deepEqual(heard, ["a arrived", "a draining"]);
  });
});
