//! Everything that is folded from one pool's events. A value: what undoes a block is the image from before it.

use std::sync::Arc;

use alloy::primitives::U256;

use super::{
    block::BlockRef,
    dollars::Gauge,
    event::EventBody,
    pool::{
        ApplyError, PoolId, PoolMeta, PoolState, Protocol, StateAfter,
        fees::{Fees, Position, PositionKey, Token},
        shares::Shares,
        swap::Terms,
    },
    record::EventRow,
};

/// A pool at the end of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolImage {
    /// As its contract answers.
    pub state: PoolState,
    /// What it says about prices.
    pub gauge: Gauge,
    /// What it holds.
    pub held: Held,
    /// What the liquidity of a pool with ticks earned. `None`: a pair, or it is not known.
    pub fees: Option<Arc<Fees>>,
    /// Who holds a pair's own token. `None`: a pool with ticks, or it is not known.
    pub shares: Option<Arc<Shares>>,
}

/// What others want to know of a pool at the end of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub gauge: Gauge,
    /// What it holds of token0 and token1, raw units; `None`: not known.
    pub locked: Option<(U256, U256)>,
}

/// A pool that is older than what is read, as it was before the first of its events that are: what has to be known to make of stored rows
/// what was told while they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// At the end of which.
    pub block: BlockRef,
    pub after: StateAfter,
    pub gauge: Gauge,
    pub held: Held,
}

/// Tokens that a pool holds. Of a pair its reserves say it; of a pool with ticks all that came in, less what went out: its balances, less
/// what was given to it outside of its own functions. A V4 pool has no balances, and what leaves with a change of liquidity nobody says: of it
/// that is what its liquidity would free. Raw units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Held {
    /// A version that did not count wrote it, or its tokens could not be asked.
    Unknown,
    #[default]
    Nothing,
    Amounts(U256, U256),
}

impl Held {
    /// Raw units; `None` where it is not known.
    #[must_use]
    pub fn amounts(self) -> Option<(U256, U256)> {
        match self {
            Self::Unknown => None,
            Self::Nothing => Some((U256::ZERO, U256::ZERO)),
            Self::Amounts(amount0, amount1) => Some((amount0, amount1)),
        }
    }

    /// The same for whoever sees rows alone. `stands`: the pool's price was known before. A pool with ticks that had none yet holds nothing; if
    /// tokens flow nevertheless, its beginning is not among the rows. Of a V4 pool the last row of each block says it.
    pub fn follow(&mut self, stands: bool, row: &EventRow) {
        let event = &row.event.body;
        if !stands && flows(event) {
            *self = Self::Unknown;
        }
        self.apply(event);
        if let Some((amount0, amount1)) = row.gauge.as_ref().and_then(|gauge| gauge.locked) {
            *self = Self::Amounts(amount0, amount1);
        }
    }

    /// Moves it over an event that did fit the pool.
    pub fn apply(&mut self, event: &EventBody) {
        // A burn moves nothing: what it frees goes out by a later collect.
        if let (true, Some((held0, held1)), Some((amount0, amount1))) = (flows(event), self.amounts(), event.amounts()) {
            let moved = |held: U256, by: alloy::primitives::I256| {
                let size = by.unsigned_abs();
                // Only a token that is no token pays out what it never got.
                if by.is_negative() { held.saturating_sub(size) } else { held.saturating_add(size) }
            };
            *self = Self::Amounts(moved(held0, amount0), moved(held1, amount1));
        }
    }
}

fn flows(event: &EventBody) -> bool {
    matches!(
        event,
        EventBody::V3Mint { .. }
            | EventBody::V3Swap { .. }
            | EventBody::V3Flash { .. }
            | EventBody::V3Collect { .. }
            | EventBody::V3CollectProtocol { .. }
    )
}

impl PoolImage {
    /// As it is created.
    #[must_use]
    pub fn new(meta: &PoolMeta) -> Self {
        let fees = Terms::of(meta).map(|terms| Arc::new(Fees::new(terms)));
        let shares = (meta.protocol == Protocol::UniswapV2).then(Arc::default);
        Self { state: PoolState::new(meta.protocol), gauge: Gauge::default(), held: Held::default(), fees, shares }
    }

    /// A pool that is older than what is read, as its contract answered at this block.
    #[must_use]
    pub fn seeded(state: PoolState, held: Held, fees: Option<Fees>, at: &BlockRef) -> Self {
        let gauge = Gauge::seeded(&state, at.timestamp);
        let held = gauge.locked.map_or(held, |(amount0, amount1)| Held::Amounts(amount0, amount1));
        Self { state, gauge, held, fees: fees.map(Arc::new), shares: None }
    }

    /// Without the holders of its own token where these are not followed.
    #[must_use]
    pub fn with_shares(mut self, are_followed: bool) -> Self {
        self.shares = self.shares.filter(|_| are_followed);
        self
    }

    /// What is kept of it for good where it is the first, at the end of this block.
    #[must_use]
    pub fn origin(&self, block: BlockRef) -> Origin {
        Origin { block, after: self.state.after(), gauge: self.gauge, held: self.held }
    }

    /// Moves it over one event.
    ///
    /// # Errors
    /// Where the event does not fit the state. Nothing is changed then.
    pub fn apply(&mut self, event: &EventBody) -> Result<(), ApplyError> {
        // The books need the state before, and nobody may hold the state when it moves: or all of its ticks are copied.
        let fees = self.fees.as_ref().zip(self.state.v3()).map(|(fees, state)| {
            let mut fees = Fees::clone(fees);
            fees.apply(state, event).map(|()| Arc::new(fees))
        });
        self.state.apply(event)?;
        self.held.apply(event);
        if let Some(fees) = fees {
            self.fees = fees;
        }
        if let Some(shares) = &mut self.shares
            && Arc::make_mut(shares).apply(event).is_none()
        {
            self.shares = None;
        }
        Ok(())
    }

    /// About so many bytes it takes to write it down.
    #[must_use]
    pub fn weight(&self) -> usize {
        let ticks = self.state.v3().map_or(0, |state| state.ticks.len());
        let fees = self.fees.as_deref();
        let positions = fees.and_then(|fees| fees.positions.as_ref()).map_or(0, |positions| positions.size());
        let tokens = fees.map_or(0, |fees| fees.tokens.size());
        let holders = self.shares.as_ref().map_or(0, |shares| shares.holders().len());
        [(1, 200), (ticks, 90), (positions, 120), (tokens, 220), (holders, 40)]
            .iter()
            .map(|(n, bytes): &(usize, usize)| n.saturating_mul(*bytes))
            .sum()
    }

    /// Its positions, by owner and ticks, as far as they are known.
    pub fn positions(&self) -> impl Iterator<Item = (PositionKey, Position)> + '_ {
        let known = self.fees.iter().filter_map(|fees| fees.positions.as_ref()).flatten();
        known.map(|(key, position)| (*key, *position))
    }

    /// Position managers' tokens in it, by their ids.
    pub fn tokens(&self) -> impl Iterator<Item = (U256, Token)> + '_ {
        self.fees.iter().flat_map(|fees| &fees.tokens).map(|(token_id, token)| (*token_id, *token))
    }

    /// How many accounts have liquidity in it. `None`: not all of them are known.
    #[must_use]
    pub fn providers(&self, id: &PoolId) -> Option<usize> {
        match (id, &self.shares) {
            (PoolId::Address(pair), Some(shares)) => Some(shares.providers(pair)),
            _ => self.fees.as_ref()?.providers(),
        }
    }

    /// What it holds of token0 and token1, raw units. `None`: not known.
    #[must_use]
    pub fn locked(&self) -> Option<(U256, U256)> {
        match &self.state {
            PoolState::V2(pair) => Some((U256::from(pair.reserve0), U256::from(pair.reserve1))),
            PoolState::V3(_) | PoolState::V4(_) => self.held.amounts(),
        }
    }

    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { gauge: self.gauge, locked: self.locked() }
    }

    /// After the last of a block's events. `moved`: one of them left a state. Who changes hands alone does not count, for his row carries
    /// no gauge: what is made of rows later must come to the same.
    pub fn end_block(&mut self, block: &BlockRef, moved: bool) {
        if moved {
            self.gauge.observe(&self.state, block.timestamp);
            if let Some((amount0, amount1)) = self.gauge.locked {
                self.held = Held::Amounts(amount0, amount1);
            }
        }
        if let Some(fees) = self.fees.as_mut().filter(|fees| fees.is_within_block()) {
            Arc::make_mut(fees).end_block();
        }
        if let Some(shares) = self.shares.as_mut().filter(|shares| shares.is_within_block()) {
            Arc::make_mut(shares).end_block();
        }
    }
}
