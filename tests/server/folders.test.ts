/** Folders that are made with those above them. */

import assert from "node:assert/strict";
import { existsSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { makeFolder } from "../../src/server/control/folders.ts";
import { temporaryFolder } from "../support/temp.ts";

describe("makeFolder", () => {
  test("makes what is missing, with the mode, and leaves what is there", (t) => {
    const folder = path.join(temporaryFolder(t), "a", "b", "c");
    makeFolder(folder, 0o700);
    makeFolder(folder, 0o755);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    assert.equal(statSync(path.dirname(folder)).mode & 0o777, 0o700);
    makeFolder("/");
  });

  test("takes a link to a folder for that folder, and refuses a file in the way", (t) => {
    const folder = temporaryFolder(t);
    symlinkSync(folder, path.join(folder, "link"));
    makeFolder(path.join(folder, "link", "in"));
    assert.ok(existsSync(path.join(folder, "in")));
    writeFileSync(path.join(folder, "file"), "");
    assert.throws(() => makeFolder(path.join(folder, "file")), { code: "EEXIST" });
    assert.throws(() => makeFolder(path.join(folder, "file", "in")), { code: "ENOTDIR" });
    symlinkSync(path.join(folder, "nowhere"), path.join(folder, "broken"));
    assert.throws(() => makeFolder(path.join(folder, "broken")), { code: "EEXIST" });
  });

  test(
    "says that nothing can be made where nothing can be made",
    {
      skip: existsSync("/proc/self") ? false : "no /proc here",
    },
    () => {
      assert.throws(() => makeFolder("/proc/flash"), { code: "ENOENT" });
      assert.throws(() => makeFolder("/proc/flash/deeper"), { code: "ENOENT" });
    },
  );
});
