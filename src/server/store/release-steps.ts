/**
 * The two steps that decide what a release runs from and which builds are still needed. Both run
 * inside one transaction of the control store.
 *
 *   1  Every endpoint of a release that can come back names its version and that version's build.
 *   2  A build that such a release, or an endpoint of one, names is never removed.
 *   3  A version that jobs wait for is named by at least one release that is kept.
 */

import { FlashError } from "../../contract/errors.ts";
import { canonical } from "../../contract/json.ts";
import { findEndpoint, type EndpointManifest, type Manifest } from "../../contract/manifest.ts";
import type { BuildRow, ControlStore, EndpointRow, ReleaseRow } from "../../contract/store.ts";
import type { Rows } from "./rows.ts";

export const BUILD =
  "id, app, digest, bytes, unpacked_bytes AS unpackedBytes, manifest, created_at AS createdAt";
export const ENDPOINT = "id, app, environment, name, kind, created_at AS createdAt";

/** `/v2/flash/…` is the path of calls by name. */
const RESERVED_IDS = new Set(["flash"]);

type ReleaseRequest = Parameters<ControlStore["release"]>[0];

/** Makes a release the active one. Throws `NOT_FOUND` when there is no such build. */
export function makeRelease(
  rows: Rows,
  request: ReleaseRequest,
): { release: ReleaseRow; endpoints: EndpointRow[]; removed: EndpointRow[] } {
  const { app, environment } = request;
  const build = rows.one(`SELECT ${BUILD} FROM builds WHERE id = ?`, request.buildId);
  if (build === undefined || build["app"] !== app) {
    throw new FlashError("NOT_FOUND", `The app '${app}' has no build '${request.buildId}'.`, {
      hint: "Upload the artifact first.",
    });
  }
  const { endpoints: wanted } = readBuild(build).manifest;
  const versions = versionsOf(rows, request, wanted);
  const release = addRelease(rows, request);
  for (const [name, version] of versions) {
    rows.run(
      `INSERT INTO release_endpoints (release_id, name, fingerprint, version_id, build_id)
       VALUES (?, ?, ?, ?, ?)`,
      release.id,
      name,
      version.fingerprint,
      version.versionId,
      version.buildId,
    );
  }
  const before = activeEndpoints(rows, app, environment);
  rows.run("UPDATE endpoints SET active = 0 WHERE app = ? AND environment = ?", app, environment);
  for (const endpoint of wanted) putEndpoint(rows, request, endpoint);
  const names = new Set(wanted.map(({ name }) => name));
  const removed = before.filter(({ name }) => !names.has(name));
  for (const { id } of removed) rows.run("DELETE FROM worker_keys WHERE endpoint_id = ?", id);
  return { release, endpoints: activeEndpoints(rows, app, environment), removed };
}

interface FoundVersion {
  fingerprint: string;
  versionId: string;
  buildId: string;
}

/** By endpoint name: the version that a release which can come back has already, else a new one. */
function versionsOf(
  rows: Rows,
  request: ReleaseRequest,
  wanted: readonly EndpointManifest[],
): Map<string, FoundVersion> {
  const broken = JSON.stringify(request.brokenBuilds ?? []);
  const manifests = new Map<string, Manifest>();
  const manifestOf = (buildId: string): Manifest => {
    const known = manifests.get(buildId);
    if (known !== undefined) return known;
    const row = rows.one(`SELECT ${BUILD} FROM builds WHERE id = ?`, buildId);
    const manifest = row === undefined ? { endpoints: [] } : readBuild(row).manifest;
    manifests.set(buildId, manifest as Manifest);
    return manifest as Manifest;
  };
  return new Map(
    wanted.map((endpoint) => {
      const { name, fingerprint } = endpoint;
      const found = rows.one(
        `SELECT e.version_id AS versionId, e.build_id AS buildId
         FROM release_endpoints e JOIN releases r ON r.id = e.release_id
         WHERE e.name = ? AND e.fingerprint = ? AND r.app = ? AND r.environment = ?
           AND r.state IN ('ACTIVE', 'SUPERSEDED')
           AND e.build_id NOT IN (SELECT value FROM json_each(?))
         ORDER BY r.version DESC LIMIT 1`,
        name,
        fingerprint,
        request.app,
        request.environment,
        broken,
      ) as FoundVersion | undefined;
      // Equal fingerprints with other options: whoever built that, the options count.
      const isSame =
        found !== undefined &&
        hasOptionsOf(findEndpoint(manifestOf(found.buildId), name), endpoint);
      const version = isSame ? found : { versionId: request.id, buildId: request.buildId };
      return [name, { ...version, fingerprint }];
    }),
  );
}

function hasOptionsOf(known: EndpointManifest | undefined, endpoint: EndpointManifest): boolean {
  return known !== undefined && canonical(known.options) === canonical(endpoint.options);
}

function addRelease(
  rows: Rows,
  { id, app, environment, buildId, now }: ReleaseRequest,
): ReleaseRow {
  addApp(rows, app, now);
  rows.run(
    "INSERT INTO environments (app, name, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
    app,
    environment,
    now,
  );
  rows.run(
    `UPDATE releases SET state = 'SUPERSEDED'
     WHERE app = ? AND environment = ? AND state = 'ACTIVE'`,
    app,
    environment,
  );
  const last = rows.one(
    `SELECT coalesce(max(version), 0) AS version FROM releases WHERE app = ? AND environment = ?`,
    app,
    environment,
  );
  const version = Number(last?.["version"]) + 1;
  rows.run(
    `INSERT INTO releases (id, version, app, environment, build_id, state, created_at)
     VALUES (?, ?, ?, ?, ?, 'ACTIVE', ?)`,
    id,
    version,
    app,
    environment,
    buildId,
    now,
  );
  rows.run(
    "UPDATE environments SET active_release_id = ? WHERE app = ? AND name = ?",
    id,
    app,
    environment,
  );
  // From here on the release keeps it.
  rows.run("UPDATE builds SET wanted_until = 0 WHERE id = ?", buildId);
  return { id, version, app, environment, buildId, state: "ACTIVE", createdAt: now };
}

/** An endpoint keeps its id for as long as its environment lives, even when a release skips it. */
function putEndpoint(
  rows: Rows,
  { app, environment, now, proposeId }: ReleaseRequest,
  { name, kind }: EndpointManifest,
): void {
  const updated = rows.run(
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
    rows.one("SELECT id FROM endpoints WHERE id = ?", id) !== undefined
  ) {
    id = proposeId();
  }
  rows.run(
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

/** What of the store's releases and builds is not needed any more: gone after this. */
export function prune(
  rows: Rows,
  request: { app?: string; keepReleases: number; now: number },
): { releases: number; builds: { id: string; app: string; bytes: number }[] } {
  const { app = null, keepReleases, now } = request;
  let releases = 0;
  const environments = rows.all(
    "SELECT app, name FROM environments WHERE ? IS NULL OR app = ?",
    app,
    app,
  ) as { app: string; name: string }[];
  for (const environment of environments) {
    releases += pruneReleases(rows, environment, Math.max(1, keepReleases));
  }
  const builds = rows.all(
    `DELETE FROM builds WHERE (? IS NULL OR app = ?) AND wanted_until <= ?
       AND id NOT IN (SELECT build_id FROM release_endpoints)
       AND id NOT IN (SELECT build_id FROM releases WHERE state IN ('ACTIVE', 'SUPERSEDED'))
     RETURNING id, app, unpacked_bytes AS bytes`,
    app,
    app,
    now,
  ) as { id: string; app: string; bytes: number }[];
  return { releases, builds };
}

/** Returns how many releases can no longer come back. */
function pruneReleases(
  rows: Rows,
  { app, name }: { app: string; name: string },
  keepReleases: number,
): number {
  const newestFirst = rows
    .all(
      `SELECT id FROM releases
       WHERE app = ? AND environment = ? AND state IN ('ACTIVE', 'SUPERSEDED') ORDER BY version DESC`,
      app,
      name,
    )
    .map((row) => String(row["id"]));
  const old = newestFirst.slice(keepReleases);
  if (old.length === 0) return 0;
  const kept = new Set(newestFirst.slice(0, keepReleases));
  for (const { versionId, endpoint } of pinned(rows, app, name)) {
    const holders = rows
      .all(
        "SELECT release_id AS id FROM release_endpoints WHERE version_id = ? AND name = ?",
        versionId,
        endpoint,
      )
      .map((row) => String(row["id"]));
    if (holders.some((id) => kept.has(id))) continue;
    const newest = old.find((id) => holders.includes(id));
    if (newest !== undefined) kept.add(newest);
  }
  const gone = old.filter((id) => !kept.has(id));
  for (const id of gone) {
    rows.run("UPDATE releases SET state = 'REMOVED' WHERE id = ?", id);
    rows.run("DELETE FROM release_endpoints WHERE release_id = ?", id);
  }
  return gone.length;
}

/** Versions that have jobs which wait, run, or failed and may be sent back into the queue. */
function pinned(
  rows: Rows,
  app: string,
  environment: string,
): { versionId: string; endpoint: string }[] {
  return rows.all(
    `SELECT DISTINCT l.release_id AS versionId, e.name AS endpoint
     FROM lanes l JOIN endpoints e ON e.id = l.endpoint_id
     WHERE e.app = ? AND e.environment = ?
       AND l.waiting + l.running + l.kept_failed + l.kept_timed_out > 0`,
    app,
    environment,
  ) as { versionId: string; endpoint: string }[];
}

/** False when it is there already. */
export function addApp(rows: Rows, name: string, now: number): boolean {
  const sql = "INSERT INTO apps (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING";
  return rows.run(sql, name, now) > 0;
}

export function activeEndpoints(rows: Rows, app?: string, environment?: string): EndpointRow[] {
  return rows.all(
    `SELECT ${ENDPOINT} FROM endpoints WHERE active = 1
     AND (? IS NULL OR app = ?) AND (? IS NULL OR environment = ?)
     ORDER BY app, environment, name`,
    app ?? null,
    app ?? null,
    environment ?? null,
    environment ?? null,
  ) as unknown as EndpointRow[];
}

export function readBuild(row: Record<string, unknown>): BuildRow {
  return { ...row, manifest: JSON.parse(String(row["manifest"])) as Manifest } as BuildRow;
}
