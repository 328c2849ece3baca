-- Version 16: IDs that were told do not go, runs, and what counts as stored.

-- Until when a later commit may take its place; none: never, because somebody was told its ID or it came through no mount.
ALTER TABLE artifacts ADD COLUMN fleeting INTEGER;
-- The `outputfs run` that wrote it last, be it with the same bytes.
ALTER TABLE artifacts ADD COLUMN run TEXT;
CREATE INDEX artifacts_run ON artifacts(run) WHERE run IS NOT NULL;

-- On the disk of a local store from the commit on: stored, though the blob has not got its own file yet.
ALTER TABLE blobs ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;

-- A key of a run: what comes with it is of that run and attempt, and it ends with them.
ALTER TABLE api_keys ADD COLUMN run TEXT;
ALTER TABLE api_keys ADD COLUMN attempt INTEGER;
CREATE INDEX api_keys_run ON api_keys(run) WHERE run IS NOT NULL;
