/**
 * The Flash server as a process: a store, a compute driver and the server put together, from the
 * first line of the log to the last.
 */

import { realpath } from "node:fs/promises";
import { FlashError } from "../contract/errors.ts";
import { DEFAULTS } from "../contract/limits.ts";
import { makeFolder } from "../server/control/folders.ts";
import type { Log } from "../kit/log.ts";
import {
  FlashServer,
  openStore,
  ProcessCompute,
  type FlashServerOptions,
} from "../server/server.ts";
import { ownVersion } from "./package.ts";
import { serverLog } from "./server-log.ts";
import { removeRecord, writeRecord } from "./server-record.ts";
import type { ServerSettings } from "./server-settings.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

export interface ServerProcessOptions extends ServerSettings {
  /** FLASH_HOME. */
  home: string;
  /** Default: JSON lines on stderr. */
  log?: Log;
}

/** A running server of a home, known to every command on this machine. */
export class ServerProcess {
  readonly url: string;
  readonly home: string;
  /** Resolves when nothing of the server is left, whoever stopped it. */
  readonly closed: Promise<void>;
  readonly #server: FlashServer;
  readonly #log: Log;

  private constructor(home: string, server: FlashServer, log: Log) {
    this.#log = log;
    this.home = home;
    this.url = server.url;
    this.#server = server;
    // Last: the absence of the record says that nothing of this server is left.
    this.closed = server.closed.then(() => removeRecord(home, process.pid));
  }

  /** Throws `CONFLICT` when the port is taken, or the home is used by another server. */
  static async start(options: ServerProcessOptions): Promise<ServerProcess> {
    makeFolder(options.home, 0o700);
    const home = await realpath(options.home);
    const log = options.log ?? serverLog(home);
    const server = await startServer(home, { ...options, log });
    const own = new ServerProcess(home, server, log);
    await writeRecord(home, {
      pid: process.pid,
      url: server.localUrl,
      version: ownVersion(),
      startedAt: new Date().toISOString(),
    });
    return own;
  }

  /** Reads a renewed certificate. One that cannot be used is logged, and the earlier one stays in use. */
  async reload(): Promise<void> {
    try {
      await this.#server.reloadTls();
      this.#log.info("the certificate was read again");
    } catch (error) {
      this.#log.error("the certificate was not read again", { error: String(error) });
    }
  }

  /** Finishes running work within the grace period, then ends everything. Idempotent. */
  async close(): Promise<void> {
    await this.#server.close();
    await this.closed;
  }
}

async function startServer(
  home: string,
  options: ServerProcessOptions & { log: Log },
): Promise<FlashServer> {
  const { log } = options;
  const store = openStore({ home, durability: options.durability ?? "strict", log });
  const compute = new ProcessCompute({ home, log });
  try {
    return await FlashServer.start({
      home,
      store,
      compute,
      log,
      host: options.host ?? "127.0.0.1",
      port: options.port ?? DEFAULTS.serverPort,
      allowPrivateWebhooks: options.privateWebhooks ?? false,
      rateLimits: options.rateLimits ?? false,
      ...(options.queueLimit === undefined ? {} : { queueLimit: options.queueLimit }),
      tracing: process.env,
      logs: logLimits(process.env),
      ...(options.cors === undefined ? {} : { cors: options.cors }),
      keepReleases: options.keepReleases ?? DEFAULTS.keepReleases,
      ...(options.keepFailed === undefined
        ? {}
        : { keepFailed: { forMs: Math.round(options.keepFailed * DAY_MS) } }),
      ...(options.tls === undefined ? {} : { tls: options.tls }),
      ...(options.publicUrl === undefined ? {} : { publicUrl: options.publicUrl }),
      trustProxy: options.trustProxy ?? false,
      ...(options.workerMemory === undefined
        ? {}
        : { workerMemoryBytes: options.workerMemory * 1024 * 1024 }),
      version: ownVersion(),
    });
  } catch (error) {
    // A server that has started closes both itself.
    await compute.close();
    await store.close();
    throw error;
  }
}

/** FLASH_LOG_BYTES and FLASH_ALL_LOG_BYTES. Throws `INVALID_CONFIG`. */
function logLimits(env: NodeJS.ProcessEnv): NonNullable<FlashServerOptions["logs"]> {
  const maxBytes = bytesOf(env, "FLASH_LOG_BYTES");
  const maxTotalBytes = bytesOf(env, "FLASH_ALL_LOG_BYTES");
  return {
    ...(maxBytes === undefined ? {} : { maxBytes }),
    ...(maxTotalBytes === undefined ? {} : { maxTotalBytes }),
  };
}

function bytesOf(env: NodeJS.ProcessEnv, name: string): number | undefined {
  const text = env[name]?.trim() ?? "";
  if (text === "") return undefined;
  if (/^[1-9]\d{3,14}$/.test(text)) return Number(text);
  throw new FlashError(
    "INVALID_CONFIG",
    `${name} must be a number of bytes from 1000, got '${text}'.`,
  );
}
