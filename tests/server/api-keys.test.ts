/** Keys and the audit trail, over HTTP. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import type { KeyRequest } from "../../src/contract/control.ts";
import { ManualClock } from "../../src/kit/clock.ts";
import { FailedAttempts } from "../../src/server/gateway/failed-attempts.ts";
import { isWholeKey, newKey } from "../../src/server/identity/key-text.ts";
import { AUDIT_ENTRIES } from "../../src/server/store/identity-schema.ts";
import { SqliteStore } from "../../src/server/server.ts";
import { temporaryFolder, type Owner } from "../support/temp.ts";
import { FlashServerCloud } from "../../src/clouds/clouds.ts";
import { type Answer, artifactOf, backwards, manifestOf, TestServer } from "./server-support.ts";

async function create(server: TestServer, request: KeyRequest, key?: string): Promise<Answer> {
  const body = JSON.stringify(request);
  const given = key === undefined ? {} : { key };
  return await server.request("/api/v1/keys", { method: "POST", body, ...given });
}

/** A server whose clock the test moves. */
async function startWithClock(owner: Owner): Promise<{ server: TestServer; clock: ManualClock }> {
  const clock = new ManualClock();
  return { server: await TestServer.start(owner, { clock }), clock };
}

describe("keys", () => {
  test("a key is told once, and kept as a digest only", async (t) => {
    const owner = backwards(t);
    const home = temporaryFolder(owner, "flash-keys");
    const store = new SqliteStore({ home });
    const server = await TestServer.start(owner, { home, store });
    const made = await create(server, { name: "ci", verbs: ["deploy"], app: "shop" });
    assert.equal(made.status, 200, made.text);
    assert.equal(made.headers["cache-control"], "no-store");
    const { key } = made.json;
    assert.match(key, /^flashk_[\w-]{49}$/);
    const listed = await server.request("/api/v1/keys");
    assert.equal(listed.json.keys[0].name, "ci");
    assert.ok(!listed.text.includes(key));
    for (const file of ["flash.db", "flash.db-wal", "flash.journal"]) {
      const bytes = readFileSync(path.join(home, file));
      assert.equal(bytes.indexOf(key), -1, file);
      assert.equal(bytes.indexOf(key.slice(7)), -1, file);
    }
  });

  test("a key opens until it is revoked, on connections that are open already too", async (t) => {
    const server = await TestServer.start(t);
    const { key, id } = (await create(server, { name: "ci", verbs: ["read"] })).json;
    const { Agent } = await import("node:http");
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    const ask = () => server.request("/api/v1/server", { key, agent });
    assert.equal((await ask()).status, 200);
    assert.equal((await ask()).status, 200);
    const revoked = await server.request(`/api/v1/keys?key=${id}`, { method: "DELETE" });
    assert.equal(revoked.json.state, "revoked");
    const refused = await ask();
    assert.equal(refused.status, 401);
    assert.match(refused.json.detail, /'ci' has been revoked/);
  });

  test("keys and their end survive a restart", async (t) => {
    const owner = backwards(t);
    const home = temporaryFolder(owner, "flash-keys");
    const first = await TestServer.start(owner, { home, store: new SqliteStore({ home }) });
    const kept = (await create(first, { name: "kept", verbs: ["read"] })).json.key;
    const gone = (await create(first, { name: "gone", verbs: ["read"] })).json.key;
    await first.request("/api/v1/keys?key=gone", { method: "DELETE" });
    await first.request("/api/v1/server", { key: kept });
    await first.server.close({ graceMs: 0 });
    const second = await TestServer.start(owner, { home, store: new SqliteStore({ home }) });
    assert.equal((await second.request("/api/v1/server", { key: kept })).status, 200);
    assert.equal((await second.request("/api/v1/server", { key: gone })).status, 401);
    const { keys } = (await second.request("/api/v1/keys")).json;
    const states = keys.map((one: { name: string; state: string }) => [one.name, one.state]);
    assert.deepEqual(
      new Map(states),
      new Map([
        ["gone", "revoked"],
        ["kept", "active"],
      ]),
    );
    assert.ok(keys.find((one: { name: string }) => one.name === "kept").lastUsedAt !== null);
  });

  test("a key expires, and says so", async (t) => {
    const { server, clock } = await startWithClock(t);
    const { key } = (await create(server, { name: "brief", verbs: ["read"], expiresInS: 60 })).json;
    assert.equal((await server.request("/api/v1/server", { key })).status, 200);
    clock.advance(60_000);
    const refused = await server.request("/api/v1/server", { key });
    assert.equal(refused.status, 401);
    assert.match(refused.json.detail, /'brief' has expired/);
    // Its name is free again.
    assert.equal((await create(server, { name: "brief", verbs: ["read"] })).status, 200);
  });

  test("nobody fills the audit trail with long words", async (t) => {
    const server = await TestServer.start(t);
    const long = "x".repeat(8000);
    await server.request(`/api/v1/keys?key=${long}`, { method: "DELETE" });
    const { entries } = (await server.request("/api/v1/audit")).json;
    assert.equal(entries[0].subject, long.slice(0, 200));
  });

  test("nobody sees or voids a key that reaches further than their own", async (t) => {
    const server = await TestServer.start(t);
    const place = { app: "shop", environment: "production" };
    const lead = { name: "lead", verbs: ["admin" as const], ...place };
    const { key } = (await create(server, lead)).json;
    await create(server, { name: "everywhere", verbs: ["read"] });
    await create(server, { name: "app-wide", verbs: ["read"], app: "shop" });
    await create(server, { name: "elsewhere", verbs: ["read"], app: "other" });
    await create(server, { name: "same", verbs: ["admin"], ...place });
    await create(server, { name: "below", verbs: ["read"], ...place, endpoint: "cart" });
    const { keys } = (await server.request("/api/v1/keys", { key })).json;
    const seen = keys.map(({ name }: { name: string }) => name).sort();
    assert.deepEqual(seen, ["below", "lead", "same"]);
    const voiding = async (name: string): Promise<number> =>
      (await server.request(`/api/v1/keys?key=${name}`, { method: "DELETE", key })).status;
    assert.equal(await voiding("everywhere"), 404);
    assert.equal(await voiding("app-wide"), 404);
    assert.equal(await voiding("elsewhere"), 404);
    assert.equal(await voiding("below"), 200);
  });

  test("nobody gives more than they have", async (t) => {
    const server = await TestServer.start(t);
    const maker = { name: "lead", verbs: ["admin" as const], app: "shop", expiresInS: 3600 };
    const { key } = (await create(server, maker)).json;
    const mine = await create(server, { name: "mine", verbs: ["call"], app: "shop" }, key);
    assert.equal(mine.status, 200, mine.text);
    assert.ok(Date.parse(mine.json.expiresAt) <= Date.now() + 3_600_000);
    const wide = await create(server, { name: "wide", verbs: ["call"] }, key);
    assert.match(wide.json.detail, /'lead' is for the app 'shop' only/);
    const other = await create(server, { name: "other", verbs: ["call"], app: "blog" }, key);
    assert.equal(other.status, 403);
    const long = { name: "long", verbs: ["call" as const], app: "shop", expiresInS: null };
    assert.match((await create(server, long, key)).json.detail, /cannot outlive/);
    const { key: caller } = mine.json;
    assert.equal((await create(server, { name: "x", verbs: ["call"] }, caller)).status, 403);
  });

  test("whoever is no admin sees and gives up only their own", async (t) => {
    const server = await TestServer.start(t);
    const { id: other } = (await create(server, { name: "other", verbs: ["read"] })).json;
    const { id, key } = (await create(server, { name: "own", verbs: ["read"] })).json;
    const { keys } = (await server.request("/api/v1/keys", { key })).json;
    assert.deepEqual(
      keys.map((one: { id: string }) => one.id),
      [id],
    );
    const remove = (which: string) =>
      server.request(`/api/v1/keys?key=${which}`, { method: "DELETE", key });
    assert.equal((await remove(other)).status, 404);
    assert.equal((await remove(id)).status, 200);
    assert.equal((await server.request("/api/v1/keys", { key })).status, 401);
  });

  test("a key for one environment is enough to deploy there, and nowhere else", async (t) => {
    const owner = backwards(t);
    const server = await TestServer.start(owner);
    const scope = { app: "shop", environment: "staging" };
    const { key } = (await create(server, { name: "ci", verbs: ["deploy"], ...scope })).json;
    const cloud = new FlashServerCloud({ url: server.url, key });
    const endpoints = [{ name: "api", kind: "lb" }] as const;
    const bytes = await artifactOf("shop", endpoints);
    const file = path.join(temporaryFolder(owner), "artifact.tar.gz");
    writeFileSync(file, bytes);
    const digest = createHash("sha256").update(bytes).digest("hex");
    const manifest = manifestOf("shop", endpoints);
    const artifact = { file, digest, bytes: bytes.length, manifest };
    await cloud.environments("shop");
    assert.equal((await cloud.deploy(artifact, scope)).environment, "staging");
    assert.equal((await cloud.status(scope)).endpoints.length, 1);
    const elsewhere = { ...scope, environment: "production" };
    await assert.rejects(cloud.deploy(artifact, elsewhere), /environment 'staging' only/);
    assert.deepEqual(
      (await server.server.control.model.environments("shop")).environments.map(({ name }) => name),
      ["staging"],
    );
  });

  test("mistakes are named", async (t) => {
    const server = await TestServer.start(t);
    await create(server, { name: "ci", verbs: ["read"] });
    const cases: [unknown, number, RegExp][] = [
      [{ name: "ci", verbs: ["read"] }, 409, /a key 'ci' already/],
      [{ name: "a b", verbs: ["read"] }, 400, /name/],
      [{ name: "x", verbs: [] }, 400, /verbs/],
      [{ name: "x", verbs: ["fly"] }, 400, /verbs/],
      [{ name: "x", verbs: ["read"], environment: "dev" }, 400, /needs its app/],
      [{ name: "x", verbs: ["read"], expiresInS: -1 }, 400, /expiresInS/],
      [{ name: "x", verbs: ["read"], admin: true }, 400, /admin/],
    ];
    for (const [body, status, text] of cases) {
      const answer = await create(server, body as KeyRequest);
      assert.equal(answer.status, status, answer.text);
      assert.match(answer.json.detail, text);
    }
  });

  test("a key that was cut off is told from one that is not known", async (t) => {
    const server = await TestServer.start(t);
    const key = newKey();
    assert.ok(isWholeKey(key));
    assert.ok(!isWholeKey(key.slice(0, -1)));
    const ask = async (given: string) =>
      (await server.request("/api/v1/server", { key: given })).json.detail as string;
    assert.match(await ask(key.slice(0, -3)), /not whole/);
    assert.equal(await ask(key), "The key is not valid.");
  });
});

describe("wrong keys", () => {
  test("many from one address are slowed down, and a valid key still opens", async (t) => {
    const server = await TestServer.start(t);
    const statuses = new Set<number>();
    // The allowance comes back meanwhile, a little.
    for (let tries = 0; tries < 500 && !statuses.has(429); tries++) {
      statuses.add((await server.request("/api/v1/server", { key: `wrong-${tries}` })).status);
    }
    assert.deepEqual([...statuses], [401, 429]);
    assert.equal((await server.request("/api/v1/server")).status, 200);
    assert.equal((await server.request("/api/v1/server", { key: null })).status, 401);
  });

  test("the allowance comes back with time, and other addresses have their own", () => {
    const clock = new ManualClock();
    const attempts = new FailedAttempts(clock);
    for (let tries = 0; tries < 100; tries++) attempts.note("a");
    assert.throws(() => attempts.note("a"), /Too many/);
    attempts.note("b");
    clock.advance(1000);
    attempts.note("a");
    assert.throws(() => attempts.note("a"), /Too many/);
  });
});

describe("the audit trail", () => {
  test("says who changed what, where, from where, and how it went", async (t) => {
    const server = await TestServer.start(t);
    const { id, key } = (await create(server, { name: "ci", verbs: ["deploy"], app: "shop" })).json;
    const body = JSON.stringify({ app: "shop", environment: "dev", build: "build_none" });
    await server.request("/api/v1/deployments", { method: "POST", body, key });
    const foreign = JSON.stringify({ app: "blog", environment: "dev", build: "b" });
    await server.request("/api/v1/deployments", { method: "POST", body: foreign, key });
    await server.request("/api/v1/server", { key });
    const { entries } = (await server.request("/api/v1/audit")).json;
    const [refused, failed, made] = entries;
    assert.equal(entries.length, 3, "what changes nothing is not in it");
    assert.deepEqual(
      [
        failed.actor,
        failed.actorName,
        failed.action,
        failed.app,
        failed.environment,
        failed.subject,
      ],
      [id, "ci", "deployments.create", "shop", "dev", "build_none"],
    );
    assert.equal(failed.result, "NOT_FOUND");
    assert.equal(failed.from, "127.0.0.1");
    assert.deepEqual([refused.app, refused.result], ["blog", "FORBIDDEN"]);
    assert.deepEqual([made.actor, made.action, made.subject], ["operator", "keys.create", id]);
    assert.ok(!JSON.stringify(entries).includes(key));
  });

  test("pages go back in time, and a scoped key sees its scope", async (t) => {
    const server = await TestServer.start(t);
    const { key } = (await create(server, { name: "lead", verbs: ["admin"], app: "shop" })).json;
    for (const app of ["shop", "blog", "shop"]) {
      const body = JSON.stringify({ app, environment: "dev", build: "b" });
      await server.request("/api/v1/deployments", { method: "POST", body });
    }
    const page = (await server.request("/api/v1/audit?limit=2")).json.entries;
    assert.equal(page.length, 2);
    const next = (await server.request(`/api/v1/audit?limit=2&before=${page[1].id}`)).json.entries;
    assert.ok(next[0].id < page[1].id);
    const seen = (await server.request("/api/v1/audit", { key })).json.entries;
    assert.deepEqual(
      seen.map(({ app }: { app: string }) => app),
      ["shop", "shop", "shop"],
    );
    assert.equal((await server.request("/api/v1/audit?app=blog", { key })).status, 403);
  });

  test("cannot be rewritten, and gives up its oldest entries beyond its bound", async (t) => {
    const owner = backwards(t);
    const home = temporaryFolder(owner, "flash-audit");
    const store = new SqliteStore({ home });
    const entry = { at: 1, actor: "a", actorName: "a", action: "x", from: "", result: "ok" };
    const nowhere = { app: null, environment: null, endpoint: null, subject: null };
    await store.audit.add({ ...entry, ...nowhere });
    await store.audit.add({ ...entry, ...nowhere });
    await store.close();
    const { DatabaseSync } = await import("node:sqlite");
    const db = new DatabaseSync(path.join(home, "flash.db"));
    owner.after(() => db.close());
    assert.throws(() => db.exec("UPDATE audit SET actor = 'b'"), /only appended/);
    assert.throws(() => db.exec("DELETE FROM audit"), /only appended/);
    db.exec(`INSERT INTO audit (id, at, actor, actor_name, action, source, result)
      VALUES (${AUDIT_ENTRIES + 1}, 1, 'a', 'a', 'x', '', 'ok')`);
    const ids = db.prepare("SELECT id FROM audit").all();
    assert.deepEqual(
      ids.map(({ id }) => id),
      [2, AUDIT_ENTRIES + 1],
    );
  });
});
