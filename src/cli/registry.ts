/** The npm registry: which versions of Flash there are, and how two of them compare. */

import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { FlashError } from "../contract/errors.ts";
import { isPlainJsonObject } from "../contract/json.ts";

export const PACKAGE_NAME = "runpod-flash";

const DEFAULT_REGISTRY = "https://registry.npmjs.org";
const TIMEOUT_MS = 10_000;

export interface Published {
  /** What `npm install runpod-flash` would install. */
  latest: string;
  versions: string[];
}

/** Throws `CONNECTION_FAILED`, `REMOTE_ERROR`. */
export async function published(where: {
  cwd: string;
  env: NodeJS.ProcessEnv;
  signal?: AbortSignal;
}): Promise<Published> {
  const url = `${registryUrl(where)}/${PACKAGE_NAME}`;
  const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(where.signal ? [where.signal] : [])];
  let response: Response;
  let document: unknown;
  try {
    response = await fetch(url, {
      headers: { accept: "application/vnd.npm.install-v1+json" },
      signal: AbortSignal.any(signals),
    });
    document = response.ok ? await response.json().catch(() => undefined) : undefined;
  } catch (cause) {
    if (where.signal?.aborted === true) throw where.signal.reason;
    const message = "Could not reach npm. Check your network connection.";
    throw new FlashError("CONNECTION_FAILED", message, { hint: `It was asked at ${url}.`, cause });
  }
  if (response.status === 404) {
    throw new FlashError("NOT_FOUND", `${PACKAGE_NAME} is not published at this registry.`, {
      hint: `It was asked at ${url}; 'npm config get registry' tells where that comes from.`,
    });
  }
  if (!response.ok) {
    throw new FlashError("REMOTE_ERROR", `npm returned HTTP ${response.status}. Try again later.`);
  }
  return read(document);
}

function read(document: unknown): Published {
  if (!isPlainJsonObject(document)) {
    throw new FlashError("REMOTE_ERROR", "npm returned an unexpected response. Try again later.");
  }
  const { "dist-tags": tags, versions } = document;
  const latest = isPlainJsonObject(tags) ? tags.latest : undefined;
  if (typeof latest !== "string" || !isPlainJsonObject(versions)) {
    throw new FlashError("REMOTE_ERROR", "npm response missing version info. Try again later.");
  }
  return { latest, versions: Object.keys(versions) };
}

/** As npm has it: its variable, the project's .npmrc, the user's. Without a slash at the end. */
export function registryUrl({ cwd, env }: { cwd: string; env: NodeJS.ProcessEnv }): string {
  const home = env.HOME ?? homedir();
  const files = [path.join(cwd, ".npmrc"), env.npm_config_userconfig ?? path.join(home, ".npmrc")];
  const named =
    env.npm_config_registry?.trim() ||
    env.NPM_CONFIG_REGISTRY?.trim() ||
    files.map(registryIn).find((url) => url !== undefined);
  return (named ?? DEFAULT_REGISTRY).replace(/\/+$/, "");
}

function registryIn(file: string): string | undefined {
  try {
    return /^\s*registry\s*=\s*"?([^\s"]+)"?\s*$/m.exec(readFileSync(file, "utf8"))?.[1];
  } catch {
    return undefined;
  }
}

/** Below 0 when `a` is the older one. Pre-releases come before their release. Source: semver.org 11. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [parts(a), parts(b)];
  for (let at = 0; at < 3; at++) {
    const difference = (left.numbers[at] ?? 0) - (right.numbers[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return comparePreReleases(left.pre, right.pre);
}

function parts(version: string): { numbers: number[]; pre: string[] } {
  const [plain = ""] = version.replace(/^v/, "").split("+");
  const dash = plain.indexOf("-");
  const core = dash === -1 ? plain : plain.slice(0, dash);
  return {
    numbers: core.split(".").map(Number),
    pre: dash === -1 ? [] : plain.slice(dash + 1).split("."),
  };
}

function comparePreReleases(a: readonly string[], b: readonly string[]): number {
  if (a.length === 0 || b.length === 0) return b.length - a.length;
  for (let at = 0; at < Math.max(a.length, b.length); at++) {
    const [one, other] = [a[at], b[at]];
    if (one === undefined) return -1;
    if (other === undefined) return 1;
    if (one === other) continue;
    const areNumbers = [one, other].map((part) => /^\d+$/.test(part));
    if (areNumbers[0] && areNumbers[1]) return Number(one) - Number(other);
    if (areNumbers[0] !== areNumbers[1]) return areNumbers[0] ? -1 : 1;
    return one < other ? -1 : 1;
  }
  return 0;
}
