-- Version 2, null in rows of version 1: what an event moved, in millionths of a dollar (null where its tokens have no price); and of a
-- pool's last event in a block, what the pool says about prices from then on.
ALTER TABLE events ADD COLUMN usd INTEGER;
ALTER TABLE events ADD COLUMN gauge BLOB;
-- What the pool had traded, beside its state.
ALTER TABLE snapshots ADD COLUMN market BLOB;

-- Closed candles, a few hundred in one, of final blocks: written once, never changed, dropped when their retention is over.
CREATE TABLE candles (
    pool INTEGER NOT NULL,                      -- pools.key
    interval INTEGER NOT NULL,                  -- domain::market::Interval
    first INTEGER NOT NULL,                     -- where the first candle begins
    last INTEGER NOT NULL,
    candles BLOB NOT NULL,
    PRIMARY KEY (pool, interval, first)
) STRICT, WITHOUT ROWID;
