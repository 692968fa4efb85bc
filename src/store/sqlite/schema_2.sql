-- Version 2: what an event moved, in millionths of a dollar; null where its tokens have no price, and in rows of version 1.
ALTER TABLE events ADD COLUMN usd INTEGER;
