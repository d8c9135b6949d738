/** A cloud is where `flash deploy` can go: a Flash server, or Runpod. */

import type {
  AppDocument,
  AppRemovalDocument,
  AppsDocument,
  BuildsDocument,
  DeploymentDocument,
  EndpointDescription,
  EnvironmentDocument,
  EnvironmentsDocument,
  LogLine,
  LogQuery,
  PlanDocument,
  PruneDocument,
  ReleasesDocument,
  RemovalDocument,
  ScalingDocument,
  StatusDocument,
  WorkerKeyDocument,
  WorkerRemovalDocument,
} from "./control.ts";
import type { EventDocument, EventQuery } from "./events.ts";
import type { JobDocument } from "./job.ts";
import type { Manifest } from "./manifest.ts";
import type { WorkerPlatform } from "./platform.ts";
import type { JobState } from "./states.ts";
import type { FailedFilter } from "./store.ts";

export interface Artifact {
  /** Path of `artifact.tar.gz`. */
  file: string;
  /** SHA-256 of the file, hex. */
  digest: string;
  bytes: number;
  manifest: Manifest;
}

export interface Target {
  app: string;
  environment: string;
}

export interface Cloud {
  /** What `target` shows: the server's base URL, or `runpod`. */
  readonly target: string;
  /** What workers run on there, which packages are installed for. */
  platform(options?: CloudOptions): Promise<WorkerPlatform>;
  /** The app's environments; none when it has never been deployed. Fails early when the key is wrong. */
  environments(app: string, options?: CloudOptions): Promise<EnvironmentsDocument>;
  /** What {@link deploy} would do now with this artifact. Changes nothing. */
  plan(artifact: Artifact, target: Target, options?: CloudOptions): Promise<PlanDocument>;
  /** Uploads what is missing and makes the build the environment's active release. Repeatable. */
  deploy(artifact: Artifact, target: Target, options?: CloudOptions): Promise<DeploymentDocument>;
  /** Releases of an environment, newest first. Throws `NOT_DEPLOYED`. */
  releases(target: Target, options?: CloudOptions): Promise<ReleasesDocument>;
  /** Makes the build of an earlier release active again, as a release of its own. */
  rollback(target: Target, build: string, options?: CloudOptions): Promise<DeploymentDocument>;
  /** How an endpoint was scaled lately, and why. Throws `ENDPOINT_NOT_FOUND`. */
  scaling(target: Target, endpoint: string, options?: CloudOptions): Promise<ScalingDocument>;
  apps(options?: CloudOptions): Promise<AppsDocument>;
  /** Throws `NOT_FOUND`. */
  app(name: string, options?: CloudOptions): Promise<AppDocument>;
  /** Registers an app. Throws `CONFLICT`. */
  createApp(name: string, options?: CloudOptions): Promise<AppDocument>;
  /** With its environments, endpoints and builds. Throws `NOT_FOUND`. */
  deleteApp(name: string, options?: CloudOptions): Promise<AppRemovalDocument>;
  /** Throws `NOT_FOUND`. */
  environment(target: Target, options?: CloudOptions): Promise<EnvironmentDocument>;
  /** Adds an environment, and its app when missing. Throws `CONFLICT`. */
  createEnvironment(target: Target, options?: CloudOptions): Promise<EnvironmentDocument>;
  /** With its endpoints and their jobs. Throws `NOT_FOUND`. */
  deleteEnvironment(target: Target, options?: CloudOptions): Promise<AppRemovalDocument>;
  /** Builds of an app, newest first, and what keeps them. Throws `NOT_FOUND`. */
  builds(app: string, options?: CloudOptions): Promise<BuildsDocument>;
  /** Removes builds that no release can come back to. Throws `NOT_FOUND`. */
  pruneBuilds(app: string, options?: CloudOptions): Promise<PruneDocument>;
  /** Throws `NOT_DEPLOYED` when the environment has no release. */
  status(target: Target, options?: CloudOptions): Promise<StatusDocument>;
  /** How an endpoint is called: its functions with their parameters. Throws `ENDPOINT_NOT_FOUND`. */
  describe(target: Target, endpoint: string, options?: CloudOptions): Promise<EndpointDescription>;
  /** Removes one endpoint, or all when `endpoint` is left out. Throws `ENDPOINT_NOT_FOUND`. */
  undeploy(target: Target, endpoint?: string, options?: CloudOptions): Promise<RemovalDocument>;
  /** A key for one more worker of an image, which the caller starts. `url`: the cloud as it sees it. */
  addWorker(
    target: Target,
    request: { endpoint: string; url: string },
    options?: CloudOptions,
  ): Promise<WorkerKeyDocument>;
  /** Lets such a worker finish what it has, and voids its key. */
  removeWorker(
    target: Target,
    request: { endpoint: string; worker: string },
    options?: CloudOptions,
  ): Promise<WorkerRemovalDocument>;
  /** Jobs of a queue endpoint, newest first, without outputs. Throws `ENDPOINT_NOT_FOUND`. */
  jobs(
    target: Target,
    request: JobsRequest,
    options?: CloudOptions,
  ): Promise<{ requests: JobDocument[]; total: number }>;
  /** Throws `JOB_NOT_FOUND`. */
  job(
    target: Target,
    request: { endpoint: string; job: string },
    options?: CloudOptions,
  ): Promise<JobDocument>;
  /** Sends a failed job back into the queue, cancels one, or submits its input again as a new one. */
  moveJob(
    target: Target,
    request: { endpoint: string; job: string; move: JobMove },
    options?: CloudOptions,
  ): Promise<{ id: string; status: JobState }>;
  /** Newest events of the environment that fit, then, with `follow`, further ones. */
  events(target: Target, query: EventQuery, options?: CloudOptions): AsyncIterable<EventDocument>;
  /** Sends many failed jobs back into the queue. */
  redriveJobs(
    target: Target,
    request: FailedFilter & { endpoint: string },
    options?: CloudOptions,
  ): Promise<{ moved: number }>;
  /** Newest `tail` lines that fit, then, with `follow`, every further one until `signal` aborts. */
  logs(
    target: Target,
    request: LogQuery & { endpoint?: string },
    options?: CloudOptions,
  ): AsyncIterable<LogLine>;
}

export type JobMove = "retry" | "cancel" | "replay";

/** Which jobs. With `kinds` or a `key` only those that failed for good. */
export interface JobsRequest extends Omit<FailedFilter, "states"> {
  endpoint: string;
  states: readonly JobState[];
  limit: number;
}

export interface CloudOptions {
  signal?: AbortSignal;
  /** Told in words what is going on, for people: `uploaded 1.2 MB`. */
  onProgress?: (message: string) => void;
  /** Told how many bytes of an upload the server has, before every part. */
  onTransfer?: (sentBytes: number, totalBytes: number) => void;
}
