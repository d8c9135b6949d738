/** `flash login`, `flash logout` and the credentials file, against a real server. */

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import { saveCredential } from "../../src/cli/credentials.ts";
import { temporaryFolder } from "../support/temp.ts";
import { TestServer } from "../server/server-support.ts";
import { machine, type Machine } from "./cli.ts";

interface Setting {
  server: TestServer;
  /** Has no key. */
  laptop: Machine;
  /** Has the server key. */
  operator: Machine;
}

async function setUp(t: TestContext): Promise<Setting> {
  const server = await TestServer.start(t);
  const laptop = machine(t, { FLASH_URL: server.url });
  const operator = machine(t, { FLASH_URL: server.url, FLASH_API_KEY: server.server.key });
  return { server, laptop, operator };
}

/** Starts a login and waits until it shows its code. */
async function begin(laptop: Machine, ...args: string[]) {
  const program = laptop.start("login", ...args);
  const [, code = ""] = await program.says(/flash login approve (\w{4}-\w{4})/);
  return { program, code };
}

describe("flash login", () => {
  test("shows where to approve, waits, keeps the key, and later commands use it", async (t) => {
    const { server, laptop, operator } = await setUp(t);
    assert.equal((await laptop.flash("keys", "list")).code, 3);
    const { program, code } = await begin(laptop, "--no-open");
    assert.match(program.output, /Authorize flash in your browser:\n {2}http:\S+\/login\?code=/);
    await program.says(/Waiting for authorization\.\.\./);
    const approved = await operator.flash("login", "approve", code, "--yes");
    assert.equal(approved.code, 0, approved.stderr);
    assert.match(approved.stderr, /^flash \S+, \S+@\S+ at 127\.0\.0\.1\n/);
    const finished = await program.finished;
    assert.equal(finished.code, 0, finished.stderr);
    const file = path.join(laptop.home, "credentials.json");
    assert.equal(finished.stdout, `Logged in. Credentials saved to ${file}\n`);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const { servers } = JSON.parse(readFileSync(file, "utf8"));
    assert.deepEqual(Object.keys(servers), [server.url]);
    assert.ok(!(finished.stdout + finished.stderr).includes(servers[server.url].key));
    assert.match((await laptop.flash("keys", "list")).stdout, /login-/);
    const again = await laptop.flash("login");
    assert.match(again.stdout, /^already logged in to http:\S+ as 'login-/);
  });

  test("FLASH_API_KEY wins over a saved key", async (t) => {
    const { server, laptop } = await setUp(t);
    const saved = { key: "flash_wrong", name: "n", id: "i", expiresAt: null };
    await saveCredential(laptop.home, server.url, saved);
    assert.equal((await laptop.flash("keys", "list")).code, 3);
    Object.assign(laptop.env, { FLASH_API_KEY: server.server.key });
    assert.equal((await laptop.flash("keys", "list")).code, 0);
  });

  test("a denied login, one that nobody approves, and a server that is none fail with their texts", async (t) => {
    const { laptop, operator } = await setUp(t);
    const denied = await begin(laptop);
    await operator.flash("login", "approve", denied.code, "--deny");
    const refused = await denied.program.finished;
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /login failed: denied/);
    const late = await laptop.flash("login", "--timeout", "1");
    assert.equal(late.code, 1);
    assert.match(late.stderr, /login timed out/);
    assert.deepEqual(readdirSync(path.dirname(laptop.home)).includes("credentials.json"), false);
    const local = await machine(t).flash("login");
    assert.equal(local.code, 2);
    assert.match(local.stderr, /needs no login/);
  });

  test("approving asks first, and needs a key that may admin", async (t) => {
    const { laptop, operator } = await setUp(t);
    const { program, code } = await begin(laptop);
    const unasked = await operator.flash("login", "approve", code);
    assert.equal(unasked.code, 2);
    assert.match(unasked.stderr, /Confirm with --yes/);
    const { stdout } = await operator.flash("keys", "create", "reader", "--verbs", "read,deploy");
    const reader = machine(t, { ...operator.env, FLASH_API_KEY: stdout.trim() });
    assert.equal((await reader.flash("login", "approve", code, "--yes")).code, 3);
    const narrow = ["login", "approve", code, "--yes", "--verbs", "read", "--app", "shop"];
    await operator.flash(...narrow);
    assert.equal((await program.finished).code, 0);
    const { keys } = JSON.parse((await laptop.flash("keys", "list", "--json")).stdout);
    assert.deepEqual([keys[0].verbs, keys[0].app], [["read"], "shop"]);
  });

  test("logout voids the key there and forgets it here", async (t) => {
    const { server, laptop, operator } = await setUp(t);
    const { program, code } = await begin(laptop);
    await operator.flash("login", "approve", code, "--yes");
    await program.finished;
    const file = path.join(laptop.home, "credentials.json");
    const { key } = JSON.parse(readFileSync(file, "utf8")).servers[server.url];
    const out = await laptop.flash("logout");
    assert.equal(out.stdout, `✓ logged out of ${server.url}\n`);
    assert.equal((await server.request("/api/v1/keys", { key })).status, 401);
    assert.deepEqual(JSON.parse(readFileSync(file, "utf8")).servers, {});
    assert.match((await laptop.flash("logout")).stdout, /^not logged in/);
  });
});

describe("the credentials file", () => {
  test("keeps the keys of other servers, and leaves no drafts", async (t) => {
    const home = path.join(temporaryFolder(t), "home");
    const one = { key: "a", name: "a", id: "a", expiresAt: null };
    await saveCredential(home, "https://one.example.com", one);
    await saveCredential(home, "https://two.example.com", { ...one, key: "b" });
    const { servers } = JSON.parse(readFileSync(path.join(home, "credentials.json"), "utf8"));
    assert.deepEqual(Object.keys(servers), ["https://one.example.com", "https://two.example.com"]);
    assert.deepEqual(readdirSync(home), ["credentials.json"]);
  });

  test("is refused when others can read it or it is no JSON", async (t) => {
    const { flash, home } = machine(t, { FLASH_URL: "https://flash.example.com" });
    mkdirSync(home);
    const file = path.join(home, "credentials.json");
    writeFileSync(file, '{"servers":{}}', { mode: 0o600 });
    chmodSync(file, 0o644);
    const open = await flash("keys", "list");
    assert.equal(open.code, 2);
    assert.match(open.stderr, /can be read by others\.\n.*chmod 600/);
    chmodSync(file, 0o600);
    writeFileSync(file, "{");
    assert.match((await flash("keys", "list")).stderr, /is not JSON/);
  });
});
