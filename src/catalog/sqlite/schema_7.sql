-- Version 7: how many links may lead somewhere at a time.
ALTER TABLE tenants ADD COLUMN max_links INTEGER;
