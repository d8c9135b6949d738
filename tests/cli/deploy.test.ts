/** From a project to a deployment and back, through the command line. */

import assert from "node:assert/strict";
import { existsSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import type { DeploymentDocument, StatusDocument } from "../../src/contract/control.ts";
import type { Problem } from "../../src/contract/errors.ts";
import type { Manifest } from "../../src/contract/manifest.ts";
import { ControlServer } from "../support/control-server.ts";
import { freePort } from "../support/flash.ts";
import { run } from "../support/program.ts";
import { writeProject } from "../support/temp.ts";
import { ENTRY, machine, type Machine } from "./cli.ts";

const FILES = {
  "api.ts": `
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "adder", cpu: "cpu3c-1-2", workers: [0, 1], idleTimeoutS: 1 });
export const add = api.post("/add", (x: number, y: number) => x + y);
export const secret = api.get("/secret", () => ({ secret: process.env.FROM_DOT_ENV ?? null }));
`,
  "queue.ts": `
import { Endpoint } from "runpod-flash";
export const double = Endpoint(
  { name: "double", cpu: "cpu3c-1-2", workers: Number(process.env.FROM_DOT_ENV ?? 1) },
  (value: number) => value * 2,
);
`,
};

/** A machine with a project in it, and a port of its own. */
async function project(
  t: TestContext,
  more: Readonly<Record<string, string>> = {},
): Promise<Machine> {
  const one = machine(t, { FLASH_PORT: String(await freePort()) });
  writeProject(one.cwd, { ...FILES, ...more });
  return one;
}

function manifestOf({ cwd }: Machine): Manifest {
  return JSON.parse(readFileSync(path.join(cwd, ".flash/flash_manifest.json"), "utf8")) as Manifest;
}

async function deployed({ flash }: Machine, ...args: string[]): Promise<DeploymentDocument> {
  const { code, stdout, stderr } = await flash("deploy", "--json", "--app", "shop", ...args);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as DeploymentDocument;
}

describe("build", () => {
  test("says what was built and where it is", async (t) => {
    const one = await project(t);
    const { code, stdout, stderr } = await one.flash("build", "--app", "shop");
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^✓ built shop {2}2 endpoints, 2 files, [\d.]+ [KM]B/);
    const archive = /Archive: (.*)/.exec(stdout)?.[1] ?? "";
    const manifest = /Build: +(.*)/.exec(stdout)?.[1] ?? "";
    assert.ok(existsSync(archive) && existsSync(manifest));
  });

  test("--output names the archive inside .flash, --json lists the endpoints", async (t) => {
    const one = await project(t);
    const { stdout } = await one.flash("build", "--json", "--output", "shop.tar.gz");
    const document = JSON.parse(stdout) as { archive: string; endpoints: { name: string }[] };
    assert.equal(document.archive, path.join(one.cwd, ".flash/shop.tar.gz"));
    assert.ok(existsSync(document.archive));
    assert.deepEqual(
      document.endpoints.map(({ name }) => name),
      ["adder", "double"],
    );
  });

  test("--explain tells what the endpoints consist of, and what took how long", async (t) => {
    const one = await project(t, {
      "table.ts": `export const table = ${JSON.stringify("x".repeat(20_000))};\n`,
      "large.ts": `
import { Endpoint } from "runpod-flash";
import { table } from "./table.ts";
export const large = Endpoint({ name: "large" }, async (at: number) => table[at]);
`,
    });
    const text = await one.flash("build", "--explain");
    assert.equal(text.code, 0, text.stderr);
    assert.match(
      text.stdout,
      /large {2}2\d KB of code \(and \d+ KB of source map\)\n {2}20 KB +\d+% +table\.ts/,
    );
    assert.match(text.stdout, /Time\n {2}scan +\d+ ms/);
    const json = await one.flash("build", "--explain", "--json");
    const { explain } = JSON.parse(json.stdout) as {
      explain: { sizes: { name: string; parts: { name: string }[] }[]; timings: object };
    };
    assert.equal(explain.sizes[0]?.name, "large");
    assert.equal(explain.sizes[0].parts[0]?.name, "table.ts");
    assert.ok("bundle" in explain.timings);
  });

  test("every mistake is shown with its frame, once as text and once as data", async (t) => {
    const one = await project(t, {
      "wrong.ts": `
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "wrong", cpu: "cpu3c-1-2" });
export const a = api.get("no-slash", () => 1);
export const b = api.get("/ping", () => 1);
`,
    });
    const text = await one.flash("build");
    assert.equal(text.code, 1);
    assert.equal(text.stdout, "");
    assert.match(text.stderr, /path must start with '\/', got: no-slash\n\s+wrong\.ts:4:22/);
    assert.match(text.stderr, /> 5 \| export const b = api\.get\("\/ping"/);
    assert.match(text.stderr, /✗ Build failed/);
    const json = await one.flash("build", "--json");
    const problem = JSON.parse(json.stderr.trimEnd().split("\n").at(-1) ?? "") as Problem & {
      diagnostics: { file: string; line: number }[];
    };
    assert.equal(problem.code, "BUILD_FAILED");
    const places = problem.diagnostics.map(({ file, line }) => `${file}:${line}`);
    assert.ok(places.includes("wrong.ts:4") && places.includes("wrong.ts:5"), places.join());
  });

  test("flash.toml wins over the code, and may only name endpoints that there are", async (t) => {
    const one = await project(t);
    const config = path.join(one.cwd, "flash.toml");
    writeFileSync(
      config,
      '[app]\nname = "named"\n[endpoints.double]\nworkers = [2, 9]\nenv = { A = "1" }\n',
    );
    assert.equal((await one.flash("build")).code, 0);
    const { app, endpoints } = manifestOf(one);
    assert.equal(app, "named");
    const double = endpoints.find(({ name }) => name === "double")?.options;
    assert.deepEqual([double?.workersMin, double?.workersMax, double?.env], [2, 9, { A: "1" }]);

    writeFileSync(config, "\n[endpoints.duoble]\nworkers = 1\n");
    const { code, stderr } = await one.flash("build");
    assert.equal(code, 2);
    assert.match(stderr, /flash\.toml:2: the project has no endpoint 'duoble'/);
    assert.match(stderr, /Did you mean 'double'\?/);
  });

  test(".env is there while the project is evaluated, and stays out of the archive", async (t) => {
    const one = await project(t, { ".env": "FROM_DOT_ENV=4\n" });
    assert.equal((await one.flash("build")).code, 0);
    assert.equal(
      manifestOf(one).endpoints.find(({ name }) => name === "double")?.options.workersMax,
      4,
    );
    const archive = path.join(one.cwd, ".flash/artifact.tar.gz");
    const { stdout } = await run(["tar", "-tzf", archive], { cwd: one.cwd });
    assert.ok(stdout.includes("flash_manifest.json") && !stdout.includes(".env"));
  });
});

describe("deploy", () => {
  test("starts the server, prints one document, and what it prints works", async (t) => {
    const one = await project(t, { ".env": "FROM_DOT_ENV=2\n" });
    const { code, stdout, stderr } = await one.flash("deploy", "--json", "--app", "shop");
    assert.equal(code, 0, stderr);
    assert.match(stderr, /started the Flash server at http:\/\/127\.0\.0\.1:/);
    assert.match(stderr, /No app 'shop' found\. Creating app and 'production' environment\.\.\./);
    const document = JSON.parse(stdout) as DeploymentDocument;
    assert.deepEqual(Object.keys(document), [
      "app",
      "environment",
      "build",
      "release",
      "target",
      "endpoints",
      "changes",
    ]);
    assert.equal(document.target, `http://127.0.0.1:${one.env.FLASH_PORT}`);
    const [adder] = document.endpoints;
    const authorization = `Bearer ${(await one.flash("token")).stdout.trim()}`;
    const sum = await fetch(`${adder?.url}/add`, {
      method: "POST",
      headers: { authorization, "content-type": "application/json" },
      body: '{"x":5,"y":3}',
    });
    assert.equal(await sum.json(), 8);
    const secret = await fetch(`${adder?.url}/secret`, { headers: { authorization } });
    assert.deepEqual(await secret.json(), { secret: null }, "workers see no .env");
  });

  test("for people: endpoints with URLs and routes, and curl lines", async (t) => {
    const one = await project(t);
    const { stdout } = await one.flash("deploy");
    assert.match(stdout, /✓ deployed to production/);
    assert.match(
      stdout,
      /Load-balanced endpoints:\n {2}adder {2}http.*\n {4}POST {2}\/add\n {4}GET {3}\/secret/,
    );
    assert.match(stdout, /Queue-based endpoints:\n {2}double {2}http/);
    assert.match(stdout, /curl http\S+\/ping /);
    assert.match(stdout, /curl -X POST \S+\/add .*-d '\{"x":1,"y":1\}'/);
    assert.match(stdout, /curl -X POST \S+\/runsync .*-d '\{"input":\{"value":1\}\}'/);
  });

  test("the environment: flag, FLASH_ENV, the only one; several must be chosen from", async (t) => {
    const one = await project(t);
    assert.equal((await deployed(one, "--env", "staging")).environment, "staging");
    assert.equal((await deployed(one)).environment, "staging", "the only one there is");
    const second = await one.flash("deploy", "--app", "shop", "--env", "qa");
    assert.match(second.stderr, /Environment 'qa' not found\. Creating it\.\.\./);
    const { code, stdout, stderr } = await one.flash("deploy", "--app", "shop");
    assert.equal(code, 1);
    assert.equal(stdout, "");
    assert.match(
      stderr,
      /Multiple environments found: staging, qa\n\s+Please specify with --env <name>/,
    );
    one.env.FLASH_ENV = "qa";
    assert.equal((await deployed(one)).environment, "qa");
  });

  test("a wrong key or a dead server is found before anything is built", async (t) => {
    const one = await project(t);
    await one.flash("server", "start");
    one.env.FLASH_API_KEY = "wrong";
    const refused = await one.flash("deploy");
    assert.equal(refused.code, 3);
    assert.match(refused.stderr, /does not accept the key/);
    const dead = await one.flash("deploy", "--target", "http://127.0.0.1:9");
    assert.equal(dead.code, 4);
    assert.match(dead.stderr, /No Flash server answers at http:\/\/127\.0\.0\.1:9/);
    assert.ok(!existsSync(path.join(one.cwd, ".flash")));
  });

  test("--target, FLASH_URL and flash.toml lead elsewhere; this machine's key stays here", async (t) => {
    const one = await project(t);
    const server = await ControlServer.start(t);
    server.json("GET /api/v1/environments", { app: "shop", environments: [] });
    writeFileSync(path.join(one.cwd, "flash.toml"), `[deploy]\ntarget = "${server.url}"\n`);
    one.env.FLASH_API_KEY = "theirs";
    await one.flash("deploy");
    assert.equal(server.requests.at(-1)?.authorization, "Bearer theirs");
    writeFileSync(path.join(one.cwd, "flash.toml"), '[deploy]\ntarget = "http://127.0.0.1:9"\n');
    one.env.FLASH_URL = server.url;
    const seen = server.requests.length;
    await one.flash("deploy");
    assert.ok(server.requests.length > seen, "FLASH_URL wins over flash.toml");
    assert.ok(!existsSync(one.home), "no server and no key was made here");
  });

  test("Ctrl-C ends it with 130", async (t) => {
    const one = await project(t, {
      "slow.ts": `import "runpod-flash";\nawait new Promise((resolve) => setTimeout(resolve, 600_000));\n`,
    });
    const program = one.start("deploy");
    await program.says(/Creating app/);
    const { code, stdout, stderr } = await program.stop("SIGINT");
    assert.equal(code, 130);
    assert.equal(stdout, "");
    assert.match(stderr, /Deploy cancelled by user/);
  });

  test("calling it through a link and from a folder below the project is the same", async (t) => {
    const one = await project(t, { "deep/below/notes.txt": "" });
    const below = path.join(one.cwd, "deep", "below");
    const link = path.join(one.home, "..", "flash.ts");
    symlinkSync(ENTRY, link);
    const { code, stderr } = await run([process.execPath, link, "build"], {
      cwd: below,
      env: one.env,
    });
    assert.equal(code, 0, stderr);
    assert.equal(manifestOf(one).endpoints.length, 2);
  });
});

describe("status, logs and undeploy", () => {
  test("status has state, workers and jobs of every endpoint", async (t) => {
    const one = await project(t);
    const { endpoints } = await deployed(one);
    const { stdout } = await one.flash("status", "--json", "--app", "shop");
    const document = JSON.parse(stdout) as StatusDocument;
    for (const [index, endpoint] of document.endpoints.entries()) {
      const { name, id, url } = endpoints[index] ?? {};
      assert.deepEqual([endpoint.name, endpoint.id, endpoint.url], [name, id, url]);
      assert.equal(endpoint.state, "idle");
      assert.equal(endpoint.workers.RUNNING, 0);
      assert.equal(endpoint.jobs.inQueue, 0);
    }
    const text = await one.flash("status", "--app", "shop");
    assert.match(text.stdout, /^shop \/ production\n/);
    assert.match(text.stdout, /○ adder {2}idle {2}load-balanced/);
  });

  test("what is not deployed, or not running, is an error that says what to do", async (t) => {
    const one = await project(t);
    const off = await one.flash("status");
    assert.equal(off.code, 4);
    assert.match(off.stderr, /flash server start/);
    await one.flash("server", "start");
    const none = await one.flash("status");
    assert.equal(none.code, 1);
    assert.match(none.stderr, /flash deploy/);
  });

  test("logs show what a worker wrote, and follow it", async (t) => {
    const one = await project(t, {
      "talk.ts": `
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "talker", cpu: "cpu3c-1-2", workers: [0, 1] });
export const say = api.post("/say", (word: string) => { console.log("said " + word); return 1; });
`,
    });
    const { endpoints } = await deployed(one);
    const url = endpoints.find(({ name }) => name === "talker")?.url;
    const headers = {
      authorization: `Bearer ${(await one.flash("token")).stdout.trim()}`,
      "content-type": "application/json",
    };
    const say = (word: string): Promise<Response> =>
      fetch(`${url}/say`, { method: "POST", headers, body: JSON.stringify({ word }) });
    const following = one.start("logs", "talker", "-f", "--app", "shop");
    await say("one");
    await following.says(/said one/);
    await say("two");
    await following.says(/said two/);
    assert.equal((await following.stop("SIGINT")).code, 130);
    const { stdout } = await one.flash("logs", "--app", "shop", "--json");
    assert.match(stdout, /"message":"said one"/);
    for (const line of stdout.trim().split("\n")) JSON.parse(line);
  });

  test("without a terminal nothing is removed unless --force says so", async (t) => {
    const one = await project(t);
    await deployed(one);
    for (const what of [["adder"], ["--all"]]) {
      const { code, stderr } = await one.flash("undeploy", ...what, "--app", "shop");
      assert.equal(code, 2);
      assert.match(stderr, /there is no terminal/);
      assert.match(stderr, /--force/);
    }
    const list = async (): Promise<string> =>
      (await one.flash("undeploy", "list", "--app", "shop")).stdout;
    assert.match(await list(), /^adder +\S+ +lb +idle\ndouble +\S+ +qb +idle\n$/);
    const typo = await one.flash("undeploy", "addre", "--force", "--app", "shop");
    assert.equal(typo.code, 1);
    assert.match(typo.stderr, /no endpoint named 'addre'.*\n\s+Did you mean 'adder'\?/);
    const removed = await one.flash("undeploy", "adder", "--force", "--app", "shop");
    assert.equal(removed.stdout, "✓ deleted adder\n");
    assert.doesNotMatch(await list(), /adder/);
    const rest = await one.flash("undeploy", "--all", "--yes", "--json", "--app", "shop");
    assert.deepEqual((JSON.parse(rest.stdout) as { removed: string[] }).removed, ["double"]);
    assert.equal(await list(), "no endpoints found\n");
  });
});
