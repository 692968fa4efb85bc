-- Version 1. `chain` is chains.key: the chain ids of a whole index would take more room than the index.
-- A block is (chain, number, fork): `fork` counts the blocks of one height in the order in which they were heard of, so that
-- rows need not carry 32 bytes of hash. blocks_hash makes (chain, hash) unique, hence (chain, hash, log_index) too.

CREATE TABLE chains (
    key INTEGER PRIMARY KEY,
    chain_id INTEGER NOT NULL UNIQUE,           -- the 64 bits of EIP-155's number
    genesis BLOB NOT NULL
) STRICT;

-- One writer at a time: whoever took the newest token.
CREATE TABLE fence (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    token INTEGER NOT NULL,
    owner TEXT NOT NULL
) STRICT;
INSERT INTO fence (id, token, owner) VALUES (1, 0, '');

CREATE TABLE heads (
    chain INTEGER PRIMARY KEY,
    number INTEGER, hash BLOB, parent_hash BLOB, timestamp INTEGER, -- null until the first head
    finalized_number INTEGER NOT NULL
) STRICT;

CREATE TABLE sources (
    chain INTEGER NOT NULL,
    name TEXT NOT NULL,
    next_block INTEGER NOT NULL,
    PRIMARY KEY (chain, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    chain INTEGER NOT NULL,
    address BLOB NOT NULL,
    meta TEXT NOT NULL,                         -- JSON
    PRIMARY KEY (chain, address)
) STRICT, WITHOUT ROWID;

CREATE TABLE blocks (
    chain INTEGER NOT NULL,
    number INTEGER NOT NULL,
    fork INTEGER NOT NULL,
    canonical INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    orphaned_at INTEGER,                        -- Unix seconds, null while canonical
    hash BLOB NOT NULL,
    parent_hash BLOB NOT NULL,                  -- zero where it was not asked for
    PRIMARY KEY (chain, number, fork)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX blocks_hash ON blocks (chain, hash);
-- A time range becomes a range of numbers: timestamps never fall along a chain.
CREATE INDEX blocks_time ON blocks (chain, timestamp, number) WHERE canonical = 1;
CREATE INDEX blocks_orphaned ON blocks (chain, number) WHERE canonical = 0;

-- Names of pools. That a pool exists is said by pools_created, for each branch that created it.
CREATE TABLE pools (
    key INTEGER PRIMARY KEY,
    chain INTEGER NOT NULL,
    id BLOB NOT NULL,
    first_number INTEGER,                       -- no event of it lies outside; orphans count
    last_number INTEGER,
    UNIQUE (chain, id)
) STRICT;

CREATE TABLE pools_created (
    chain INTEGER NOT NULL,
    number INTEGER NOT NULL,
    log_index INTEGER NOT NULL,
    fork INTEGER NOT NULL,
    pool INTEGER NOT NULL,                      -- pools.key
    canonical INTEGER NOT NULL,
    protocol INTEGER NOT NULL,
    fee_pips INTEGER NOT NULL,
    tick_spacing INTEGER,
    dex TEXT NOT NULL,
    factory BLOB NOT NULL,
    token0 BLOB NOT NULL,
    token1 BLOB NOT NULL,
    tx_hash BLOB NOT NULL,                      -- empty: older than the block, which is where its contract was read
    PRIMARY KEY (chain, number, log_index, fork, pool)
) STRICT, WITHOUT ROWID;
CREATE INDEX pools_token0 ON pools_created (chain, token0, pool) WHERE canonical = 1;
CREATE INDEX pools_token1 ON pools_created (chain, token1, pool) WHERE canonical = 1;

CREATE TABLE events (
    chain INTEGER NOT NULL,
    number INTEGER NOT NULL,
    log_index INTEGER NOT NULL,
    fork INTEGER NOT NULL,
    kind INTEGER NOT NULL,                      -- domain::event::EventKind
    canonical INTEGER NOT NULL,
    pool INTEGER NOT NULL,                      -- pools.key
    tx_index INTEGER NOT NULL,
    sync_log_index INTEGER,
    derive_version INTEGER NOT NULL,
    tx_hash BLOB NOT NULL,
    address BLOB,                               -- null where the pool itself emitted it
    amount0 BLOB, amount1 BLOB,                 -- the pool's view, order-preserving (store::codec::sortable)
    log BLOB NOT NULL,                          -- topics and data
    body BLOB NOT NULL,                         -- decoded, relative to log
    state_after BLOB,                           -- relative to log
    origin BLOB, gas_used INTEGER, gas_price BLOB, -- null until the enrichment pass
    PRIMARY KEY (chain, number, log_index, fork)
) STRICT, WITHOUT ROWID;
-- Only canonical rows are asked for, so indexes hold no others and a count never touches the table.
CREATE INDEX events_pool ON events (pool, kind, number, log_index) WHERE canonical = 1;
-- Eight bytes of the hash find it; the row decides.
CREATE INDEX events_tx ON events (chain, substr(tx_hash, 1, 8), number, log_index) WHERE canonical = 1;
-- Swaps are most rows: the primary key serves them.
CREATE INDEX events_rare ON events (chain, kind, number, log_index) WHERE kind <> 1 AND canonical = 1;
CREATE INDEX events_origin ON events (chain, origin, kind, number, log_index) WHERE origin IS NOT NULL AND canonical = 1;

CREATE TABLE snapshots (
    chain INTEGER NOT NULL,
    pool INTEGER NOT NULL,                      -- pools.key
    number INTEGER NOT NULL,
    fork INTEGER NOT NULL,
    state BLOB NOT NULL,
    UNIQUE (pool, number, fork)
) STRICT;
CREATE INDEX snapshots_block ON snapshots (chain, number, fork);
