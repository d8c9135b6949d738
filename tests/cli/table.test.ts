/**
 * Every command and every option, against a real server, with and without a terminal: output, exit
 * code and effect. The rows are in table/; they are run in order, as one story of one machine.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { ownVersion } from "../../src/cli/package.ts";
import { commandTree, spellings, type CommandNode } from "../../src/cli/tree.ts";
import { freePort } from "../support/flash.ts";
import { Program, run, type Finished } from "../support/program.ts";
import { writeProject, type Owner } from "../support/temp.ts";
import { NO_TERMINAL, runInTerminal } from "../support/terminal.ts";
import { ENTRY, machine } from "./cli.ts";
import { PROJECT, type Case, type World } from "./table/case.ts";
import { DEPLOYMENT_CASES, editProject } from "./table/deployment.ts";
import { MODEL_CASES } from "./table/model.ts";
import { PROJECT_CASES, PROJECT_FOLDERS } from "./table/project.ts";
import { FIRST_CASES, LAST_CASES, MACHINE_CASES } from "./table/server.ts";

const tree = await commandTree();
const CASES = [
  ...FIRST_CASES,
  ...PROJECT_CASES,
  ...DEPLOYMENT_CASES.slice(0, 3),
  ...MODEL_CASES,
  ...MACHINE_CASES,
  ...DEPLOYMENT_CASES.slice(3),
  ...LAST_CASES,
];

describe("the table", { concurrency: false }, () => {
  let world: World;
  const closing: (() => void | Promise<void>)[] = [];
  const owner: Owner = { after: (close) => void closing.unshift(close) };

  before(async () => {
    world = await openWorld(owner);
  });
  after(async () => {
    for (const close of closing) await close();
  });

  for (const one of CASES) {
    const skip = one.terminal === undefined ? undefined : NO_TERMINAL;
    test(`${one.title}: flash ${one.args.join(" ")}`, { skip: skip ?? false }, async (t) => {
      if (one.title.startsWith("a changed project")) editProject(world.cwd);
      world.values.free = String(await freePort());
      await check(one, world, t);
    });
  }
});

/** Text with `{name}` filled in. */
function filled(text: string, { values }: World): string {
  return text.replaceAll(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole);
}

async function check(one: Case, world: World, owner: Owner): Promise<void> {
  const command = ["--", ...one.args].slice(1).map((arg) => filled(arg, world));
  const given = Object.entries(one.env ?? {}).map(([name, text]) => [name, filled(text, world)]);
  const env = { ...world.env, ...(Object.fromEntries(given) as Record<string, string>) };
  const cwd = one.cwd === undefined ? world.cwd : world.folder(one.cwd);
  const { code, stdout, stderr } = await use(one, [process.execPath, ENTRY, ...command], {
    owner,
    world,
    cwd,
    env,
  });
  const said = `stdout:\n${stdout}\nstderr:\n${stderr}`;
  assert.equal(code, one.code ?? 0, said);
  for (const [text, expected] of [
    [stdout, one.stdout],
    [stderr, one.stderr],
  ] as const) {
    if (expected === "") assert.equal(text, "", said);
    else if (expected !== undefined) assert.match(text, expected, said);
  }
  if (one.json !== undefined) one.json(JSON.parse(stdout) as Record<string, unknown>, world);
  else if (one.args.includes("--json") && one.until === undefined && code === 0) {
    assert.fail("--json is asked for, and nothing looks at the document");
  }
  await one.effect?.(world);
}

async function use(
  one: Case,
  command: [string, ...string[]],
  at: { owner: Owner; world: World; cwd: string; env: NodeJS.ProcessEnv },
): Promise<Omit<Finished, "signal">> {
  const { owner, world, cwd, env } = at;
  if (one.terminal !== undefined) {
    const screen = await runInTerminal(command, { cwd, env, typed: one.terminal });
    const { code, text } = screen;
    assert.deepEqual(screen.unasked, [], text);
    return { code, stdout: text, stderr: "" };
  }
  const input = one.input === undefined ? {} : { input: one.input };
  if (one.until === undefined) return await run(command, { cwd, env, ...input });
  const program = Program.start(owner, command, { cwd, env });
  await program.says(one.until);
  await one.meanwhile?.(world);
  return await program.stop("SIGINT");
}

/** A machine with a project, a registry of npm, and a port that something else uses. */
async function openWorld(owner: Owner): Promise<World> {
  const port = String(await freePort());
  const own = machine(owner, { FLASH_PORT: port, CI: "1" });
  const base = path.dirname(own.cwd);
  const folder = (name: string): string => path.join(base, name);
  writeProject(own.cwd, { ...PROJECT, "flash.toml": '[app]\nname = "shop"\n' });
  for (const [name, files] of Object.entries(PROJECT_FOLDERS)) writeProject(folder(name), files);
  mkdirSync(folder("other-home"));
  const browser = folder("browser");
  writeFileSync(browser, "#!/bin/sh\nexit 0\n", { mode: 0o755 });
  const registry = await listen(owner, JSON.stringify(registryDocument()));
  const other = await listen(owner, "something else");
  const url = `http://127.0.0.1:${port}`;
  const values = {
    url,
    port,
    browser,
    version: ownVersion(),
    registry: `http://127.0.0.1:${registry}`,
    taken: String(other),
    otherHome: folder("other-home"),
  };
  return { ...own, url, port, values, folder };
}

function registryDocument(): unknown {
  return {
    "dist-tags": { latest: "99.0.0" },
    versions: { [ownVersion()]: {}, "99.0.0": {}, "99.0.0-beta.1": {} },
  };
}

async function listen(owner: Owner, body: string): Promise<number> {
  const server: Server = createServer((_, response) => response.end(body)).listen(0, "127.0.0.1");
  await once(server, "listening");
  owner.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

describe("the table is whole", () => {
  const used = CASES.map((one) => ({ one, node: nodeOf(one.args) }));

  for (const node of tree.filter(({ definition }) => definition !== undefined)) {
    const name = node.words.join(" ");
    const rows = used.filter((row) => row.node === node).map(({ one }) => one.args);

    test(`'flash ${name}' has a row, one with --json, and one for each of its options`, () => {
      assert.ok(rows.length > 0, "no row uses it");
      assert.ok(
        rows.some((args) => args.includes("--json")),
        "no row uses it with --json",
      );
      const missing = (node.definition?.options ?? [])
        .filter(([flags]) => !isShared(flags))
        .filter(
          ([flags]) => !rows.some((args) => spellings(flags).some((one) => args.includes(one))),
        )
        .map(([flags]) => flags);
      assert.deepEqual(missing, [], "options that no row of this command uses");
    });
  }
});

describe("options that many commands share", { concurrency: false }, () => {
  const wrong = { app: "a b", env: "a b", target: "nonsense", port: "70000" };

  for (const { words, definition } of tree) {
    const shared = Object.entries(wrong).filter(([name]) =>
      definition?.options?.some(([flags]) => flags.includes(`--${name} <`)),
    );
    if (shared.length === 0) continue;
    const flags = shared.map(([name]) => `--${name}`).join(", ");

    test(`'flash ${words.join(" ")}' refuses wrong values of ${flags}`, async (t) => {
      const { flash } = machine(t, { FLASH_PORT: "9" });
      const required = definition?.arguments?.filter(([notation]) => notation.startsWith("<"));
      const args = [...words, ...(required ?? []).map(() => "GET")];
      await Promise.all(
        shared.map(async ([name, value]) => {
          const { code, stdout, stderr } = await flash(...args, `--${name}`, value);
          assert.notEqual(code, 0, `--${name}: ${stderr}`);
          // The doctor's findings are its result, whatever they are.
          if (words[0] !== "doctor") assert.equal(stdout, "", `--${name}`);
          assert.match(stderr, /^✗ /m, `--${name}`);
        }),
      );
    });
  }
});

/** One definition for all commands, see src/cli/target.ts. */
function isShared(flags: string): boolean {
  return /--(app|env|target|port) </.test(flags);
}

/** The command that the words name. */
function nodeOf(args: readonly string[]): CommandNode | undefined {
  const words = args.filter((arg) => !arg.startsWith("-"));
  return tree
    .filter(({ words: own, entry }) =>
      own.every((word, at) => {
        const isLast = at === own.length - 1;
        return words[at] === word || (isLast && words[at] === entry.alias);
      }),
    )
    .sort((a, b) => b.words.length - a.words.length)[0];
}
