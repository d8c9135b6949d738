/**
 * The Flash server of this machine, one for each FLASH_HOME: find it, start it, stop it.
 *
 * Invariants:
 *   1. A command never talks to the server of another home: the key must fit and the home be the same.
 *   2. Only a process that has confirmed that it is this home's server is ever sent a signal.
 */

import { spawn, type ChildProcess } from "node:child_process";
import { open, mkdir, readFile, realpath, rename, stat } from "node:fs/promises";
import path from "node:path";
// Not kit/clock: its timers do not keep a process alive, and here nothing else does.
import { setTimeout as pause } from "node:timers/promises";
import type { ServerDocument } from "../contract/control.ts";
import { errorOfProblem, FlashError } from "../contract/errors.ts";
import { DEFAULTS } from "../contract/limits.ts";
import { abortable } from "../kit/abort.ts";
import { systemClock } from "../kit/clock.ts";
import { ControlClient } from "../clouds/clouds.ts";
import { readKey, readOrCreateKey } from "../server/control/key.ts";
import { ENTRY_FILE } from "./package.ts";
import { readRecord } from "./server-record.ts";

/** The server's own first words, over the channel that `start` opens to it. */
export type StartMessage = { url: string } | { problem: unknown };

export interface StartOptions {
  /** Undefined: FLASH_PORT or 4747, or wherever this home's server already runs. */
  port?: number | undefined;
  host?: string | undefined;
  durability?: string | undefined;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
}

/** A silent server is given up after this long, ms. */
const PROBE_MS = 5000;
/** A start may have to bring the store up to date, ms. */
const START_MS = 60_000;
/** A stop waits for running requests and jobs; their grace period is 30 s. */
const STOP_MS = 60_000;
/** A process that is not our child can only be looked at now and then, ms. */
const POLL_MS = 50;
/** The log of an earlier run is put aside when it has become larger than this, bytes. */
const MAX_LOG_BYTES = 10_000_000;

type Probe =
  | { kind: "ours"; document: ServerDocument }
  | { kind: "other"; what: string }
  | { kind: "nobody" };

export class LocalServer {
  readonly home: string;

  constructor(home: string) {
    this.home = home;
  }

  get logFile(): string {
    return path.join(this.home, "logs", "server.log");
  }

  /** The home's key; undefined when no server has been started there yet. */
  async key(): Promise<string | undefined> {
    return await readKey(this.home);
  }

  /** The running server of this home, wherever it listens; undefined when none runs. */
  async running(signal: AbortSignal): Promise<ServerDocument | undefined> {
    const record = await readRecord(this.home);
    if (record === undefined) return undefined;
    const probe = await this.#probe(record.url, signal);
    return probe.kind === "ours" ? probe.document : undefined;
  }

  /** The running server of this home. Throws `SERVER_NOT_RUNNING`, `CONFLICT`. */
  async find(port: number | undefined, signal: AbortSignal): Promise<ServerDocument> {
    const found = (await this.running(signal)) ?? (await this.#at(port, signal));
    if (found !== undefined) return mustListenOn(found, port);
    throw new FlashError("SERVER_NOT_RUNNING", `No Flash server runs for ${this.home}.`, {
      hint: "Start it with 'flash server start', or name another with --target or FLASH_URL.",
    });
  }

  /**
   * Starts the server in the background unless it runs already, and waits until it is ready.
   * Throws `CONFLICT` when something else uses the port.
   */
  async start(options: StartOptions): Promise<{ url: string; isNew: boolean }> {
    const { port, signal } = options;
    await readOrCreateKey(this.home);
    const running = (await this.running(signal)) ?? (await this.#at(port, signal));
    if (running !== undefined) return { url: mustListenOn(running, port).url, isNew: false };
    try {
      return { url: await this.#spawn(options), isNew: true };
    } catch (error) {
      // Somebody else may have started it at the same moment.
      const other = await this.running(signal);
      if (other === undefined) throw error;
      return { url: mustListenOn(other, port).url, isNew: false };
    }
  }

  /** Stops the server and waits until it is gone. False when none was running. */
  async stop(signal: AbortSignal): Promise<boolean> {
    const document = await this.running(signal);
    if (document === undefined) return false;
    process.kill(document.pid, "SIGTERM");
    const deadline = systemClock.elapsed() + STOP_MS;
    while (await this.#isThere(document.pid)) {
      if (systemClock.elapsed() > deadline) {
        throw new FlashError(
          "UNAVAILABLE",
          `The server (process ${document.pid}) has not ended within ${STOP_MS / 1000} s.`,
          {
            hint: `See ${this.logFile}; 'kill -9 ${document.pid}' ends it without waiting for its work.`,
          },
        );
      }
      await pause(POLL_MS, undefined, { signal });
    }
    return true;
  }

  /** This home's server on a port without a record, as one in a container or in the foreground may be. */
  async #at(port: number | undefined, signal: AbortSignal): Promise<ServerDocument | undefined> {
    if (port === 0) return undefined;
    const url = `http://127.0.0.1:${port ?? DEFAULTS.serverPort}`;
    const probe = await this.#probe(url, signal);
    if (probe.kind === "ours") return probe.document;
    if (probe.kind === "nobody") return undefined;
    throw new FlashError("CONFLICT", `${probe.what} uses port ${new URL(url).port}.`, {
      hint: "Choose another port with --port or FLASH_PORT, or name the server with --target and FLASH_API_KEY.",
    });
  }

  async #probe(url: string, signal: AbortSignal): Promise<Probe> {
    const client = new ControlClient({ url, key: await this.key() });
    try {
      const document = await client.json<ServerDocument | undefined>({
        method: "GET",
        path: "/api/v1/server",
        idleMs: PROBE_MS,
        signal,
      });
      if (typeof document?.home !== "string") {
        return { kind: "other", what: "Something that is no Flash server" };
      }
      return (await samePath(document.home, this.home))
        ? { kind: "ours", document }
        : { kind: "other", what: `The Flash server of ${document.home}` };
    } catch (error) {
      if (!FlashError.is(error)) throw error;
      if (error.code === "SERVER_NOT_RUNNING") return { kind: "nobody" };
      if (error.code === "UNAUTHORIZED") return { kind: "other", what: "Another Flash server" };
      return { kind: "other", what: "Something that is no Flash server" };
    }
  }

  async #spawn(options: StartOptions): Promise<string> {
    const log = await this.#openLog();
    try {
      const child = spawn(
        process.execPath,
        [...process.execArgv, ENTRY_FILE, ...startArguments(options)],
        {
          // The server outlives this command and must not keep the project's folder in use.
          cwd: this.home,
          detached: true,
          stdio: ["ignore", log.fd, log.fd, "ipc"],
          env: { ...options.env, FLASH_HOME: this.home },
        },
      );
      return await this.#ready(child, options.signal);
    } finally {
      await log.close();
    }
  }

  async #openLog(): Promise<Awaited<ReturnType<typeof open>>> {
    await mkdir(path.dirname(this.logFile), { recursive: true, mode: 0o700 });
    const size = await stat(this.logFile).then(
      ({ size }) => size,
      () => 0,
    );
    if (size > MAX_LOG_BYTES) await rename(this.logFile, `${this.logFile}.1`);
    return await open(this.logFile, "a", 0o600);
  }

  async #ready(child: ChildProcess, signal: AbortSignal): Promise<string> {
    const started = new Promise<string>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code, killedBy) => reject(this.#startError(code ?? killedBy)));
      child.once("message", (message: StartMessage) => {
        if ("url" in message) resolve(message.url);
        else reject(errorOfProblem(message.problem) ?? this.#startError("a problem"));
      });
    });
    const late = systemClock.after(START_MS, () => child.kill("SIGTERM"));
    try {
      return await abortable(started, signal);
    } catch (error) {
      child.kill("SIGTERM");
      throw FlashError.is(error) ? await this.#withLog(error) : error;
    } finally {
      late();
      child.removeAllListeners();
      // From here on nothing ties the two processes together.
      if (child.connected) child.disconnect();
      child.unref();
    }
  }

  #startError(outcome: unknown): FlashError {
    return new FlashError(
      "UNAVAILABLE",
      `The Flash server ended while it started (${String(outcome)}).`,
      {
        hint: `Its log is ${this.logFile}.`,
      },
    );
  }

  /** A server that ended without a word has said why in its log. */
  async #withLog(error: FlashError): Promise<FlashError> {
    if (error.code !== "UNAVAILABLE") return error;
    const text = await readFile(this.logFile, "utf8").catch(() => "");
    const tail = text.trimEnd().split("\n").slice(-5).join("\n  ");
    const message = tail === "" ? error.message : `${error.message}\n  ${tail}`;
    return new FlashError(error.code, message, {
      cause: error,
      hint: `Its log is ${this.logFile}.`,
    });
  }

  /** A process that nobody has reaped still has its id, so the record's absence counts as well. */
  async #isThere(pid: number): Promise<boolean> {
    const record = await readRecord(this.home);
    if (record?.pid !== pid) return false;
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  }
}

/** True for a URL whose host is this machine itself. */
export function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

function mustListenOn(document: ServerDocument, port: number | undefined): ServerDocument {
  const actual = Number(new URL(document.url).port);
  if (port === undefined || port === 0 || port === actual) return document;
  throw new FlashError(
    "CONFLICT",
    `The server of ${document.home} already runs at ${document.url}, not on port ${port}.`,
    { hint: "Leave the port out to use it, stop it first, or set FLASH_HOME for a second server." },
  );
}

function startArguments({ port, host, durability }: StartOptions): string[] {
  return [
    "server",
    "start",
    "--foreground",
    ...(port === undefined ? [] : ["--port", String(port)]),
    ...(host === undefined ? [] : ["--host", host]),
    ...(durability === undefined ? [] : ["--durability", durability]),
  ];
}

async function samePath(a: string, b: string): Promise<boolean> {
  const [realA, realB] = await Promise.all(
    [a, b].map((file) => realpath(file).catch(() => path.resolve(file))),
  );
  return realA === realB;
}
