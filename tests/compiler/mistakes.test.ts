/**
 * Projects with mistakes, one in each file of `mistakes/`, and all that the build says about them, frames
 * included. `-- expect --` is the last section; it is empty for a project that has nothing to be told.
 * FLASH_UPDATE=1 writes what is said now into the files: read the difference before it is committed.
 */

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { formatDiagnostics } from "../../src/compiler/compiler.ts";
import { FlashError } from "../../src/contract/errors.ts";
import { buildFolder, mistakesIn, mistakesOf, tempFolder, writeProject } from "./support.ts";

const CASES = join(import.meta.dirname, "mistakes");
const EXPECT = "-- expect --\n";
/** Texts that the seeds show to users, as far as a build can say them. */
const SEED_TEXTS = [
  "requires both 'method' and 'path'",
  "must be one of: GET, POST, PUT, DELETE, PATCH",
  "path must start with '/'",
  "Route conflict detected: POST /api/process defined twice",
  "Cannot import module 'user_service'",
  "Each queue-based function must have its own unique endpoint name.",
];

describe("mistakes", () => {
  for (const file of readdirSync(CASES).sort()) {
    test(file.replace(/\.txt$/, "").replaceAll("-", " "), async () => {
      const path = join(CASES, file);
      const [project = "", expected = ""] = readFileSync(path, "utf8").split(EXPECT);
      const said = await saidAbout(project);
      if (process.env.FLASH_UPDATE === "1") writeFileSync(path, project + EXPECT + said);
      else assert.equal(said, expected);
    });
  }

  test("the texts of the seeds are said, word for word", () => {
    const all = readdirSync(CASES).map((file) => readFileSync(join(CASES, file), "utf8"));
    const said = all.map((text) => text.split(EXPECT)[1]).join("\n");
    assert.deepEqual(
      SEED_TEXTS.filter((text) => !said.includes(text)),
      [],
    );
  });

  test("a folder without sources is no project", async () => {
    const folder = tempFolder();
    mkdirSync(join(folder, "docs"));
    const [mistake] = await mistakesIn(folder);
    assert.match(mistake?.message ?? "", /^Not a valid Flash project/);
    assert.match(mistake?.hint ?? "", /flash init/);
  });

  test("diagnostics have colours where they are wanted", async () => {
    const diagnostics = await mistakesOf('-- main.ts --\nconsole.log("hello");\n');
    assert.ok(formatDiagnostics(diagnostics, { color: true }).includes("\u001B[31m"));
    assert.ok(!formatDiagnostics(diagnostics).includes("\u001B["));
  });

  test("options from flash.toml are checked, and say where they come from", async () => {
    const [mistake] = await mistakesOf(
      `
-- api.ts --
import { Endpoint } from "runpod-flash";
export const a = Endpoint({ name: "a", workers: [0, 2] }, async (x: string) => x);
`,
      { overrides: (name) => (name === "a" ? { workers: [5, 1] } : undefined) },
    );
    assert.equal(mistake?.message, "workers min (5) cannot exceed max (1)");
    assert.match(mistake.hint ?? "", /\[endpoints\.a\] in flash\.toml/);
  });
});

/** The text for people, or the warnings of a build that succeeds. */
async function saidAbout(project: string): Promise<string> {
  const folder = writeProject(project);
  const text = await buildFolder(folder).then(
    ({ warnings }) => formatDiagnostics(warnings),
    (error: unknown) => {
      assert.ok(FlashError.is(error), String((error as Error).stack));
      return error.message;
    },
  );
  return text === "" ? "" : `${text.replaceAll(folder, "<project>")}\n`;
}
