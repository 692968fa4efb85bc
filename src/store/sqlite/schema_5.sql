-- Version 5, with V4: whom the PoolManager calls when it acts on the pool (null: nobody, and of all other protocols). Pools have ids of 32 bytes.
ALTER TABLE pools_created ADD COLUMN hooks BLOB;
