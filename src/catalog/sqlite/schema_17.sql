-- Version 17: the directories of a session, for a tenant's limit on them.
CREATE INDEX inodes_dirs ON inodes(session) WHERE kind = 1 AND nlink > 0;
