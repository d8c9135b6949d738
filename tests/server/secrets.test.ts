/** Secrets over HTTP: kept sealed, handed to workers, rolled, and taken out of what workers write. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { secret } from "../../src/sdk/sdk.ts";
import { Redactor, REDACTED } from "../../src/server/identity/redactor.ts";
import { Vault } from "../../src/server/identity/vault.ts";
import { SqliteStore } from "../../src/server/server.ts";
import { temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { type Answer, backwards, TestServer, type EndpointSpec } from "./server-support.ts";

const PLACE = "app=shop&environment=production";
const API = {
  name: "api",
  kind: "lb",
  options: { workers: [1, 2], env: { TOKEN: secret("API_TOKEN"), PLAIN: "seen" } },
} as const satisfies EndpointSpec;

function set(server: TestServer, name: string, value: unknown): Promise<Answer> {
  const body = JSON.stringify({ value });
  return server.request(`/api/v1/secrets?${PLACE}&name=${name}`, { method: "PUT", body });
}

/** A server whose store is a file, so that its bytes can be looked at. */
async function startOnDisk(owner: Owner): Promise<TestServer> {
  const home = temporaryFolder(owner, "flash-secrets");
  return await TestServer.start(owner, { home, store: new SqliteStore({ home }) });
}

async function envOf(server: TestServer, url: string): Promise<Record<string, string>> {
  return (await server.request(`${url}/env`)).json;
}

describe("secrets", () => {
  test("a worker gets the value, and nothing else has it", async (t) => {
    const server = await startOnDisk(backwards(t));
    const value = 'canary "quoted" value-8231';
    const answer = await set(server, "API_TOKEN", value);
    assert.equal(answer.status, 200, answer.text);
    const [endpoint] = (await server.deploy("shop", [API])).endpoints;
    const env = await envOf(server, endpoint?.url ?? "");
    assert.deepEqual([env["TOKEN"], env["PLAIN"]], [value, "seen"]);
    const list = await server.request(`/api/v1/secrets?${PLACE}`);
    assert.deepEqual(
      list.json.secrets.map(({ name, version }: { name: string; version: number }) => [
        name,
        version,
      ]),
      [["API_TOKEN", 1]],
    );
    for (const { text } of [answer, list]) assert.ok(!text.includes("canary"));
    for (const file of readdirSync(server.home, { recursive: true, encoding: "utf8" })) {
      const full = path.join(server.home, file);
      if (!statSync(full).isFile()) continue;
      assert.equal(readFileSync(full).indexOf("canary"), -1, file);
    }
  });

  test("a missing one fails the deployment before anything changes, and names all that are missing", async (t) => {
    const server = await TestServer.start(t);
    await set(server, "API_TOKEN", "value-one");
    await server.deploy("shop", [API]);
    const before = (await server.request(`/api/v1/releases?${PLACE}`)).text;
    const env = { A: secret("FIRST"), B: secret("SECOND"), C: secret("API_TOKEN") };
    await assert.rejects(
      server.deploy("shop", [{ ...API, options: { env } }]),
      /environment 'production' of the app 'shop' has no secret 'FIRST' \(api\), 'SECOND' \(api\)\./,
    );
    assert.equal((await server.request(`/api/v1/releases?${PLACE}`)).text, before);
  });

  test("a changed one replaces the workers that use it, without a refused request, and no others", async (t) => {
    const server = await TestServer.start(t);
    await set(server, "API_TOKEN", "value-one");
    const other = { name: "other", kind: "lb", options: { workers: [1, 1] } } as const;
    const { endpoints } = await server.deploy("shop", [API, other]);
    const urlOf = (name: string) => endpoints.find((one) => one.name === name)?.url ?? "";
    const pidOf = async (name: string) => (await server.request(`${urlOf(name)}/pid`)).json.pid;
    const [before, neighbour] = [await pidOf("api"), await pidOf("other")];
    const statuses = new Set<number>();
    const over = new AbortController();
    const load = (async () => {
      while (!over.signal.aborted)
        statuses.add((await server.request(`${urlOf("api")}/pid`)).status);
    })();
    const answer = await set(server, "API_TOKEN", "value-two");
    assert.deepEqual(answer.json.rolled, ["api"]);
    assert.equal(answer.json.version, 2);
    await until(async () => (await envOf(server, urlOf("api")))["TOKEN"] === "value-two", {
      what: "a worker with the new value",
    });
    over.abort();
    await load;
    assert.deepEqual([...statuses], [200]);
    assert.notEqual(await pidOf("api"), before);
    assert.equal(await pidOf("other"), neighbour);
    await server.untilWorkers("shop", "api", 1);
  });

  test("a changed one also reaches idle workers that nothing asks for, and workers of queues", async (t) => {
    const server = await TestServer.start(t);
    await set(server, "API_TOKEN", "value-one");
    const env = { TOKEN: secret("API_TOKEN") };
    const { endpoints } = await server.deploy("shop", [
      { name: "api", kind: "lb", options: { workers: [0, 2], env } },
      { name: "queue", kind: "qb", options: { workers: [1, 1], env } },
    ]);
    const urlOf = (name: string) => endpoints.find((one) => one.name === name)?.url ?? "";
    assert.equal((await envOf(server, urlOf("api")))["TOKEN"], "value-one");
    const run = async (): Promise<number> => {
      const body = JSON.stringify({ input: {} });
      const job = await server.request(`${urlOf("queue")}/runsync`, { method: "POST", body });
      assert.equal(job.json.status, "COMPLETED", job.text);
      return job.json.output.pid;
    };
    const before = await run();
    const answer = await set(server, "API_TOKEN", "value-two");
    assert.deepEqual(answer.json.rolled.sort(), ["api", "queue"]);
    assert.equal((await envOf(server, urlOf("api")))["TOKEN"], "value-two");
    assert.notEqual(await run(), before);
    await server.untilWorkers("shop", "queue", 1);
    await server.untilWorkers("shop", "api", 1);
  });

  test("one that is used cannot be removed; one that is not can, and then is gone", async (t) => {
    const server = await TestServer.start(t);
    await set(server, "API_TOKEN", "value-one");
    await set(server, "SPARE", "value-two");
    await server.deploy("shop", [API]);
    const remove = (name: string) =>
      server.request(`/api/v1/secrets?${PLACE}&name=${name}`, { method: "DELETE" });
    const refused = await remove("API_TOKEN");
    assert.equal(refused.status, 409);
    assert.match(refused.json.detail, /used by 'api'/);
    assert.equal((await remove("SPARE")).status, 200);
    assert.equal((await remove("SPARE")).status, 404);
  });

  test("mistakes are named, and never with the value", async (t) => {
    const server = await TestServer.start(t);
    const cases: [string, unknown, RegExp][] = [
      ["1ST", "canary-1", /the name of a secret must be/],
      ["A-B", "canary-1", /the name of a secret must be/],
      ["EMPTY", "", /is empty/],
      ["NUL", "canary\0", /NUL/],
      ["LONG", "canary".repeat(7000), /at most 32768/],
      ["NUMBER", 5, /must be a string/],
    ];
    for (const [name, value, text] of cases) {
      const answer = await set(server, name, value);
      assert.ok(answer.status === 400 || answer.status === 413, answer.text);
      assert.match(answer.json.detail, text);
      assert.ok(!answer.text.includes("canary"));
    }
  });

  test("values of the developer's own stand in where nobody has set one, as under flash run", async (t) => {
    const server = await TestServer.start(t, {
      secretFallback: (name) => (name === "API_TOKEN" ? "from-my-shell" : undefined),
    });
    const [endpoint] = (await server.deploy("shop", [API])).endpoints;
    assert.equal((await envOf(server, endpoint?.url ?? ""))["TOKEN"], "from-my-shell");
    const env = { A: secret("ABSENT") };
    await assert.rejects(
      server.deploy("shop", [{ ...API, options: { env } }]),
      (error: Error & { hint?: string }) => /variable ABSENT .* \.env/.test(error.hint ?? ""),
    );
  });
});

describe("the master key", () => {
  test("is readable for its owner only, and the server does not start when it is not", async (t) => {
    const owner = backwards(t);
    const server = await startOnDisk(owner);
    await set(server, "API_TOKEN", "value-one");
    const file = path.join(server.home, "secrets.key");
    assert.equal(statSync(file).mode & 0o777, 0o600);
    await server.server.close({ graceMs: 0 });
    const { chmodSync } = await import("node:fs");
    chmodSync(file, 0o644);
    await assert.rejects(new Vault(server.home).load(), /can be read by others/);
  });

  test("rotation seals everything anew, and secrets survive it and a restart", async (t) => {
    const owner = backwards(t);
    const first = await startOnDisk(owner);
    await set(first, "API_TOKEN", "value-one");
    const file = path.join(first.home, "secrets.key");
    const before = readFileSync(file, "utf8");
    const rotated = await first.request("/api/v1/secrets/rotate-key", { method: "POST" });
    assert.deepEqual(rotated.json, { sealed: 1 });
    const after = readFileSync(file, "utf8");
    assert.ok(!after.includes(before.trim()));
    await first.server.close({ graceMs: 0 });
    const { home } = first;
    const second = await TestServer.start(owner, { home, store: new SqliteStore({ home }) });
    const [endpoint] = (await second.deploy("shop", [API])).endpoints;
    assert.equal((await envOf(second, endpoint?.url ?? ""))["TOKEN"], "value-one");
  });

  test("a rotation that was cut off leaves every secret open", async (t) => {
    const home = temporaryFolder(t, "flash-vault");
    const vault = new Vault(home);
    const place = { app: "a", environment: "e", name: "N" };
    const old = await vault.seal(place, "value");
    await assert.rejects(
      vault.rotate(() => Promise.reject(new Error("killed"))),
      /killed/,
    );
    const again = new Vault(home);
    await again.load();
    assert.equal(again.open({ ...place, ...old }), "value");
    assert.equal(again.open({ ...place, ...again.sealNow(place, "new") }), "new");
  });

  test("a row cannot stand in for another, nor be changed", async (t) => {
    const vault = new Vault(temporaryFolder(t, "flash-vault"));
    const place = { app: "a", environment: "e", name: "N" };
    const { keyId, sealed } = await vault.seal(place, "value");
    const moved = { ...place, environment: "production", keyId, sealed };
    assert.throws(() => vault.open(moved), /is damaged/);
    const changed = Buffer.from(sealed);
    changed[13] = (changed[13] ?? 0) ^ 1;
    assert.throws(() => vault.open({ ...place, keyId, sealed: changed }), /is damaged/);
    assert.notDeepEqual(sealed, (await vault.seal(place, "value")).sealed);
  });

  test("another home's key is told from damage", async (t) => {
    const [one, two] = [temporaryFolder(t, "vault-one"), temporaryFolder(t, "vault-two")];
    const place = { app: "a", environment: "e", name: "N" };
    const row = { ...place, ...(await new Vault(one).seal(place, "value")) };
    const other = new Vault(two);
    await other.seal(place, "value");
    assert.throws(() => other.open(row), /does not hold the key of the secret 'N' of a\/e/);
    writeFileSync(path.join(two, "secrets.key"), "nonsense", { mode: 0o600 });
    await assert.rejects(new Vault(two).load(), /does not hold a key/);
  });
});

describe("what workers write", () => {
  test("is kept and streamed without the secrets, also in a crash's last words", async (t) => {
    const server = await startOnDisk(backwards(t));
    await set(server, "API_TOKEN", "canary-value-77");
    const [endpoint] = (await server.deploy("shop", [API])).endpoints;
    await server.request(`${endpoint?.url}/print?text=before-canary-value-77-after`);
    const logs = `/api/v1/logs?${PLACE}&endpoint=api`;
    const line = await until(
      async () =>
        (await server.request(logs)).text.split("\n").find((one) => one.includes("before-")),
      { what: "the line" },
    );
    assert.equal((JSON.parse(line) as { message: string }).message, `before-${REDACTED}-after`);
    const crash = { START_CRASH: secret("API_TOKEN") };
    await server.deploy("shop", [
      { ...API, options: { env: crash, workers: [1, 1] }, version: "2" },
    ]);
    const status = await until(async () => (await server.status("shop", "api")).problem, {
      what: "the reason of the crash",
    });
    assert.match(status, /\[redacted\]/);
    assert.ok(!(await server.request(logs)).text.includes("canary"));
  });

  test("values are found as JSON, URLs and base64 write them, keys of ours always", () => {
    const value = 'p@ss "word"/ü 1';
    const redactor = new Redactor([value, "first-line-of-it\nsecond-line-of-it", "abc"]);
    const cases = [
      value,
      JSON.stringify({ value }),
      `https://x/?q=${encodeURIComponent(value)}`,
      `Basic ${Buffer.from(value).toString("base64")}`,
      "only second-line-of-it",
      `flash_${"x".repeat(43)}`,
      `key flashk_${"x".repeat(49)} and flashw_${"y".repeat(43)}`,
    ];
    for (const text of cases) {
      const clean = redactor.redact(text);
      assert.ok(clean.includes(REDACTED), text);
      assert.ok(!/word|p%40ss|second|x{9}|y{9}|cEBzcyA/.test(clean), clean);
    }
    const nested = { text: JSON.stringify({ value }), list: [value], [value]: 1 };
    assert.ok(!JSON.stringify(redactor.redactJson(nested)).includes("word"));
    assert.equal(redactor.redact("abc is too short to look for"), "abc is too short to look for");
    assert.equal(redactor.redact("flash_short"), "flash_short");
  });
});
