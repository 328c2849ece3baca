-- Version 11: how an artifact ended is found by its ID.
CREATE INDEX audit_ended ON audit(artifact) WHERE what IN ('expire', 'purge', 'prune', 'replace');
