/** Apps, environments and builds: making, listing and removing them. */

import type {
  AppDocument,
  AppRemovalDocument,
  AppsDocument,
  BuildsDocument,
  EnvironmentDocument,
  EnvironmentsDocument,
  EnvironmentState,
  EnvironmentSummary,
  ListedBuild,
  PruneDocument,
} from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import { shownOptions } from "../../contract/plan.ts";
import type { AppRow, EnvironmentRow, Store } from "../../contract/store.ts";
import type { Clock } from "../../kit/clock.ts";
import type { Fleet } from "../workers/fleet.ts";
import type { Secrets } from "../identity/secrets.ts";
import { buildDocument, endpointDocument } from "./documents.ts";
import { requireName } from "./names.ts";
import type { Pruner } from "./pruner.ts";
import type { Turns } from "./turns.ts";

export interface ModelOptions {
  store: Store;
  fleet: Fleet;
  pruner: Pruner;
  secrets: Secrets;
  turns: Turns;
  clock: Clock;
  url: () => string;
  /** Ends workers and keys of endpoints that the store has removed. */
  forget: (endpointIds: readonly string[]) => void;
}

export class Model {
  readonly #options: ModelOptions;

  constructor(options: ModelOptions) {
    this.#options = options;
  }

  async apps(): Promise<AppsDocument> {
    const { control } = this.#options.store;
    const apps = await Promise.all(
      (await control.listApps()).map(async ({ name, createdAt }) => ({
        name,
        environments: (await control.listEnvironments(name)).length,
        builds: (await control.listBuilds(name)).length,
        createdAt: iso(createdAt),
      })),
    );
    return { apps };
  }

  /** Throws `NOT_FOUND`. */
  async app(name: string): Promise<AppDocument> {
    const { control } = this.#options.store;
    const app = await this.#mustHaveApp(name);
    const builds = await control.listBuilds(name);
    return {
      name,
      createdAt: iso(app.createdAt),
      environments: (await this.environments(name)).environments,
      builds: builds.map(buildDocument),
    };
  }

  /** Throws `CONFLICT` when there is one already. */
  async createApp(name: string): Promise<AppDocument> {
    const { store, clock } = this.#options;
    requireName("app", name);
    if (!(await store.control.putApp(name, clock.now()))) {
      throw new FlashError("CONFLICT", `The app '${name}' exists already.`);
    }
    return await this.app(name);
  }

  /** With its environments, endpoints and builds. Throws `NOT_FOUND`. */
  async removeApp(name: string): Promise<AppRemovalDocument> {
    const { store, clock, turns, forget, pruner, secrets } = this.#options;
    await this.#mustHaveApp(name);
    const environments = await store.control.listEnvironments(name);
    const remove = async (): Promise<AppRemovalDocument> => {
      const removed = await store.control.removeApp(name, clock.now());
      if (removed === undefined) throw noApp(name);
      forget(removed.endpoints.map(({ id }) => id));
      await secrets.removeAllOf({ app: name, environments: removed.environments });
      pruner.discard(removed.builds);
      return {
        app: name,
        environments: removed.environments,
        endpoints: removed.endpoints.map((endpoint) => endpoint.name),
        builds: removed.builds.length,
      };
    };
    // After what is under way in each of them.
    const inTurn = environments.reduce<() => Promise<AppRemovalDocument>>(
      (next, environment) => () =>
        turns.take({ app: name, environment: environment.name }, "removing", next),
      remove,
    );
    return await inTurn();
  }

  /** Oldest first; none when the server does not know the app. */
  async environments(app: string): Promise<EnvironmentsDocument> {
    requireName("app", app);
    const { control } = this.#options.store;
    const rows = await control.listEnvironments(app);
    const oldestFirst = rows.sort((a, b) => a.createdAt - b.createdAt);
    return {
      app,
      exists: (await control.getApp(app)) !== undefined,
      environments: await Promise.all(oldestFirst.map((row) => this.#summary(row))),
    };
  }

  /** Throws `NOT_FOUND`. */
  async environment(app: string, name: string): Promise<EnvironmentDocument> {
    const { store, url } = this.#options;
    const { control } = store;
    const row = await this.#mustHaveEnvironment(app, name);
    const release =
      row.activeReleaseId === null ? undefined : await control.getRelease(row.activeReleaseId);
    const endpoints = await control.listEndpoints(app, name);
    const deployments = endpoints.flatMap((endpoint) => {
      const pool = this.#options.fleet.pool(endpoint.id);
      if (pool === undefined) return [];
      const { manifest } = pool.active;
      const options = shownOptions(manifest.options);
      return [{ ...endpointDocument(endpoint, manifest, url()), options }];
    });
    return { app, ...(await this.#summary(row)), version: release?.version ?? null, deployments };
  }

  /** Throws `CONFLICT` when there is one already. */
  async createEnvironment(app: string, name: string): Promise<EnvironmentDocument> {
    const { store, clock } = this.#options;
    requireName("app", app);
    requireName("environment", name);
    if (!(await store.control.putEnvironment(app, name, clock.now()))) {
      throw new FlashError("CONFLICT", `The app '${app}' has an environment '${name}' already.`);
    }
    return await this.environment(app, name);
  }

  /** With its endpoints and their jobs. Throws `NOT_FOUND`. */
  async removeEnvironment(app: string, name: string): Promise<AppRemovalDocument> {
    const { store, clock, turns, forget, pruner, secrets } = this.#options;
    await this.#mustHaveEnvironment(app, name);
    return await turns.take({ app, environment: name }, "removing", async () => {
      const endpoints = await store.control.listEndpoints(app, name);
      await store.control.removeEnvironment(app, name, clock.now());
      forget(endpoints.map(({ id }) => id));
      await secrets.removeAllOf({ app, environments: [name] });
      const { builds } = await pruner.run(app);
      const names = endpoints.map((endpoint) => endpoint.name);
      return { app, environments: [name], endpoints: names, builds: builds.length };
    });
  }

  /** Throws `NOT_FOUND`. */
  async builds(app: string): Promise<BuildsDocument> {
    const { store, pruner } = this.#options;
    await this.#mustHaveApp(app);
    const uses = await store.control.releasesOfBuilds(app);
    const builds = (await store.control.listBuilds(app)).map((build): ListedBuild => {
      const own = uses.filter(({ buildId }) => buildId === build.id).map(({ release }) => release);
      const active = own.filter(({ state }) => state === "ACTIVE");
      const kept = own.filter(({ state }) => state !== "ACTIVE");
      return {
        ...buildDocument(build),
        endpoints: build.manifest.endpoints.length,
        active: active.map(({ environment }) => environment),
        kept: kept.map(({ environment, version }) => `${environment} ${version}`),
      };
    });
    const unpackedBytes = builds.reduce((sum, build) => sum + build.unpackedBytes, 0);
    return { app, builds, unpackedBytes, keepReleases: pruner.keepReleases };
  }

  /** Removes what no release can come back to. Throws `NOT_FOUND`. */
  async pruneBuilds(app: string): Promise<PruneDocument> {
    await this.#mustHaveApp(app);
    const pruned = await this.#options.pruner.run(app);
    await this.#options.pruner.settled();
    return { app, ...pruned };
  }

  async #summary(row: EnvironmentRow): Promise<EnvironmentSummary> {
    const { control } = this.#options.store;
    const { app, name, activeReleaseId, createdAt } = row;
    const release =
      activeReleaseId === null ? undefined : await control.getRelease(activeReleaseId);
    const endpoints = await control.listEndpoints(app, name);
    return {
      name,
      state: this.#stateOf(
        row,
        endpoints.map(({ id }) => id),
      ),
      release: activeReleaseId,
      build: release?.buildId ?? null,
      endpoints: endpoints.length,
      createdAt: iso(createdAt),
    };
  }

  #stateOf(
    { app, name, activeReleaseId }: EnvironmentRow,
    endpointIds: readonly string[],
  ): EnvironmentState {
    const { turns, fleet } = this.#options;
    const turn = turns.current(app, name);
    if (turn === "removing") return "DELETING";
    if (turn === "deploying") return "DEPLOYING";
    if (activeReleaseId === null) return "PENDING";
    const pools = endpointIds.flatMap((id) => fleet.pool(id) ?? []);
    if (pools.some((pool) => pool.problem !== undefined)) return "FAILED";
    return pools.some((pool) => pool.isRolling) ? "DEPLOYING" : "DEPLOYED";
  }

  async #mustHaveApp(name: string): Promise<AppRow> {
    const app = await this.#options.store.control.getApp(name);
    if (app === undefined) throw noApp(name);
    return app;
  }

  async #mustHaveEnvironment(app: string, name: string): Promise<EnvironmentRow> {
    const row = await this.#options.store.control.getEnvironment(app, name);
    if (row !== undefined) return row;
    await this.#mustHaveApp(app);
    throw new FlashError("NOT_FOUND", `Environment '${name}' not found in app '${app}'`, {
      hint: `Run 'flash env list --app ${app}' to see them, or 'flash deploy --env ${name}' to make it.`,
    });
  }
}

function noApp(name: string): FlashError {
  return new FlashError("NOT_FOUND", `no app named '${name}' found`, {
    hint: "Run 'flash deploy' to create one, or 'flash app list' to see what there is.",
  });
}

function iso(epochMs: number): string {
  return new Date(epochMs).toISOString();
}
