-- Version 3: what a block tells of tokens and factories (null in blocks of older versions, and of blocks without events).
ALTER TABLE blocks ADD COLUMN told BLOB;

-- Markets of tokens and factories at the block that heads names. Their chunks are in `candles`, under a name of theirs in `pools`.
CREATE TABLE books (
    chain INTEGER NOT NULL,
    subject BLOB NOT NULL,                      -- domain::market::Subject
    market BLOB NOT NULL,
    PRIMARY KEY (chain, subject)
) STRICT;
ALTER TABLE heads ADD COLUMN book_number INTEGER;
ALTER TABLE heads ADD COLUMN book_hash BLOB;
ALTER TABLE heads ADD COLUMN book_parent_hash BLOB;
ALTER TABLE heads ADD COLUMN book_timestamp INTEGER;
ALTER TABLE heads ADD COLUMN book_hour INTEGER;
ALTER TABLE heads ADD COLUMN book_sources TEXT;  -- JSON list: whose pools are in it from the beginning on
