/**
 * All pools of a server: one for each endpoint of an active release. What runs follows what the store
 * says: `load` at the start, `follow` after every release and removal.
 */

import { LIMITS } from "../../contract/limits.ts";
import type { EndpointRow, ReleaseRow, Store } from "../../contract/store.ts";
import type { PoolHost } from "./host.ts";
import { Pool } from "./pool.ts";
import type { Version } from "./pool-worker.ts";
import { Versions } from "./versions.ts";

export interface FleetOptions {
  store: Store;
  host: PoolHost;
  /** Folder of an unpacked build. */
  folderOf: (buildId: string) => string;
}

export class Fleet {
  readonly #store: Store;
  readonly #host: PoolHost;
  readonly #versions: Versions;
  readonly #pools = new Map<string, Pool>();
  readonly #byName = new Map<string, Pool>();
  /** Pools of removed endpoints, until their workers are gone. */
  readonly #leaving = new Map<Pool, Promise<void>>();

  constructor(options: FleetOptions) {
    this.#store = options.store;
    this.#host = options.host;
    this.#versions = new Versions(options.store.control, options.folderOf);
  }

  get pools(): Iterable<Pool> {
    return this.#pools.values();
  }

  pool(endpointId: string): Pool | undefined {
    return this.#pools.get(endpointId);
  }

  find(app: string, environment: string, name: string): Pool | undefined {
    return this.#byName.get(nameKey(app, environment, name));
  }

  /** Pools for every active release of the store. */
  async load(): Promise<void> {
    const { control } = this.#store;
    for (const { app, name, activeReleaseId } of await control.listEnvironments()) {
      const release =
        activeReleaseId === null ? undefined : await control.getRelease(activeReleaseId);
      if (release === undefined) continue;
      await this.follow(release, await control.listEndpoints(app, name));
    }
  }

  /** Makes a release the one that the endpoints of its environment run. */
  async follow(release: ReleaseRow, endpoints: readonly EndpointRow[]): Promise<void> {
    const versions = await this.#versions.ofRelease(release);
    for (const row of endpoints) {
      const version = versions.get(row.name);
      if (version === undefined) continue;
      const pool = this.#pools.get(row.id);
      // A name may come back as the other kind: those are other workers altogether.
      if (pool !== undefined && pool.row.kind !== row.kind)
        this.remove([row.id], LIMITS.workerGraceMs);
      if (pool === undefined || pool.row.kind !== row.kind) this.#add(row, version);
      else pool.activate(version);
    }
  }

  /** Drains the workers of endpoints that are no more. */
  remove(endpointIds: readonly string[], graceMs: number): void {
    for (const id of endpointIds) {
      const pool = this.#pools.get(id);
      if (pool === undefined) continue;
      this.#pools.delete(id);
      const key = nameKey(pool.row.app, pool.row.environment, pool.row.name);
      if (this.#byName.get(key) === pool) this.#byName.delete(key);
      this.#leaving.set(
        pool,
        pool.close(graceMs).finally(() => this.#leaving.delete(pool)),
      );
    }
  }

  /** The version that a release has of an endpoint. */
  async versionOf(endpointId: string, releaseId: string): Promise<Version | undefined> {
    const pool = this.#pools.get(endpointId);
    if (pool?.active.releaseId === releaseId) return pool.active;
    const row = pool?.row ?? (await this.#store.control.getEndpoint(endpointId));
    return row === undefined ? undefined : await this.#versions.of(row, releaseId);
  }

  /** Builds that a worker runs, or that the next one would. */
  buildsInUse(): Set<string> {
    const inUse = new Set<string>();
    for (const pool of this.#pools.values()) inUse.add(pool.active.buildId);
    for (const pool of [...this.#pools.values(), ...this.#leaving.keys()]) {
      for (const { version } of pool.workers) inUse.add(version.buildId);
    }
    return inUse;
  }

  /** Drains everything; what is left after `graceMs` is killed. */
  async close(graceMs: number): Promise<void> {
    const pools = [...this.#pools.values()];
    await Promise.all([...pools.map((pool) => pool.close(graceMs)), ...this.#leaving.values()]);
  }

  #add(row: EndpointRow, version: Version): void {
    const pool = new Pool(row, version, this.#host);
    this.#pools.set(row.id, pool);
    this.#byName.set(nameKey(row.app, row.environment, row.name), pool);
    this.#host.wake(row.id);
  }
}

/** Names hold no `/`. */
function nameKey(app: string, environment: string, name: string): string {
  return `${app}/${environment}/${name}`;
}
