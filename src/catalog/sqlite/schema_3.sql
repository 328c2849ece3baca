-- Version 3: life and death: expiry, trash, collection.

-- Who deleted it, as far as the door knew: an agent, a program and its user.
ALTER TABLE artifacts ADD COLUMN deleted_by TEXT;
CREATE INDEX artifacts_expires ON artifacts(tenant, expires) WHERE expires IS NOT NULL;
CREATE INDEX artifacts_deleted ON artifacts(tenant, deleted) WHERE life = 2;

-- blobs.state, further: 3 condemned (in the store, nothing needed it since `since`; a commit rescues it), 4 being deleted
-- (since `since`; nobody may use it until its row is gone).
ALTER TABLE blobs ADD COLUMN since INTEGER;
CREATE INDEX blobs_doomed ON blobs(tenant, state, hash) WHERE state > 2;

-- Blobs that lost an artifact: those alone can have become garbage since the last look.
CREATE TABLE suspects(tenant INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY(tenant, hash)) WITHOUT ROWID;
CREATE TRIGGER artifact_gone AFTER DELETE ON artifacts BEGIN
  INSERT OR IGNORE INTO suspects(tenant, hash) VALUES (old.tenant, old.hash);
END;

-- Blobs that left the store, numbered: a commit whose bytes were put there before that must put them again. A day's worth.
CREATE TABLE deleted(
  n INTEGER PRIMARY KEY AUTOINCREMENT, tenant INTEGER NOT NULL, hash BLOB NOT NULL, at INTEGER NOT NULL
);
CREATE INDEX deleted_hash ON deleted(tenant, hash);
