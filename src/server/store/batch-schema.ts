/** Batches, as a step of the schema. */

export const BATCHES = `
CREATE TABLE batches (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  endpoint_id TEXT NOT NULL,
  name TEXT,
  created_at INTEGER NOT NULL,
  finalized_at INTEGER,
  cancelled_at INTEGER,
  drop_at INTEGER NOT NULL
);
CREATE INDEX batches_of ON batches (endpoint_id, seq);
CREATE INDEX batches_dropping ON batches (drop_at);

CREATE TABLE batch_requests (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  batch INTEGER NOT NULL,
  status TEXT NOT NULL DEFAULT 'PENDING',
  started_at INTEGER,
  finished_at INTEGER,
  error TEXT,
  -- NULL once the job has it.
  input TEXT,
  output TEXT
);
CREATE INDEX batch_requests_of ON batch_requests (batch, status);

CREATE TRIGGER batch_jobs_added AFTER INSERT ON jobs WHEN new.id GLOB 'req_*' BEGIN
  UPDATE batch_requests SET status = 'IN_QUEUE', input = NULL WHERE id = new.id;
END;

CREATE TRIGGER batch_jobs_moved AFTER UPDATE OF state ON jobs WHEN new.id GLOB 'req_*' BEGIN
  UPDATE batch_requests SET status = new.state, started_at = new.started_at,
    finished_at = new.finished_at, error = new.error,
    output = iif(new.state IN ('COMPLETED', 'FAILED'), new.output, NULL)
  WHERE id = new.id;
END;

CREATE TRIGGER batches_dropped AFTER DELETE ON batches BEGIN
  DELETE FROM batch_requests WHERE batch = old.seq;
END;

CREATE TRIGGER batched_endpoints_removed AFTER DELETE ON endpoints BEGIN
  DELETE FROM batches WHERE endpoint_id = old.id;
END;
`;
