/** Deployments: an environment gets a release, or loses endpoints; one change at a time. */

import type { DeployRequest, DeploymentDocument, RemovalDocument } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { BuildRow, EndpointRow, ReleaseRow, Store } from "../../contract/store.ts";
import { sleep, type Clock } from "../../kit/clock.ts";
import { newId, newPrefixedId } from "../../kit/ids.ts";
import type { Secrets } from "../identity/secrets.ts";
import type { Fleet } from "../workers/fleet.ts";
import type { Deployed, EndpointFilter } from "./deployed.ts";
import type { Events } from "./events.ts";
import { requireName } from "./names.ts";
import type { Plans } from "./plans.ts";
import type { Pruner } from "./pruner.ts";
import type { Turns } from "./turns.ts";
import type { WorkerKeys } from "./worker-keys.ts";

export interface DeploymentsOptions {
  store: Store;
  fleet: Fleet;
  plans: Plans;
  turns: Turns;
  deployed: Deployed;
  pruner: Pruner;
  events: Events;
  workerKeys: WorkerKeys;
  secrets: Secrets;
  clock: Clock;
  /** Where clients reach the server. */
  url: () => string;
}

/** A deployment is answered after this long, ms, even when a model still loads; the rest goes on. */
const TAKE_OVER_MS = 10_000;
const TAKE_OVER_LOOK_MS = 10;

export class Deployments {
  readonly #options: DeploymentsOptions;

  constructor(options: DeploymentsOptions) {
    this.#options = options;
  }

  /**
   * Makes a build the environment's active release. Endpoints whose fingerprint is unchanged keep
   * their workers; deploying what is active already makes no new release. Resolves when the new
   * version answers, or after {@link TAKE_OVER_MS}. Throws `NOT_FOUND`.
   */
  async deploy(request: DeployRequest): Promise<DeploymentDocument> {
    const { app, environment } = request;
    requireName("app", app);
    requireName("environment", environment);
    const document = await this.#options.turns.take(request, "deploying", async () => {
      const build = await this.#options.store.control.getBuild(request.build);
      if (build === undefined || build.app !== app) {
        throw new FlashError("NOT_FOUND", `The app '${app}' has no build '${request.build}'.`, {
          hint: "Upload the artifact first.",
        });
      }
      // Before anything changes.
      this.#options.secrets.require(request, build.manifest);
      const active = await this.#options.plans.active(app, environment);
      const { drift, brokenBuilds } = await this.#options.plans.drift(active);
      const changes = this.#options.plans.changes(active, build.manifest.endpoints, drift);
      const isActive = active?.build.id === build.id && drift.length === 0;
      const { release, endpoints } = isActive
        ? {
            release: active.release,
            endpoints: await this.#options.store.control.listEndpoints(app, environment),
          }
        : await this.#release(environment, build, brokenBuilds);
      await this.#options.fleet.follow(release, endpoints);
      return {
        app,
        environment,
        build: build.id,
        release: release.id,
        target: this.#options.url(),
        endpoints: endpoints.flatMap((row) => this.#options.deployed.documentOf(row, build)),
        changes,
      };
    });
    await this.#options.pruner.run(app);
    await this.takenOver(document.endpoints.map(({ id }) => id));
    return document;
  }

  /** Removes one endpoint, or all of an environment. Throws `NOT_DEPLOYED`, `ENDPOINT_NOT_FOUND`. */
  async remove(filter: EndpointFilter): Promise<RemovalDocument> {
    const { app, environment, endpoint } = filter;
    return await this.#options.turns.take(filter, "removing", async () => {
      await this.#options.deployed.active(app, environment);
      const rows = await this.#options.deployed.rows(filter);
      const now = this.#options.clock.now();
      const { control } = this.#options.store;
      if (endpoint === undefined) await control.clearEnvironment(app, environment, now);
      else for (const { id } of rows) await control.removeEndpoint(id, now);
      const ids = rows.map(({ id }) => id);
      this.forget(ids);
      await this.#options.pruner.run(app);
      return { app, environment, removed: rows.map(({ name }) => name) };
    });
  }

  /** Waits until the new version answers where an earlier one did, so that the next request finds it. */
  async takenOver(endpointIds: readonly string[]): Promise<void> {
    const { fleet, clock } = this.#options;
    const deadline = clock.elapsed() + TAKE_OVER_MS;
    const isRolling = (): boolean => endpointIds.some((id) => fleet.pool(id)?.isRolling === true);
    while (isRolling() && clock.elapsed() < deadline) await sleep(clock, TAKE_OVER_LOOK_MS);
  }

  async #release(
    environment: string,
    build: BuildRow,
    brokenBuilds: readonly string[],
  ): Promise<{ release: ReleaseRow; endpoints: EndpointRow[] }> {
    const { store, clock } = this.#options;
    const { release, endpoints, removed } = await store.control.release({
      id: newPrefixedId("rel"),
      app: build.app,
      environment,
      buildId: build.id,
      now: clock.now(),
      brokenBuilds,
      proposeId: () => newId(),
    });
    this.forget(removed.map(({ id }) => id));
    this.#tellReleased(release, endpoints);
    return { release, endpoints };
  }

  #tellReleased(
    { id, version, app, environment, buildId }: ReleaseRow,
    endpoints: readonly EndpointRow[],
  ): void {
    const { events, fleet } = this.#options;
    for (const row of endpoints) {
      if (fleet.pool(row.id) !== undefined) continue;
      const message = `'${row.name}' was added to '${environment}' of '${app}'`;
      events.emit({ kind: "endpoint.added", app, environment, endpoint: row.name, message });
    }
    events.emit({
      kind: "release.active",
      app,
      environment,
      release: id,
      message: `release ${version} of '${app}' is active in '${environment}'`,
      details: { version, build: buildId },
    });
  }

  #tellRemoved({ app, environment, name: endpoint }: EndpointRow): void {
    const message = `'${endpoint}' was removed from '${environment}' of '${app}'`;
    this.#options.events.emit({ kind: "endpoint.removed", app, environment, endpoint, message });
  }

  /** The endpoints are gone from the store: their workers and keys go too. */
  forget(endpointIds: readonly string[]): void {
    for (const id of endpointIds) {
      const row = this.#options.fleet.pool(id)?.row;
      if (row !== undefined) this.#tellRemoved(row);
    }
    this.#options.workerKeys.forget(endpointIds);
    this.#options.fleet.remove(endpointIds, LIMITS.workerGraceMs);
  }
}
