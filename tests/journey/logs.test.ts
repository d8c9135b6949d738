/** `flash logs` and `flash events` against a deployed project. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogLine } from "../../src/contract/control.ts";
import type { EventDocument } from "../../src/contract/events.ts";
import { Sandbox } from "../support/flash.ts";
import { until } from "../support/until.ts";

const PROJECT = {
  "talk.ts": `
import { context, Endpoint } from "runpod-flash";
const options = { name: "talk", cpu: "cpu3c-1-2", workers: [0, 1], maxConcurrency: 4, idleTimeoutS: 3600 } as const;
export const talk = Endpoint(options, async (name: string) => {
  console.log("hello " + name);
  context().log.warn("priced", { total: 3 });
  return name;
});
`,
};

/** The whole lines of an output; the last one may still be on its way. */
function documents<T>(text: string): T[] {
  const lines = text
    .split("\n")
    .slice(0, -1)
    .filter((line) => line !== "");
  return lines.map((line) => JSON.parse(line) as T);
}

test("a job's lines are found by its id, and what happened is listed", async (t) => {
  const sandbox = await Sandbox.open(t);
  const folder = sandbox.project(PROJECT, "talking");
  const deployment = await sandbox.deploy(folder);
  const ids: string[] = [];
  for (const name of ["a", "b"]) {
    const { json } = await deployment.call("talk", "POST /runsync", { input: { name } });
    ids.push((json as { id: string }).id);
  }
  const [, second = ""] = ids;
  const lines = await until(
    async () => {
      const { stdout } = await sandbox.flash(folder, "logs", "--job", second, "--json");
      const found = documents<LogLine>(stdout);
      return found.length === 2 && found;
    },
    { what: "the job's lines" },
  );
  assert.deepEqual(
    lines.map(({ level, message, fields }) => [level, message, fields]),
    [
      ["info", "hello b", undefined],
      ["warn", "priced", { total: 3 }],
    ],
  );
  const warned = await sandbox.flash(folder, "logs", "talk", "--level", "warn", "--since", "1h");
  assert.equal(warned.stdout.trim().split("\n").length, 2, warned.stdout);
  assert.match(warned.stdout, /priced total=3/);
  for (const wrong of [
    ["--level", "loud"],
    ["--since", "yesterday"],
    ["--tail", "many"],
  ]) {
    const refused = await sandbox.flash(folder, "logs", ...wrong);
    assert.equal(refused.code, 2, refused.stderr);
  }
  const told = await sandbox.flash(folder, "events", "talk", "--kind", "worker", "--json");
  assert.equal(told.code, 0, told.stderr);
  assert.deepEqual(
    documents<EventDocument>(told.stdout).map(({ kind }) => kind),
    ["worker.started", "worker.ready"],
  );
  const all = await sandbox.flash(folder, "events");
  assert.match(all.stdout, /release\.active +release 1 of 'talking' is active in 'production'/);
});

test("who follows a log goes on when the server comes back, each line once", async (t) => {
  const sandbox = await Sandbox.open(t);
  const folder = sandbox.project(PROJECT, "talking");
  const deployment = await sandbox.deploy(folder);
  await deployment.call("talk", "POST /runsync", { input: { name: "before" } });
  const following = sandbox.start(folder, "logs", "-f", "--json", "--tail", "10");
  const hellos = (): string[] =>
    documents<LogLine>(following.stdout)
      .map(({ message }) => message)
      .filter((message) => message.startsWith("hello"));
  await until(() => hellos().length === 1, { what: "the first line" });
  await sandbox.flash(folder, "server", "stop");
  await sandbox.flash(folder, "server", "start");
  await deployment.call("talk", "POST /runsync", { input: { name: "after" } });
  await until(() => hellos().includes("hello after"), { what: "the line after the restart" });
  assert.deepEqual(hellos(), ["hello before", "hello after"]);
});
