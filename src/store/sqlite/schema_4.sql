-- Version 4, with transfers of pairs' shares among events: what a pool said of itself that is older than what is read (null of all others),
-- before the first of its events that are stored.
ALTER TABLE pools_created ADD COLUMN origin BLOB;
