/** The nearest `.env`: which one it is, and what is in it. */

import assert from "node:assert/strict";
import { chownSync, mkdirSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { nearestDotEnv } from "../../src/kit/dot-env.ts";
import { temporaryFolder, writeFiles } from "../support/temp.ts";

describe("the nearest .env", () => {
  test("has quotes and comments, as Node reads them", (t) => {
    const folder = temporaryFolder(t);
    writeFiles(folder, { ".env": 'A=1\n# no\nB="two words" # yes\nEMPTY=\n' });
    assert.deepEqual(nearestDotEnv(folder), {
      file: path.join(folder, ".env"),
      variables: { A: "1", B: "two words", EMPTY: "" },
    });
  });

  test("is looked for upward, and the first one is the only one", (t) => {
    const folder = temporaryFolder(t);
    writeFiles(folder, { ".env": "A=far\nB=far\n", "one/.env": "A=near\n", "one/two/x.ts": "" });
    assert.deepEqual(nearestDotEnv(path.join(folder, "one/two"))?.variables, { A: "near" });
  });

  test("is a file: folders of that name and missing folders are passed by", (t) => {
    const folder = temporaryFolder(t);
    writeFiles(folder, { ".env": "A=1\n" });
    mkdirSync(path.join(folder, "one", ".env"), { recursive: true });
    assert.deepEqual(nearestDotEnv(path.join(folder, "one"))?.variables, { A: "1" });
    assert.deepEqual(nearestDotEnv(path.join(folder, "gone"))?.variables, { A: "1" });
  });

  const isRoot = process.getuid?.() === 0;
  test("of somebody else counts in its own folder only", { skip: !isRoot && "needs root" }, (t) => {
    const folder = temporaryFolder(t);
    writeFiles(folder, { ".env": "FLASH_URL=https://evil.example\n", "mine/x.ts": "" });
    chownSync(path.join(folder, ".env"), 12_345, 12_345);
    assert.equal(nearestDotEnv(path.join(folder, "mine")), undefined);
    assert.deepEqual(Object.keys(nearestDotEnv(folder)?.variables ?? {}), ["FLASH_URL"]);
  });
});
