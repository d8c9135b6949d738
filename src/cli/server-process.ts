/**
 * The Flash server as a process: a store, a compute driver and the server put together, from the
 * first line of the log to the last.
 */

import { mkdir, realpath } from "node:fs/promises";
import { DEFAULTS } from "../contract/limits.ts";
import type { Durability } from "../contract/store.ts";
import { createLog, type Log } from "../kit/log.ts";
import { FlashServer, openStore, ProcessCompute } from "../server/server.ts";
import { ownVersion } from "./package.ts";
import { removeRecord, writeRecord } from "./server-record.ts";

export interface ServerProcessOptions {
  /** FLASH_HOME. */
  home: string;
  /** Default 127.0.0.1. */
  host?: string | undefined;
  /** Default 4747; 0 chooses a free one. */
  port?: number | undefined;
  /** Default `strict`. */
  durability?: Exclude<Durability, "memory"> | undefined;
  /** Lets webhooks reach loopback and private networks. Default false. */
  privateWebhooks?: boolean | undefined;
  /** Limits requests to queue endpoints as the platform does. Default false. */
  rateLimits?: boolean | undefined;
  /** Releases of an environment that can come back. Default 10. */
  keepReleases?: number | undefined;
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

  private constructor(home: string, server: FlashServer) {
    this.home = home;
    this.url = server.url;
    this.#server = server;
    // Last: the absence of the record says that nothing of this server is left.
    this.closed = server.closed.then(() => removeRecord(home, process.pid));
  }

  /** Throws `CONFLICT` when the port is taken, or the home is used by another server. */
  static async start(options: ServerProcessOptions): Promise<ServerProcess> {
    await mkdir(options.home, { recursive: true, mode: 0o700 });
    const home = await realpath(options.home);
    const server = await startServer(home, options);
    const own = new ServerProcess(home, server);
    await writeRecord(home, {
      pid: process.pid,
      url: server.url,
      version: ownVersion(),
      startedAt: new Date().toISOString(),
    });
    return own;
  }

  /** Finishes running work within the grace period, then ends everything. Idempotent. */
  async close(): Promise<void> {
    await this.#server.close();
    await this.closed;
  }
}

async function startServer(home: string, options: ServerProcessOptions): Promise<FlashServer> {
  const log = options.log ?? serverLog();
  const store = openStore({ home, durability: options.durability ?? "strict" });
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
      tracing: process.env,
      keepReleases: options.keepReleases ?? DEFAULTS.keepReleases,
      version: ownVersion(),
    });
  } catch (error) {
    // A server that has started closes both itself.
    await compute.close();
    await store.close();
    throw error;
  }
}

/** The server's log on stderr: lines for people in a terminal, JSON otherwise. */
export function serverLog(): Log {
  return createLog({
    format: process.stderr.isTTY ? "text" : "json",
    level: process.env.LOG_LEVEL?.toLowerCase() === "debug" ? "debug" : "info",
    write: (line) => process.stderr.write(line),
  });
}
