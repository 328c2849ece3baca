-- Numbers that are drawn once: 'seq' gives inodes and cookies; 'sync' is what an otherwise empty sync() writes.
CREATE TABLE counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
-- The kernel's own numbers (1 is the mount's root) and those of '.' and '..' stay below.
INSERT INTO counters VALUES ('seq', 1024), ('sync', 0);

CREATE TABLE tenants(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  root INTEGER NOT NULL UNIQUE,
  ttl TEXT NOT NULL DEFAULT '30d',
  defaults TEXT NOT NULL DEFAULT '{}',
  max_bytes INTEGER, max_artifacts INTEGER, max_file_bytes INTEGER,
  created INTEGER NOT NULL,
  -- Sums over live artifacts, expired ones included until they are swept: an upper bound, kept by the triggers below.
  live_artifacts INTEGER NOT NULL DEFAULT 0,
  live_bytes INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE sessions(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant INTEGER NOT NULL REFERENCES tenants(id),
  name TEXT NOT NULL,
  root INTEGER NOT NULL UNIQUE,
  created INTEGER NOT NULL,
  sealed INTEGER,
  manifest TEXT,
  UNIQUE(tenant, name)
);

-- was_parent and was_name of a removed directory keep the paths of artifacts in the trash computable; its nlink is 0.
CREATE TABLE inodes(
  ino INTEGER PRIMARY KEY,
  session INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, rdev INTEGER NOT NULL,
  nlink INTEGER NOT NULL,
  size INTEGER NOT NULL,
  atime INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,
  target BLOB,
  artifact BLOB,
  defaults TEXT,
  was_parent INTEGER,
  was_name BLOB
);
CREATE INDEX inodes_was ON inodes(was_parent, was_name) WHERE was_parent IS NOT NULL;

-- The index on parent ends in the cookie, as every index ends in its row's key: a listing is one range of it.
CREATE TABLE dentries(cookie INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name BLOB NOT NULL, ino INTEGER NOT NULL);
CREATE UNIQUE INDEX dentries_name ON dentries(parent, name);
CREATE INDEX dentries_list ON dentries(parent);
CREATE INDEX dentries_ino ON dentries(ino);

CREATE TABLE artifacts(
  id BLOB PRIMARY KEY,
  tenant INTEGER NOT NULL,
  session INTEGER NOT NULL,
  ino INTEGER NOT NULL,
  parent INTEGER NOT NULL,
  name BLOB NOT NULL,
  version INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  guessed_type TEXT NOT NULL,
  size INTEGER NOT NULL,
  hash BLOB NOT NULL,
  agent_id TEXT,
  metadata TEXT NOT NULL,
  labels TEXT NOT NULL,
  idem_key TEXT,
  created INTEGER NOT NULL,
  expires INTEGER,
  life INTEGER NOT NULL,
  deleted INTEGER,
  recovered INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE UNIQUE INDEX artifacts_path ON artifacts(parent, name, version);
CREATE INDEX artifacts_tenant ON artifacts(tenant, life, created, id);
CREATE INDEX artifacts_session ON artifacts(session, life, created, id);
CREATE INDEX artifacts_hash ON artifacts(tenant, hash);
CREATE INDEX artifacts_idem ON artifacts(tenant, idem_key) WHERE idem_key IS NOT NULL;

CREATE TRIGGER live_in AFTER INSERT ON artifacts WHEN new.life = 0 BEGIN
  UPDATE tenants SET live_artifacts = live_artifacts + 1, live_bytes = live_bytes + new.size WHERE id = new.tenant;
END;
CREATE TRIGGER live_out AFTER DELETE ON artifacts WHEN old.life = 0 BEGIN
  UPDATE tenants SET live_artifacts = live_artifacts - 1, live_bytes = live_bytes - old.size WHERE id = old.tenant;
END;
CREATE TRIGGER live_move AFTER UPDATE OF life ON artifacts WHEN (old.life = 0) <> (new.life = 0) BEGIN
  UPDATE tenants SET
    live_artifacts = live_artifacts + iif(new.life = 0, 1, -1),
    live_bytes = live_bytes + iif(new.life = 0, new.size, -new.size)
  WHERE id = new.tenant;
END;

-- Metadata the other way round, for queries by it; newest last within one pair.
CREATE TABLE meta(
  tenant INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, created INTEGER NOT NULL, id BLOB NOT NULL,
  PRIMARY KEY(tenant, key, value, created, id)
) WITHOUT ROWID;

-- state: 0 inline (bytes in data), 1 provisional (see the next table), 2 stored.
CREATE TABLE blobs(
  n INTEGER PRIMARY KEY,
  tenant INTEGER NOT NULL,
  hash BLOB NOT NULL,
  size INTEGER NOT NULL,
  state INTEGER NOT NULL,
  chunks BLOB NOT NULL,
  data BLOB
);
CREATE UNIQUE INDEX blobs_hash ON blobs(tenant, hash);
CREATE INDEX blobs_unsettled ON blobs(state, n) WHERE state < 2;

CREATE TABLE provisional(
  n INTEGER PRIMARY KEY,
  tenant INTEGER NOT NULL,
  hash BLOB NOT NULL,
  mount BLOB NOT NULL,
  file TEXT NOT NULL,
  UNIQUE(tenant, hash, mount, file)
);
CREATE INDEX provisional_mount ON provisional(mount);

-- Exactly one of artifact and session is set.
CREATE TABLE links(
  tenant INTEGER NOT NULL, id TEXT NOT NULL, token_hash BLOB NOT NULL,
  artifact BLOB, session INTEGER,
  created INTEGER NOT NULL, expires INTEGER, revoked INTEGER,
  PRIMARY KEY(tenant, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX links_token ON links(token_hash);
CREATE INDEX links_artifact ON links(artifact) WHERE artifact IS NOT NULL;
CREATE INDEX links_session ON links(session) WHERE session IS NOT NULL;

-- kind: 0 entry (ino is the directory), 1 inode, 2 sealed (ino is the session). The newest row is never pruned, so
-- that numbers only grow.
CREATE TABLE changes(seq INTEGER PRIMARY KEY, origin BLOB NOT NULL, kind INTEGER NOT NULL, ino INTEGER NOT NULL, name BLOB);
