/** What a worker is told by its environment, read once. The variables are those of contract/worker-env.ts. */

import path from "node:path";
import { FlashError } from "../contract/errors.ts";
import { DEFAULTS } from "../contract/limits.ts";
import { WORKER_ENV, healthPathOf } from "../contract/worker-env.ts";

/** A shorter interval is a mistake somewhere, and would only keep both sides busy, ms. */
const MIN_PING_MS = 100;

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Settings {
  /** Folder that holds the manifest. */
  artifactDir: string;
  /** Name of the endpoint this worker serves. */
  endpoint: string;
  workerId: string;
  /** Error stacks are sent to callers too. For development. */
  sendsStacks: boolean;
  routes: RouteSettings;
  /** Undefined when the environment names no server to take jobs from. */
  queue: QueueSettings | undefined;
}

export type Listen = { socketPath: string } | { host: string; port: number };

export interface RouteSettings {
  listen: Listen;
  /** A port of its own for health checks; undefined when they share the routes' one. */
  healthPort: number | undefined;
  healthPath: string;
}

/** URL templates of the worker protocol. Source: spec/worker-protocol.md 2.3. */
export interface QueueSettings {
  getJob: string;
  postOutput: string;
  postStream: string;
  ping: string | undefined;
  /** Where to open the job link; undefined when the server has none. */
  jobLink: string | undefined;
  pingIntervalMs: number;
  key: string;
  workerId: string;
}

/** Throws `INVALID_CONFIG` when a variable is missing or cannot be used. */
export function readSettings(env: Environment): Settings {
  const workerId = env[WORKER_ENV.workerId] ?? `local-${process.pid}`;
  return {
    artifactDir: path.resolve(required(env, WORKER_ENV.artifactDir)),
    endpoint: required(env, WORKER_ENV.endpoint),
    workerId,
    sendsStacks: isOn(env.FLASH_DEBUG),
    routes: readRoutes(env),
    queue: readQueue(env, workerId),
  };
}

function readRoutes(env: Environment): RouteSettings {
  const socketPath = env[WORKER_ENV.socket];
  const port = numberOf(env, WORKER_ENV.port, DEFAULTS.workerPort);
  const healthPort = numberOf(env, WORKER_ENV.healthPort, port);
  return {
    listen:
      socketPath === undefined || socketPath === ""
        ? { host: "0.0.0.0", port }
        : { socketPath: path.resolve(socketPath) },
    // On a socket there is nothing else to listen on: the server asks for health there as well.
    healthPort: (socketPath ?? "") === "" && healthPort !== port ? healthPort : undefined,
    healthPath: healthPathOf(env),
  };
}

function readQueue(env: Environment, workerId: string): QueueSettings | undefined {
  const getJob = env[WORKER_ENV.getJob];
  if (getJob === undefined || getJob === "") return undefined;
  return {
    getJob,
    postOutput: required(env, WORKER_ENV.postOutput),
    postStream: required(env, WORKER_ENV.postStream),
    ping: env[WORKER_ENV.ping],
    jobLink: env[WORKER_ENV.jobLink] || undefined,
    pingIntervalMs: Math.max(MIN_PING_MS, numberOf(env, WORKER_ENV.pingIntervalMs, 10_000)),
    key: env[WORKER_ENV.workerKey] ?? "",
    workerId,
  };
}

/** A template with this worker in it. */
export function withWorker(template: string, workerId: string): string {
  const id = encodeURIComponent(workerId);
  return template.replaceAll("$RUNPOD_POD_ID", id).replaceAll("$ID", id);
}

function required(env: Environment, name: string): string {
  const value = env[name];
  if (value !== undefined && value !== "") return value;
  throw new FlashError("INVALID_CONFIG", `The environment variable ${name} is not set.`, {
    hint: "A Flash server sets it for every worker it starts; a container needs it in its template.",
  });
}

function numberOf(env: Environment, name: string, byDefault: number): number {
  const text = env[name];
  if (text === undefined || text === "") return byDefault;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0) return value;
  throw new FlashError("INVALID_CONFIG", `${name} must be a whole number, got '${text}'.`);
}

function isOn(text: string | undefined): boolean {
  return text !== undefined && !["", "0", "false"].includes(text);
}
