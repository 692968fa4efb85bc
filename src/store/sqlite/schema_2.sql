-- Version 2, null in rows of version 1: what an event moved, in millionths of a dollar (null where its tokens have no price); and of a
-- pool's last event in a block, what the pool says about prices from then on.
ALTER TABLE events ADD COLUMN usd INTEGER;
ALTER TABLE events ADD COLUMN gauge BLOB;
