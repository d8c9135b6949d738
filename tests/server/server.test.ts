import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import { SqliteStore } from "../../src/server/server.ts";
import { FlashError } from "../../src/contract/errors.ts";
import type { Clock } from "../../src/kit/clock.ts";
import { LATE_CLOCK } from "../support/clocks.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { TestServer, backwards, isAlive, type EndpointSpec } from "./server-support.ts";

const QUEUE: EndpointSpec = {
  name: "queue",
  kind: "qb",
  options: { workers: [0, 1], idleTimeoutS: 1 },
};

async function queue(
  t: TestContext,
  options: EndpointSpec["options"] = {},
  clock?: Clock,
): Promise<{ server: TestServer; url: string }> {
  const server = await TestServer.start(t, clock === undefined ? {} : { clock });
  const { endpoints } = await server.deploy("shop", [
    { ...QUEUE, options: { ...QUEUE.options, ...options } },
  ]);
  return { server, url: endpoints[0]?.url ?? "" };
}

/** What jobs and requests wait for, so that they run until the test has seen it. */
function gate(t: TestContext): { file: string; open: () => void } {
  const file = path.join(temporaryFolder(t), "gate");
  return { file, open: () => writeFileSync(file, "") };
}

function post(input: unknown) {
  return { method: "POST", body: JSON.stringify({ input }) };
}

async function untilDone(server: TestServer, url: string, id: string) {
  return await until(
    async () => {
      const { json } = await server.request(`${url}/status/${id}`);
      return ["COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED"].includes(json.status) && json;
    },
    { what: `the end of job ${id}` },
  );
}

describe("queue endpoints", () => {
  test("a job starts the first worker at once", async (t) => {
    // Nobody looks at the queue every now and then here: it is the job that wakes the scaler.
    const { server, url } = await queue(t, {}, LATE_CLOCK);
    assert.equal(await server.workers("shop", "queue"), 0);
    const { json } = await server.request(`${url}/run`, post({ a: 1 }));
    const job = await untilDone(server, url, json.id);
    assert.equal(job.status, "COMPLETED", JSON.stringify(job));
    assert.deepEqual(job.output.input, { a: 1 });
    assert.ok(isAlive(job.output.pid));
  });

  test("without work there is no worker again", async (t) => {
    const { server, url } = await queue(t);
    const { json } = await server.request(`${url}/runsync`, post({}));
    await server.untilWorkers("shop", "queue", 0);
    assert.equal(isAlive(json.output.pid), false);
  });

  test("jobs that wait longer than the delay bring more workers", async (t) => {
    const { server, url } = await queue(t, { workers: [0, 3], scalerValue: 1 });
    const { file, open } = gate(t);
    const ids = await Promise.all(
      Array.from({ length: 6 }, async () => {
        return (await server.request(`${url}/run`, post({ gate: file }))).json.id as string;
      }),
    );
    await until(async () => (await server.status("shop", "queue")).jobs.inProgress >= 2, {
      what: "two workers with a job each",
    });
    open();
    const jobs = await Promise.all(ids.map((id) => untilDone(server, url, id)));
    assert.ok(jobs.every(({ status }) => status === "COMPLETED"));
    assert.ok(new Set(jobs.map(({ output }) => output.pid)).size >= 2);
  });

  test("a job whose worker is killed with SIGKILL runs again and completes", async (t) => {
    const { server, url } = await queue(t);
    const mark = path.join(temporaryFolder(t), "died");
    const { json } = await server.request(`${url}/runsync`, post({ dieOnce: mark }));
    assert.equal(json.status, "COMPLETED", JSON.stringify(json));
    assert.equal(readFileSync(mark, "utf8"), "died");
    assert.equal(json.retries, 1);
  });

  test("a running job keeps its worker beyond the idle timeout", async (t) => {
    const { server, url } = await queue(t);
    const { json } = await server.request(`${url}/runsync`, post({ sleepMs: 3500 }));
    assert.equal(json.status, "COMPLETED");
    assert.equal(json.retries, undefined);
  });

  test("a job over its execution time fails, and its worker is ended and replaced", async (t) => {
    const { server, url } = await queue(t, { executionTimeoutMs: 5000 });
    const { pid } = (await server.request(`${url}/runsync`, post({}))).json.output;
    const { json } = await server.request(`${url}/runsync`, post({ sleepMs: 60_000 }));
    assert.equal(json.status, "FAILED", JSON.stringify(json));
    await until(() => !isAlive(pid), { what: "the end of the worker" });
    const next = await server.request(`${url}/runsync`, post({}));
    assert.equal(next.json.status, "COMPLETED");
    assert.notEqual(next.json.output.pid, pid);
  });

  test("a worker that asks to be replaced gets no further job", async (t) => {
    const { server, url } = await queue(t);
    const first = await server.request(`${url}/runsync`, post({ stopPod: true }));
    const second = await server.request(`${url}/runsync`, post({}));
    assert.notEqual(first.json.output.pid, second.json.output.pid);
    await until(() => !isAlive(first.json.output.pid), { what: "the end of the first worker" });
  });

  test("a worker that cannot start shows in the status, and the job waits", async (t) => {
    const { server, url } = await queue(t, { env: { START_CRASH: "no model" } });
    const { json } = await server.request(`${url}/run`, post({}));
    await until(async () => (await server.status("shop", "queue")).state === "unhealthy", {
      what: "the crash loop to be seen",
    });
    assert.match((await server.status("shop", "queue")).problem ?? "", /no model/);
    assert.equal((await server.request(`${url}/status/${json.id}`)).json.status, "IN_QUEUE");
    // A release that works takes nothing from the broken one's jobs, and new ones run.
    await server.deploy("shop", [{ ...QUEUE, version: "2" }]);
    assert.equal((await server.request(`${url}/runsync`, post({}))).json.status, "COMPLETED");
  });

  test("jobs run on the release that accepted them; new ones on the new one", async (t) => {
    const { server, url } = await queue(t);
    const { file, open } = gate(t);
    const running = await server.request(`${url}/run`, post({ gate: file }));
    const waiting = await server.request(`${url}/run`, post({}));
    await until(
      async () =>
        (await server.request(`${url}/status/${running.json.id}`)).json.status === "IN_PROGRESS",
      { what: "the first job to run" },
    );
    await server.deploy("shop", [{ ...QUEUE, version: "2" }]);
    open();
    const fresh = await server.request(`${url}/runsync`, post({}));
    assert.equal(fresh.json.output.version, "2");
    const jobs = await Promise.all(
      [running, waiting].map(({ json }) => untilDone(server, url, json.id)),
    );
    assert.deepEqual(
      jobs.map(({ status, output }) => [status, output.version]),
      [
        ["COMPLETED", "1"],
        ["COMPLETED", "1"],
      ],
    );
    assert.equal(jobs[0]?.retries, undefined);
  });

  test("health counts workers the way the platform does", async (t) => {
    const { server, url } = await queue(t, { idleTimeoutS: 3600 });
    await server.request(`${url}/runsync`, post({}));
    const { json } = await server.request(`${url}/health`);
    assert.equal(json.jobs.completed, 1);
    assert.equal(json.workers.idle + json.workers.running, 1);
  });
});

describe("life", () => {
  test("the key is made once, for the owner's eyes only, and survives a restart", async (t) => {
    const home = temporaryFolder(backwards(t), "flash-home");
    const first = await TestServer.start(t, { home });
    const key = readFileSync(path.join(home, "key"), "utf8").trim();
    assert.equal(first.server.key, key);
    assert.equal(statSync(path.join(home, "key")).mode & 0o777, 0o600);
    await first.server.close();
    const second = await TestServer.start(t, { home });
    assert.equal(second.server.key, key);
  });

  test("a port that is taken is named", async (t) => {
    const server = await TestServer.start(t);
    const port = Number(new URL(server.url).port);
    await assert.rejects(TestServer.start(t, { port }), (error: unknown) => {
      assert.ok(FlashError.is(error));
      assert.equal(error.code, "CONFLICT");
      assert.match(error.message, new RegExp(`${port}`));
      return true;
    });
  });

  test("closing lets a running request finish, refuses new ones, and can be called twice", async (t) => {
    const server = await TestServer.start(t);
    const { endpoints } = await server.deploy("shop", [{ name: "api", kind: "lb" }]);
    const url = `${endpoints[0]?.url}`;
    await server.request(`${url}/pid`);
    const { file, open } = gate(t);
    const slow = server.request(`${url}/gate?file=${encodeURIComponent(file)}`);
    await until(async () => (await server.status("shop", "api")).jobs.inProgress === 1, {
      what: "the request to run",
    });
    const closing = [server.server.close(), server.server.close()];
    open();
    assert.equal((await slow).status, 200);
    await Promise.all(closing);
    await assert.rejects(server.request(`${url}/pid`));
  });

  test("closing lasts as long as the running job, however much longer it might", async (t) => {
    const server = await TestServer.start(t);
    const { endpoints } = await server.deploy("shop", [QUEUE]);
    const { file, open } = gate(t);
    const waiting = server.request(`${endpoints[0]?.url}/runsync`, post({ gate: file }));
    await until(async () => (await server.status("shop", "queue")).jobs.inProgress === 1, {
      what: "the job to run",
    });
    // Far beyond what the test may take.
    const closing = server.server.close({ graceMs: 3_600_000 });
    open();
    await closing;
    assert.equal((await waiting).json.status, "COMPLETED");
  });

  test("a client that waits for a job is told its state when the server ends", async (t) => {
    const server = await TestServer.start(t);
    const { endpoints } = await server.deploy("shop", [QUEUE]);
    const url = `${endpoints[0]?.url}`;
    const waiting = server.request(`${url}/runsync`, post({ sleepMs: 60_000 }));
    await until(async () => (await server.status("shop", "queue")).jobs.inProgress === 1, {
      what: "the job to run",
    });
    await server.server.close({ graceMs: 100 });
    const answer = await waiting;
    assert.equal(answer.status, 200);
    assert.equal(answer.json.status, "IN_QUEUE");
  });

  test("what was deployed and what was queued is there after a restart", async (t) => {
    const home = temporaryFolder(backwards(t), "flash-home");
    const start = () =>
      TestServer.start(t, { home, store: new SqliteStore({ home, durability: "strict" }) });
    const first = await start();
    const { endpoints } = await first.deploy("shop", [
      { name: "api", kind: "lb" },
      { ...QUEUE, options: { ...QUEUE.options, env: { START_CRASH: "never" } } },
    ]);
    const queueId = endpoints[1]?.id;
    const { json } = await first.request(`/v2/${queueId}/run`, post({ kept: true }));
    await first.server.close({ graceMs: 0 });
    const second = await start();
    assert.equal((await second.request(`/lb/${endpoints[0]?.id}/pid`)).status, 200);
    const { json: job } = await second.request(`/v2/${queueId}/status/${json.id}`);
    assert.equal(job.status, "IN_QUEUE");
  });

  test("killed with SIGKILL between acceptance and completion, the server loses no job", async (t) => {
    const home = temporaryFolder(backwards(t), "flash-home");
    const program = spawn(
      process.execPath,
      [path.join(import.meta.dirname, "fixture-queue-server.ts"), home],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    t.after(() => program.kill("SIGKILL"));
    const [line] = (await once(program.stdout, "data")) as [Buffer];
    const { path: queuePath, ids } = JSON.parse(line.toString()) as {
      path: string;
      ids: string[];
    };
    program.kill("SIGKILL");
    await once(program, "exit");
    const server = await TestServer.start(t, { home, store: new SqliteStore({ home }) });
    for (const id of ids) {
      const job = await untilDone(server, queuePath, id);
      assert.equal(job.status, "COMPLETED", JSON.stringify(job));
    }
  });
});
