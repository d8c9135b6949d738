/** How a worker starts and ends: health while loading, drains, crashes, orphans, limits. */

import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";
import { describe, test } from "node:test";
import { freePort } from "../support/flash.ts";
import { until } from "../support/until.ts";
import { parameter, routeOf, writeArtifact } from "./artifact.ts";
import { WorkerProcess } from "./worker-process.ts";

const WAITING = `
const opened = Promise.withResolvers();
route("GET", "/wait", async () => { console.log("waiting"); await opened.promise; return "done"; });
route("POST", "/open", () => { opened.resolve(); return true; });
`;
const WAITING_FUNCTIONS = [routeOf("GET /wait"), routeOf("POST /open")];

async function isWaiting(worker: WorkerProcess): Promise<void> {
  await until(() => worker.stdout.includes("waiting"), { what: "the function to run" });
}

describe("starting", () => {
  test("the worker answers 204 while its code loads, then 200", async (t) => {
    const artifact = writeArtifact(t, {
      kind: "lb",
      functions: [routeOf("GET /a")],
      // Loads for as long as nobody sends SIGUSR2, which would end a process that does not listen yet.
      code: `route("GET", "/a", () => 1);
        const told = new Promise((resolve) => process.once("SIGUSR2", resolve));
        console.log("loading"); await told;`,
    });
    const worker = WorkerProcess.start(t, artifact);
    await until(() => worker.stdout.includes("loading"), { what: "the code to load" });
    assert.equal((await worker.fetch("/ping")).status, 204);
    const early = await worker.fetch("/a");
    assert.equal(early.status, 503);
    assert.equal(early.headers["retry-after"], "1");
    worker.child.kill("SIGUSR2");
    await worker.ready();
    assert.deepEqual((await worker.fetch("/ping")).json, { status: "healthy" });
    assert.equal((await worker.fetch("/a")).text, "1");
  });

  test("PORT, PORT_HEALTH and HEALTH_CHECK_PATH are followed", async (t) => {
    const artifact = writeArtifact(t, {
      kind: "lb",
      functions: [routeOf("GET /a")],
      code: `route("GET", "/a", () => 1);`,
    });
    const [port, healthPort] = [await freePort(), await freePort()];
    await WorkerProcess.startReady(t, artifact, {
      env: {
        FLASH_SOCKET: "",
        PORT: String(port),
        PORT_HEALTH: String(healthPort),
        HEALTH_CHECK_PATH: "/healthz",
      },
    });
    const status = async (url: string): Promise<number> => (await fetch(url)).status;
    assert.equal(await status(`http://127.0.0.1:${port}/a`), 200);
    assert.equal(await status(`http://127.0.0.1:${port}/healthz`), 200);
    assert.equal(await status(`http://127.0.0.1:${port}/ping`), 404);
    assert.equal(await status(`http://127.0.0.1:${healthPort}/healthz`), 200);
  });

  test("code that cannot be loaded ends the worker with code 1, the place and a frame", async (t) => {
    const artifact = writeArtifact(t, {
      kind: "lb",
      functions: [routeOf("GET /a")],
      code: `const model = undefined;\nmodel.load();`,
    });
    const worker = WorkerProcess.start(t, artifact);
    assert.deepEqual(await worker.exited, { code: 1, signal: null });
    const [line] = worker.lines("stderr");
    assert.match(line?.message, /^The code of 'demo' cannot be loaded: TypeError: Cannot read/);
    assert.match(line?.error.stack, /at index\.mjs:\d+:7/);
    assert.match(line?.frame, /> \d+ \| model\.load\(\);\n\s+\|\s+\^/);
  });

  test("a wrong environment is named", async (t) => {
    const artifact = writeArtifact(t, { kind: "lb", functions: [], code: "" });
    const nameless = WorkerProcess.start(t, artifact, { env: { FLASH_RESOURCE_NAME: "" } });
    assert.equal((await nameless.exited).code, 1);
    assert.match(nameless.stderr, /FLASH_RESOURCE_NAME is not set/);
    const other = WorkerProcess.start(t, artifact, { env: { FLASH_RESOURCE_NAME: "other" } });
    assert.equal((await other.exited).code, 1);
    assert.match(other.stderr, /has no endpoint 'other'. It has: demo/);
    const empty = WorkerProcess.start(t, artifact, { env: { FLASH_ARTIFACT_DIR: "/nowhere" } });
    assert.equal((await empty.exited).code, 1);
    assert.match(empty.stderr, /Manifest not found at \/nowhere\/flash_manifest.json/);
  });

  test("a route that the manifest has and the code has not ends the worker", async (t) => {
    const artifact = writeArtifact(t, {
      kind: "lb",
      functions: [routeOf("GET /a"), routeOf("GET /b")],
      code: `route("GET", "/a", () => 1);`,
    });
    const worker = WorkerProcess.start(t, artifact);
    assert.equal((await worker.exited).code, 1);
    assert.match(worker.stderr, /built with the route GET \/b/);
  });
});

describe("ending", () => {
  test("SIGTERM lets running requests finish, closes their connection and exits 0", async (t) => {
    const artifact = writeArtifact(t, { kind: "lb", functions: WAITING_FUNCTIONS, code: WAITING });
    const worker = await WorkerProcess.startReady(t, artifact);
    const agent = new http.Agent({ keepAlive: true });
    t.after(() => agent.destroy());
    const kept = (path: string, method = "GET"): Promise<http.IncomingMessage> =>
      new Promise((resolve, reject) => {
        const { socketPath } = worker;
        const request = http.request({ socketPath, path, method, agent }, resolve);
        request.once("error", reject);
        request.end();
      });
    const answer = kept("/wait");
    await isWaiting(worker);
    // A connection made before the end opens the gate after it.
    const gate = net.connect(worker.socketPath);
    t.after(() => gate.destroy());
    await new Promise((resolve) => gate.once("connect", resolve));
    gate.write("POST /open HTTP/1.1\r\nhost: w\r\ncontent-length: 0\r\n");
    worker.child.kill("SIGTERM");
    await until(() => refused(worker), { what: "the worker to stop accepting" });
    gate.write("\r\n");
    const response = await answer;
    assert.equal(response.headers.connection, "close");
    assert.equal(await textOf(response), '"done"');
    assert.deepEqual(await worker.exited, { code: 0, signal: null });
  });

  test("a second SIGTERM ends the worker at once", async (t) => {
    const artifact = writeArtifact(t, { kind: "lb", functions: WAITING_FUNCTIONS, code: WAITING });
    const worker = await WorkerProcess.startReady(t, artifact);
    worker.open("/wait").on("error", () => undefined);
    await isWaiting(worker);
    worker.child.kill("SIGTERM");
    await until(() => refused(worker), { what: "the worker to stop accepting" });
    worker.child.kill("SIGTERM");
    assert.deepEqual(await worker.exited, { code: 143, signal: null });
  });

  test("a worker whose server is gone exits at once, whatever runs", async (t) => {
    const artifact = writeArtifact(t, { kind: "lb", functions: WAITING_FUNCTIONS, code: WAITING });
    const worker = await WorkerProcess.startReady(t, artifact);
    worker.open("/wait").on("error", () => undefined);
    await isWaiting(worker);
    worker.child.disconnect();
    assert.equal((await worker.exited).code, 1);
  });

  test("an exception that nobody caught fails its own request; the worker finishes the others and exits 1", async (t) => {
    const artifact = writeArtifact(t, {
      kind: "lb",
      functions: [...WAITING_FUNCTIONS, routeOf("GET /stray")],
      code: `${WAITING}
        route("GET", "/stray", () => new Promise(() => setTimeout(() => {
          opened.resolve();
          throw new Error("stray");
        }, 1)));`,
    });
    const worker = await WorkerProcess.startReady(t, artifact);
    const other = worker.fetch("/wait");
    await isWaiting(worker);
    const stray = await worker.fetch("/stray");
    assert.equal(stray.status, 500);
    assert.equal(stray.json.detail, "stray");
    assert.equal((await other).text, '"done"');
    assert.equal((await worker.exited).code, 1);
    assert.match(worker.stderr, /uncaught exception/);
  });
});

describe("limits", () => {
  test("a request over the endpoint's execution timeout answers 504 and its signal is aborted", async (t) => {
    const artifact = writeArtifact(t, {
      kind: "lb",
      options: { executionTimeoutMs: 100 },
      functions: [routeOf("GET /slow"), routeOf("GET /reason")],
      code: `let reason = null;
        route("GET", "/slow", () => new Promise(() => {
          const { signal } = context();
          signal.addEventListener("abort", () => { reason = signal.reason.code; }); }));
        route("GET", "/reason", () => reason);`,
    });
    const worker = await WorkerProcess.startReady(t, artifact);
    const { status, json } = await worker.fetch("/slow");
    assert.equal(status, 504);
    assert.equal(json.code, "EXECUTION_TIMEOUT");
    assert.match(json.detail, /^Execution timeout on demo after 0\.1s/);
    assert.equal((await worker.fetch("/reason")).json, "EXECUTION_TIMEOUT");
  });

  test("a deadline that the caller passes on is kept", async (t) => {
    const artifact = writeArtifact(t, {
      kind: "lb",
      functions: [routeOf("GET /deadline"), routeOf("GET /slow")],
      code: `route("GET", "/deadline", () => context().deadline);
        route("GET", "/slow", () => new Promise(() => {}));`,
    });
    const worker = await WorkerProcess.startReady(t, artifact);
    const deadline = Date.now() + 60_000;
    const given = { "x-flash-deadline": String(deadline) };
    const { json } = await worker.fetch("/deadline", { headers: given });
    assert.equal(json, deadline);
    const past = { "x-flash-deadline": String(Date.now() - 1) };
    const late = await worker.fetch("/slow", { headers: past });
    assert.equal(late.status, 504);
    assert.equal(late.json.code, "CALL_TIMEOUT");
  });
});

describe("schemas of the options", () => {
  test("a Standard Schema judges input and result instead of the types", async (t) => {
    const artifact = writeArtifact(t, {
      kind: "lb",
      functions: [routeOf("GET /half", [parameter("n", { type: "number" })])],
      code: `const schema = (validate) => ({ "~standard": { version: 1, vendor: "test", validate } });
        const input = schema(({ n }) => typeof n === "number" && n % 2 === 0 ? { value: { n } }
          : { issues: [{ message: "must be even", path: ["n"] }] });
        const output = schema((value) => value < 100 ? { value: { half: value } }
          : { issues: [{ message: "is too large" }] });
        declare({ kind: "lb", options: { input, output }, routes: [
          { method: "GET", path: "/half", handler: (n) => n / 2, site: "" }] });`,
    });
    const worker = await WorkerProcess.startReady(t, artifact);
    assert.deepEqual((await worker.fetch("/half?n=8")).json, { half: 4 });
    const odd = await worker.fetch("/half?n=7");
    assert.equal(odd.status, 422);
    assert.deepEqual(odd.json.issues, [{ path: "n", message: "must be even" }]);
    const large = await worker.fetch("/half?n=900");
    assert.equal(large.status, 500);
    assert.equal(large.json.code, "INVALID_OUTPUT");
  });
});

function refused(worker: WorkerProcess): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.connect(worker.socketPath);
    probe.once("connect", () => {
      probe.destroy();
      resolve(false);
    });
    probe.once("error", () => resolve(true));
  });
}

async function textOf(response: http.IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += chunk as string;
  return text;
}
