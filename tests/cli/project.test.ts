/** Which project, and under which name. */

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { openProject, projectRoot, validName } from "../../src/cli/project.ts";
import { temporaryFolder, writeFiles } from "../support/temp.ts";

test("the root is the nearest folder upward with flash.toml or package.json", (t) => {
  const base = temporaryFolder(t);
  writeFiles(base, {
    "one/package.json": "{}",
    "one/two/flash.toml": "",
    "one/two/three/x.ts": "",
  });
  assert.equal(projectRoot(path.join(base, "one/two/three")), path.join(base, "one/two"));
  assert.equal(projectRoot(path.join(base, "one")), path.join(base, "one"));
});

test("without either file the folder itself is the root", (t) => {
  const folder = path.join(temporaryFolder(t), "plain");
  mkdirSync(folder);
  assert.equal(projectRoot(folder), folder);
});

test("the app's name: flag, environment, flash.toml, folder", (t) => {
  const folder = path.join(temporaryFolder(t), "My Shop (2)");
  writeFiles(folder, { "package.json": "{}" });
  const open = (app?: string, env: NodeJS.ProcessEnv = {}): string =>
    openProject({ cwd: folder, env, app }).app;
  assert.equal(open(), "My-Shop-2");
  writeFileSync(path.join(folder, "flash.toml"), '[app]\nname = "from-file"\n');
  assert.equal(open(), "from-file");
  assert.equal(open(undefined, { FLASH_APP: "from-env" }), "from-env");
  assert.equal(open(undefined, { FLASH_APP: "  " }), "from-file");
  assert.equal(open("from-flag", { FLASH_APP: "from-env" }), "from-flag");
  assert.throws(() => open("no good"), { code: "INVALID_USAGE" });
});

test("any folder name becomes a name that an app can have", () => {
  for (const [folder, name] of [
    ["", "app"],
    ["___", "app"],
    ["flash", "app"],
    [".hidden", "hidden"],
    ["äöü shop", "shop"],
    ["a".repeat(100), "a".repeat(63)],
  ]) {
    assert.equal(validName(folder ?? ""), name);
  }
});
