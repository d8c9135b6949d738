/**
 * The npm package as users get it: packed, installed in an empty folder, `flash init`, `flash run`,
 * `flash deploy`, `flash call`. Needs the npm registry for the package's own dependencies.
 */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { DeploymentDocument } from "../../src/contract/control.ts";
import { freePort, Sandbox } from "../support/flash.ts";
import { Program, run, type Finished } from "../support/program.ts";
import { ROOT, temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";

test("the packed package installs, makes a project, runs it and deploys it", async (t) => {
  const sandbox = await Sandbox.open(t);
  const folder = temporaryFolder(t, "flash-package");
  const succeed = async (cwd: string, ...command: [string, ...string[]]): Promise<Finished> => {
    const finished = await run(command, { cwd, env: sandbox.env });
    assert.equal(finished.code, 0, `${command.join(" ")}\n${finished.stdout}${finished.stderr}`);
    return finished;
  };

  const packed = await succeed(ROOT, "npm", "pack", "--json", "--pack-destination", folder);
  const [{ filename }] = JSON.parse(packed.stdout) as [{ filename: string }];
  const tarball = path.join(folder, filename);
  writeFileSync(path.join(folder, "package.json"), '{ "private": true }\n');
  await succeed(folder, "npm", "install", "--no-audit", "--no-fund", tarball);
  await succeed(folder, "npx", "flash", "init", "demo");

  const demo = path.join(folder, "demo");
  await succeed(demo, "npm", "install", "--no-audit", "--no-fund");
  await succeed(demo, "npm", "run", "check");
  const port = await freePort();
  const running = Program.start(t, ["npx", "flash", "run", "--port", String(port)], {
    cwd: demo,
    env: sandbox.env,
  });
  const url = `http://127.0.0.1:${port}`;
  await until(async () => running.isRunning && (await fetch(`${url}/ping`)).ok, {
    what: "flash run",
  });
  const health = await fetch(`${url}/lb_worker/health`);
  assert.deepEqual(await health.json(), { status: "healthy" });
  const job = await fetch(`${url}/cpu_worker/runsync`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ input: { message: "hello" } }),
  });
  assert.equal(((await job.json()) as { status: string }).status, "COMPLETED");
  await running.interrupt();

  const deployed = await succeed(demo, "npx", "flash", "deploy", "--json");
  const { endpoints } = JSON.parse(deployed.stdout) as DeploymentDocument;
  const lb = endpoints.find(({ name }) => name === "lb_worker");
  assert.ok(lb);
  const answer = await sandbox.fetch(`${lb.url}/health`);
  assert.deepEqual(await answer.json(), { status: "healthy" });

  const call = ["npx", "flash", "call", "cpu_worker", "--data", '{"message":"hi"}'] as const;
  const called = await succeed(demo, ...call, "--json");
  const { output } = JSON.parse(called.stdout) as { output: { message: string; node: string } };
  assert.equal(output.message, "hi");
  // Where the machine has a Node that is new enough the project brings none: its workers run on that one.
  const isMachines = !process.execPath.split(path.sep).includes("node_modules");
  if (isMachines) assert.equal(output.node, process.version);
});
