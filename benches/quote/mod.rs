//! What a swap of an amount costs.

pub(crate) mod bench;
mod peer;
mod pools;
mod random;
