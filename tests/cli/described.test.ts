/** What describes the commands and the errors: complete, and true. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { ARGUMENTS, completionScript } from "../../src/cli/completions.ts";
import { EXPLANATIONS } from "../../src/cli/explanations.ts";
import { cliReference } from "../../src/cli/reference.ts";
import { commandTree, spellings } from "../../src/cli/tree.ts";
import { ERROR_STATUS } from "../../src/contract/errors.ts";
import { ROOT } from "../support/temp.ts";

const tree = await commandTree();

test("docs/CLI.md says what the commands say ('npm run docs' writes it)", () => {
  const written = readFileSync(path.join(ROOT, "docs", "CLI.md"), "utf8");
  assert.ok(written === cliReference(tree), "docs/CLI.md is not what 'npm run docs' writes");
});

test("README's table has every command", () => {
  const readme = readFileSync(path.join(ROOT, "README.md"), "utf8");
  for (const { name } of tree.filter(({ words }) => words.length === 1).map(({ entry }) => entry)) {
    assert.ok(new RegExp(`^\\| \`flash ${name}\\b`, "m").test(readme), `no row for ${name}`);
  }
});

test("every error code that the sources use is explained, at length and with a way out", () => {
  const used = new Set(
    globSync("src/**/*.ts", { cwd: ROOT }).flatMap((file) =>
      [...readFileSync(path.join(ROOT, file), "utf8").matchAll(/FlashError\(\s*"([A-Z_]+)"/g)].map(
        ([, code]) => code ?? "",
      ),
    ),
  );
  assert.ok(used.size > 25, `${used.size} codes found`);
  for (const code of [...used, ...Object.keys(ERROR_STATUS)]) {
    const { why, fix } = EXPLANATIONS[code as keyof typeof EXPLANATIONS] ?? {};
    assert.ok((why?.length ?? 0) > 40, code);
    assert.ok((fix?.length ?? 0) >= 1, code);
  }
});

test("commands that explanations and hints name are commands", () => {
  const names = new Set(tree.map(({ words }) => words[0]));
  const texts = Object.values(EXPLANATIONS).flatMap(({ why, fix }) => [why, ...fix]);
  for (const [, name = ""] of texts.join("\n").matchAll(/'flash ([a-z]+)/g)) {
    assert.ok(names.has(name), `flash ${name}`);
  }
});

const HAS_BASH = spawnSync("bash", ["--version"]).status === 0;

describe("completion in bash", { skip: HAS_BASH ? false : "needs bash" }, () => {
  /** What Tab would offer after these words; the last one is being typed. */
  function offered(...words: string[]): string[] {
    const typed = ["flash", ...words].map((word) => `'${word}'`).join(" ");
    // The command itself is asked for names; this one says which it was asked for.
    const program = `flash() { [[ "$1 $2" == "completion --names" ]] && echo "$3-1 $3-2"; }
${completionScript("bash", tree)}
COMP_WORDS=(${typed}); COMP_CWORD=${words.length}; _flash; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr, status } = spawnSync("bash", ["--norc", "-c", program], {
      encoding: "utf8",
    });
    assert.equal(status, 0, stderr);
    assert.equal(stderr, "");
    return stdout.split("\n").filter((line) => line !== "");
  }

  test("commands, and those of a group", () => {
    assert.deepEqual(offered("dep"), ["deploy"]);
    assert.deepEqual(offered("server", "st").sort(), ["start", "status", "stop"]);
    const all = tree.filter(({ words }) => words.length === 1).map(({ words }) => words[0]);
    for (const name of all) assert.ok(offered("").includes(name ?? ""), name);
  });

  test("options of a command, of an alias, and after other options", () => {
    assert.deepEqual(offered("run", "--ho"), ["--host"]);
    assert.deepEqual(offered("dev", "--ho"), ["--host"]);
    assert.deepEqual(offered("deploy", "--env", "staging", "--ta"), ["--target"]);
    assert.deepEqual(offered("--ver").sort(), ["--verbose", "--version"]);
  });

  test("names of what is deployed, where a command or an option takes them", () => {
    assert.deepEqual(offered("logs", ""), ["endpoints-1", "endpoints-2"]);
    assert.deepEqual(offered("logs", "endpoints-2"), ["endpoints-2"]);
    assert.deepEqual(offered("jobs", "retry", ""), ["endpoints-1", "endpoints-2"]);
    assert.deepEqual(offered("env", "delete", ""), ["environments-1", "environments-2"]);
    assert.deepEqual(offered("status", "--app", ""), ["apps-1", "apps-2"]);
    assert.deepEqual(offered("deploy", "-e", "environments-1"), ["environments-1"]);
    assert.deepEqual(offered("explain", ""), []);
    const paths = new Set(tree.map(({ words }) => words.join(" ")));
    for (const path of Object.values(ARGUMENTS).flat()) assert.ok(paths.has(path), path);
  });

  test("nothing of its own where a value goes: bash then offers files", () => {
    assert.deepEqual(offered("call", "double", "--data", "d"), []);
  });

  test("every option of every command", () => {
    for (const { words, definition } of tree) {
      const options = (definition?.options ?? []).flatMap(([flags]) => spellings(flags));
      const found = new Set(offered(...words, "-"));
      for (const option of options) assert.ok(found.has(option), `${words.join(" ")} ${option}`);
    }
  });

  test("the scripts of the other shells have every command as well", () => {
    for (const shell of ["zsh", "fish"] as const) {
      const script = completionScript(shell, tree);
      for (const { entry } of tree) assert.ok(script.includes(entry.name), entry.name);
    }
  });
});

test("the script for fish takes typed words as words, whatever they look like, and no word as well", () => {
  const script = completionScript("fish", tree);
  // 'string join' takes -a for an option of its own, and 'test' an empty list for a missing argument.
  assert.match(script, /\(string join -- ' ' \$at \$word\)/);
  assert.match(script, /^ {2}test "\$at" = "\$argv\[1\]"$/m);
});

const HAS_FISH = spawnSync("fish", ["--version"]).status === 0;

describe("completion in fish", { skip: HAS_FISH ? false : "needs fish" }, () => {
  /** What Tab would offer after this line. */
  function offered(line: string): string[] {
    const program = `function flash; test "$argv[1..2]" = "completion --names"; and echo $argv[3]-1; end
${completionScript("fish", tree)}
complete -C '${line}'`;
    const { stdout, stderr } = spawnSync("fish", ["--no-config", "-c", program], {
      encoding: "utf8",
    });
    assert.equal(stderr, "");
    return stdout.split("\n").flatMap((row) => (row === "" ? [] : [row.split("\t")[0] ?? ""]));
  }

  test("commands, options, and names after options", () => {
    assert.deepEqual(offered("flash dep"), ["deploy"]);
    assert.deepEqual(offered("flash server st"), ["start", "status", "stop"]);
    assert.deepEqual(offered("flash dev --ho"), ["--host"]);
    assert.deepEqual(offered("flash deploy --app "), ["apps-1"]);
    assert.deepEqual(offered("flash status -e "), ["environments-1"]);
    assert.deepEqual(offered("flash logs --app shop "), ["endpoints-1"]);
    assert.deepEqual(offered("flash app get "), ["apps-1"]);
  });
});
