/** Logins of command lines, over HTTP. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ManualClock } from "../../src/kit/clock.ts";
import { TestServer } from "./server-support.ts";

function post(server: TestServer, path: string, value: unknown, key: string | null = null) {
  const body = JSON.stringify(value);
  return server.request(`/api/v1/logins${path}`, { method: "POST", body, key });
}

async function begin(server: TestServer, client = "flash on a laptop") {
  return (await post(server, "", { client })).json;
}

describe("logins", () => {
  test("a device that is approved gets a key of its own, which the audit trail knows", async (t) => {
    const server = await TestServer.start(t);
    const { code, secret, url } = await begin(server);
    assert.match(code, /^[A-Z0-9]{4}-[A-Z0-9]{4}$/);
    assert.equal(url, `${server.url}/login?code=${code}`);
    assert.deepEqual((await post(server, "/poll", { secret })).json, {
      status: "PENDING",
      key: null,
    });
    const { key: operator } = server.server;
    const typed = code.toLowerCase().replace("-", " ");
    const seen = await server.request(`/api/v1/logins?code=${encodeURIComponent(typed)}`);
    assert.deepEqual([seen.json.client, seen.json.from], ["flash on a laptop", "127.0.0.1"]);
    const decided = await post(server, "/decide", { code: typed, approve: true }, operator);
    assert.equal(decided.status, 200, decided.text);
    const answer = await post(server, "/poll", { secret });
    assert.equal(answer.headers["cache-control"], "no-store");
    const { status, key } = answer.json;
    assert.equal(status, "APPROVED");
    const { keys } = (await server.request("/api/v1/keys", { key })).json;
    assert.deepEqual(keys[0].verbs, ["read", "call", "deploy"]);
    assert.equal(keys[0].name, `login-${code.toLowerCase()}`);
    const [entry] = (await server.request("/api/v1/audit")).json.entries;
    assert.deepEqual([entry.action, entry.subject], ["logins.decide", `approve ${typed}`]);
    assert.ok(!JSON.stringify(entry).includes(key));
  });

  test("one that is denied gets none, and a code is good for one decision", async (t) => {
    const server = await TestServer.start(t);
    const { code, secret } = await begin(server);
    const { key } = server.server;
    await post(server, "/decide", { code, approve: false }, key);
    assert.equal((await post(server, "/poll", { secret })).json.status, "DENIED");
    assert.equal((await post(server, "/decide", { code, approve: true }, key)).status, 404);
    assert.equal((await server.request("/api/v1/keys")).json.keys.length, 0);
  });

  test("the code alone opens nothing, and the device's secret only its own login", async (t) => {
    const server = await TestServer.start(t);
    const { code } = await begin(server);
    const other = await begin(server);
    await post(server, "/decide", { code, approve: true }, server.server.key);
    assert.equal((await post(server, "/poll", { secret: code })).json.status, "EXPIRED");
    assert.equal((await post(server, "/poll", { secret: other.secret })).json.status, "PENDING");
    assert.equal((await post(server, "/decide", { code: other.code, approve: true })).status, 401);
  });

  test("it expires, and a key is told again only while its answer may have been lost", async (t) => {
    const clock = new ManualClock();
    const server = await TestServer.start(t, { clock });
    const first = await begin(server);
    await post(server, "/decide", { code: first.code, approve: true }, server.server.key);
    const poll = async (secret: string) => (await post(server, "/poll", { secret })).json;
    const { key } = await poll(first.secret);
    assert.equal((await poll(first.secret)).key, key);
    clock.advance(31_000);
    assert.deepEqual(await poll(first.secret), { status: "CONSUMED", key: null });
    const second = await begin(server);
    clock.advance(600_000);
    assert.equal((await poll(second.secret)).status, "EXPIRED");
    const late = await post(
      server,
      "/decide",
      { code: second.code, approve: true },
      server.server.key,
    );
    assert.equal(late.status, 404);
  });

  test("an approver gives no more than they have", async (t) => {
    const server = await TestServer.start(t);
    const body = JSON.stringify({ name: "lead", verbs: ["admin"], app: "shop" });
    const { key } = (await server.request("/api/v1/keys", { method: "POST", body })).json;
    const { code } = await begin(server);
    assert.equal((await post(server, "/decide", { code, approve: true }, key)).status, 403);
    const own = { code, approve: true, app: "shop" };
    assert.equal((await post(server, "/decide", own, key)).status, 200);
  });

  test("a stranger cannot fill the server, nor write more than one plain line", async (t) => {
    const server = await TestServer.start(t);
    const { code } = await begin(server, `line\nline \u{1b}[31m ${"x".repeat(500)}`);
    const { client } = (await server.request(`/api/v1/logins?code=${code}`)).json;
    assert.match(client, /^line\?line \?\[31m x+$/);
    assert.equal(client.length, 100);
    const statuses = [];
    for (let more = 0; more < 10; more++) {
      statuses.push((await post(server, "", { client: "x" })).status);
    }
    assert.equal(statuses.at(-1), 429);
  });

  test("the page is framed by nobody and loads nothing from elsewhere", async (t) => {
    const server = await TestServer.start(t);
    const page = await server.request("/login?code=ABCD-EFGH", { key: null });
    assert.equal(page.status, 200);
    const policy = String(page.headers["content-security-policy"]);
    assert.match(policy, /default-src 'none'/);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.ok(!/https?:|src=/.test(page.text));
    assert.ok(!page.text.includes("ABCD"), "the code is read by the page, not written into it");
  });
});
