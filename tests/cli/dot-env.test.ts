/** `.env` and the commands: what it sets, what it never overrides, and where it never goes. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { readSurroundings } from "../../src/cli/surroundings.ts";
import { temporaryFolder, writeFiles } from "../support/temp.ts";
import { freePort } from "../support/flash.ts";
import { machine } from "./cli.ts";

interface Config {
  settings: { key: string; value: unknown; origin: string }[];
}

describe("variables of .env", () => {
  test("add to the shell's and override none, not even an empty one", (t) => {
    const folder = temporaryFolder(t);
    writeFiles(folder, { ".env": "A=1\nB=2\nC=3\nFLASH_PORT=9000\nFLASH_HOST=0.0.0.0\n" });
    const { env, shellEnv, dotEnv } = readSurroundings(folder, { B: "kept", C: "" });
    assert.deepEqual(shellEnv, { B: "kept", C: "" });
    assert.deepEqual(dotEnv, { A: "1", FLASH_PORT: "9000", FLASH_HOST: "0.0.0.0" });
    assert.deepEqual(env, { A: "1", B: "kept", C: "" }, "the dev server's are not everybody's");
  });

  test("settle app, environment, server and key; flags and shell win", async (t) => {
    const { cwd, flash } = machine(t, { FLASH_ENV: "shell" });
    writeFiles(cwd, {
      "package.json": "{}",
      ".env":
        "FLASH_APP=from-file\nFLASH_ENV=file\nFLASH_URL=http://127.0.0.1:9\nFLASH_API_KEY=k\nFLASH_PORT=9001\n",
    });
    const { stdout, stderr } = await flash("config", "--json");
    const origins = (text: string): Record<string, string> =>
      Object.fromEntries(
        (JSON.parse(text) as Config).settings.map((one) => [
          one.key,
          `${String(one.value)} from ${one.origin}`,
        ]),
      );
    const found = origins(stdout || stderr);
    assert.equal(found["app"], "from-file from .env: FLASH_APP");
    assert.equal(found["environment"], "shell from FLASH_ENV");
    assert.equal(found["target"], "http://127.0.0.1:9 from .env: FLASH_URL");
    assert.equal(found["key"], "set from .env: FLASH_API_KEY");
    assert.equal(found["run port"], "9001 from .env: FLASH_PORT");
    assert.equal(found["server port"], "4747 from default");
    const flagged = origins((await flash("config", "--json", "--app", "flag")).stdout);
    assert.equal(flagged["app"], "flag from --app");
    // The server that .env names is the one that commands ask.
    const { code, stderr: said } = await flash("status", "--json");
    assert.equal(code, 4, said);
    assert.match(said, /127\.0\.0\.1:9/);
  });

  test(
    "do not reach the server that a command starts",
    { skip: process.platform !== "linux" && "needs /proc" },
    async (t) => {
      const port = String(await freePort());
      const { cwd, home, flash } = machine(t, { FLASH_PORT: port });
      writeFiles(cwd, {
        "package.json": "{}",
        ".env": "PLANTED=canary-value\n",
      });
      const { code, stderr } = await flash("server", "start");
      assert.equal(code, 0, stderr);
      const { pid } = JSON.parse(readFileSync(path.join(home, "server.json"), "utf8")) as {
        pid: number;
      };
      assert.ok(!readFileSync(`/proc/${pid}/environ`, "utf8").includes("PLANTED"));
    },
  );
});
