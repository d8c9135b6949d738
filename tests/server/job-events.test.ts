/** A job's stream as server-sent events: many readers, each with its own place. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../support/until.ts";
import { EventReader } from "./event-reader.ts";
import { serveApi, type Api } from "./http-support.ts";

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
  const reader = await EventReader.open(t, `${api.base}/stream/${id}`);
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

test("a reader is told how soon to come back, before anything has happened", async (t) => {
  const api = await serveApi(t);
  const { id } = await api.submit();
  const answer = await fetch(`${api.base}/stream/${id}`, {
    headers: { accept: "text/event-stream" },
  });
  const first = await answer.body?.getReader().read();
  assert.equal(new TextDecoder().decode(first?.value), "retry: 1000\n\n");
});

test("several readers see everything, and so does one that comes late", async (t) => {
  const api = await serveApi(t);
  const { id, chunk } = await start(api);
  const readers = [
    await EventReader.open(t, `${api.base}/stream/${id}`),
    await EventReader.open(t, `${api.base}/stream/${id}`),
  ];
  for (const output of [1, 2, 3]) await chunk(output);
  await api.ok(`/stream/${id}`);
  await api.jobs.done({ jobId: id, workerId: "wk1", body: { output: [] } });
  readers.push(await EventReader.open(t, `${api.base}/stream/${id}`));
  for (const reader of readers) {
    await reader.end();
    assert.deepEqual(reader.data, [1, 2, 3]);
  }
});

test("a reader that lost its connection goes on where it was", async (t) => {
  const api = await serveApi(t);
  const { id, chunk } = await start(api);
  const first = await EventReader.open(t, `${api.base}/stream/${id}`);
  for (const output of [1, 2]) await chunk(output);
  await first.untilData(2);
  const place = first.events[0]?.id;
  assert.equal(place, "1.1");
  first.close();
  await chunk(3);
  await api.jobs.done({ jobId: id, workerId: "wk1", body: { output: [] } });
  const second = await EventReader.open(t, `${api.base}/stream/${id}`, { lastEventId: place });
  await second.end();
  assert.deepEqual(second.data, [2, 3]);
  const third = await EventReader.open(t, `${api.base}/stream/${id}`, { lastEventId: "what?" });
  await third.end();
  assert.deepEqual(third.data, [1, 2, 3], "an id of somebody else means from the beginning");
});

test("a new attempt tells its readers to begin again", async (t) => {
  const api = await serveApi(t);
  const { id, chunk } = await start(api);
  const reader = await EventReader.open(t, `${api.base}/stream/${id}`);
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
  const late = await EventReader.open(t, `${api.base}/stream/${id}`, { lastEventId: away });
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
    const reader = await EventReader.open(t, `${api.base}/stream/${id}`);
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
  const reader = await EventReader.open(t, `${api.base}/stream/${id}`);
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
  const reader = await EventReader.open(t, `${api.base}/stream/${id}`);
  await chunk(1);
  await reader.untilData(1);
  await api.jobs.close();
  await until(() => reader.isOver, { what: "the connection to end" });
  assert.deepEqual(
    reader.events.map(({ event }) => event),
    [undefined],
  );
});
