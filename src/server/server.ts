/**
 * The server room: durable jobs, load-balanced requests, workers that come and go, and the API that
 * controls them, in one process over a store and a compute driver.
 *
 *   server-options  what a server is started with
 *   assembly        its parts, made for each other; pool-host: what pools of workers see of them
 *   door            a port, plain or with TLS
 *
 *   store/     what must survive (SQLite)
 *   jobs/      what happens to jobs
 *   edge/      connections, and the reading of plain requests
 *   gateway/   every HTTP request
 *   scaler/    how many workers there should be
 *   workers/   the workers there are, and the process driver
 *   traces/    spans for an OpenTelemetry collector
 *   metrics/   what is counted, for Prometheus
 *   control/   apps, builds, deployments, status, logs
 *   identity/  keys, secrets, the audit trail
 *
 * It does not build and never runs user code itself.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import path from "node:path";
import type { Duplex } from "node:stream";
import { DEFAULTS, LIMITS } from "../contract/limits.ts";
import { sleep, systemClock } from "../kit/clock.ts";
import { makeFolder } from "./control/folders.ts";
import { silentLog } from "../kit/log.ts";
import { assemble, type Parts } from "./assembly.ts";
import type { Control } from "./control/control.ts";
import { readOrCreateKey } from "./control/key.ts";
import { Door, readTls } from "./door.ts";
import { isLoopbackAddress, type FlashServerOptions } from "./server-options.ts";
import { readTraceSettings } from "./traces/settings.ts";
import type { Tracer } from "./traces/tracer.ts";

export type { FlashServerOptions } from "./server-options.ts";
export { SqliteStore, openStore, type StoreOptions } from "./store/store.ts";
export { ProcessCompute, type ProcessComputeOptions } from "./workers/process-compute.ts";
export { keyFile, readKey, readOrCreateKey } from "./control/key.ts";
export type { Control } from "./control/control.ts";

/** For answers that are being written when the server ends, ms. */
const LAST_WORDS_MS = 1000;

export class FlashServer {
  /** Base URL, without a slash at the end. */
  readonly url: string;
  /** The same for processes of this machine; with TLS a plain door on loopback. */
  readonly localUrl: string;
  /** The server key. */
  readonly key: string;
  /** For use within this process, as by `flash run`. */
  readonly control: Control;
  readonly #parts: Parts;
  #closing: Promise<void> | undefined;
  readonly #closed = Promise.withResolvers<void>();

  /** Resolves when the server answers. Throws `CONFLICT` when the port is taken. */
  static async start(given: FlashServerOptions): Promise<FlashServer> {
    // Workers run in folders of their own, where a relative path would mean something else.
    const options = { ...given, home: path.resolve(given.home) };
    makeFolder(options.home, 0o700);
    const key = options.key ?? (await readOrCreateKey(options.home));
    const tls = options.tls === undefined ? undefined : await readTls(options.tls);
    const parts = assemble(options, key, await startTracing(options));
    await options.compute.reclaim();
    await parts.identity.keys.load();
    await parts.identity.secrets.load();
    await parts.control.uploads.start();
    await options.store.control.finishRemovals((options.clock ?? systemClock).now());
    await parts.fleet.load();
    await parts.pruner.start();
    await openDoors(parts, tls);
    const server = new FlashServer(parts, key);
    parts.onStop = () => void server.close();
    // Our own workers ended with the server before; those that others start go on working.
    await parts.jobs.start({ livingWorkers: await parts.workerKeys.load() });
    await parts.batches.start();
    parts.gateway.open();
    parts.scaler.start();
    const { url } = parts;
    parts.events.emit({ kind: "server.started", message: `the server answers at ${url}` });
    return server;
  }

  private constructor(parts: Parts, key: string) {
    this.#parts = parts;
    this.key = key;
    this.url = parts.url;
    this.localUrl = parts.localUrl;
    this.control = parts.control;
  }

  /** Resolves when the server has been closed, by {@link close} or over the control API. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** Reads the certificate and its key again. Throws `INVALID_CONFIG`; the earlier ones then stay. */
  async reloadTls(): Promise<void> {
    const { options, doors } = this.#parts;
    if (options.tls === undefined) return;
    const texts = await readTls(options.tls);
    for (const door of doors) door.renew(texts);
  }

  /** Answers a request that came in elsewhere. Never throws. */
  handle(request: IncomingMessage, response: ServerResponse): void {
    this.#parts.gateway.handle(request, response);
  }

  /** Answers an upgrade request that came in elsewhere. Never throws. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#parts.gateway.handleUpgrade(request, socket, head);
  }

  /**
   * Refuses new work, lets requests and jobs finish for `graceMs` (default 30 s), then ends workers,
   * connections, compute and store. Jobs that were cut off are requeued. Idempotent.
   */
  close(options: { graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? LIMITS.workerGraceMs).then(
      this.#closed.resolve,
      (error: unknown) => {
        this.#closed.resolve();
        throw error;
      },
    );
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    const { gateway, doors, scaler, fleet, jobs, batches, identity, logs } = this.#parts;
    const { control, pruner, events, options } = this.#parts;
    events.emit({ kind: "server.stopping", message: "the server ends" });
    gateway.close();
    await pruner.close();
    await scaler.close();
    // Workers that finish their jobs may need a new connection to say so.
    await fleet.close(graceMs);
    const quiet = Promise.all(doors.map((door) => door.close()));
    // Ends every long poll: those clients get an answer before their connections end.
    await batches.close();
    await jobs.close();
    const lastWords = new AbortController();
    await Promise.race([gateway.quiet(), sleep(systemClock, LAST_WORDS_MS, lastWords.signal)]);
    lastWords.abort();
    // Of workers that others have started: they come again when there is a server again.
    gateway.closeLinks();
    for (const door of doors) door.cut();
    await quiet;
    await logs.close();
    await events.close();
    await this.#parts.tracer?.exporter.close();
    await identity.keys.close();
    control.uploads.close();
    await options.compute.close();
    await options.store.close();
  }
}

/** Loaded for those who have a collector. Throws `INVALID_CONFIG`. */
async function startTracing({
  tracing = {},
  version,
  log = silentLog,
}: FlashServerOptions): Promise<Tracer | undefined> {
  const settings = readTraceSettings(tracing);
  if (settings === undefined) return undefined;
  const { Tracer } = await import("./traces/tracer.ts");
  return new Tracer({ settings, version, log });
}

async function openDoors(parts: Parts, tls: Awaited<ReturnType<typeof readTls>> | undefined) {
  const { options, gateway, doors } = parts;
  const host = options.host ?? "127.0.0.1";
  const door = new Door(gateway, tls);
  doors.push(door);
  await door.open(host, options.port ?? DEFAULTS.serverPort);
  parts.url = options.publicUrl ?? door.url;
  parts.localUrl = door.url;
  if (tls !== undefined) {
    const inner = new Door(gateway);
    doors.push(inner);
    await inner.open("127.0.0.1", 0);
    parts.localUrl = inner.url;
  } else if (options.publicUrl === undefined && !isLoopbackAddress(host)) {
    options.log?.warn("keys travel in clear: the server listens to a network without TLS", {
      host,
    });
  }
}
