/** Apps, environments and builds: what is kept, what goes, and that files and rows agree. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { describe, test, type TestContext } from "node:test";
import type { DeploymentDocument } from "../../src/contract/control.ts";
import { FlashError } from "../../src/contract/errors.ts";
import { sleep, systemClock } from "../../src/kit/clock.ts";
import { SqliteStore } from "../../src/server/server.ts";
import { Random } from "../support/random.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { artifactOf, backwards, TestServer, type EndpointSpec } from "./server-support.ts";

const withCode = (code: string) => (error: unknown) => FlashError.is(error) && error.code === code;

function api(version: string): EndpointSpec {
  return { name: "api", kind: "lb", version, options: { idleTimeoutS: 1 } };
}

function folders({ home }: TestServer): string[] {
  return readdirSync(path.join(home, "builds")).sort();
}

async function buildIds({ server }: TestServer): Promise<string[]> {
  return (await server.control.model.builds("shop")).builds.map(({ id }) => id).sort();
}

/** Files go a little later than rows. */
async function untilAgreed(server: TestServer): Promise<string[]> {
  await until(async () => String(folders(server)) === String(await buildIds(server)), {
    what: "folders and rows to agree",
  });
  return folders(server);
}

async function pidOf(server: TestServer, deployment: DeploymentDocument): Promise<number> {
  const endpoint = deployment.endpoints.find(({ name }) => name === "api");
  return (await server.request(`${endpoint?.url}/pid`)).json.pid;
}

describe("builds", () => {
  test("after 50 deployments those of the newest releases are there, and no other files", async (t) => {
    const server = await TestServer.start(t, { keepReleases: 5 });
    const builds: string[] = [];
    for (let version = 1; version <= 50; version++) {
      builds.push((await server.deploy("shop", [api(String(version))])).build);
    }
    assert.deepEqual(await untilAgreed(server), builds.slice(-5).sort());
    const { releases } = await server.server.control.releases("shop", "production");
    assert.deepEqual(
      releases.map(({ version, state }) => [version, state]),
      [
        [50, "ACTIVE"],
        [49, "SUPERSEDED"],
        [48, "SUPERSEDED"],
        [47, "SUPERSEDED"],
        [46, "SUPERSEDED"],
      ],
    );
    const listed = await server.server.control.model.builds("shop");
    assert.equal(listed.keepReleases, 5);
    assert.equal(
      listed.unpackedBytes,
      listed.builds.reduce((sum, { unpackedBytes }) => sum + unpackedBytes, 0),
    );
    assert.ok(listed.builds.every(({ unpackedBytes }) => unpackedBytes > 1000));
    assert.deepEqual(listed.builds[0]?.active, ["production"]);
    assert.deepEqual(listed.builds[4]?.kept, ["production 46"]);
    // Any of them can come back; what has been removed cannot.
    const build = builds[45] ?? "";
    const back = await server.server.control.deploy({
      app: "shop",
      environment: "production",
      build,
    });
    assert.equal((await server.request(`${back.endpoints[0]?.url}/pid`)).status, 200);
    const gone = { app: "shop", environment: "production", build: builds[0] ?? "" };
    await assert.rejects(server.server.control.deploy(gone), withCode("NOT_FOUND"));
  });

  test("an endpoint that never changes keeps its first build and its worker", async (t) => {
    const server = await TestServer.start(t, { keepReleases: 2 });
    const lasting: EndpointSpec = { name: "api", kind: "lb", version: "same" };
    const first = await server.deploy("shop", [lasting, { ...api("1"), name: "other" }]);
    const pid = await pidOf(server, first);
    const builds = [first.build];
    for (let version = 2; version <= 8; version++) {
      const other = { ...api(String(version)), name: "other" };
      builds.push((await server.deploy("shop", [lasting, other])).build);
    }
    const kept = [builds[0] ?? "", ...builds.slice(-2)].sort();
    assert.deepEqual(await untilAgreed(server), kept);
    assert.equal(await pidOf(server, first), pid);
    const { builds: listed } = await server.server.control.model.builds("shop");
    assert.deepEqual(listed.find(({ id }) => id === first.build)?.active, ["production"]);
  });

  test("a job that waits keeps the release that accepted it, until it has run there", async (t) => {
    const server = await TestServer.start(t, { keepReleases: 1 });
    const queue = (version: string): EndpointSpec => ({
      name: "queue",
      kind: "qb",
      version,
      // Nobody runs it: it waits for as long as the test wants.
      options: { workers: [0, 0] },
    });
    const first = await server.deploy("shop", [queue("1")]);
    const url = `/v2/${first.endpoints[0]?.id}`;
    const submitted = await server.request(`${url}/run`, { method: "POST", body: '{"input":{}}' });
    assert.equal(submitted.status, 200, submitted.text);
    for (let version = 2; version <= 5; version++) {
      await server.deploy("shop", [queue(String(version))]);
    }
    assert.ok((await buildIds(server)).includes(first.build), "its build is kept");
    const cancel = `${url}/cancel/${submitted.json.id}`;
    assert.equal((await server.request(cancel, { method: "POST" })).status, 200);
    const { builds, freedBytes } = await server.server.control.model.pruneBuilds("shop");
    assert.ok(builds.some(({ id }) => id === first.build));
    assert.ok(freedBytes > 0);
    await untilAgreed(server);
  });

  test("one that was uploaded and not deployed yet is not removed under its deployment", async (t) => {
    const server = await TestServer.start(t, { keepReleases: 1 });
    const artifact = await artifactOf("shop", [api("later")]);
    const { control } = server.server;
    const build = await control.putBuild("shop", Readable.from([artifact]));
    for (let version = 1; version <= 3; version++) {
      await server.deploy("shop", [api(String(version))]);
    }
    await control.deploy({ app: "shop", environment: "production", build: build.id });
  });

  test("what a crash leaves in the folder is gone after the next start, and nothing else", async (t) => {
    const owner = backwards(t);
    const home = temporaryFolder(owner, "flash-home");
    const open = () => new SqliteStore({ home, durability: "relaxed" });
    const first = await TestServer.start(owner, { home, store: open() });
    const { build } = await first.deploy("shop", [api("1")]);
    await first.server.close({ graceMs: 0 });
    for (const name of [".draft-abc", "build_gone"]) {
      mkdirSync(path.join(home, "builds", name, "deep"), { recursive: true });
    }
    const second = await TestServer.start(owner, { home, store: open() });
    assert.deepEqual(await untilAgreed(second), [build]);
  });
});

describe("a rollback", () => {
  test("brings a left-out endpoint back under its id and URL", async (t) => {
    const server = await TestServer.start(t);
    const first = await server.deploy("shop", [api("1"), { name: "queue", kind: "qb" }]);
    await server.deploy("shop", [api("1")]);
    assert.equal((await server.request(`${first.endpoints[1]?.url}/health`)).status, 404);
    const request = { app: "shop", environment: "production", build: first.build };
    const back = await server.server.control.deploy(request);
    assert.deepEqual(back.endpoints, first.endpoints);
    assert.equal((await server.request(`${first.endpoints[1]?.url}/health`)).status, 200);
  });
});

describe("apps and environments", () => {
  async function open(t: TestContext) {
    const server = await TestServer.start(t);
    return { server, model: server.server.control.model };
  }

  test("an environment goes from PENDING to DEPLOYED, and back when it is emptied", async (t) => {
    const { server, model } = await open(t);
    const made = await model.createEnvironment("shop", "staging");
    assert.deepEqual([made.state, made.release, made.endpoints], ["PENDING", null, 0]);
    await assert.rejects(model.createEnvironment("shop", "staging"), withCode("CONFLICT"));
    const { release } = await server.deploy("shop", [api("1")], "staging");
    const deployed = await model.environment("shop", "staging");
    assert.deepEqual(
      [deployed.state, deployed.release, deployed.version],
      ["DEPLOYED", release, 1],
    );
    assert.equal(deployed.deployments[0]?.name, "api");
    await server.server.control.remove({ app: "shop", environment: "staging" });
    assert.equal((await model.environment("shop", "staging")).state, "PENDING");
  });

  test("workers that cannot start make it FAILED", async (t) => {
    const { server, model } = await open(t);
    const env = { START_CRASH: "no database" };
    await server.deploy("shop", [{ name: "api", kind: "lb", options: { workers: [1, 1], env } }]);
    const failed = async () => (await model.environment("shop", "production")).state === "FAILED";
    await until(failed, { what: "FAILED" });
  });

  test("removing one leaves the others alone; removing the app leaves nothing", async (t) => {
    const { server, model } = await open(t);
    await server.deploy("shop", [api("1")], "staging");
    const kept = await server.deploy("shop", [api("2")], "production");
    await server.deploy("other", [api("1")]);
    const removed = await model.removeEnvironment("shop", "staging");
    assert.deepEqual([removed.environments, removed.endpoints], [["staging"], ["api"]]);
    assert.equal(removed.builds, 1);
    assert.equal((await server.request(`${kept.endpoints[0]?.url}/pid`)).status, 200);
    await assert.rejects(model.environment("shop", "staging"), withCode("NOT_FOUND"));

    const gone = await model.removeApp("shop");
    assert.deepEqual(
      [gone.environments, gone.endpoints, gone.builds],
      [["production"], ["api"], 1],
    );
    await assert.rejects(model.app("shop"), withCode("NOT_FOUND"));
    assert.equal((await server.request(`${kept.endpoints[0]?.url}/pid`)).status, 404);
    assert.deepEqual(
      (await model.apps()).apps.map(({ name }) => name),
      ["other"],
    );
    await until(() => !existsSync(path.join(server.home, "builds", kept.build)), {
      what: "its files to be gone",
    });
  });

  test("an app can be registered before anything is deployed", async (t) => {
    const { model } = await open(t);
    const app = await model.createApp("shop");
    assert.deepEqual([app.environments, app.builds], [[], []]);
    await assert.rejects(model.createApp("shop"), withCode("CONFLICT"));
    await assert.rejects(model.createApp("../shop"), withCode("INVALID_REQUEST"));
    assert.deepEqual((await model.environments("shop")).exists, true);
    assert.deepEqual((await model.environments("nope")).exists, false);
  });
});

test("a removal that a crash cut short is finished by the next start", async (t) => {
  const owner = backwards(t);
  const home = temporaryFolder(owner, "flash-home");
  const first = await TestServer.start(owner, { home, store: new SqliteStore({ home }) });
  const queue: EndpointSpec = { name: "queue", kind: "qb", options: { workers: [0, 0] } };
  const { endpoints } = await first.deploy("shop", [queue]);
  const [endpoint] = endpoints;
  const body = '{"input":{}}';
  await first.request(`${endpoint?.url}/run`, { method: "POST", body });
  await first.server.close({ graceMs: 0 });
  // As it is when the endpoint's row has gone and the server was killed before its jobs followed.
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(path.join(home, "flash.db"));
  db.exec("DELETE FROM endpoints");
  db.close();
  const store = new SqliteStore({ home });
  await TestServer.start(owner, { home, store });
  assert.deepEqual(await store.jobs.busyEndpoints(), []);
});

test("a server that is killed while it deploys and prunes has every file it needs, and no others", async (t) => {
  const owner = backwards(t);
  const home = temporaryFolder(owner, "flash-home");
  const random = new Random(77);
  let last = 0;
  for (let round = 0; round < 8; round++) {
    const program = path.join(import.meta.dirname, "fixture-deploying-server.ts");
    const child = spawn(process.execPath, [program, home], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    owner.after(() => void child.kill("SIGKILL"));
    let made = 0;
    const enough = random.between(1, 5);
    const reached = Promise.withResolvers<void>();
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const versions = text.trim().split("\n").map(Number);
      // What was told before a kill is there after it.
      assert.ok(versions.every((version) => version > last));
      last = versions.at(-1) ?? last;
      made += versions.length;
      if (made >= enough) reached.resolve();
    });
    await reached.promise;
    // Somewhere in the next deployment, or in what follows the last one.
    await sleep(systemClock, random.between(0, 40));
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
    const store = new SqliteStore({ home });
    const server = await TestServer.start(owner, { home, store, keepReleases: 2 });
    await untilAgreed(server);
    const { releases } = await server.server.control.releases("shop", "production");
    assert.ok((releases[0]?.version ?? 0) >= last);
    assert.equal(releases.length, 2);
    const status = await server.server.control.status("shop", "production");
    assert.deepEqual(status.drift, []);
    for (const { url } of status.endpoints) {
      assert.equal((await server.request(`${url}/pid`)).status, 200);
    }
    await server.server.close({ graceMs: 0 });
  }
});
