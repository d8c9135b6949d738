/** Finding endpoints as people write them. */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setImmediate, setInterval } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import {
  describeFiles,
  DescribeProcesses,
  IMPORT_TIMEOUT_MS,
} from "../../src/compiler/describe.ts";
import { DescribeBuild, sdkUrl } from "../../src/compiler/describe-build.ts";
import {
  build,
  buildFolder,
  endpointOf,
  onlyFunction,
  testPackage,
  writeProject,
} from "./support.ts";

function namesOf(result: Awaited<ReturnType<typeof build>>): string[] {
  return result.manifest.endpoints.map(({ name }) => name);
}

/** Waits without a timeout, whose time the test itself lets pass. What was written before has been read then. */
async function turnsUntil(isTrue: () => boolean): Promise<void> {
  for await (const _ of setInterval(10)) if (isTrue()) break;
  for (let turn = 0; turn < 3; turn += 1) await setImmediate();
}

describe("names", () => {
  test("an endpoint takes its name from the option, the export, or the function", async () => {
    const result = await build(`
-- api.ts --
import { Endpoint } from "runpod-flash";
export const exported = Endpoint({ name: "explicit" }, async (x: string) => x);
export const byExport = Endpoint({}, async (x: string) => x);
export default Endpoint({}, async function byFunction(x: string) { return x; });
export const Model = Endpoint({}, class Inner { run(x: string) { return x; } });
`);
    assert.deepEqual(namesOf(result), ["Model", "byExport", "byFunction", "explicit"]);
    assert.equal(onlyFunction(result, "explicit").name, "exported");
    assert.equal(onlyFunction(result, "byFunction").name, "byFunction");
    assert.equal(onlyFunction(result, "Model").name, "run");
  });

  test("a re-export does not name what the declaring file names", async () => {
    const result = await build(`
-- index.ts --
export { analyze as other } from "./lib/work.ts";
export * as everything from "./lib/work.ts";
import "runpod-flash";
-- lib/work.ts --
import { Endpoint } from "runpod-flash";
export const analyze = Endpoint({}, async (x: string) => x);
`);
    assert.deepEqual(namesOf(result), ["analyze"]);
    assert.deepEqual(endpointOf(result, "analyze").files, ["lib/work.ts"]);
  });

  test("routes are called by their export, their function, or their method and path", async () => {
    const result = await build(`
-- api.ts --
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "api" });
export const listUsers = api.get("/users", () => []);
api.get("/health", function health() { return "ok"; });
api.post("/users", () => 1);
`);
    const { functions } = endpointOf(result, "api");
    assert.deepEqual(
      functions.map(({ name, route }) => [name, route?.method, route?.path]),
      [
        ["listUsers", "GET", "/users"],
        ["health", "GET", "/health"],
        ["POST /users", "POST", "/users"],
      ],
    );
  });
});

describe("places", () => {
  test("routes of one endpoint may lie in several files", async () => {
    const result = await build(`
-- api.ts --
import { Endpoint } from "runpod-flash";
export const api = Endpoint({ name: "api" });
-- users.ts --
import { api } from "./api.ts";
export const users = api.get("/users", () => []);
-- orders.ts --
import { api } from "./api.ts";
export const orders = api.get("/orders", (limit = 5) => limit);
`);
    const endpoint = endpointOf(result, "api");
    assert.deepEqual(endpoint.files, ["api.ts", "orders.ts", "users.ts"]);
    assert.deepEqual(endpoint.functions.map(({ name }) => name).sort(), ["orders", "users"]);
  });

  test("a function of the project's own may declare, also in a loop", async () => {
    const result = await build(`
-- lib/define.ts --
import { Endpoint } from "runpod-flash";
export function define<F extends (...args: any[]) => unknown>(name: string, handler: F) {
  return Endpoint({ name, workers: [0, 2] }, handler);
}
-- app.ts --
import { define } from "@lib/define";
export const greet = define("greet", async (name: string, loud?: boolean) => name);
for (const size of ["small", "large"]) define(size, (text: string) => text);
-- tsconfig.json --
{ "compilerOptions": { "paths": { "@lib/*": ["./lib/*.ts"] } } }
`);
    assert.deepEqual(namesOf(result), ["greet", "large", "small"]);
    const { parameters } = onlyFunction(result, "greet");
    assert.deepEqual(
      parameters.map(({ name, required, schema }) => [name, required, schema]),
      [
        ["name", true, { type: "string" }],
        ["loud", false, { type: "boolean" }],
      ],
    );
    assert.deepEqual(endpointOf(result, "greet").files, ["app.ts"]);
    assert.equal(onlyFunction(result, "small").parameters[0]?.name, "text");
  });

  test("importing an endpoint does not make it defined twice", async () => {
    const result = await build(`
-- a.ts --
import { Endpoint } from "runpod-flash";
export const analyze = Endpoint({ name: "analyze" }, async (x: string) => x.length);
-- b.ts --
import { Endpoint } from "runpod-flash";
import { analyze } from "./a.ts";
const api = Endpoint({ name: "api" });
export const run = api.post("/run", async (text: string) => ({ length: await analyze(text) }));
`);
    assert.deepEqual(endpointOf(result, "api").calls, ["analyze"]);
    assert.deepEqual(endpointOf(result, "analyze").calls, []);
    assert.deepEqual(endpointOf(result, "api").files, ["b.ts"]);
  });

  test("all forms: decorator, curried, remote, JavaScript, JSX", async () => {
    const result = await build(`
-- forms.ts --
import { Endpoint, LiveServerless, remote, LiveLoadBalancer } from "runpod-flash";
@Endpoint({ name: "decorated" })
export class Decorated {
  /** Predicts. */
  async predict(prompt: string) { return { prompt }; }
}
export const curried = Endpoint({ name: "curried" })(async (x: number) => x);
export const remoted = remote(new LiveServerless({ name: "remoted" }), async (x: number) => x);
const api = new LiveLoadBalancer({ name: "api" });
export const route = remote(api, { method: "Put", path: "/x/{id}" })((id: number, name?: string) => id);
-- plain.js --
import { Endpoint } from "runpod-flash";
/** Adds. */
export const plain = Endpoint({ name: "plain" }, async (a, b = 2) => a + b);
-- view.tsx --
import { Endpoint } from "runpod-flash";
export const view = Endpoint({ name: "view" }, async (x: number) => x);
`);
    assert.deepEqual(namesOf(result), ["api", "curried", "decorated", "plain", "remoted", "view"]);
    assert.equal(onlyFunction(result, "decorated").summary, "Predicts.");
    assert.equal(onlyFunction(result, "plain").summary, "Adds.");
    assert.equal(onlyFunction(result, "plain").checked, false);
    assert.deepEqual(onlyFunction(result, "api").route, { method: "PUT", path: "/x/{id}" });
    assert.equal(endpointOf(result, "api").live, true);
    assert.equal(endpointOf(result, "api").resource, "LiveLoadBalancer");
    assert.equal(onlyFunction(result, "remoted").parameters[0]?.schema.type, "number");
  });

  test("paths with blanks, brackets and other signs", async () => {
    const folder = writeProject(`
-- sub (1)/a%b [x] #ü.ts --
import { Endpoint } from "runpod-flash";
export const a = Endpoint({ name: "a" }, async (x: string) => x);
`);
    const result = await buildFolder(folder);
    assert.deepEqual(endpointOf(result, "a").files, ["sub (1)/a%b [x] #ü.ts"]);
    assert.equal(onlyFunction(result, "a").parameters[0]?.schema.type, "string");
  });

  test("a workspace's own package is taken in as source", async () => {
    const folder = writeProject(`
-- packages/shared/package.json --
{ "name": "@acme/shared", "type": "module", "exports": "./index.ts" }
-- packages/shared/index.ts --
export enum Mode { A = "a", B = "b" }
export interface Request { mode: Mode }
-- app/package.json --
{ "type": "module" }
-- app/api.ts --
import { Endpoint } from "runpod-flash";
import { Mode, type Request } from "@acme/shared";
export const a = Endpoint({ name: "a-" + Mode.A }, async (request: Request) => request.mode);
`);
    mkdirSync(join(folder, "app/node_modules/@acme"), { recursive: true });
    symlinkSync(join(folder, "packages/shared"), join(folder, "app/node_modules/@acme/shared"));
    const result = await buildFolder(join(folder, "app"));
    assert.deepEqual(onlyFunction(result, "a-a").parameters[0]?.schema.properties, {
      mode: { type: "string", enum: ["a", "b"] },
    });
  });

  test("clients: an image is deployed, an id is not", async () => {
    const result = await build(`
-- clients.ts --
import { Endpoint, GpuType } from "runpod-flash";
export const vllm = Endpoint({ name: "vllm", image: "vllm/vllm-openai:latest", gpu: GpuType.NVIDIA_L4 });
export const existing = Endpoint({ id: "abc123" });
export const ask = Endpoint({ name: "ask" }, async (text: string) => existing.runsync({ text }));
`);
    assert.deepEqual(namesOf(result), ["ask", "vllm"]);
    const image = endpointOf(result, "vllm");
    assert.equal(image.form, "image");
    assert.equal(image.bundle, undefined);
    assert.equal(image.options.image, "vllm/vllm-openai:latest");
    assert.deepEqual(endpointOf(result, "ask").calls, ["vllm"]);
  });

  test("tests, ignored folders and scripts are left alone", async () => {
    const result = await build(`
-- api.ts --
import { Endpoint } from "runpod-flash";
export const a = Endpoint({ name: "a" }, async (x: string) => x);
-- api.test.ts --
import { Endpoint } from "runpod-flash";
export const t = Endpoint({ name: "from-a-test" }, async (x: string) => x);
-- tests/more.ts --
import { Endpoint } from "runpod-flash";
export const t = Endpoint({ name: "from-tests" }, async (x: string) => x);
-- node_modules/x/index.ts --
import { Endpoint } from "runpod-flash";
-- .#api.ts --
import { Endpoint } from "runpod-flash";
export const t = Endpoint({ name: "from-an-editor" }, async (x: string) => x);
-- .gitignore --
old/
-- old/api.ts --
import { Endpoint } from "runpod-flash";
export const t = Endpoint({ name: "old" }, async (x: string) => x);
-- script.ts --
import { a } from "./api.ts";
throw new Error("a script is not loaded by the build: " + (await a("x")));
`);
    assert.deepEqual(namesOf(result), ["a"]);
    assert.deepEqual(result.warnings, []);
  });
});

describe("evaluation", () => {
  test("options may be any expression, and see the environment that the build is given", async () => {
    const result = await build(
      `
-- api.ts --
import { Endpoint } from "runpod-flash";
const size = 2 + 1;
export const a = Endpoint({ name: \`a-\${size}\`, workers: [0, size], env: { KEY: process.env.DEMO_KEY ?? "" } }, async (x: string) => x);
`,
      { env: { DEMO_KEY: "from the test" } },
    );
    const { options } = endpointOf(result, "a-3");
    assert.equal(options.workersMax, 3);
    assert.deepEqual(options.env, { KEY: "from the test" });
  });

  test("a call at the top level is refused with a warning, awaited or not", async () => {
    const result = await build(`
-- a.ts --
import { Endpoint } from "runpod-flash";
export const a = Endpoint({ name: "a" }, async (x: string) => x);
const first = await a("hello");
console.log(first);
-- b.ts --
import { Endpoint } from "runpod-flash";
export const b = Endpoint({ name: "b" }, async (x: string) => x);
async function main(): Promise<void> { console.log(await b("hello")); }
void main();
`);
    assert.deepEqual(namesOf(result), ["a", "b"]);
    const [warning] = result.warnings;
    assert.equal(warning?.severity, "warning");
    assert.equal(warning.file, "a.ts");
    assert.equal(warning.line, 3);
    assert.match(warning.message, /a\.ts calls an endpoint while the project is built/);
  });

  test("open handles do not hold the build", async () => {
    const result = await build(`
-- a.ts --
import { createServer } from "node:http";
import { Endpoint } from "runpod-flash";
createServer().listen(0);
setInterval(() => undefined, 1000);
export const a = Endpoint({ name: "a" }, async (x: string) => x);
`);
    assert.deepEqual(namesOf(result), ["a"]);
  });

  test("a module that blocks is given up, and the others are described", async (t) => {
    const root = writeProject(`
-- blocked.ts --
import { writeFileSync } from "node:fs";
import { Endpoint } from "runpod-flash";
export const a = Endpoint({ name: "a" }, async (x: string) => x);
writeFileSync("blocked", "");
for (;;);
-- fine.ts --
import { Endpoint } from "runpod-flash";
export const b = Endpoint({ name: "b" }, async (x: string) => x);
-- waiting.ts --
import { writeFileSync } from "node:fs";
import { Endpoint } from "runpod-flash";
writeFileSync("waiting", "");
await new Promise(() => setInterval(() => undefined, 1000));
`);
    const own = testPackage();
    const describing = new DescribeBuild(root, join(root, ".flash/describe"), own);
    const output = await describing.run(["blocked.ts", "fine.ts", "waiting.ts"], new Map());
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const reporting = describeFiles({
      files: Promise.resolve(output.files),
      processes: new DescribeProcesses(root, { sdk: sdkUrl(own), env: undefined }),
      signal: undefined,
    });
    for (const file of ["blocked", "waiting"]) {
      await turnsUntil(() => existsSync(join(root, file)));
      t.mock.timers.tick(IMPORT_TIMEOUT_MS);
    }
    const report = await reporting;
    assert.deepEqual(
      report.failures.map(({ message }) => message),
      [
        "import of blocked.ts timed out after 30s (module-level code may be blocking)",
        "import of waiting.ts timed out after 30s (module-level code may be blocking)",
      ],
    );
    assert.deepEqual(
      report.endpoints.map(({ name }) => name),
      ["b"],
    );
  });

  test("a process that is long in starting has not begun to import", async (t) => {
    const root = writeProject(`
-- fine.ts --
import { Endpoint } from "runpod-flash";
export const b = Endpoint({ name: "b" }, async (x: string) => x);
`);
    const own = testPackage();
    const [starting, gate] = [join(root, "starting"), join(root, "gate")];
    // The SDK, as a machine has it that takes its time to load a file.
    const slow = join(root, "slow.mjs");
    writeFileSync(
      slow,
      `import { existsSync, writeFileSync } from "node:fs";
       writeFileSync(${JSON.stringify(starting)}, "");
       while (!existsSync(${JSON.stringify(gate)}));`,
    );
    const describing = new DescribeBuild(root, join(root, ".flash/describe"), own);
    const { files } = await describing.run(["fine.ts"], new Map());
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const processes = new DescribeProcesses(root, {
      sdk: pathToFileURL(slow).href,
      env: undefined,
    });
    const reporting = describeFiles({
      files: Promise.resolve(files),
      processes,
      signal: undefined,
    });
    await turnsUntil(() => existsSync(starting));
    t.mock.timers.tick(IMPORT_TIMEOUT_MS);
    writeFileSync(gate, "");
    const { failures, endpoints } = await reporting;
    assert.deepEqual([failures, endpoints.map(({ name }) => name)], [[], ["b"]]);
  });

  test("nothing waits for a process that is gone before it gets its files", async () => {
    const root = writeProject("-- a.ts --\nexport {};\n");
    const coming = Promise.withResolvers<[]>();
    const abort = new AbortController();
    const described = describeFiles({
      files: coming.promise,
      processes: new DescribeProcesses(root, { sdk: sdkUrl(testPackage()), env: undefined }),
      signal: abort.signal,
    });
    abort.abort();
    await assert.rejects(described);
    const timers = (): number =>
      process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const before = timers();
    coming.resolve([]);
    await coming.promise;
    assert.equal(timers(), before);
  });

  test("an aborted build stops and leaves its reason", async () => {
    const abort = new AbortController();
    const folder = writeProject(`
-- a.ts --
import { Endpoint } from "runpod-flash";
export const a = Endpoint({ name: "a" }, async (x: string) => x);
await new Promise(() => setInterval(() => undefined, 1000));
`);
    const building = buildFolder(folder, { signal: abort.signal });
    setTimeout(() => abort.abort(new Error("enough")), 300);
    await assert.rejects(building, /enough/);
  });
});
