/** Starts the Flash server as a process of its own that outlives the command, and waits until it is ready. */

import { spawn, type ChildProcess } from "node:child_process";
import { open, readFile, rename, stat } from "node:fs/promises";
import path from "node:path";
import { errorOfProblem, FlashError } from "../contract/errors.ts";
import { abortable } from "../kit/abort.ts";
import { systemClock } from "../kit/clock.ts";
import { makeFolder } from "../server/control/folders.ts";
import { serverCommand, type ServerSettings } from "./server-settings.ts";

/** Without a port: 4747, or wherever this home's server already runs. */
export interface StartOptions extends ServerSettings {
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
}

/** The server's own first words, over the channel that is opened to it. */
export type StartMessage = { url: string } | { problem: unknown };

/** A start may have to bring the store up to date, on a machine with much else to do, ms. */
const START_MS = 120_000;
/** The log of earlier runs is put aside when it has become larger than this, bytes. */
const MAX_LOG_BYTES = 10_000_000;
/** So much of what a server wrote is shown when it ends without a word. */
const SHOWN_LINES = 5;

/** Resolves with the server's URL. Throws what the server says, or `UNAVAILABLE` with its log. */
export async function startInBackground(
  { home, logFile }: { home: string; logFile: string },
  options: StartOptions,
): Promise<string> {
  const log = await openLog(logFile);
  try {
    const command = [...process.execArgv, ...serverCommand(options)];
    const child = spawn(process.execPath, command, {
      // The server must not keep the project's folder in use.
      cwd: home,
      detached: true,
      stdio: ["ignore", log.handle.fd, log.handle.fd, "ipc"],
      // It outlives the npm that may have started this command; see stop-signals.
      env: { ...options.env, FLASH_HOME: home, npm_command: undefined },
    });
    return await ready(child, options);
  } catch (error) {
    if (!(error instanceof SilentEnd)) throw error;
    throw await endedError(logFile, log.size, error);
  } finally {
    await log.handle.close();
  }
}

/** The server ended before it said anything. */
class SilentEnd extends Error {}

interface OpenLog {
  handle: Awaited<ReturnType<typeof open>>;
  /** Where this start's lines begin, bytes. */
  size: number;
}

async function openLog(file: string): Promise<OpenLog> {
  makeFolder(path.dirname(file), 0o700);
  const known = await stat(file).catch(() => undefined);
  const isFull = known !== undefined && known.size > MAX_LOG_BYTES;
  if (isFull) await rename(file, `${file}.1`);
  return { handle: await open(file, "a", 0o600), size: isFull ? 0 : (known?.size ?? 0) };
}

/**
 * Resolves with the URL that the server says. Ends a server that says nothing for `withinMs`: but what it
 * has said while this process stood still counts.
 */
export async function ready(
  child: ChildProcess,
  { signal, withinMs = START_MS }: { signal: AbortSignal; withinMs?: number },
): Promise<string> {
  let forget = (): void => undefined;
  const started = new Promise<string>((resolve, reject) => {
    // A message that has come is read in between.
    forget = systemClock.after(withinMs, () => setImmediate(() => reject(lateError(withinMs))));
    child.once("error", reject);
    child.once("exit", (code, killedBy) => reject(new SilentEnd(`${code ?? killedBy}`)));
    child.once("message", (message: StartMessage) => {
      if ("url" in message) resolve(message.url);
      else reject(errorOfProblem(message.problem) ?? new SilentEnd("an unknown problem"));
    });
  });
  try {
    return await abortable(started, signal);
  } catch (error) {
    child.kill("SIGTERM");
    throw error;
  } finally {
    forget();
    child.removeAllListeners();
    // From here on nothing ties the two processes together.
    if (child.connected) child.disconnect();
    child.unref();
  }
}

function lateError(ms: number): FlashError {
  return new FlashError("UNAVAILABLE", `The Flash server was not ready within ${ms / 1000} s.`, {
    hint: "Start it in the foreground to see what it does: flash server start --foreground.",
  });
}

async function endedError(file: string, from: number, cause: Error): Promise<FlashError> {
  const text = await readFile(file).then(
    (bytes) => bytes.subarray(from).toString("utf8").trimEnd(),
    () => "",
  );
  const shown = text.split("\n").slice(-SHOWN_LINES).join("\n  ");
  return new FlashError(
    "UNAVAILABLE",
    `The Flash server ended while it started (${cause.message}).${shown === "" ? "" : `\n  ${shown}`}`,
    { hint: `Its log is ${file}.`, cause },
  );
}
