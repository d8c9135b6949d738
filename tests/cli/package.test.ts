/** Where this package came from, which is where a project that it makes gets it from. */

import assert from "node:assert/strict";
import path from "node:path";
import { describe, test } from "node:test";
import { ownSource } from "../../src/cli/package.ts";
import { temporaryFolder, writeFiles } from "../support/temp.ts";

describe("the package's source", () => {
  const rows: [installed: string, manifest: string | undefined, source: string | undefined][] = [
    [
      "from a tarball",
      '{"dependencies":{"runpod-flash":"file:../pack/a.tgz"}}',
      "file:../pack/a.tgz",
    ],
    ["from a folder", '{"devDependencies":{"runpod-flash":"file:pack"}}', "file:pack"],
    [
      "from a URL",
      '{"dependencies":{"runpod-flash":"https://x.dev/a.tgz"}}',
      "https://x.dev/a.tgz",
    ],
    ["from the registry", '{"dependencies":{"runpod-flash":"^0.1.0"}}', undefined],
    ["as a package of a package", '{"dependencies":{}}', undefined],
    ["globally", undefined, undefined],
  ];
  for (const [installed, manifest, expected] of rows) {
    test(`installed ${installed} is ${expected ?? "the registry"}`, (t) => {
      const folder = temporaryFolder(t);
      if (manifest !== undefined) writeFiles(folder, { "package.json": manifest });
      const source = ownSource(path.join(folder, "node_modules", "runpod-flash"));
      const isFile = expected?.startsWith("file:") === true;
      assert.equal(
        source,
        isFile ? `file:${path.resolve(folder, expected.slice("file:".length))}` : expected,
      );
    });
  }

  test("in a checkout is the checkout", (t) => {
    const folder = temporaryFolder(t);
    assert.equal(ownSource(folder), `file:${folder}`);
  });
});
