/** `flash run --remote`: functions of Live resources run on workers of a Flash server. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { Sandbox } from "../support/flash.ts";
import type { Program } from "../support/program.ts";
import { until } from "../support/until.ts";
import { liveStatus, runLive } from "./live.ts";

/** Constants, helpers and imports of other files: what the text of one function does not have. */
const API: Readonly<Record<string, string>> = {
  "api.ts": `
import { LiveLoadBalancer, LiveServerless, Endpoint, context, remote } from "runpod-flash";
import { prefix } from "./lib/text.ts";

const started = Math.random();
let calls = 0;
const api = new LiveLoadBalancer({ name: "greeter", workers: [0, 1] });

export const hello = remote(api, { method: "POST", path: "/hello" }, async (name: string) => {
  console.log("greeting", name);
  return { text: prefix + name, pid: process.pid, endpoint: process.env.FLASH_ENDPOINT_TYPE };
});
export const state = remote(api, { method: "GET", path: "/state" }, () => ({ calls: ++calls, started, pid: process.pid }));
export const fail = remote(api, { method: "POST", path: "/fail" }, (kind: string) => {
  const cause = Object.assign(new TypeError("the inner one"), { code: "E_INNER" });
  throw Object.assign(new RangeError("cannot " + kind, { cause }), { status: 418 });
});
export const rich = remote(api, { method: "POST", path: "/rich" }, (value: unknown) => value);
export const kinds = remote(api, { method: "POST", path: "/kinds" }, (value: unknown) =>
  Object.prototype.toString.call(value));
export const count = remote(api, { method: "GET", path: "/count/{to}" }, async function* (to: number) {
  for (let i = 0; i < to; i++) yield { i, pid: process.pid };
});
export const raw = remote(api, { method: "GET", path: "/raw" }, () =>
  new Response("a,b", { status: 203, headers: { "content-type": "text/csv" } }));

const queue = new LiveServerless({ name: "doubler", workers: [0, 1] });
export const double = remote(queue, async (value: number) => {
  context().progress({ at: "half" });
  console.error("doubling", value);
  return { value: value * 2, pid: process.pid, job: context().job?.id };
});

export const Model = remote(new LiveServerless({ name: "model", workers: [0, 1] }), class Model {
  loads = 0;
  async init() { this.loads++; }
  async predict(prompt: string) { return { prompt, loads: this.loads, pid: process.pid }; }
});

export const patient = remote(new LiveServerless({ name: "patient", workers: [0, 1] }), async () => {
  console.log("waiting");
  const { signal } = context();
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
  console.log("told to stop");
});
export const failing = remote(new LiveServerless({ name: "failing", retries: 1 }), async () => {
  console.log("attempt", context().attempt);
  throw new RangeError("never works");
});
export const calling = remote(api, { method: "GET", path: "/calling" }, async () =>
  [process.pid, (await double(1)).pid, (await plain(1)).pid]);

export const plain = Endpoint({ name: "plain", workers: [0, 1] }, async (a: number) => ({ a, pid: process.pid }));
`,
  "lib/text.ts": `export const prefix = "Hello, ";\n`,
};

interface Seen {
  pid: number;
  [key: string]: unknown;
}

test("routes, jobs and classes of Live resources run on live workers, the rest here", async (t) => {
  const { call, program, sandbox } = await runLive(t, API);
  assert.match(program.output, /POST +\/greeter\/hello +hello +LB \(live\)/);
  assert.match(program.output, /POST +\/plain\/runsync +plain +QB\n/);
  assert.match(program.output, new RegExp(`live  ${sandbox.url}`));

  const hello = (await call("POST /greeter/hello", { name: "Ann" })).json as Seen;
  assert.deepEqual([hello.text, hello.endpoint], ["Hello, Ann", "lb"]);
  await program.says(/greeter \| greeting Ann/);

  const job = (await call("POST /doubler/runsync", { input: { value: 21 } })).json as {
    id: string;
    status: string;
    output: Seen;
  };
  assert.deepEqual([job.status, job.output.value, job.output.job], ["COMPLETED", 42, job.id]);
  await program.says(/doubler \| doubling 21/);

  const predict = async (prompt: string): Promise<Seen> =>
    ((await call("POST /model/runsync", { input: { prompt } })).json as { output: Seen }).output;
  const [first, second] = [await predict("one"), await predict("two")];
  assert.deepEqual([first.prompt, first.loads, second.loads], ["one", 1, 1]);
  assert.equal(first.pid, second.pid);

  const plain = (await call("POST /plain/runsync", { input: { a: 1 } })).json as { output: Seen };
  const [deployment] = await liveStatus(sandbox, "live-app");
  assert.deepEqual(deployment?.endpoints.map(({ name }) => name).sort(), [
    "doubler",
    "failing",
    "greeter",
    "model",
    "patient",
  ]);
  const pids = [hello.pid, job.output.pid, first.pid, plain.output.pid];
  assert.equal(new Set(pids).size, 4);
});

test("a call over HTTP means what it means everywhere: input, failures, streams, responses", async (t) => {
  const { call, url } = await runLive(t, API);
  const wrong = await call("POST /greeter/hello", { name: 5 });
  assert.equal(wrong.status, 422);
  assert.equal((wrong.json as { issues: { path: string }[] }).issues[0]?.path, "name");

  const failed = await call("POST /greeter/fail", { kind: "fly" });
  assert.equal(failed.status, 418);
  const { code, detail, error } = failed.json as {
    code: string;
    detail: string;
    error: { name: string; message: string; cause: Record<string, unknown> };
  };
  assert.deepEqual([code, detail, error.name], ["FUNCTION_ERROR", "cannot fly", "RangeError"]);
  assert.deepEqual(
    [error.cause.name, error.cause.message, error.cause.code],
    ["TypeError", "the inner one", "E_INNER"],
  );

  const events = (await call("GET /greeter/count/3")).text.match(/data: .*/g) ?? [];
  assert.deepEqual(
    events.map((line) => (JSON.parse(line.slice(6)) as { i: number }).i),
    [0, 1, 2],
  );

  const raw = await call("GET /greeter/raw");
  assert.deepEqual(
    [raw.status, raw.headers.get("content-type"), raw.text],
    [203, "text/csv", "a,b"],
  );

  const described = (await (await fetch(`${url}/openapi.json`)).json()) as { paths: object };
  assert.ok("/greeter/hello" in described.paths);
  assert.ok(!Object.keys(described.paths).some((path) => path.includes("execute")));
});

test("an edit reaches the same worker without a deployment, as a fresh module", async (t) => {
  const { call, save, sandbox, program } = await runLive(t, API);
  const state = async (): Promise<{ calls: number; started: number; pid: number }> =>
    (await call("GET /greeter/state")).json as { calls: number; started: number; pid: number };
  const first = await state();
  const second = await state();
  assert.deepEqual([second.calls, second.started, second.pid], [2, first.started, first.pid]);
  const [before] = await liveStatus(sandbox, "live-app");

  save("lib/text.ts", `export const prefix = "Servus, ";\n`);
  await program.says(/reloaded lib\/text\.ts/);
  const hello = (await call("POST /greeter/hello", { name: "Ann" })).json as Seen;
  assert.deepEqual([hello.text, hello.pid], ["Servus, Ann", first.pid]);
  const fresh = await state();
  assert.equal(fresh.calls, 1);
  assert.notEqual(fresh.started, first.started);
  const [after] = await liveStatus(sandbox, "live-app");
  assert.deepEqual(after, { ...after, ...before, endpoints: after?.endpoints });

  save("lib/text.ts", `export const prefix = ;\n`);
  await program.says(/still serving the last good build/);
  assert.equal(((await call("POST /greeter/hello", { name: "B" })).json as Seen).text, "Servus, B");
});

const SCRIPT = `
import { where } from "runpod-flash";
import { hello, rich, kinds, fail, count, double, Model } from "./api.ts";
const out: unknown[] = [];
out.push(where(hello).place, where(double).place);
const value = { when: new Date(5), seen: new Map([["a", new Set([1n, undefined, NaN])]]), bytes: new Uint8Array([1, 2]) };
const back = (await rich(value)) as typeof value;
out.push(back.when.getTime(), [...back.seen.get("a")!].map(String), back.bytes.constructor.name, await kinds(/x/));
try { await fail("swim"); } catch (error) {
  const { code, message, cause } = error as { code: string; message: string; cause: Error };
  out.push(code, message, cause.name, (cause.cause as Error).message);
}
const seen: number[] = [];
for await (const { i } of await count(3)) seen.push(i);
out.push(seen, (await double(4)).value, (await new Model().predict("p")).loads);
const job = await double.run(5);
await job.wait();
out.push(job.output?.value, process.pid === (await hello("x")).pid);
const loop: { self?: unknown } = {}; loop.self = loop;
try { await rich(loop); } catch (error) { out.push((error as Error).message); }
console.log(JSON.stringify(out));
`;

test("a script beside it calls live workers, and rich values survive", async (t) => {
  const { script } = await runLive(t, { ...API, "script.ts": SCRIPT });
  const { code, stdout, stderr } = await script("script.ts");
  assert.equal(code, 0, stderr);
  assert.deepEqual(JSON.parse(stdout), [
    "live-worker",
    "live-worker",
    5,
    ["1", "undefined", "NaN"],
    "Uint8Array",
    "[object RegExp]",
    "FUNCTION_ERROR",
    "Remote execution failed: cannot swim",
    "RangeError",
    "the inner one",
    [0, 1, 2],
    8,
    1,
    10,
    false,
    "argument 1.self refers back to a value that holds it, which cannot travel to a live worker",
  ]);
});

test("a job that is cancelled, and one that fails, are what they are everywhere", async (t) => {
  const { call, program, sandbox } = await runLive(t, API);
  const { id } = (await call("POST /patient/run", { input: {} })).json as { id: string };
  await program.says(/patient \| waiting/);
  await call(`POST /patient/cancel/${id}`);
  // Nobody waits for its output any more, so it is in the log of the server where it runs.
  const [deployment] = await liveStatus(sandbox, "live-app");
  const logs = `${sandbox.url}/api/v1/logs?app=live-app&environment=${deployment?.environment}`;
  await until(async () => (await (await sandbox.fetch(logs)).text()).includes("told to stop"), {
    what: "the function's signal to abort",
  });
  const cancelled = (await call(`GET /patient/status/${id}`)).json as { status: string };
  assert.equal(cancelled.status, "CANCELLED");

  const failed = (await call("POST /failing/runsync", { input: {} })).json as {
    status: string;
    error: string;
  };
  assert.equal(failed.status, "FAILED");
  assert.match(failed.error, /RangeError/);
  assert.match(failed.error, /never works/);
  await program.says(/failing \| attempt 2/);
});

test("what a live function calls runs beside it, in its worker", async (t) => {
  const { call } = await runLive(t, API);
  const pids = (await call("GET /greeter/calling")).json as number[];
  assert.equal(new Set(pids).size, 1, String(pids));
});

test("code over the limit is refused with the limit, and what was served stays", async (t) => {
  const { call, save, program } = await runLive(t, API);
  const large = "x".repeat(8 * 1024 * 1024);
  save("lib/text.ts", `export const prefix = "${large}".slice(0, 1);\n`);
  await program.says(
    /Inline module payload is \d+ bytes, over the 8388608-byte live-serverless cap\. Use `flash deploy` for endpoints with large local dependencies\./,
  );
  await program.says(/still serving the last good build/);
  assert.equal(((await call("POST /greeter/hello", { name: "B" })).json as Seen).text, "Hello, B");
});

test("what is wrong with the flags or the server is said before anything is built", async (t) => {
  const sandbox = await Sandbox.open(t);
  const folder = sandbox.project(API);
  const kept = await sandbox.flash(folder, "run", "--keep");
  assert.deepEqual([kept.code, /--keep needs --remote/.test(kept.stderr)], [2, true]);
  const aimed = await sandbox.flash(folder, "run", "--target", sandbox.url);
  assert.deepEqual([aimed.code, /--target needs --remote/.test(aimed.stderr)], [2, true]);
  const nobody = await sandbox.flash(folder, "run", "--remote", "--target", sandbox.url);
  assert.deepEqual([nobody.code, /No Flash server answers/.test(nobody.stderr)], [4, true]);
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`at ${signal} what it has deployed is removed`, async (t) => {
    const { program, sandbox } = await runLive(t, API);
    assert.equal((await liveStatus(sandbox, "live-app")).length, 1);
    const { code } = await program.stop(signal, 120_000);
    assert.equal(code, 0);
    assert.deepEqual(await liveStatus(sandbox, "live-app"), []);
  });
}

test("what --keep or a kill leaves, the next run takes over and removes", async (t) => {
  const { program, sandbox, folder } = await runLive(t, API, "--keep");
  const idsOf = async (): Promise<string[][]> =>
    (await liveStatus(sandbox, "live-app")).map(({ endpoints }) => endpoints.map(({ id }) => id));
  const first = await idsOf();
  assert.equal(first.length, 1);
  await program.stop("SIGINT", 120_000);
  assert.deepEqual(await idsOf(), first);

  const again = (): Promise<Program> => startServing(sandbox, folder);
  await (await again()).stop("SIGKILL");
  assert.deepEqual(await idsOf(), first);
  await (await again()).stop("SIGINT", 120_000);
  assert.deepEqual(await idsOf(), []);
});

async function startServing(sandbox: Sandbox, folder: string): Promise<Program> {
  const program = sandbox.start(folder, "run", "--remote", "--port", "0");
  await program.says(/ctrl\+c/);
  return program;
}

test("FLASH_PORT is the server's; what is served here has a port of its own", async (t) => {
  const sandbox = await Sandbox.open(t);
  const program = sandbox.start(sandbox.project(API), "run", "--remote");
  const [, url = ""] = await program.says(/flash dev {2}(http:\S+)/);
  await program.says(/ctrl\+c/);
  assert.doesNotMatch(program.stderr, new RegExp(`port ${sandbox.port} in use`));
  assert.ok(Number(new URL(url).port) >= 8888);
  assert.notEqual(new URL(url).port, String(sandbox.port));
});

test("on a network address calls need the key, and live functions still run", async (t) => {
  const { call, url, folder } = await runLive(t, API, "--host", "0.0.0.0");
  assert.equal((await call("POST /greeter/hello", { name: "A" })).status, 401);
  assert.equal((await call("POST /greeter/execute", {})).status, 401);
  const key = readFileSync(path.join(folder, ".flash", "dev", "key"), "utf8").trim();
  const answer = await fetch(`${url}/greeter/hello`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ name: "A" }),
  });
  assert.equal(((await answer.json()) as Seen).text, "Hello, A");
});

test("a build that fails at the start leaves nothing behind", async (t) => {
  const { sandbox } = await runLive(t, API);
  const broken = sandbox.project({ "api.ts": `export const x = ;` }, "broken");
  const finished = await sandbox.flash(broken, "run", "--remote", "--no-reload", "--port", "0");
  assert.notEqual(finished.code, 0);
  assert.deepEqual(await liveStatus(sandbox, "live-broken"), []);
});

test("a worker that is killed is replaced, and gets the code again", async (t) => {
  const { call } = await runLive(t, API);
  const { pid } = (await call("GET /greeter/state")).json as Seen;
  process.kill(pid, "SIGKILL");
  const next = await until(
    async () => {
      const answer = await call("GET /greeter/state");
      return answer.status === 200 && (answer.json as { pid: number; calls: number });
    },
    { what: "another worker" },
  );
  assert.notEqual(next.pid, pid);
  assert.equal(next.calls, 1);
});
