/** `flash init`: a project that works, and nothing of anybody's lost. */

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { run } from "../support/program.ts";
import { ROOT, writeFiles } from "../support/temp.ts";
import { machine } from "./cli.ts";

const FILES = [
  ".env.example",
  ".gitignore",
  ".oxlintrc.json",
  "AGENTS.md",
  "README.md",
  "cpu_worker.ts",
  "flash.toml",
  "gpu_worker.ts",
  "lb_worker.ts",
  "package.json",
  "tsconfig.json",
  "workers.test.ts",
];

interface PackageJson {
  name: string;
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
}

function packageJson(folder: string): PackageJson {
  return JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8")) as PackageJson;
}

/** What `npm install` would put there, from this checkout. */
function linkPackages(folder: string): void {
  const modules = path.join(folder, "node_modules");
  mkdirSync(path.join(modules, "@types"), { recursive: true });
  mkdirSync(path.join(modules, ".bin"));
  symlinkSync(ROOT, path.join(modules, "runpod-flash"), "dir");
  const names = ["@types/node", "oxlint", "oxlint-tsgolint", "typescript"];
  for (const name of [...names, ".bin/node", ".bin/oxlint", ".bin/tsc", ".bin/tsgolint"]) {
    symlinkSync(path.join(ROOT, "node_modules", name), path.join(modules, name));
  }
}

describe("a new project", () => {
  test("has the template's files under its own name, and says what comes next", async (t) => {
    const { cwd, flash } = machine(t);
    const { code, stdout, stderr } = await flash("init", "nested/demo");
    assert.equal(code, 0, stderr);
    const folder = path.join(cwd, "nested/demo");
    assert.deepEqual(readdirSync(folder).sort(), FILES);
    for (const file of FILES) {
      assert.ok(!readFileSync(path.join(folder, file), "utf8").includes("{{"), file);
    }
    assert.equal(packageJson(folder).name, "demo");
    assert.match(readFileSync(path.join(folder, "README.md"), "utf8"), /^# demo\n/);
    assert.match(stderr, /Creating Flash project 'demo'\.\.\./);
    assert.match(stdout, /1\. cd nested\/demo\n\s+2\. npm install\n\s+3\. npx flash run/);
    assert.match(stdout, /Visit http:\/\/localhost:8888\/docs after running/);
  });

  test("in the current folder has no 'cd' among its steps", async (t) => {
    const { cwd, flash } = machine(t);
    const { code, stdout, stderr } = await flash("init", ".");
    assert.equal(code, 0, stderr);
    assert.deepEqual(readdirSync(cwd).sort(), FILES);
    assert.match(stderr, /Initializing Flash project in current directory\.\.\./);
    assert.doesNotMatch(stdout, /\bcd\b/);
  });

  test("gets a package name that npm accepts, whatever the folder is called", async (t) => {
    const { cwd, flash } = machine(t);
    await flash("init", "My Shop (2)");
    assert.equal(packageJson(path.join(cwd, "My Shop (2)")).name, "my-shop-2");
  });

  test("--json prints one document", async (t) => {
    const { cwd, flash } = machine(t);
    const { stdout } = await flash("init", "demo", "--json");
    const document = JSON.parse(stdout) as { path: string; files: string[] };
    assert.equal(document.path, path.join(cwd, "demo"));
    assert.deepEqual(document.files.sort(), FILES);
  });

  test("type-checks, lints and passes its tests at once", async (t) => {
    const { cwd, env, flash } = machine(t);
    await flash("init", "demo");
    const folder = path.join(cwd, "demo");
    linkPackages(folder);
    const check = await run(["npm", "run", "check"], { cwd: folder, env });
    assert.equal(check.code, 0, check.stdout + check.stderr);
    assert.match(check.stdout, /Found 0 warnings and 0 errors/);
    assert.match(check.stdout, /pass 3/);
  });

  test("has a linter that finds calls which nobody awaits", async (t) => {
    const { cwd, env, flash } = machine(t);
    await flash("init", "demo");
    const folder = path.join(cwd, "demo");
    linkPackages(folder);
    const forgotten = 'import { cpuHello } from "./cpu_worker.ts";\n\ncpuHello("hi");\n';
    writeFiles(folder, { "forgotten.ts": forgotten });
    const lint = await run(["npm", "run", "lint"], { cwd: folder, env });
    assert.equal(lint.code, 1, lint.stdout + lint.stderr);
    // In CI the linter colours what it says.
    const said = stripVTControlCharacters(lint.stdout);
    assert.match(said, /no-floating-promises[^]*forgotten\.ts:3/);
  });

  test("pins the linter that this repository uses", async (t) => {
    const { cwd, flash } = machine(t);
    await flash("init", "demo");
    const ours = packageJson(ROOT).devDependencies;
    const theirs = packageJson(path.join(cwd, "demo")).devDependencies;
    for (const name of ["oxlint", "oxlint-tsgolint"]) assert.equal(theirs[name], ours[name], name);
  });

  test("without a name prints the help", async (t) => {
    const { code, stdout } = await machine(t).flash("init");
    assert.equal(code, 0);
    assert.match(stdout, /^Usage: flash init/);
  });
});

describe("existing files", () => {
  test("are listed and kept when nobody can be asked", async (t) => {
    const { cwd, flash } = machine(t);
    writeFiles(cwd, { "demo/README.md": "mine\n", "demo/other.txt": "mine too\n" });
    for (const flag of [[], ["--yes"], ["--json"]]) {
      const { code, stdout, stderr } = await flash("init", "demo", ...flag);
      assert.equal(code, 1);
      assert.equal(stdout, "");
      assert.match(stderr, /File Conflicts Detected.*README\.md/s);
      assert.match(stderr, /--force/);
    }
    assert.deepEqual(readdirSync(path.join(cwd, "demo")).sort(), ["README.md", "other.txt"]);
  });

  test("--force overwrites the template's own files alone, and keeps AGENTS.md", async (t) => {
    const { cwd, flash } = machine(t);
    const mine = { "demo/README.md": "mine\n", "demo/other.txt": "x", "demo/AGENTS.md": "rules\n" };
    writeFiles(cwd, mine);
    assert.equal((await flash("init", "demo", "--force")).code, 0);
    const read = (name: string): string => readFileSync(path.join(cwd, "demo", name), "utf8");
    assert.match(read("README.md"), /^# demo/);
    assert.equal(read("other.txt"), "x");
    assert.equal(read("AGENTS.md"), "rules\n");
  });

  test("a file where the folder should be is an error", async (t) => {
    const { cwd, flash } = machine(t);
    writeFileSync(path.join(cwd, "demo"), "");
    const { code, stderr } = await flash("init", "demo");
    assert.equal(code, 1);
    assert.match(stderr, /is not a folder/);
  });
});

describe("--package", () => {
  async function sdkOf(t: Parameters<typeof machine>[0], spec: string): Promise<string> {
    const { cwd, flash } = machine(t);
    writeFiles(cwd, { "pack/sdk-1.0.0.tgz": "" });
    const { code, stderr } = await flash("init", "a/demo", "--package", spec);
    assert.equal(code, 0, stderr);
    return packageJson(path.join(cwd, "a/demo")).dependencies["runpod-flash"] ?? "";
  }

  test("a tarball or folder is written relative to the new project", async (t) => {
    assert.equal(await sdkOf(t, "pack/sdk-1.0.0.tgz"), "file:../../pack/sdk-1.0.0.tgz");
    assert.equal(await sdkOf(t, "./pack"), "file:../../pack");
    assert.equal(await sdkOf(t, "file:pack"), "file:../../pack");
  });

  test("an absolute path leads to the same file", async (t) => {
    const { cwd, flash } = machine(t);
    await flash("init", "demo", "--package", ROOT);
    const folder = path.join(cwd, "demo");
    const source = packageJson(folder).dependencies["runpod-flash"] ?? "";
    assert.equal(path.resolve(folder, source.replace(/^file:/, "")), ROOT);
  });

  test("without it the project gets the package that made it", async (t) => {
    const { cwd, flash } = machine(t);
    const { stderr } = await flash("init", "demo");
    const folder = path.join(cwd, "demo");
    const source = packageJson(folder).dependencies["runpod-flash"] ?? "";
    assert.equal(path.resolve(folder, source.replace(/^file:/, "")), ROOT);
    assert.match(stderr, /runpod-flash comes from file:\S+, as this command does/);
  });

  test("versions, tags and URLs stay as they are", async (t) => {
    assert.equal(await sdkOf(t, "1.2.3"), "1.2.3");
    assert.equal(await sdkOf(t, "runpod-flash@next"), "next");
    assert.equal(await sdkOf(t, "https://example.com/sdk.tgz"), "https://example.com/sdk.tgz");
  });

  test("a path that leads nowhere is refused before anything is written", async (t) => {
    const { cwd, flash } = machine(t);
    const { code, stderr } = await flash("init", "demo", "--package", "./gone.tgz");
    assert.equal(code, 2);
    assert.match(stderr, /gone\.tgz does not exist/);
    assert.deepEqual(readdirSync(cwd), []);
  });
});
