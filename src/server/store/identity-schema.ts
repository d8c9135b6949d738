/** Tables of keys, secrets and the audit trail. */

/** Entries of the audit trail that are kept: years of deployments, and some 50 MB at most. */
export const AUDIT_ENTRIES = 100_000;

export const IDENTITY = `
CREATE TABLE api_keys (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  digest TEXT NOT NULL UNIQUE,
  verbs TEXT NOT NULL,
  app TEXT,
  environment TEXT,
  endpoint TEXT,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  last_used_at INTEGER
) WITHOUT ROWID;

CREATE TABLE secrets (
  app TEXT NOT NULL,
  environment TEXT NOT NULL,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  key_id TEXT NOT NULL,
  sealed BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  updated_by TEXT NOT NULL,
  PRIMARY KEY (app, environment, name)
) WITHOUT ROWID;

-- A version that has been used once is never used again, whatever is removed meanwhile.
CREATE TABLE secret_versions (last INTEGER NOT NULL);
INSERT INTO secret_versions VALUES (0);

CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  actor_name TEXT NOT NULL,
  action TEXT NOT NULL,
  app TEXT,
  environment TEXT,
  endpoint TEXT,
  subject TEXT,
  source TEXT NOT NULL,
  result TEXT NOT NULL
);

CREATE TRIGGER audit_is_not_rewritten BEFORE UPDATE ON audit BEGIN
  SELECT RAISE(ABORT, 'the audit trail is only appended to');
END;

CREATE TRIGGER audit_is_not_cut BEFORE DELETE ON audit
WHEN old.id > (SELECT max(id) FROM audit) - ${AUDIT_ENTRIES} BEGIN
  SELECT RAISE(ABORT, 'the audit trail is only appended to');
END;

CREATE TRIGGER audit_is_bounded AFTER INSERT ON audit BEGIN
  DELETE FROM audit WHERE id <= new.id - ${AUDIT_ENTRIES};
END;
`;
