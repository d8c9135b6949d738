/** Starting a worker: settings, artifact, then the service that the endpoint's kind needs. */

import type { Worker } from "node:worker_threads";
import { FlashError, reportOf } from "../contract/errors.ts";
import { WORKER_ENV } from "../contract/worker-env.ts";
import type { ManifestPart } from "../contract/manifest.ts";
import type { EndpointDeclaration } from "../contract/registry.ts";
import { systemClock } from "../kit/clock.ts";
import type { Log } from "../kit/log.ts";
import { Call, traceCalls } from "./call.ts";
import { watchChildren } from "./children.ts";
import { keepCompiled } from "./compiled.ts";
import { Life } from "./life.ts";
import { tagOutput, workerLog } from "./output.ts";
import { importDeclarations, openArtifact, routesOf, type Served } from "./program.ts";
import type { JobChannel } from "./queue/channel.ts";
import type { Heartbeat } from "./queue/heartbeat.ts";
import type { Doors } from "./routes/doors.ts";
import {
  readSettings,
  withWorker,
  type Environment,
  type QueueSettings,
  type Settings,
} from "./settings.ts";
import { cleanReport, codeFrame } from "./stack.ts";

export interface WorkerOptions {
  env: Environment;
  /** URL of the running program: the heartbeat's thread runs it too, and stacks leave it out. */
  runtimeUrl: string;
  /** What the endpoint declares. Default: what its bundle does when it is evaluated. */
  declarations?: (served: Served) => Promise<EndpointDeclaration[]>;
  /** What the artifact's manifest says of the endpoint, when somebody has read it already. */
  manifest?: ManifestPart | undefined;
  /** What the process has made ready before it knew whose worker it is. */
  prepared?: Prepared;
  /** Runs when the work is over, before the exit. */
  onEnd?: () => Promise<void>;
}

export interface Prepared {
  /** Open; used when the environment says to listen there. */
  doors: Doors;
  /** Has not begun. */
  heartbeatThread: Worker;
}

/** What a standby has made ready for the other kind is ended after this time, ms. */
const END_UNUSED_MS = 1000;

interface Start {
  settings: Settings;
  served: Served;
  life: Life;
  log: Log;
  runtimeUrl: string;
  declarations: NonNullable<WorkerOptions["declarations"]>;
  prepared: Partial<Prepared>;
}

/**
 * Serves the endpoint that the environment names until the process ends. Resolves when it is ready;
 * a worker that cannot start says why on stderr and exits with code 1.
 */
export async function serveWorker(options: WorkerOptions): Promise<void> {
  const { env, runtimeUrl, declarations = importDeclarations } = options;
  if (env[WORKER_ENV.output] === "tagged") tagOutput(() => Call.current());
  if (env[WORKER_ENV.traces] === "1") traceCalls();
  watchChildren(() => Call.current());
  const log = workerLog();
  const life = new Life(log);
  if (options.onEnd !== undefined) life.onEnd(options.onEnd);
  let served: Served | undefined;
  try {
    const settings = readSettings(env);
    const { artifactDir, endpoint } = settings;
    // For `ps`: whose process this is. The endpoint's id first, because long titles are cut.
    process.title = `flash-worker ${env[WORKER_ENV.endpointId] ?? ""} ${endpoint}`;
    served = openArtifact({ artifactDir, endpoint, runtimeUrl, known: options.manifest });
    keepCompiled(artifactDir);
    life.showStacksAs(served.style);
    // Positions of the original sources in every stack, user code's own logging included.
    process.setSourceMapsEnabled(true);
    const { kind } = served.endpoint;
    const prepared = options.prepared === undefined ? {} : choose(kind, settings, options.prepared);
    const start = { settings, served, life, log, runtimeUrl, declarations, prepared };
    await (served.endpoint.kind === "lb" ? serveRoutes(start) : serveQueue(start));
    process.send?.({ type: "ready" });
  } catch (error) {
    await reportStartFailure(error, served, log);
    process.exit(1);
  }
}

/** What a worker of this kind can use; the rest ends. */
function choose(
  kind: "qb" | "lb",
  { routes }: Settings,
  { doors, heartbeatThread }: Prepared,
): Partial<Prepared> {
  if (kind === "qb") {
    void doors.close();
    return { heartbeatThread };
  }
  // Not now, when somebody waits for the first answer.
  systemClock.after(END_UNUSED_MS, () => void heartbeatThread.terminate());
  if (doors.isAt(routes.listen)) return { doors };
  void doors.close();
  return {};
}

async function serveRoutes(start: Start): Promise<void> {
  const { settings, served, life, log, declarations, prepared } = start;
  const { RouteServer } = await import("./routes/route-server.ts");
  const server = new RouteServer({
    endpoint: served.endpoint,
    settings: settings.routes,
    sendsStacks: settings.sendsStacks,
    style: served.style,
    doors: prepared.doors,
    log,
  });
  life.serve(server);
  // Before any of the user's code runs: loading may take minutes, and health is asked all the while.
  await server.listen();
  server.ready(routesOf(served, await declarations(served)));
}

async function serveQueue(start: Start): Promise<void> {
  const { settings, served, life, log } = start;
  const { queue } = settings;
  if (queue === undefined) {
    throw new FlashError(
      "INVALID_CONFIG",
      "RUNPOD_WEBHOOK_GET_JOB is not set: there is no server to take jobs from.",
    );
  }
  const [{ QueueLoop }, { createTarget }] = await Promise.all([
    import("./queue/queue-loop.ts"),
    import("./queue/target.ts"),
  ]);
  // Before the user's code: a worker that loads a model for minutes shows that it is alive.
  const heartbeat = await startHeartbeat(start, queue);
  const target = await createTarget(served, await start.declarations(served));
  life.onEnd(() => target.close());
  const { name: endpoint, options } = served.endpoint;
  const { maxConcurrency, executionTimeoutMs } = options;
  const { workerId } = queue;
  const version = protocolVersion(served);
  const loop = new QueueLoop({
    channel: await openChannel(start, queue),
    heartbeat,
    maxConcurrency,
    job: { target, endpoint, executionTimeoutMs, workerId, version, style: served.style },
    log,
    onStuck: () => void life.end(0),
  });
  life.serve(loop);
  loop.start();
}

/** The link where the server offers one; HTTP, as every server of the protocol understands, elsewhere. */
async function openChannel({ served, log }: Start, queue: QueueSettings): Promise<JobChannel> {
  const userAgent = `runpod-flash/${served.version} node/${process.versions.node}`;
  if (queue.jobLink !== undefined) {
    const { LinkChannel } = await import("./queue/link.ts");
    return new LinkChannel({ url: queue.jobLink, key: queue.key, userAgent, log });
  }
  const [{ PollingChannel }, { QueueProtocol }] = await Promise.all([
    import("./queue/polling.ts"),
    import("./queue/protocol.ts"),
  ]);
  return new PollingChannel({ protocol: new QueueProtocol(queue, userAgent), log });
}

async function startHeartbeat(
  { served, log, runtimeUrl, prepared }: Start,
  { ping, postOutput, key, pingIntervalMs: intervalMs, workerId }: QueueSettings,
): Promise<Heartbeat | undefined> {
  if (ping === undefined) return undefined;
  const { Heartbeat } = await import("./queue/heartbeat.ts");
  const url = withWorker(ping, workerId);
  const version = protocolVersion(served);
  const { style, bundlePath } = served;
  const report = { workerId, version, style, bundlePath };
  // The job's id takes the place of `$ID` when there is something to report about it.
  const template = postOutput.replaceAll("$RUNPOD_POD_ID", encodeURIComponent(workerId));
  return new Heartbeat({
    data: { url, key, intervalMs, version, postOutput: template, report },
    runtimeUrl,
    thread: prepared.heartbeatThread,
    log,
  });
}

/** Told as `runpod_version`: what follows is no version of the platform's own worker. */
function protocolVersion(served: Served): string {
  return `flash-${served.version}`;
}

async function reportStartFailure(
  error: unknown,
  served: Served | undefined,
  log: Log,
): Promise<void> {
  const { message } = reportOf(error);
  const cause = FlashError.is(error) ? error.cause : error;
  const hint = FlashError.is(error) ? error.hint : undefined;
  const fields: Record<string, unknown> = hint === undefined ? {} : { hint };
  if (served !== undefined && cause !== undefined) {
    const report = reportOf(cause);
    const frame = await codeFrame(report.stack ?? "", served.bundlePath, served.style);
    fields.error = cleanReport(report, served.style);
    if (frame !== undefined) fields.frame = frame;
  }
  log.error(message, fields);
}
