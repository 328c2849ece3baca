-- Version 4: sparse files keep their true st_blocks (NULL: every block of the size).
ALTER TABLE inodes ADD COLUMN blocks INTEGER;
