import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { Readable } from "node:stream";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { packTar } from "modern-tar";
import type { LogLine } from "../../src/contract/control.ts";
import { FlashError } from "../../src/contract/errors.ts";
import { MANIFEST_FILE, WORKER_FILE } from "../../src/contract/manifest.ts";
import { ManualClock } from "../../src/kit/clock.ts";
import { silentLog } from "../../src/kit/log.ts";
import { Logs } from "../../src/server/control/logs.ts";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { TestServer, artifactOf, isAlive, manifestOf, pack } from "./server-support.ts";

const API = { name: "api", kind: "lb" } as const;

function codeOf(code: string, message: RegExp) {
  return (error: unknown): boolean => {
    assert.ok(FlashError.is(error), String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  };
}

describe("builds", () => {
  test("an artifact is unpacked once, and the same one again is the same build", async (t) => {
    const server = await TestServer.start(t);
    const artifact = await artifactOf("shop", [API]);
    const send = () => server.server.control.putBuild("shop", Readable.from([artifact]));
    const [first, second] = [await send(), await send()];
    assert.equal(first.id, second.id);
    assert.equal(first.bytes, artifact.length);
    const folder = path.join(server.home, "builds");
    assert.deepEqual(readdirSync(folder), [first.id]);
    assert.ok(existsSync(path.join(folder, first.id, WORKER_FILE)));
  });

  test("a build whose files were lost is unpacked again by the next upload", async (t) => {
    const server = await TestServer.start(t);
    const artifact = await artifactOf("shop", [API]);
    const send = () => server.server.control.putBuild("shop", Readable.from([artifact]));
    const { id } = await send();
    const file = path.join(server.home, "builds", id, WORKER_FILE);
    writeFileSync(file, "");
    assert.equal((await send()).id, id);
    assert.ok(statSync(file).size > 0);
  });

  test("two uploads of the same artifact at once are one build", async (t) => {
    const server = await TestServer.start(t);
    const artifact = await artifactOf("shop", [API]);
    const builds = await Promise.all(
      [1, 2, 3].map(() => server.server.control.putBuild("shop", Readable.from([artifact]))),
    );
    assert.equal(new Set(builds.map(({ id }) => id)).size, 1);
    assert.equal(readdirSync(path.join(server.home, "builds")).length, 1);
  });

  test("what is no artifact is refused with its reason, and leaves nothing behind", async (t) => {
    const server = await TestServer.start(t);
    const manifest = { target: MANIFEST_FILE, content: JSON.stringify(manifestOf("shop", [API])) };
    const worker = { target: WORKER_FILE, content: "// nothing" };
    const whole = await artifactOf("shop", [API]);
    const broken = { ...manifestOf("shop", [API]), version: 99 };
    const bad = manifestOf("shop", [API, API]);
    const cases: [Buffer, string, RegExp][] = [
      [Buffer.from("hello"), "INVALID_REQUEST", /not gzip/],
      [Buffer.alloc(0), "INVALID_REQUEST", /not gzip/],
      [gzipSync("hello"), "INVALID_REQUEST", /unpacked|no flash_manifest/],
      [whole.subarray(0, whole.length - 20), "INVALID_REQUEST", /cannot be unpacked/],
      [await pack([worker]), "INVALID_REQUEST", /no flash_manifest/],
      [await pack([manifest]), "INVALID_REQUEST", /no worker.mjs/],
      [await pack([worker, { ...manifest, content: "{" }]), "INVALID_MANIFEST", /JSON/],
      [
        await pack([worker, { ...manifest, content: JSON.stringify(broken) }]),
        "INVALID_MANIFEST",
        /99/,
      ],
      [
        await pack([worker, { ...manifest, content: JSON.stringify(bad) }]),
        "INVALID_MANIFEST",
        /twice/,
      ],
      [await artifactOf("other", [API]), "INVALID_MANIFEST", /of the app 'other'/],
    ];
    for (const [artifact, code, message] of cases) {
      await assert.rejects(
        server.server.control.putBuild("shop", Readable.from([artifact])),
        codeOf(code, message),
      );
    }
    assert.deepEqual(readdirSync(path.join(server.home, "builds")), []);
  });

  test("entries that lead out of the folder are refused, and nothing is written outside", async (t) => {
    const server = await TestServer.start(t);
    const outside = path.join(server.home, "outside");
    const entries = [
      { header: { name: "../../outside", size: 1 }, body: "x" },
      { header: { name: "/tmp/../outside", size: 1 }, body: "x" },
      { header: { name: outside, size: 1 }, body: "x" },
      { header: { name: "link", type: "symlink" as const, linkname: "../..", size: 0 } },
      { header: { name: "link", type: "symlink" as const, linkname: "/etc", size: 0 } },
      { header: { name: "a/link", type: "link" as const, linkname: "../../x", size: 0 } },
      { header: { name: "pipe", type: "fifo" as const, size: 0 } },
    ];
    for (const entry of entries) {
      const artifact = gzipSync(await packTar([entry]));
      await assert.rejects(
        server.server.control.putBuild("shop", Readable.from([artifact])),
        codeOf("INVALID_REQUEST", /leads out|which is a fifo/),
        entry.header.name,
      );
    }
    assert.equal(existsSync(outside), false);
    assert.deepEqual(readdirSync(path.join(server.home, "builds")), []);
  });

  test("a bomb is stopped while it is unpacked", async (t) => {
    const server = await TestServer.start(t);
    const bytes = 300 * 1024 * 1024;
    const artifact = await pack([{ target: "zeros", content: Buffer.alloc(bytes) }]);
    assert.ok(artifact.length < 1024 * 1024);
    await assert.rejects(
      server.server.control.putBuild("shop", Readable.from([artifact])),
      codeOf("INVALID_REQUEST", /unpacks to more than/),
    );
    assert.deepEqual(readdirSync(path.join(server.home, "builds")), []);
  });
});

describe("deployments", () => {
  test("the documents name what a client needs", async (t) => {
    const server = await TestServer.start(t);
    const deployment = await server.deploy("shop", [API, { name: "queue", kind: "qb" }]);
    assert.equal(deployment.target, server.url);
    const [api, queue] = deployment.endpoints;
    assert.equal(api?.url, `${server.url}/lb/${api?.id}`);
    assert.deepEqual(api?.routes, [{ method: "GET", path: "/pid" }]);
    assert.equal(queue?.url, `${server.url}/v2/${queue?.id}`);
    const status = await server.server.control.status("shop", "production");
    assert.equal(status.release, deployment.release);
    assert.deepEqual(
      status.endpoints.map(({ name, state }) => [name, state]),
      [
        ["api", "idle"],
        ["queue", "idle"],
      ],
    );
    const description = await server.server.control.describe("shop", "production", "api");
    assert.equal(description.form, "routes");
    assert.equal(description.functions[0]?.name, "GET /pid");
    const { environments } = await server.server.control.model.environments("shop");
    assert.deepEqual(
      environments.map(({ name, release }) => [name, release]),
      [["production", deployment.release]],
    );
  });

  test("deploying the active build again changes nothing", async (t) => {
    const server = await TestServer.start(t);
    const first = await server.deploy("shop", [API]);
    const { pid } = (await server.request(`${first.endpoints[0]?.url}/pid`)).json;
    const again = await server.deploy("shop", [API]);
    assert.deepEqual({ ...again, changes: [] }, { ...first, changes: [] });
    assert.deepEqual(
      [...first.changes, ...again.changes].map(({ action }) => action),
      ["create", "unchanged"],
    );
    assert.equal((await server.request(`${first.endpoints[0]?.url}/pid`)).json.pid, pid);
  });

  test("endpoints that did not change keep their workers; the others roll, keeping id and URL", async (t) => {
    const server = await TestServer.start(t);
    const other = { name: "other", kind: "lb" } as const;
    const first = await server.deploy("shop", [API, other]);
    const pids = async () =>
      await Promise.all(
        first.endpoints.map(async ({ url }) => (await server.request(`${url}/pid`)).json.pid),
      );
    const before = await pids();
    const second = await server.deploy("shop", [{ ...API, version: "2" }, other]);
    assert.notEqual(second.release, first.release);
    assert.deepEqual(second.endpoints, first.endpoints);
    await until(() => !isAlive(before[0]), { what: "the old worker's end" });
    const after = await pids();
    assert.notEqual(after[0], before[0]);
    assert.equal(after[1], before[1]);
    assert.equal((await server.request(`${first.endpoints[0]?.url}/pid`)).json.version, "2");
  });

  test("no request fails while releases replace each other under load", async (t) => {
    const server = await TestServer.start(t);
    const spec = { ...API, options: { workers: [1, 3] as const, scalerValue: 2 } };
    const [endpoint] = (await server.deploy("shop", [spec])).endpoints;
    const agent = new http.Agent({ keepAlive: true });
    t.after(() => agent.destroy());
    const statuses = new Map<number, number>();
    const versions = new Set<string>();
    const over = new AbortController();
    const client = async (method: string): Promise<void> => {
      while (!over.signal.aborted) {
        const url = `${endpoint?.url}/${method === "POST" ? "slow?ms=5" : "pid"}`;
        const answer = await server.request(url, {
          method,
          agent,
          body: method === "POST" ? "x" : "",
        });
        statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
        if (answer.json.version !== undefined) versions.add(answer.json.version);
      }
    };
    const clients = ["GET", "GET", "POST", "POST", "GET", "POST"].map(client);
    for (const version of ["2", "3", "1"]) {
      await server.deploy("shop", [version === "1" ? spec : { ...spec, version }]);
      await until(() => versions.has(version) || versions.size >= 3, {
        what: `release ${version}`,
      });
    }
    await until(() => (statuses.get(200) ?? 0) > 50 || statuses.size > 1, { what: "answers" });
    over.abort();
    await Promise.all(clients);
    assert.deepEqual([...statuses.keys()], [200], JSON.stringify([...statuses]));
  });

  test("a release whose workers cannot start does not take the serving one away", async (t) => {
    const server = await TestServer.start(t);
    const [endpoint] = (await server.deploy("shop", [API])).endpoints;
    const { pid } = (await server.request(`${endpoint?.url}/pid`)).json;
    await server.deploy("shop", [{ ...API, options: { env: { START_CRASH: "typo" } } }]);
    await until(async () => (await server.status("shop", "api")).problem !== undefined, {
      what: "the problem to be seen",
    });
    const answer = await server.request(`${endpoint?.url}/pid`);
    assert.equal(answer.json.pid, pid);
    assert.match((await server.status("shop", "api")).problem ?? "", /typo/);
  });

  test("an endpoint that a release leaves out is gone, and its workers with it", async (t) => {
    const server = await TestServer.start(t);
    const other = { name: "other", kind: "lb" } as const;
    const first = await server.deploy("shop", [API, other]);
    const { pid } = (await server.request(`${first.endpoints[1]?.url}/pid`)).json;
    await server.deploy("shop", [API]);
    assert.equal((await server.request(`${first.endpoints[1]?.url}/pid`)).status, 404);
    await until(() => !isAlive(pid), { what: "the worker's end" });
  });

  test("one endpoint or the whole environment is removed; others are not touched", async (t) => {
    const server = await TestServer.start(t);
    const two = [API, { name: "other", kind: "lb" } as const];
    const production = await server.deploy("shop", two);
    const staging = await server.deploy("shop", two, "staging");
    const { control } = server.server;
    const place = { app: "shop", environment: "production" };
    assert.deepEqual((await control.remove({ ...place, endpoint: "api" })).removed, ["api"]);
    assert.equal((await server.request(`${production.endpoints[0]?.url}/pid`)).status, 404);
    assert.equal((await server.request(`${production.endpoints[1]?.url}/pid`)).status, 200);
    assert.deepEqual((await control.remove(place)).removed, ["other"]);
    await assert.rejects(control.status("shop", "production"), codeOf("NOT_DEPLOYED", /shop/));
    assert.equal((await server.request(`${staging.endpoints[0]?.url}/pid`)).status, 200);
    await assert.rejects(
      control.remove({ app: "shop", environment: "staging", endpoint: "none" }),
      codeOf("ENDPOINT_NOT_FOUND", /none/),
    );
  });

  test("two apps and two environments with the same names do not touch each other", async (t) => {
    const server = await TestServer.start(t);
    const deployments = await Promise.all([
      server.deploy("one", [{ ...API, version: "one" }]),
      server.deploy("two", [{ ...API, version: "two" }]),
      server.deploy("two", [{ ...API, version: "three" }], "staging"),
    ]);
    const answers = await Promise.all(
      deployments.map(({ endpoints }) => server.request(`${endpoints[0]?.url}/pid`)),
    );
    assert.deepEqual(
      answers.map(({ json }) => json.version),
      ["one", "two", "three"],
    );
  });

  test("names that could leave a folder are refused", async (t) => {
    const server = await TestServer.start(t);
    const { control } = server.server;
    for (const name of ["..", "a/b", "", "flash", "a".repeat(64)]) {
      await assert.rejects(
        control.deploy({ app: "shop", environment: name, build: "b" }),
        codeOf("INVALID_REQUEST", /environment/),
      );
      await assert.rejects(
        control.putBuild(name, Readable.from([])),
        codeOf("INVALID_REQUEST", /app/),
      );
    }
  });
});

describe("over HTTP", () => {
  test("upload, deploy, status, describe, remove", async (t) => {
    const server = await TestServer.start(t);
    const body = await artifactOf("shop", [API]);
    const build = await server.upload("shop", body);
    assert.equal(build.status, 200, build.text);
    const deployment = await server.request("/api/v1/deployments", {
      method: "POST",
      body: JSON.stringify({ app: "shop", environment: "dev", build: build.json.id }),
    });
    assert.equal(deployment.status, 200, deployment.text);
    const query = "app=shop&environment=dev";
    const status = await server.request(`/api/v1/status?${query}`);
    assert.equal(status.json.endpoints[0].name, "api");
    const description = await server.request(`/api/v1/endpoints?${query}&name=api`);
    assert.equal(description.json.id, deployment.json.endpoints[0].id);
    const info = await server.request("/api/v1/server");
    assert.equal(info.json.pid, process.pid);
    const removal = await server.request(`/api/v1/endpoints?${query}`, { method: "DELETE" });
    assert.deepEqual(removal.json.removed, ["api"]);
    assert.equal((await server.request(`/api/v1/status?${query}`)).json.code, "NOT_DEPLOYED");
  });

  test("mistakes are problem documents", async (t) => {
    const server = await TestServer.start(t);
    const cases: [method: string, path: string, body: string, status: number, text: RegExp][] = [
      ["POST", "/uploads/complete", "", 400, /'app' is missing/],
      ["POST", "/uploads?app=a", "", 405, /only GET, PUT/],
      ["PUT", "/builds?app=a", "", 405, /only GET, DELETE/],
      ["POST", "/deployments", "{", 400, /not JSON/],
      ["POST", "/deployments", "[]", 400, /not a DeployRequest: body must be an object/],
      ["POST", "/deployments", '{"app":"a","environment":"e","build":"b"}', 404, /no build/],
      ["GET", "/logs?app=a&environment=e&tail=x", "", 400, /whole number/],
      ["GET", "/toString", "", 404, /no '\/api\/v1\/toString'/],
    ];
    for (const [method, target, body, status, text] of cases) {
      const answer = await server.request(`/api/v1${target}`, { method, body });
      assert.equal(answer.status, status, `${method} ${target}: ${answer.text}`);
      assert.match(answer.json.detail, text);
    }
  });

  test("logs come as lines, and followed ones as they are written", async (t) => {
    const server = await TestServer.start(t);
    const [endpoint] = (await server.deploy("shop", [API])).endpoints;
    await server.request(`${endpoint?.url}/print?text=before`);
    const path = "/api/v1/logs?app=shop&environment=production&endpoint=api";
    await until(async () => (await server.request(path)).text.includes("before"), {
      what: "the first line",
    });
    const line = JSON.parse((await server.request(`${path}&tail=1`)).text) as LogLine;
    assert.equal(line.message, "before");
    assert.equal(line.stream, "stdout");
    assert.equal(line.endpoint, "api");
    const request = http.get(`${server.url}${path}&tail=0&follow=1`, {
      headers: { authorization: server.server.key },
    });
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    await server.request(`${endpoint?.url}/print?text=after`);
    const [chunk] = (await once(response, "data")) as [Buffer];
    assert.equal((JSON.parse(chunk.toString()) as LogLine).message, "after");
    request.destroy();
  });

  test("stop ends the server", async (t) => {
    const server = await TestServer.start(t);
    const [endpoint] = (await server.deploy("shop", [API])).endpoints;
    const { pid } = (await server.request(`${endpoint?.url}/pid`)).json;
    assert.equal((await server.request("/api/v1/server/stop", { method: "POST" })).status, 202);
    await server.server.closed;
    assert.equal(isAlive(pid), false);
    await assert.rejects(server.request("/livez"));
  });
});

describe("log files", () => {
  const source = { app: "a", environment: "e", endpoint: "n" };
  const line = (message: string) => ({
    time: new Date(0).toISOString(),
    worker: "w",
    stream: "stdout" as const,
    level: "info" as const,
    message,
  });
  const request = (tail: number) => ({ tail, follow: false, signal: new AbortController().signal });

  async function messages(logs: Logs, tail: number): Promise<string[]> {
    const seen: string[] = [];
    for await (const { message } of logs.read([source], request(tail))) seen.push(message);
    return seen;
  }

  test("the newest lines are read, in order, also by a later process and over a rotation", async (t) => {
    const home = temporaryFolder(t);
    const logs = new Logs({ home, clock: new ManualClock(), log: silentLog });
    for (let count = 0; count < 30; count++) {
      for (let part = 0; part < 5; part++) {
        logs.add(source, line(`${count}.${part} ${"x".repeat(100_000)}`));
      }
      await logs.close();
    }
    const files = readdirSync(path.join(home, "logs/a/e")).sort();
    assert.deepEqual(files, ["n.ndjson", "n.ndjson.1"]);
    const later = new Logs({ home, clock: new ManualClock(), log: silentLog });
    const names = (await messages(later, 10)).map((message) => message.split(" ")[0]);
    assert.deepEqual(names, [
      "28.0",
      "28.1",
      "28.2",
      "28.3",
      "28.4",
      "29.0",
      "29.1",
      "29.2",
      "29.3",
      "29.4",
    ]);
  });

  test("a follower gets every line once, however reading and writing fall together", async (t) => {
    const clock = new ManualClock();
    const logs = new Logs({ home: temporaryFolder(t), clock, log: silentLog });
    const over = new AbortController();
    const seen: string[] = [];
    for (let count = 0; count < 10; count++) logs.add(source, line(`${count}`));
    const follow = (async () => {
      const all = logs.read([source], { tail: 1000, follow: true, signal: over.signal });
      for await (const { message } of all) if (seen.push(message) === 40) over.abort();
    })();
    for (let count = 10; count < 40; count++) {
      logs.add(source, line(`${count}`));
      clock.advance(50);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await follow;
    assert.deepEqual(
      seen,
      Array.from({ length: 40 }, (_, count) => `${count}`),
    );
  });
});
