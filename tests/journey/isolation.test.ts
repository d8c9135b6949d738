/** Apps, environments and homes do not touch each other. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Sandbox } from "../support/flash.ts";
import { ROOT } from "../support/temp.ts";
import { adder, takesOver } from "./projects.ts";

async function marker(sandbox: Sandbox, url: string): Promise<unknown> {
  const response = await sandbox.fetch(`${url}/who`);
  return response.ok ? ((await response.json()) as { marker: string }).marker : response.status;
}

test("two apps and two environments with the same endpoint name stay apart", async (t) => {
  const sandbox = await Sandbox.open(t);
  const projects = {
    a: sandbox.project(adder("api", "app a"), "app-a"),
    staging: sandbox.project(adder("api", "app a, staging"), "app-a"),
    b: sandbox.project(adder("api", "app b"), "app-b"),
  };
  const a = (await sandbox.deploy(projects.a, "--env", "production")).endpoint("api");
  const staging = (await sandbox.deploy(projects.staging, "--env", "staging")).endpoint("api");
  const b = (await sandbox.deploy(projects.b)).endpoint("api");
  assert.equal(new Set([a.id, staging.id, b.id]).size, 3);
  assert.equal(await marker(sandbox, a.url), "app a");
  assert.equal(await marker(sandbox, staging.url), "app a, staging");
  assert.equal(await marker(sandbox, b.url), "app b");

  const removed = await sandbox.flash(
    projects.staging,
    "undeploy",
    "--all",
    "--env",
    "staging",
    "--force",
  );
  assert.equal(removed.code, 0, removed.stderr);
  assert.equal(await marker(sandbox, staging.url), 404);
  assert.equal(await marker(sandbox, a.url), "app a");
  assert.equal(await marker(sandbox, b.url), "app b");
});

test("deploying again keeps id and URL, and serves the new code", async (t) => {
  const sandbox = await Sandbox.open(t);
  const first = (await sandbox.deploy(sandbox.project(adder("api", "old"), "same"))).endpoint(
    "api",
  );
  assert.equal(await marker(sandbox, first.url), "old");
  const next = sandbox.project(adder("api", "new"), "same");
  const second = await takesOver(async () => (await sandbox.deploy(next)).endpoint("api"), {
    marker: "new",
    ask: () => marker(sandbox, first.url),
  });
  assert.deepEqual([second.id, second.url], [first.id, first.url]);
});

test("a rollback brings an earlier build back in one step", async (t) => {
  const sandbox = await Sandbox.open(t);
  const old = sandbox.project(adder("api", "old"), "same");
  const { url } = (await sandbox.deploy(old)).endpoint("api");
  const early = await sandbox.flash(old, "rollback");
  assert.notEqual(early.code, 0);
  assert.match(early.stderr, /nothing to go back to/);
  const ask = (): Promise<unknown> => marker(sandbox, url);
  const next = sandbox.project(adder("api", "new"), "same");
  await takesOver(() => sandbox.deploy(next), { marker: "new", ask });
  const rollback = async (...words: string[]): Promise<void> => {
    const { code, stderr } = await sandbox.flash(old, "rollback", ...words);
    assert.equal(code, 0, stderr);
  };
  await takesOver(() => rollback("--json"), { marker: "old", ask });
  await takesOver(() => rollback("2"), { marker: "new", ask });

  const { stdout } = await sandbox.flash(old, "rollback", "--list", "--json");
  const { releases } = JSON.parse(stdout) as { releases: { version: number; state: string }[] };
  assert.deepEqual(
    releases.map(({ version, state }) => `${version} ${state}`),
    ["4 ACTIVE", "3 SUPERSEDED", "2 SUPERSEDED", "1 SUPERSEDED"],
  );
  const unknown = await sandbox.flash(old, "rollback", "99");
  assert.match(unknown.stderr, /has no release '99'/);

  const explained = await sandbox.flash(old, "scale", "explain", "api");
  assert.equal(explained.code, 0, explained.stderr);
  assert.match(explained.stdout, /0 → 1/);
});

test("two homes never see each other", async (t) => {
  const one = await Sandbox.open(t);
  const other = await Sandbox.open(t);
  const { url } = (await one.deploy(one.project(adder("api", "one")))).endpoint("api");
  await other.deploy(other.project(adder("api", "other")));
  assert.notEqual(one.key, other.key);
  assert.equal(await marker(other, url), 401, "the other home's key opens nothing here");
  const apps = await other.flash(ROOT, "status", "--app", "nothing-here", "--json");
  assert.notEqual(apps.code, 0);
});
