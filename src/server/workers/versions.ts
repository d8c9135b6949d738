/**
 * Which version of an endpoint a release runs, as the store has written it down: a deployment that
 * does not change an endpoint rolls nothing, a rollback finds the workers that still run, and the jobs
 * that wait keep their worker.
 */

import { findEndpoint } from "../../contract/manifest.ts";
import type {
  BuildRow,
  ControlStore,
  EndpointRow,
  ReleaseEndpointRow,
  ReleaseRow,
} from "../../contract/store.ts";
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
    const versions = new Map<string, Version>();
    for (const row of await this.#store.releaseEndpoints(release.id)) {
      const version = await this.#version(row);
      if (version !== undefined) versions.set(row.name, version);
    }
    return versions;
  }

  /** A version of an endpoint; undefined when no release has it any more. */
  async of(row: EndpointRow, versionId: string): Promise<Version | undefined> {
    const found = await this.#store.findVersion(versionId, row.name);
    return found === undefined ? undefined : await this.#version(found);
  }

  async #version(row: ReleaseEndpointRow): Promise<Version | undefined> {
    const build = await this.#build(row.buildId);
    const manifest = build === undefined ? undefined : findEndpoint(build.manifest, row.name);
    if (build === undefined || manifest === undefined) return undefined;
    const { versionId: releaseId, buildId } = row;
    const { builtWith } = build.manifest;
    return { releaseId, buildId, builtWith, artifactDir: this.#folderOf(buildId), manifest };
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
