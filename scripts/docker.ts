/**
 * Tests the container image (`npm run test:docker`) without a registry of images: on a base made of
 * this machine's own files (images/base.sh). Uses the Docker daemon there is; where none answers and
 * `dockerd` is installed, one of its own, in a temporary folder. Needs the npm registry.
 */

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const root = path.dirname(import.meta.dirname);
const START_MS = 30_000;
const folder = mkdtempSync(path.join(tmpdir(), "flash-docker-"));
const env = { ...process.env };
let daemon: ChildProcess | undefined;
try {
  if (!answers()) daemon = await startDaemon();
  must(["images/base.sh", "flash-test-base"]);
  const registry = spawnSync("npm", ["config", "get", "registry"], { encoding: "utf8" });
  must([
    process.execPath,
    "scripts/image.ts",
    "--tag",
    "flash-test-server",
    "--network",
    "host",
    "--build-arg",
    "BASE=flash-test-base",
    "--build-arg",
    `npm_config_registry=${registry.stdout.trim()}`,
  ]);
  must([process.execPath, "--test", "--test-timeout=120000", "tests/docker/image.test.ts"]);
} catch (error) {
  console.error(`docker: ${(error as Error).message}`);
  process.exitCode = 1;
} finally {
  await stopDaemon();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

function answers(): boolean {
  return spawnSync("docker", ["version"], { env, stdio: "ignore" }).status === 0;
}

async function startDaemon(): Promise<ChildProcess> {
  const socket = `unix://${path.join(folder, "docker.sock")}`;
  const log = openSync(path.join(folder, "log"), "a");
  const started = spawn(
    "dockerd",
    [
      // The tests use the machine's own network: nothing has to be set up.
      "--bridge=none",
      "--iptables=false",
      "--host",
      socket,
      "--data-root",
      path.join(folder, "data"),
      "--exec-root",
      path.join(folder, "exec"),
      "--pidfile",
      path.join(folder, "pid"),
    ],
    { stdio: ["ignore", log, log] },
  );
  started.once("error", () => undefined);
  env.DOCKER_HOST = socket;
  const deadline = performance.now() + START_MS;
  while (!answers()) {
    const isOver = started.pid === undefined || started.exitCode !== null;
    if (isOver || performance.now() > deadline) {
      started.kill();
      throw new Error("no Docker daemon answers, and none could be started (it takes root)");
    }
    await pause(100);
  }
  return started;
}

async function stopDaemon(): Promise<void> {
  if (daemon === undefined) return;
  const gone = new Promise((resolve) => daemon?.once("exit", resolve));
  daemon.kill("SIGTERM");
  await gone;
  // It leaves a mount or two behind, which would keep the folder.
  const mounts = readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((mount) => mount.startsWith(`${folder}/`));
  for (const mount of mounts.reverse()) spawnSync("umount", [mount], { stdio: "inherit" });
}

function must([command = "", ...args]: string[]): void {
  const result = spawnSync(command, args, { cwd: root, env, stdio: "inherit" });
  if (result.status !== 0) throw new Error(`${command} ${args[0] ?? ""} failed`);
}
