/** Rows about projects on this machine: init, build, run, config. */

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Case } from "./case.ts";

export const PROJECT_CASES: readonly Case[] = [
  {
    title: "init without a name explains itself",
    args: ["init"],
    stdout: /^Usage: flash init/,
  },
  {
    title: "init makes a project",
    args: ["init", "made", "--package", "^0.1.0"],
    cwd: "templates",
    stdout: /Project Created[^]*made\/[^]*Next steps:\n\s+1\. cd made[^]*localhost:8888\/docs/,
    stderr: /Creating Flash project 'made'\.\.\./,
    effect: ({ folder }) => {
      const text = readFileSync(path.join(folder("templates"), "made", "package.json"), "utf8");
      assert.match(text, /"runpod-flash": "\^0\.1\.0"/);
    },
  },
  {
    title: "init over files without a terminal changes nothing",
    args: ["init", "made", "--yes"],
    cwd: "templates",
    code: 1,
    stdout: "",
    stderr: /File Conflicts Detected[^]*package\.json[^]*--force/,
  },
  {
    title: "init asks in a terminal, and Enter means no",
    args: ["init", "made"],
    cwd: "templates",
    terminal: [[/overwrite these files\? \[y\/N\] /, "\r"]],
    stdout:
      /File Conflicts Detected[^]*The following files will be overwritten:[^]*Initialization aborted\./,
  },
  {
    title: "init --force overwrites",
    args: ["init", "made", "--force", "--json"],
    cwd: "templates",
    json: ({ project, files }) => {
      assert.equal(project, "made");
      assert.ok((files as string[]).includes("lb_worker.ts"));
    },
  },
  {
    title: "build packs the project",
    args: ["build", "--app", "packed", "--env", "staging", "--output", "out.tar.gz"],
    stdout: /✓ built packed {2}4 endpoints, 1 file[^]*Archive:.*out\.tar\.gz[^]*Build:/,
    effect: ({ cwd }) => assert.ok(existsSync(path.join(cwd, ".flash", "out.tar.gz"))),
  },
  {
    title: "build explains sizes, and takes the flags of the original",
    args: ["build", "--explain", "--no-deps", "--exclude", "torch,numpy", "--json"],
    json: ({ app, endpoints, explain }) => {
      assert.equal(app, "shop");
      assert.equal((endpoints as unknown[]).length, 4);
      assert.ok(explain);
    },
  },
  {
    title: "build of a broken project names the place",
    args: ["build"],
    cwd: "broken",
    code: 1,
    stdout: "",
    stderr: /broken\.ts:2[^]*Build failed/,
  },
  {
    title: "run serves the project where it is told, without watching",
    args: "run --port {free} --host 127.0.0.1 --no-reload --auto-provision --app shop".split(" "),
    until: /stop {2}ctrl\+c/,
    meanwhile: async ({ values }) => {
      const answer = await fetch(`http://127.0.0.1:${values.free}/`);
      assert.equal(((await answer.json()) as { docs: string }).docs, "/docs");
    },
    stderr:
      /flash dev {2}http:\/\/127\.0\.0\.1:[^]*POST +\/double\/runsync[^]*LB[^]*stopping\.\.\./,
  },
  {
    title: "dev is run, and --json says where it is",
    args: "dev --port {free} --strict-port --reload --json".split(" "),
    until: /"url"/,
    json: ({ url, app }) => {
      assert.match(String(url), /^http:\/\/localhost:\d+$/);
      assert.equal(app, "shop");
    },
  },
  {
    title: "run takes its port from FLASH_PORT",
    args: ["run", "--no-reload"],
    env: { FLASH_PORT: "{free}" },
    until: /stop {2}ctrl\+c/,
    meanwhile: async ({ values }) => {
      assert.equal((await fetch(`http://localhost:${values.free}/ping`)).status, 200);
    },
  },
  {
    title: "run takes the next port, and says so",
    args: ["run", "--no-reload", "--port", "{port}"],
    until: /stop {2}ctrl\+c/,
    stderr: /port \d+ in use, using \d+/,
  },
  {
    title: "run --strict-port fails instead",
    args: ["run", "--no-reload", "--strict-port", "--port", "{port}"],
    code: 1,
    stdout: "",
    stderr: /Port \d+ is in use\./,
  },
  {
    title: "run --remote serves with live workers elsewhere",
    args: "run --remote --target {url} --keep --no-reload --port {free}".split(" "),
    until: /stop {2}ctrl\+c/,
    stderr: /live {2}http/,
  },
  {
    title: "run --keep without --remote is a mistake",
    args: ["run", "--keep"],
    code: 2,
    stderr: /--keep needs --remote/,
  },
  {
    title: "config prints every setting with its origin",
    args: "config --app cart --env qa --target {url}".split(" "),
    stdout: /app +cart +--app\n +environment +qa +--env\n +target +http\S+ +--target\n +key/,
  },
  {
    title: "config of an endpoint merges code and flash.toml",
    args: ["config", "double", "--json", "--env", "staging", "--port", "4"],
    cwd: "toml",
    json: ({ settings }) => {
      const origins = Object.fromEntries(
        (settings as { key: string; origin: string }[]).map(({ key, origin }) => [key, origin]),
      );
      assert.equal(origins.workers, "flash.toml:2");
      assert.equal(origins.idleTimeoutS, "flash.toml:4");
      assert.equal(origins.cpu, "code");
      assert.equal(origins.flashboot, "default");
    },
  },
  {
    title: "config of an endpoint that does not exist suggests one",
    args: ["config", "duoble"],
    code: 1,
    stderr: /no endpoint 'duoble'\.\n\s+Did you mean 'double'\?/,
  },
  {
    title: "a mistake in flash.toml is found by every command, with its line",
    args: ["status"],
    cwd: "mistaken",
    code: 2,
    stdout: "",
    stderr: /flash\.toml:2: unknown key 'wrokers'[^]*Did you mean 'workers'\?/,
  },
];

/** Folders that the rows work in besides the project. */
export const PROJECT_FOLDERS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  templates: {},
  broken: { "broken.ts": `import { Endpoint } from "runpod-flash";\nEndpoint({ name: "a b" });\n` },
  toml: {
    "flash.toml":
      "[endpoints.double]\nworkers = 3\n[env.staging.endpoints.double]\nidle_timeout_s = 9\n",
    "app.ts": `import { Endpoint } from "runpod-flash";
export const double = Endpoint({ name: "double", cpu: "cpu3c-1-2" }, async (value: number) => value * 2);
`,
  },
  mistaken: { "flash.toml": "[endpoints.api]\nwrokers = 3\n" },
};

/** A third build, so that there is something to go back to. */
export function editProject(cwd: string): void {
  const file = path.join(cwd, "app.ts");
  writeFileSync(file, readFileSync(file, "utf8").replace("value * 2", "value * 2 + 0"));
}
