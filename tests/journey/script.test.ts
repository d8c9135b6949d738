/** A person's own scripts against what they deployed: typed calls instead of curl. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { freePort, Sandbox } from "../support/flash.ts";
import { run } from "../support/program.ts";
import { writeFiles } from "../support/temp.ts";
import { adder, QUEUE } from "./projects.ts";

/** Runs a script of the project and returns what it printed, a JSON value a line. */
async function runScript(
  folder: string,
  env: NodeJS.ProcessEnv,
  source: string,
): Promise<unknown[]> {
  writeFiles(folder, { "script.ts": source });
  const script = await run([process.execPath, "script.ts"], { cwd: folder, env });
  assert.equal(script.code, 0, script.stderr);
  return script.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);
}

test("deploy() fills the URL, and the functions become requests to their routes", async (t) => {
  const sandbox = await Sandbox.open(t);
  const files = adder("adder");
  const folder = sandbox.project({
    "api.ts": `${files["api.ts"] ?? ""}\nexport { api };\n`,
  });
  const said = await runScript(
    folder,
    sandbox.env,
    `
import { api, explode, processData, who } from "./api.ts";
const say = (value: unknown) => console.log(JSON.stringify(value));
await api.deploy();
say(api.endpointUrl);
say(await processData(5, 3));
say((await who()).pid !== process.pid);
await explode().catch((error: Error & { code?: string }) => { say([error.message, error.code]); });
await processData("a" as never, 3).catch((error: Error & { code?: string }) => { say([error.message, error.code]); });
`,
  );
  const [url, sum, isElsewhere, thrown, refused] = said as [
    string,
    number,
    boolean,
    [string, string],
    [string, string],
  ];
  assert.ok(url.startsWith(sandbox.url), url);
  assert.equal(sum, 8);
  assert.equal(isElsewhere, true);
  assert.match(thrown[0], /HTTP error from endpoint.*500/);
  assert.match(thrown[0], /boom at runtime/);
  assert.match(refused[0], /x/);
  assert.equal(refused[1], "INVALID_INPUT");
});

test("a script that knows app and key calls queue endpoints as functions and as jobs", async (t) => {
  const sandbox = await Sandbox.open(t);
  const folder = sandbox.project(QUEUE, "shop");
  await sandbox.deploy(folder);
  const env = {
    ...sandbox.env,
    FLASH_URL: sandbox.url,
    FLASH_API_KEY: sandbox.key,
    FLASH_APP: "shop",
  };
  const said = await runScript(
    folder,
    env,
    `
import { double, failing } from "./jobs.ts";
const say = (value: unknown) => console.log(JSON.stringify(value));
say(await double(21));
const job = await double.run(4);
await job.wait();
say([await job.status(), job.output]);
await failing("/dev/null").catch((error: Error) => { say(error.message); });
`,
  );
  assert.equal(said[0], 42);
  assert.deepEqual(said[1], ["COMPLETED", 8]);
  assert.match(String(said[2]), /this input cannot be processed/);
});

test("the same script works against 'flash run': only FLASH_URL differs", async (t) => {
  const sandbox = await Sandbox.open(t);
  const api = `
import { Endpoint } from "runpod-flash";
const shop = Endpoint({ name: "shelf", cpu: "cpu3c-1-2", workers: [0, 1], idleTimeoutS: 1 });
export const item = shop.get("/items/{id}", (id: number) => ({ id }));
`;
  const folder = sandbox.project({ ...QUEUE, "api.ts": api }, "shop");
  const port = String(await freePort());
  const program = sandbox.start(folder, "run", "--port", port, "--no-reload");
  await program.says(/ctrl\+c/);
  const env = { ...sandbox.env, FLASH_URL: `http://localhost:${port}`, FLASH_APP: "shop" };
  const said = await runScript(
    folder,
    env,
    `
import { double, failing } from "./jobs.ts";
import { item } from "./api.ts";
const say = (value: unknown) => console.log(JSON.stringify(value));
say(await double(21));
const job = await double.run(4);
await job.wait();
say([await job.status(), job.output]);
say(await item(7));
await failing("/dev/null").catch((error: Error) => { say(error.message); });
say((await (await fetch("http://localhost:${port}/lb/flash/items/8", { headers: {
  "x-flash-app": "shop", "x-flash-environment": "production", "x-flash-endpoint": "shelf" } })).json()));
`,
  );
  assert.deepEqual(said.slice(0, 3), [42, ["COMPLETED", 8], { id: 7 }]);
  assert.match(String(said[3]), /this input cannot be processed/);
  assert.deepEqual(said[4], { id: 8 });
});

test("with nothing configured the functions run in the script itself", async (t) => {
  const sandbox = await Sandbox.open(t);
  const folder = sandbox.project(QUEUE);
  const env = { ...sandbox.env, FLASH_URL: "", FLASH_API_KEY: "" };
  const said = await runScript(
    folder,
    env,
    `
import { double } from "./jobs.ts";
console.log(JSON.stringify(await double(21)));
`,
  );
  assert.deepEqual(said, [42]);
});

test("a module that declares, deploys and calls at its top level works, also in its own workers", async (t) => {
  const sandbox = await Sandbox.open(t);
  const folder = sandbox.project({});
  const source = `
import { LoadBalancerSlsResource, remote } from "runpod-flash";
const api = new LoadBalancerSlsResource({ name: "solo", imageName: "runpod/runpod-flash-lb:latest" });
const other = new LoadBalancerSlsResource({ name: "duo", imageName: "runpod/runpod-flash-lb:latest" });
export const add = remote(api, { method: "POST", path: "/add" }, async (x: number, y: number) => x + y);
export const twice = remote(other, { method: "POST", path: "/twice" }, async (x: number) => x * 2);
const say = (value: unknown) => console.log(JSON.stringify(value));
await add(1, 1).catch((error: Error) => { say(error.message); });
await api.deploy();
await other.deploy();
say(api.endpointUrl);
say([await add(5, 3), await twice(4)]);
`;
  const said = await runScript(folder, sandbox.env, source);
  assert.equal(said[0], "Endpoint URL not available - endpoint may not be deployed");
  assert.ok(String(said[1]).startsWith(sandbox.url), String(said[1]));
  assert.deepEqual(said[2], [8, 8]);
});
