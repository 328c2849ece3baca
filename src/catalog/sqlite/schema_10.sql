-- Version 10: sums without a walk over the wide rows of artifacts and blobs.

-- In hash order, with what the parts of `usage` are summed from: one pass over this index alone, in which the first of each hash is
-- the one that brought the bytes.
DROP INDEX artifacts_hash;
CREATE INDEX artifacts_hash ON artifacts(tenant, hash, id, life, created, expires, size, session, agent_id);

ALTER TABLE tenants ADD COLUMN stored_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE tenants SET stored_bytes = (SELECT coalesce(sum(size), 0) FROM blobs WHERE blobs.tenant = tenants.id);
CREATE TRIGGER stored_in AFTER INSERT ON blobs BEGIN
  UPDATE tenants SET stored_bytes = stored_bytes + new.size WHERE id = new.tenant;
END;
CREATE TRIGGER stored_out AFTER DELETE ON blobs BEGIN
  UPDATE tenants SET stored_bytes = stored_bytes - old.size WHERE id = old.tenant;
END;
