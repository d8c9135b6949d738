/** The life of one worker from its start to its exit: its environment, its output, its health. */

import type {
  Compute,
  MemoryExcess,
  WorkerExit,
  WorkerLine,
  WorkerSpec,
} from "../../contract/compute.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { EndpointManifest } from "../../contract/manifest.ts";
import type { FunctionSpan } from "../../contract/span.ts";
import type { EndpointRow } from "../../contract/store.ts";
import { WORKER_ENV, healthPathOf, workerEnvironment } from "../../contract/worker-env.ts";
import { sleep, type Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import { untilHealthy, watchHealth } from "./health.ts";
import { memoryLimitOf, watchMemory } from "./memory.ts";
import type { PoolWorker, Version } from "./pool-worker.ts";

export interface LifeHost {
  compute: Compute;
  clock: Clock;
  log: Log;
  /** Base URL that workers call. */
  serverUrl(): string;
  /** Memory that any worker may use, bytes. Default: the machine's. */
  workerMemoryBytes?: number | undefined;
  /** Functions are to tell of themselves. */
  isTraced(): boolean;
  onSpan(endpoint: EndpointRow, workerId: string, span: FunctionSpan): void;
  onLine(endpoint: EndpointRow, workerId: string, line: WorkerLine): void;
  /** The variables that hold secrets. Throws `CONFLICT` when one is missing. */
  secretsOf(endpoint: EndpointRow, manifest: EndpointManifest): Record<string, string>;
  /** A line without the endpoint's secrets. */
  redact(endpoint: EndpointRow, line: WorkerLine): WorkerLine;
}

export interface LifeEvents {
  /** The process runs. */
  onStarted(worker: PoolWorker): void;
  /** Load-balanced workers only: a queue worker is ready when it calls in. */
  onReady(worker: PoolWorker): void;
  onUnhealthy(worker: PoolWorker): void;
  /** It is healthy, whatever it was before. */
  onHealthy(worker: PoolWorker): void;
  /** It should make room for another one. */
  onLeak(worker: PoolWorker, reason: string): void;
  /** It uses more memory than it may. */
  onOutOfMemory(worker: PoolWorker, excess: MemoryExcess): void;
  /** It will not become ready, or not healthy again. */
  onHopeless(worker: PoolWorker, reason: string): void;
}

export interface WorkerEnd extends WorkerExit {
  /** Why there has never been a process. */
  startError?: string;
}

/** A worker that announces itself is asked all the same after this time, ms. */
const ASK_AFTER_MS = 100;

/** A ready worker whose request link is not open by then gets its requests over HTTP at first, ms. */
const LINK_WAIT_MS = 50;

/** Starts a worker and follows it. Resolves when it has ended; never rejects. */
export async function live(
  worker: PoolWorker,
  row: EndpointRow,
  { host, events }: { host: LifeHost; events: LifeEvents },
): Promise<WorkerEnd> {
  const over = new AbortController();
  let running;
  try {
    running = await host.compute.start(specOf(worker, row, host));
  } catch (error) {
    const startError = error instanceof Error ? error.message : String(error);
    return { code: null, signal: null, startError };
  }
  worker.attach(running);
  // A standby listens already: its link opens while it loads the code.
  worker.link?.prepare();
  events.onStarted(worker);
  const watching = Promise.all(
    [watch, watchItsMemory].map((run) => run(worker, over.signal, { host, events })),
  ).catch((error: unknown) => {
    if (over.signal.aborted) return;
    host.log.error("a worker's health could not be followed", { error: String(error) });
    events.onHopeless(worker, "its health could not be followed");
  });
  const exit = await running.exited;
  over.abort();
  await watching;
  return exit;
}

/** Path of the health check of a version's workers. */
export function healthPath({ manifest }: Version): string {
  return healthPathOf(manifest.options.env);
}

function specOf(worker: PoolWorker, row: EndpointRow, host: LifeHost): WorkerSpec {
  const { artifactDir, builtWith, releaseId, manifest } = worker.version;
  const identity = {
    serverUrl: host.serverUrl(),
    app: row.app,
    environment: row.environment,
    endpointId: row.id,
    endpointName: row.name,
    releaseId,
    workerId: worker.id,
    secret: worker.secret,
  };
  return {
    workerId: worker.id,
    endpointId: row.id,
    endpointName: row.name,
    kind: row.kind,
    artifactDir,
    manifest: { builtWith, endpoint: manifest },
    flashboot: manifest.options.flashboot,
    env: {
      ...userEnvironment({ ...manifest.options.env, ...host.secretsOf(row, manifest) }),
      ...workerEnvironment(identity, row.kind),
      ...(host.isTraced() ? { [WORKER_ENV.traces]: "1" } : {}),
    },
    onLine: (written) => {
      // Before anything else sees it: what is noted here may become the reason of a failure.
      const line = host.redact(row, written);
      if (line.span !== undefined) {
        host.onSpan(row, worker.id, line.span);
        return;
      }
      worker.note(line);
      host.onLine(row, worker.id, line);
    },
  };
}

/** The user's variables, without those that carry the agreement between server and worker. */
function userEnvironment(env: Readonly<Record<string, string>>): Record<string, string> {
  const open = new Set<string>([WORKER_ENV.port, WORKER_ENV.healthPort, WORKER_ENV.healthPath]);
  const own = new Set<string>(Object.values(WORKER_ENV).filter((name) => !open.has(name)));
  return Object.fromEntries(Object.entries(env).filter(([name]) => !own.has(name)));
}

/** Until `over` aborts, upon which it rejects. */
async function watch(
  worker: PoolWorker,
  over: AbortSignal,
  { host, events }: { host: LifeHost; events: LifeEvents },
): Promise<void> {
  const { clock } = host;
  const patience = clock.after(LIMITS.workerStartMs, () => {
    if (worker.state !== "INITIALIZING") return;
    events.onHopeless(worker, `it was not ready within ${LIMITS.workerStartMs / 1000} s`);
  });
  worker.onGone(patience);
  const { link } = worker;
  if (link === undefined) return;
  const path = healthPath(worker.version);
  await untilReady(worker, { link, path, clock, signal: over });
  await Promise.race([link.opened(), sleep(clock, LINK_WAIT_MS, over)]);
  events.onReady(worker);
  await watchHealth({
    link,
    path,
    clock,
    signal: over,
    isBusy: () => worker.load > 0,
    onUnhealthy: () => events.onUnhealthy(worker),
    onHealthy: () => events.onHealthy(worker),
    onHopeless: () => events.onHopeless(worker, "it stayed unhealthy"),
  });
}

async function watchItsMemory(
  worker: PoolWorker,
  signal: AbortSignal,
  { host, events }: { host: LifeHost; events: LifeEvents },
): Promise<void> {
  const { running } = worker;
  if (running?.memoryBytes === undefined) return;
  await watchMemory({
    limitBytes: memoryLimitOf(worker.version.manifest.options, host.workerMemoryBytes),
    usedBytes: () => running.memoryBytes?.() ?? Promise.resolve(undefined),
    isReady: () => worker.isReady,
    clock: host.clock,
    signal,
    onLeak: (reason) => events.onLeak(worker, reason),
    onExceeded: (excess) => events.onOutOfMemory(worker, excess),
  });
}

/** By the worker's own word where the driver carries it, which is quicker than asking. */
async function untilReady(
  worker: PoolWorker,
  health: Parameters<typeof untilHealthy>[0],
): Promise<void> {
  const { env } = worker.version.manifest.options;
  const word = env[WORKER_ENV.healthPath] === undefined ? worker.running?.ready : undefined;
  if (word === undefined) return await untilHealthy(health);
  const asked = new AbortController();
  const signal = AbortSignal.any([health.signal, asked.signal]);
  const polled = sleep(health.clock, ASK_AFTER_MS, signal).then(() =>
    untilHealthy({ ...health, signal }),
  );
  try {
    await Promise.race([word, polled]);
  } finally {
    asked.abort();
    await polled.catch(() => undefined);
  }
}
