/**
 * Every route of a Flash server, of every plane, in one table: who may use it and what it touches.
 * The gateway authorizes by it, the OpenAPI document and the authorization matrix of the tests are made
 * from it. A route that is not in it is not served.
 *
 *   api-routes      this file: access rules, and the planes that carry calls
 *   control-routes  the control plane, `/api/v1`
 */

import { CONTROL_ROUTES, type ControlRoute } from "./control-routes.ts";
import type { Access, Level } from "./access.ts";

export type Plane = "control" | "login" | "jobs" | "worker" | "lb" | "health" | "metrics";

export interface ApiRoute {
  plane: Plane;
  methods: readonly string[];
  /** Path template; `{…}` is one segment, `{path*}` everything that follows. */
  path: string;
  summary: string;
  access: Access;
  touches: Level;
  /** The narrowest key that opens it. Default: `touches`. */
  narrowest?: Level;
}

const CALL: Access = { verbs: ["call"], workers: true };
/** What tells about jobs is open to those who look and to those who call. */
const LOOK: Access = { verbs: ["read", "call"], workers: true };

function jobs(
  methods: readonly string[],
  path: string,
  access: Access,
  summary: string,
): ApiRoute & { plane: "jobs" } {
  return {
    plane: "jobs",
    methods,
    path: `/v2/{endpoint}/${path}`,
    summary,
    access,
    touches: "endpoint",
  };
}

/** The job API by operation: the first segment after the endpoint, and the method where it matters. */
export const JOB_ROUTES = {
  run: jobs(["POST"], "run", CALL, "Accepts a job"),
  "run.put": jobs(["PUT"], "run/{key}", CALL, "Accepts a job, at most once for this key"),
  runsync: jobs(["POST"], "runsync", CALL, "Accepts a job and waits for its end"),
  status: jobs(["GET", "POST"], "status/{job}", LOOK, "A job"),
  "status-sync": jobs(["GET", "POST"], "status-sync/{job}", LOOK, "A job, at its end"),
  stream: jobs(["GET", "POST"], "stream/{job}", LOOK, "What a generator has yielded"),
  cancel: jobs(["POST"], "cancel/{job}", CALL, "Cancels a job"),
  retry: jobs(["POST"], "retry/{job}", CALL, "Runs a failed job again"),
  replay: jobs(["POST"], "replay/{job}", CALL, "Runs a job's input again, as a new job"),
  redrive: jobs(["POST"], "redrive", CALL, "Runs many failed jobs again"),
  "purge-queue": jobs(["POST"], "purge-queue", CALL, "Cancels what waits"),
  health: jobs(["GET"], "health", LOOK, "Counts of jobs and workers"),
  metrics: jobs(["GET"], "metrics", LOOK, "Workers that are ready"),
  requests: jobs(["GET"], "requests", LOOK, "The endpoint's jobs"),
  openai: jobs(["GET", "POST"], "openai/{path*}", CALL, "A request of an OpenAI client as a job"),
  batch: jobs(["GET", "POST", "PUT", "DELETE"], "batch", CALL, "Batches, and all below them"),
} as const satisfies Record<string, ApiRoute>;

function worker(method: string, path: string, summary: string): ApiRoute & { plane: "worker" } {
  return {
    plane: "worker",
    methods: [method],
    path: `/v2/{endpoint}/${path}`,
    summary,
    access: "worker",
    touches: "endpoint",
  };
}

/** The worker protocol by operation: a worker's secret opens that worker's own part, nothing else does. */
export const WORKER_ROUTES = {
  "job-take": worker("GET", "job-take/{worker}", "Takes a job"),
  "job-take-batch": worker("GET", "job-take-batch/{worker}", "Takes jobs"),
  "job-stop": worker("GET", "job-stop/{worker}", "Waits for a job to stop"),
  "job-done": worker("POST", "job-done/{worker}/{job}", "Ends a job"),
  "job-stream": worker("POST", "job-stream/{worker}/{job}", "One value of a generator"),
  ping: worker("GET", "ping/{worker}", "Sign of life"),
  "job-link": worker("GET", "job-link/{worker}", "Opens the job link, an upgrade"),
} as const satisfies Record<string, ApiRoute>;

/** Everything else. */
export const OTHER_ROUTES = {
  request: {
    plane: "lb",
    methods: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
    path: "/lb/{endpoint}/{path*}",
    summary: "A request to a load-balanced endpoint",
    access: CALL,
    touches: "endpoint",
  },
  metrics: {
    plane: "metrics",
    methods: ["GET"],
    path: "/metrics",
    summary: "What the server does, for Prometheus; of the endpoints that the key may see",
    access: { verbs: ["read"] },
    touches: "server",
    narrowest: "endpoint",
  },
  page: {
    plane: "login",
    methods: ["GET"],
    path: "/login",
    summary: "The page on which logins are approved",
    access: "public",
    touches: "server",
  },
  livez: health("/livez", "The process answers"),
  readyz: health("/readyz", "The server takes work"),
} as const satisfies Record<string, ApiRoute>;

function health(path: string, summary: string): ApiRoute & { plane: "health" } {
  return { plane: "health", methods: ["GET"], path, summary, access: "public", touches: "server" };
}

/** The whole table, by name: `control builds.upload`, `jobs run`. */
export function apiRoutes(): Map<string, ApiRoute | ControlRoute> {
  const tables = [CONTROL_ROUTES, JOB_ROUTES, WORKER_ROUTES, OTHER_ROUTES];
  const entries = tables.flatMap((table) =>
    Object.entries<ApiRoute | ControlRoute>(table).map(
      ([name, route]) => [`${route.plane} ${name}`, route] as const,
    ),
  );
  return new Map(entries);
}

/** The route of an operation of the job API; undefined when there is none. */
export function jobRouteOf(operation: string, method: string): ApiRoute | undefined {
  const name = operation === "run" && method === "PUT" ? "run.put" : operation;
  return Object.hasOwn(JOB_ROUTES, name) ? JOB_ROUTES[name as keyof typeof JOB_ROUTES] : undefined;
}
