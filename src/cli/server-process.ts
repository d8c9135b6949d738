/**
 * The Flash server as a process: a store, a compute driver and the server put together, from the
 * first line of the log to the last.
 */

import { mkdir, realpath } from "node:fs/promises";
import path from "node:path";
import { DEFAULTS } from "../contract/limits.ts";
import type { Durability } from "../contract/store.ts";
import { createLog, type Log } from "../kit/log.ts";
import { FlashServer, ProcessCompute, SqliteStore } from "../server/server.ts";
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
  /** Default: JSON lines on stderr. */
  log?: Log;
}

/** A running server of a home, known to every command on this machine. */
export class ServerProcess {
  readonly url: string;
  readonly home: string;
  readonly #server: FlashServer;
  readonly #compute: ProcessCompute;
  readonly #store: SqliteStore;
  #closing: Promise<void> | undefined;

  private constructor(home: string, parts: Parts) {
    this.home = home;
    this.url = parts.server.url;
    this.#server = parts.server;
    this.#compute = parts.compute;
    this.#store = parts.store;
  }

  /** Throws when the port is in use, or the home is used by another server. */
  static async start(options: ServerProcessOptions): Promise<ServerProcess> {
    await mkdir(options.home, { recursive: true, mode: 0o700 });
    const home = await realpath(options.home);
    const log = options.log ?? serverLog();
    const version = ownVersion();
    const store = await SqliteStore.open({
      path: path.join(home, "flash.db"),
      durability: options.durability ?? "strict",
    });
    const compute = new ProcessCompute({ home, log });
    try {
      const server = await FlashServer.start({
        home,
        host: options.host ?? "127.0.0.1",
        port: options.port ?? DEFAULTS.serverPort,
        store,
        compute,
        log,
        version,
      });
      await writeRecord(home, {
        pid: process.pid,
        url: server.url,
        version,
        startedAt: new Date().toISOString(),
      });
      return new ServerProcess(home, { server, compute, store });
    } catch (error) {
      await compute.close();
      await store.close();
      throw error;
    }
  }

  /** Finishes running work within the grace period, then ends everything. Idempotent. */
  async close(): Promise<void> {
    this.#closing ??= this.#close();
    await this.#closing;
  }

  async #close(): Promise<void> {
    await this.#server.close();
    await this.#compute.close();
    await this.#store.close();
    // Last: its absence says that nothing of this server is left.
    await removeRecord(this.home, process.pid);
  }
}

interface Parts {
  server: FlashServer;
  compute: ProcessCompute;
  store: SqliteStore;
}

/** The server's log on stderr: lines for people in a terminal, JSON otherwise. */
export function serverLog(): Log {
  return createLog({
    format: process.stderr.isTTY ? "text" : "json",
    level: process.env.LOG_LEVEL?.toLowerCase() === "debug" ? "debug" : "info",
    write: (line) => process.stderr.write(line),
  });
}
