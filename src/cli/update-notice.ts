/**
 * Word of a newer version, at the end of a command: at most once a day, only to a person, and from
 * what is known already. Asking the registry is a process of its own (`update-check`), also at most
 * once a day. Nothing here fails aloud.
 *
 *   ~/.config/runpod/update_check.json   { last_checked_utc, latest_version, last_shown_utc }
 */

import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { makeFolder } from "../server/control/folders.ts";
import { ownVersion, programFile } from "./package.ts";
import { compareVersions, PACKAGE_NAME } from "./registry.ts";

interface Memory {
  /** ISO 8601. */
  last_checked_utc?: string;
  latest_version?: string;
  last_shown_utc?: string;
}

const DAY_MS = 24 * 60 * 60 * 1000;

/** Commands that run for long, or are about versions themselves. */
const SILENT = new Set(["run", "update", "completion"]);

/** False where nobody wants to hear of it. */
export function wantsNotice(command: string, env: NodeJS.ProcessEnv): boolean {
  if (env.FLASH_NO_UPDATE_CHECK || env.CI || SILENT.has(command)) return false;
  return process.stdout.isTTY || process.stderr.isTTY;
}

/** Writes the notice when there is one, and has the registry asked when that is due. Never throws. */
export async function tellOfUpdate(env: NodeJS.ProcessEnv): Promise<void> {
  try {
    const memory = readMemory(env);
    const { latest_version: latest } = memory;
    const isNewer = latest !== undefined && compareVersions(latest, ownVersion()) > 0;
    if (isNewer && isOlderThanADay(memory.last_shown_utc)) {
      process.stderr.write(
        `A new version of ${PACKAGE_NAME} is available: ${latest}\n  Run 'flash update' to upgrade.\n`,
      );
      writeMemory(env, { ...memory, last_shown_utc: new Date().toISOString() });
    }
    if (isOlderThanADay(memory.last_checked_utc)) await startCheck(env);
  } catch {
    // A notice is not worth a failure.
  }
}

/** What the process of its own does. */
export async function checkNow(env: NodeJS.ProcessEnv): Promise<void> {
  const { published } = await import("./registry.ts");
  const memory = { ...readMemory(env), last_checked_utc: new Date().toISOString() };
  // Written first: a registry that does not answer is asked again tomorrow, not with every command.
  writeMemory(env, memory);
  const { latest } = await published({ cwd: process.cwd(), env });
  writeMemory(env, { ...memory, latest_version: latest });
}

async function startCheck(env: NodeJS.ProcessEnv): Promise<void> {
  const { spawn } = await import("node:child_process");
  const command = [...process.execArgv, programFile("update-check")];
  const child = spawn(process.execPath, command, { detached: true, stdio: "ignore", env });
  child.on("error", () => undefined);
  child.unref();
}

function isOlderThanADay(time: string | undefined): boolean {
  const age = Date.now() - Date.parse(time ?? "");
  // A time in the future is no time: the clock has been set back.
  return !(age >= 0 && age < DAY_MS);
}

function memoryFile(env: NodeJS.ProcessEnv): string {
  const folder = env.XDG_CONFIG_HOME?.trim() || path.join(env.HOME ?? homedir(), ".config");
  return path.join(folder, "runpod", "update_check.json");
}

function readMemory(env: NodeJS.ProcessEnv): Memory {
  try {
    const value = JSON.parse(readFileSync(memoryFile(env), "utf8")) as Record<string, unknown>;
    return Object.fromEntries(Object.entries(value).filter(([, one]) => typeof one === "string"));
  } catch {
    return {};
  }
}

/** Written whole or not at all: several commands may end at once. */
function writeMemory(env: NodeJS.ProcessEnv, memory: Memory): void {
  const file = memoryFile(env);
  makeFolder(path.dirname(file));
  writeFileSync(`${file}.${process.pid}`, `${JSON.stringify(memory)}\n`);
  renameSync(`${file}.${process.pid}`, file);
}
