/** `flash server unit`: a unit that systemd accepts, whose command starts a server that stops as asked. */

import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { freePort } from "../support/flash.ts";
import { Program, run } from "../support/program.ts";
import { until } from "../support/until.ts";
import { machine } from "./cli.ts";

const hasSystemd = existsSync("/usr/bin/systemd-analyze");

/** The values of a key, unquoted as systemd does it. */
function valuesOf(unit: string, key: string): string[] {
  return unit
    .split("\n")
    .filter((line) => line.startsWith(`${key}=`))
    .map((line) => line.slice(key.length + 1));
}

function words(text: string): string[] {
  const found = text.match(/"(?:[^"\\]|\\.)*"|\S+/g) ?? [];
  return found.map((word) =>
    word
      .replace(/^"(.*)"$/, "$1")
      .replaceAll(/\\(.)/g, "$1")
      .replaceAll("%%", "%")
      .replaceAll("$$", "$"),
  );
}

describe("the unit", () => {
  test(
    "passes systemd's own check, and leaves little open",
    { skip: hasSystemd ? false : "no systemd-analyze here" },
    async (t) => {
      const one = machine(t);
      for (const args of [[], ["--user", "root", "--home", "/srv/my flash", "--host", "0.0.0.0"]]) {
        const { stdout, code, stderr } = await one.flash("server", "unit", ...args);
        assert.equal(code, 0, stderr);
        const file = path.join(one.cwd, "flash.service");
        writeFileSync(file, stdout);
        const verified = await run(["systemd-analyze", "verify", file], one);
        assert.equal(verified.code, 0, verified.stderr);
        assert.doesNotMatch(verified.stderr, /flash\.service/);
        const security = await run(
          ["systemd-analyze", "security", "--offline=yes", "--threshold=50", file],
          one,
        );
        assert.equal(security.code, 0, security.stdout.split("\n").at(-2));
      }
    },
  );

  test("starts a server that SIGTERM ends with 0", async (t) => {
    const port = await freePort();
    const one = machine(t);
    const home = path.join(one.cwd, "state of $flash 100%");
    const args = ["--user", "nobody", "--home", home, "--port", String(port)];
    const { stdout } = await one.flash("server", "unit", ...args);
    const [command = ""] = valuesOf(stdout, "ExecStart");
    const [environment = ""] = valuesOf(stdout, "Environment");
    const [assignment = ""] = words(environment);
    assert.equal(assignment, `FLASH_HOME=${home}`);
    assert.ok(Number(valuesOf(stdout, "TimeoutStopSec")[0]) > 30);
    const server = Program.start(t, words(command) as [string], {
      cwd: "/",
      env: { PATH: one.env.PATH, FLASH_HOME: home },
    });
    await until(async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok, {
      what: "the server",
    });
    const { code } = await server.stop("SIGTERM");
    assert.equal(code, 0, server.stderr);
  });

  test("of a folder without an owner is refused", async (t) => {
    const { code, stderr } = await machine(t).flash("server", "unit", "--home", "/srv/flash");
    assert.equal(code, 2);
    assert.match(stderr, /--home needs --user/);
  });
});
