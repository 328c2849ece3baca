-- Version 15: bytes that processes have staged and not committed, one row a process that stages for a tenant with a limit.
CREATE TABLE staged(owner BLOB PRIMARY KEY, tenant INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
