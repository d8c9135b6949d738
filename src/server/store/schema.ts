/**
 * The shape of `flash.db`, as steps that only ever go forward: a step that has shipped is never
 * changed, a new one is added at the end.
 *
 * A lane is all jobs of one endpoint, one release and one priority; lanes keeps its counters.
 */

import type { DatabaseSync } from "node:sqlite";
import { FlashError } from "../../contract/errors.ts";
import { BATCHES } from "./batch-schema.ts";
import { IDENTITY } from "./identity-schema.ts";
import { KEYS } from "./key-schema.ts";

const JOBS_AND_CONTROL = `
CREATE TABLE lanes (
  id INTEGER PRIMARY KEY,
  endpoint_id TEXT NOT NULL,
  release_id TEXT NOT NULL,
  low INTEGER NOT NULL,
  -- Records there are now, by state.
  waiting INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0,
  kept_completed INTEGER NOT NULL DEFAULT 0,
  kept_failed INTEGER NOT NULL DEFAULT 0,
  kept_cancelled INTEGER NOT NULL DEFAULT 0,
  kept_timed_out INTEGER NOT NULL DEFAULT 0,
  -- Moves since the endpoint was made.
  completed INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  retried INTEGER NOT NULL DEFAULT 0,
  UNIQUE (endpoint_id, release_id, low)
);

-- The wide columns come last: reading the narrow ones then stays on the row's first page.
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  lane INTEGER NOT NULL,
  state TEXT NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0,
  failures INTEGER NOT NULL DEFAULT 0,
  run_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  started_at INTEGER,
  finished_at INTEGER,
  drop_at INTEGER,
  lease_until INTEGER,
  worker_id TEXT,
  via TEXT NOT NULL,
  execution_timeout_ms INTEGER NOT NULL,
  ttl_ms INTEGER NOT NULL,
  -- Position of the last stream chunk that a drain has returned.
  drained INTEGER NOT NULL DEFAULT 0,
  idempotency_key TEXT,
  webhook TEXT,
  extra TEXT,
  error TEXT,
  output TEXT,
  -- NULL when the input lives in large_inputs.
  input TEXT
);
CREATE INDEX jobs_queue ON jobs (lane, run_at) WHERE state = 'IN_QUEUE';
CREATE INDEX jobs_running ON jobs (worker_id) WHERE state = 'IN_PROGRESS';
CREATE INDEX jobs_expiring ON jobs (expires_at) WHERE state IN ('IN_QUEUE', 'IN_PROGRESS');
CREATE INDEX jobs_dropping ON jobs (drop_at) WHERE drop_at IS NOT NULL;
CREATE INDEX jobs_listed ON jobs (lane);

-- Apart from the row, so that moving a job does not rewrite megabytes.
CREATE TABLE large_inputs (job INTEGER PRIMARY KEY, input TEXT NOT NULL);

CREATE TABLE chunks (
  id INTEGER PRIMARY KEY,
  job INTEGER NOT NULL,
  position INTEGER NOT NULL,
  chunk TEXT NOT NULL,
  UNIQUE (job, position)
);

CREATE TABLE idempotency_keys (
  endpoint_id TEXT NOT NULL,
  key TEXT NOT NULL,
  job INTEGER NOT NULL,
  PRIMARY KEY (endpoint_id, key)
) WITHOUT ROWID;

CREATE TABLE webhooks (
  id INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL,
  url TEXT NOT NULL,
  body TEXT NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  next_at INTEGER NOT NULL
);
CREATE INDEX webhooks_next ON webhooks (next_at);

CREATE TRIGGER jobs_added AFTER INSERT ON jobs BEGIN
  UPDATE lanes SET waiting = waiting + 1 WHERE id = new.lane;
END;

CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs WHEN old.state <> new.state BEGIN
  UPDATE lanes SET
    waiting = waiting + (new.state = 'IN_QUEUE') - (old.state = 'IN_QUEUE'),
    running = running + (new.state = 'IN_PROGRESS') - (old.state = 'IN_PROGRESS'),
    kept_completed = kept_completed + (new.state = 'COMPLETED'),
    kept_failed = kept_failed + (new.state = 'FAILED') - (old.state = 'FAILED'),
    kept_cancelled = kept_cancelled + (new.state = 'CANCELLED'),
    kept_timed_out = kept_timed_out + (new.state = 'TIMED_OUT') - (old.state = 'TIMED_OUT'),
    completed = completed + (new.state = 'COMPLETED'),
    failed = failed + (new.state IN ('FAILED', 'TIMED_OUT')),
    retried = retried + (new.state = 'IN_QUEUE'
      AND (new.failures > old.failures OR old.state IN ('FAILED', 'TIMED_OUT')))
  WHERE id = new.lane;
END;

CREATE TRIGGER jobs_dropped AFTER DELETE ON jobs BEGIN
  UPDATE lanes SET
    waiting = waiting - (old.state = 'IN_QUEUE'),
    running = running - (old.state = 'IN_PROGRESS'),
    kept_completed = kept_completed - (old.state = 'COMPLETED'),
    kept_failed = kept_failed - (old.state = 'FAILED'),
    kept_cancelled = kept_cancelled - (old.state = 'CANCELLED'),
    kept_timed_out = kept_timed_out - (old.state = 'TIMED_OUT')
  WHERE id = old.lane;
  DELETE FROM large_inputs WHERE job = old.seq;
  DELETE FROM chunks WHERE job = old.seq;
END;

CREATE TRIGGER keyed_jobs_dropped AFTER DELETE ON jobs WHEN old.idempotency_key IS NOT NULL BEGIN
  DELETE FROM idempotency_keys WHERE key = old.idempotency_key AND job = old.seq
    AND endpoint_id = (SELECT endpoint_id FROM lanes WHERE id = old.lane);
END;

CREATE TABLE builds (
  id TEXT PRIMARY KEY,
  app TEXT NOT NULL,
  digest TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  manifest TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (app, digest)
);

CREATE TABLE environments (
  app TEXT NOT NULL,
  name TEXT NOT NULL,
  active_release_id TEXT,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (app, name)
);

CREATE TABLE releases (
  id TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  app TEXT NOT NULL,
  environment TEXT NOT NULL,
  build_id TEXT NOT NULL,
  state TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (app, environment, version)
);

CREATE TABLE endpoints (
  id TEXT PRIMARY KEY,
  app TEXT NOT NULL,
  environment TEXT NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  -- 0 when the active release no longer has it; its id waits for the name to come back.
  active INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (app, environment, name)
);

CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
`;

const WORKER_KEYS = `
CREATE TABLE worker_keys (
  worker_id TEXT PRIMARY KEY,
  endpoint_id TEXT NOT NULL,
  digest TEXT NOT NULL,
  created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER endpoints_removed AFTER DELETE ON endpoints BEGIN
  DELETE FROM worker_keys WHERE endpoint_id = old.id;
END;
`;

/** Readers of a stream that keep their own place must not take one attempt's chunks for another's. */
const CHUNKS_BY_ATTEMPT = `
ALTER TABLE chunks ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
UPDATE chunks SET attempt = (SELECT attempt FROM jobs WHERE seq = chunks.job);
`;

/**
 * What these triggers did is done by the statements that move jobs: a trigger makes SQLite copy every
 * page that a statement touches before it touches it, in case the trigger fails.
 */
const MOVES_WITHOUT_TRIGGERS = `
DROP TRIGGER jobs_added;
DROP TRIGGER jobs_moved;
DROP TRIGGER jobs_dropped;
DROP TRIGGER keyed_jobs_dropped;
DROP TRIGGER batch_jobs_added;
DROP TRIGGER batch_jobs_moved;
DROP TRIGGER keyed_jobs_added;
DROP TRIGGER keyed_jobs_moved;
`;

/**
 * What each endpoint of a release runs from: the release that brought this version of it, and that
 * release's build. With it a build is known to be needed without reading a manifest.
 */
const RELEASE_ENDPOINTS = `
CREATE TABLE apps (name TEXT PRIMARY KEY, created_at INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO apps SELECT app, min(created_at)
  FROM (SELECT app, created_at FROM environments UNION ALL SELECT app, created_at FROM builds)
  GROUP BY app;

ALTER TABLE builds ADD COLUMN unpacked_bytes INTEGER NOT NULL DEFAULT 0;
-- Until when a build without a release waits for one.
ALTER TABLE builds ADD COLUMN wanted_until INTEGER NOT NULL DEFAULT 0;

CREATE TABLE release_endpoints (
  release_id TEXT NOT NULL,
  name TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  version_id TEXT NOT NULL,
  build_id TEXT NOT NULL,
  PRIMARY KEY (release_id, name)
) WITHOUT ROWID;
CREATE INDEX release_endpoints_version ON release_endpoints (version_id, name);
CREATE INDEX release_endpoints_code ON release_endpoints (name, fingerprint);
CREATE INDEX release_endpoints_build ON release_endpoints (build_id);

CREATE TEMP TABLE served AS
  SELECT r.id, r.version, r.app, r.environment, r.build_id,
    e.value ->> 'name' AS name, e.value ->> 'fingerprint' AS fingerprint
  FROM releases r JOIN builds b ON b.id = r.build_id, json_each(b.manifest, '$.endpoints') e
  WHERE r.state IN ('ACTIVE', 'SUPERSEDED');
CREATE INDEX temp.served_code ON served (app, environment, name, fingerprint, version);
INSERT INTO release_endpoints SELECT later.id, later.name, later.fingerprint,
    (SELECT id FROM served first WHERE first.app = later.app
      AND first.environment = later.environment AND first.name = later.name
      AND first.fingerprint = later.fingerprint ORDER BY first.version LIMIT 1),
    (SELECT build_id FROM served first WHERE first.app = later.app
      AND first.environment = later.environment AND first.name = later.name
      AND first.fingerprint = later.fingerprint ORDER BY first.version LIMIT 1)
  FROM served later;
DROP TABLE served;
`;

/** What is known about attempts that failed, and which jobs may only run alone. */
const FAILURES = `
ALTER TABLE jobs ADD COLUMN history TEXT;
ALTER TABLE jobs ADD COLUMN alone_since INTEGER;
CREATE INDEX jobs_failed ON jobs (lane) WHERE state IN ('FAILED', 'TIMED_OUT');
CREATE INDEX jobs_alone ON jobs (seq) WHERE alone_since IS NOT NULL AND state = 'IN_QUEUE';
`;

/** Failed jobs that outlive their results, so that they can still be looked into and sent back. */
const KEPT_FAILURES = `
ALTER TABLE jobs ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_kept ON jobs (lane, finished_at) WHERE kept = 1;
`;

const BATCH_KEYS = "ALTER TABLE batch_requests ADD COLUMN key TEXT;";

/** Which generation of the journal is not in the database: see journal. */
const JOURNAL = `
CREATE TABLE journal (generation INTEGER NOT NULL);
INSERT INTO journal VALUES (1);
`;

/** A value that a worker sends again, because it did not hear that it had arrived, is known. */
const NUMBERED_CHUNKS = "ALTER TABLE chunks ADD COLUMN number INTEGER;";

const STEPS: readonly string[] = [
  JOBS_AND_CONTROL,
  WORKER_KEYS,
  CHUNKS_BY_ATTEMPT,
  BATCHES,
  KEYS,
  IDENTITY,
  MOVES_WITHOUT_TRIGGERS,
  RELEASE_ENDPOINTS,
  FAILURES,
  KEPT_FAILURES,
  BATCH_KEYS,
  JOURNAL,
  NUMBERED_CHUNKS,
];

/** The schema version this program writes. */
export const SCHEMA_VERSION: number = STEPS.length;

/** Brings the database to {@link SCHEMA_VERSION}, each step in its own transaction. */
export function migrate(db: DatabaseSync, file: string): void {
  db.exec(
    "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)",
  );
  const row = db.prepare("SELECT coalesce(max(version), 0) AS version FROM schema_version").get();
  const found = Number(row?.["version"]);
  if (found > SCHEMA_VERSION) {
    throw new FlashError(
      "CONFLICT",
      `${file} was written by a newer runpod-flash: its schema is ${found}, this version knows ${SCHEMA_VERSION}.`,
      { hint: "Start the newer version again, or choose another FLASH_HOME." },
    );
  }
  for (const [index, step] of STEPS.entries()) {
    const version = index + 1;
    if (version <= found) continue;
    db.exec(`BEGIN IMMEDIATE; ${step}`);
    db.prepare("INSERT INTO schema_version VALUES (?, ?)").run(version, new Date().toISOString());
    db.exec("COMMIT");
  }
}
