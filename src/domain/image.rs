//! Everything that is folded from one pool's events. A value: what undoes a block is the image from before it.

use super::{
    block::BlockRef,
    dollars::Gauge,
    event::EventBody,
    pool::{ApplyError, PoolState, Protocol},
};

/// A pool at the end of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolImage {
    /// As its contract answers.
    pub state: PoolState,
    /// What it says about prices.
    pub gauge: Gauge,
}

impl PoolImage {
    /// As it is created.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        Self { state: PoolState::new(protocol), gauge: Gauge::default() }
    }

    /// A pool that is older than what is read, as its contract answered at this block.
    #[must_use]
    pub fn seeded(state: PoolState, at: &BlockRef) -> Self {
        let gauge = Gauge::seeded(&state, at.timestamp);
        Self { state, gauge }
    }

    /// Moves it over one event.
    ///
    /// # Errors
    /// Where the event does not fit the state. Nothing is changed then.
    pub fn apply(&mut self, event: &EventBody) -> Result<(), ApplyError> {
        self.state.apply(event)
    }

    /// After the last of a block's events.
    pub fn end_block(&mut self, block: &BlockRef) {
        self.gauge.observe(&self.state, block.timestamp);
    }
}
