/** Files that code reads from beside itself, while it is described and in the artifact. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createReadStream, readFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { describe, test } from "node:test";
import { createGunzip } from "node:zlib";
import { unpackTar } from "modern-tar/fs";
import { Project } from "../../src/compiler/compiler.ts";
import { build, mistakesOf, tempFolder, testPackage, writeIn, writeProject } from "./support.ts";

const PROJECT = `
-- workers/names.json --
{ "name": "from-a-file" }
-- workers/data/words.txt --
one two
-- workers/ask.ts --
import { readFileSync } from "node:fs";
import { Endpoint } from "runpod-flash";
const { name } = JSON.parse(readFileSync(new URL("./names.json", import.meta.url), "utf8")); export const ask = Endpoint({ name }, async () =>
  readFileSync(new URL("./data/words.txt", import.meta.url), "utf8"));
`;

describe("included files", () => {
  const FILES = `
-- .gitignore --
*.secret
-- data/a.txt --
a
-- data/b.secret --
b
-- data/.env --
KEY=1
-- top.sql --
select 1
-- api.ts --
import { Endpoint } from "runpod-flash";
export const f = Endpoint({ name: "f" }, async () => 1);
`;

  test("keep their paths, and count for the fingerprint", async () => {
    const folder = writeProject(FILES);
    const project = new Project(
      { root: folder, app: "demo", include: () => ["data/", "*.sql", "nothing/"] },
      testPackage(),
    );
    try {
      const before = await project.build();
      const paths = before.entries.map(({ path }) => path);
      assert.deepEqual(
        paths.filter((path) => path.startsWith("data/") || path.endsWith(".sql")),
        ["data/a.txt", "top.sql"],
      );
      assert.deepEqual(
        before.warnings.map(({ message }) => message),
        ["The include pattern 'nothing/' matches no file."],
      );
      writeIn(folder, "data/a.txt", "other\n");
      const after = await project.rebuild(["data/a.txt"]);
      assert.notEqual(after.manifest.fingerprint, before.manifest.fingerprint);
      assert.notEqual(after.artifact.digest, before.artifact.digest);
    } finally {
      await project.close();
    }
  });

  test("cannot take the place of the artifact's own", async () => {
    const include = (): string[] => ["worker.mjs"];
    const [mistake] = await mistakesOf(`${FILES}-- worker.mjs --\nexport {};\n`, { include });
    assert.match(mistake?.message ?? "", /^'worker\.mjs' cannot be included/);
  });
});

describe("files beside the code", () => {
  test("are read while the project is described, and lie beside the bundle", async () => {
    const result = await build(PROJECT);
    assert.deepEqual(result.warnings, []);
    assert.deepEqual(
      result.manifest.endpoints.map(({ name, functions }) => [name, functions.length]),
      [["from-a-file", 1]],
    );
    const folder = tempFolder();
    await pipeline(createReadStream(result.artifactFile), createGunzip(), unpackTar(folder));
    const own = join(folder, "endpoints/from-a-file");
    assert.equal(readFileSync(join(own, "data/words.txt"), "utf8"), "one two\n");
    // The bundle reads names.json when it loads.
    execFileSync(process.execPath, [join(own, "index.mjs")], { stdio: "pipe" });
  });

  test("change the fingerprint, and are seen by a rebuild", async () => {
    const folder = writeProject(PROJECT);
    const project = new Project({ root: folder, app: "demo" }, testPackage());
    try {
      const before = await project.build();
      writeIn(folder, "workers/data/words.txt", "three\n");
      const after = await project.rebuild(["workers/data/words.txt"]);
      assert.notEqual(after.manifest.fingerprint, before.manifest.fingerprint);
    } finally {
      await project.close();
    }
  });
});
