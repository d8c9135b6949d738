/** What is deployed never runs code from requests, and what does answers to the server's key alone. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { LIVE_SECRET_HEADER } from "../../src/contract/live.ts";
import { Sandbox } from "../support/flash.ts";
import { ROOT, temporaryFolder } from "../support/temp.ts";
import { liveStatus, runLive } from "./live.ts";

const API: Readonly<Record<string, string>> = {
  "api.ts": `
import { LiveLoadBalancer, LiveServerless, remote } from "runpod-flash";
const api = new LiveLoadBalancer({ name: "api", workers: [0, 1] });
export const add = remote(api, { method: "POST", path: "/add" }, (a: number, b: number) => a + b);
export const seen = remote(api, { method: "POST", path: "/seen" }, (request: Request) => [...request.headers.keys()]);
export const secret = remote(api, { method: "GET", path: "/secret" }, () => process.env.FLASH_API_KEY ?? "");
export const double = remote(new LiveServerless({ name: "double" }), async (n: number) => n * 2);
`,
};

/** Words that only the code of live workers has. */
const MARKS = [LIVE_SECRET_HEADER, "needs_bundle", "not found in executed code", "flash-live-"];

test("the live worker's program has the marks that the others are searched for", () => {
  const live = readFileSync(path.join(ROOT, "dist", "runtime", "live.mjs"), "utf8");
  for (const mark of MARKS) assert.ok(live.includes(mark), mark);
});

test("neither the worker's program nor an artifact of Live resources holds /execute", async (t) => {
  const sandbox = await Sandbox.open(t);
  const project = sandbox.project(API);
  const built = await sandbox.flash(project, "build");
  assert.equal(built.code, 0, built.stderr);
  const folder = temporaryFolder(t);
  const archive = path.join(project, ".flash", "artifact.tar.gz");
  assert.equal(spawnSync("tar", ["-xzf", archive, "-C", folder]).status, 0);
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));
  assert.ok(files.some((file) => file.endsWith("worker.mjs")));
  for (const file of [...files, path.join(ROOT, "dist", "runtime", "worker.mjs")]) {
    const text = readFileSync(file, "utf8");
    // The SDK is a client of it, and names what it asks for.
    const marks = file.endsWith("sdk.mjs") ? [LIVE_SECRET_HEADER, "flash-live-"] : MARKS;
    for (const mark of marks) assert.ok(!text.includes(mark), `${file} has ${mark}`);
    assert.ok(!text.includes('"executes"'), file);
  }
});

test("a deployed Live resource has no /execute, with whatever key and header", async (t) => {
  const sandbox = await Sandbox.open(t);
  const project = sandbox.project(API);
  const deployed = await sandbox.deploy(project);
  const api = deployed.endpoint("api").url;
  const secret = (await deployed.call("api", "GET /secret")).json as string;
  const body = JSON.stringify({ function_name: "f", args: [], bundle: { digest: "0" } });
  for (const path of ["/execute", "/execute/", "/EXECUTE", "/%65xecute", "//execute"]) {
    for (const key of [sandbox.key, secret]) {
      const headers = { authorization: `Bearer ${key}`, [LIVE_SECRET_HEADER]: secret };
      const answer = await fetch(`${api}${path}`, { method: "POST", headers, body });
      assert.equal(answer.status, 404, path);
    }
  }
  const names = await deployed.call("api", "POST /seen", {});
  assert.ok(!(names.json as string[]).includes(LIVE_SECRET_HEADER));
  const withHeader = await sandbox.fetch(`${api}/seen`, {
    method: "POST",
    headers: { [LIVE_SECRET_HEADER]: "x", [LIVE_SECRET_HEADER.toUpperCase()]: "y" },
  });
  assert.ok(!((await withHeader.json()) as string[]).includes(LIVE_SECRET_HEADER));
  const queue = await sandbox.fetch(`${deployed.endpoint("double").url}/execute`, {
    method: "POST",
    body,
  });
  assert.ok(queue.status >= 400 && queue.status < 500, String(queue.status));
});

test("a live worker runs code for the server's key, not for a worker's, nor for nobody's", async (t) => {
  const { call, sandbox } = await runLive(t, API);
  const secret = (await call("GET /api/secret")).json as string;
  assert.match(secret, /^flashw?_/);
  const [deployment] = await liveStatus(sandbox, "live-app");
  const { app = "", environment = "", endpoints = [] } = deployment ?? {};
  const id = endpoints.find(({ name }) => name === "api")?.id ?? "";
  const body = JSON.stringify({ function_name: "f", args: [], bundle: { digest: "0" } });
  const names = {
    "x-flash-app": app,
    "x-flash-environment": environment,
    "x-flash-endpoint": "api",
  };
  const status = async (
    key: string | undefined,
    url: string,
    more: object = {},
  ): Promise<number> => {
    const headers = { ...(key === undefined ? {} : { authorization: `Bearer ${key}` }), ...more };
    return (await fetch(`${sandbox.url}${url}`, { method: "POST", headers, body })).status;
  };
  assert.equal(await status(undefined, `/lb/${id}/execute`), 401);
  assert.equal(await status("wrong", `/lb/${id}/execute`), 401);
  assert.equal(await status(secret, `/lb/${id}/execute`), 403);
  // Not even with its own secret in the header: what clients send there is dropped.
  assert.equal(await status(secret, `/lb/${id}/execute`, { [LIVE_SECRET_HEADER]: secret }), 403);
  assert.equal(await status(secret, "/lb/flash/execute", names), 403);
  assert.equal(await status(sandbox.key, `/lb/${id}/execute`), 200);
  assert.equal(await status(sandbox.key, `/lb/${id}/add`), 404);
});

test("the dev server runs the project's code, whatever code a request holds", async (t) => {
  const { call, url } = await runLive(t, API);
  const evil = { "index.mjs": "process.exit(9)" };
  const request = {
    function_name: "add",
    route: { method: "POST", path: "/add" },
    args: [2, 3],
    bundle: { digest: "0", modules: evil },
  };
  const answer = (await call("POST /api/execute", request)).json;
  assert.deepEqual(answer, { success: true, json_result: 5, stdout: "" });
  const foreign = await fetch(`${url}/api/execute`, {
    method: "POST",
    headers: { origin: "https://evil.example" },
    body: JSON.stringify(request),
  });
  assert.equal(foreign.status, 403);
  assert.equal((await call("POST /nope/execute", request)).status, 404);
});
