/** The parts of a server, made for each other, and who is told of what. */

import { DEFAULTS } from "../contract/limits.ts";
import type { EndpointRow } from "../contract/store.ts";
import { systemClock, type Clock } from "../kit/clock.ts";
import { silentLog, type Log } from "../kit/log.ts";
import { Builds } from "./control/builds.ts";
import { Control } from "./control/control.ts";
import { Events } from "./control/events.ts";
import { Logs } from "./control/logs.ts";
import { Pruner } from "./control/pruner.ts";
import { Uploads } from "./control/uploads.ts";
import { WorkerKeys } from "./control/worker-keys.ts";
import type { Door } from "./door.ts";
import { Keyring } from "./gateway/auth.ts";
import { Cors } from "./gateway/cors.ts";
import { Gateway } from "./gateway/gateway.ts";
import { RateLimits } from "./gateway/rate-limits.ts";
import { AuditTrail } from "./identity/audit.ts";
import type { Identity } from "./identity/identity.ts";
import { Keys } from "./identity/keys.ts";
import { Logins } from "./identity/logins.ts";
import { Secrets } from "./identity/secrets.ts";
import { Vault } from "./identity/vault.ts";
import { Batches, type BatchTarget } from "./jobs/batches.ts";
import { Jobs } from "./jobs/jobs.ts";
import { Metrics } from "./metrics/metrics.ts";
import { poolHost } from "./pool-host.ts";
import { Scaler, type Decision } from "./scaler/scaler.ts";
import { isLoopbackAddress, type FlashServerOptions } from "./server-options.ts";
import type { Tracer } from "./traces/tracer.ts";
import { Fleet } from "./workers/fleet.ts";
import type { Pool } from "./workers/pool.ts";

export interface Parts {
  options: FlashServerOptions;
  doors: Door[];
  gateway: Gateway;
  keyring: Keyring;
  secrets: Secrets;
  fleet: Fleet;
  jobs: Jobs;
  batches: Batches;
  scaler: Scaler;
  control: Control;
  builds: Builds;
  uploads: Uploads;
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

/** What every part may be made with. */
interface Base {
  options: FlashServerOptions;
  clock: Clock;
  log: Log;
  tracer: Tracer | undefined;
  /** All parts, once all are made: for what runs later. */
  parts: () => Parts;
}

type Guards = Pick<Parts, "keyring" | "secrets">;
type Records = Pick<Parts, "builds" | "uploads" | "logs" | "events" | "metrics">;
type Work = Pick<Parts, "jobs" | "batches" | "fleet" | "scaler">;
type Controls = Pick<Parts, "control" | "pruner" | "workerKeys">;

/** Everything is made, nothing has begun: the server opens what has to be opened. */
export function assemble(
  options: FlashServerOptions,
  serverKey: string,
  tracer: Tracer | undefined,
): Parts {
  const clock = options.clock ?? systemClock;
  const log = options.log ?? silentLog;
  const base: Base = { options, clock, log, tracer, parts: () => parts };
  const guards = makeGuards(base, serverKey);
  const records = makeRecords(base);
  const work = makeWork(base, { ...guards, ...records });
  const controls = makeControls(base, { ...guards, ...records, ...work });
  const identity = makeIdentity(base, guards);
  const gateway = makeGateway(base, { ...guards, ...records, ...work, ...controls, identity });
  const parts: Parts = {
    options,
    tracer,
    ...guards,
    ...records,
    ...work,
    ...controls,
    identity,
    gateway,
    doors: [],
    url: "",
    localUrl: "",
    onStop: () => undefined,
  };
  followJobs(parts);
  return parts;
}

/** Who may come in, and what is sealed. */
function makeGuards({ options, clock }: Base, serverKey: string): Guards {
  const { store, home, trustProxy: trustsProxy = false, secretFallback: fallback } = options;
  return {
    keyring: new Keyring({ serverKey, clock, trustsProxy }),
    secrets: new Secrets({ store: store.secrets, vault: new Vault(home), clock, fallback }),
  };
}

/** What is kept: code, and what has happened. */
function makeRecords({ options, clock, log, tracer, parts }: Base): Records {
  const { store, home, version, compute } = options;
  const builds = new Builds({ store: store.control, home, clock });
  return {
    builds,
    uploads: new Uploads({ home, builds, clock, log }),
    logs: new Logs({ home, clock, log, ...options.logs }),
    events: new Events({ home, clock, log }),
    metrics: new Metrics({
      store,
      clock,
      version,
      fleet: () => parts().fleet,
      standbys: () => compute.standbys,
      spans: () => tracer?.exporter.statistics,
    }),
  };
}

/** What is done, and by how many workers. */
function makeWork(base: Base, made: Guards & Records): Work {
  const { options, clock, log } = base;
  const { store } = options;
  const { builds, events } = made;
  const host = poolHost(options, { ...made, tracer: base.tracer, parts: base.parts });
  const fleet = new Fleet({ store, host, folderOf: (buildId) => builds.folderOf(buildId) });
  const jobs = makeJobs(base, { fleet, secrets: made.secrets });
  return {
    jobs,
    fleet,
    batches: new Batches({
      store,
      jobs,
      clock,
      log,
      targetOf: (endpointId) => batchTarget(fleet.pool(endpointId)),
    }),
    scaler: new Scaler({
      store,
      fleet,
      clock,
      log,
      onDecision: (row, decision) => tellDecision(events, row, decision),
    }),
  };
}

function makeJobs(
  { options, clock, log }: Base,
  { fleet, secrets }: Pick<Parts, "fleet" | "secrets">,
): Jobs {
  const { store, allowPrivateWebhooks = false, keepFailed } = options;
  return new Jobs({
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
    allowPrivateWebhooks,
    ...(keepFailed === undefined ? {} : { keepFailed }),
  });
}

/** What decides what runs: deployments and what follows from them. */
function makeControls(base: Base, made: Guards & Records & Work): Controls {
  const { options, clock, log, parts } = base;
  const { store, home, version, keepReleases = DEFAULTS.keepReleases } = options;
  const { keyring, secrets, builds, uploads, logs, events, fleet, scaler } = made;
  const workerKeys = new WorkerKeys({ store, keyring, fleet, secrets, clock });
  const pruner = new Pruner({ store: store.control, builds, fleet, clock, log, keepReleases });
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
    address: () => {
      const { url, localUrl, doors } = parts();
      return { url, localUrl, port: doors[0]?.port ?? 0 };
    },
    stop: () => parts().onStop(),
  });
  return { control, pruner, workerKeys };
}

function makeIdentity(
  { options: { store }, clock, log, parts }: Base,
  { keyring, secrets }: Guards,
): Identity {
  const keys = new Keys({ store: store.keys, keyring, clock, log });
  return {
    secrets,
    keys,
    logins: new Logins({ keys, clock, url: () => parts().url }),
    audit: new AuditTrail({ store: store.audit, clock }),
  };
}

function makeGateway(
  { options, clock, log, tracer }: Base,
  made: Guards & Records & Work & Controls & { identity: Identity },
): Gateway {
  const { keyring, metrics, fleet, jobs, batches, control, identity } = made;
  const { store, publicUrl, queueLimit, cors } = options;
  return new Gateway({
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
    isLoopback: isLoopbackAddress(options.host ?? "127.0.0.1"),
    publicHost: publicUrl === undefined ? undefined : new URL(publicUrl).hostname,
    trustsProxy: options.trustProxy ?? false,
    limits: options.rateLimits === true ? new RateLimits(clock, queueLimit) : undefined,
    cors: cors === undefined ? undefined : new Cors(cors),
  });
}

/** What the scaler has decided is an event. */
function tellDecision(
  events: Events,
  { app, environment, name: endpoint }: EndpointRow,
  { targets, view }: Decision,
): void {
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
}

/** Jobs of a batch run on the release that is active when their turn comes. */
function batchTarget(pool: Pool | undefined): BatchTarget | undefined {
  if (pool === undefined || pool.row.kind !== "qb") return undefined;
  const { releaseId, manifest } = pool.active;
  const { executionTimeoutMs, retries, keyConcurrency, ...options } = manifest.options;
  const capacity = options.workersMax * options.maxConcurrency;
  const rules = { executionTimeoutMs, retries, keyConcurrency };
  return { endpointId: pool.row.id, releaseId, ...rules, capacity };
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
