/** {@link ControlStore} over SQLite: apps, builds, releases, environments, endpoints and settings. */

import type { DatabaseSync } from "node:sqlite";
import { LIMITS } from "../../contract/limits.ts";
import type {
  AppRow,
  BuildRow,
  ControlStore,
  EndpointRow,
  EnvironmentRow,
  ReleaseEndpointRow,
  ReleaseRow,
} from "../../contract/store.ts";
import type { Committer } from "./commit.ts";
import type { SqliteJobStore } from "./job-store.ts";
import {
  activeEndpoints,
  addApp,
  BUILD,
  ENDPOINT,
  makeRelease,
  prune,
  readBuild,
} from "./release-steps.ts";
import { Rows } from "./rows.ts";

const RELEASE =
  "id, version, app, environment, build_id AS buildId, state, created_at AS createdAt";
const ENVIRONMENT = "app, name, active_release_id AS activeReleaseId, created_at AS createdAt";
const RELEASE_ENDPOINT =
  "release_id AS releaseId, name, version_id AS versionId, build_id AS buildId";

/** Jobs of a removed endpoint are cancelled in steps of this many. */
const CANCEL_STEP = 500;

export class SqliteControlStore implements ControlStore {
  readonly #committer: Committer;
  readonly #jobs: SqliteJobStore;
  readonly #rows: Rows;

  constructor(options: { db: DatabaseSync; committer: Committer; jobs: SqliteJobStore }) {
    this.#committer = options.committer;
    this.#jobs = options.jobs;
    this.#rows = new Rows(options.db);
  }

  // Apps.

  putApp(name: string, now: number): Promise<boolean> {
    return this.#committer.commit(() => addApp(this.#rows, name, now), { accepts: true });
  }

  async listApps(): Promise<AppRow[]> {
    return this.#rows.all(
      "SELECT name, created_at AS createdAt FROM apps ORDER BY name",
    ) as unknown as AppRow[];
  }

  async getApp(name: string): Promise<AppRow | undefined> {
    return this.#rows.one("SELECT name, created_at AS createdAt FROM apps WHERE name = ?", name) as
      | AppRow
      | undefined;
  }

  async removeApp(name: string, now: number): ReturnType<ControlStore["removeApp"]> {
    const removed = await this.#committer.commit(() => {
      if (this.#rows.run("DELETE FROM apps WHERE name = ?", name) === 0) return undefined;
      const environments = this.#rows
        .all("SELECT name FROM environments WHERE app = ? ORDER BY name", name)
        .map((row) => String(row["name"]));
      const endpoints = environments.flatMap((one) => this.#emptyEnvironment(name, one));
      this.#rows.run("DELETE FROM environments WHERE app = ?", name);
      const builds = this.#rows
        .all("DELETE FROM builds WHERE app = ? RETURNING id", name)
        .map((row) => String(row["id"]));
      return { endpoints, environments, builds };
    });
    await this.#cancelJobs(removed?.endpoints.map(({ id }) => id) ?? [], now);
    return removed;
  }

  // Builds.

  putBuild(build: BuildRow, wantedUntil = 0): Promise<BuildRow> {
    return this.#committer.commit(
      () => {
        addApp(this.#rows, build.app, build.createdAt);
        this.#rows.run(
          `INSERT INTO builds
             (id, app, digest, bytes, unpacked_bytes, manifest, created_at, wanted_until)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (app, digest) DO UPDATE SET
             wanted_until = max(wanted_until, excluded.wanted_until),
             unpacked_bytes = excluded.unpacked_bytes`,
          build.id,
          build.app,
          build.digest,
          build.bytes,
          build.unpackedBytes,
          JSON.stringify(build.manifest),
          build.createdAt,
          wantedUntil,
        );
        const stored = this.#rows.one(
          `SELECT ${BUILD} FROM builds WHERE app = ? AND digest = ?`,
          build.app,
          build.digest,
        );
        return stored === undefined ? build : readBuild(stored);
      },
      { accepts: true },
    );
  }

  wantBuild(id: string, wantedUntil: number): Promise<boolean> {
    const sql = "UPDATE builds SET wanted_until = max(wanted_until, ?) WHERE id = ?";
    return this.#committer.commit(() => this.#rows.run(sql, wantedUntil, id) > 0);
  }

  async getBuild(id: string): Promise<BuildRow | undefined> {
    const row = this.#rows.one(`SELECT ${BUILD} FROM builds WHERE id = ?`, id);
    return row === undefined ? undefined : readBuild(row);
  }

  async listBuilds(app: string): Promise<BuildRow[]> {
    return this.#rows
      .all(`SELECT ${BUILD} FROM builds WHERE app = ? ORDER BY created_at DESC, rowid DESC`, app)
      .map(readBuild);
  }

  async buildIds(): Promise<string[]> {
    return this.#rows.all("SELECT id FROM builds").map((row) => String(row["id"]));
  }

  async releasesOfBuilds(app: string): Promise<{ buildId: string; release: ReleaseRow }[]> {
    const rows = this.#rows.all(
      `SELECT DISTINCT e.build_id AS usedBuildId, r.id, r.version, r.app, r.environment,
         r.build_id AS buildId, r.state, r.created_at AS createdAt
       FROM releases r JOIN
         (SELECT release_id, build_id FROM release_endpoints
          UNION SELECT id, build_id FROM releases) e ON e.release_id = r.id
       WHERE r.app = ? AND r.state IN ('ACTIVE', 'SUPERSEDED') ORDER BY r.environment, r.version`,
      app,
    );
    return rows.map(({ usedBuildId, ...release }) => ({
      buildId: String(usedBuildId),
      release: release as unknown as ReleaseRow,
    }));
  }

  prune(request: Parameters<ControlStore["prune"]>[0]): ReturnType<ControlStore["prune"]> {
    return this.#committer.commit(() => prune(this.#rows, request));
  }

  // Releases.

  async release(
    request: Parameters<ControlStore["release"]>[0],
  ): ReturnType<ControlStore["release"]> {
    const made = await this.#committer.commit(() => makeRelease(this.#rows, request), {
      accepts: true,
    });
    const left = made.removed.map(({ id }) => id);
    await this.#cancelJobs(left, request.now);
    return made;
  }

  async getRelease(id: string): Promise<ReleaseRow | undefined> {
    return this.#rows.one(`SELECT ${RELEASE} FROM releases WHERE id = ?`, id) as
      | ReleaseRow
      | undefined;
  }

  async listReleases(app: string, environment: string): Promise<ReleaseRow[]> {
    return this.#rows.all(
      `SELECT ${RELEASE} FROM releases WHERE app = ? AND environment = ? ORDER BY version DESC`,
      app,
      environment,
    ) as unknown as ReleaseRow[];
  }

  async releaseEndpoints(releaseId: string): Promise<ReleaseEndpointRow[]> {
    return this.#rows.all(
      `SELECT ${RELEASE_ENDPOINT} FROM release_endpoints WHERE release_id = ? ORDER BY name`,
      releaseId,
    ) as unknown as ReleaseEndpointRow[];
  }

  async findVersion(versionId: string, name: string): Promise<ReleaseEndpointRow | undefined> {
    return this.#rows.one(
      `SELECT ${RELEASE_ENDPOINT} FROM release_endpoints WHERE version_id = ? AND name = ? LIMIT 1`,
      versionId,
      name,
    ) as ReleaseEndpointRow | undefined;
  }

  // Environments.

  putEnvironment(app: string, name: string, now: number): Promise<boolean> {
    return this.#committer.commit(
      () => {
        addApp(this.#rows, app, now);
        const added = this.#rows.run(
          "INSERT INTO environments (app, name, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
          app,
          name,
          now,
        );
        return added > 0;
      },
      { accepts: true },
    );
  }

  async listEnvironments(app?: string): Promise<EnvironmentRow[]> {
    return this.#rows.all(
      `SELECT ${ENVIRONMENT} FROM environments WHERE ? IS NULL OR app = ? ORDER BY app, name`,
      app ?? null,
      app ?? null,
    ) as unknown as EnvironmentRow[];
  }

  async getEnvironment(app: string, name: string): Promise<EnvironmentRow | undefined> {
    return this.#rows.one(
      `SELECT ${ENVIRONMENT} FROM environments WHERE app = ? AND name = ?`,
      app,
      name,
    ) as EnvironmentRow | undefined;
  }

  async clearEnvironment(app: string, name: string, now: number): Promise<boolean> {
    const removed = await this.#committer.commit(() => {
      const endpoints = this.#emptyEnvironment(app, name);
      const found = this.#rows.run(
        "UPDATE environments SET active_release_id = NULL WHERE app = ? AND name = ?",
        app,
        name,
      );
      return { endpoints, found: found > 0 };
    });
    await this.#cancelJobs(
      removed.endpoints.map(({ id }) => id),
      now,
    );
    return removed.found;
  }

  async removeEnvironment(app: string, name: string, now: number): Promise<boolean> {
    const removed = await this.#committer.commit(() => {
      const endpoints = this.#emptyEnvironment(app, name);
      const sql = "DELETE FROM environments WHERE app = ? AND name = ?";
      return { endpoints, found: this.#rows.run(sql, app, name) > 0 };
    });
    await this.#cancelJobs(
      removed.endpoints.map(({ id }) => id),
      now,
    );
    return removed.found;
  }

  /** Without its endpoints and releases. Returns the endpoints. */
  #emptyEnvironment(app: string, name: string): EndpointRow[] {
    const endpoints = this.#rows.all(
      `DELETE FROM endpoints WHERE app = ? AND environment = ? RETURNING ${ENDPOINT}`,
      app,
      name,
    ) as unknown as EndpointRow[];
    this.#rows.run(
      `DELETE FROM release_endpoints WHERE release_id IN
         (SELECT id FROM releases WHERE app = ? AND environment = ?)`,
      app,
      name,
    );
    const sql = "UPDATE releases SET state = 'REMOVED' WHERE app = ? AND environment = ?";
    this.#rows.run(sql, app, name);
    return endpoints;
  }

  // Endpoints.

  async getEndpoint(id: string): Promise<EndpointRow | undefined> {
    return this.#rows.one(`SELECT ${ENDPOINT} FROM endpoints WHERE id = ? AND active = 1`, id) as
      | EndpointRow
      | undefined;
  }

  async findEndpoint(
    app: string,
    environment: string,
    name: string,
  ): Promise<EndpointRow | undefined> {
    return this.#rows.one(
      `SELECT ${ENDPOINT} FROM endpoints
       WHERE app = ? AND environment = ? AND name = ? AND active = 1`,
      app,
      environment,
      name,
    ) as EndpointRow | undefined;
  }

  async listEndpoints(app?: string, environment?: string): Promise<EndpointRow[]> {
    return activeEndpoints(this.#rows, app, environment);
  }

  async removeEndpoint(id: string, now: number): Promise<boolean> {
    const removed = await this.#committer.commit(
      () => this.#rows.run("DELETE FROM endpoints WHERE id = ?", id) > 0,
    );
    await this.#cancelJobs([id], now);
    return removed;
  }

  async finishRemovals(now: number): Promise<void> {
    this.#committer.settleRecent();
    const left = this.#rows.all(
      `SELECT DISTINCT endpoint_id AS id FROM lanes WHERE waiting + running > 0
       AND endpoint_id NOT IN (SELECT id FROM endpoints WHERE active = 1)`,
    );
    await this.#cancelJobs(
      left.map((row) => String(row["id"])),
      now,
    );
  }

  async #cancelJobs(endpointIds: readonly string[], now: number): Promise<void> {
    const retentionMs = LIMITS.retentionRunMs;
    for (const endpointId of endpointIds) {
      const request = { endpointId, now, retentionMs, limit: CANCEL_STEP };
      while ((await this.#jobs.cancelAll(request)).length === CANCEL_STEP);
    }
  }

  // Settings.

  async readSetting(key: string): Promise<string | undefined> {
    const row = this.#rows.one("SELECT value FROM settings WHERE key = ?", key);
    return row === undefined ? undefined : String(row["value"]);
  }

  async writeSetting(key: string, value: string): Promise<void> {
    const sql =
      "INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    await this.#committer.commit(() => this.#rows.run(sql, key, value));
  }
}
