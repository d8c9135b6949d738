/**
 * Step 6: the packages that an endpoint lists in `dependencies`, installed by npm for the platform
 * that workers run on. Versions are those of the project's lockfile and node_modules, so that what
 * was tested is what runs. An install is kept under its inputs' digest: rebuilds do not repeat it.
 */

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { canonical } from "../contract/json.ts";
import type { WorkerPlatform } from "../contract/platform.ts";
import { buildFailed, compare, errorAt } from "./diagnostics.ts";

/** npm talks to a network; a minute without an end of it is no help, ten are the original's limit. */
const INSTALL_TIMEOUT_MS = 600_000;

export interface InstallRequest {
  root: string;
  /** Folder for finished installs. */
  cacheDir: string;
  dependencies: readonly string[];
  platform: WorkerPlatform;
  signal: AbortSignal | undefined;
}

export interface Installed {
  /** The `node_modules` folder. */
  folder: string;
  /** Exact versions by name. */
  packages: Record<string, string>;
}

/** Splits `@scope/name@^1.2` into name and version; a bare name has none. */
export function parseDependency(dependency: string): { name: string; version: string | undefined } {
  const at = dependency.indexOf("@", 1);
  if (at === -1) return { name: dependency.trim(), version: undefined };
  return { name: dependency.slice(0, at).trim(), version: dependency.slice(at + 1).trim() };
}

/** Throws `BUILD_FAILED` with npm's output. */
export async function installPackages(request: InstallRequest): Promise<Installed> {
  const { root, cacheDir, platform } = request;
  const wanted = resolveVersions(root, request.dependencies);
  const lock = readLock(root);
  const key = createHash("sha256")
    .update(canonical([wanted, platform, lock ?? null]))
    .digest("hex")
    .slice(0, 32);
  const folder = join(cacheDir, key);
  if (!existsSync(folder)) await installInto(folder, { ...request, wanted, lock });
  return {
    folder: join(folder, "node_modules"),
    packages: readInstalled(join(folder, "node_modules")),
  };
}

/** The version in use where there is one and none is written; else what is written, else the newest. */
function resolveVersions(root: string, dependencies: readonly string[]): Record<string, string> {
  const entries = dependencies.map((dependency): [string, string] => {
    const { name, version } = parseDependency(dependency);
    return [name, localPath(root, version) ?? version ?? versionInUse(root, name) ?? "latest"];
  });
  return Object.fromEntries(entries.sort(([a], [b]) => compare(a, b)));
}

/** `file:./vendor/x` means a folder of the project; the install happens elsewhere. */
function localPath(root: string, version: string | undefined): string | undefined {
  return version?.startsWith("file:") === true
    ? `file:${resolve(root, version.slice(5))}`
    : undefined;
}

function versionInUse(root: string, name: string): string | undefined {
  const installed = readJson(join(root, "node_modules", name, "package.json"));
  if (typeof installed?.version === "string") return installed.version;
  const locked = (readLock(root)?.packages ?? {})[`node_modules/${name}`];
  return typeof locked?.version === "string" ? locked.version : undefined;
}

interface Lock {
  packages?: Record<
    string,
    { version?: string; link?: boolean; dependencies?: Record<string, string> }
  >;
  [key: string]: unknown;
}

function readLock(root: string): Lock | undefined {
  return readJson(join(root, "package-lock.json"));
}

function readJson(file: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

/** Installs beside the target and renames: a folder that exists is a whole one. */
async function installInto(
  folder: string,
  install: InstallRequest & { wanted: Record<string, string>; lock: Lock | undefined },
): Promise<void> {
  const { cacheDir, wanted, lock } = install;
  await mkdir(cacheDir, { recursive: true });
  const work = await mkdtemp(join(cacheDir, "install-"));
  try {
    const manifest = {
      name: "flash-packages",
      version: "0.0.0",
      private: true,
      dependencies: wanted,
    };
    await writeFile(join(work, "package.json"), JSON.stringify(manifest));
    if (lock !== undefined) {
      await writeFile(join(work, "package-lock.json"), JSON.stringify(pruneLock(lock, wanted)));
    }
    await runNpm(work, install);
    await mkdir(join(work, "node_modules"), { recursive: true });
    await rename(work, folder).catch(async (error: NodeJS.ErrnoException) => {
      // Another build has finished the same install first.
      if (!existsSync(folder)) throw error;
      await cp(work, folder, { recursive: true, force: false, errorOnExist: false });
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The project's lock as the lock of the few packages: npm drops the rest and keeps the versions. */
function pruneLock(lock: Lock, wanted: Readonly<Record<string, string>>): Lock {
  const packages = Object.fromEntries(
    Object.entries(lock.packages ?? {}).filter(
      ([path, entry]) => path.startsWith("node_modules/") && entry.link !== true,
    ),
  );
  return {
    name: "flash-packages",
    version: "0.0.0",
    lockfileVersion: 3,
    requires: true,
    packages: {
      "": { version: "0.0.0", dependencies: wanted },
      ...packages,
    },
  };
}

function npmArguments({ os, cpu, libc }: WorkerPlatform): string[] {
  const isHere = os === process.platform && cpu === process.arch;
  return [
    "install",
    "--omit=dev",
    "--no-audit",
    "--no-fund",
    "--no-progress",
    "--install-links",
    "--engine-strict=false",
    `--os=${os}`,
    `--cpu=${cpu}`,
    ...(libc === null ? [] : [`--libc=${libc}`]),
    // An install script builds for the machine it runs on.
    ...(isHere ? [] : ["--ignore-scripts"]),
  ];
}

async function runNpm(
  cwd: string,
  { dependencies, platform, signal }: InstallRequest,
): Promise<void> {
  const isWindows = process.platform === "win32";
  const child = spawn(isWindows ? "npm.cmd" : "npm", npmArguments(platform), {
    cwd,
    stdio: ["ignore", "pipe", "pipe"],
    shell: isWindows,
    timeout: INSTALL_TIMEOUT_MS,
    ...(signal === undefined ? {} : { signal }),
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  }
  const failure = await new Promise<string | undefined>((settle) => {
    child.once("error", (error) => settle(error.message));
    child.once("close", (code, killed) => {
      if (code === 0) settle(undefined);
      else
        settle(
          killed === null ? output.trim() : `npm timed out (${INSTALL_TIMEOUT_MS / 1000} seconds)`,
        );
    });
  });
  signal?.throwIfAborted();
  if (failure === undefined) return;
  throw buildFailed([
    errorAt(
      undefined,
      `Failed to install dependencies (${dependencies.join(", ")}):\n${failure}`,
      "Check the names and versions in `dependencies`, and that npm reaches its registry.",
    ),
  ]);
}

/** What npm has written down, without the copies that sit inside other packages. */
function readInstalled(folder: string): Record<string, string> {
  const lock: Lock | undefined = readJson(join(folder, ".package-lock.json"));
  const entries = Object.entries(lock?.packages ?? {}).flatMap(
    ([path, { version }]): [string, string][] => {
      const name = path.replace(/^node_modules\//, "");
      return name.includes("node_modules/") || version === undefined ? [] : [[name, version]];
    },
  );
  return Object.fromEntries(entries.sort(([a], [b]) => compare(a, b)));
}
