-- Version 5: API keys, uploads, request metering, published pages.

-- hash: SHA-256 of the whole key, which is kept nowhere. rate and burst: requests a second of its own; none: the server's.
CREATE TABLE api_keys(
  id TEXT PRIMARY KEY,
  tenant INTEGER NOT NULL,
  name TEXT NOT NULL,
  hash BLOB NOT NULL,
  last4 TEXT NOT NULL,
  scopes TEXT NOT NULL,
  rate INTEGER, burst INTEGER,
  created INTEGER NOT NULL, revoked INTEGER, last_used INTEGER
) WITHOUT ROWID;
CREATE INDEX api_keys_tenant ON api_keys(tenant, created);

-- Requests by month (UTC, year * 100 + month).
CREATE TABLE requests(
  tenant INTEGER NOT NULL, month INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY(tenant, month)
) WITHOUT ROWID;

-- Announced bytes that a client puts somewhere itself. id is the artifact they become, unless `artifact` says that it was another.
CREATE TABLE uploads(
  id BLOB PRIMARY KEY,
  tenant INTEGER NOT NULL,
  session TEXT,
  filename BLOB NOT NULL,
  size INTEGER NOT NULL,
  labels TEXT NOT NULL,
  created INTEGER NOT NULL, expires INTEGER NOT NULL,
  artifact BLOB
) WITHOUT ROWID;
CREATE INDEX uploads_expires ON uploads(tenant, expires);
CREATE INDEX uploads_key ON uploads(tenant, json_extract(labels, '$.idempotency_key'))
  WHERE json_extract(labels, '$.idempotency_key') IS NOT NULL;

-- The page of an artifact under a link that `generation` makes anew after each withdrawal.
CREATE TABLE publications(
  artifact BLOB PRIMARY KEY,
  tenant INTEGER NOT NULL,
  title TEXT, visibility TEXT NOT NULL, access TEXT NOT NULL,
  link TEXT NOT NULL,
  generation INTEGER NOT NULL,
  created INTEGER NOT NULL, withdrawn INTEGER
) WITHOUT ROWID;
CREATE INDEX publications_link ON publications(tenant, link);

-- What this server alone knows, for the signatures of its URLs.
CREATE TABLE secrets(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
