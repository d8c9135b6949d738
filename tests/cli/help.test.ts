/** Help, versions and mistakes in a command line. */

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import type { CommandEntry } from "../../src/cli/command.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { columns } from "../../src/cli/output.ts";
import type { Problem } from "../../src/contract/errors.ts";
import { ROOT } from "../support/temp.ts";
import { machine } from "./cli.ts";

/** `deploy`, `server start` … with their definitions. */
function everyCommand(entries: readonly CommandEntry[] = COMMANDS, above: string[] = []) {
  return entries.flatMap((entry): { words: string[]; entry: CommandEntry }[] => {
    const words = [...above, entry.name];
    return [{ words, entry }, ...everyCommand(entry.commands ?? [], words)];
  });
}

describe("help", () => {
  for (const { words, entry } of everyCommand()) {
    const line = ["flash", ...words].join(" ");
    test(`'${line} --help' has examples, every option, and lines of at most 80 columns`, async (t) => {
      const { flash } = machine(t);
      const { code, stdout, stderr } = await flash(...words, "--help");
      assert.equal(code, 0);
      assert.equal(stderr, "");
      assert.match(stdout, new RegExp(`^Usage: ${line}`));
      assert.ok(stdout.indexOf("Examples:") < stdout.indexOf("Options:"), "examples come first");
      assert.match(stdout, new RegExp(`Examples:\n {2}\\S*.*${words[0]}`));
      const definition = await entry.load?.();
      for (const [flags] of definition?.options ?? []) assert.ok(stdout.includes(flags), flags);
      for (const flag of ["--json", "--quiet", "--verbose"]) assert.ok(stdout.includes(flag), flag);
      const long = stdout.split("\n").filter((text) => text.length > 80);
      assert.deepEqual(long, []);
    });
  }

  test("no arguments, 'help' and '--help' explain the program and its exit codes", async (t) => {
    const { flash } = machine(t);
    const [none, word, flag] = await Promise.all([flash(), flash("help"), flash("--help")]);
    assert.deepEqual([none.code, word.code, flag.code], [0, 0, 0]);
    assert.equal(none.stdout, flag.stdout);
    assert.equal(word.stdout, flag.stdout);
    assert.match(flag.stdout, /Exit codes:\n\s+0 +done/);
    for (const { name } of COMMANDS) assert.match(flag.stdout, new RegExp(`\n  ${name}`));
  });

  test("'help deploy' is 'deploy --help', and 'dev' is 'run'", async (t) => {
    const { flash } = machine(t);
    assert.equal((await flash("help", "deploy")).stdout, (await flash("deploy", "--help")).stdout);
    assert.equal((await flash("dev", "--help")).stdout, (await flash("run", "--help")).stdout);
  });

  test("a group without a command explains its commands", async (t) => {
    const { code, stdout } = await machine(t).flash("server");
    assert.equal(code, 0);
    assert.match(stdout, /start .*\n\s+stop .*\n\s+status /);
  });
});

test("--version and -v name the package's version", async (t) => {
  const { flash } = machine(t);
  const { version } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8")) as {
    version: string;
  };
  for (const flag of ["--version", "-v"]) {
    assert.deepEqual(await flash(flag), {
      code: 0,
      signal: null,
      stdout: `Runpod Flash CLI v${version}\n`,
      stderr: "",
    });
  }
});

describe("mistakes", () => {
  for (const [args, message, hint] of [
    [["delpoy"], "Unknown command 'delpoy'", "Did you mean deploy?"],
    [["server", "strat"], "Unknown command 'strat'", "Did you mean start?"],
    [["deploy", "--tagret", "x"], "Unknown option '--tagret'", "Did you mean --target?"],
    [["deploy", "--env"], "Option '-e, --env <name>' argument missing", "'flash deploy --help'"],
    [["token", "extra"], "Too many arguments for 'token'", "'flash token --help'"],
    [
      ["deploy", "--app", "--env"],
      "--app needs a value, and '--env' is an option.",
      "'flash deploy",
    ],
    [["status", "--port", "70000"], "A port is a whole number", "'flash status --help'"],
    [["logs", "--tail", "many"], "--tail is a number of lines", "'flash logs --help'"],
    [["app", "delete", "", "--yes"], "The argument 'name' is empty.", "variable of the shell"],
    [["init", "a\u0007b"], 'The name "a\\u0007b" holds control characters.', "'flash init --help'"],
    [
      ["server", "start", "--durability", "none"],
      "--durability is 'strict', 'relaxed' or 'memory'",
      "",
    ],
    [
      ["undeploy"],
      "specify a name, use --all/--interactive, or run flash undeploy list",
      "'flash undeploy --help'",
    ],
    [
      ["undeploy", "api", "--all"],
      "specify a name or --all, --interactive or --cleanup-stale, not several",
      "",
    ],
    [["build", "--output", "../x"], "--output is the name of a file inside .flash/", ""],
    [["deploy", "--app", "a b"], "The app's name may hold letters", "--app"],
  ] as const) {
    test(`'flash ${args.join(" ")}' ends with 2 and says what to do`, async (t) => {
      const { code, stdout, stderr } = await machine(t).flash(...args);
      assert.equal(code, 2, stderr);
      assert.equal(stdout, "");
      assert.ok(stderr.startsWith(`✗ ${message}`), stderr);
      assert.ok(stderr.includes(hint), stderr);
    });
  }

  test("with --json the error is one problem document, the last line of stderr", async (t) => {
    const { code, stdout, stderr } = await machine(t).flash("status", "--json", "--port", "x");
    assert.equal(code, 2);
    assert.equal(stdout, "");
    const problem = JSON.parse(stderr.trimEnd().split("\n").at(-1) ?? "") as Problem;
    assert.equal(problem.code, "INVALID_USAGE");
    assert.match(problem.detail, /A port is/);
  });
});

for (const args of [["deploy", "--app"], ["app"], ["init"], []]) {
  test(`'flash ${[...args, "--json"].join(" ")}' prints a problem, and no page for people`, async (t) => {
    const { code, stdout, stderr } = await machine(t).flash(...args, "--json");
    assert.deepEqual([code, stdout], [2, ""]);
    assert.equal((JSON.parse(stderr) as Problem).code, "INVALID_USAGE");
  });
}

test("a folder that cannot be made is the user's to mend, and no mistake of Flash", async (t) => {
  const { flash, cwd } = machine(t);
  const file = path.join(cwd, "file");
  writeFileSync(file, "");
  const one = machine(t, { FLASH_HOME: path.join(file, "home") });
  const { code, stdout, stderr } = await one.flash("token");
  assert.deepEqual([code, stdout], [1, ""]);
  assert.match(stderr, /^✗ The file system refuses it: ENOTDIR[^]*FLASH_HOME[^\n]*\n$/);
  mkdirSync(path.join(cwd, "flash.toml"));
  const config = await flash("config", "--json");
  assert.equal((JSON.parse(config.stderr) as Problem).code, "CONFLICT");
});

test("what others wrote can forge no row of a table and no screen", () => {
  const rows = columns([
    ["keys.revoke", "\u001B[2Jx\nfake row\u009B31m", "ok"],
    ["\u001B[31mred\u001B[39m", "plain", "ok"],
  ]).split("\n");
  assert.deepEqual(rows, [
    "keys.revoke  \\x1b[2Jx\\x0afake row\\x9b31m  ok",
    "\u001B[31mred\u001B[39m          plain                        ok",
  ]);
});

describe("colours", () => {
  test("pipes get none, FORCE_COLOR brings them, NO_COLOR wins", async (t) => {
    const plain = machine(t, { NO_COLOR: "" });
    const forced = machine(t, { NO_COLOR: "", FORCE_COLOR: "1" });
    const refused = machine(t, { NO_COLOR: "1", FORCE_COLOR: "1" });
    assert.ok(!(await plain.flash("nonsense")).stderr.includes("\u001B["));
    assert.ok((await forced.flash("nonsense")).stderr.includes("\u001B[31m✗"));
    assert.ok(!(await refused.flash("nonsense")).stderr.includes("\u001B["));
  });
});
