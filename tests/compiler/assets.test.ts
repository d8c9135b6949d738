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
import { build, tempFolder, testPackage, writeIn, writeProject } from "./support.ts";

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
