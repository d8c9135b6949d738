/** The build-time errors of the guide, as a person at the command line meets them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Sandbox } from "../support/flash.ts";
import { run } from "../support/program.ts";

/** A route declared with these options. */
function route(options: string, more = ""): Record<string, string> {
  return {
    "worker.ts": `
import { LoadBalancerSlsResource, remote } from "runpod-flash";
const api = new LoadBalancerSlsResource({ name: "my-api" });
export const first = remote(api, ${options}, async (x: number) => x);
${more}
`,
  };
}

const CASES: [title: string, files: Record<string, string>, text: string][] = [
  ["no method and path", route("{}"), "requires both 'method' and 'path'"],
  ["no path", route('{ method: "POST" }'), "requires both 'method' and 'path'"],
  [
    "a misspelled method",
    route('{ method: "PTACH", path: "/api/x" }'),
    "Invalid HTTP method 'PTACH' must be one of: GET, POST, PUT, DELETE, PATCH",
  ],
  [
    "a relative path",
    route('{ method: "POST", path: "api/endpoint" }'),
    "path must start with '/'",
  ],
  [
    "a route defined twice",
    route(
      '{ method: "POST", path: "/api/process" }',
      'export const second = remote(api, { method: "post", path: "/api/process" }, async (x: number) => x);',
    ),
    "Route conflict detected: POST /api/process defined twice",
  ],
  ["the reserved /ping", route('{ method: "GET", path: "/ping" }'), "reserved"],
  ["the reserved /execute", route('{ method: "POST", path: "/execute" }'), "reserved"],
];

for (const [title, files, text] of CASES) {
  test(`build names ${title}`, async (t) => {
    const sandbox = await Sandbox.open(t);
    const built = await sandbox.flash(sandbox.project(files), "build");
    assert.equal(built.code, 1, built.stdout + built.stderr);
    assert.ok(built.stderr.includes(text), `${built.stderr}\nholds: ${text}`);
    assert.match(built.stderr, /worker\.ts:\d+/, "with file and line");
  });
}

test("all mistakes of a project are reported at once", async (t) => {
  const sandbox = await Sandbox.open(t);
  const built = await sandbox.flash(
    sandbox.project({
      ...route('{ method: "PTACH", path: "/api/x" }'),
      "other.ts": `
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "other-api" });
export const ping = api.get("/ping", () => "pong");
`,
    }),
    "deploy",
  );
  assert.equal(built.code, 1);
  assert.match(built.stderr, /Invalid HTTP method 'PTACH'/);
  assert.match(built.stderr, /reserved/);
  assert.match(built.stderr, /worker\.ts:\d+/);
  assert.match(built.stderr, /other\.ts:\d+/);
});

test("an endpoint used before deploy() says so", async (t) => {
  const sandbox = await Sandbox.open(t);
  const project = sandbox.project({
    "service.ts": route('{ method: "POST", path: "/api/x" }')["worker.ts"] ?? "",
    "script.ts": `
import { first } from "./service.ts";
await first(1).catch((error: Error) => { console.log(error.message); });
`,
  });
  const script = await run([process.execPath, "script.ts"], {
    cwd: project,
    env: { ...sandbox.env, FLASH_URL: "", FLASH_API_KEY: "" },
  });
  assert.match(script.stdout, /Endpoint URL not available - endpoint may not be deployed/);
});
