/** A Flash server as a cloud: the contract's `Cloud` over the control API (`contract/control.ts`). */

import { setTimeout as pause } from "node:timers/promises";
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
import { FlashError } from "../../contract/errors.ts";
import { CONTAINER_PLATFORM, type WorkerPlatform } from "../../contract/platform.ts";
import type { EventDocument, EventQuery } from "../../contract/events.ts";
import type { JobDocument } from "../../contract/job.ts";
import type { JobState } from "../../contract/states.ts";
import type { FailedFilter } from "../../contract/store.ts";
import { ControlClient } from "./client.ts";
import { upload } from "./upload.ts";

const API = "/api/v1";

type Query = Readonly<Record<string, string | undefined>>;

/** Failed jobs, too, whose results are over. */
const KEPT = { kept: "true" };
/** A server that is restarted is waited for this long by those who follow its logs, ms. */
const AWAY_MS = 60_000;
const LOOK_AGAIN_MS = 500;
/** Lines that may have been written meanwhile. */
const RESUMED_LINES = 10_000;

export class FlashServerCloud implements Cloud {
  readonly #client: ControlClient;

  /** `url` is the base URL without a slash at the end; `key` opens the server. */
  constructor(options: { url: string; key: string | undefined }) {
    this.#client = new ControlClient(options);
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
    const { endpoint, states, kinds, key, limit } = request;
    return await this.#client.json({
      method: "GET",
      path: `${await this.#queue(target, endpoint, options)}/requests`,
      query: {
        limit: String(limit),
        status: states.length === 0 ? undefined : states.join(","),
        kind: kinds?.join(","),
        key,
        ...KEPT,
      },
      signal: options.signal,
      isRepeatable: true,
    });
  }

  async job(
    target: Target,
    { endpoint, job }: { endpoint: string; job: string },
    options: CloudOptions = {},
  ): Promise<JobDocument> {
    return await this.#client.json<JobDocument>({
      method: "GET",
      path: `${await this.#queue(target, endpoint, options)}/status/${encodeURIComponent(job)}`,
      query: KEPT,
      signal: options.signal,
      isRepeatable: true,
    });
  }

  async moveJob(
    target: Target,
    { endpoint, job, move }: { endpoint: string; job: string; move: JobMove },
    options: CloudOptions = {},
  ): Promise<{ id: string; status: JobState }> {
    return await this.#client.json({
      method: "POST",
      path: `${await this.#queue(target, endpoint, options)}/${move}/${encodeURIComponent(job)}`,
      ...(move === "cancel" ? {} : { query: KEPT }),
      signal: options.signal,
    });
  }

  async redriveJobs(
    target: Target,
    { endpoint, states: status, kinds: kind, key }: FailedFilter & { endpoint: string },
    options: CloudOptions = {},
  ): Promise<{ moved: number }> {
    return await this.#client.json({
      method: "POST",
      path: `${await this.#queue(target, endpoint, options)}/redrive`,
      body: { kind: "json", value: { status, kind, key } },
      signal: options.signal,
    });
  }

  /** Path of an endpoint's job API. */
  async #queue(target: Target, name: string, options: CloudOptions): Promise<string> {
    const { endpoints } = await this.status(target, options);
    const endpoint = endpoints.find((one) => one.name === name);
    if (endpoint?.kind === "qb") return `/v2/${endpoint.id}`;
    const names = endpoints.filter(({ kind }) => kind === "qb").map((one) => one.name);
    const hint = { hint: `Its queue endpoints are ${names.join(", ") || "none"}.` };
    throw endpoint === undefined
      ? new FlashError("ENDPOINT_NOT_FOUND", `'${target.app}' has no endpoint '${name}'.`, hint)
      : new FlashError("WRONG_ENDPOINT_KIND", `'${name}' is load-balanced: it has no jobs.`, hint);
  }

  async *events(
    target: Target,
    { follow, ...query }: EventQuery,
    options: CloudOptions = {},
  ): AsyncGenerator<EventDocument> {
    const texts = Object.entries(query).map(([name, value]) => [name, String(value)]);
    const lines = this.#client.lines({
      method: "GET",
      path: `${API}/events`,
      query: {
        ...(Object.fromEntries(texts) as Record<string, string>),
        ...target,
        follow: follow ? "1" : undefined,
      },
      signal: options.signal,
      ...(follow ? { idleMs: 0 } : {}),
    });
    for await (const line of lines) yield JSON.parse(line) as EventDocument;
  }

  logs(
    target: Target,
    query: LogQuery & { endpoint?: string },
    options: CloudOptions = {},
  ): AsyncGenerator<LogLine> {
    return query.follow
      ? this.#followLogs(target, query, options)
      : this.#readLogs(target, query, options);
  }

  async *#readLogs(
    target: Target,
    { tail, follow, since, ...filter }: LogQuery & { endpoint?: string },
    options: CloudOptions,
  ): AsyncGenerator<LogLine> {
    const lines = this.#client.lines({
      method: "GET",
      path: `${API}/logs`,
      query: {
        ...target,
        ...filter,
        tail: String(tail),
        follow: follow ? "1" : undefined,
        since: since === undefined ? undefined : String(since),
      },
      signal: options.signal,
      ...(follow ? { idleMs: 0 } : {}),
    });
    for await (const line of lines) yield JSON.parse(line) as LogLine;
  }

  /** {@link logs} that go on when the server comes back: from its last line on, each line once. */
  async *#followLogs(
    target: Target,
    query: LogQuery & { endpoint?: string },
    options: CloudOptions,
  ): AsyncGenerator<LogLine> {
    let since = query.since;
    /** Lines of the last moment: they come again. */
    let known = new Set<string>();
    let lostAt: number | undefined;
    for (let isFirst = true; ; isFirst = false) {
      const again = isFirst ? {} : { tail: RESUMED_LINES };
      const from = since === undefined ? {} : { since };
      try {
        for await (const line of this.#readLogs(target, { ...query, ...again, ...from }, options)) {
          lostAt = undefined;
          const text = JSON.stringify(line);
          if (known.has(text)) continue;
          const time = Date.parse(line.time);
          if (time !== since) known = new Set();
          known.add(text);
          since = time;
          yield line;
        }
      } catch (error) {
        if (isFirst && since === query.since) throw error;
        if (options.signal?.aborted === true || !isAway(error)) throw error;
      }
      lostAt ??= Date.now();
      if (Date.now() - lostAt > AWAY_MS) throw away(this.target);
      options.onProgress?.("the server is away; waiting for it");
      await pause(
        LOOK_AGAIN_MS,
        undefined,
        options.signal === undefined ? {} : { signal: options.signal },
      );
      since ??= lostAt;
    }
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

function isAway(error: unknown): boolean {
  const codes = ["CONNECTION_FAILED", "SERVER_NOT_RUNNING", "UNAVAILABLE"];
  return FlashError.is(error) && codes.includes(error.code);
}

function away(target: string): FlashError {
  return new FlashError("CONNECTION_FAILED", `${target} has been away for ${AWAY_MS / 1000} s.`, {
    hint: "Is the server running?",
  });
}
