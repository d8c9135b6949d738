/** resource.deploy(): a real child process that plays the command line, and a server to be ready. */

import assert from "node:assert/strict";
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import { registry } from "../../src/contract/registry.ts";
import { FlashError, LoadBalancerSlsResource } from "../../src/sdk/sdk.ts";
import { run, type Finished } from "../support/program.ts";
import { ROOT, temporaryFolder } from "../support/temp.ts";
import { FakeServer, KEY, problem, signature } from "./fake-server.ts";

interface Setting {
  fake: FakeServer;
  /** What `flash deploy --json` does. */
  command: string;
  script: string;
}

/** A copy of the package's layout around the real sources, with a command line of the test's. */
async function runScript(t: TestContext, { fake, command, script }: Setting): Promise<Finished> {
  const root = temporaryFolder(t);
  mkdirSync(path.join(root, "bin"));
  cpSync(path.join(ROOT, "src", "sdk"), path.join(root, "src", "sdk"), { recursive: true });
  for (const floor of ["contract", "kit"]) {
    symlinkSync(path.join(ROOT, "src", floor), path.join(root, "src", floor));
  }
  writeFileSync(path.join(root, "package.json"), '{ "type": "module" }');
  writeFileSync(path.join(root, "bin", "flash.js"), command);
  const project = path.join(root, "shop");
  mkdirSync(project);
  writeFileSync(
    path.join(project, "main.ts"),
    `import { LoadBalancerSlsResource, LiveLoadBalancer, remote, where } from "../src/sdk/sdk.ts";
const api = new LoadBalancerSlsResource({ name: "user-service" });
const getUser = remote(api, { method: "GET", path: "/users/{id}" }, (id: number) => ({ id }));
${script}`,
  );
  return run([process.execPath, "--preserve-symlinks", path.join(project, "main.ts")], {
    cwd: project,
    env: {
      ...process.env,
      FLASH_API_KEY: KEY,
      FLASH_URL: undefined,
      FLASH_MODE: undefined,
      FAKE_URL: fake.url,
    },
  });
}

const SUCCEEDS = `
import { appendFileSync } from "node:fs";
appendFileSync("runs.txt", process.argv.slice(2).join(" ") + "\\n");
console.error("uploaded 1 kB");
const target = process.env.FAKE_URL;
const endpoint = { name: "user-service", kind: "lb", id: "us1", url: target + "/lb/us1", routes: [] };
console.log(JSON.stringify({ app: "shop", environment: "production", build: "b", release: "r", target, endpoints: [endpoint] }));
`;

async function open(t: TestContext): Promise<FakeServer> {
  const fake = await FakeServer.open(t);
  const route = { method: "GET", path: "/users/{id}" } as const;
  const id = {
    name: "id",
    schema: { type: "number" as const },
    required: true,
    carrier: "value" as const,
  };
  fake.describe("user-service", {
    kind: "lb",
    form: "routes",
    functions: [signature({ route, parameters: [id] })],
  });
  return fake;
}

describe("deploy() in a script", () => {
  test("runs the command, keeps id and URL, and sends calls there", async (t) => {
    const fake = await open(t);
    fake.on("GET /lb/us1/users/7", { body: { id: 70 } });
    const finished = await runScript(t, {
      fake,
      command: SUCCEEDS,
      script: `
        const same = await api.deploy();
        console.log(same === api, api.id, api.endpointUrl === process.env.FAKE_URL + "/lb/us1");
        console.log(where(getUser).place, JSON.stringify(await getUser(7)));`,
    });
    assert.equal(finished.stdout, 'true us1 true\nown-url {"id":70}\n', finished.stderr);
    assert.match(finished.stderr, /uploaded 1 kB/);
    assert.equal(fake.last("GET /lb/us1/users/7").headers.authorization, `Bearer ${KEY}`);
    assert.match(
      fake.last("GET /api/v1/endpoints").url,
      /app=shop&environment=production&name=user-service/,
    );
  });

  test("of several resources at once is one run", async (t) => {
    const finished = await runScript(t, {
      fake: await open(t),
      command: SUCCEEDS,
      script: `
        import { readFileSync } from "node:fs";
        const again = new LoadBalancerSlsResource({ name: "user-service" });
        await Promise.all([api.deploy(), again.deploy()]);
        console.log(readFileSync("runs.txt", "utf8").trim());`,
    });
    assert.equal(finished.stdout, "deploy --json\n", finished.stderr);
  });

  test("waits for a healthy endpoint when asked, and says when it does not come", async (t) => {
    const fake = await open(t);
    fake.on(
      "GET /lb/us1/ping",
      { status: 204 },
      () => "hang-up",
      { status: 503 },
      { body: { status: "healthy" } },
    );
    const ready = await runScript(t, {
      fake,
      command: SUCCEEDS,
      script: "await api.deploy({ waitForReady: true }); console.log(api.id);",
    });
    assert.equal(ready.stdout, "us1\n", ready.stderr);
    assert.equal(fake.requests("GET /lb/us1/ping").length, 4);
    fake.on("GET /lb/us1/ping", { status: 204 });
    const never = await runScript(t, {
      fake,
      command: SUCCEEDS,
      script: `
        const error = await api.deploy({ waitForReady: true, timeoutMs: 50 }).catch((error) => error);
        console.log(error.code, error.message, api.id);`,
    });
    assert.equal(
      never.stdout,
      "UNAVAILABLE LB endpoint user-service (us1) failed to become healthy within 0.05s undefined\n",
      never.stderr,
    );
  });

  test("fails with what the command says, its exit code, or what it did not deploy", async (t) => {
    const fake = await open(t);
    const build = JSON.stringify(problem(400, "BUILD_FAILED", "2 mistakes").body);
    const failures: [string, string][] = [
      [`console.log(${JSON.stringify(build)}); process.exitCode = 1;`, "BUILD_FAILED 2 mistakes"],
      ["process.exit(4)", "BUILD_FAILED 'flash deploy' failed with exit code 4"],
      [
        "console.log('hello')",
        "BUILD_FAILED 'flash deploy --json' answered with something else: hello\n",
      ],
      [
        SUCCEEDS.replaceAll('"user-service"', '"other"'),
        "NOT_DEPLOYED 'user-service' is not among the endpoints of app 'shop'",
      ],
    ];
    for (const [command, expected] of failures) {
      const script = "await api.deploy().catch(({ code, message }) => console.log(code, message));";
      const { stdout } = await runScript(t, { fake, command, script });
      assert.equal(stdout.trim(), expected.trim());
    }
  });

  test("is undone by undeploy(), and isDeployed() asks the server", async (t) => {
    const fake = await open(t);
    fake.on(
      "DELETE /api/v1/endpoints",
      { body: { removed: ["user-service"] } },
      problem(404, "ENDPOINT_NOT_FOUND", "?"),
    );
    const finished = await runScript(t, {
      fake,
      command: SUCCEEDS,
      script: `
        await api.deploy();
        console.log(await api.isDeployed());
        await api.undeploy();
        console.log(api.id);
        process.env.FLASH_URL = process.env.FAKE_URL;
        console.log(await new LoadBalancerSlsResource({ name: "unknown" }).isDeployed());
        await api.undeploy().catch(({ code }) => console.log(code));`,
    });
    assert.equal(finished.stdout, "true\nundefined\nfalse\nENDPOINT_NOT_FOUND\n", finished.stderr);
  });
});

describe("deploy() elsewhere", () => {
  test("returns at once in a worker, and is refused while describing", async (t) => {
    t.after(() => Object.assign(registry(), { mode: "script", declarations: [] }));
    const api = new LoadBalancerSlsResource({ name: "a" });
    registry().mode = "serve";
    assert.equal(await api.deploy(), api);
    registry().mode = "describe";
    await assert.rejects(api.deploy(), (error) => {
      assert.ok(FlashError.is(error));
      return error.details?.["describing"] === true;
    });
  });
});
