/** `flash keys`, `flash secrets` and `flash audit` against a real server. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { describe, test, type TestContext } from "node:test";
import { secret } from "../../src/sdk/sdk.ts";
import { lifetime, localTime } from "../../src/cli/identity.ts";
import { TestServer } from "../server/server-support.ts";
import { ENTRY, machine, type Machine } from "./cli.ts";

async function setUp(t: TestContext): Promise<{ server: TestServer; box: Machine }> {
  const server = await TestServer.start(t);
  const box = machine(t, {
    FLASH_URL: server.url,
    FLASH_API_KEY: server.server.key,
    FLASH_APP: "shop",
  });
  return { server, box };
}

/** Runs the command with something on its stdin. */
async function piped({ env, cwd }: Machine, input: string, ...args: string[]) {
  const child = spawn(process.execPath, [ENTRY, ...args], { env, cwd });
  child.stdin.end(input);
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close") as Promise<[number | null]>,
  ]);
  return { code, stdout, stderr };
}

describe("flash keys", () => {
  test("a key is printed once on stdout, opens what it may, and nothing after its end", async (t) => {
    const { server, box } = await setUp(t);
    const made = await box.flash("keys", "create", "ci", "--verbs", "read,deploy", "--app", "shop");
    assert.equal(made.code, 0, made.stderr);
    const key = made.stdout.trim();
    assert.match(key, /^flashk_[\w-]{49}$/);
    assert.match(made.stderr, /made the key 'ci' {2}may read, deploy {2}shop {2}until \w{3}, /);
    assert.match(made.stderr, /not shown again/);
    assert.equal((await server.request("/api/v1/environments?app=shop", { key })).status, 200);
    const list = await box.flash("keys", "list");
    assert.match(list.stdout, /ci +key_\w+ +active +read,deploy +shop /);
    assert.ok(!list.stdout.includes(key));
    const revoked = await box.flash("keys", "revoke", "ci");
    assert.equal(revoked.stdout, "✓ revoked the key 'ci'\n");
    assert.equal((await server.request("/api/v1/environments?app=shop", { key })).status, 401);
    assert.equal((await box.flash("keys", "revoke", "ci")).code, 1);
  });

  test("--json is the document, and a key for ever says so", async (t) => {
    const { box } = await setUp(t);
    const args = ["keys", "create", "k", "--verbs", "call", "--expires", "never", "--json"];
    const made = await box.flash(...args);
    assert.equal(made.code, 0, made.stderr);
    const document = JSON.parse(made.stdout);
    assert.equal(document.expiresAt, null);
    assert.deepEqual(document.verbs, ["call"]);
    const { keys } = JSON.parse((await box.flash("keys", "list", "--json")).stdout);
    assert.equal(keys[0].id, document.id);
    assert.equal(keys[0].key, undefined);
  });

  test("wrong verbs and lifetimes are usage errors", async (t) => {
    const { box } = await setUp(t);
    const cases: [string[], RegExp][] = [
      [["keys", "create", "k"], /--verbs is missing/],
      [["keys", "create", "k", "--verbs", "fly"], /no verb 'fly'.*\n.*read, call, deploy, admin/],
      [["keys", "create", "k", "--verbs", "read", "--expires", "soon"], /30m, 12h, 90d or never/],
    ];
    for (const [args, message] of cases) {
      const { code, stderr } = await box.flash(...args);
      assert.equal(code, 2, args.join(" "));
      assert.match(stderr, message);
    }
    assert.equal(lifetime("90d"), 90 * 86_400);
    assert.equal(lifetime("never"), "never");
  });

  test("a key without the verb is told which one it takes, with exit code 3", async (t) => {
    const { server, box } = await setUp(t);
    const { stdout } = await box.flash("keys", "create", "reader", "--verbs", "read");
    const env = { FLASH_URL: server.url, FLASH_API_KEY: stdout.trim() };
    const refused = await machine(t, env).flash("keys", "create", "more", "--verbs", "read");
    assert.equal(refused.code, 3);
    assert.match(refused.stderr, /The key 'reader' may read; this needs admin\./);
  });
});

describe("flash secrets", () => {
  test("a value comes from stdin, is used, and is never shown", async (t) => {
    const { server, box } = await setUp(t);
    const set = await piped(box, "canary-from-stdin\n", "secrets", "set", "TOKEN");
    assert.equal(set.code, 0, set.stderr);
    assert.equal(set.stdout, "✓ set TOKEN of shop/production\n");
    const env = { T: secret("TOKEN") };
    const [endpoint] = (
      await server.deploy("shop", [{ name: "api", kind: "lb", options: { env, workers: [1, 1] } }])
    ).endpoints;
    const seen = await server.request(`${endpoint?.url}/env`);
    assert.equal(seen.json.T, "canary-from-stdin");
    const changed = await piped(box, "another-one", "secrets", "set", "TOKEN");
    assert.match(changed.stderr, /new workers for api/);
    const list = await box.flash("secrets", "list");
    assert.match(list.stdout, /^name +set +by\nTOKEN +\w{3}, .* operator\n$/);
    const used = await box.flash("secrets", "remove", "TOKEN");
    assert.equal(used.code, 1);
    assert.match(used.stderr, /used by 'api'/);
    const json = await box.flash("secrets", "list", "--json");
    assert.equal(JSON.parse(json.stdout).secrets[0].version, 2);
    assert.match((await box.flash("secrets", "rotate-key")).stdout, /sealed 1 secret/);
    for (const one of [set, changed, list, json]) {
      assert.ok(!/canary|another-one/.test(one.stdout + one.stderr));
    }
  });

  test("an empty stdin is no value, and an argument is none either", async (t) => {
    const { box } = await setUp(t);
    const empty = await piped(box, "", "secrets", "set", "TOKEN");
    assert.equal(empty.code, 2);
    assert.match(empty.stderr, /no value for TOKEN on stdin/);
    const argument = await piped(box, "", "secrets", "set", "TOKEN", "value");
    assert.equal(argument.code, 2);
  });

  test("an empty list says how to begin", async (t) => {
    const { box } = await setUp(t);
    const list = await box.flash("secrets", "list", "--env", "staging");
    assert.equal(list.stdout, "");
    assert.match(list.stderr, /no secrets for shop\/staging/);
  });
});

describe("flash audit", () => {
  test("shows the newest changes first", async (t) => {
    const { box } = await setUp(t);
    await box.flash("keys", "create", "one", "--verbs", "read");
    await piped(box, "value-of-it", "secrets", "set", "TOKEN", "--env", "staging");
    const { stdout } = await box.flash("audit");
    const [first = "", second = ""] = stdout.split("\n");
    assert.match(first, /operator +secrets\.set +shop\/staging TOKEN +127\.0\.0\.1 +ok$/);
    assert.match(second, /operator +keys\.create +key_\w+ +127\.0\.0\.1 +ok$/);
    assert.ok(!stdout.includes("value-of-it"));
    const { entries } = JSON.parse((await box.flash("audit", "--limit", "1", "--json")).stdout);
    assert.equal(entries.length, 1);
    assert.equal((await box.flash("audit", "--limit", "0")).code, 2);
  });
});

test("times are local and readable, a missing one is a dash", () => {
  assert.match(
    localTime("2026-02-19T21:33:00Z"),
    /^(Thu|Fri), Feb (19|20) 2026 \d{1,2}:33 [AP]M \S+$/,
  );
  assert.equal(localTime(null), "-");
});
