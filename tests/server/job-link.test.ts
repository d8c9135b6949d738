/** The job link over real connections: what a worker may do, and what happens when it does otherwise. */

import assert from "node:assert/strict";
import http from "node:http";
import type { Duplex } from "node:stream";
import { describe, test, type TestContext } from "node:test";
import type { WorkerKeyDocument } from "../../src/contract/control.ts";
import {
  LINK_PROTOCOL,
  LineReader,
  drainFrame,
  helloFrame,
  postFrame,
  readServerFrame,
  slotsFrame,
  type PostKind,
  type ServerFrame,
} from "../../src/contract/job-link.ts";
import { until } from "../support/until.ts";
import { TestServer } from "./server-support.ts";

type JobFrame = ServerFrame & { kind: "job" };

/** A worker's end of a link. */
class Client {
  readonly socket: Duplex;
  readonly frames: ServerFrame[] = [];
  isClosed = false;

  constructor(socket: Duplex, head: Buffer) {
    this.socket = socket;
    const reader = new LineReader();
    socket.on("data", (bytes: Buffer) => {
      for (const line of reader.read(bytes.toString())) {
        const frame = readServerFrame(line);
        assert.ok(frame, line);
        this.frames.push(frame);
      }
    });
    socket.on("error", () => undefined);
    socket.once("close", () => (this.isClosed = true));
    if (head.length > 0) socket.unshift(head);
  }

  get jobs(): JobFrame["message"][] {
    return this.frames.filter((frame) => frame.kind === "job").map(({ message }) => message);
  }

  async job(count = 1): Promise<JobFrame["message"]> {
    return await until(() => this.jobs[count - 1], { what: `job ${count}` });
  }

  /** Posts and waits for the acknowledgement. */
  async post(post: PostKind, job: JobFrame["message"], text: string): Promise<void> {
    const acks = (): number =>
      this.frames.filter((frame) => frame.kind === "ack" && frame.jobId === job.id).length;
    const before = acks();
    this.socket.write(postFrame({ post, jobId: job.id, attempt: Number(job["attempt"]), text }));
    await until(() => acks() > before, { what: `the acknowledgement of ${post}` });
  }

  async closed(): Promise<void> {
    await until(() => this.isClosed, { what: "the end of the link" });
  }
}

class Setting {
  readonly server: TestServer;
  readonly id: string;

  private constructor(server: TestServer, id: string) {
    this.server = server;
    this.id = id;
  }

  /** A server with an endpoint whose workers others start. */
  static async open(t: TestContext): Promise<Setting> {
    const server = await TestServer.start(t);
    const image = { name: "whisper", kind: "qb", form: "image" } as const;
    const { endpoints } = await server.deploy("shop", [image]);
    return new Setting(server, endpoints[0]?.id ?? "");
  }

  async worker(): Promise<WorkerKeyDocument> {
    const path = "/api/v1/workers?app=shop&environment=production&endpoint=whisper";
    return (await this.server.request(path, { method: "POST" })).json as WorkerKeyDocument;
  }

  /** Opens a link, or gives the status of the refusal. */
  connect(
    { env }: WorkerKeyDocument,
    { key = env["RUNPOD_AI_API_KEY"] ?? "", protocol = LINK_PROTOCOL } = {},
  ): Promise<Client | number> {
    return new Promise((resolve, reject) => {
      const request = http.request(env["FLASH_JOB_LINK"] ?? "", {
        agent: false,
        headers: { authorization: key, connection: "Upgrade", upgrade: protocol },
      });
      request.once("upgrade", (_, socket, head) => resolve(new Client(socket, head)));
      request.once("response", (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      request.once("error", reject);
      request.end();
    });
  }

  /** A link of a worker that holds these jobs and has room for so many. */
  async link(worker: WorkerKeyDocument, slots: number, held: string[] = []): Promise<Client> {
    const client = await this.connect(worker);
    if (typeof client === "number") throw new Error(`refused with ${client}`);
    client.socket.write(helloFrame(held, slots));
    return client;
  }

  async submit(input: string = "{}"): Promise<string> {
    const body = `{"input":${input}}`;
    const { json } = await this.server.request(`/v2/${this.id}/run`, { method: "POST", body });
    return json.id as string;
  }

  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into it freely
  async status(job: string): Promise<{ text: string; json: any }> {
    return await this.server.request(`/v2/${this.id}/status/${job}`);
  }
}

describe("jobs and results", () => {
  test("a job comes at once, its result is on the disk when it is acknowledged, digit for digit", async (t) => {
    const setting = await Setting.open(t);
    const client = await setting.link(await setting.worker(), 1);
    const id = await setting.submit('{"big":12345678901234567890,\n"text":"a\\nb"}');
    const job = await client.job();
    assert.equal(job.id, id);
    assert.deepEqual(job["attempt"], 1);
    assert.deepEqual((job["input"] as { text: string }).text, "a\nb");
    await client.post("done", job, '{"sum":12345678901234567890}');
    const { json, text } = await setting.status(id);
    assert.equal(json.status, "COMPLETED");
    assert.match(text, /"output":\{"sum":12345678901234567890\}/);
  });

  test("progress, chunks and failures have their effect", async (t) => {
    const setting = await Setting.open(t);
    const client = await setting.link(await setting.worker(), 2);
    const [first, second] = [await setting.submit(), await setting.submit()];
    const [one, two] = [await client.job(1), await client.job(2)];
    await client.post("progress", one, '{"percent":50}');
    assert.deepEqual((await setting.status(first)).json.output, { percent: 50 });
    await client.post("chunk", one, '"a"');
    await client.post("chunk", one, '"b"');
    const stream = await setting.server.request(`/v2/${setting.id}/stream/${first}`);
    assert.deepEqual(stream.json.stream, [{ output: "a" }, { output: "b" }]);
    await client.post("failed", two, '{"error":"it broke","retryable":false}');
    const { json } = await setting.status(second);
    assert.deepEqual([json.status, json.error], ["FAILED", "it broke"]);
  });

  test("there are never more jobs under way than slots", async (t) => {
    const setting = await Setting.open(t);
    const client = await setting.link(await setting.worker(), 2);
    for (let count = 0; count < 5; count++) await setting.submit();
    await client.job(2);
    // A third would have come by the time that the answer to a later request has.
    await client.post("progress", client.jobs[0] as JobFrame["message"], "1");
    assert.equal(client.jobs.length, 2);
    client.socket.write(slotsFrame(1));
    await client.job(3);
    await client.post("progress", client.jobs[2] as JobFrame["message"], "1");
    assert.equal(client.jobs.length, 3);
  });

  test("a result of an earlier attempt is acknowledged and changes nothing", async (t) => {
    const setting = await Setting.open(t);
    const worker = await setting.worker();
    const client = await setting.link(worker, 1);
    const id = await setting.submit();
    const job = await client.job();
    await client.post("done", { ...job, attempt: 7 }, '"stale"');
    assert.equal((await setting.status(id)).json.status, "IN_PROGRESS");
    await client.post("done", job, '"right"');
    await client.post("done", job, '"again"');
    assert.equal((await setting.status(id)).json.output, "right");
  });

  test("a cancelled job is named at once", async (t) => {
    const setting = await Setting.open(t);
    const client = await setting.link(await setting.worker(), 5);
    const running = await setting.submit();
    await client.job(1);
    for (let count = 2; count <= 5; count++) {
      const id = await setting.submit();
      const job = await client.job(count);
      await setting.server.request(`/v2/${setting.id}/cancel/${id}`, { method: "POST" });
      // What is said on the link after the cancellation is answered after the word about it.
      await client.post("progress", client.jobs[0] as JobFrame["message"], "1");
      const stops = client.frames.flatMap((frame) => (frame.kind === "stop" ? frame.jobIds : []));
      assert.ok(stops.includes(job.id), `${id} is not among ${stops.join(" ")}`);
    }
    assert.equal((await setting.status(running)).json.status, "IN_PROGRESS");
  });

  test("after 'drain' no job comes, and running ones are finished", async (t) => {
    const setting = await Setting.open(t);
    const client = await setting.link(await setting.worker(), 3);
    const id = await setting.submit();
    const job = await client.job();
    client.socket.write(drainFrame());
    await until(() => client.frames.some(({ kind }) => kind === "drained"), { what: "'drained'" });
    const waiting = await setting.submit();
    await client.post("done", job, "1");
    assert.equal((await setting.status(id)).json.status, "COMPLETED");
    assert.equal((await setting.status(waiting)).json.status, "IN_QUEUE");
    assert.equal(client.jobs.length, 1);
  });
});

describe("broken links", () => {
  test("a result that was not acknowledged is taken over the next link", async (t) => {
    const setting = await Setting.open(t);
    const worker = await setting.worker();
    const client = await setting.link(worker, 1);
    const id = await setting.submit();
    const job = await client.job();
    client.socket.destroy();
    const next = await setting.link(worker, 0, [id]);
    await next.post("done", job, '"kept"');
    const { json } = await setting.status(id);
    assert.deepEqual([json.status, json.output, json.retries], ["COMPLETED", "kept", undefined]);
  });

  test("a job that was lost on its way comes again, and nothing counts as failed", async (t) => {
    const setting = await Setting.open(t);
    const worker = await setting.worker();
    const client = await setting.link(worker, 2);
    const [kept, lost] = [await setting.submit(), await setting.submit()];
    await client.job(2);
    client.socket.destroy();
    const next = await setting.link(worker, 1, [kept]);
    const again = await next.job();
    assert.deepEqual([again.id, again["attempt"]], [lost, 2]);
    await next.post("done", again, "1");
    const { json } = await setting.status(lost);
    assert.deepEqual([json.status, json.retries], ["COMPLETED", undefined]);
    assert.equal((await setting.status(kept)).json.status, "IN_PROGRESS");
  });

  test("a second link of a worker ends the first", async (t) => {
    const setting = await Setting.open(t);
    const worker = await setting.worker();
    const first = await setting.link(worker, 1);
    const second = await setting.link(worker, 1);
    await first.closed();
    const id = await setting.submit();
    assert.equal((await second.job()).id, id);
  });

  for (const [what, text] of [
    ["no JSON", "nonsense\n"],
    ["an unknown frame", '{"please":1}\n'],
    ["a result that is no JSON", '{"done":"a","attempt":1,"output":{]}\n'],
    ["two values in one result", '{"done":"a","attempt":1,"output":1,"output":2}\n'],
    ["a second greeting", '{"hello":[],"slots":1}\n'],
    ["bytes without an end", "x".repeat(23 * 1024 * 1024)],
  ] as const) {
    test(`${what} ends the link and harms nothing`, async (t) => {
      const setting = await Setting.open(t);
      const worker = await setting.worker();
      const client = await setting.link(worker, 1);
      const id = await setting.submit();
      const job = await client.job();
      client.socket.write(text);
      await client.closed();
      const next = await setting.link(worker, 1, [id]);
      await next.post("done", job, "1");
      // Nobody pings: where all this takes as long as a lease, the job comes again.
      for (let count = 1; (await setting.status(id)).json.status !== "COMPLETED"; count++) {
        await next.post("done", await next.job(count), "1");
      }
    });
  }

  test("a link begins with a greeting", async (t) => {
    const setting = await Setting.open(t);
    const client = await setting.connect(await setting.worker());
    assert.ok(client instanceof Client);
    client.socket.write(slotsFrame(1));
    await client.closed();
  });
});

describe("who may open one", () => {
  test("the worker that the path names, and nobody else", async (t) => {
    const setting = await Setting.open(t);
    const [worker, other] = [await setting.worker(), await setting.worker()];
    const [key, operator] = [other.env["RUNPOD_AI_API_KEY"] ?? "", setting.server.server.key];
    assert.equal(await setting.connect(worker, { key }), 401);
    assert.equal(await setting.connect(worker, { key: operator }), 401);
    assert.equal(await setting.connect(worker, { key: "" }), 401);
    assert.equal(await setting.connect(worker, { protocol: "websocket" }), 400);
    assert.ok((await setting.connect(worker)) instanceof Client);
  });
});
