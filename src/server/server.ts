/**
 * The server room: durable jobs, load-balanced requests, workers that come and go, and the API that
 * controls them, in one process over a store and a compute driver.
 *
 *   store/     what must survive (SQLite)
 *   jobs/      what happens to jobs
 *   door       a port, plain or with TLS
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

import { mkdir } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import path from "node:path";
import type { Duplex } from "node:stream";
import type { Compute } from "../contract/compute.ts";
import type { LogLine } from "../contract/control.ts";
import { DEFAULTS, LIMITS } from "../contract/limits.ts";
import type { EndpointRow, KeepFailed, Store } from "../contract/store.ts";
import { sleep, systemClock, type Clock } from "../kit/clock.ts";
import { silentLog, type Log } from "../kit/log.ts";
import { Builds } from "./control/builds.ts";
import { Events } from "./control/events.ts";
import { Control } from "./control/control.ts";
import { readOrCreateKey } from "./control/key.ts";
import { Logs } from "./control/logs.ts";
import { Pruner } from "./control/pruner.ts";
import { Uploads } from "./control/uploads.ts";
import { WorkerKeys } from "./control/worker-keys.ts";
import { Keyring } from "./gateway/auth.ts";
import { Door, readTls, type TlsFiles } from "./door.ts";
import { Gateway } from "./gateway/gateway.ts";
import { Cors } from "./gateway/cors.ts";
import { RateLimits } from "./gateway/rate-limits.ts";
import { AuditTrail } from "./identity/audit.ts";
import type { Identity } from "./identity/identity.ts";
import { Keys } from "./identity/keys.ts";
import { Logins } from "./identity/logins.ts";
import { Secrets } from "./identity/secrets.ts";
import { Vault } from "./identity/vault.ts";
import { Batches, type BatchTarget } from "./jobs/batches.ts";
import { Jobs } from "./jobs/jobs.ts";
import { Scaler } from "./scaler/scaler.ts";
import { Fleet } from "./workers/fleet.ts";
import { Metrics } from "./metrics/metrics.ts";
import { readTraceSettings } from "./traces/settings.ts";
import type { Tracer } from "./traces/tracer.ts";
import type { Pool, PoolHost } from "./workers/pool.ts";

export { SqliteStore, openStore, type StoreOptions } from "./store/store.ts";
export { ProcessCompute, type ProcessComputeOptions } from "./workers/process-compute.ts";
export { keyFile, readKey, readOrCreateKey } from "./control/key.ts";
export type { Control } from "./control/control.ts";

export interface FlashServerOptions {
  /** FLASH_HOME: builds, logs and the key are kept here. */
  home: string;
  /** Default 127.0.0.1. */
  host?: string;
  /** Default 4747; 0 takes any free port. */
  port?: number;
  /** Closed with the server. */
  store: Store;
  /** Closed with the server. */
  compute: Compute;
  clock?: Clock;
  log?: Log;
  /** Default: the key in `home/key`, made on first use. */
  key?: string;
  /** Memory that any worker may use, bytes, where its endpoint asks for more or for no certain amount. Default: the machine's. */
  workerMemoryBytes?: number;
  /** Lets webhooks reach loopback and private networks. Default false. */
  allowPrivateWebhooks?: boolean;
  /** Limits requests to queue endpoints as the platform does. Default false. */
  rateLimits?: boolean;
  /**
   * Web pages that may read answers, by origin (`https://app.example.com`); `*` means any, `local` those
   * served on this machine. Default: none.
   */
  cors?: readonly string[];
  /** Values of secrets that nobody has set here: for `flash run`, the developer's own variables. */
  secretFallback?: (name: string) => string | undefined;
  /** Releases of an environment that can come back; older ones and their builds go. Default 10. */
  keepReleases?: number;
  /** How long failed jobs are kept, ms, and how many of an endpoint. Default: 7 days, 10,000. */
  keepFailed?: Partial<KeepFailed>;
  /** OTEL_… variables: with OTEL_EXPORTER_OTLP_ENDPOINT traces are exported. Default: none. */
  tracing?: Readonly<Record<string, string | undefined>>;
  /** Bytes that worker logs may take: of one endpoint (default 16 MiB), and of all (default 1 GiB). */
  logs?: { maxBytes?: number; maxTotalBytes?: number };
  /** Speak TLS on that port, with these files. Default: plain HTTP. */
  tls?: TlsFiles;
  /** Base URL under which clients reach the server, without a slash at the end, when a proxy is in front. */
  publicUrl?: string;
  /** Believe the `X-Forwarded-For` of whoever connects. Default false. */
  trustProxy?: boolean;
  /** Of the package, for `GET /api/v1/server`. */
  version: string;
}

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
    await mkdir(options.home, { recursive: true, mode: 0o700 });
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

interface Parts {
  options: FlashServerOptions;
  doors: Door[];
  gateway: Gateway;
  fleet: Fleet;
  jobs: Jobs;
  batches: Batches;
  scaler: Scaler;
  control: Control;
  pruner: Pruner;
  workerKeys: WorkerKeys;
  identity: Identity;
  logs: Logs;
  events: Events;
  metrics: Metrics;
  tracer: Tracer | undefined;
  /** Known once the server listens. */
  url: string;
  localUrl: string;
  onStop: () => void;
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

function assemble(options: FlashServerOptions, key: string, tracer: Tracer | undefined): Parts {
  const { store, home, version } = options;
  const clock = options.clock ?? systemClock;
  const log = options.log ?? silentLog;
  const trustsProxy = options.trustProxy ?? false;
  const keyring = new Keyring({ serverKey: key, clock, trustsProxy });
  const secrets = new Secrets({
    store: store.secrets,
    vault: new Vault(home),
    clock,
    fallback: options.secretFallback,
  });
  const builds = new Builds({ store: store.control, home, clock });
  const uploads = new Uploads({ home, builds, clock, log });
  const logs = new Logs({ home, clock, log, ...options.logs });
  const events = new Events({ home, clock, log });
  const metrics = new Metrics({
    store,
    clock,
    version,
    fleet: () => fleet,
    standbys: () => options.compute.standbys,
    spans: () => tracer?.exporter.statistics,
  });
  const jobs = new Jobs({
    store,
    clock,
    log,
    targetOf: async (endpointId, releaseId) => {
      const endpoint = (await fleet.versionOf(endpointId, releaseId))?.manifest;
      if (endpoint === undefined) return undefined;
      return { retries: endpoint.options.retries, isCode: endpoint.form !== "image" };
    },
    redact: (endpointId, text) => {
      const row = fleet.pool(endpointId)?.row;
      return row === undefined ? text : secrets.redactor(row).redact(text);
    },
    allowPrivateWebhooks: options.allowPrivateWebhooks ?? false,
    ...(options.keepFailed === undefined ? {} : { keepFailed: options.keepFailed }),
  });
  const host = poolHost(options, {
    keyring,
    logs,
    events,
    metrics,
    tracer,
    secrets,
    parts: () => parts,
  });
  const fleet = new Fleet({ store, host, folderOf: (buildId) => builds.folderOf(buildId) });
  const scaler = new Scaler({
    store,
    fleet,
    clock,
    log,
    onDecision: ({ app, environment, name: endpoint }, { targets, view }) => {
      const total = targets.reduce((sum, { target }) => sum + target, 0);
      const [first] = targets;
      events.emit({
        kind: "endpoint.scaled",
        app,
        environment,
        endpoint,
        message: `'${endpoint}' is to have ${total} workers: ${first?.reason ?? ""}`,
        details: { targets, versions: view.versions },
      });
    },
  });
  const batches = new Batches({
    store,
    jobs,
    clock,
    log,
    targetOf: (endpointId) => batchTarget(fleet.pool(endpointId)),
  });
  const workerKeys = new WorkerKeys({ store, keyring, fleet, secrets, clock });
  const pruner = new Pruner({
    store: store.control,
    builds,
    fleet,
    clock,
    log,
    keepReleases: options.keepReleases ?? DEFAULTS.keepReleases,
  });
  const control = new Control({
    pruner,
    workerKeys,
    uploads,
    secrets,
    store,
    fleet,
    scaler,
    builds,
    logs,
    events,
    clock,
    home,
    version,
    address: () => ({
      url: parts.url,
      localUrl: parts.localUrl,
      port: parts.doors[0]?.port ?? 0,
    }),
    stop: () => parts.onStop(),
  });
  const keys = new Keys({ store: store.keys, keyring, clock, log });
  const identity = {
    secrets,
    keys,
    logins: new Logins({ keys, clock, url: () => parts.url }),
    audit: new AuditTrail({ store: store.audit, clock }),
  };
  const isLoopback = isLoopbackAddress(options.host ?? "127.0.0.1");
  const limits = options.rateLimits === true ? new RateLimits(clock) : undefined;
  const gateway = new Gateway({
    fleet,
    jobs,
    batches,
    batchStore: store.batches,
    control,
    identity,
    keyring,
    clock,
    log,
    metrics,
    tracer,
    isLoopback,
    publicHost: options.publicUrl === undefined ? undefined : new URL(options.publicUrl).hostname,
    trustsProxy,
    limits,
    cors: options.cors === undefined ? undefined : new Cors(options.cors),
  });
  const parts: Parts = {
    options,
    doors: [],
    gateway,
    fleet,
    jobs,
    batches,
    scaler,
    control,
    pruner,
    workerKeys,
    identity,
    logs,
    events,
    metrics,
    tracer,
    url: "",
    localUrl: "",
    onStop: () => undefined,
  };
  followJobs(parts);
  return parts;
}

/** The server as a pool sees it; `parts` are there once anything is called. */
function poolHost(
  { compute, store, clock = systemClock, log = silentLog, workerMemoryBytes }: FlashServerOptions,
  {
    keyring,
    logs,
    events,
    metrics,
    tracer,
    secrets,
    parts,
  }: {
    keyring: Keyring;
    logs: Logs;
    events: Events;
    metrics: Metrics;
    tracer: Tracer | undefined;
    secrets: Secrets;
    parts: () => Parts;
  },
): PoolHost {
  const write = (
    { app, environment, name }: EndpointRow,
    line: Omit<LogLine, "endpoint" | "time"> & { at: number },
  ): void => {
    const { at, ...rest } = line;
    const time = new Date(at).toISOString();
    logs.add({ app, environment, endpoint: name }, { time, ...rest });
  };
  return {
    compute,
    clock,
    log,
    workerMemoryBytes,
    serverUrl: () => parts().localUrl,
    admit: (secret, { workerId, endpoint: { id: endpointId, app, environment } }) => {
      keyring.admit(secret, { workerId, endpointId, app, environment });
    },
    secretsOf: (endpoint, { options }) => secrets.variables(endpoint, options.secrets),
    redact: (endpoint, line) => secrets.redactor(endpoint).redactJson(line),
    expel: (secret) => {
      keyring.expel(secret);
      parts().pruner.workerGone();
    },
    onLine: (endpoint, worker, { text: message, stream, ...facts }) => {
      const level = stream === "stderr" ? "error" : "info";
      write(endpoint, { worker, stream, level, message, ...facts });
    },
    onEvent: (endpoint, worker, message) => {
      write(endpoint, { at: clock.now(), worker, stream: "system", level: "warn", message });
      log.warn("worker trouble", { endpoint: endpoint.name, worker, message });
    },
    isTraced: () => tracer !== undefined,
    onSpan: (endpoint, worker, span) => tracer?.functionRan(endpoint, worker, span),
    emit: ({ app, environment, name: endpoint }, event) => {
      events.emit({ app, environment, endpoint, ...event });
    },
    metricsOf: (endpointId) => metrics.of(endpointId),
    wake: (endpointId) => parts().scaler.wake(endpointId),
    jobs: {
      heldBy: async (workerId) => (await store.jobs.running({ workerId })).length,
      drainWorker: (workerId) => parts().jobs.drainWorker(workerId),
      workerGone: (workerId, exit) => parts().jobs.workerGone(workerId, exit),
    },
  };
}

/** Jobs of a batch run on the release that is active when their turn comes. */
function batchTarget(pool: Pool | undefined): BatchTarget | undefined {
  if (pool === undefined || pool.row.kind !== "qb") return undefined;
  const { releaseId, manifest } = pool.active;
  const { executionTimeoutMs, retries, workersMax, maxConcurrency } = manifest.options;
  const capacity = workersMax * maxConcurrency;
  return { endpointId: pool.row.id, releaseId, executionTimeoutMs, retries, capacity };
}

/** What happens to jobs moves the scaler and the workers. */
function followJobs({ jobs, fleet, scaler, metrics, tracer }: Parts): void {
  if (tracer !== undefined) {
    jobs.onAttempt(({ job, error }) => {
      const row = fleet.pool(job.endpointId)?.row;
      if (row !== undefined) tracer.attempt(row, job, error);
    });
  }
  jobs.onQueued((endpointId) => scaler.wake(endpointId));
  jobs.onSettled((job) => {
    metrics.settled(job);
    if (job.workerId !== null) fleet.pool(job.endpointId)?.worked(job.workerId);
    scaler.wake(job.endpointId);
  });
  jobs.onOverdue((job) => {
    fleet.pool(job.endpointId)?.kill(job.workerId, "a job took longer than its limit");
  });
  jobs.onLost((job) => {
    fleet.pool(job.endpointId)?.kill(job.workerId, "it fell silent");
  });
  jobs.onDeaf((workerId) => {
    for (const pool of fleet.pools) pool.kill(workerId, "it goes on with a job that was stopped");
  });
  jobs.onStopPod((workerId) => {
    for (const pool of fleet.pools) {
      const worker = pool.worker(workerId);
      if (worker !== undefined) pool.drain(worker, "it asked to be replaced");
      else if (pool.guests.has(workerId)) pool.guests.drain(workerId);
    }
  });
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

function isLoopbackAddress(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}
