-- Version 9: blobs of versions that were replaced within the version window, that nobody can ask for any more: they need not wait
-- as long as what was deleted.
ALTER TABLE suspects ADD COLUMN replaced INTEGER NOT NULL DEFAULT 0;
CREATE INDEX suspects_replaced ON suspects(tenant) WHERE replaced = 1;
