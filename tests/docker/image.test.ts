/**
 * The server's container, as `npm run test:docker` has built it: who it runs as, what its first process
 * does, how it stops, and that its volume is all it has.
 */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { freePort, Sandbox } from "../support/flash.ts";
import { run, type Finished } from "../support/program.ts";
import { ROOT } from "../support/temp.ts";
import { until } from "../support/until.ts";

const IMAGE = "flash-test-server";

const PROJECT = {
  "api.ts": `
import { spawn } from "node:child_process";
import { Endpoint } from "runpod-flash";
const api = Endpoint({ name: "api", cpu: "cpu3c-1-2", workers: [0, 1], idleTimeoutS: 60 });
export const add = api.post("/add", (x: number, y: number) => x + y);
/** Leaves a process behind that nobody waits for. */
export const orphan = api.post("/orphan", async () => {
  const child = spawn("sh", ["-c", "sleep 0.1 & exit 0"], { stdio: "ignore" });
  await new Promise((resolve) => child.on("exit", resolve));
  return child.pid ?? 0;
});
`,
};

async function docker(...args: string[]): Promise<Finished> {
  const finished = await run(["docker", ...args], { cwd: ROOT, env: process.env });
  assert.equal(finished.code, 0, `docker ${args.join(" ")}\n${finished.stderr}`);
  return finished;
}

test("the container runs as nobody special, collects orphans, drains on stop and keeps its state", async (t) => {
  const name = `flash-test-${randomUUID()}`;
  const port = await freePort();
  t.after(async () => {
    await run(["docker", "rm", "--force", "--volumes", name], { cwd: ROOT, env: process.env });
    await run(["docker", "volume", "rm", "--force", name], { cwd: ROOT, env: process.env });
  });
  const healthy = async (): Promise<void> => {
    await until(
      async () => {
        const { stdout } = await docker("inspect", "--format", "{{.State.Health.Status}}", name);
        return stdout.trim() === "healthy";
      },
      { what: "the container to be healthy", withinMs: 40_000, everyMs: 200 },
    );
  };
  await docker(
    "run",
    "--detach",
    "--name",
    name,
    "--network",
    "host",
    "--volume",
    `${name}:/data`,
    // Hard, as careful people run it: nothing of the image may be written, no capability is there.
    "--read-only",
    "--tmpfs",
    "/tmp",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
    "--env",
    `FLASH_PORT=${port}`,
    IMAGE,
  );
  await healthy();
  assert.equal((await docker("exec", name, "id", "-u")).stdout.trim(), "1000");
  assert.match((await docker("exec", name, "cat", "/proc/1/cmdline")).stdout, /^tini/);

  const key = (await docker("exec", name, "flash", "token")).stdout.trim();
  const sandbox = await Sandbox.open(t);
  const folder = sandbox.project(PROJECT, "boxed");
  const url = `http://127.0.0.1:${port}`;
  const env = { ...sandbox.env, FLASH_API_KEY: key };
  const flash = [process.execPath, `${ROOT}/bin/flash.js`] as const;
  const deployed = await run([...flash, "deploy", "--json", "--target", url], { cwd: folder, env });
  assert.equal(deployed.code, 0, deployed.stderr);
  const { endpoints } = JSON.parse(deployed.stdout) as { endpoints: { url: string }[] };
  const call = async (path: string): Promise<unknown> => {
    const response = await fetch(`${endpoints[0]?.url}${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: '{"x":5,"y":3}',
    });
    return await response.json();
  };
  assert.equal(await call("/add"), 8);
  for (let count = 0; count < 5; count++) await call("/orphan");
  await until(
    async () => {
      const { stdout } = await docker("exec", name, "ps", "-eo", "stat,args");
      return !/^Z/m.test(stdout) && !stdout.includes("sleep 0.1");
    },
    { what: "orphans to be collected" },
  );

  await docker("stop", "--time", "45", name);
  const { stdout } = await docker("inspect", "--format", "{{.State.ExitCode}}", name);
  assert.equal(stdout.trim(), "0", "it ended by itself, before the time was over");
  assert.match((await docker("logs", name)).stderr, /stopping/);

  await docker("start", name);
  await healthy();
  assert.equal(await call("/add"), 8, "the same endpoint, id and key");
});
