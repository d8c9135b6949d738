/** `flash update`, and word of a newer version: with a registry of our own. */

import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import { ownVersion } from "../../src/cli/package.ts";
import { compareVersions } from "../../src/cli/registry.ts";
import { run, type Finished } from "../support/program.ts";
import { ROOT, temporaryFolder, writeFiles } from "../support/temp.ts";
import { NO_TERMINAL, runInTerminal } from "../support/terminal.ts";
import { until } from "../support/until.ts";
import { ENTRY, machine } from "./cli.ts";

interface Registry {
  url: string;
  asked: string[];
  answer: { status: number; body: string };
}

async function registry(t: TestContext, latest = "99.0.0"): Promise<Registry> {
  const versions = { [ownVersion()]: {}, "0.0.1": {}, [latest]: {} };
  const body = JSON.stringify({ "dist-tags": { latest }, versions });
  const own: Registry = { url: "", asked: [], answer: { status: 200, body } };
  const server = createServer((request, response) => {
    own.asked.push(request.url ?? "");
    response.statusCode = own.answer.status;
    response.end(own.answer.body);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  own.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return own;
}

/** An installed copy of what has been built, beside a package manager that writes down what it is asked. */
function installed(t: TestContext, files: Record<string, string>) {
  const root = temporaryFolder(t, "flash-update");
  const project = path.join(root, "project");
  const own = path.join(project, "node_modules", "runpod-flash");
  writeFiles(project, files);
  mkdirSync(own, { recursive: true });
  for (const part of ["bin", "dist", "package.json"]) {
    cpSync(path.join(ROOT, part), path.join(own, part), { recursive: true });
  }
  const bin = path.join(root, "bin");
  const log = path.join(root, "asked");
  mkdirSync(bin);
  for (const name of ["npm", "pnpm"]) {
    const script = `#!/bin/sh\necho "${name} $*" in "$(pwd)" > '${log}'\n[ -z "$BROKEN" ] || { echo no room; exit 3; }\n`;
    writeFileSync(path.join(bin, name), script, { mode: 0o755 });
  }
  const { env } = machine(t, { PATH: `${bin}${path.delimiter}${process.env.PATH}` });
  return {
    project,
    asked: () => (existsSync(log) ? readFileSync(log, "utf8").trim() : ""),
    update: (settings: NodeJS.ProcessEnv, ...args: string[]): Promise<Finished> =>
      run([process.execPath, path.join(own, "bin", "flash.js"), "update", ...args], {
        cwd: project,
        env: { ...env, ...settings },
      }),
  };
}

describe("update", () => {
  test("installs the newest with the project's package manager, where the project has it", async (t) => {
    const { url } = await registry(t);
    const { update, asked, project } = installed(t, {
      "package.json": '{ "devDependencies": { "runpod-flash": "*" } }',
      "pnpm-lock.yaml": "",
    });
    const { code, stdout, stderr } = await update({ npm_config_registry: url });
    assert.equal(code, 0, stderr);
    assert.equal(asked(), `pnpm add -D runpod-flash@99.0.0 in ${project}`);
    assert.match(stdout, /✓ Updated runpod-flash \S+ -> 99\.0\.0/);
    assert.match(
      stderr,
      /Current version: \S+\nChecking npm for available versions\.\.\.\nInstalling/,
    );
  });

  test("goes back when it is asked to, and says that it does", async (t) => {
    const { url } = await registry(t);
    const { update, asked } = installed(t, { "package.json": "{}" });
    const { code, stderr } = await update({ npm_config_registry: url }, "--version", "v0.0.1");
    assert.equal(code, 0, stderr);
    assert.match(stderr, /0\.0\.1 is older than \S+ \(downgrade\)/);
    assert.match(asked(), /^npm install runpod-flash@0\.0\.1 in /);
  });

  test("a failing installer's own words are shown, with the command", async (t) => {
    const { url } = await registry(t);
    const { update } = installed(t, { "package.json": "{}" });
    const { code, stdout, stderr } = await update({ npm_config_registry: url, BROKEN: "1" });
    assert.equal(code, 4);
    assert.equal(stdout, "");
    assert.match(
      stderr,
      /npm install failed \(exit 3\):\n\s+no room\n\s+In .*: npm install runpod/,
    );
  });

  test("the registry is npm's: its variable, or a .npmrc", async (t) => {
    const own = await registry(t);
    const { update } = installed(t, {
      "package.json": "{}",
      ".npmrc": `# ours\nregistry=${own.url}/deep/\n`,
    });
    await update({ npm_config_registry: "", NPM_CONFIG_REGISTRY: "" });
    assert.deepEqual(own.asked, ["/deep/runpod-flash"]);
  });

  for (const [status, body, message] of [
    [500, "", "npm returned HTTP 500. Try again later."],
    [200, "<html>", "npm returned an unexpected response. Try again later."],
    [200, "{}", "npm response missing version info. Try again later."],
    [404, "", "runpod-flash is not published at this registry."],
  ] as const) {
    test(`an answer ${status} ${body} is: ${message}`, async (t) => {
      const own = await registry(t);
      own.answer = { status, body };
      const { flash } = machine(t, { npm_config_registry: own.url });
      const { code, stdout, stderr } = await flash("update");
      assert.notEqual(code, 0);
      assert.equal(stdout, "");
      assert.ok(stderr.includes(`✗ ${message}`), stderr);
    });
  }
});

describe("word of a newer version", () => {
  /** A machine in a terminal, and what it remembers of versions. */
  function remembering(t: TestContext, settings: NodeJS.ProcessEnv) {
    const config = temporaryFolder(t, "flash-config");
    const file = path.join(config, "runpod", "update_check.json");
    const { cwd, env } = machine(t, { CI: "", XDG_CONFIG_HOME: config, ...settings });
    return {
      memory: () =>
        existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Record<string, string>) : {},
      remember: (memory: Record<string, string>) =>
        writeFiles(path.dirname(file), { "update_check.json": JSON.stringify(memory) }),
      show: async (...args: string[]) =>
        (await runInTerminal([process.execPath, ENTRY, ...args], { cwd, env })).text,
      pipe: async (...args: string[]) =>
        (await run([process.execPath, ENTRY, ...args], { cwd, env })).stderr,
    };
  }

  const skip = NO_TERMINAL ?? false;
  const NOTICE = /A new version of runpod-flash is available: 99\.0\.0\n {2}Run 'flash update'/;

  test(
    "is asked for in the background, told at the end of the next command, once a day",
    { skip },
    async (t) => {
      const { url, asked } = await registry(t);
      const { show, memory } = remembering(t, { npm_config_registry: url });
      assert.doesNotMatch(await show("explain", "INTERNAL"), NOTICE);
      await until(async () => memory().latest_version === "99.0.0", { what: "the answer" });
      assert.match(await show("explain", "INTERNAL"), NOTICE);
      assert.doesNotMatch(await show("explain", "INTERNAL"), NOTICE);
      assert.equal(asked.length, 1);
    },
  );

  test(
    "a registry that does not answer is asked again tomorrow, and nobody hears of it",
    { skip },
    async (t) => {
      const { show, memory } = remembering(t, { npm_config_registry: "http://127.0.0.1:9" });
      assert.doesNotMatch(await show("explain", "INTERNAL"), /npm|fetch|ECONN/);
      await until(async () => memory().last_checked_utc !== undefined, { what: "the attempt" });
      assert.equal(memory().latest_version, undefined);
    },
  );

  test(
    "is silent in pipes, in CI, when it is turned off, and about older versions",
    { skip },
    async (t) => {
      const known = { last_checked_utc: new Date().toISOString(), latest_version: "99.0.0" };
      const quiet = remembering(t, {});
      quiet.remember(known);
      assert.doesNotMatch(await quiet.pipe("explain", "INTERNAL"), NOTICE);
      for (const settings of [{ CI: "1" }, { FLASH_NO_UPDATE_CHECK: "1" }]) {
        const one = remembering(t, settings);
        one.remember(known);
        assert.doesNotMatch(
          await one.show("explain", "INTERNAL"),
          NOTICE,
          JSON.stringify(settings),
        );
      }
      const old = remembering(t, {});
      old.remember({ ...known, latest_version: "0.0.1" });
      assert.doesNotMatch(await old.show("explain", "INTERNAL"), /new version/);
    },
  );
});

test("versions are ordered as semver orders them", () => {
  const ordered = [
    "0.1.0-alpha",
    "0.1.0-alpha.1",
    "0.1.0-alpha.beta",
    "0.1.0-beta.2",
    "0.1.0-beta.11",
    "0.1.0-rc.1",
    "0.1.0",
    "0.1.10",
    "0.2.0",
    "1.0.0+build",
  ];
  const shuffled = [...ordered].reverse();
  assert.deepEqual(shuffled.sort(compareVersions), ordered);
  assert.equal(compareVersions("v1.0.0", "1.0.0+x"), 0);
});
