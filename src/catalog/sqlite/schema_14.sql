-- Version 14: what an artifact's bytes alone look like, so that its type can be guessed anew under another name. NULL: nobody
-- looked; the best that is known then is what was guessed of name and bytes.
ALTER TABLE artifacts ADD COLUMN bytes_type TEXT;
