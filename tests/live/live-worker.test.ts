/** The live worker by itself: who may use it, what it answers, and what it keeps. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import { canonical } from "../../src/contract/json.ts";
import { LIMITS } from "../../src/contract/limits.ts";
import { LIVE_SECRET_HEADER } from "../../src/contract/live.ts";
import { MANIFEST_FILE, SDK_FILE, type Manifest } from "../../src/contract/manifest.ts";
import type { EndpointOptions } from "../../src/contract/options.ts";
import { serverSentEvents } from "../../src/kit/event-stream.ts";
import { ROOT } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { PRELUDE, parameter, routeOf, signature, writeArtifact } from "../worker/artifact.ts";
import { WorkerProcess, type Answer } from "../worker/worker-process.ts";

const PROGRAM = path.join(ROOT, "src", "worker", "live", "main.ts");
const SECRET = "flashw_of_this_worker";

interface LiveWorker {
  worker: WorkerProcess;
  folder: string;
  /** Sends a request with the secret. */
  send: (body: unknown, headers?: Record<string, string>) => Promise<Answer>;
  /** Sends a call of a function of this code, and the code with it. */
  run: (code: string, call: object, headers?: Record<string, string>) => Promise<Answer>;
}

async function startLive(
  t: TestContext,
  executes: "qb" | "lb" = "lb",
  options: EndpointOptions = {},
): Promise<LiveWorker> {
  const execute = routeOf("POST /execute", [parameter("request", {}, { carrier: "request" })]);
  const folder = writeArtifact(t, { kind: "lb", functions: [execute], code: "", options });
  const file = path.join(folder, MANIFEST_FILE);
  const manifest = JSON.parse(readFileSync(file, "utf8")) as Manifest;
  manifest.endpoints = manifest.endpoints.map((one) => ({ ...one, live: true, executes }));
  writeFileSync(file, JSON.stringify(manifest));
  writeFileSync(path.join(folder, SDK_FILE), "export const shared = {};\n");
  const worker = await WorkerProcess.startReady(t, folder, {
    program: PROGRAM,
    env: { FLASH_API_KEY: SECRET, TMPDIR: folder },
  });
  const send: LiveWorker["send"] = (json, headers = {}) =>
    worker.fetch("/execute", {
      ...(typeof json === "string" ? { body: json } : { json }),
      method: "POST",
      headers: { [LIVE_SECRET_HEADER]: SECRET, ...headers },
    });
  const run: LiveWorker["run"] = (code, call, headers) =>
    send({ ...call, bundle: bundleOf(code) }, headers);
  return { worker, folder, send, run };
}

function bundleOf(code: string): { digest: string; modules: Record<string, string> } {
  const modules = { "index.mjs": `${PRELUDE}\n${code}` };
  return { digest: createHash("sha256").update(canonical(modules)).digest("hex"), modules };
}

/** What the worker keeps of the code that it was sent. */
function filesOf(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.startsWith("flash-live-"));
}

const CALL = { function_name: "f", args: [] };
const ROUTE = { method: "GET", path: "/x" } as const;

describe("who may use a live worker", () => {
  test("nobody without the secret, whatever else they send", async (t) => {
    const { worker } = await startLive(t);
    const body = { ...CALL, bundle: bundleOf(`queue(() => process.exit(9));`) };
    for (const headers of [
      {},
      { [LIVE_SECRET_HEADER]: "wrong" },
      { [LIVE_SECRET_HEADER]: `${SECRET}x` },
      { authorization: `Bearer ${SECRET}` },
    ]) {
      const answer = await worker.fetch("/execute", { json: body, headers });
      assert.equal(answer.status, 403, JSON.stringify(headers));
      assert.equal(answer.json.code, "FORBIDDEN");
    }
    assert.equal((await worker.fetch("/ping")).status, 200);
  });

  test("it does not start without one", async (t) => {
    const folder = writeArtifact(t, { kind: "lb", functions: [], code: "" });
    const worker = WorkerProcess.start(t, folder, { program: PROGRAM });
    assert.equal((await worker.exited).code, 1);
    assert.match(worker.stderr, /A live worker needs a secret/);
  });

  test("it has no other path", async (t) => {
    const { worker } = await startLive(t);
    const headers = { [LIVE_SECRET_HEADER]: SECRET };
    assert.equal((await worker.fetch("/execute", { headers })).status, 405);
    for (const path of ["/", "/x", "/execute/x", "/run"]) {
      assert.equal((await worker.fetch(path, { method: "POST", headers })).status, 404, path);
    }
  });
});

describe("what it says of requests and code that cannot be used", () => {
  const nothing = bundleOf("export const nothing = 1;");
  const outside = { "index.mjs": "", "../../evil.mjs": "x" };
  const large = { "index.mjs": "/".repeat(LIMITS.liveBundleBytes + 1) };
  const digestOf = (modules: object): string =>
    createHash("sha256").update(canonical(modules)).digest("hex");
  const refusals: [title: string, body: unknown, error: RegExp, code: string][] = [
    ["a body that is no JSON", "{x", /^Invalid request body: .*JSON/, "INVALID_REQUEST"],
    [
      "a body that is no object",
      [],
      /^Invalid request body: it is no JSON object/,
      "INVALID_REQUEST",
    ],
    [
      "neither name nor code",
      {},
      /^Missing function_name or function_code in request$/,
      "INVALID_REQUEST",
    ],
    ["no code", CALL, /^Missing function_name or function_code in request$/, "INVALID_REQUEST"],
    [
      "no name",
      { bundle: nothing },
      /^function_name is required when execution_type is "function"$/,
      "INVALID_REQUEST",
    ],
    [
      "no class",
      { execution_type: "class", bundle: nothing },
      /^class_name is required when execution_type is "class"$/,
      "INVALID_REQUEST",
    ],
    [
      "arguments that are no list",
      { ...CALL, args: {}, bundle: nothing },
      /^Failed to deserialize arguments: /,
      "INVALID_REQUEST",
    ],
    [
      "a function that is not there",
      { ...CALL, bundle: nothing },
      /^Function 'f' not found in executed code$/,
      "NOT_FOUND",
    ],
    [
      "a class that is not there",
      { execution_type: "class", class_name: "C", args: [], bundle: bundleOf("queue(() => 1);") },
      /^Class 'C' not found in the provided code$/,
      "NOT_FOUND",
    ],
    [
      "a method that is not there",
      {
        execution_type: "class",
        class_name: "C",
        method_name: "m",
        args: [],
        bundle: bundleOf("queueClass(class C { _m() {} });"),
      },
      /^Method 'm' not found in class 'C'$/,
      "NOT_FOUND",
    ],
    [
      "code with a syntax error",
      { ...CALL, bundle: bundleOf("const = 1;") },
      /^Syntax error in function code: /,
      "WORKER_START_FAILED",
    ],
    [
      "code that fails when it is evaluated",
      { ...CALL, bundle: bundleOf("throw new RangeError('at the top');") },
      /^Error executing function code: RangeError: at the top$/,
      "WORKER_START_FAILED",
    ],
    [
      "an argument that nobody has encoded",
      { ...CALL, args: [{ $type: "?" }], bundle: bundleOf("queue((x) => x);") },
      /^Failed to deserialize arguments: args\[0\] has the unknown type/,
      "INVALID_REQUEST",
    ],
    [
      "a result that cannot travel",
      { ...CALL, bundle: bundleOf("queue(() => ({ a: () => 1 }));") },
      /^Failed to serialize result: result\.a is a function/,
      "INVALID_OUTPUT",
    ],
    [
      "modules outside of the folder",
      { ...CALL, bundle: { digest: digestOf(outside), modules: outside } },
      /^module path escapes materialization dir: \.\.\/\.\.\/evil\.mjs$/,
      "INVALID_REQUEST",
    ],
    [
      "a bundle that arrived damaged",
      { ...CALL, bundle: { ...nothing, digest: "0" } },
      /its digest is another/,
      "INVALID_REQUEST",
    ],
    [
      "a bundle over the limit",
      { ...CALL, bundle: { digest: digestOf(large), modules: large } },
      /^Inline module payload is 8388609 bytes, over the 8388608-byte live-serverless cap\. Use `flash deploy`/,
      "PAYLOAD_TOO_LARGE",
    ],
  ];
  for (const [title, body, error, code] of refusals) {
    test(title, async (t) => {
      const { send } = await startLive(t);
      const { status, json } = await send(body);
      assert.deepEqual([status, json.success, json.problem?.code], [200, false, code], json.error);
      assert.match(json.error, error);
    });
  }
});

describe("what it runs", () => {
  test("a function: result, output and failure in one document", async (t) => {
    const { run, worker } = await startLive(t, "qb");
    const code = `queue((a, b) => { console.log("said", a); console.error("and", b); return new Map([[a, b]]); });`;
    const fine = await run(code, { ...CALL, args: [1, { $type: "bigint", value: "2" }] });
    assert.deepEqual(fine.json, {
      success: true,
      json_result: { $type: "Map", value: [[1, { $type: "bigint", value: "2" }]] },
      stdout: "said 1\nand 2n\n",
    });
    await until(() => worker.stdout.includes("said 1"), { what: "the output of the worker" });
    const failed = await run(
      `queue(() => { throw Object.assign(new RangeError("no"), { retryable: false }); });`,
      CALL,
    );
    assert.deepEqual(
      [failed.json.success, failed.json.error, failed.json.retryable],
      [false, "Function execution failed: no", false],
    );
    assert.equal(failed.json.problem.error.name, "RangeError");
    assert.ok(
      !failed.json.problem.error.stack.includes("flash-live-"),
      failed.json.problem.error.stack,
    );
  });

  test("a function that returns nothing has a result all the same", async (t) => {
    const { run } = await startLive(t);
    const { json } = await run("queue(() => undefined);", CALL);
    assert.deepEqual(json, { success: true, json_result: { $type: "undefined" }, stdout: "" });
  });

  test("code once for each digest: it is asked for, its top level runs once, its state stays", async (t) => {
    const { send, run } = await startLive(t, "qb");
    const code = `let calls = 0; console.log("evaluated"); queue(() => ++calls);`;
    const { digest } = bundleOf(code);
    const asked = await send({ ...CALL, bundle: { digest } });
    assert.equal(asked.json.needs_bundle, true);
    const together = await Promise.all([1, 2, 3].map(() => run(code, CALL)));
    assert.deepEqual(new Set(together.map(({ json }) => json.json_result)), new Set([1, 2, 3]));
    assert.equal(together.map(({ json }) => json.stdout).join(""), "evaluated\n");
    assert.equal((await send({ ...CALL, bundle: { digest } })).json.json_result, 4);
    const other = await run(`${code} // edited`, CALL);
    assert.deepEqual([other.json.json_result, other.json.stdout], [1, "evaluated\n"]);
    assert.equal((await send({ ...CALL, bundle: { digest } })).json.json_result, 5);
  });

  test("code that failed is evaluated again with the next call", async (t) => {
    const { run, folder } = await startLive(t);
    const flag = JSON.stringify(path.join(folder, "flag"));
    const code = `import { existsSync } from "node:fs"; if (!existsSync(${flag})) throw new Error("not yet"); queue(() => "now");`;
    assert.equal((await run(code, CALL)).json.success, false);
    mkdirSync(path.join(folder, "flag"));
    assert.equal((await run(code, CALL)).json.json_result, "now");
  });

  test("routes by method and path, since names do not tell them apart", async (t) => {
    const { run } = await startLive(t);
    const code = `route("GET", "/x", () => "x"); route("POST", "/y/{id}", (id) => "y" + id);`;
    assert.equal((await run(code, { ...CALL, route: ROUTE })).json.json_result, "x");
    const y = { ...CALL, args: [7], route: { method: "POST", path: "/y/{other}" } };
    assert.equal((await run(code, y)).json.json_result, "y7");
    const none = await run(code, { ...CALL, route: { method: "PUT", path: "/x" } });
    assert.equal(none.json.error, "Function 'f' not found in executed code");
  });

  test("code finds the artifact's packages and its SDK", async (t) => {
    const { run, folder } = await startLive(t);
    const packages = path.join(folder, "endpoints", "demo", "node_modules", "dep");
    mkdirSync(packages, { recursive: true });
    writeFileSync(
      path.join(packages, "package.json"),
      '{ "type": "module", "exports": "./dep.js" }',
    );
    writeFileSync(path.join(packages, "dep.js"), 'export const dep = "from the package";');
    const code = (more: string): string =>
      `import { dep } from "dep"; import { shared } from "../../sdk.mjs"; shared.count = (shared.count ?? 0) + 1; queue(() => [dep, shared.count]); // ${more}`;
    assert.deepEqual((await run(code("one"), CALL)).json.json_result, ["from the package", 1]);
    assert.deepEqual((await run(code("two"), CALL)).json.json_result, ["from the package", 2]);
  });

  test("one instance of a class, which is closed at the end", async (t) => {
    const { run, worker, folder } = await startLive(t, "qb");
    const code = `queueClass(class M { n = 0; async init() { this.n = 10; } add() { return ++this.n; } close() { console.log("closed at", this.n); } });`;
    const call = { execution_type: "class", class_name: "M", method_name: "add", args: [] };
    const [a, b] = [await run(code, call), await run(code, call)];
    assert.deepEqual([a.json.json_result, b.json.json_result], [11, 12]);
    assert.equal(filesOf(folder).length, 1);
    const hook = await run(code, { ...call, method_name: "close" });
    assert.match(hook.json.error, /Method 'close' not found/);
    worker.child.kill("SIGTERM");
    assert.equal((await worker.exited).code, 0);
    assert.match(worker.stdout, /closed at 12/);
    assert.deepEqual(filesOf(folder), []);
  });

  test("inputs of requests and results are judged by the schemas of the options", async (t) => {
    const { run } = await startLive(t);
    const code = `
const text = { "~standard": { version: 1, vendor: "tests", validate: (value) =>
  typeof value.name === "string" ? { value: { name: value.name.trim() } } : { issues: [{ message: "must be text", path: ["name"] }] } } };
const short = { "~standard": { version: 1, vendor: "tests", validate: (value) =>
  value.length < 9 ? { value } : { issues: [{ message: "is too long" }] } } };
queue((name) => "<" + name + ">", { input: text, output: short });`;
    const judged = { ...CALL, signature: signature("f", [parameter("name")]) };
    assert.equal((await run(code, { ...judged, args: [" a "] })).json.json_result, "<a>");
    const wrong = (await run(code, { ...judged, args: [5] })).json;
    assert.deepEqual(
      [wrong.problem.code, wrong.problem.issues],
      ["INVALID_INPUT", [{ path: "name", message: "must be text" }]],
    );
    const long = (await run(code, { ...judged, args: ["much too long"] })).json;
    assert.match(long.error, /^Failed to serialize result: .*is too long/);
  });

  test("a queue endpoint's number of jobs at once, and no limit for routes", async (t) => {
    // They meet: each stays until as many are there as should be, and then a moment longer.
    const codeFor = (meeting: number): string => `let now = 0, came = 0, most = 0;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const work = async () => {
  most = Math.max(most, ++now);
  const wave = Math.ceil(++came / ${meeting}) * ${meeting};
  while (came < wave) await pause(5);
  await pause(30);
  now--;
  return most;
};
queue(work); route("GET", "/x", work);`;
    for (const [kind, call, expected] of [
      ["qb", CALL, 2],
      ["lb", { ...CALL, route: ROUTE }, 6],
    ] as const) {
      const { run } = await startLive(t, kind, { maxConcurrency: 2 });
      const answers = await Promise.all([1, 2, 3, 4, 5, 6].map(() => run(codeFor(expected), call)));
      assert.equal(
        Math.max(...answers.map(({ json }) => json.json_result as number)),
        expected,
        kind,
      );
    }
  });
});

describe("events as they happen", () => {
  const EVENTS = { accept: "text/event-stream" };

  test("output, progress, values of a stream, and how it ended", async (t) => {
    const { run } = await startLive(t, "qb");
    const code = `queue(async function* () { context().progress({ at: 1 }); yield 1; process.stdout.write("half"); yield new Set([2]); throw new TypeError("broken"); });`;
    const { text, headers } = await run(
      code,
      { ...CALL, context: { job: { id: "j1", endpoint: "demo" } } },
      EVENTS,
    );
    assert.match(headers["content-type"] ?? "", /^text\/event-stream/);
    const events: Record<string, unknown>[] = [];
    for await (const { data } of serverSentEvents(pieces(text))) {
      events.push(JSON.parse(data) as Record<string, unknown>);
    }
    const last = events.pop();
    assert.deepEqual(events, [
      { streams: true },
      { progress: { at: 1 } },
      { chunk: 1 },
      { stream: "stdout", text: "half" },
      { chunk: { $type: "Set", value: [2] } },
    ]);
    assert.deepEqual([last?.success, last?.error], [false, "Function execution failed: broken"]);
    const document = await run(`queue(function* () { yield 1; yield 2; });`, CALL);
    assert.deepEqual(document.json.json_result, [1, 2]);
  });

  test("a caller that leaves aborts the function's signal, and its time does too", async (t) => {
    const { worker, run } = await startLive(t);
    const code = `queue(() => new Promise((_, reject) => { console.log("waiting");
  context().signal.addEventListener("abort", () => { console.log("aborted:", context().signal.reason.message); reject(new Error("x")); }); }));`;
    const request = worker.open("/execute", {
      json: { ...CALL, bundle: bundleOf(code) },
      headers: { [LIVE_SECRET_HEADER]: SECRET, ...EVENTS },
    });
    request.on("error", () => undefined);
    const [response] = (await once(request, "response")) as [import("node:http").IncomingMessage];
    await until(() => worker.stdout.includes("waiting"), { what: "the function to wait" });
    response.destroy();
    await until(() => worker.stdout.includes("aborted: The caller closed"), { what: "the abort" });
    const late = await run(code, { ...CALL, context: { timeout_ms: 20 } });
    assert.equal(late.json.problem.code, "EXECUTION_TIMEOUT");
  });

  test("a reader that does not read stops the stream, not the worker", async (t) => {
    const { worker, run } = await startLive(t);
    const code = `let made = 0; const big = "x".repeat(100_000);
route("GET", "/all", async function* () { for (;;) { made++; yield big; } });
route("GET", "/made", () => made);`;
    const bundle = bundleOf(code);
    const request = worker.open("/execute", {
      json: { ...CALL, route: { method: "GET", path: "/all" }, bundle },
      headers: { [LIVE_SECRET_HEADER]: SECRET, ...EVENTS },
    });
    request.on("error", () => undefined);
    const [response] = (await once(request, "response")) as [import("node:http").IncomingMessage];
    const made = async (): Promise<number> =>
      (await run(code, { ...CALL, route: { method: "GET", path: "/made" } })).json.json_result;
    let before = -1;
    await until(
      async () => {
        const now = await made();
        const isStill = now > 0 && now === before;
        before = now;
        return isStill;
      },
      { what: "the stream to stand still" },
    );
    assert.ok(before < 1000, `${before} values were made for nobody`);
    response.destroy();
  });
});

async function* pieces(text: string): AsyncGenerator<Uint8Array> {
  // Cut anywhere: in the middle of lines, and of characters.
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; at += 7) yield await Promise.resolve(bytes.slice(at, at + 7));
}
