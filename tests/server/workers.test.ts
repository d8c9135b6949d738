import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { pbkdf2 } from "node:crypto";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import path from "node:path";
import { describe, test } from "node:test";
import type { WorkerLine } from "../../src/contract/compute.ts";
import { tagText } from "../../src/contract/logs.ts";
import { ManualClock } from "../../src/kit/clock.ts";
import { FlashError } from "../../src/contract/errors.ts";
import { newId } from "../../src/kit/ids.ts";
import { Failures } from "../../src/server/workers/failures.ts";
import { Holds } from "../../src/server/workers/holds.ts";
import { Lines } from "../../src/server/workers/lines.ts";
import { ProcessCompute } from "../../src/server/workers/process-compute.ts";
import { readAffinity, select, type Candidate } from "../../src/server/workers/select.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { TestServer, backwards, isAlive } from "./server-support.ts";

describe("output", () => {
  function collect(clock = new ManualClock()) {
    const seen: WorkerLine[] = [];
    const pauses: boolean[] = [];
    const lines = new Lines({
      stream: "stdout",
      clock,
      onLine: (line) => seen.push(line),
      onPause: (isPaused) => pauses.push(isPaused),
    });
    return { lines, clock, seen, pauses, texts: () => seen.map(({ text }) => text) };
  }

  test("lines are cut at line ends, whatever the chunks are", () => {
    const { lines, texts } = collect();
    for (const part of ["on", "e\ntwo\r\n\nth", "ree"]) lines.push(Buffer.from(part));
    assert.deepEqual(texts(), ["one", "two", ""]);
    lines.end();
    assert.deepEqual(texts(), ["one", "two", "", "three"]);
  });

  test("a character that is split over chunks stays whole", () => {
    const { lines, texts } = collect();
    const bytes = Buffer.from("grüße €\n");
    for (const byte of bytes) lines.push(Buffer.from([byte]));
    assert.deepEqual(texts(), ["grüße €"]);
  });

  test("a line without an end comes in bounded pieces, each marked and with the line's facts", () => {
    const { lines, texts, seen } = collect();
    lines.push(Buffer.from(tagText({ stream: "stderr", job: "j1" })));
    for (let part = 0; part < 5; part++) lines.push(Buffer.alloc(40_000, 97));
    lines.end();
    assert.ok(texts().every((text) => text.length <= 64 * 1024 + 40_000));
    assert.equal(texts().join("").length, 200_000);
    assert.ok(seen.every(({ job, stream }) => job === "j1" && stream === "stderr"));
    assert.deepEqual(
      seen.map(({ cut }) => cut === true),
      [...seen.slice(1).map(() => true), false],
    );
  });

  test("what a terminal would act upon is taken out", () => {
    const { lines, texts } = collect();
    lines.push(Buffer.from("\u001b[1;31mred\u001b[0m \u001b]0;title\u0007text\n"));
    lines.push(Buffer.from("10%\r50%\r100%\n"));
    lines.push(Buffer.from([0, 1, 2, 255, 254, 10]));
    lines.push(Buffer.from("tab\tstays\n"));
    assert.deepEqual(texts(), ["red text", "100%", "\ufffd\ufffd\ufffd", "tab\tstays"]);
  });

  test("a tag says whose line it is, and what is none is text", () => {
    const { lines, clock, seen } = collect();
    const tag = tagText({
      level: "warn",
      job: "j",
      attempt: 2,
      message: "two\nlines",
      fields: { n: 1 },
    });
    lines.push(Buffer.from(`${tag}\n\u001e{"job":5,"level":"loud"}\u001ftext\n\u001enothing\n`));
    const at = clock.now();
    const facts = seen.map((line) => ({ ...line, at: line.at - at }));
    assert.deepEqual(facts, [
      {
        stream: "stdout",
        level: "warn",
        job: "j",
        attempt: 2,
        text: "two\nlines",
        fields: { n: 1 },
        at: 0,
      },
      { stream: "stdout", text: "text", at: 0 },
      { stream: "stdout", text: "\ufffdnothing", at: 0 },
    ]);
  });

  test("a flood of next to nothing is one as well", () => {
    const { lines, clock, texts } = collect();
    for (let part = 0; part < 16; part++) lines.push(Buffer.alloc(64 * 1024, "\n"));
    clock.advance(1000);
    lines.push(Buffer.from("after\n"));
    assert.ok(texts().length < 100_000, `${texts().length} lines of a million`);
    assert.match(texts().at(-2) ?? "", /^… \d+ bytes of output dropped/);
    assert.equal(texts().at(-1), "after");
  });

  test("who floods even so is not read until the second is over", () => {
    const { lines, clock, pauses } = collect();
    for (let part = 0; part < 16; part++) lines.push(Buffer.alloc(1024 * 1024, "x\n"));
    assert.equal(pauses[0], true);
    clock.advance(1000);
    assert.equal(pauses.at(-1), false);
  });

  test("a flood is dropped for the rest of its second, and that is said", () => {
    const { lines, clock, texts } = collect();
    for (let part = 0; part < 40; part++) lines.push(Buffer.alloc(64 * 1024, "x\n"));
    clock.advance(1000);
    lines.push(Buffer.from("after\n"));
    assert.equal(texts().at(-1), "after");
    assert.match(texts().at(-2) ?? "", /^… \d+ bytes of output dropped/);
  });
});

describe("selection", () => {
  const bounds = { capacity: 4, limit: 1000 };
  const candidate = (id: string, load: number, changes: Partial<Candidate> = {}): Candidate => ({
    id,
    load,
    isReady: true,
    mayBecomeReady: false,
    isCurrent: true,
    ...changes,
  });

  test("the affinity header has four forms", () => {
    assert.deepEqual(readAffinity(undefined), { mode: "none" });
    assert.deepEqual(readAffinity("  "), { mode: "none" });
    assert.deepEqual(readAffinity("w1"), { mode: "soft", workerId: "w1" });
    assert.deepEqual(readAffinity("strict w1"), { mode: "strict", workerId: "w1" });
    assert.deepEqual(readAffinity("strict-resume w1"), { mode: "strict-resume", workerId: "w1" });
    assert.deepEqual(readAffinity("strict"), { mode: "soft", workerId: "strict" });
  });

  test("the least busy ready worker is taken, of the active release when there is one", () => {
    const workers = [
      candidate("old", 0, { isCurrent: false }),
      candidate("busy", 5),
      candidate("free", 2),
      candidate("ill", 0, { isReady: false }),
    ];
    const chosen = select(workers, { mode: "none" }, bounds);
    assert.equal(chosen.kind === "worker" && chosen.worker.id, "free");
    const only = select([workers[0] as Candidate], { mode: "none" }, bounds);
    assert.equal(only.kind === "worker" && only.worker.id, "old");
    assert.equal(select([workers[3] as Candidate], { mode: "none" }, bounds).kind, "wait");
    const full = select([workers[1] as Candidate], { mode: "none" }, { ...bounds, limit: 5 });
    assert.equal(full.kind, "wait");
  });

  test("a wished-for worker at capacity: soft goes elsewhere, strict waits", () => {
    const workers = [candidate("full", 4), candidate("other", 1)];
    const soft = select(workers, { mode: "soft", workerId: "full" }, bounds);
    assert.equal(soft.kind === "worker" && soft.worker.id, "other");
    assert.equal(select(workers, { mode: "strict", workerId: "full" }, bounds).kind, "wait");
    assert.equal(select(workers, { mode: "strict", workerId: "none" }, bounds).kind, "gone");
  });
});

describe("held requests", () => {
  const late = () => new FlashError("NO_WORKER", "too late");
  const wait = { kind: "wait" } as const;
  const { signal } = new AbortController();

  test("they are answered in the order they came, when something has changed", async () => {
    const holds = new Holds(new ManualClock());
    let free = 0;
    const attempt = () => (free > 0 ? ({ kind: "got", value: free-- } as const) : wait);
    const order: string[] = [];
    const held = ["a", "b", "c"].map(async (name) => {
      await holds.wait({ attempt, takesAny: true, waitMs: 1000, timedOut: late, signal });
      order.push(name);
    });
    assert.equal(holds.size, 3);
    free = 2;
    holds.retry();
    await held[1];
    assert.deepEqual(order, ["a", "b"]);
    assert.equal(holds.size, 1);
    free = 1;
    holds.retry();
    await Promise.all(held);
    assert.equal(holds.size, 0);
  });

  test("the wait ends: by time, by the client, by a refusal", async () => {
    const clock = new ManualClock();
    const holds = new Holds(clock);
    const request = {
      attempt: () => wait,
      takesAny: true,
      waitMs: 120_000,
      timedOut: late,
      signal,
    };
    const slow = holds.wait(request);
    clock.advance(119_999);
    assert.equal(holds.oldestMs(), 119_999);
    assert.equal(holds.size, 1);
    clock.advance(1);
    await assert.rejects(slow, /too late/);
    const leaving = new AbortController();
    const left = holds.wait({ ...request, signal: leaving.signal });
    leaving.abort(new Error("the client has gone"));
    await assert.rejects(left, /the client has gone/);
    const refused = holds.wait(request);
    holds.refuseAll(() => new FlashError("UNAVAILABLE", "stopping"));
    await assert.rejects(refused, /stopping/);
    const hopeless = { kind: "refused", error: new Error("hopeless") } as const;
    await assert.rejects(holds.wait({ ...request, attempt: () => hopeless }), /hopeless/);
    assert.equal(holds.size, 0);
  });

  test("too many are refused at once", async () => {
    const holds = new Holds(new ManualClock());
    const request = { attempt: () => wait, takesAny: true, waitMs: 1000, timedOut: late, signal };
    const held = Array.from({ length: 2000 }, () => holds.wait(request));
    await assert.rejects(holds.wait(request), (error: unknown) => {
      assert.ok(FlashError.is(error));
      assert.equal(error.status, 429);
      return true;
    });
    holds.refuseAll(late);
    await Promise.allSettled(held);
  });
});

describe("failed starts", () => {
  test("each waits longer than the one before, and the third one makes it certain", () => {
    const failures = new Failures();
    const waits: number[] = [];
    for (let count = 0; count < 12; count++) {
      assert.equal(failures.problem, count < 3 ? undefined : "boom");
      failures.add("boom", 0);
      waits.push(failures.nextStartAt);
    }
    assert.ok((waits[0] ?? 0) < 1000);
    assert.ok(
      waits.slice(0, 6).every((wait, index) => index === 0 || wait > (waits[index - 1] ?? 0)),
    );
    assert.ok((waits.at(-1) ?? 0) <= 72_000);
    failures.clear();
    assert.equal(failures.problem, undefined);
  });
});

/** Until it is released, each operation on a file waits longer than Node takes to start: its threads have other work. */
function occupyFiles(): () => void {
  let isOver = false;
  const work = (): void => {
    if (!isOver) pbkdf2("word", "salt", 200_000, 64, "sha512", work);
  };
  for (let thread = 0; thread < 8; thread++) work();
  return () => (isOver = true);
}

describe("worker processes", () => {
  test("a worker sees its own variables, four of the machine, and nothing else of the server", async (t) => {
    process.env["SECRET_OF_THE_SERVER"] = "do not leak";
    t.after(() => delete process.env["SECRET_OF_THE_SERVER"]);
    const server = await TestServer.start(t);
    const { endpoints } = await server.deploy("shop", [
      {
        name: "api",
        kind: "lb",
        options: { env: { OWN: "1", FLASH_API_KEY: "mine", RUNPOD_POD_ID: "mine" } },
      },
      { name: "other", kind: "lb", options: { env: { OTHER_SECRET: "2" } } },
    ]);
    const { json: env } = await server.request(`${endpoints[0]?.url}/env`);
    assert.equal(env["OWN"], "1");
    assert.equal(env["SECRET_OF_THE_SERVER"], undefined);
    assert.equal(env["OTHER_SECRET"], undefined);
    assert.notEqual(env["FLASH_API_KEY"], "mine");
    assert.match(env["FLASH_API_KEY"], /^flashw_/);
    assert.notEqual(env["RUNPOD_POD_ID"], "mine");
    assert.equal(env["FLASH_URL"], server.url);
    const foreign = Object.keys(env).filter(
      (name) =>
        !/^(FLASH_|RUNPOD_|NODE_CHANNEL|OWN$|VERSION$|TMPDIR$|PATH$|HOME$|TZ$|LANG$)/.test(name),
    );
    assert.deepEqual(foreign, []);
  });

  test("a worker that ends before the server has recorded it has its words kept", async (t) => {
    const artifactDir = temporaryFolder(t, "flash-words");
    writeFileSync(
      path.join(artifactDir, "worker.mjs"),
      'console.error("no model"); process.exit(3);',
    );
    const compute = new ProcessCompute({ home: temporaryFolder(t, "flash-home") });
    t.after(() => compute.close());
    const lines: string[] = [];
    const release = occupyFiles();
    const worker = await compute.start({
      workerId: newId(),
      endpointId: "e1",
      endpointName: "demo",
      kind: "qb",
      artifactDir,
      env: {},
      onLine: ({ text }) => lines.push(text),
    });
    release();
    assert.deepEqual(await worker.exited, { code: 3, signal: null });
    assert.deepEqual(lines, ["no model"]);
  });

  test("what a worker has started ends with it", async (t) => {
    const server = await TestServer.start(t);
    const { endpoints } = await server.deploy("shop", [
      { name: "api", kind: "lb", options: { env: { CHILD: "1" } } },
    ]);
    await server.request(`${endpoints[0]?.url}/pid`);
    const child = await until(
      async () => Number(/child (\d+)/.exec(await logOf(server))?.[1] ?? 0),
      { what: "the child's id in the log" },
    );
    assert.ok(isAlive(child));
    await server.server.control.remove({ app: "shop", environment: "production" });
    await until(() => !isAlive(child), { what: "the child's end" });
  });

  test("a worker that ignores SIGTERM is killed when the grace is over", async (t) => {
    const server = await TestServer.start(t);
    const { endpoints } = await server.deploy("shop", [
      { name: "api", kind: "lb", options: { env: { IGNORE_SIGTERM: "1" } } },
    ]);
    const { pid } = (await server.request(`${endpoints[0]?.url}/pid`)).json;
    await server.server.close({ graceMs: 200 });
    assert.equal(isAlive(pid), false);
  });

  test("a flood of output reaches the log in part, and hurts nobody", async (t) => {
    const server = await TestServer.start(t);
    const { endpoints } = await server.deploy("shop", [{ name: "api", kind: "lb" }]);
    assert.equal((await server.request(`${endpoints[0]?.url}/flood`)).status, 200);
    assert.equal((await server.request(`${endpoints[0]?.url}/pid`)).status, 200);
    await until(async () => (await logOf(server)).includes("bytes of output dropped"), {
      what: "the note about dropped output",
    });
  });

  test("a server killed with SIGKILL leaves no worker, not even one that does not want to go", async (t) => {
    const home = temporaryFolder(backwards(t), "flash-home");
    const program = spawn(
      process.execPath,
      [path.join(import.meta.dirname, "fixture-server.ts"), home],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    t.after(() => program.kill("SIGKILL"));
    const [line] = (await once(program.stdout, "data")) as [Buffer];
    const { plain, stubborn } = JSON.parse(line.toString()) as { plain: number; stubborn: number };
    assert.ok(isAlive(plain) && isAlive(stubborn));
    program.kill("SIGKILL");
    await until(() => !isAlive(plain), { what: "the worker to notice that its server is gone" });
    assert.ok(isAlive(stubborn), "this one ignores the closed channel");
    await TestServer.start(t, { home });
    await until(() => !isAlive(stubborn), { what: "the next server to end it" });
    assert.deepEqual(readdirSync(path.join(home, "workers")), []);
    assert.equal(existsSync(path.join(home, "run")), false);
  });

  test("a home with a long path has its sockets elsewhere", async (t) => {
    const home = path.join(temporaryFolder(backwards(t), "flash-home"), "x".repeat(90));
    const server = await TestServer.start(t, { home });
    const { endpoints } = await server.deploy("shop", [{ name: "api", kind: "lb" }]);
    assert.equal((await server.request(`${endpoints[0]?.url}/pid`)).status, 200);
  });

  test("sockets and working folders are gone after the end", async (t) => {
    const server = await TestServer.start(t);
    const { endpoints } = await server.deploy("shop", [{ name: "api", kind: "lb" }]);
    const { json: env } = await server.request(`${endpoints[0]?.url}/env`);
    const folder = path.dirname(env["FLASH_SOCKET"]);
    assert.ok(existsSync(env["TMPDIR"]));
    await server.server.close({ graceMs: 1000 });
    assert.equal(existsSync(folder), false);
  });
});

async function logOf(server: TestServer): Promise<string> {
  const lines = await server.server.control.logs(
    { app: "shop", environment: "production" },
    { tail: 10_000, follow: false, signal: AbortSignal.timeout(60_000) },
  );
  const texts: string[] = [];
  for await (const { message } of lines) texts.push(message);
  return texts.join("\n");
}
