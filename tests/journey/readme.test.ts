/**
 * The README's own lines, pasted into a shell by somebody who has only the package: from nothing to a
 * deployed, called, changed, rolled back and removed app. The lines are read from the README, so it
 * cannot go stale. Needs the npm registry for the package's own dependencies.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { Sandbox } from "../support/flash.ts";
import { run, type Finished } from "../support/program.ts";
import { ROOT, temporaryFolder } from "../support/temp.ts";

/** The lines below `<!-- transcript -->`, without comments. */
function transcript(): string[] {
  const readme = readFileSync(path.join(ROOT, "README.md"), "utf8");
  const block = /<!-- transcript -->\s+```sh\n([^`]+)```/.exec(readme)?.[1];
  assert.ok(block, "the README has a transcript");
  return block
    .trim()
    .split("\n")
    .map((line) => line.replace(/\s{2,}#.*$/, ""));
}

/** What each line has to print, by how it begins; lines that are there twice take turns. */
const PRINTS: readonly (readonly [line: string, output: RegExp])[] = [
  ["npx runpod-flash init demo", /Project Created|Next steps|cd demo/],
  ["npx flash build", /✓ built demo {2}3 endpoints/],
  ["npx flash deploy", /✓ deployed to production[^]*lb_worker[^]*curl /],
  ["npx flash status", /demo \/ production[^]*lb_worker/],
  ["npx flash call GET /health", /"status":\s*"healthy"/],
  ["npx flash call cpu_worker", /hello/],
  ["sed ", /^$/],
  [
    "npx flash deploy --plan",
    /= unchanged +cpu_worker[^]*~ update +lb_worker +code[^]*a new release/,
  ],
  ["npx flash deploy", /✓ deployed[^]*~ update +lb_worker +code/],
  ["npx flash call GET /health", /"status":\s*"fine"/],
  ["npx flash rollback", /✓ production runs the build of release 1 again/],
  ["npx flash call GET /health", /"status":\s*"healthy"/],
  ["npx flash builds list", /active in production[^]*kept for production/],
  ["npx flash undeploy", /✓ deleted cpu_worker/],
  ["npx flash app delete", /✓ deleted app demo/],
  ["npx flash server stop", /✓ stopped/],
];

test("the README's lines take a fresh user from nothing to a release, back, and away again", async (t) => {
  const sandbox = await Sandbox.open(t);
  const folder = temporaryFolder(t, "flash-readme");
  const { CI: _, ...env } = sandbox.env;
  const shell = (cwd: string, line: string): Promise<Finished> =>
    run(["bash", "-c", line], { cwd, env });
  const packed = await run(["npm", "pack", "--json", "--pack-destination", folder], {
    cwd: ROOT,
    env,
  });
  const [{ filename }] = JSON.parse(packed.stdout) as [{ filename: string }];
  const tarball = path.join(folder, filename);
  const empty = temporaryFolder(t, "flash-readme-empty");

  const lines = transcript();
  assert.equal(lines.length, PRINTS.length, lines.join("\n"));
  let cwd = empty;
  for (const [index, line] of lines.entries()) {
    const [start, output] = PRINTS[index] ?? assert.fail();
    assert.ok(line.startsWith(start), `${line}\nshould begin with ${start}`);
    const [first] = line.split(" && ");
    // What `npx` would fetch from the registry, were the package published.
    const asPublished = line.replace("npx runpod-flash", `npx --yes file:${tarball}`);
    const { code, stdout, stderr } = await shell(cwd, asPublished);
    const said = `$ ${line}\n${stdout}${stderr}`;
    assert.equal(code, 0, said);
    assert.match(stdout + stderr, output, said);
    if (line.includes("&& cd demo")) cwd = path.join(empty, "demo");
    await helpKnows((first ?? line).replace("runpod-flash", "flash"));
  }

  /** `--help` tells of the command and of each of its flags: nobody has to guess. */
  async function helpKnows(line: string): Promise<void> {
    const words = line.split(" ");
    if (words[1] !== "flash") return;
    const flags = words.filter((word) => word.startsWith("--"));
    const isGroup = ["app", "builds", "server"].includes(words[2] ?? "");
    const command = words.slice(2, isGroup ? 4 : 3).join(" ");
    const { code, stdout } = await shell(cwd, `npx flash ${command} --help`);
    assert.equal(code, 0, command);
    assert.match(stdout, /Examples:/);
    for (const flag of flags) assert.ok(stdout.includes(flag), `${command} --help knows ${flag}`);
    const { stdout: all } = await shell(cwd, "npx flash --help");
    assert.match(all, new RegExp(`^  ${words[2]}\\b`, "m"));
  }
});
