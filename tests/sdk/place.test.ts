/** Where calls run: the facts of real processes, and what the SDK makes of them. */

import assert from "node:assert/strict";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import { writeFileSync, mkdirSync } from "node:fs";
import { registry } from "../../src/contract/registry.ts";
import {
  Endpoint,
  FlashError,
  LiveLoadBalancer,
  LoadBalancerSlsResource,
  remote,
  where,
} from "../../src/sdk/sdk.ts";
import { isTestRunner } from "../../src/sdk/test-runner.ts";
import { run, type Finished } from "../support/program.ts";
import { ROOT, temporaryFolder } from "../support/temp.ts";
import { setVariables } from "./fake-server.ts";

const SDK = path.join(ROOT, "src", "sdk", "sdk.ts");

const CLEAN = {
  FLASH_MODE: undefined,
  FLASH_URL: undefined,
  FLASH_API_KEY: undefined,
  FLASH_LIVE_URL: undefined,
} satisfies NodeJS.ProcessEnv;

/** Runs a script in a process of its own; variables of this test run are inherited, as in real life. */
async function script(
  t: TestContext,
  code: string,
  { env = {}, flags = [] }: { env?: NodeJS.ProcessEnv; flags?: string[] } = {},
): Promise<Finished> {
  const file = path.join(temporaryFolder(t), "script.ts");
  const prelude = `import { Endpoint, LiveLoadBalancer, LoadBalancerSlsResource, remote, where } from ${JSON.stringify(SDK)};
const queue = Endpoint({ name: "q" }, () => 1);
const route = Endpoint({ name: "r" }).get("/x", () => 2);
const live = remote(new LiveLoadBalancer({ name: "l" }), { method: "GET", path: "/x" }, () => 3);
const production = remote(new LoadBalancerSlsResource({ name: "p" }), { method: "GET", path: "/x" }, () => 4);
const places = () => [queue, route, live, production].map((one) => where(one).place).join(" ");
`;
  writeFileSync(file, prelude + code);
  return run([process.execPath, ...flags, file], {
    cwd: path.dirname(file),
    env: { ...process.env, ...CLEAN, ...env },
  });
}

test("a script's nearest .env counts as what is not set, and reaches no code of the user", async (t) => {
  const folder = temporaryFolder(t);
  const program = `import { Endpoint, where } from ${JSON.stringify(SDK)};
const queue = Endpoint({ name: "q" }, () => 1);
console.log(where(queue).place, process.env.FLASH_API_KEY ?? "unset");`;
  mkdirSync(path.join(folder, "scripts"));
  writeFileSync(path.join(folder, "scripts", "script.ts"), program);
  const variables = "FLASH_URL=http://127.0.0.1:9\nFLASH_API_KEY=abc\nFLASH_APP=shop\n";
  writeFileSync(path.join(folder, ".env"), variables);
  const placeWith = async (env: NodeJS.ProcessEnv): Promise<string> => {
    const { stdout, stderr } = await run([process.execPath, "script.ts"], {
      cwd: path.join(folder, "scripts"),
      env: { ...process.env, ...CLEAN, FLASH_APP: undefined, NODE_TEST_CONTEXT: undefined, ...env },
    });
    return stdout.trim() || stderr;
  };
  assert.equal(await placeWith({}), "deployed unset");
  assert.equal(await placeWith({ FLASH_MODE: "local" }), "in-process unset");
  assert.equal(await placeWith({ FLASH_API_KEY: "", FLASH_URL: "" }), "in-process");
});

async function placesOf(
  t: TestContext,
  env: NodeJS.ProcessEnv = {},
  flags: string[] = [],
): Promise<string> {
  const { stdout, stderr, code } = await script(t, "console.log(places());", { env, flags });
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

describe("configure()", () => {
  const configured = `
const { configure } = await import(${JSON.stringify(SDK)});
const { connect } = await import(${JSON.stringify(path.join(ROOT, "src", "sdk", "connection.ts"))});
configure({ url: "https://flash.example.com/", apiKey: "from code", app: "shop" });
configure({ environment: "staging" });
console.log(JSON.stringify([where(queue).place, connect()]));
try { configure({ apikey: "x" }); } catch (error) { console.log(error.code, error.message); }
`;
  const where = { base: "https://flash.example.com", app: "shop", environment: "staging" };
  const set = { ...where, ownKey: false };

  test("stands in for variables, and stays until it is given again", async (t) => {
    const { stdout, stderr } = await script(t, configured);
    const [first = "", second] = stdout.trim().split("\n");
    assert.deepEqual(JSON.parse(first), ["deployed", { ...set, key: "from code" }], stderr);
    assert.equal(
      second,
      "INVALID_USAGE configure() got unknown setting: 'apikey' (Did you mean 'apiKey'?)",
    );
  });

  test("yields to variables", async (t) => {
    const env = { FLASH_API_KEY: "from outside", FLASH_APP: " " };
    const { stdout } = await script(t, configured, { env });
    const [first = ""] = stdout.split("\n");
    assert.deepEqual(JSON.parse(first), ["deployed", { ...set, key: "from outside" }]);
  });
});

describe("a script", () => {
  test("with nothing configured runs functions here, but not production resources", async (t) => {
    assert.equal(await placesOf(t), "in-process in-process in-process not-deployed");
  });

  test("started by a test is no test", async (t) => {
    const env = { NODE_TEST_CONTEXT: "child-v8", JEST_WORKER_ID: "1", VITEST: "true" };
    assert.equal(await placesOf(t, env), "in-process in-process in-process not-deployed");
  });

  test("that knows a server or a key calls deployed endpoints; Live ones stay here", async (t) => {
    const expected = "deployed deployed in-process deployed";
    assert.equal(await placesOf(t, { FLASH_URL: "http://127.0.0.1:9" }), expected);
    assert.equal(await placesOf(t, { FLASH_API_KEY: "k" }), expected);
  });

  test("calls live workers for Live resources beside flash run --remote", async (t) => {
    const env = { FLASH_LIVE_URL: "http://127.0.0.1:9" };
    assert.equal(await placesOf(t, env), "in-process in-process live-worker not-deployed");
    const { code, stderr } = await script(t, "await live();", { env });
    assert.equal(code, 1);
    assert.match(stderr, /Failed to connect to endpoint l \(http:\/\/127\.0\.0\.1:9\/l\/execute\)/);
    const wrong = await script(t, "await live();", { env: { FLASH_LIVE_URL: "localhost" } });
    assert.match(wrong.stderr, /FLASH_LIVE_URL=localhost is not a valid http\/https URL/);
  });

  test("obeys FLASH_MODE", async (t) => {
    const configured = { FLASH_URL: "http://127.0.0.1:9" };
    const here = "in-process in-process in-process in-process";
    assert.equal(await placesOf(t, { ...configured, FLASH_MODE: "local" }), here);
    assert.equal(
      await placesOf(t, { FLASH_MODE: "remote" }),
      "not-deployed not-deployed in-process not-deployed",
    );
    const { code, stderr } = await script(t, "await queue();", { env: { FLASH_MODE: "cloud" } });
    assert.equal(code, 1);
    assert.match(stderr, /FLASH_MODE must be local or remote, got 'cloud'/);
  });

  test("says once, on stderr alone, that nothing is configured", async (t) => {
    const code = "console.log(await queue(), await route(), live(), await queue());";
    const { stdout, stderr } = await script(t, code);
    assert.equal(stdout, "1 2 3 1\n");
    assert.match(stderr, /^runpod-flash: no server is configured[^\n]*\n$/);
    assert.equal((await script(t, code, { env: { FLASH_MODE: "local" } })).stderr, "");
    assert.equal((await script(t, "console.log(live());")).stderr, "");
  });

  test("importing the SDK does nothing: no output, no files, no pending work", async (t) => {
    const finished = await script(t, "");
    assert.deepEqual(
      { ...finished, signal: undefined },
      { code: 0, signal: undefined, stdout: "", stderr: "" },
    );
  });

  test("that calls a production resource is told to deploy", async (t) => {
    const { code, stderr } = await script(t, "await production();");
    assert.equal(code, 1);
    assert.match(stderr, /Endpoint URL not available - endpoint may not be deployed/);
  });

  test("that awaits a job in this process ends when it ends", async (t) => {
    const { stdout } = await script(
      t,
      "const job = await queue.run(); console.log(await job.result());",
    );
    assert.equal(stdout, "1\n");
  });
});

describe("a test runner", () => {
  test("is this process, whatever is configured", (t) => {
    setVariables(t, { ...CLEAN, FLASH_URL: "http://127.0.0.1:9" });
    assert.equal(isTestRunner(), true);
    const production = remote(
      new LoadBalancerSlsResource({ name: "p" }),
      { method: "GET", path: "/x" },
      () => 1,
    );
    assert.deepEqual(where(production), {
      place: "in-process",
      reason: "A test runner runs this process.",
    });
  });

  test("is node --test in every form", async (t) => {
    const code = "console.log('PLACES', places());";
    // Node refuses to start tests inside of tests.
    const env = { NODE_TEST_CONTEXT: undefined };
    const expected = /PLACES in-process in-process in-process in-process/;
    for (const flags of [["--test"], ["--test", "--test-isolation=none"]]) {
      const options = { env, flags: [...flags, "--test-reporter=spec"] };
      const { stdout, stderr } = await script(t, `import "node:test";\n${code}`, options);
      assert.match(stdout, expected, stderr);
    }
    const inside = `import { test } from "node:test";\ntest("x", () => { ${code} });`;
    assert.match((await script(t, inside, { env })).stdout, expected);
  });

  test("is known by its own globals, for those that are not Node's", () => {
    const script = { process: { moduleLoadList: [], execArgv: [], env: { JEST_WORKER_ID: "1" } } };
    const noop = (): void => undefined;
    assert.equal(isTestRunner(script), false);
    assert.equal(isTestRunner({ ...script, expect: noop }), true);
    assert.equal(isTestRunner({ __vitest_worker__: {} }), true);
    assert.equal(isTestRunner({ describe: noop, it: noop }), true);
    assert.equal(isTestRunner({ describe: noop }), false);
    assert.equal(isTestRunner({ Bun: { main: "/x/user.test.ts" } }), true);
    assert.equal(isTestRunner({ Bun: { main: "/x/testing.ts" } }), false);
    assert.equal(isTestRunner({}), false);
  });
});

describe("where()", () => {
  test("tells for everything that the SDK returns, and refuses the rest", () => {
    const api = new LiveLoadBalancer({ name: "l" });
    class Model {
      async run(): Promise<void> {}
    }
    const queue = Endpoint({ name: "q" }, Model);
    for (const one of [api, queue, queue.run, Endpoint("x"), Endpoint("x").get("/", () => 1)]) {
      assert.equal(where(one).place, "in-process");
    }
    assert.equal(where(Endpoint({ id: "abc" })).place, "deployed");
    assert.throws(
      () => where(() => 1),
      (error) => FlashError.is(error) && error.code === "INVALID_USAGE",
    );
  });

  test("knows local functions, whatever is configured", async (t) => {
    setVariables(t, { ...CLEAN, FLASH_MODE: "remote", FLASH_URL: "http://127.0.0.1:9" });
    const production = new LoadBalancerSlsResource({ name: "p" });
    const local = remote(production, { method: "GET", path: "/x", local: true }, () => 5);
    assert.equal(where(local).place, "in-process");
    assert.equal(await local(), 5);
    assert.equal(where(production).place, "deployed");
  });

  test("in a worker: its own endpoint here, others at their owner", (t) => {
    Object.assign(registry(), { mode: "serve", endpoint: "mine" });
    t.after(() =>
      Object.assign(registry(), { mode: "script", endpoint: undefined, declarations: [] }),
    );
    assert.equal(where(Endpoint({ name: "mine" }, () => 1)).place, "in-process");
    assert.equal(where(Endpoint({ name: "other" }, () => 1)).place, "deployed");
    assert.equal(where(new LiveLoadBalancer({ name: "other" })).place, "deployed");
  });
});

describe("the app", () => {
  test("is FLASH_APP, else the name in flash.toml, else the folder's name", async (t) => {
    const { appName, environmentName, tomlAppName } = await import("../../src/sdk/environment.ts");
    setVariables(t, { FLASH_APP: undefined, FLASH_ENV: " " });
    const folder = path.join(temporaryFolder(t), "my-shop");
    mkdirSync(folder);
    const before = process.cwd();
    process.chdir(folder);
    t.after(() => process.chdir(before));
    assert.equal(appName(), "my-shop");
    assert.equal(environmentName(), "production");
    writeFileSync(
      "flash.toml",
      '# x\n[deploy]\nname = "no"\n[app] # ours\ntarget = 1\nname = "shop"\n',
    );
    assert.equal(appName(), "shop");
    setVariables(t, { FLASH_APP: "other" });
    assert.equal(appName(), "other");
    assert.equal(tomlAppName("[app]\nname='a'\n"), "a");
    assert.equal(tomlAppName("[app]\n[x]\nname='a'\n"), undefined);
    assert.equal(tomlAppName("name='a'\n[apps]\nname='b'"), undefined);
  });
});

describe("the key of a server", () => {
  test("is FLASH_API_KEY, else the file of this machine's server, and no file leaves the machine", async (t) => {
    const { connect } = await import("../../src/sdk/connection.ts");
    const { isLoopback } = await import("../../src/contract/server-proof.ts");
    const home = temporaryFolder(t);
    setVariables(t, { ...CLEAN, FLASH_HOME: home, FLASH_PORT: "5001" });
    assert.equal(connect().base, "http://127.0.0.1:5001");
    // It gets the key of the file when it has proven to have it: own-key.test.ts.
    writeFileSync(path.join(home, "key"), "from_file\n");
    assert.deepEqual([connect().key, connect().ownKey], [undefined, true]);
    setVariables(t, { FLASH_URL: "https://flash.example.com/" });
    assert.throws(connect, (error) => FlashError.is(error) && error.code === "UNAUTHORIZED");
    setVariables(t, { FLASH_API_KEY: "given" });
    assert.deepEqual([connect().key, connect().ownKey], ["given", false]);
    assert.equal(connect().base, "https://flash.example.com");
    for (const [url, expected] of [
      ["http://localhost:1", true],
      ["http://127.9.9.9", true],
      ["http://[::1]:5", true],
      ["http://abc.localhost", true],
      ["http://127.0.0.1.example.com", false],
      ["http://10.0.0.1", false],
      ["https://localhost.example.com", false],
    ] as const) {
      assert.equal(isLoopback(url), expected, url);
    }
  });
});
