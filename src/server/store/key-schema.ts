/** Jobs with keys, as a step of the schema. */

/** The line of one key in one lane. Its `at` is when its turn is, or NULL while it can have none. */
export const REFRESH_LINES = `UPDATE key_lines SET
    at = iif(
      (SELECT running FROM keys WHERE endpoint_id = key_lines.endpoint_id AND key = key_lines.key)
        < (SELECT key_concurrency FROM lanes WHERE id = key_lines.lane),
      (SELECT max(run_at, (SELECT served_at FROM keys
          WHERE endpoint_id = key_lines.endpoint_id AND key = key_lines.key))
        FROM jobs WHERE lane = key_lines.lane AND key = key_lines.key AND state = 'IN_QUEUE'
        ORDER BY run_at LIMIT 1),
      NULL),
    turn = (SELECT turn FROM keys WHERE endpoint_id = key_lines.endpoint_id AND key = key_lines.key)`;

const ENDPOINT = "(SELECT endpoint_id FROM lanes WHERE id = new.lane)";

const OPEN_LINE = `
  INSERT OR IGNORE INTO keys (endpoint_id, key) VALUES (${ENDPOINT}, new.key);
  INSERT OR IGNORE INTO key_lines (endpoint_id, key, lane) VALUES (${ENDPOINT}, new.key, new.lane);`;

/**
 * Jobs with keys have lanes of their own, and a key has one line in each lane that has jobs of it
 * waiting. The triggers did what keyed-queue does now; a later step drops them.
 */
export const KEYS = `
ALTER TABLE lanes RENAME COLUMN low TO kind;
ALTER TABLE lanes ADD COLUMN key_concurrency INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN key TEXT;
CREATE INDEX jobs_of_key ON jobs (lane, key, run_at) WHERE state = 'IN_QUEUE' AND key IS NOT NULL;

CREATE TABLE keys (
  endpoint_id TEXT NOT NULL,
  key TEXT NOT NULL,
  running INTEGER NOT NULL DEFAULT 0,
  -- When a job of it was last taken, and in which order of all takes.
  served_at INTEGER NOT NULL DEFAULT 0,
  turn INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (endpoint_id, key)
) WITHOUT ROWID;

CREATE TABLE key_lines (
  endpoint_id TEXT NOT NULL,
  key TEXT NOT NULL,
  lane INTEGER NOT NULL,
  waiting INTEGER NOT NULL DEFAULT 0,
  at INTEGER,
  turn INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (endpoint_id, key, lane)
) WITHOUT ROWID;
CREATE INDEX key_lines_next ON key_lines (lane, at, turn) WHERE at IS NOT NULL;

CREATE TRIGGER keyed_jobs_added AFTER INSERT ON jobs WHEN new.key IS NOT NULL BEGIN
  ${OPEN_LINE}
  UPDATE key_lines SET waiting = waiting + 1
  WHERE endpoint_id = ${ENDPOINT} AND key = new.key AND lane = new.lane;
  ${REFRESH_LINES} WHERE endpoint_id = ${ENDPOINT} AND key = new.key AND lane = new.lane;
END;

CREATE TRIGGER keyed_jobs_moved AFTER UPDATE OF state ON jobs
WHEN new.key IS NOT NULL AND old.state <> new.state BEGIN
  ${OPEN_LINE}
  UPDATE keys SET running = running + (new.state = 'IN_PROGRESS') - (old.state = 'IN_PROGRESS')
  WHERE endpoint_id = ${ENDPOINT} AND key = new.key;
  UPDATE key_lines SET waiting = waiting + (new.state = 'IN_QUEUE') - (old.state = 'IN_QUEUE')
  WHERE endpoint_id = ${ENDPOINT} AND key = new.key AND lane = new.lane;
  ${REFRESH_LINES} WHERE endpoint_id = ${ENDPOINT} AND key = new.key;
  DELETE FROM key_lines
  WHERE endpoint_id = ${ENDPOINT} AND key = new.key AND lane = new.lane AND waiting = 0;
  DELETE FROM keys WHERE endpoint_id = ${ENDPOINT} AND key = new.key AND running = 0
    AND NOT EXISTS (SELECT 1 FROM key_lines WHERE endpoint_id = keys.endpoint_id AND key = keys.key);
END;
`;
