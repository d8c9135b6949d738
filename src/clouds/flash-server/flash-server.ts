/** A Flash server as a cloud: the contract's `Cloud` over the control API (`contract/control.ts`). */

import type {
  Artifact,
  Cloud,
  CloudOptions,
  JobMove,
  JobsRequest,
  Target,
} from "../../contract/cloud.ts";
import type {
  AppDocument,
  AppRemovalDocument,
  AppsDocument,
  BuildDocument,
  BuildsDocument,
  DeploymentDocument,
  DeployRequest,
  EndpointDescription,
  EnvironmentDocument,
  EnvironmentsDocument,
  LogLine,
  LogQuery,
  PlanDocument,
  PlanRequest,
  PruneDocument,
  ReleasesDocument,
  RemovalDocument,
  ScalingDocument,
  ServerDocument,
  StatusDocument,
  WorkerKeyDocument,
  WorkerRemovalDocument,
} from "../../contract/control.ts";
import { CONTAINER_PLATFORM, type WorkerPlatform } from "../../contract/platform.ts";
import type { EventDocument, EventQuery } from "../../contract/events.ts";
import type { JobDocument } from "../../contract/job.ts";
import type { JobState } from "../../contract/states.ts";
import type { FailedFilter } from "../../contract/store.ts";
import { API, ControlClient } from "./client.ts";
import { ServerJobs } from "./jobs.ts";
import { ServerLines } from "./lines.ts";
import { upload } from "./upload.ts";

type Query = Readonly<Record<string, string | undefined>>;

export class FlashServerCloud implements Cloud {
  readonly #client: ControlClient;
  readonly #jobs: ServerJobs;
  readonly #lines: ServerLines;

  /** `url` is the base URL without a slash at the end; `key` opens the server. */
  constructor(options: { url: string; key: string | undefined }) {
    this.#client = new ControlClient(options);
    this.#jobs = new ServerJobs(this.#client, (target, given) => this.status(target, given));
    this.#lines = new ServerLines(this.#client);
  }

  get target(): string {
    return this.#client.url;
  }

  async platform(options: CloudOptions = {}): Promise<WorkerPlatform> {
    const { platform } = await this.#client.json<Partial<ServerDocument>>({
      method: "GET",
      path: `${API}/server`,
      signal: options.signal,
      isRepeatable: true,
    });
    // An older server does not say.
    return platform ?? CONTAINER_PLATFORM;
  }

  async environments(app: string, options: CloudOptions = {}): Promise<EnvironmentsDocument> {
    return await this.#get<EnvironmentsDocument>("/environments", { app }, options);
  }

  async apps(options: CloudOptions = {}): Promise<AppsDocument> {
    return await this.#get<AppsDocument>("/apps", {}, options);
  }

  async app(name: string, options: CloudOptions = {}): Promise<AppDocument> {
    return await this.#get<AppDocument>("/app", { app: name }, options);
  }

  async createApp(name: string, options: CloudOptions = {}): Promise<AppDocument> {
    return await this.#post<AppDocument>("/apps", { app: name }, options);
  }

  async deleteApp(name: string, options: CloudOptions = {}): Promise<AppRemovalDocument> {
    return await this.#delete<AppRemovalDocument>("/app", { app: name }, options);
  }

  async environment(target: Target, options: CloudOptions = {}): Promise<EnvironmentDocument> {
    return await this.#get<EnvironmentDocument>("/environment", { ...target }, options);
  }

  async createEnvironment(
    target: Target,
    options: CloudOptions = {},
  ): Promise<EnvironmentDocument> {
    return await this.#post<EnvironmentDocument>("/environments", { ...target }, options);
  }

  async deleteEnvironment(target: Target, options: CloudOptions = {}): Promise<AppRemovalDocument> {
    return await this.#delete<AppRemovalDocument>("/environment", { ...target }, options);
  }

  async builds(app: string, options: CloudOptions = {}): Promise<BuildsDocument> {
    return await this.#get<BuildsDocument>("/builds", { app }, options);
  }

  async pruneBuilds(app: string, options: CloudOptions = {}): Promise<PruneDocument> {
    return await this.#delete<PruneDocument>("/builds", { app }, options);
  }

  async plan(
    { digest, manifest }: Artifact,
    target: Target,
    options: CloudOptions = {},
  ): Promise<PlanDocument> {
    const body: PlanRequest = { ...target, digest, manifest };
    return await this.#post<PlanDocument>("/plans", body, options);
  }

  async deploy(
    artifact: Artifact,
    target: Target,
    options: CloudOptions = {},
  ): Promise<DeploymentDocument> {
    const build = await this.#upload(artifact, target.app, options);
    options.onProgress?.("deploying...");
    return await this.#activate(target, build.id, options);
  }

  async releases(target: Target, options: CloudOptions = {}): Promise<ReleasesDocument> {
    return await this.#get<ReleasesDocument>("/releases", { ...target }, options);
  }

  async rollback(
    target: Target,
    build: string,
    options: CloudOptions = {},
  ): Promise<DeploymentDocument> {
    return await this.#activate(target, build, options);
  }

  async scaling(
    target: Target,
    endpoint: string,
    options: CloudOptions = {},
  ): Promise<ScalingDocument> {
    return await this.#get<ScalingDocument>("/scaling", { ...target, name: endpoint }, options);
  }

  async status(target: Target, options: CloudOptions = {}): Promise<StatusDocument> {
    return await this.#get<StatusDocument>("/status", { ...target }, options);
  }

  async describe(
    target: Target,
    endpoint: string,
    options: CloudOptions = {},
  ): Promise<EndpointDescription> {
    const query = { ...target, name: endpoint };
    return await this.#get<EndpointDescription>("/endpoints", query, options);
  }

  async undeploy(
    target: Target,
    endpoint?: string,
    options: CloudOptions = {},
  ): Promise<RemovalDocument> {
    return await this.#delete<RemovalDocument>(
      "/endpoints",
      { ...target, name: endpoint },
      options,
    );
  }

  async addWorker(
    target: Target,
    request: { endpoint: string; url: string },
    options: CloudOptions = {},
  ): Promise<WorkerKeyDocument> {
    return await this.#client.json<WorkerKeyDocument>({
      method: "POST",
      path: `${API}/workers`,
      query: { ...target, ...request },
      signal: options.signal,
    });
  }

  async removeWorker(
    target: Target,
    request: { endpoint: string; worker: string },
    options: CloudOptions = {},
  ): Promise<WorkerRemovalDocument> {
    return await this.#delete<WorkerRemovalDocument>(
      "/workers",
      { ...target, ...request },
      options,
    );
  }

  async jobs(
    target: Target,
    request: JobsRequest,
    options: CloudOptions = {},
  ): Promise<{ requests: JobDocument[]; total: number }> {
    return await this.#jobs.list(target, request, options);
  }

  async job(
    target: Target,
    request: { endpoint: string; job: string },
    options: CloudOptions = {},
  ): Promise<JobDocument> {
    return await this.#jobs.get(target, request, options);
  }

  async moveJob(
    target: Target,
    request: { endpoint: string; job: string; move: JobMove },
    options: CloudOptions = {},
  ): Promise<{ id: string; status: JobState }> {
    return await this.#jobs.move(target, request, options);
  }

  async redriveJobs(
    target: Target,
    request: FailedFilter & { endpoint: string },
    options: CloudOptions = {},
  ): Promise<{ moved: number }> {
    return await this.#jobs.redrive(target, request, options);
  }

  events(
    target: Target,
    query: EventQuery,
    options: CloudOptions = {},
  ): AsyncGenerator<EventDocument> {
    return this.#lines.events(target, query, options);
  }

  logs(
    target: Target,
    query: LogQuery & { endpoint?: string },
    options: CloudOptions = {},
  ): AsyncGenerator<LogLine> {
    return this.#lines.logs(target, query, options);
  }

  async #get<T>(path: string, query: Query, { signal }: CloudOptions): Promise<T> {
    const request = { method: "GET", path: API + path, query, signal, isRepeatable: true } as const;
    return await this.#client.json<T>(request);
  }

  async #post<T>(path: string, value: unknown, { signal }: CloudOptions): Promise<T> {
    const body = { kind: "json", value } as const;
    return await this.#client.json<T>({ method: "POST", path: API + path, body, signal });
  }

  async #delete<T>(path: string, query: Query, { signal }: CloudOptions): Promise<T> {
    return await this.#client.json<T>({ method: "DELETE", path: API + path, query, signal });
  }

  async #activate(
    target: Target,
    build: string,
    options: CloudOptions,
  ): Promise<DeploymentDocument> {
    const body: DeployRequest = { ...target, build };
    return await this.#client.json<DeploymentDocument>({
      method: "POST",
      path: `${API}/deployments`,
      body: { kind: "json", value: body },
      signal: options.signal,
      // Workers of a large app may take their time to become ready.
      idleMs: 0,
    });
  }

  async #upload(artifact: Artifact, app: string, options: CloudOptions): Promise<BuildDocument> {
    const { build, isNew } = await upload(this.#client, { artifact, app, options });
    const size = `${(artifact.bytes / 1e6).toFixed(1)} MB`;
    options.onProgress?.(isNew ? `uploaded ${size}` : "uploaded before");
    return build;
  }
}
