/**
 * Documents of the control API (`/api/v1`) and of the CLI's `--json`: one set of types for the server
 * that writes them, the cloud client that reads them and the console.
 * Paths, parameters and who may use them are in control-routes, the same documents as schemas in
 * control-schemas.
 */

export type * from "./identity-documents.ts";

import type { WorkerPlatform } from "./platform.ts";
import type { EndpointKind } from "./options.ts";
import type { HttpMethod } from "./routes.ts";
import type { FunctionManifest, Manifest } from "./manifest.ts";
import type { Drift, EndpointChange } from "./plan.ts";
import type { JobCounts } from "./job.ts";
import type { LineFacts, LogLevel } from "./logs.ts";
import type { ReleaseState, WorkerState } from "./states.ts";
import type { Durability } from "./store.ts";

export interface BuildDocument {
  id: string;
  app: string;
  digest: string;
  bytes: number;
  /** Room that its files take on the server's disk. */
  unpackedBytes: number;
  /** ISO 8601. */
  createdAt: string;
}

/** A build and what keeps it. */
export interface ListedBuild extends BuildDocument {
  endpoints: number;
  /** Environments whose active release needs it. */
  active: string[];
  /** Earlier releases that could come back with it: `production 3`. */
  kept: string[];
}

/** `flash builds list --json`: newest first. */
export interface BuildsDocument {
  app: string;
  builds: ListedBuild[];
  /** Room that all of them take. */
  unpackedBytes: number;
  /** Releases of an environment that can come back. */
  keepReleases: number;
}

/** `flash builds prune --json`. */
export interface PruneDocument {
  app: string;
  /** Releases that can no longer come back. */
  releases: number;
  builds: { id: string; bytes: number }[];
  freedBytes: number;
}

/**
 * `PENDING`: made, never deployed. `DEPLOYING`: a deployment is under way, or its workers are. `FAILED`:
 * workers of an endpoint cannot start. `DELETING`: its endpoints are being removed.
 */
export type EnvironmentState = "PENDING" | "DEPLOYING" | "DEPLOYED" | "FAILED" | "DELETING";

export interface EnvironmentSummary {
  name: string;
  state: EnvironmentState;
  /** Active release. */
  release: string | null;
  /** Build of the active release. */
  build: string | null;
  endpoints: number;
  /** ISO 8601. */
  createdAt: string;
}

export interface DeployedEndpoint extends EndpointDocument {
  /** The options it runs with, with `***` for the values of variables. */
  options: Record<string, unknown>;
}

/** `flash env get --json`. */
export interface EnvironmentDocument extends EnvironmentSummary {
  app: string;
  /** Number of the active release. */
  version: number | null;
  deployments: DeployedEndpoint[];
}

export interface AppSummary {
  name: string;
  environments: number;
  builds: number;
  /** ISO 8601. */
  createdAt: string;
}

/** `flash app list --json`. */
export interface AppsDocument {
  apps: AppSummary[];
}

/** `flash app get --json`. */
export interface AppDocument {
  name: string;
  createdAt: string;
  environments: EnvironmentSummary[];
  builds: BuildDocument[];
}

/** `flash app delete --json`, `flash env delete --json`. */
export interface AppRemovalDocument {
  app: string;
  environments: string[];
  endpoints: string[];
  builds: number;
}

export interface PlanRequest {
  app: string;
  environment: string;
  /** SHA-256 of the artifact, hex. */
  digest: string;
  manifest: Manifest;
}

/** `flash deploy --plan --json`. */
export interface PlanDocument {
  app: string;
  environment: string;
  target: string;
  /** The environment does not exist yet. */
  isNew: boolean;
  /** Active release that the plan starts from. */
  release: string | null;
  /** False: a deployment would make no release. */
  makesRelease: boolean;
  /** The artifact has to be sent. */
  uploads: boolean;
  changes: EndpointChange[];
  /** What is not as the active release says. A deployment puts it right. */
  drift: Drift[];
  /** Secrets that endpoints refer to and the environment does not have: a deployment is refused. */
  missingSecrets: { secret: string; endpoint: string }[];
}

export interface DeployRequest {
  app: string;
  environment: string;
  /** Build id. */
  build: string;
}

export interface EndpointDocument {
  name: string;
  kind: EndpointKind;
  id: string;
  /** Base for plain HTTP clients: `{url}/run` for queue endpoints, `{url}{path}` for load-balanced ones. */
  url: string;
  routes: { method: HttpMethod; path: string }[];
}

/** `flash deploy --json`. */
export interface DeploymentDocument {
  app: string;
  environment: string;
  build: string;
  release: string;
  /** The cloud: the server's base URL, or `runpod`. */
  target: string;
  endpoints: EndpointDocument[];
  /** What was done, as a plan at that moment would have said. */
  changes: EndpointChange[];
}

export interface ReleaseDocument {
  id: string;
  /** 1, 2, 3 … within the environment. */
  version: number;
  build: string;
  state: ReleaseState;
  /** ISO 8601. */
  createdAt: string;
}

/** Releases of an environment, newest first. */
export interface ReleasesDocument {
  app: string;
  environment: string;
  releases: ReleaseDocument[];
}

/** The load and the workers of one version of an endpoint. */
export interface VersionView {
  /** The release that the version is known by. */
  releaseId: string;
  isActive: boolean;
  /** Due jobs, or requests held. */
  waiting: number;
  /** How long the oldest of them has waited, ms; 0 when none waits. */
  oldestWaitMs: number;
  /** Jobs or requests that workers have now. */
  running: number;
  /** Workers that are up or on their way: not draining, not unhealthy. */
  workers: number;
  /** Those of them that can take work now. */
  ready: number;
}

/** What the scaler saw of a version, and what it decided. */
export interface ScalingTarget extends VersionView {
  /** Workers there should be. */
  target: number;
  reason: string;
}

/** `flash scale explain --json`: the newest decisions about an endpoint, oldest first. */
export interface ScalingDocument {
  app: string;
  environment: string;
  endpoint: string;
  decisions: { /** ISO 8601. */ time: string; targets: ScalingTarget[] }[];
}

export interface EndpointStatus extends EndpointDocument {
  /** `idle`: no worker; `starting`, `ready`, `unhealthy`. */
  state: "idle" | "starting" | "ready" | "unhealthy";
  /** Workers by state; states without a worker are 0. */
  workers: Record<WorkerState, number>;
  /** Load-balanced endpoints count their requests in `inProgress`. */
  jobs: JobCounts;
  /** Last reason a worker could not start, if that is the state. */
  problem?: string;
}

/** `flash status --json`. */
export interface StatusDocument {
  /** What is not as the active release says; empty when all is. */
  drift: Drift[];
  app: string;
  environment: string;
  build: string;
  release: string;
  target: string;
  endpoints: EndpointStatus[];
}

/** What a client needs to call an endpoint by name: where it is and how its functions bind. */
export interface EndpointDescription extends EndpointDocument {
  app: string;
  environment: string;
  form: "function" | "class" | "routes" | "image";
  /** Of the active release: another one may bind differently. */
  fingerprint: string;
  functions: FunctionManifest[];
}

/** The environments of an app, oldest first; none when the server does not know the app. */
export interface EnvironmentsDocument {
  app: string;
  /** False when the server does not know the app. */
  exists: boolean;
  environments: EnvironmentSummary[];
}

export interface RemovalDocument {
  app: string;
  environment: string;
  removed: string[];
}

/** `flash worker env --json`: a worker of an image that somebody else starts. The secret is told once. */
export interface WorkerKeyDocument {
  app: string;
  environment: string;
  endpoint: string;
  /** Worker id. */
  worker: string;
  /** The whole environment of its container. */
  env: Record<string, string>;
}

export interface WorkerRemovalDocument {
  app: string;
  environment: string;
  endpoint: string;
  worker: string;
}

/** A line of `GET /api/v1/logs`, and of `flash logs --json`. */
export interface LogLine extends LineFacts {
  /** ISO 8601. */
  time: string;
  endpoint: string;
  /** Empty when the line is about no worker. */
  worker: string;
  /** `system`: the server's own words about the worker. */
  stream: "stdout" | "stderr" | "system";
  /** What wrote the line has said, else `info` for stdout, `error` for stderr, `warn` for system. */
  level: LogLevel;
  /** Without terminal sequences. */
  message: string;
  /** It was longer than a line may be: the next line of this worker goes on with it. */
  cut?: true;
}

/** Which lines are asked for. */
export interface LogFilter {
  worker?: string;
  job?: string;
  request?: string;
  /** The least level. */
  level?: LogLevel;
  /** Not before this time, epoch ms. */
  since?: number;
}

/** The newest `tail` lines that fit; with `follow` every further one. */
export interface LogQuery extends LogFilter {
  tail: number;
  follow: boolean;
}

export interface ServerDocument {
  version: string;
  pid: number;
  /** Base URL for clients. */
  url: string;
  /** Base URL for processes of the server's machine. */
  localUrl: string;
  port: number;
  home: string;
  durability: Durability;
  /** What its workers run on. */
  platform: WorkerPlatform;
  startedAt: string;
}

/** How far an upload has come. */
export interface UploadDocument {
  app: string;
  /** SHA-256 of the whole artifact, hex. */
  digest: string;
  /** Bytes that have come. */
  offset: number;
  /** The build, when the server has it already: nothing needs to be sent. */
  build: BuildDocument | null;
}
