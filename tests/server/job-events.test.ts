/** A job's stream as server-sent events: many readers, each with its own place. */

import assert from "node:assert/strict";
import http from "node:http";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import { until } from "../support/until.ts";
import { serveApi, type Api } from "./http-support.ts";

interface Event {
  id?: string;
  event?: string;
  data: unknown;
}

class Reader {
  readonly events: Event[] = [];
  comments = 0;
  isOver = false;
  readonly #request: http.ClientRequest;

  private constructor(request: http.ClientRequest, response: http.IncomingMessage) {
    this.#request = request;
    let rest = "";
    response.setEncoding("utf8").on("data", (text: string) => {
      const blocks = (rest + text).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) this.#add(block);
    });
    response.on("error", () => undefined);
    response.on("close", () => (this.isOver = true));
  }

  static async open(t: TestContext, api: Api, id: string, lastEventId?: string): Promise<Reader> {
    const request = http.get(`${api.base}/stream/${id}`, {
      agent: false,
      headers: {
        accept: "text/event-stream",
        ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }),
      },
    });
    request.on("error", () => undefined);
    t.after(() => request.destroy());
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    assert.equal(response.statusCode, 200);
    assert.equal(response.headers["content-type"], "text/event-stream");
    return new Reader(request, response);
  }

  get data(): unknown[] {
    return this.events.filter(({ event }) => event === undefined).map(({ data }) => data);
  }

  get lastId(): string | undefined {
    return this.events.findLast(({ id }) => id !== undefined)?.id;
  }

  close(): void {
    this.#request.destroy();
  }

  async untilData(count: number): Promise<void> {
    await until(() => this.data.length >= count, { what: `${count} chunks` });
  }

  async end(): Promise<Event> {
    await until(() => this.isOver, { what: "the end" });
    const last = this.events.at(-1);
    assert.equal(last?.event, "end");
    return last;
  }

  #add(block: string): void {
    const fields = block.split("\n").map((line): [string, string] => {
      const cut = line.indexOf(":");
      return [line.slice(0, cut), line.slice(cut + 1).trimStart()];
    });
    const valueOf = (name: string): string[] =>
      fields.filter(([field]) => field === name).map(([, value]) => value);
    const data = valueOf("data");
    if (data.length === 0) {
      this.comments += 1;
      return;
    }
    const [id] = valueOf("id");
    const [event] = valueOf("event");
    this.events.push({
      ...(id === undefined ? {} : { id }),
      ...(event === undefined ? {} : { event }),
      data: JSON.parse(data.join("\n")),
    });
  }
}

async function start(
  api: Api,
): Promise<{ id: string; chunk: (output: unknown) => Promise<unknown> }> {
  const { id } = await api.submit();
  await api.take();
  const chunk = (output: unknown): Promise<unknown> =>
    api.jobs.chunk({ jobId: id, workerId: "wk1", output });
  return { id, chunk };
}

test("chunks come as they are made, the end with the job's document", async (t) => {
  const api = await serveApi(t);
  const { id, chunk } = await start(api);
  const reader = await Reader.open(t, api, id);
  await chunk({ token: "a" });
  await reader.untilData(1);
  await chunk("b\nc");
  await reader.untilData(2);
  assert.deepEqual(reader.data, [{ token: "a" }, "b\nc"]);
  await api.jobs.done({ jobId: id, workerId: "wk1", body: { output: [] } });
  const { data } = await reader.end();
  const { status, output } = data as { status: string; output: unknown };
  assert.deepEqual([status, output], ["COMPLETED", []]);
});

test("several readers see everything, and so does one that comes late", async (t) => {
  const api = await serveApi(t);
  const { id, chunk } = await start(api);
  const readers = [await Reader.open(t, api, id), await Reader.open(t, api, id)];
  for (const output of [1, 2, 3]) await chunk(output);
  await api.ok(`/stream/${id}`);
  await api.jobs.done({ jobId: id, workerId: "wk1", body: { output: [] } });
  readers.push(await Reader.open(t, api, id));
  for (const reader of readers) {
    await reader.end();
    assert.deepEqual(reader.data, [1, 2, 3]);
  }
});

test("a reader that lost its connection goes on where it was", async (t) => {
  const api = await serveApi(t);
  const { id, chunk } = await start(api);
  const first = await Reader.open(t, api, id);
  for (const output of [1, 2]) await chunk(output);
  await first.untilData(2);
  const place = first.events[0]?.id;
  assert.equal(place, "1.1");
  first.close();
  await chunk(3);
  await api.jobs.done({ jobId: id, workerId: "wk1", body: { output: [] } });
  const second = await Reader.open(t, api, id, place);
  await second.end();
  assert.deepEqual(second.data, [2, 3]);
  const third = await Reader.open(t, api, id, "what?");
  await third.end();
  assert.deepEqual(third.data, [1, 2, 3], "an id of somebody else means from the beginning");
});

test("a new attempt tells its readers to begin again", async (t) => {
  const api = await serveApi(t);
  const { id, chunk } = await start(api);
  const reader = await Reader.open(t, api, id);
  for (const output of ["old 1", "old 2"]) await chunk(output);
  await reader.untilData(2);
  const away = reader.lastId;
  await api.jobs.workerGone("wk1", { code: null, signal: "SIGKILL" });
  await api.take("wk2");
  const again = (output: unknown): Promise<unknown> =>
    api.jobs.chunk({ jobId: id, workerId: "wk2", output });
  for (const output of ["new 1", "new 2", "new 3"]) await again(output);
  await api.jobs.done({ jobId: id, workerId: "wk2", body: { output: [] } });
  await reader.end();
  const told = reader.events.map(({ event, data }) => event ?? data);
  assert.deepEqual(told, ["old 1", "old 2", "restart", "new 1", "new 2", "new 3", "end"]);
  const late = await Reader.open(t, api, id, away);
  await late.end();
  const toldLate = late.events.map(({ event, data }) => event ?? data);
  assert.deepEqual(toldLate, ["restart", "new 1", "new 2", "new 3", "end"]);
});

test("a job without a stream gives its result at the end; a failed one its error", async (t) => {
  const api = await serveApi(t);
  for (const [body, expected] of [
    [{ output: 7 }, { status: "COMPLETED", output: 7 }],
    [
      { error: "boom", retryable: false },
      { status: "FAILED", error: "boom" },
    ],
  ] as const) {
    const { id } = await start(api);
    const reader = await Reader.open(t, api, id);
    await api.jobs.done({ jobId: id, workerId: "wk1", body });
    const { data } = await reader.end();
    const { status, output, error } = data as Record<string, unknown>;
    assert.deepEqual(
      { output, error, status },
      { output: undefined, error: undefined, ...expected },
    );
  }
});

test("a quiet stream is kept alive", async (t) => {
  const api = await serveApi(t);
  const { id } = await start(api);
  const reader = await Reader.open(t, api, id);
  await until(
    async () => {
      await api.pass(5000);
      return reader.comments >= 2;
    },
    { what: "two comments" },
  );
  assert.deepEqual(reader.events, []);
});

test("an unknown job is 404, and the end of the server is no end of the job", async (t) => {
  const api = await serveApi(t);
  const headers = { accept: "text/event-stream" };
  assert.equal((await api.ask("/stream/nothing", { headers })).status, 404);
  const { id, chunk } = await start(api);
  const reader = await Reader.open(t, api, id);
  await chunk(1);
  await reader.untilData(1);
  await api.jobs.close();
  await until(() => reader.isOver, { what: "the connection to end" });
  assert.deepEqual(
    reader.events.map(({ event }) => event),
    [undefined],
  );
});
