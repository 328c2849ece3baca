-- Version 2: content that grows: hash state, version window, kept versions.

-- When the run of versions began that this one replaced, one within the window of another; NULL: it replaced none.
ALTER TABLE artifacts ADD COLUMN began INTEGER;

-- The state of SHA-256 after the blob's last whole chunk (4 MiB): bytes appended to it are hashed from there. NULL where it
-- is not known, or the blob has no whole chunk.
ALTER TABLE blobs ADD COLUMN midstate BLOB;
