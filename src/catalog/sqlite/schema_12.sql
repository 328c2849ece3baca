-- Version 12: owner, mode and times of a file belong to its artifact once the file is gone or shows another one. NULL: not known.
ALTER TABLE artifacts ADD COLUMN mode INTEGER;
ALTER TABLE artifacts ADD COLUMN uid INTEGER;
ALTER TABLE artifacts ADD COLUMN gid INTEGER;
ALTER TABLE artifacts ADD COLUMN atime INTEGER;
ALTER TABLE artifacts ADD COLUMN mtime INTEGER;
ALTER TABLE artifacts ADD COLUMN blocks INTEGER;
