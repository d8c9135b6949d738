/** {@link ControlStore} over SQLite: builds, releases, environments, endpoints and settings. */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import { FlashError } from "../../contract/errors.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { EndpointManifest, Manifest } from "../../contract/manifest.ts";
import type {
  BuildRow,
  ControlStore,
  EndpointRow,
  EnvironmentRow,
  ReleaseRow,
} from "../../contract/store.ts";
import type { Committer } from "./commit.ts";
import type { SqliteJobStore } from "./job-store.ts";

const BUILD = "id, app, digest, bytes, manifest, created_at AS createdAt";
const RELEASE =
  "id, version, app, environment, build_id AS buildId, state, created_at AS createdAt";
const ENVIRONMENT = "app, name, active_release_id AS activeReleaseId, created_at AS createdAt";
const ENDPOINT = "id, app, environment, name, kind, created_at AS createdAt";

/** Jobs of a removed endpoint are cancelled in steps of this many. */
const CANCEL_STEP = 500;
/** `/v2/flash/…` is the path of calls by name. */
const RESERVED_IDS = new Set(["flash"]);

type ReleaseRequest = Parameters<ControlStore["release"]>[0];
type Value = string | number | null;

export class SqliteControlStore implements ControlStore {
  readonly #db: DatabaseSync;
  readonly #committer: Committer;
  readonly #jobs: SqliteJobStore;
  readonly #statements = new Map<string, StatementSync>();

  constructor(options: { db: DatabaseSync; committer: Committer; jobs: SqliteJobStore }) {
    this.#db = options.db;
    this.#committer = options.committer;
    this.#jobs = options.jobs;
  }

  putBuild(build: BuildRow): Promise<BuildRow> {
    return this.#committer.commit(
      () => {
        const known = this.#one(
          `SELECT ${BUILD} FROM builds WHERE app = ? AND digest = ?`,
          build.app,
          build.digest,
        );
        if (known !== undefined) return readBuild(known);
        this.#run(
          "INSERT INTO builds (id, app, digest, bytes, manifest, created_at) VALUES (?, ?, ?, ?, ?, ?)",
          build.id,
          build.app,
          build.digest,
          build.bytes,
          JSON.stringify(build.manifest),
          build.createdAt,
        );
        return build;
      },
      { accepts: true },
    );
  }

  async getBuild(id: string): Promise<BuildRow | undefined> {
    const row = this.#one(`SELECT ${BUILD} FROM builds WHERE id = ?`, id);
    return row === undefined ? undefined : readBuild(row);
  }

  async listBuilds(app: string): Promise<BuildRow[]> {
    return this.#all(
      `SELECT ${BUILD} FROM builds WHERE app = ? ORDER BY created_at DESC, rowid DESC`,
      app,
    ).map(readBuild);
  }

  release(request: ReleaseRequest): ReturnType<ControlStore["release"]> {
    return this.#committer.commit(() => this.#release(request), { accepts: true });
  }

  #release(request: ReleaseRequest): {
    release: ReleaseRow;
    endpoints: EndpointRow[];
    removed: EndpointRow[];
  } {
    const { app, environment } = request;
    const build = this.#one(`SELECT ${BUILD} FROM builds WHERE id = ?`, request.buildId);
    if (build === undefined || build["app"] !== app) {
      throw new FlashError("NOT_FOUND", `The app '${app}' has no build ${request.buildId}.`, {
        hint: "Upload the build first.",
      });
    }
    const release = this.#addRelease(request);
    const { endpoints: wanted } = readBuild(build).manifest;
    const before = this.#activeEndpoints(app, environment);
    this.#run(
      "UPDATE endpoints SET active = 0 WHERE app = ? AND environment = ?",
      app,
      environment,
    );
    for (const endpoint of wanted) this.#putEndpoint(request, endpoint);
    const names = new Set(wanted.map(({ name }) => name));
    return {
      release,
      endpoints: this.#activeEndpoints(app, environment),
      removed: before.filter(({ name }) => !names.has(name)),
    };
  }

  #addRelease({ id, app, environment, buildId, now }: ReleaseRequest): ReleaseRow {
    this.#run(
      "INSERT INTO environments (app, name, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
      app,
      environment,
      now,
    );
    this.#run(
      `UPDATE releases SET state = 'SUPERSEDED'
       WHERE app = ? AND environment = ? AND state = 'ACTIVE'`,
      app,
      environment,
    );
    const last = this.#one(
      `SELECT coalesce(max(version), 0) AS version FROM releases WHERE app = ? AND environment = ?`,
      app,
      environment,
    );
    const version = Number(last?.["version"]) + 1;
    this.#run(
      `INSERT INTO releases (id, version, app, environment, build_id, state, created_at)
       VALUES (?, ?, ?, ?, ?, 'ACTIVE', ?)`,
      id,
      version,
      app,
      environment,
      buildId,
      now,
    );
    this.#run(
      "UPDATE environments SET active_release_id = ? WHERE app = ? AND name = ?",
      id,
      app,
      environment,
    );
    return { id, version, app, environment, buildId, state: "ACTIVE", createdAt: now };
  }

  /** An endpoint keeps its id for as long as its environment lives, even when a release skips it. */
  #putEndpoint(
    { app, environment, now, proposeId }: ReleaseRequest,
    endpoint: EndpointManifest,
  ): void {
    const { name, kind } = endpoint;
    const updated = this.#run(
      "UPDATE endpoints SET active = 1, kind = ? WHERE app = ? AND environment = ? AND name = ?",
      kind,
      app,
      environment,
      name,
    );
    if (updated > 0) return;
    let id = proposeId();
    while (
      RESERVED_IDS.has(id) ||
      this.#one("SELECT id FROM endpoints WHERE id = ?", id) !== undefined
    ) {
      id = proposeId();
    }
    this.#run(
      `INSERT INTO endpoints (id, app, environment, name, kind, active, created_at)
       VALUES (?, ?, ?, ?, ?, 1, ?)`,
      id,
      app,
      environment,
      name,
      kind,
      now,
    );
  }

  async getRelease(id: string): Promise<ReleaseRow | undefined> {
    return this.#one(`SELECT ${RELEASE} FROM releases WHERE id = ?`, id) as ReleaseRow | undefined;
  }

  async listReleases(app: string, environment: string): Promise<ReleaseRow[]> {
    return this.#all(
      `SELECT ${RELEASE} FROM releases WHERE app = ? AND environment = ? ORDER BY version DESC`,
      app,
      environment,
    ) as unknown as ReleaseRow[];
  }

  async listEnvironments(app?: string): Promise<EnvironmentRow[]> {
    return this.#all(
      `SELECT ${ENVIRONMENT} FROM environments WHERE ?1 IS NULL OR app = ?1 ORDER BY app, name`,
      app ?? null,
    ) as unknown as EnvironmentRow[];
  }

  async getEnvironment(app: string, name: string): Promise<EnvironmentRow | undefined> {
    return this.#one(
      `SELECT ${ENVIRONMENT} FROM environments WHERE app = ? AND name = ?`,
      app,
      name,
    ) as EnvironmentRow | undefined;
  }

  async getEndpoint(id: string): Promise<EndpointRow | undefined> {
    return this.#one(`SELECT ${ENDPOINT} FROM endpoints WHERE id = ? AND active = 1`, id) as
      | EndpointRow
      | undefined;
  }

  async findEndpoint(
    app: string,
    environment: string,
    name: string,
  ): Promise<EndpointRow | undefined> {
    return this.#one(
      `SELECT ${ENDPOINT} FROM endpoints
       WHERE app = ? AND environment = ? AND name = ? AND active = 1`,
      app,
      environment,
      name,
    ) as EndpointRow | undefined;
  }

  async listEndpoints(app?: string, environment?: string): Promise<EndpointRow[]> {
    return this.#activeEndpoints(app, environment);
  }

  #activeEndpoints(app?: string, environment?: string): EndpointRow[] {
    return this.#all(
      `SELECT ${ENDPOINT} FROM endpoints WHERE active = 1
       AND (?1 IS NULL OR app = ?1) AND (?2 IS NULL OR environment = ?2)
       ORDER BY app, environment, name`,
      app ?? null,
      environment ?? null,
    ) as unknown as EndpointRow[];
  }

  async removeEndpoint(id: string, now: number): Promise<boolean> {
    const removed = await this.#committer.commit(
      () => this.#run("DELETE FROM endpoints WHERE id = ?", id) > 0,
    );
    await this.#cancelJobs([id], now);
    return removed;
  }

  async removeEnvironment(app: string, name: string, now: number): Promise<boolean> {
    const removed = await this.#committer.commit(() => {
      const ids = this.#all(
        "DELETE FROM endpoints WHERE app = ? AND environment = ? RETURNING id",
        app,
        name,
      ).map((row) => String(row["id"]));
      this.#run(
        "UPDATE releases SET state = 'REMOVED' WHERE app = ? AND environment = ?",
        app,
        name,
      );
      const found = this.#run("DELETE FROM environments WHERE app = ? AND name = ?", app, name) > 0;
      return { ids, found };
    });
    await this.#cancelJobs(removed.ids, now);
    return removed.found;
  }

  async #cancelJobs(endpointIds: readonly string[], now: number): Promise<void> {
    const retentionMs = LIMITS.retentionRunMs;
    for (const endpointId of endpointIds) {
      const request = { endpointId, now, retentionMs, limit: CANCEL_STEP };
      while ((await this.#jobs.cancelAll(request)).length === CANCEL_STEP);
    }
  }

  async readSetting(key: string): Promise<string | undefined> {
    const row = this.#one("SELECT value FROM settings WHERE key = ?", key);
    return row === undefined ? undefined : String(row["value"]);
  }

  async writeSetting(key: string, value: string): Promise<void> {
    await this.#committer.commit(() =>
      this.#run(
        "INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        key,
        value,
      ),
    );
  }

  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  #one(sql: string, ...values: Value[]): Record<string, unknown> | undefined {
    const row = this.#prepare(sql).get(...values);
    return row === undefined ? undefined : plain(row);
  }

  #all(sql: string, ...values: Value[]): Record<string, unknown>[] {
    return this.#prepare(sql)
      .all(...values)
      .map(plain);
  }

  /** Rows changed. */
  #run(sql: string, ...values: Value[]): number {
    return Number(this.#prepare(sql).run(...values).changes);
  }
}

function readBuild(row: Record<string, unknown>): BuildRow {
  return { ...row, manifest: JSON.parse(String(row["manifest"])) as Manifest } as BuildRow;
}

/** Rows come without a prototype, which equality checks and printing trip over. */
function plain(row: Record<string, unknown>): Record<string, unknown> {
  return { ...row };
}
