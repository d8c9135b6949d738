/** What `flash doctor` looks at: one function for each thing that can be wrong with a machine. */

import {
  accessSync,
  constants,
  existsSync,
  openSync,
  closeSync,
  fsyncSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { statfs } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";
import type { ServerDocument } from "../contract/control.ts";
import { FlashError } from "../contract/errors.ts";
import { ControlClient } from "../clouds/clouds.ts";
import { makeFolder } from "../server/control/folders.ts";
import { isNodeNewEnough, machineNodeVersion } from "./machine-node.ts";

export interface Finding {
  /** What was looked at. */
  check: string;
  status: "ok" | "warning" | "failed";
  /** What was found. */
  detail: string;
  /** What to do; nothing when all is well. */
  fix?: string;
}

/** Less room than this is a warning, and less than that no room to work, bytes. */
const LOW_BYTES = 1_000_000_000;
const NO_BYTES = 100_000_000;
/** Every acknowledged job waits for the disk: slower than this is felt, ms. */
const SLOW_FSYNC_MS = 20;
const FSYNCS = 15;
/** Keys expire and leases end by the clock; further apart than this they disagree, ms. */
const MAX_SKEW_MS = 5000;
const PROBE_MS = 5000;

export function checkNode(env: NodeJS.ProcessEnv): Finding {
  const machine = machineNodeVersion(env);
  const own = process.version;
  const detail = machine === own ? own : `${own} here, ${machine} on this machine`;
  if (!isNodeNewEnough(own)) {
    return {
      check: "node",
      status: "failed",
      detail,
      fix: "Flash needs Node 22.18 or newer: 'npm install --save-dev node@24', or install Node 24.",
    };
  }
  return { check: "node", status: "ok", detail: `${detail}, ${process.platform} ${process.arch}` };
}

/** The program that installs packages, looked for where the shell would. */
export function checkPackageManager(root: string, env: NodeJS.ProcessEnv): Finding {
  const locks = { "pnpm-lock.yaml": "pnpm", "yarn.lock": "yarn", "bun.lock": "bun" };
  const lock = Object.entries(locks).find(([file]) => existsSync(path.join(root, file)));
  const name = lock?.[1] ?? "npm";
  const found = inPath(name, env);
  if (found !== undefined) return { check: "package manager", status: "ok", detail: found };
  return {
    check: "package manager",
    status: "warning",
    detail: `${name} is not in PATH`,
    fix: `Install ${name}: packages named in an endpoint's 'dependencies' are installed with it.`,
  };
}

function inPath(name: string, env: NodeJS.ProcessEnv): string | undefined {
  const files = process.platform === "win32" ? [`${name}.cmd`, `${name}.exe`] : [name];
  return (env.PATH ?? "")
    .split(path.delimiter)
    .filter((folder) => folder !== "")
    .flatMap((folder) => files.map((file) => path.join(folder, file)))
    .find((file) => existsSync(file));
}

/** The compiler's parts are programs for one platform: a folder copied from elsewhere lacks them. */
export async function checkCompiler(): Promise<Finding> {
  try {
    const { transform, version } = await import("esbuild");
    await transform("let answer: number = 42", { loader: "ts" });
    return { check: "compiler", status: "ok", detail: `esbuild ${version}` };
  } catch (error) {
    return {
      check: "compiler",
      status: "failed",
      detail: (error as Error).message.split("\n")[0] ?? "",
      fix: "Remove node_modules and install again on this machine.",
    };
  }
}

/** Whether the home can be used, and by nobody else. */
export async function checkHome(home: string): Promise<Finding> {
  try {
    makeFolder(home, 0o700);
    accessSync(home, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    return {
      check: "home",
      status: "failed",
      detail: `${home} cannot be used (${(error as NodeJS.ErrnoException).code})`,
      fix: "Make it yours, or set FLASH_HOME to a folder that is.",
    };
  }
  const key = path.join(home, "key");
  const open = [home, key].filter((file) => existsSync(file) && isOpen(file));
  if (open.length === 0) return { check: "home", status: "ok", detail: home };
  return {
    check: "home",
    status: "warning",
    detail: `${open.join(" and ")} can be read by others`,
    fix: `chmod go-rwx ${open.join(" ")}`,
  };
}

function isOpen(file: string): boolean {
  return process.platform !== "win32" && (statSync(file).mode & 0o077) !== 0;
}

export async function checkSpace(home: string): Promise<Finding> {
  const { bavail, bsize } = await statfs(home);
  const free = bavail * bsize;
  const detail = `${(free / 1e9).toFixed(1)} GB free`;
  if (free >= LOW_BYTES) return { check: "disk space", status: "ok", detail };
  return {
    check: "disk space",
    status: free < NO_BYTES ? "failed" : "warning",
    detail,
    fix: `Free some space on the disk of ${home}, or set FLASH_HOME to another one.`,
  };
}

/** How long the disk takes to keep something: what the acknowledgement of a job waits for. */
export function checkDiskSpeed(home: string): Finding {
  const file = path.join(home, `.fsync-${process.pid}`);
  const handle = openSync(file, "w", 0o600);
  const times: number[] = [];
  try {
    for (let round = 0; round < FSYNCS; round++) {
      const started = performance.now();
      writeSync(handle, Buffer.alloc(4096));
      fsyncSync(handle);
      times.push(performance.now() - started);
    }
  } finally {
    closeSync(handle);
    rmSync(file, { force: true });
  }
  const median = times.sort((a, b) => a - b)[Math.floor(FSYNCS / 2)] ?? 0;
  const detail = `${median.toFixed(1)} ms to keep a write`;
  if (median <= SLOW_FSYNC_MS) return { check: "disk speed", status: "ok", detail };
  return {
    check: "disk speed",
    status: "warning",
    detail,
    fix: "Set FLASH_HOME to a local disk, or start the server with --durability relaxed.",
  };
}

/** Whether the port of `flash run` is free. Taken is no failure: the next one is used. */
export async function checkPort(port: number): Promise<Finding> {
  if (await isFree(port)) return { check: "run port", status: "ok", detail: `${port} is free` };
  return {
    check: "run port",
    status: "warning",
    detail: `${port} is in use`,
    fix: "'flash run' takes the next free port, and says so; --strict-port fails instead.",
  };
}

/** Whether the server of this machine could start on its port. */
export async function checkServerPort(port: number): Promise<Finding> {
  if (await isFree(port)) {
    const fix = "'flash deploy' and 'flash server start' start it.";
    return { check: "server", status: "warning", detail: "does not run", fix };
  }
  return {
    check: "server",
    status: "failed",
    detail: `something that is not this home's server uses port ${port}`,
    fix: "Choose another port with FLASH_PORT, or name that server with FLASH_URL and FLASH_API_KEY.",
  };
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  const isListening = await new Promise<boolean>((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => resolve(true));
  });
  if (isListening) await new Promise((resolve) => server.close(resolve));
  return isListening;
}

/** A server that should answer: whether it does, of which version, whether the key fits, and its clock. */
export async function checkServer(
  at: { url: string; key: string | undefined; version: string },
  signal: AbortSignal,
): Promise<Finding[]> {
  const { url, key, version } = at;
  let document: ServerDocument;
  try {
    const request = { method: "GET", path: "/api/v1/server", idleMs: PROBE_MS, signal } as const;
    document = await new ControlClient({ url, key }).json<ServerDocument>(request);
  } catch (error) {
    if (signal.aborted || !FlashError.is(error)) throw error;
    const { code, message, hint = "Is this the address of a Flash server?" } = error;
    if (code !== "UNAUTHORIZED" && code !== "FORBIDDEN") {
      return [{ check: "server", status: "failed", detail: message, fix: hint }];
    }
    return [
      { check: "server", status: "ok", detail: `${url} answers` },
      { check: "key", status: "failed", detail: message, fix: hint },
    ];
  }
  const isSame = document.version === version;
  return [
    {
      check: "server",
      status: isSame ? "ok" : "warning",
      detail: `${url}, version ${document.version}${isSame ? "" : `, while this command is ${version}`}`,
      ...(isSame
        ? {}
        : { fix: "Bring both to one version: 'flash update', then restart the server." }),
    },
    { check: "key", status: "ok", detail: "valid" },
    ...(await checkClock(url, signal)),
  ];
}

/** Both clocks, as far as the server's answers tell its own. */
async function checkClock(url: string, signal: AbortSignal): Promise<Finding[]> {
  const asked = Date.now();
  const response = await fetch(`${url}/livez`, { signal }).catch(() => undefined);
  const date = Date.parse(response?.headers.get("date") ?? "");
  if (Number.isNaN(date)) return [];
  // The header has whole seconds, and the answer took a moment.
  const skew = Math.max(0, Math.abs(date - (asked + Date.now()) / 2) - 1000);
  const detail = skew === 0 ? "agrees with the server's" : `${Math.round(skew / 1000)} s apart`;
  if (skew <= MAX_SKEW_MS) return [{ check: "clock", status: "ok", detail }];
  const fix = "Synchronise the clocks of both machines: keys expire and leases end by them.";
  return [{ check: "clock", status: "warning", detail, fix }];
}
