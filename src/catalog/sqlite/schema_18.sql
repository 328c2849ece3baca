-- Version 18: fewer trees for one new file. Every page that a commit touches is written to the log.

-- Rows of the audit trail never go, so the next number is the largest and one: no second table need remember it.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, 'PRIMARY KEY AUTOINCREMENT', 'PRIMARY KEY') WHERE type = 'table' AND name = 'audit';
PRAGMA writable_schema = RESET;
DELETE FROM sqlite_sequence WHERE name = 'audit';

-- Where a session's rows of the trail are, by spans of 256: one row a span, not one a row.
CREATE TABLE audit_spans(session INTEGER NOT NULL, span INTEGER NOT NULL, PRIMARY KEY(session, span)) WITHOUT ROWID;
INSERT OR IGNORE INTO audit_spans(session, span) SELECT session, seq / 256 FROM audit WHERE session IS NOT NULL;
DROP INDEX audit_session;
CREATE TRIGGER audit_spanned AFTER INSERT ON audit WHEN new.session IS NOT NULL BEGIN
  INSERT OR IGNORE INTO audit_spans(session, span) VALUES (new.session, new.seq / 256);
END;

-- Names lie in the order in which a directory is listed, blobs in the order of their hashes: no index beside the table says so again.
PRAGMA legacy_alter_table = ON;
CREATE TABLE dentries_18(
  parent INTEGER NOT NULL, cookie INTEGER NOT NULL, name BLOB NOT NULL, ino INTEGER NOT NULL, PRIMARY KEY(parent, cookie)
) WITHOUT ROWID;
INSERT INTO dentries_18(parent, cookie, name, ino) SELECT parent, cookie, name, ino FROM dentries ORDER BY parent, cookie;
DROP TABLE dentries;
ALTER TABLE dentries_18 RENAME TO dentries;
CREATE UNIQUE INDEX dentries_name ON dentries(parent, name);
CREATE INDEX dentries_ino ON dentries(ino);

CREATE TABLE blobs_18(
  tenant INTEGER NOT NULL, hash BLOB NOT NULL, size INTEGER NOT NULL, state INTEGER NOT NULL, chunks BLOB NOT NULL,
  midstate BLOB, since INTEGER, kept INTEGER NOT NULL DEFAULT 0, data BLOB, PRIMARY KEY(tenant, hash)
) WITHOUT ROWID;
INSERT INTO blobs_18(tenant, hash, size, state, chunks, midstate, since, kept, data)
  SELECT tenant, hash, size, state, chunks, midstate, since, kept, data FROM blobs ORDER BY tenant, hash;
DROP TABLE blobs;
ALTER TABLE blobs_18 RENAME TO blobs;
PRAGMA legacy_alter_table = OFF;
CREATE INDEX blobs_unsettled ON blobs(state) WHERE state < 2;
CREATE INDEX blobs_doomed ON blobs(tenant, state, hash) WHERE state > 2;
CREATE TRIGGER stored_in AFTER INSERT ON blobs BEGIN
  UPDATE tenants SET stored_bytes = stored_bytes + new.size WHERE id = new.tenant;
END;
CREATE TRIGGER stored_out AFTER DELETE ON blobs BEGIN
  UPDATE tenants SET stored_bytes = stored_bytes - old.size WHERE id = old.tenant;
END;
