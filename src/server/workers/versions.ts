/**
 * Which version of an endpoint a release runs. A version is known by the earliest release of its
 * environment in which the endpoint had this fingerprint, so a deployment that does not change an
 * endpoint rolls nothing, a rollback finds the workers that still run, and the jobs that wait keep
 * their worker. The rule needs no state of its own: after a restart it gives the same answer.
 */

import { findEndpoint, type EndpointManifest, type Manifest } from "../../contract/manifest.ts";
import type { BuildRow, ControlStore, EndpointRow, ReleaseRow } from "../../contract/store.ts";
import type { Version } from "./pool-worker.ts";

/** Builds whose manifests are kept in memory. */
const MAX_CACHED = 32;

export class Versions {
  readonly #store: ControlStore;
  readonly #folderOf: (buildId: string) => string;
  readonly #builds = new Map<string, BuildRow>();

  constructor(store: ControlStore, folderOf: (buildId: string) => string) {
    this.#store = store;
    this.#folderOf = folderOf;
  }

  /** The versions that a release makes active, by endpoint name. */
  async ofRelease(release: ReleaseRow): Promise<Map<string, Version>> {
    const build = await this.#build(release.buildId);
    const versions = new Map<string, Version>();
    if (build === undefined) return versions;
    const open = new Map(build.manifest.endpoints.map((endpoint) => [endpoint.name, endpoint]));
    for (const endpoint of build.manifest.endpoints) {
      versions.set(endpoint.name, this.#version(release, endpoint));
    }
    // Oldest first: the first release that matches is the one the version is known by.
    for (const earlier of await this.#history(release)) {
      const manifest = (await this.#build(earlier.buildId))?.manifest;
      if (manifest === undefined) continue;
      for (const [name, endpoint] of open) {
        if (!isSame(manifest, endpoint)) continue;
        versions.set(name, this.#version(earlier, endpoint));
        open.delete(name);
      }
    }
    return versions;
  }

  /** The version that a release has of an endpoint; undefined when it has none. */
  async of(row: EndpointRow, releaseId: string): Promise<Version | undefined> {
    const release = await this.#store.getRelease(releaseId);
    if (release === undefined) return undefined;
    const build = await this.#build(release.buildId);
    const endpoint = build === undefined ? undefined : findEndpoint(build.manifest, row.name);
    return endpoint === undefined ? undefined : this.#version(release, endpoint);
  }

  #version(release: ReleaseRow, manifest: EndpointManifest): Version {
    const { id: releaseId, buildId } = release;
    return { releaseId, buildId, artifactDir: this.#folderOf(buildId), manifest };
  }

  async #history(release: ReleaseRow): Promise<ReleaseRow[]> {
    const all = await this.#store.listReleases(release.app, release.environment);
    return all
      .filter(({ version, state }) => version < release.version && hasServed(state))
      .sort((a, b) => a.version - b.version);
  }

  async #build(id: string): Promise<BuildRow | undefined> {
    const known = this.#builds.get(id);
    if (known !== undefined) return known;
    const build = await this.#store.getBuild(id);
    if (build === undefined) return undefined;
    this.#builds.set(id, build);
    const [oldest] = this.#builds.keys();
    if (this.#builds.size > MAX_CACHED && oldest !== undefined) this.#builds.delete(oldest);
    return build;
  }
}

function hasServed(state: ReleaseRow["state"]): boolean {
  return state === "ACTIVE" || state === "SUPERSEDED";
}

function isSame(manifest: Manifest, endpoint: EndpointManifest): boolean {
  return findEndpoint(manifest, endpoint.name)?.fingerprint === endpoint.fingerprint;
}
