/** What a deployment would change, and what is not as the active release says. */

import type { PlanDocument, PlanRequest } from "../../contract/control.ts";
import { findEndpoint, type EndpointManifest } from "../../contract/manifest.ts";
import {
  optionChanges,
  planChanges,
  type Drift,
  type EndpointChange,
} from "../../contract/plan.ts";
import type { BuildRow, ReleaseEndpointRow, ReleaseRow, Store } from "../../contract/store.ts";
import type { Fleet } from "../workers/fleet.ts";
import type { Builds } from "./builds.ts";

export interface ActiveRelease {
  release: ReleaseRow;
  build: BuildRow;
}

/** Drift, and the builds whose files are not all there. */
export interface FoundDrift {
  drift: Drift[];
  brokenBuilds: string[];
}

export class Plans {
  readonly #store: Store;
  readonly #fleet: Fleet;
  readonly #builds: Builds;

  constructor(options: { store: Store; fleet: Fleet; builds: Builds }) {
    this.#store = options.store;
    this.#fleet = options.fleet;
    this.#builds = options.builds;
  }

  /** The release that serves an environment; undefined when none does. */
  async active(app: string, environment: string): Promise<ActiveRelease | undefined> {
    const { control } = this.#store;
    const row = await control.getEnvironment(app, environment);
    const id = row?.activeReleaseId ?? null;
    const release = id === null ? undefined : await control.getRelease(id);
    const build = release === undefined ? undefined : await control.getBuild(release.buildId);
    return release === undefined || build === undefined ? undefined : { release, build };
  }

  async plan(request: PlanRequest, target: string): Promise<Omit<PlanDocument, "missingSecrets">> {
    const { app, environment, digest, manifest } = request;
    const { control } = this.#store;
    const active = await this.active(app, environment);
    const { drift } = await this.drift(active);
    const known = (await control.listBuilds(app)).find((build) => build.digest === digest);
    const uploads = known === undefined || !(await this.#builds.isWhole(known));
    // The upload puts the files of its own build back.
    const healed =
      uploads && known !== undefined ? await this.#inBuild(active, known.id) : new Set<string>();
    const left = drift.filter(({ name, reason }) => reason !== "files" || !healed.has(name));
    const changes = this.changes(active, manifest.endpoints, left);
    return {
      app,
      environment,
      target,
      isNew: (await control.getEnvironment(app, environment)) === undefined,
      release: active?.release.id ?? null,
      makesRelease: active === undefined || active.build.digest !== digest || left.length > 0,
      uploads,
      changes,
      drift,
    };
  }

  changes(
    active: ActiveRelease | undefined,
    wanted: readonly EndpointManifest[],
    drift: readonly Drift[],
  ): EndpointChange[] {
    return planChanges(active?.build.manifest.endpoints ?? [], wanted, drift);
  }

  async drift(active: ActiveRelease | undefined): Promise<FoundDrift> {
    if (active === undefined) return { drift: [], brokenBuilds: [] };
    const { release, build } = active;
    const { app, environment } = release;
    const { control } = this.#store;
    const rows = await control.listEndpoints(app, environment);
    const ids = new Map(rows.map(({ name, id }) => [name, id]));
    const drift: Drift[] = [];
    const broken = new Set<string>();
    for (const row of await control.releaseEndpoints(release.id)) {
      const declared = findEndpoint(build.manifest, row.name);
      if (declared === undefined) continue;
      const id = ids.get(row.name);
      if (id === undefined) {
        drift.push({ name: row.name, reason: "missing", options: [] });
      } else if (!(await this.#builds.hasFilesOf(row.buildId, declared))) {
        drift.push({ name: row.name, reason: "files", options: [] });
        broken.add(row.buildId);
      } else drift.push(...this.#settingsDrift(id, row, declared));
    }
    return { drift, brokenBuilds: [...broken] };
  }

  #settingsDrift(
    endpointId: string,
    { name, versionId }: ReleaseEndpointRow,
    declared: EndpointManifest,
  ): Drift[] {
    const runs = this.#fleet.pool(endpointId)?.active;
    const options = optionChanges(declared.options, runs?.manifest.options ?? declared.options);
    const isSame = runs?.releaseId === versionId && options.length === 0;
    return isSame ? [] : [{ name, reason: "settings", options }];
  }

  /** Names of the active release's endpoints that run from the build. */
  async #inBuild(active: ActiveRelease | undefined, buildId: string): Promise<Set<string>> {
    if (active === undefined) return new Set();
    const rows = await this.#store.control.releaseEndpoints(active.release.id);
    return new Set(rows.filter((row) => row.buildId === buildId).map(({ name }) => name));
  }
}
