-- Version 13: sessions in the trash. removed: since when; the name is then NAME~ID, so that another session may have it.
ALTER TABLE sessions ADD COLUMN removed INTEGER;
