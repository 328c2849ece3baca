-- Version 6: attempts of steps.

-- One run of one step of a session. mount: the staging directory of its owner, whose lock tells whether it lives.
-- ended without exit_code: its owner died. succeeded: it ended with 0 and all it wrote was stored.
CREATE TABLE attempts(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  session INTEGER NOT NULL,
  step TEXT NOT NULL,
  number INTEGER NOT NULL,
  mount BLOB NOT NULL,
  command TEXT NOT NULL,
  started INTEGER NOT NULL,
  ended INTEGER,
  exit_code INTEGER,
  succeeded INTEGER NOT NULL DEFAULT 0,
  -- Files of earlier attempts that went to the trash when this one ended.
  replaced INTEGER NOT NULL DEFAULT 0,
  UNIQUE(session, step, number)
);
CREATE INDEX attempts_running ON attempts(mount) WHERE ended IS NULL;

-- The attempt that wrote it last.
ALTER TABLE artifacts ADD COLUMN attempt INTEGER;
CREATE INDEX artifacts_attempt ON artifacts(attempt) WHERE attempt IS NOT NULL;
