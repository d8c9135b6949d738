/** The source watcher, on real files. */

import assert from "node:assert/strict";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { SourceWatcher } from "../../src/dev/watch.ts";
import { temporaryFolder, writeFiles } from "../support/temp.ts";
import { until } from "../support/until.ts";

interface Watched {
  root: string;
  batches: string[][];
  watcher: SourceWatcher;
  /** True when a batch names the file. */
  saw: (name: string) => boolean;
}

async function watchProject(t: TestContext, files: Record<string, string>): Promise<Watched> {
  const root = temporaryFolder(t);
  writeFiles(root, files);
  const batches: string[][] = [];
  const watcher = await SourceWatcher.open({
    root,
    onChange: async (changed) => {
      batches.push(changed.map((file) => path.relative(root, file)));
    },
    onProblem: (error) => assert.fail(error),
  });
  t.after(() => watcher.close());
  return { root, batches, watcher, saw: (name) => batches.flat().includes(name) };
}

test("reports a saved file, at the top and in a sub-folder", async (t) => {
  const { root, saw } = await watchProject(t, { "a.ts": "1", "deep/er/b.ts": "1" });
  writeFileSync(path.join(root, "a.ts"), "2");
  await until(() => saw("a.ts"), { what: "a.ts" });
  writeFileSync(path.join(root, "deep/er/b.ts"), "2");
  await until(() => saw(path.join("deep", "er", "b.ts")), { what: "b.ts" });
});

test("several writes close together are one batch", async (t) => {
  const { root, batches } = await watchProject(t, { "a.ts": "1", "b.ts": "1" });
  for (const text of ["2", "3", "4"]) {
    writeFileSync(path.join(root, "a.ts"), text);
    writeFileSync(path.join(root, "b.ts"), text);
  }
  await until(() => batches.length > 0, { what: "a batch" });
  assert.deepEqual(batches[0]?.sort(), ["a.ts", "b.ts"]);
});

test("sees files in a folder that is made later, even one that starts empty", async (t) => {
  const { root, saw } = await watchProject(t, { "a.ts": "1" });
  mkdirSync(path.join(root, "later"));
  writeFileSync(path.join(root, "a.ts"), "2");
  await until(() => saw("a.ts"), { what: "the batch that holds the new folder" });
  writeFileSync(path.join(root, "later", "c.ts"), "1");
  await until(() => saw(path.join("later", "c.ts")), { what: "c.ts" });
});

test("reports a removed file, and watches a folder that comes back", async (t) => {
  const { root, saw, batches } = await watchProject(t, { "gone.ts": "1", "sub/d.ts": "1" });
  rmSync(path.join(root, "gone.ts"));
  await until(() => saw("gone.ts"), { what: "gone.ts" });
  rmSync(path.join(root, "sub"), { recursive: true });
  await until(() => saw("sub"), { what: "sub" });
  batches.length = 0;
  writeFiles(root, { "sub/d.ts": "2" });
  await until(() => saw(path.join("sub", "d.ts")), { what: "sub/d.ts" });
});

test("watches a folder that another one was put in the place of, as a checkout does", async (t) => {
  const { root, saw, batches } = await watchProject(t, { "sub/d.ts": "1", "sub/deep/e.ts": "1" });
  const [file, deep] = [path.join("sub", "d.ts"), path.join("sub", "deep", "e.ts")];
  rmSync(path.join(root, "sub"), { recursive: true });
  writeFiles(root, { "sub/d.ts": "2", "sub/deep/e.ts": "2" });
  await until(() => saw(file) && saw(deep), { what: "both files" });
  batches.length = 0;
  writeFileSync(path.join(root, deep), "3");
  writeFileSync(path.join(root, file), "3");
  await until(() => saw(file) && saw(deep), { what: "both again" });
});

test("does not look into node_modules, .flash and .git", async (t) => {
  const { root, batches, saw } = await watchProject(t, {
    "a.ts": "1",
    "node_modules/x/index.js": "1",
    ".flash/out.js": "1",
    ".git/HEAD": "1",
  });
  writeFiles(root, { "node_modules/x/index.js": "2", ".flash/out.js": "2", ".git/HEAD": "2" });
  writeFileSync(path.join(root, "a.ts"), "2");
  await until(() => saw("a.ts"), { what: "a.ts" });
  assert.deepEqual([...new Set(batches.flat())], ["a.ts"]);
});

test("files of editors are no sources, and what comes and goes while a file is saved is no change", async (t) => {
  const { root, batches, saw } = await watchProject(t, { "a.ts": "1", "sub/b.ts": "1" });
  const lasting = [
    "a.ts~",
    ".a.ts.swp",
    ".a.ts.swx",
    "#a.ts#",
    "4913",
    "sedAb12Cd",
    "a.ts___jb_tmp___",
  ];
  for (const name of lasting) writeFileSync(path.join(root, name), "x");
  symlinkSync("somebody@host.1234:1", path.join(root, ".#a.ts"));
  // Gone before the watcher can have looked.
  for (const name of ["a.ts.tmp-4711", path.join("sub", "b.ts.new")]) {
    writeFileSync(path.join(root, name), "2");
    renameSync(path.join(root, name), path.join(root, name.replace(/\.(tmp.*|new)$/, "")));
  }
  await until(() => saw("a.ts") && saw(path.join("sub", "b.ts")), { what: "both" });
  writeFileSync(path.join(root, "last.ts"), "1");
  await until(() => saw("last.ts"), { what: "last.ts" });
  const all = new Set(batches.flat());
  assert.deepEqual([...all].sort(), ["a.ts", "last.ts", path.join("sub", "b.ts")]);
});

test("says nothing after it was closed", async (t) => {
  const { root, batches, watcher } = await watchProject(t, { "a.ts": "1" });
  await watcher.close();
  await watcher.close();
  const other = await watchProject(t, { "marker.ts": "1" });
  writeFileSync(path.join(root, "a.ts"), "2");
  writeFileSync(path.join(other.root, "marker.ts"), "2");
  await until(() => other.saw("marker.ts"), { what: "the other watcher's event" });
  assert.deepEqual(batches, []);
});
