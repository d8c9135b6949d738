/** The server's own log stays within a bound while the server runs. */

import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { rotation } from "../../src/cli/server-log.ts";
import { temporaryFolder } from "../support/temp.ts";

test("a full log is put aside once, and the open file begins anew", (t) => {
  const file = path.join(temporaryFolder(t), "server.log");
  const fd = openSync(file, "a");
  t.after(() => closeSync(fd));
  const tell = rotation(file, { fd, maxBytes: 1000 });
  for (let line = 0; line < 150; line++) {
    const text = `line ${String(line).padStart(4, "0")}\n`;
    writeSync(fd, text);
    tell(text.length);
  }
  const lines = (name: string): string[] => readFileSync(name, "utf8").trim().split("\n");
  const kept = [...lines(`${file}.1`), ...lines(file)];
  assert.equal(kept.length, 150);
  assert.deepEqual([kept[0], kept.at(-1)], ["line 0000", "line 0149"]);
  assert.ok(readFileSync(file).length < 1000);
});

test("what is no log of this home is left alone", (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, "other.log");
  const fd = openSync(file, "a");
  t.after(() => closeSync(fd));
  const tell = rotation(path.join(folder, "server.log"), { fd, maxBytes: 10 });
  for (let line = 0; line < 5; line++) {
    writeSync(fd, "a line of some length\n");
    tell(22);
  }
  assert.equal(readFileSync(file, "utf8").trim().split("\n").length, 5);
});
