/** The Node that a plain `node` means on this machine, which is not always the one that runs us. */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";

/** Such as `v20.19.0`. A Node that a project brings along (npm package `node`) does not count. */
export function machineNodeVersion(env: NodeJS.ProcessEnv): string {
  if (!isInModules(process.execPath)) return process.version;
  const file = process.platform === "win32" ? "node.exe" : "node";
  const own = (env.PATH ?? "")
    .split(path.delimiter)
    .filter((folder) => folder !== "" && !isInModules(folder))
    .map((folder) => path.join(folder, file))
    .find((candidate) => existsSync(candidate));
  if (own === undefined) return process.version;
  const { stdout, status } = spawnSync(own, ["--version"], { encoding: "utf8" });
  return status === 0 ? stdout.trim() : process.version;
}

/** True for 22.18 and newer, which run TypeScript as it is. */
export function isNodeNewEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.replace(/^v/, "").split(".").map(Number);
  return major > 22 || (major === 22 && minor >= 18);
}

function isInModules(file: string): boolean {
  return file.split(path.sep).includes("node_modules");
}
