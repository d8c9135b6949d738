/** `flash run`: the whole house on one machine, and what saving a file does. */

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { Answer, freePort, Sandbox } from "../support/flash.ts";
import { Program } from "../support/program.ts";
import { ROOT } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { adder, QUEUE } from "./projects.ts";

/** A project that only a syntax error keeps from being built. */
const BROKEN = { "api.ts": `${adder("adder")["api.ts"] ?? ""}\nexport const broken = (;\n` };

interface Dev {
  sandbox: Sandbox;
  folder: string;
  url: string;
  program: Program;
  call: (request: string, body?: unknown) => Promise<Answer>;
  save: (name: string, text: string) => void;
}

async function runProject(
  t: TestContext,
  files: Record<string, string>,
  ...args: string[]
): Promise<Dev> {
  const sandbox = await Sandbox.open(t);
  const folder = sandbox.project(files);
  const port = await freePort();
  const program = sandbox.start(folder, "run", "--port", String(port), ...args);
  const url = `http://127.0.0.1:${port}`;
  await until(async () => program.isRunning && (await fetch(`${url}/ping`)).ok, {
    what: `flash run at ${url}; it said:\n${program.output}`,
  });
  return {
    sandbox,
    folder,
    url,
    program,
    call: (request, body) => Answer.to(url, request, body),
    save: (name, text) => writeFileSync(path.join(folder, name), text),
  };
}

test("serves queue and load-balanced endpoints by name, without a key", async (t) => {
  const { call } = await runProject(t, { ...adder("adder"), ...QUEUE });
  const index = (await call("GET /")).json as { message: string; docs: string; status: string };
  assert.equal(index.message, "Flash Dev Server");
  assert.equal(index.docs, "/docs");
  assert.equal(index.status, "healthy");
  assert.deepEqual((await call("GET /ping")).json, { status: "healthy" });

  assert.equal((await call("POST /adder/api/process", { x: 5, y: 3 })).json, 8);
  assert.equal((await call("POST /adder/api/process", { x: "a", y: 3 })).status, 422);
  assert.equal((await call("POST /adder/execute", {})).status, 404);

  const done = (await call("POST /double/runsync", { input: { value: 21 } })).json;
  const { id, status, output } = done as { id: string; status: string; output: number };
  assert.deepEqual([status, output], ["COMPLETED", 42]);
  const later = (await call(`GET /double/status/${id}`)).json as { status: string };
  assert.equal(later.status, "COMPLETED");
  const accepted = (await call("POST /double/run", { input: { value: 1 } })).json;
  assert.equal((accepted as { status: string }).status, "IN_QUEUE");
});

test("a page on another local port uses both kinds of endpoints; pages of other sites neither", async (t) => {
  const { url } = await runProject(t, { ...adder("adder"), ...QUEUE });
  const origin = "http://localhost:5173";
  /** As a browser does it: first the question, then the request, and the answer only if it may be read. */
  const ask = async (path: string, body: unknown, as = origin): Promise<[number, unknown]> => {
    const preflight = await fetch(url + path, {
      method: "OPTIONS",
      headers: {
        origin: as,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
      },
    });
    const allows = (answer: Response, header: string, value: string): boolean =>
      answer.ok && (answer.headers.get(header) ?? "").split(/, */).includes(value);
    assert.ok(allows(preflight, "access-control-allow-origin", as), `${path} for ${as}`);
    assert.ok(allows(preflight, "access-control-allow-methods", "POST"));
    assert.ok(allows(preflight, "access-control-allow-headers", "content-type"));
    const answer = await fetch(url + path, {
      method: "POST",
      headers: { origin: as, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    assert.equal(answer.headers.get("access-control-allow-origin"), as, path);
    return [answer.status, await answer.json()];
  };
  assert.deepEqual(await ask("/adder/api/process", { x: 5, y: 3 }), [200, 8]);
  assert.equal((await ask("/adder/api/process", { x: "a", y: 3 }))[0], 422);
  assert.equal((await ask("/nope/run", {}))[0], 404);
  const [status, done] = await ask("/double/runsync", { input: { value: 21 } });
  const { id, output } = done as { id: string; output: number };
  assert.deepEqual([status, output], [200, 42]);
  // Simple requests, which browsers send without asking.
  for (const path of ["/adder/who", `/double/status/${id}`, "/openapi.json", "/nope"]) {
    const answer = await fetch(url + path, { headers: { origin } });
    assert.equal(answer.headers.get("access-control-allow-origin"), origin, path);
    assert.equal(answer.status, path === "/nope" ? 404 : 200, path);
  }
  await assert.rejects(
    ask("/double/runsync", { input: { value: 1 } }, "https://evil.example"),
    /evil/,
  );
  const plain = await fetch(`${url}/double/runsync`, {
    method: "POST",
    headers: { origin: "https://evil.example", "content-type": "text/plain" },
    body: JSON.stringify({ input: { value: 1 } }),
  });
  assert.equal(plain.status, 403, "nothing runs for it either");
});

test("an unknown endpoint is a 404 that lists the known ones", async (t) => {
  const { call } = await runProject(t, adder("adder"));
  const answer = await call("GET /nope/users");
  assert.equal(answer.status, 404);
  assert.equal(answer.headers.get("content-type"), "application/problem+json");
  assert.match((answer.json as { hint: string }).hint, /\/adder/);
});

test("/openapi.json describes the routes and /docs loads nothing from elsewhere", async (t) => {
  const { call } = await runProject(t, { ...adder("adder"), ...QUEUE });
  const api = (await call("GET /openapi.json")).json as { openapi: string; paths: object };
  assert.match(api.openapi, /^3\.1/);
  assert.ok("/adder/api/process" in api.paths, Object.keys(api.paths).join(" "));
  assert.ok("/double/runsync" in api.paths, Object.keys(api.paths).join(" "));

  const page = await call("GET /docs");
  assert.match(page.headers.get("content-type") ?? "", /text\/html/);
  assert.doesNotMatch(page.text, /https?:\/\//);
  const scripts = [...page.text.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, file]) => file);
  assert.ok(scripts.length >= 2);
  for (const file of scripts) {
    const asset = await call(`GET ${file ?? ""}`);
    assert.equal(asset.status, 200, file);
  }
});

test("a saved file is served; a broken one is named and the last good build stays", async (t) => {
  const { call, save, folder, program } = await runProject(t, adder("adder", "one"));
  const marker = async (): Promise<string> =>
    ((await call("GET /adder/who")).json as { marker: string }).marker;
  assert.equal(await marker(), "one");

  save("api.ts", adder("adder", "two")["api.ts"] ?? "");
  await until(async () => (await marker()) === "two", { what: "the second version" });

  const good = readFileSync(path.join(folder, "api.ts"), "utf8");
  save("api.ts", `${good}\nexport const broken = (;\n`);
  await program.says(/api\.ts:\d+/);
  assert.equal(await marker(), "two", "the last good build still serves");

  save("api.ts", adder("adder", "three")["api.ts"] ?? "");
  await until(async () => (await marker()) === "three", { what: "the repaired version" });
});

test("many saves in a row end with the last one, and no request fails on the way", async (t) => {
  const { call, save } = await runProject(t, adder("adder", "0"));
  // From a good build on: the first one may find a file that is just being written, and empty.
  assert.equal((await call("GET /adder/who")).status, 200);
  const seen: number[] = [];
  for (let version = 1; version <= 12; version += 1) {
    save("api.ts", adder("adder", String(version))["api.ts"] ?? "");
    const answer = await call("GET /adder/who");
    assert.equal(answer.status, 200, answer.text);
    seen.push(Number((answer.json as { marker: string }).marker));
  }
  await until(
    async () => ((await call("GET /adder/who")).json as { marker: string }).marker === "12",
    { what: "the last version" },
  );
  assert.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
    "no older version comes back",
  );
});

test("a project that starts broken is served as soon as it is mended", async (t) => {
  const { call, save, program } = await runProject(t, BROKEN);
  await program.says(/api\.ts:\d+/);
  assert.equal((await call("GET /adder/who")).status, 503);
  save("api.ts", adder("adder", "mended")["api.ts"] ?? "");
  await until(async () => (await call("GET /adder/who")).status === 200, {
    what: "the mended one",
  });
});

test("a type error is shown with its place while the new code is served, and its end is told", async (t) => {
  const good = adder("adder")["api.ts"] ?? "";
  const options = { target: "es2024", module: "nodenext", strict: true, noEmit: true, types: [] };
  const { call, save, program } = await runProject(t, {
    "api.ts": good,
    "globals.d.ts": "declare const process: { pid: number };\n",
    "package.json": '{ "type": "module" }',
    "tsconfig.json": JSON.stringify({ compilerOptions: options }),
  });
  save("api.ts", `${good}export const wrong: string = 3;\n`);
  await program.says(
    /Type 'number' is not assignable to type 'string'\. \(TS2322\)\s+api\.ts:\d+:14/,
  );
  await program.says(/> *\d+ \| export const wrong: string = 3;/);
  assert.equal((await call("POST /adder/api/process", { x: 5, y: 3 })).json, 8);
  save("api.ts", good);
  await program.says(/no type errors left/);
});

test("what it writes to a file of the project is no change that it writes about", async (t) => {
  const sandbox = await Sandbox.open(t);
  const folder = sandbox.project(adder("adder"));
  const flash = [process.execPath, path.join(ROOT, "bin", "flash.js"), "run"];
  flash.push("--port", String(await freePort()));
  const program = Program.start(t, ["sh", "-c", 'exec "$0" "$@" > said.txt 2>&1', ...flash], {
    cwd: folder,
    env: sandbox.env,
  });
  const said = (): string => {
    assert.ok(program.isRunning, program.output);
    const file = path.join(folder, "said.txt");
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  };
  await until(() => said().includes("ctrl+c"), { what: "the start table" });
  // By the end of the second one it would have answered itself.
  for (const marker of ["one", "two"]) {
    const count = said().split("reloaded").length;
    writeFileSync(path.join(folder, "api.ts"), adder("adder", marker)["api.ts"] ?? "");
    await until(() => said().split("reloaded").length > count, {
      what: `the reload for ${marker}`,
    });
  }
  assert.doesNotMatch(said(), /reloaded said\.txt {2}/);
});

test("jobs outlive a reload and a restart", async (t) => {
  const { call, save, folder, program, sandbox } = await runProject(t, QUEUE);
  const done = (await call("POST /double/runsync", { input: { value: 3 } })).json as { id: string };
  save("jobs.ts", `${QUEUE["jobs.ts"] ?? ""}\n// saved\n`);
  await program.says(/reloaded/);
  assert.equal((await call(`GET /double/status/${done.id}`)).status, 200);

  await program.stop("SIGTERM");
  const port = await freePort();
  const again = sandbox.start(folder, "run", "--port", String(port));
  await again.says(/double/);
  const answer = await until(() => fetch(`http://127.0.0.1:${port}/double/status/${done.id}`), {
    what: "the restarted server",
  });
  assert.equal(answer.status, 200);
});

test("takes the next free port and says so; --strict-port fails", async (t) => {
  const first = await runProject(t, adder("adder"));
  const { port } = new URL(first.url);
  const second = first.sandbox.start(first.sandbox.project(adder("other")), "run", "--port", port);
  const [, next = ""] = await second.says(new RegExp(`port ${port} in use, using (\\d+)`));
  await until(async () => (await fetch(`http://127.0.0.1:${next}/other/who`)).ok, {
    what: "the other project",
  });
  const third = first.sandbox.project(adder("third"));
  const strict = await first.sandbox.flash(third, "run", "--port", port, "--strict-port");
  assert.notEqual(strict.code, 0);
  assert.match(strict.stderr, new RegExp(`Port ${port} is in use`));
});

test("what a worker writes is shown with its endpoint's name", async (t) => {
  const { call, program } = await runProject(t, {
    "api.ts": `
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "talker", cpu: "cpu3c-1-2" });
export const talk = api.post("/talk", async (words: string) => { console.log("I say", words); });
`,
  });
  await call("POST /talker/talk", { words: "hello there" });
  await program.says(/talker \| I say hello there/);
});

test("what a function throws is shown with its stack and the lines around it", async (t) => {
  const { call, program } = await runProject(t, {
    "api.ts": `
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "thrower", cpu: "cpu3c-1-2" });
interface Wide { a: number }
export const fall = api.get("/fall", (n: number): Wide => {
  throw new RangeError("kaputt " + n);
});
`,
  });
  assert.equal((await call("GET /thrower/fall?n=3")).status, 500);
  await program.says(/thrower \| GET \/fall failed: kaputt 3 status=500\n/);
  await program.says(/thrower \| {3}RangeError: kaputt 3\n/);
  await program.says(/thrower \| {7}at .*\(api\.ts:6:9\)\n/);
  await program.says(/thrower \| {3}> 6 \| {3}throw new RangeError\("kaputt " \+ n\);\n/);
});

test("on a network address it needs the key", async (t) => {
  const { call, url, folder, program } = await runProject(t, adder("adder"), "--host", "0.0.0.0");
  assert.equal((await call("GET /adder/who")).status, 401);
  await program.says(/key {3}\S+/);
  const key = readFileSync(path.join(folder, ".flash", "dev", "key"), "utf8").trim();
  const headers = { authorization: `Bearer ${key}` };
  assert.equal((await fetch(`${url}/adder/who`, { headers })).status, 200);
  assert.equal((await fetch(`${url}/ping`)).status, 200);
});

test("flash.toml wins over the code, and a change of it is served", async (t) => {
  const source = `
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "env", cpu: "cpu3c-1-2", env: { COLOR: "red" } });
export const color = api.get("/color", () => process.env.COLOR ?? "");
`;
  const { call, save } = await runProject(t, { "api.ts": source });
  assert.equal((await call("GET /env/color")).json, "red");
  save("flash.toml", '[endpoints.env]\nenv = { COLOR = "blue" }\n');
  await until(async () => (await call("GET /env/color")).json === "blue", { what: "blue" });
});

test("a project runs once at a time", async (t) => {
  const { sandbox, folder } = await runProject(t, adder("adder"));
  const again = await sandbox.flash(folder, "run", "--port", "0");
  assert.notEqual(again.code, 0);
  assert.match(again.stderr, /This project is being run already/);
});

test("--no-reload ends with the build's mistakes and exit code 1", async (t) => {
  const sandbox = await Sandbox.open(t);
  const broken = sandbox.project(BROKEN);
  const port = String(await freePort());
  const ended = await sandbox.flash(broken, "run", "--no-reload", "--port", port);
  assert.equal(ended.code, 1, ended.stderr);
  assert.match(ended.stderr, /api\.ts:\d+/);
});

test("Ctrl-C stops the workers and ends with 0", async (t) => {
  const { call, program } = await runProject(t, adder("adder"));
  const { pid } = (await call("GET /adder/who")).json as { pid: number };
  const { code } = await program.interrupt();
  assert.equal(code, 0, program.output);
  assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
});

test("pages of other sites cannot use it", async (t) => {
  const { url } = await runProject(t, adder("adder"));
  const foreign = await fetch(`${url}/adder/who`, { headers: { origin: "https://example.com" } });
  assert.equal(foreign.status, 403);
  const local = await fetch(`${url}/adder/who`, { headers: { origin: "http://localhost:5173" } });
  assert.equal(local.status, 200);
});
