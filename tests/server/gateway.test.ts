import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { ManualClock } from "../../src/kit/clock.ts";
import type { EndpointDocument } from "../../src/contract/control.ts";
import { OTHER_ROUTES } from "../../src/contract/api-routes.ts";
import { authorize, Keyring } from "../../src/server/gateway/auth.ts";
import { hostName, isLocalName, readTarget } from "../../src/server/gateway/target.ts";
import { TestServer } from "./server-support.ts";

describe("targets", () => {
  const rows: [url: string, host: string, wanted: unknown][] = [
    ["/livez", "localhost", { kind: "health", check: "livez" }],
    ["/lb/e1/a/b?c=d", "localhost", { kind: "lb", id: "e1", path: "/a/b?c=d" }],
    ["/lb/e1", "localhost", { kind: "lb", id: "e1", path: "/" }],
    ["/lb/e1?x=1", "localhost", { kind: "lb", id: "e1", path: "/?x=1" }],
    ["/lb/e1//x/../y%2Fz", "localhost", { kind: "lb", id: "e1", path: "//x/../y%2Fz" }],
    ["/v2/e1/run", "localhost", { kind: "v2", id: "e1", operation: ["run"] }],
    ["/v2/e1/status/a%2Fb?x", "localhost", { kind: "v2", id: "e1", operation: ["status", "a/b"] }],
    ["/v2/e1", "localhost", { kind: "v2", id: "e1", operation: [] }],
    ["/x?y", "e1.localhost:4747", { kind: "lb", id: "e1", path: "/x?y" }],
    ["/v2/e2/run", "E1.localhost", { kind: "lb", id: "e1", path: "/v2/e2/run" }],
    ["http://host/lb/e1/x", "localhost", { kind: "lb", id: "e1", path: "/x" }],
    ["/", "localhost", { kind: "none", path: "/" }],
    ["/lb/", "localhost", { kind: "none", path: "/lb/" }],
    ["*", "localhost", { kind: "none", path: "/" }],
  ];
  for (const [url, host, wanted] of rows) {
    test(`${url} at ${host}`, () => assert.deepEqual(readTarget(url, host), wanted));
  }

  test("names that only this machine can have are local", () => {
    for (const host of ["localhost:1", "127.0.0.1", "[::1]:4747", "e1.localhost", "LOCALHOST"]) {
      assert.ok(isLocalName(hostName(host)), host);
    }
    for (const host of ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""]) {
      assert.equal(isLocalName(hostName(host)), false, host);
    }
  });
});

describe("keys", () => {
  test("the server key and admitted secrets open, in either form; expelled ones do not", () => {
    const keyring = new Keyring({ serverKey: "server-key", clock: new ManualClock() });
    assert.deepEqual(keyring.find("Bearer server-key"), { kind: "operator" });
    assert.deepEqual(keyring.find("bearer   server-key"), { kind: "operator" });
    assert.deepEqual(keyring.find("server-key"), { kind: "operator" });
    const who = { workerId: "w", endpointId: "e", app: "a", environment: "x" };
    keyring.admit("secret", who);
    assert.deepEqual(keyring.find("Bearer secret"), { kind: "worker", ...who });
    keyring.expel("secret");
    for (const key of [
      undefined,
      "",
      "Bearer",
      "Bearer ",
      "secret",
      "server-key2",
      "Basic server-key",
    ]) {
      assert.equal(keyring.find(key), undefined, key);
    }
  });

  test("a worker's scope is its app and environment", () => {
    const worker = {
      kind: "worker",
      workerId: "w",
      endpointId: "e",
      app: "a",
      environment: "x",
    } as const;
    const route = OTHER_ROUTES.request;
    authorize(worker, route, { app: "a", environment: "x" });
    authorize({ kind: "operator" }, route, { app: "b", environment: "y" });
    assert.throws(() => authorize(worker, route, { app: "a", environment: "y" }), /own app/);
    assert.throws(() => authorize(worker, route, { app: "b", environment: "x" }), /own app/);
  });
});

interface Shop {
  server: TestServer;
  api: EndpointDocument;
  queue: EndpointDocument;
}

async function shop(t: TestContext): Promise<Shop> {
  const server = await TestServer.start(t);
  const { endpoints } = await server.deploy("shop", [
    { name: "api", kind: "lb" },
    { name: "queue", kind: "qb" },
  ]);
  const [api, queue] = endpoints;
  if (api === undefined || queue === undefined) throw new Error("nothing was deployed");
  return { server, api, queue };
}

describe("the front door", () => {
  test("health needs no key; everything else does, and says so as a problem document", async (t) => {
    const { server, api, queue } = await shop(t);
    for (const path of ["/livez", "/readyz"]) {
      assert.equal((await server.request(path, { key: null })).status, 200);
    }
    for (const path of [
      "/",
      "/api/v1/server",
      `${api.url}/pid`,
      `${queue.url}/health`,
      "/nothing",
    ]) {
      for (const key of [null, "wrong"]) {
        const answer = await server.request(path, { key });
        assert.equal(answer.status, 401, path);
        assert.equal(answer.json.code, "UNAUTHORIZED");
        assert.equal(answer.headers["content-type"], "application/problem+json");
      }
    }
  });

  test("a foreign host name is refused, so that a web page cannot rebind its way in", async (t) => {
    const { server } = await shop(t);
    for (const path of ["/livez", "/api/v1/server"]) {
      const answer = await server.request(path, { headers: { host: "evil.example" } });
      assert.equal(answer.status, 403, path);
    }
  });

  test("a load-balanced endpoint is reached by id, by host name, and by its names", async (t) => {
    const { server, api } = await shop(t);
    const names = {
      "x-flash-app": "shop",
      "x-flash-environment": "production",
      "x-flash-endpoint": "api",
    };
    const ways: [string, Record<string, string>][] = [
      [`/lb/${api.id}/echo?q=1`, {}],
      ["/echo?q=1", { host: `${api.id}.localhost` }],
      ["/lb/flash/echo?q=1", names],
      ["/echo?q=1", { host: "flash.localhost:80", ...names }],
    ];
    for (const [path, headers] of ways) {
      const answer = await server.request(path, { headers });
      assert.equal(answer.status, 200, path);
      assert.equal(answer.json.url, "/echo?q=1");
    }
    const missing = await server.request("/lb/flash/echo", {
      headers: { "x-flash-app": "shop" },
    });
    assert.equal(missing.status, 400);
    assert.match(missing.json.detail, /x-flash-environment/);
  });

  test("unknown endpoints and paths are 404", async (t) => {
    const { server } = await shop(t);
    for (const path of ["/lb/nothing/x", "/v2/nothing/health", "/api/v1/nothing", "/nothing"]) {
      assert.equal((await server.request(path)).status, 404, path);
    }
  });

  test("every failure of the job API has the platform's 'error', whoever refuses", async (t) => {
    const { server, queue } = await shop(t);
    for (const [path, options] of [
      [`/v2/${queue.id}/health`, { key: null }],
      [`/v2/${queue.id}/health`, { key: "wrong" }],
      [`/v2/${queue.id}/ping/nobody`, { key: "wrong" }],
      [`/v2/${queue.id}/nothing`, {}],
      ["/v2/nothing/run", { method: "POST", body: "{}" }],
      ["/v2/flash/run", { method: "POST", body: "{}" }],
    ] as const) {
      const { json } = await server.request(path, options);
      assert.equal(json.error, json.detail, path);
      assert.equal(typeof json.error, "string", path);
    }
    assert.equal((await server.request("/api/v1/nothing")).json.error, undefined);
  });

  test("the wrong plane for an endpoint's kind is named, in the platform's words", async (t) => {
    const { server, api, queue } = await shop(t);
    const lb = await server.request(`/lb/${queue.id}/x`);
    assert.equal(lb.status, 400);
    assert.equal(lb.json.error, "not allowed for QB API");
    const run = await server.request(`/v2/${api.id}/run`, { method: "POST", body: "{}" });
    assert.equal(run.status, 400);
    assert.match(run.json.detail, /load-balanced/);
    assert.equal((await server.request(`/v2/${api.id}/health`)).status, 200);
  });

  test("a worker's secret reaches its own app and environment and nothing beyond", async (t) => {
    const { server, api, queue } = await shop(t);
    const other = await server.deploy("shop", [{ name: "api", kind: "lb" }], "staging");
    const { json: env } = await server.request(`${api.url}/env`);
    const key = env["FLASH_API_KEY"];
    assert.equal((await server.request(`${api.url}/pid`, { key })).status, 200);
    assert.equal((await server.request(`${queue.url}/health`, { key })).status, 200);
    const description = "/api/v1/endpoints?app=shop&name=queue&environment=";
    assert.equal((await server.request(`${description}production`, { key })).status, 200);
    const refused = [
      `${other.endpoints[0]?.url}/pid`,
      `${description}staging`,
      "/api/v1/server",
      "/api/v1/status?app=shop&environment=production",
    ];
    for (const path of refused) {
      assert.equal((await server.request(path, { key })).status, 403, path);
    }
    const stop = await server.request("/api/v1/server/stop", { method: "POST", key });
    assert.equal(stop.status, 403);
  });

  test("the worker protocol opens for the worker's own secret alone, and a wrong key waits", async (t) => {
    const { server, queue } = await shop(t);
    const before = performance.now();
    const answers = await Promise.all([
      server.request(`/v2/${queue.id}/job-take/w1?x`, { key: "wrong" }),
      // Not even the server key speaks for a worker.
      server.request(`/v2/${queue.id}/job-done/w1/j1?x`, { method: "POST", body: "{}" }),
      server.request(`/v2/${queue.id}/ping/w1&x=1`, { key: null }),
    ]);
    assert.deepEqual(
      answers.map(({ status }) => status),
      [401, 401, 401],
    );
    assert.ok(performance.now() - before >= 900);
  });
});
