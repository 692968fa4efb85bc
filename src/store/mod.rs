//! What is known: [`live`] in memory, [`history`] on disk, [`topics`] for those who wait, and [`reader`], the only door for reads.

pub mod between;
pub mod branch;
pub mod candles;
pub mod codec;
pub mod conduct;
#[cfg(test)]
pub(crate) mod conformance;
pub mod follow;
pub mod history;
pub mod inspect;
pub mod keep;
pub mod lease;
pub mod live;
pub mod mongo;
pub mod node;
pub mod past;
pub mod periods;
pub mod pin;
pub mod positions;
pub mod prices;
pub mod query;
pub mod quote;
pub mod reader;
pub mod search;
pub mod simulate;
pub mod sqlite;
#[cfg(test)]
mod tests;
pub mod topics;
pub mod totals;
pub mod touches;
pub mod twap;
pub mod view;

pub use history::{DataSource, History, StoreError};
pub use live::Live;
pub use pin::Pin;
pub use reader::{ReadError, Reader};
pub use view::{Commit, Freshness, Head, PoolStatus, PoolView};
