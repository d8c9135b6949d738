/**
 * The environment of a worker: the whole, language-neutral agreement between a server and what it
 * starts. A queue worker speaks the Runpod worker protocol to the templates below; a load-balanced
 * worker serves HTTP on a Unix socket or a port. Source: spec/worker-protocol.md 2.
 */

export interface WorkerIdentity {
  /** Server base URL without a slash at the end, such as `http://127.0.0.1:4747`. */
  serverUrl: string;
  app: string;
  environment: string;
  endpointId: string;
  endpointName: string;
  releaseId: string;
  workerId: string;
  /** Opens this worker's own endpoint on the worker protocol, and the app's endpoints by name. */
  secret: string;
}

/** Names of the variables, in one place. */
export const WORKER_ENV = {
  /** Folder with `flash_manifest.json`; set by the compute driver. */
  artifactDir: "FLASH_ARTIFACT_DIR",
  app: "FLASH_APP",
  environment: "FLASH_ENV",
  /** The endpoint this worker serves. */
  endpoint: "FLASH_RESOURCE_NAME",
  /** `qb` or `lb`. */
  kind: "FLASH_ENDPOINT_TYPE",
  release: "FLASH_RELEASE",
  /** Base URL of the server that calls to other endpoints go to. */
  serverUrl: "FLASH_URL",
  /** The worker's secret, as the key for calls to other endpoints. */
  apiKey: "FLASH_API_KEY",
  /** Load-balanced under the process driver: listen on this Unix socket instead of PORT. */
  socket: "FLASH_SOCKET",
  /** `tagged`: output is written as contract/logs.ts has it; set by compute drivers that read that. */
  output: "FLASH_OUTPUT",
  /** `1`: somebody keeps traces, so functions that run within one are told of. With `output` only. */
  traces: "FLASH_TRACES",
  /** Set for a standby of the process driver instead of all others: a socket path to warm up on. */
  standby: "FLASH_STANDBY",
  port: "PORT",
  healthPort: "PORT_HEALTH",
  healthPath: "HEALTH_CHECK_PATH",
  getJob: "RUNPOD_WEBHOOK_GET_JOB",
  postOutput: "RUNPOD_WEBHOOK_POST_OUTPUT",
  postStream: "RUNPOD_WEBHOOK_POST_STREAM",
  ping: "RUNPOD_WEBHOOK_PING",
  pingIntervalMs: "RUNPOD_PING_INTERVAL",
  /** Where our own workers open the job link (contract/job-link.ts), instead of all of the above but ping. */
  jobLink: "FLASH_JOB_LINK",
  workerKey: "RUNPOD_AI_API_KEY",
  workerId: "RUNPOD_POD_ID",
  endpointId: "RUNPOD_ENDPOINT_ID",
} as const;

/** The path of the health check that an endpoint's environment asks for. */
export function healthPathOf(env: Readonly<Record<string, string | undefined>>): string {
  const path = env[WORKER_ENV.healthPath] ?? "";
  if (path === "") return "/ping";
  return path.startsWith("/") ? path : `/${path}`;
}

/** Variables that every worker gets; `kind` decides about the protocol ones. */
export function workerEnvironment(
  identity: WorkerIdentity,
  kind: "qb" | "lb",
): Record<string, string> {
  const { serverUrl, endpointId, workerId } = identity;
  const base = `${serverUrl}/v2/${endpointId}`;
  const common = {
    [WORKER_ENV.app]: identity.app,
    [WORKER_ENV.environment]: identity.environment,
    [WORKER_ENV.endpoint]: identity.endpointName,
    [WORKER_ENV.kind]: kind,
    [WORKER_ENV.release]: identity.releaseId,
    [WORKER_ENV.serverUrl]: serverUrl,
    [WORKER_ENV.apiKey]: identity.secret,
    [WORKER_ENV.workerId]: workerId,
    [WORKER_ENV.endpointId]: endpointId,
  };
  if (kind === "lb") return common;
  return {
    ...common,
    [WORKER_ENV.workerKey]: identity.secret,
    // Every template holds a `?`: unmodified workers only ever append `&name=value`.
    [WORKER_ENV.getJob]: `${base}/job-take/${workerId}?gpu=CPU`,
    [WORKER_ENV.postOutput]: `${base}/job-done/${workerId}/$ID?gpu=CPU`,
    [WORKER_ENV.postStream]: `${base}/job-stream/${workerId}/$ID?gpu=CPU`,
    [WORKER_ENV.ping]: `${base}/ping/${workerId}?gpu=CPU`,
    [WORKER_ENV.pingIntervalMs]: "1000",
    [WORKER_ENV.jobLink]: `${base}/job-link/${workerId}`,
  };
}

/** Headers of a call by name. Source: spec/runpod-cloud.md 10. */
export const NAME_HEADERS = {
  app: "x-flash-app",
  environment: "x-flash-environment",
  endpoint: "x-flash-endpoint",
} as const;

/** Every load-balanced answer names the worker that gave it. Source: spec/load-balancing.md A4. */
export const WORKER_ID_HEADER = "x-runpod-worker-id";
/** What a request is called in logs; an answer says it again. */
export const REQUEST_ID_HEADER = "x-request-id";
/**
 * What a route's function returned, where its answer alone does not tell: `response` for a Response of
 * its own, whatever its status, and `stream` for a ReadableStream. So a call over HTTP gives what a call
 * in process gives. Absent on all other answers, Flash's own errors included.
 */
export const RESULT_HEADER = "x-flash-result";
/** Absolute deadline of a call, epoch ms, passed from endpoint to endpoint. */
export const DEADLINE_HEADER = "x-flash-deadline";
/** Version (`fingerprint`) of the endpoint that a call was encoded for; another one refuses it unexecuted. */
export const EXPECTED_VERSION_HEADER = "x-flash-expected-version";
/**
 * On a request to our own worker: it says in the same header of its answer how long it took until then,
 * ms, so that the server knows what the hop has added. Never seen by clients and functions.
 */
export const TIMING_HEADER = "x-flash-timing";
/** Fencing number of a job's attempt, echoed by our own worker on every post. */
export const ATTEMPT_HEADER = "x-flash-attempt";
/** Which of the attempt's streamed values this is, from 1: one that is sent again counts once. Sent by our own worker. */
export const CHUNK_HEADER = "x-flash-chunk";
