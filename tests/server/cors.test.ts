/** Which web pages may read answers, over real HTTP. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TestServer } from "./server-support.ts";

const APP = "https://app.example.com";
const PREFLIGHT = {
  "access-control-request-method": "POST",
  "access-control-request-headers": "authorization,content-type,user-agent",
};

describe("pages of other origins", () => {
  test("may read nothing unless the server was told", async (t) => {
    const server = await TestServer.start(t);
    const { endpoints } = await server.deploy("shop", [{ name: "orders", kind: "qb" }]);
    const path = `/v2/${endpoints[0]?.id}/run`;
    const headers = { origin: APP };
    const preflight = await server.request(path, {
      method: "OPTIONS",
      key: null,
      headers: { ...headers, ...PREFLIGHT },
    });
    assert.equal(preflight.headers["access-control-allow-origin"], undefined);
    assert.notEqual(preflight.status, 204);
    const answer = await server.request(path, { method: "POST", body: '{"input":{}}', headers });
    assert.equal(answer.headers["access-control-allow-origin"], undefined);
  });

  test("use the key they have, and are told of refusals too", async (t) => {
    const server = await TestServer.start(t, { cors: [APP] });
    const { endpoints } = await server.deploy("shop", [
      { name: "orders", kind: "qb" },
      { name: "front", kind: "lb" },
    ]);
    const [orders, front] = ["orders", "front"].map(
      (name) => endpoints.find((endpoint) => endpoint.name === name)?.id,
    );
    const headers = { origin: APP };
    for (const path of [`/v2/${orders}/run`, `/lb/${front}/env`, "/api/v1/status"]) {
      const preflight = await server.request(path, {
        method: "OPTIONS",
        key: null,
        headers: { ...headers, ...PREFLIGHT },
      });
      assert.equal(preflight.status, 204, path);
      assert.equal(preflight.headers["access-control-allow-origin"], APP);
      assert.match(String(preflight.headers["access-control-allow-methods"]), /POST/);
      assert.equal(
        preflight.headers["access-control-allow-headers"],
        PREFLIGHT["access-control-request-headers"],
      );
    }
    const body = '{"input":{}}';
    const path = `/v2/${orders}/runsync`;
    const done = await server.request(path, { method: "POST", body, headers });
    assert.deepEqual([done.status, done.headers["access-control-allow-origin"]], [200, APP]);
    const env = await server.request(`/lb/${front}/env`, { headers });
    assert.deepEqual([env.status, env.headers["access-control-allow-origin"]], [200, APP]);
    const refused = await server.request(path, { method: "POST", body, headers, key: null });
    assert.deepEqual([refused.status, refused.headers["access-control-allow-origin"]], [401, APP]);
    const other = await server.request(path, {
      method: "POST",
      body,
      headers: { origin: "https://evil.example.com" },
    });
    assert.equal(other.headers["access-control-allow-origin"], undefined);
    assert.equal(other.headers["vary"], "Origin");
  });

  test("'local' means pages of this machine, whatever their port", async (t) => {
    const server = await TestServer.start(t, { cors: ["local"] });
    const allowed = async (origin: string): Promise<unknown> =>
      (await server.request("/api/v1/status", { headers: { origin } })).headers[
        "access-control-allow-origin"
      ];
    assert.equal(await allowed("http://localhost:5173"), "http://localhost:5173");
    assert.equal(await allowed("http://127.0.0.1:3000"), "http://127.0.0.1:3000");
    assert.equal(await allowed("https://localhost.example.com"), undefined);
    assert.equal(await allowed("null"), undefined);
  });
});
