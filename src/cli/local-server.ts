/**
 * The Flash server of this machine, one for each FLASH_HOME: find it, start it, stop it.
 *
 * Invariants:
 *   1. A command never talks to the server of another home: the key must fit and the home be the same.
 *   2. Only a process that has confirmed that it is this home's server is ever sent a signal.
 *   3. The key is only sent to who has proven to have it, also when they are named: anybody may listen
 *      on a port that is free.
 */

import { randomBytes } from "node:crypto";
import { realpath } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
// Not kit/clock: its timers do not keep a process alive, and here nothing else does.
import { setTimeout as pause } from "node:timers/promises";
import type { ServerDocument } from "../contract/control.ts";
import { FlashError } from "../contract/errors.ts";
import { DEFAULTS } from "../contract/limits.ts";
import { CHALLENGE_HEADER, PROOF_HEADER, portOfUrl } from "../contract/server-proof.ts";
import { systemClock } from "../kit/clock.ts";
import { ControlClient } from "../clouds/clouds.ts";
import { proofOf, readKey, readOrCreateKey } from "../server/control/key.ts";
import type { StartOptions } from "./background.ts";
import { readRecord } from "./server-record.ts";
import { serverLogFile } from "./home.ts";

/** A silent server is given up after this long, ms. */
const PROBE_MS = 10_000;
/** Another command's start of the same server takes about a second, and many on a busy machine, ms. */
const RIVAL_MS = 30_000;
/** A stop waits for running requests and jobs; their grace period is 30 s. */
const STOP_MS = 60_000;
/** A process that is not our child can only be looked at now and then, ms. */
const POLL_MS = 50;
type Probe =
  | { kind: "ours"; document: ServerDocument }
  | { kind: "other"; what: string }
  /** Somebody listens, and says nothing in time. */
  | { kind: "silent"; what: string }
  | { kind: "nobody" };

export class LocalServer {
  readonly home: string;

  constructor(home: string) {
    this.home = home;
  }

  get logFile(): string {
    return serverLogFile(this.home);
  }

  /** The home's key; undefined when no server has been started there yet. */
  async key(): Promise<string | undefined> {
    return await readKey(this.home);
  }

  /**
   * The home's key, for a server of this machine that is named; undefined when the home has none, or the
   * server has not proven to have it: one of another home, or a `flash run`, which wants none.
   */
  async keyFor(url: string, signal: AbortSignal): Promise<string | undefined> {
    const key = await this.key();
    if (key === undefined) return undefined;
    try {
      const stranger = await strangerAt(new URL(url).origin, key, signal);
      return stranger === undefined ? key : undefined;
    } catch (error) {
      // The command's own request says what is wrong there.
      if (FlashError.is(error)) return undefined;
      throw error;
    }
  }

  /**
   * The running server of this home, wherever it listens; undefined when none runs. Throws `UNAVAILABLE`
   * when its process is there and says nothing: that is no server that does not run.
   */
  async running(signal: AbortSignal): Promise<ServerDocument | undefined> {
    const record = await readRecord(this.home);
    if (record === undefined) return undefined;
    const probe = await this.#probe(record.url, signal);
    if (probe.kind === "silent" && (await this.#isThere(record.pid))) {
      throw new FlashError(
        "UNAVAILABLE",
        `The Flash server at ${record.url} (process ${record.pid}) has not answered for ${PROBE_MS / 1000} s.`,
        { hint: `See ${this.logFile}, or try again: the machine may have much else to do.` },
      );
    }
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
  async start(options: StartOptions): Promise<{ url: string; localUrl: string; isNew: boolean }> {
    const { port, signal } = options;
    await readOrCreateKey(this.home);
    const running = (await this.running(signal)) ?? (await this.#at(port, signal));
    if (running !== undefined) return { ...addressOf(running, port), isNew: false };
    const { startInBackground } = await import("./background.ts");
    try {
      const url = await startInBackground(this, options);
      // By now it has written down where this machine reaches it.
      const localUrl = (await readRecord(this.home))?.url ?? url;
      return { url, localUrl, isNew: true };
    } catch (error) {
      const other = isConflict(error) ? await this.#soon(signal) : undefined;
      if (other === undefined) throw error;
      return { ...addressOf(other, port), isNew: false };
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

  /** Whoever was faster has the home or the port, but may not answer yet. */
  async #soon(signal: AbortSignal): Promise<ServerDocument | undefined> {
    const deadline = systemClock.elapsed() + RIVAL_MS;
    for (;;) {
      const rival = await this.running(signal);
      if (rival !== undefined || systemClock.elapsed() > deadline) return rival;
      await pause(POLL_MS, undefined, { signal });
    }
  }

  /** This home's server on a port without a record, as one in a container or in the foreground may be. */
  async #at(port: number | undefined, signal: AbortSignal): Promise<ServerDocument | undefined> {
    if (port === 0) return undefined;
    const url = `http://127.0.0.1:${port ?? DEFAULTS.serverPort}`;
    const probe = await this.#probe(url, signal);
    if (probe.kind === "ours") return probe.document;
    if (probe.kind === "nobody") return undefined;
    throw new FlashError("CONFLICT", `${probe.what} uses port ${new URL(url).port}.`, {
      hint: "Choose another port with --port or FLASH_PORT, which 'flash run' takes as well, or name the server with --target and FLASH_API_KEY.",
    });
  }

  async #probe(url: string, signal: AbortSignal): Promise<Probe> {
    const key = await this.key();
    let hasProof = false;
    try {
      const stranger = key === undefined ? undefined : await strangerAt(url, key, signal);
      if (stranger !== undefined) return { kind: "other", what: stranger };
      hasProof = key !== undefined;
      const client = new ControlClient({ url, key });
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
      if (error.cause instanceof Silence || (hasProof && error.code === "CONNECTION_FAILED")) {
        return { kind: "silent", what: "Something that does not answer" };
      }
      return { kind: "other", what: "Something that is no Flash server" };
    }
  }

  /** A process that nobody has reaped still has its id, so the record's absence counts as well. */
  async #isThere(pid: number): Promise<boolean> {
    const record = await readRecord(this.home);
    if (record?.pid !== pid) return false;
    try {
      process.kill(pid, 0);
      return true;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code !== "ESRCH";
    }
  }
}

/** Somebody listens, and says nothing in time. */
class Silence extends Error {}

/** Who answers there, when it has not this key; undefined when it has proven that it does. */
async function strangerAt(
  url: string,
  key: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const challenge = randomBytes(32).toString("hex");
  const proof = await challenged(url, challenge, signal);
  if (proof === undefined) return "Something that is no Flash server";
  const port = portOfUrl(new URL(url));
  return proof === proofOf(key, port, challenge) ? undefined : "Another Flash server";
}

/** The proof that comes back, if any. Throws `SERVER_NOT_RUNNING`, `CONNECTION_FAILED`. */
async function challenged(
  url: string,
  challenge: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  return await new Promise((resolve, reject) => {
    const { get } = url.startsWith("https:") ? process.getBuiltinModule("node:https") : http;
    const request = get(`${url}/livez`, {
      agent: false,
      headers: { [CHALLENGE_HEADER]: challenge },
      signal,
    });
    request.setTimeout(PROBE_MS, () => request.destroy(new Silence("it does not answer")));
    request.on("response", (response) => {
      response.resume();
      const proof = response.headers[PROOF_HEADER];
      resolve(typeof proof === "string" ? proof : undefined);
    });
    request.on("error", (cause: NodeJS.ErrnoException) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const code = cause.code === "ECONNREFUSED" ? "SERVER_NOT_RUNNING" : "CONNECTION_FAILED";
      reject(new FlashError(code, `${url}: ${cause.message}`, { cause }));
    });
  });
}

function isConflict(error: unknown): boolean {
  return FlashError.is(error) && error.code === "CONFLICT";
}

function addressOf(
  document: ServerDocument,
  port: number | undefined,
): Pick<ServerDocument, "url" | "localUrl"> {
  const { url, localUrl } = mustListenOn(document, port);
  return { url, localUrl };
}

function mustListenOn(document: ServerDocument, port: number | undefined): ServerDocument {
  if (port === undefined || port === 0 || port === document.port) return document;
  throw new FlashError(
    "CONFLICT",
    `The server of ${document.home} already runs at ${document.url}, not on port ${port}.`,
    { hint: "Leave the port out to use it, stop it first, or set FLASH_HOME for a second server." },
  );
}

async function samePath(a: string, b: string): Promise<boolean> {
  const [realA, realB] = await Promise.all(
    [a, b].map((file) => realpath(file).catch(() => path.resolve(file))),
  );
  return realA === realB;
}
