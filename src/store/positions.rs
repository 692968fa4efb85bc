//! Positions of liquidity by owner, by pool or by token. All of them are in memory: what a pool says of its own, and an index of where to
//! look.
//!
//! The index says where an account or a token *may* have something: whoever had it once stays in it, and the pinned pool decides. What is
//! absent: positions that nobody can list, of pools that are older than what is read.

use std::{
    collections::BTreeSet,
    fmt,
    ops::Bound::{Excluded, Unbounded},
    str::FromStr,
    sync::Arc,
};

use alloy::primitives::{Address, B256, U256};
use dashmap::{DashMap, DashSet};

use super::{pin::Pin, view::PoolView};
use crate::domain::{
    event::EventBody,
    image::PoolImage,
    pool::{
        PoolId,
        fees::{Both, Position, PositionKey, Token},
    },
    record::EventRow,
};

/// A position within its pool. Tokens come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PositionId {
    /// Of the pool's position manager.
    Token(U256),
    /// Somebody's own, without a manager.
    Own(PositionKey),
}

/// Where it stands in a list.
pub type PositionPlace = (PoolId, PositionId);

/// `12`, or `0x…:-60:60`.
impl fmt::Display for PositionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(token_id) => write!(f, "{token_id}"),
            Self::Own(PositionKey { owner, tick_lower, tick_upper, salt }) => {
                write!(f, "{owner:#x}:{tick_lower}:{tick_upper}")?;
                if salt.is_zero() { Ok(()) } else { write!(f, ":{salt:#x}") }
            }
        }
    }
}

impl FromStr for PositionId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            // An empty text is a zero to its parser.
            [token_id] if token_id.starts_with(|first: char| first.is_ascii_digit()) => {
                token_id.parse().map(Self::Token).map_err(|_| ())
            }
            [owner, lower, upper, rest @ ..] if rest.len() < 2 => Ok(Self::Own(PositionKey {
                owner: owner.parse().map_err(|_| ())?,
                tick_lower: lower.parse().map_err(|_| ())?,
                tick_upper: upper.parse().map_err(|_| ())?,
                salt: rest.first().map_or(Ok(B256::ZERO), |salt| salt.parse()).map_err(|_| ())?,
            })),
            _ => Err(()),
        }
    }
}

/// Which positions. Everything that is given must hold; without any of owner, pool and token there are none.
#[derive(Debug, Clone, Copy, Default)]
pub struct PositionQuery {
    pub owner: Option<Address>,
    pub pool: Option<PoolId>,
    pub token_id: Option<U256>,
    /// With liquidity in it, or without.
    pub has_liquidity: Option<bool>,
}

/// One position as of the pinned block.
#[derive(Debug, Clone)]
pub struct PositionAt {
    pub pool: Arc<PoolView>,
    pub id: PositionId,
    /// Whose it is; the zero address: a token that was burnt.
    pub owner: Address,
    pub key: PositionKey,
    pub position: Position,
    pub token: Option<Token>,
    /// Fees that could be collected now, raw units.
    pub uncollected: Both<u128>,
    /// What its liquidity holds at the pool's price, raw units.
    pub held: Both<U256>,
}

/// Places that one question looks at: about 20 ms.
const LOOK_MAX: usize = 50_000;

/// A question would have to look at too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are too many positions to look through: narrow it, by pool or by owner, or leave out whether they have liquidity")]
pub struct TooMany;

/// Where to look.
#[derive(Default)]
pub(super) struct Index {
    owners: DashMap<Address, BTreeSet<PositionPlace>>,
    tokens: DashMap<U256, BTreeSet<PoolId>>,
    /// What they have is their tokens'.
    managers: DashSet<Address>,
}

impl Index {
    /// A pool that is new to memory.
    pub(super) fn learn(&self, pool: PoolId, image: &PoolImage) {
        for (token_id, token) in image.tokens() {
            self.managers.insert(token.manager);
            self.add(token.owner, (pool, PositionId::Token(token_id)));
        }
        for (key, _) in image.positions().filter(|(key, _)| !self.managers.contains(&key.owner)) {
            self.add(key.owner, (pool, PositionId::Own(key)));
        }
    }

    /// What a row may have given to somebody.
    pub(super) fn take(&self, row: &EventRow) {
        match row.event.body {
            EventBody::V3TransferPosition { to, token_id, .. } | EventBody::V4TransferPosition { to, token_id, .. } => {
                self.managers.insert(row.event.raw.address);
                self.add(to, (row.event.pool, PositionId::Token(token_id)));
            }
            EventBody::V3Mint { owner, tick_lower, tick_upper, .. } if !self.managers.contains(&owner) => {
                self.add(owner, (row.event.pool, PositionId::Own(PositionKey::new(owner, tick_lower, tick_upper))));
            }
            EventBody::V4ModifyLiquidity { sender, tick_lower, tick_upper, salt, .. } if !self.managers.contains(&sender) => {
                let key = PositionKey { owner: sender, tick_lower, tick_upper, salt };
                self.add(sender, (row.event.pool, PositionId::Own(key)));
            }
            _ => {}
        }
    }

    fn add(&self, owner: Address, place: PositionPlace) {
        if let (pool, PositionId::Token(token_id)) = place {
            self.tokens.entry(token_id).or_default().insert(pool);
        }
        if !owner.is_zero() {
            self.owners.entry(owner).or_default().insert(place);
        }
    }

    fn of_owner(&self, owner: &Address, after: Option<PositionPlace>) -> Vec<PositionPlace> {
        let Some(places) = self.owners.get(owner) else { return Vec::new() };
        places.range((after.map_or(Unbounded, Excluded), Unbounded)).take(LOOK_MAX.saturating_add(1)).copied().collect()
    }

    fn of_token(&self, token_id: U256) -> Vec<PositionPlace> {
        let pools = self.tokens.get(&token_id);
        pools.iter().flat_map(|pools| pools.iter()).map(|pool| (*pool, PositionId::Token(token_id))).collect()
    }
}

impl Pin {
    /// The first `limit` positions after a place, by pool and id.
    ///
    /// # Errors
    /// Where too many would have to be looked at.
    pub fn positions(
        &self,
        query: &PositionQuery,
        after: Option<PositionPlace>,
        limit: usize,
    ) -> Result<Vec<PositionAt>, TooMany> {
        let mut found = Vec::new();
        self.walk(query, after, &mut |pool, id| {
            found.extend(position(pool, id));
            found.len() < limit
        })?;
        Ok(found)
    }

    /// How many there are; it stops at `cap`.
    ///
    /// # Errors
    /// As [`Pin::positions`].
    pub fn count_positions(&self, query: &PositionQuery, cap: usize) -> Result<usize, TooMany> {
        let mut count = 0_usize;
        self.walk(query, None, &mut |_, _| {
            count = count.saturating_add(1);
            count < cap
        })?;
        Ok(count)
    }

    /// Every position that the query admits, until one is enough.
    fn walk(
        &self,
        query: &PositionQuery,
        after: Option<PositionPlace>,
        take: &mut dyn FnMut(&Arc<PoolView>, PositionId) -> bool,
    ) -> Result<(), TooMany> {
        let index = self.live().positions();
        let places = match (query.token_id, query.owner, query.pool) {
            (Some(token_id), ..) => index.of_token(token_id),
            (None, Some(owner), _) => index.of_owner(&owner, after),
            (None, None, Some(pool)) => return self.walk_pool(pool, query, after, take),
            (None, None, None) => Vec::new(),
        };
        let places = places.into_iter().filter(|place| after.is_none_or(|after| *place > after));
        let wanted = places.filter(|(pool, _)| query.pool.is_none_or(|wanted| wanted == *pool));
        for (looked, (pool, id)) in wanted.enumerate() {
            if looked >= LOOK_MAX {
                return Err(TooMany);
            }
            let Some(view) = self.pool(&pool) else { continue };
            let known = known(&view, &id).is_some_and(|(owner, position)| query.admits(owner, &position));
            if known && !take(&view, id) {
                break;
            }
        }
        Ok(())
    }

    /// All of one pool, without looking at those before.
    fn walk_pool(
        &self,
        pool: PoolId,
        query: &PositionQuery,
        after: Option<PositionPlace>,
        take: &mut dyn FnMut(&Arc<PoolView>, PositionId) -> bool,
    ) -> Result<(), TooMany> {
        let Some(view) = self.pool(&pool) else { return Ok(()) };
        let Some(fees) = view.image.fees.as_deref() else { return Ok(()) };
        let (first_token, first_own) = match after.map(|(_, id)| id) {
            None => (Some(Unbounded), Unbounded),
            Some(PositionId::Token(token_id)) => (Some(Excluded(token_id)), Unbounded),
            Some(PositionId::Own(key)) => (None, Excluded(key)),
        };
        let tokens = first_token.into_iter().flat_map(|first| fees.tokens.range((first, Unbounded)));
        let tokens = tokens.map(|(id, token)| (PositionId::Token(*id), query.admits(token.owner, &token.position)));
        let own = fees.positions.iter().flat_map(|all| all.range((first_own, Unbounded)));
        let own =
            own.map(|(key, position)| (PositionId::Own(*key), !fees.is_manager(&key.owner) && query.admits(key.owner, position)));
        for (looked, (id, admitted)) in tokens.chain(own).enumerate() {
            if looked >= LOOK_MAX {
                return Err(TooMany);
            }
            if admitted && !take(&view, id) {
                break;
            }
        }
        Ok(())
    }
}

impl PositionQuery {
    fn admits(&self, owner: Address, position: &Position) -> bool {
        self.owner.is_none_or(|wanted| wanted == owner)
            && self.has_liquidity.is_none_or(|wanted| wanted == (position.liquidity > 0))
    }
}

/// Whose it is and what it has. `None`: the pool has no such position (any more). A manager's own is told by its tokens.
fn known(pool: &PoolView, id: &PositionId) -> Option<(Address, Position)> {
    let fees = pool.image.fees.as_deref()?;
    match id {
        PositionId::Token(token_id) => fees.tokens.get(token_id).map(|token| (token.owner, token.position)),
        PositionId::Own(key) => {
            let own = fees.positions.as_ref()?.get(key).filter(|_| !fees.is_manager(&key.owner))?;
            Some((key.owner, *own))
        }
    }
}

fn position(pool: &Arc<PoolView>, id: PositionId) -> Option<PositionAt> {
    let (fees, v3) = (pool.image.fees.as_deref()?, pool.image.state.v3()?);
    let (owner, position) = known(pool, &id)?;
    let (key, token, uncollected) = match id {
        PositionId::Token(token_id) => {
            let token = fees.tokens.get(&token_id)?;
            (token.key(), Some(*token), fees.uncollected_of(v3.tick, token))
        }
        PositionId::Own(key) => (key, None, fees.uncollected(v3.tick, &key, &position)),
    };
    let held = v3.held_by(key.tick_lower, key.tick_upper, position.liquidity).unwrap_or_default();
    Some(PositionAt { pool: pool.clone(), id, owner, key, position, token, uncollected, held })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_from_its_text() {
        let key = PositionKey::new(Address::repeat_byte(0xab), -60, 887_220);
        let salted = PositionId::Own(PositionKey { salt: B256::repeat_byte(7), ..key });
        for id in [PositionId::Token(U256::ZERO), PositionId::Token(U256::MAX), PositionId::Own(key), salted] {
            assert_eq!(id.to_string().parse(), Ok(id), "{id}");
        }
        for bad in ["", "x", "0xab:1:2", "1:2", "0x0000000000000000000000000000000000000000:1:2:3"] {
            assert_eq!(bad.parse::<PositionId>(), Err(()), "{bad}");
        }
    }
}
