/** What long work says that it is doing: to a person at a terminal, and to nobody else. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { writeProject } from "../support/temp.ts";
import { NO_TERMINAL, runInTerminal } from "../support/terminal.ts";
import { ENTRY, machine, type Machine } from "./cli.ts";

const FILES = {
  "api.ts": `import { Endpoint } from "runpod-flash";
export const add = Endpoint({ name: "add" }, (x: number, y: number) => x + y);`,
};

/** Clears the rest of a line. */
const ERASED = "\u001B[K";

function inTerminal({ cwd, env }: Machine, args: string[], more: NodeJS.ProcessEnv = {}) {
  const { CI: _, ...others } = env;
  return runInTerminal([process.execPath, ENTRY, ...args], { cwd, env: { ...others, ...more } });
}

describe("progress", () => {
  test(
    "of a build is one line of a terminal, and gone before the result",
    { skip: NO_TERMINAL },
    async (t) => {
      const one = machine(t);
      writeProject(one.cwd, FILES);
      const { code, text } = await inTerminal(one, ["build"]);
      assert.equal(code, 0, text);
      for (const words of ["reading declarations", "reading types", "bundling", "packing"]) {
        assert.ok(
          text.split(ERASED).some((part) => new RegExp(`^[⠇-⠿] ${words}`).test(part)),
          words,
        );
      }
      assert.match(text.split(ERASED).at(-1) ?? "", /^✓ built/);
      // NO_COLOR is set: the line moves, and has no colours.
      assert.ok(!text.replaceAll(ERASED, "").includes("\u001B["), text);
    },
  );

  test("is nothing in CI, with --json and with --quiet", { skip: NO_TERMINAL }, async (t) => {
    const one = machine(t);
    writeProject(one.cwd, FILES);
    const quiet: [args: string[], env?: NodeJS.ProcessEnv][] = [
      [["build"], { CI: "true" }],
      [["build", "--json"]],
      [["build", "--quiet"]],
    ];
    for (const [args, env] of quiet) {
      const { code, text } = await inTerminal(one, args, env);
      assert.equal(code, 0, text);
      assert.ok(
        !text.includes("\u001B") && !text.includes("bundling"),
        `${args.join(" ")} ${text}`,
      );
    }
  });

  test("leaves the words of a failure alone on their line", { skip: NO_TERMINAL }, async (t) => {
    const one = machine(t);
    writeProject(one.cwd, { "api.ts": "export const nothing = 1;\n" });
    const { code, text } = await inTerminal(one, ["build"]);
    assert.equal(code, 1);
    assert.match(text.split(ERASED).at(-1) ?? "", /^[^⠇-⠿]*No endpoints found/);
  });

  test("without a terminal is nothing", async (t) => {
    const one = machine(t);
    writeProject(one.cwd, FILES);
    const { code, stderr } = await one.flash("build");
    assert.equal(code, 0);
    assert.equal(stderr, "");
  });
});
