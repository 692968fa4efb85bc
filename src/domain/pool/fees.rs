//! What the liquidity of a pool with ticks earned, as its contract keeps it: fee growth, protocol fees, positions and what they are owed.
//!
//! All of it follows from events: a swap's says where it began and ended and what came in, and the way between is the contract's own
//! ([`super::swap`]). A pool whose events do not follow that way is no pool of v3-core, and then nothing is claimed. What is absent:
//! dollars.

mod position;
mod token;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashSet},
};

use alloy::primitives::{Address, I256, U256};
use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

pub use self::{
    position::{Position, PositionKey},
    token::Token,
};

use self::token::Minting;

use super::{
    V3State,
    exchange::of_direction,
    held_between,
    math::{PIPS, Round, fee_on_top, mul_div, per_liquidity},
    swap::{End, StepEnd, Terms, walk},
};
use crate::domain::event::EventBody;

/// Token0 and token1.
pub type Both<T> = [T; 2];

/// The position that an event was about last, and `feeGrowthInside` as the contract put it down then: what a manager reads next.
type Touched = (PositionKey, Both<U256>);

/// What a contract says of its fees in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// `feeGrowthGlobal{0,1}X128`: per unit of liquidity since the beginning. It wraps, and only differences mean something.
    pub growth: Both<U256>,
    /// `protocolFees`: not collected yet.
    pub protocol: Both<u128>,
    /// `feeGrowthOutside{0,1}X128` of every initialised tick.
    pub outside: BTreeMap<i32, Both<U256>>,
}

/// The books of one pool. Cloning is cheap: everything large is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fees {
    pub terms: Terms,
    /// As in [`Books`].
    pub growth: Both<U256>,
    pub protocol: Both<u128>,
    pub outside: RedBlackTreeMapSync<i32, Both<U256>>,
    /// Those that hold or are owed something. `None`: of a pool that is older than what is read, whose positions nobody can list.
    pub positions: Option<RedBlackTreeMapSync<PositionKey, Position>>,
    /// Position managers' tokens in it, the burnt ones too. Of an older pool those that were made since.
    pub tokens: RedBlackTreeMapSync<U256, Token>,
    /// Within a block.
    touched: Option<Touched>,
    minting: Option<Minting>,
    /// What swaps paid since then, the protocol's part included.
    pub paid: Both<U256>,
    /// Fees that owners of positions took out; what they had put in is not among them.
    pub collected: Both<U256>,
}

impl Fees {
    /// Of a pool that was just created.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self { positions: Some(RedBlackTreeMapSync::new_sync()), ..Self::seeded(terms, Books::default()) }
    }

    /// Of an older pool, as its contract answered.
    #[must_use]
    pub fn seeded(terms: Terms, books: Books) -> Self {
        let Books { growth, protocol, outside } = books;
        Self {
            terms,
            growth,
            protocol,
            outside: outside.into_iter().collect(),
            positions: None,
            tokens: RedBlackTreeMapSync::new_sync(),
            touched: None,
            minting: None,
            paid: Both::default(),
            collected: Both::default(),
        }
    }

    /// What its contract says of them.
    #[must_use]
    pub fn books(&self) -> Books {
        let outside = self.outside.iter().map(|(tick, both)| (*tick, *both)).collect();
        Books { growth: self.growth, protocol: self.protocol, outside }
    }

    /// Whether this is the manager of tokens here: what it has in the pool is theirs. A pool has one manager, that of its dex.
    #[must_use]
    pub fn is_manager(&self, owner: &Address) -> bool {
        self.tokens.values().next().is_some_and(|token| token.manager == *owner)
    }

    /// How many accounts have liquidity in it. `None`: not all positions are known.
    #[must_use]
    pub fn providers(&self) -> Option<usize> {
        let positions = self.positions.as_ref()?.iter().filter(|(key, _)| !self.is_manager(&key.owner));
        let own = positions.filter(|(_, position)| position.liquidity > 0).map(|(key, _)| key.owner);
        let tokens = self.tokens.values().filter(|token| token.position.liquidity > 0).map(|token| token.owner);
        Some(own.chain(tokens).collect::<HashSet<_>>().len())
    }

    /// Moves the books over an event. `before` is the pool right before it. `None`: the contract cannot have done this; the books are
    /// worth nothing then.
    #[must_use]
    pub fn apply(&mut self, before: &V3State, event: &EventBody) -> Option<()> {
        match event {
            EventBody::V3Swap { amount0, amount1, sqrt_price_x96, liquidity, tick, .. } => {
                let end = End { sqrt_price_x96: *sqrt_price_x96, tick: *tick };
                self.swap(before, [*amount0, *amount1], end, *liquidity)
            }
            EventBody::V3Mint { owner, tick_lower, tick_upper, amount, .. } => {
                let key = PositionKey::new(*owner, *tick_lower, *tick_upper);
                self.mint(before, key, *amount)
            }
            EventBody::V3Burn { owner, tick_lower, tick_upper, amount, amount0, amount1 } => {
                let key = PositionKey::new(*owner, *tick_lower, *tick_upper);
                self.burn(before, key, *amount, [*amount0, *amount1])
            }
            EventBody::V3Collect { owner, tick_lower, tick_upper, amount0, amount1, .. } => {
                let key = PositionKey::new(*owner, *tick_lower, *tick_upper);
                self.collect(key, [*amount0, *amount1])
            }
            EventBody::V3Flash { paid0, paid1, .. } => self.flash(before, [*paid0, *paid1]),
            EventBody::V3CollectProtocol { amount0, amount1, .. } => {
                for (left, taken) in self.protocol.iter_mut().zip([amount0, amount1]) {
                    *left = left.checked_sub(*taken)?;
                }
                Some(())
            }
            EventBody::V4Swap { amount0, amount1, sqrt_price_x96, liquidity, tick, fee_pips, .. } => {
                let end = End { sqrt_price_x96: *sqrt_price_x96, tick: *tick };
                self.swap_v4(before, [*amount0, *amount1], end, *liquidity, *fee_pips)
            }
            EventBody::V4ModifyLiquidity { sender, tick_lower, tick_upper, liquidity_delta, salt } => {
                let key = PositionKey { owner: *sender, tick_lower: *tick_lower, tick_upper: *tick_upper, salt: *salt };
                self.modify(before, key, *liquidity_delta)
            }
            EventBody::V4Donate { amount0, amount1, .. } => {
                for (growth, amount) in self.growth.iter_mut().zip([amount0, amount1]) {
                    *growth = growth.wrapping_add(per_liquidity(*amount, before.liquidity)?);
                }
                Some(())
            }
            event if event.is_of_owners() => {
                self.of_manager(event);
                Some(())
            }
            _ => Some(()),
        }
    }

    /// After the last of a block's events.
    pub fn end_block(&mut self) {
        (self.touched, self.minting) = (None, None);
    }

    /// Whether [`Fees::end_block`] has anything to do.
    #[must_use]
    pub fn is_within_block(&self) -> bool {
        self.touched.is_some() || self.minting.is_some()
    }

    /// `feeGrowthInside`: what a unit of liquidity between two ticks earned, while the price is at `tick` (`Tick.getFeeGrowthInside`).
    /// Only differences of it mean something.
    #[must_use]
    pub fn inside(&self, tick: i32, lower: i32, upper: i32) -> Both<U256> {
        let outside = |at: i32| self.outside.get(&at).copied().unwrap_or_default();
        let [below, above] = [outside(lower), outside(upper)];
        std::array::from_fn(|side| {
            let of = |both: Both<U256>| both.get(side).copied().unwrap_or_default();
            let growth = of(self.growth);
            let below = if tick >= lower { of(below) } else { growth.wrapping_sub(of(below)) };
            let above = if tick < upper { of(above) } else { growth.wrapping_sub(of(above)) };
            growth.wrapping_sub(below).wrapping_sub(above)
        })
    }

    /// What is on a position's account once it is touched, raw units: fees, and what burns freed.
    #[must_use]
    pub fn owed(&self, tick: i32, key: &PositionKey, position: &Position) -> Both<u128> {
        let mut touched = *position;
        // What does not fit 128 bits is nothing that a contract has.
        let _ = touched.update(self.inside(tick, key.tick_lower, key.tick_upper));
        touched.owed
    }

    /// The fees among that.
    #[must_use]
    pub fn uncollected(&self, tick: i32, key: &PositionKey, position: &Position) -> Both<u128> {
        less(self.owed(tick, key, position), position.principal)
    }

    /// Ticks where liquidity begins for the first time (`Tick.update`).
    fn open(&mut self, before: &V3State, key: &PositionKey) {
        for tick in [key.tick_lower, key.tick_upper] {
            if !before.ticks.contains_key(&tick) {
                // By convention all growth before a tick was initialised happened below it.
                let outside = if tick <= before.tick { self.growth } else { Both::default() };
                self.outside.insert_mut(tick, outside);
            }
        }
    }

    /// And those where so much was the last (`Tick.clear`).
    fn close(&mut self, before: &V3State, key: &PositionKey, amount: u128) {
        for tick in [key.tick_lower, key.tick_upper] {
            if before.ticks.get(&tick).is_some_and(|tick| tick.liquidity_gross == amount) {
                self.outside.remove_mut(&tick);
            }
        }
    }

    /// `Pool.modifyLiquidity` of V4: what the position earned is paid out at once.
    fn modify(&mut self, before: &V3State, key: PositionKey, delta: i128) -> Option<()> {
        if delta > 0 {
            self.open(before, &key);
        }
        let inside = self.inside(before.tick, key.tick_lower, key.tick_upper);
        if let Some(positions) = &mut self.positions {
            let mut position = positions.get(&key).copied().unwrap_or_default();
            add(&mut self.collected, position.modify(delta, inside)?)?;
            put(positions, key, position);
        }
        let (at, ticks) = ((before.sqrt_price_x96, before.tick), (key.tick_lower, key.tick_upper));
        let round = if delta < 0 { Round::Down } else { Round::Up };
        let moved = held_between(at, ticks, delta.unsigned_abs(), round)?;
        self.modify_token(key, delta, inside, moved)?;
        if delta < 0 {
            self.close(before, &key, delta.unsigned_abs());
        }
        Some(())
    }

    fn mint(&mut self, before: &V3State, key: PositionKey, amount: u128) -> Option<()> {
        if amount > 0 {
            self.open(before, &key);
        }
        self.touch(before.tick, key, |position| position.liquidity.checked_add(amount))
    }

    fn burn(&mut self, before: &V3State, key: PositionKey, amount: u128, freed: Both<U256>) -> Option<()> {
        self.touch(before.tick, key, |position| {
            position.free(freed);
            position.liquidity.checked_sub(amount)
        })?;
        if amount > 0 {
            self.close(before, &key, amount);
        }
        Some(())
    }

    /// `Position.update`: what it earned since the last time goes to its account. `change` gives the liquidity afterwards.
    fn touch(&mut self, tick: i32, key: PositionKey, change: impl FnOnce(&mut Position) -> Option<u128>) -> Option<()> {
        let inside = self.inside(tick, key.tick_lower, key.tick_upper);
        self.touched = Some((key, inside));
        let Some(positions) = &mut self.positions else { return Some(()) };
        let mut position = positions.get(&key).copied().unwrap_or_default();
        position.update(inside)?;
        position.liquidity = change(&mut position)?;
        put(positions, key, position);
        Some(())
    }

    fn collect(&mut self, key: PositionKey, amounts: Both<u128>) -> Option<()> {
        if self.touched.is_none_or(|(touched, _)| touched != key) {
            self.touched = Some((key, Both::default()));
        }
        let Some(positions) = &mut self.positions else { return Some(()) };
        let mut position = positions.get(&key).copied().unwrap_or_default();
        let fees = position.collect(amounts)?;
        add(&mut self.collected, fees)?;
        put(positions, key, position);
        Some(())
    }

    fn flash(&mut self, before: &V3State, paid: Both<U256>) -> Option<()> {
        for (i, paid) in paid.into_iter().enumerate().filter(|(_, paid)| !paid.is_zero()) {
            self.earn(i, paid, before.liquidity, before.fee_protocol)?;
        }
        Some(())
    }

    /// The protocol takes its part first; the rest is for the liquidity that is in range.
    fn earn(&mut self, side: usize, fee: U256, liquidity: u128, fee_protocol: u32) -> Option<()> {
        let part = u32::checked_shr(fee_protocol, u32::try_from(side).ok()?.checked_mul(4)?)? & 0x0f;
        let taken = if part == 0 { U256::ZERO } else { fee.checked_div(U256::from(part))? };
        self.split(side, fee, taken, liquidity)
    }

    fn split(&mut self, side: usize, fee: U256, taken: U256, liquidity: u128) -> Option<()> {
        let protocol = self.protocol.get_mut(side)?;
        *protocol = protocol.wrapping_add(taken.wrapping_to::<u128>());
        if liquidity > 0 {
            let growth = self.growth.get_mut(side)?;
            *growth = growth.wrapping_add(per_liquidity(fee.checked_sub(taken)?, liquidity)?);
        }
        Some(())
    }

    fn swap(&mut self, before: &V3State, amounts: Both<I256>, end: End, liquidity: u128) -> Option<()> {
        let [amount0, amount1] = amounts;
        let down = is_down(before, amount0, end);
        let side = usize::from(!down);
        let mut left = U256::try_from(if down { amount0 } else { amount1 }).ok()?;
        let Terms { fee_pips, tick_spacing } = self.terms;
        let reached = walk(before, tick_spacing, down, end, |step| {
            let fee = match step.ends {
                // It ends where the amount does, or at the trader's limit: either way what is left of the amount is its fee.
                StepEnd::Swap => left.checked_sub(step.amount_in)?,
                _ => fee_on_top(step.amount_in, fee_pips)?,
            };
            left = left.checked_sub(step.amount_in)?.checked_sub(fee)?;
            let paid = self.paid.get_mut(side)?;
            *paid = paid.checked_add(fee)?;
            self.earn(side, fee, step.liquidity, before.fee_protocol)?;
            if let StepEnd::Crossed(tick) = step.ends { self.cross(tick) } else { Some(()) }
        })?;
        (reached == liquidity).then_some(())
    }

    /// `Pool.swap` of V4. Where a swap ends its fee is a part of what came in, rounded up: so it is where the amount ends the swap, and where
    /// a price does, with `a` for the amount without the fee, it comes to the same, as `a + ceil(a f / (1 - f))` is what came in then.
    fn swap_v4(&mut self, before: &V3State, amounts: Both<I256>, end: End, liquidity: u128, fee_pips: u32) -> Option<()> {
        let [amount0, amount1] = amounts;
        let down = is_down(before, amount0, end);
        let side = usize::from(!down);
        let mut left = U256::try_from(if down { amount0 } else { amount1 }).ok()?;
        let of_protocol = of_direction(before.fee_protocol, down);
        let whole = U256::from(PIPS);
        let reached = walk(before, self.terms.tick_spacing, down, end, |step| {
            let (amount_in, fee) = match step.ends {
                StepEnd::Swap => {
                    let fee = mul_div(left, U256::from(fee_pips), whole, Round::Up)?;
                    (left.checked_sub(fee)?, fee)
                }
                _ => (step.amount_in, fee_on_top(step.amount_in, fee_pips)?),
            };
            let all = amount_in.checked_add(fee)?;
            left = left.checked_sub(all)?;
            let paid = self.paid.get_mut(side)?;
            *paid = paid.checked_add(fee)?;
            let taken = match of_protocol {
                0 => U256::ZERO,
                all_of_it if all_of_it == fee_pips => fee,
                part => mul_div(all, U256::from(part), whole, Round::Down)?,
            };
            self.split(side, fee, taken, step.liquidity)?;
            if let StepEnd::Crossed(tick) = step.ends { self.cross(tick) } else { Some(()) }
        })?;
        (reached == liquidity).then_some(())
    }

    /// `Tick.cross`: what was outside is inside from now on, seen from the other side.
    fn cross(&mut self, tick: i32) -> Option<()> {
        let [outside0, outside1] = *self.outside.get(&tick)?;
        let [growth0, growth1] = self.growth;
        self.outside.insert_mut(tick, [growth0.wrapping_sub(outside0), growth1.wrapping_sub(outside1)]);
        Some(())
    }
}

/// token0 came in.
fn is_down(before: &V3State, amount0: I256, end: End) -> bool {
    match end.sqrt_price_x96.cmp(&before.sqrt_price_x96) {
        Ordering::Less => true,
        Ordering::Greater => false,
        // What came in was all fee.
        Ordering::Equal => amount0.is_positive(),
    }
}

fn less(all: Both<u128>, part: Both<u128>) -> Both<u128> {
    let ([all0, all1], [part0, part1]) = (all, part);
    [all0.saturating_sub(part0), all1.saturating_sub(part1)]
}

fn add(sums: &mut Both<U256>, amounts: Both<U256>) -> Option<()> {
    for (sum, amount) in sums.iter_mut().zip(amounts) {
        *sum = sum.checked_add(amount)?;
    }
    Some(())
}

/// One that holds nothing and is owed nothing needs no place: the contract finds the same in it when it is opened again.
fn put(positions: &mut RedBlackTreeMapSync<PositionKey, Position>, key: PositionKey, position: Position) {
    if position.liquidity == 0 && position.owed == [0, 0] {
        positions.remove_mut(&key);
    } else {
        positions.insert_mut(key, position);
    }
}

#[cfg(test)]
mod tests;
