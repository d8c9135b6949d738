/** Questions in a real terminal: what is asked, and what each answer leads to. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { describe, test, type TestContext } from "node:test";
import { WORKER_STATES } from "../../src/contract/states.ts";
import { ControlServer } from "../support/control-server.ts";
import { writeFiles } from "../support/temp.ts";
import { NO_TERMINAL, runInTerminal, type Screen } from "../support/terminal.ts";
import { ENTRY, machine, type Machine } from "./cli.ts";

const skip = NO_TERMINAL ?? false;

/** Runs the command in a terminal; each answer is typed when its question is on the screen. */
async function talk(
  { cwd, env }: Machine,
  args: readonly string[],
  answers: readonly (readonly [question: RegExp, answer: string])[],
): Promise<Screen> {
  const command = [process.execPath, ENTRY, ...args];
  const screen = await runInTerminal(command, { cwd, env, typed: answers });
  assert.deepEqual(screen.unasked, [], `not every question was asked:\n${screen.text}`);
  return screen;
}

const ENTER = "\r";
const CTRL_C = "\u0003";
const CTRL_D = "\u0004";

/** A server with one endpoint deployed. */
async function deployed(t: TestContext): Promise<{ one: Machine; server: ControlServer }> {
  const server = await ControlServer.start(t);
  const one = machine(t, { FLASH_URL: server.url, FLASH_API_KEY: "key", FLASH_APP: "shop" });
  const where = { app: "shop", environment: "production" };
  const environments = [{ name: "production", release: "rel_1", createdAt: "" }];
  server.json("GET /api/v1/environments", { app: "shop", environments });
  server.json("GET /api/v1/status", {
    ...where,
    build: "build_1",
    release: "rel_1",
    target: server.url,
    drift: [],
    endpoints: [
      {
        name: "adder",
        kind: "lb",
        id: "abc",
        url: `${server.url}/lb/abc`,
        routes: [],
        state: "idle",
        workers: Object.fromEntries(WORKER_STATES.map((state) => [state, 0])),
        jobs: { completed: 0, failed: 0, inProgress: 0, inQueue: 0, retried: 0 },
      },
    ],
  });
  server.json("DELETE /api/v1/endpoints", { ...where, removed: ["adder"] });
  return { one, server };
}

function removals(server: ControlServer): number {
  return server.requests.filter(({ method }) => method === "DELETE").length;
}

describe("undeploy", { skip }, () => {
  test("'y' removes; Enter, 'n' and the end of input do not, and are no failure", async (t) => {
    const { one, server } = await deployed(t);
    for (const answer of [ENTER, `n${ENTER}`, `yes please${ENTER}`, CTRL_D]) {
      const { code, text } = await talk(one, ["undeploy", "adder"], [[/delete\?/, answer]]);
      assert.equal(code, 0, text);
      assert.match(text, /cancelled/);
    }
    assert.equal(removals(server), 0);
    const { code, text } = await talk(one, ["undeploy", "adder"], [[/delete\?/, `y${ENTER}`]]);
    assert.equal(code, 0);
    assert.match(text, /✓ deleted adder/);
    assert.equal(removals(server), 1);
  });

  test("--all wants the phrase typed exactly; anything else ends with 1", async (t) => {
    const { one, server } = await deployed(t);
    const yes = [/delete all 1 endpoint\?/, `y${ENTER}`] as const;
    const wrong = await talk(
      one,
      ["undeploy", "--all"],
      [yes, [/to confirm:/, `delete all${ENTER}`]],
    );
    assert.equal(wrong.code, 1);
    assert.match(wrong.text, /✗ cancelled/);
    assert.equal(removals(server), 0);
    const right = await talk(
      one,
      ["undeploy", "--all"],
      [yes, [/to confirm:/, `DELETE ALL${ENTER}`]],
    );
    assert.equal(right.code, 0);
    assert.match(right.text, /deleted 1\/1 endpoint/);
    assert.equal(removals(server), 1);
  });

  test("Ctrl-C at a question ends with 130", async (t) => {
    const { one, server } = await deployed(t);
    const { code, text } = await talk(one, ["undeploy", "adder"], [[/delete\?/, CTRL_C]]);
    assert.equal(code, 130, text);
    assert.equal(removals(server), 0);
  });
});

test("init asks before it overwrites; Enter keeps everything", { skip }, async (t) => {
  const one = machine(t);
  writeFiles(one.cwd, { "demo/README.md": "mine\n" });
  const question = /Continue and overwrite these files\?/;
  const kept = await talk(one, ["init", "demo"], [[question, ENTER]]);
  assert.equal(kept.code, 0);
  assert.match(kept.text, /The following files will be overwritten:\s+README\.md/);
  assert.match(kept.text, /Initialization aborted\./);
  assert.ok(!existsSync(`${one.cwd}/demo/package.json`));
  const written = await talk(one, ["init", "demo"], [[question, `y${ENTER}`]]);
  assert.match(written.text, /Project Created/);
  assert.ok(existsSync(`${one.cwd}/demo/package.json`));
});
