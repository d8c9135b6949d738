/**
 * Control: builds, deployments, status, removal and logs. `/api/v1` and `flash run` both speak to
 * this class.
 *
 *   control-api       `/api/v1`: finds the route, allows or refuses, calls its handler
 *   control-handlers  what each route does
 *   control-openapi   the table as an OpenAPI document
 *   deployments       releases made active, endpoints removed
 *   deployed          what is active: endpoints, and their pools
 *   builds            artifacts, checked and unpacked
 *   uploads           artifacts on their way, over broken connections
 *   events            what happens to apps, endpoints and workers
 *   follow-queue      lines on their way to somebody who follows
 *   logs              what workers write; log-file: of one endpoint; log-query: what is asked for
 *   model             apps, environments and builds: made, listed, removed
 *   plans             what a deployment would change, and drift
 *   pruner            what no release can come back to
 *   turns             one change of an environment after the other
 *   names             names that come in
 *   documents         endpoints and builds in documents
 *   key               the server key
 *   worker-keys       keys of workers that somebody else starts
 */

import type { Readable } from "node:stream";
import type {
  BuildDocument,
  DeployRequest,
  DeploymentDocument,
  EndpointDescription,
  EndpointDocument,
  EndpointStatus,
  LogLine,
  LogQuery,
  PlanDocument,
  PlanRequest,
  ReleasesDocument,
  RemovalDocument,
  ScalingDocument,
  ServerDocument,
  StatusDocument,
  WorkerKeyDocument,
  WorkerRemovalDocument,
} from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { EventDocument, EventQuery } from "../../contract/events.ts";
import { readManifest } from "../../contract/manifest.ts";
import type { WorkerState } from "../../contract/states.ts";
import type { EndpointRow, Store } from "../../contract/store.ts";
import type { Clock } from "../../kit/clock.ts";
import { thisPlatform } from "../../kit/platform.ts";
import type { Scaler } from "../scaler/scaler.ts";
import type { Secrets } from "../identity/secrets.ts";
import type { Fleet } from "../workers/fleet.ts";
import type { Pool } from "../workers/pool.ts";
import { noWorkers } from "../workers/roster.ts";
import { checkManifest, type Builds } from "./builds.ts";
import { Deployed, type EndpointFilter } from "./deployed.ts";
import { Deployments } from "./deployments.ts";
import { buildDocument, endpointDocument } from "./documents.ts";
import type { Events } from "./events.ts";
import type { Logs } from "./logs.ts";
import { Model } from "./model.ts";
import { requireName } from "./names.ts";
import { Plans } from "./plans.ts";
import type { Pruner } from "./pruner.ts";
import { Turns } from "./turns.ts";
import type { Uploads } from "./uploads.ts";
import type { WorkerKeys } from "./worker-keys.ts";

export interface ControlOptions {
  store: Store;
  fleet: Fleet;
  scaler: Scaler;
  builds: Builds;
  uploads: Uploads;
  pruner: Pruner;
  logs: Logs;
  events: Events;
  workerKeys: WorkerKeys;
  secrets: Secrets;
  clock: Clock;
  home: string;
  version: string;
  /** Where the server is: for clients, for processes of this machine, and its port. */
  address: () => { url: string; localUrl: string; port: number };
  /** Ends the server. */
  stop: () => void;
}

export class Control {
  readonly #options: ControlOptions;
  /** Apps, environments and builds. */
  readonly model: Model;
  readonly #startedAt: string;
  readonly #turns = new Turns();
  readonly #plans: Plans;
  readonly #deployed: Deployed;
  readonly #deployments: Deployments;

  constructor(options: ControlOptions) {
    this.#options = options;
    this.#plans = new Plans(options);
    const url = (): string => options.address().url;
    this.#deployed = new Deployed({ ...options, plans: this.#plans, url });
    this.#deployments = new Deployments({
      ...options,
      plans: this.#plans,
      turns: this.#turns,
      deployed: this.#deployed,
      url,
    });
    this.model = new Model({
      ...options,
      url,
      turns: this.#turns,
      forget: (endpointIds) => this.#deployments.forget(endpointIds),
    });
    this.#startedAt = new Date(options.clock.now()).toISOString();
  }

  /** Artifacts that come in parts, over HTTP. */
  get uploads(): Uploads {
    return this.#options.uploads;
  }

  /** Takes an artifact in; the same artifact again is the same build. Throws as {@link Builds.receive}. */
  async putBuild(app: string, artifact: Readable): Promise<BuildDocument> {
    requireName("app", app);
    return buildDocument(await this.#options.builds.receive(app, artifact));
  }

  /** See {@link Deployments.deploy}. */
  async deploy(request: DeployRequest): Promise<DeploymentDocument> {
    return await this.#deployments.deploy(request);
  }

  /** What {@link deploy} would do with this manifest now. */
  async plan(request: PlanRequest): Promise<PlanDocument> {
    requireName("app", request.app);
    requireName("environment", request.environment);
    const manifest = readManifest(JSON.stringify(request.manifest), "the request");
    checkManifest(manifest, request.app);
    const plan = await this.#plans.plan({ ...request, manifest }, this.#options.address().url);
    return { ...plan, missingSecrets: this.#options.secrets.missing(request, manifest) };
  }

  /** Releases of an environment that can come back, newest first. Throws `NOT_DEPLOYED`. */
  async releases(app: string, environment: string): Promise<ReleasesDocument> {
    await this.#deployed.active(app, environment);
    const rows = await this.#options.store.control.listReleases(app, environment);
    const releases = rows
      .filter(({ state }) => state !== "REMOVED")
      .sort((a, b) => b.version - a.version)
      .map(({ id, version, buildId, state, createdAt }) => ({
        id,
        version,
        build: buildId,
        state,
        createdAt: new Date(createdAt).toISOString(),
      }));
    return { app, environment, releases };
  }

  /** Throws `NOT_DEPLOYED`. */
  async status(app: string, environment: string): Promise<StatusDocument> {
    const { release, build } = await this.#deployed.active(app, environment);
    const rows = await this.#options.store.control.listEndpoints(app, environment);
    const endpoints = await Promise.all(
      rows.flatMap((row) =>
        this.#deployed.documentOf(row, build).map((document) => this.#statusOf(row, document)),
      ),
    );
    const target = this.#options.address().url;
    const { drift } = await this.#plans.drift({ release, build });
    return { app, environment, build: build.id, release: release.id, target, drift, endpoints };
  }

  /** What a client needs to call an endpoint by name. Throws `NOT_DEPLOYED`, `ENDPOINT_NOT_FOUND`. */
  async describe(app: string, environment: string, name: string): Promise<EndpointDescription> {
    const pool = await this.#deployed.pool({ app, environment, endpoint: name });
    const { form, functions, fingerprint } = pool.active.manifest;
    const document = endpointDocument(pool.row, pool.active.manifest, this.#options.address().url);
    return { ...document, app, environment, form, fingerprint, functions };
  }

  /** See {@link Deployments.remove}. */
  async remove(filter: EndpointFilter): Promise<RemovalDocument> {
    return await this.#deployments.remove(filter);
  }

  /**
   * Newest `tail` lines that fit, oldest first; with `follow` every further one until `signal` aborts. Throws
   * `NOT_DEPLOYED`, `ENDPOINT_NOT_FOUND` before the first line.
   */
  async logs(
    filter: EndpointFilter,
    request: LogQuery & { signal: AbortSignal },
  ): Promise<AsyncIterable<LogLine>> {
    await this.#deployed.active(filter.app, filter.environment);
    const rows = await this.#deployed.rows(filter);
    const sources = rows.map(({ app, environment, name }) => ({
      app,
      environment,
      endpoint: name,
    }));
    return this.#options.logs.read(sources, request);
  }

  /** What has happened, oldest first; with `follow` what happens, until `signal` aborts. */
  events(
    query: EventQuery,
    reader: { sees: (event: EventDocument) => boolean; signal: AbortSignal },
  ): AsyncIterable<EventDocument> {
    return this.#options.events.read(query, reader);
  }

  /** The scaler's newest decisions about an endpoint, oldest first. Throws `ENDPOINT_NOT_FOUND`. */
  async explain(app: string, environment: string, endpoint: string): Promise<ScalingDocument> {
    const pool = await this.#deployed.pool({ app, environment, endpoint });
    const decisions = this.#options.scaler
      .decisions(pool.row.id)
      .map(({ time, view, targets }) => ({
        time,
        targets: view.versions.map((version, index) => ({
          ...version,
          target: targets[index]?.target ?? 0,
          reason: targets[index]?.reason ?? "",
        })),
      }));
    return { app, environment, endpoint, decisions };
  }

  /**
   * The environment of one more worker of an image, to be started by the caller. `serverUrl` is how it
   * reaches this server. Throws `NOT_DEPLOYED`, `ENDPOINT_NOT_FOUND`, `WRONG_ENDPOINT_KIND`.
   */
  async addWorker(
    filter: Required<EndpointFilter>,
    serverUrl: string = this.#options.address().url,
  ): Promise<WorkerKeyDocument> {
    return await this.#options.workerKeys.add(await this.#deployed.pool(filter), serverUrl);
  }

  /** Lets such a worker finish what it has, then voids its key. Throws `NOT_FOUND` too. */
  async removeWorker(
    filter: Required<EndpointFilter>,
    worker: string,
  ): Promise<WorkerRemovalDocument> {
    await this.#options.workerKeys.remove(await this.#deployed.pool(filter), worker);
    return { ...filter, worker };
  }

  /**
   * A secret has another value: the workers of the endpoints that refer to it are replaced, without a
   * gap. Returns their names; resolves as {@link deploy}.
   */
  async renewWorkers(place: Omit<EndpointFilter, "endpoint">, secret: string): Promise<string[]> {
    const pools = this.#referringTo(place, secret);
    for (const pool of pools) pool.renew(`the secret '${secret}' has changed`);
    await this.#deployments.takenOver(pools.map(({ row }) => row.id));
    return pools.map(({ row }) => row.name);
  }

  /** Runs while no deployment can begin to need the secret. Throws `CONFLICT` when one needs it already. */
  async whileUnused<T>(
    place: Omit<EndpointFilter, "endpoint">,
    secret: string,
    run: () => Promise<T>,
  ): Promise<T> {
    return await this.#turns.take(place, "secrets", async () => {
      const names = this.#referringTo(place, secret).map(({ row }) => `'${row.name}'`);
      if (names.length === 0) return await run();
      throw new FlashError("CONFLICT", `The secret '${secret}' is used by ${names.join(", ")}.`, {
        hint: "Deploy a version without it first.",
      });
    });
  }

  #referringTo({ app, environment }: Omit<EndpointFilter, "endpoint">, secret: string): Pool[] {
    return [...this.#options.fleet.pools].filter(({ row, active }) => {
      const references = Object.values(active.manifest.options.secrets ?? {});
      return row.app === app && row.environment === environment && references.includes(secret);
    });
  }

  server(): ServerDocument {
    const { version, home, store, address } = this.#options;
    return {
      version,
      pid: process.pid,
      ...address(),
      home,
      durability: store.durability,
      // The process driver starts workers where the server runs.
      platform: thisPlatform(),
      startedAt: this.#startedAt,
    };
  }

  /** Begins to end the server; returns at once. */
  stop(): void {
    this.#options.stop();
  }

  async #statusOf(row: EndpointRow, document: EndpointDocument): Promise<EndpointStatus> {
    const pool = this.#options.fleet.pool(row.id);
    const workers = pool?.counts() ?? noWorkers();
    const jobs =
      row.kind === "qb"
        ? await this.#options.store.jobs.counts(row.id)
        : { completed: 0, failed: 0, retried: 0, ...requestCounts(pool) };
    const problem = pool?.problem;
    const state = stateOf(workers);
    return { ...document, state, workers, jobs, ...(problem === undefined ? {} : { problem }) };
  }
}

function stateOf(workers: Readonly<Record<WorkerState, number>>): EndpointStatus["state"] {
  if (workers.IDLE + workers.RUNNING > 0) return "ready";
  if (workers.UNHEALTHY > 0) return "unhealthy";
  return workers.INITIALIZING > 0 ? "starting" : "idle";
}

function requestCounts(pool: Pool | undefined): { inProgress: number; inQueue: number } {
  let inProgress = 0;
  for (const { load } of pool?.workers ?? []) inProgress += load;
  return { inProgress, inQueue: pool?.holds.size ?? 0 };
}
