//! What tokens cost in dollars, out of pools alone: exact integers, the same on every machine that knows the same blocks.
//!
//! A configured stablecoin is one dollar. The wrapped native token is priced by its pools with stablecoins; every other token by its
//! pools with those two, and by its pools with tokens that have such pools themselves: those weigh no more than what stands behind
//! the other token's own price, because anybody can make a token and give himself all of it. Of several pools the **weighted median** counts, weighted with each pool's liquidity around its price ([`Gauge`]): a price moves only with more than
//! half of that. The weight is the root of the product of both tokens' depths, which trading does not change: whoever pumps a pool
//! puts as many times more of one into it as he takes less of the other out. Depth counts as far as it was there before (the time-weighted guard), so that
//! what is lent for a block buys no weight; pools below a threshold price nothing. Without a pool that counts there is no price,
//! never 0.
//!
//! What is absent: other sources than pools (see [`super::feed`]), and any clock but the blocks'.

mod gauge;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use alloy::primitives::{Address, I256, U256, U512};

pub use gauge::{Depth, Gauge, Which};

use super::{
    event::EventBody,
    market::RawPrice,
    pool::{PoolId, PoolMeta},
    price,
    record::EventRow,
};

/// Binary places of a [`Dollars`]: 10^-18 dollars for a raw unit still have 100 bits.
const PLACES: usize = 160;
const MICRO: u64 = 1_000_000;

/// Dollars for one raw unit of a token, times 2^160.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dollars(U256);

/// An amount of dollars in millionths, the nearest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(pub u64);

impl Usd {
    #[must_use]
    pub fn whole(dollars: u32) -> Self {
        Self(u64::from(dollars).saturating_mul(MICRO))
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&usd_text(u128::from(self.0)))
    }
}

/// Millionths of a dollar as dollars, without trailing zeros.
#[must_use]
pub fn usd_text(micro: u128) -> String {
    price::unsigned_amount(U256::from(micro), 6).unwrap_or_else(|| "0".to_owned())
}

impl Dollars {
    /// Of a price that is said. A token of 18 decimals that costs a millionth of a millionth of a dollar still has so many.
    pub const DIGITS: usize = 18;

    /// A token with so many decimals that is worth one dollar.
    #[must_use]
    pub fn one(decimals: u8) -> Option<Self> {
        let unit = U256::from(10_u8).checked_pow(U256::from(decimals))?;
        let price = U256::ONE.checked_shl(PLACES)?.checked_div(unit)?;
        (!price.is_zero()).then_some(Self(price))
    }

    /// What the token at the other side of a pool costs, where `which` costs this. Rounded down.
    #[must_use]
    pub fn across(self, which: Which, price: RawPrice) -> Option<Self> {
        let found = match (price, which) {
            (RawPrice::Reserves { reserve0, reserve1 }, Which::Token1) => {
                ratio(self.0, U256::from(reserve1), U256::from(reserve0))?
            }
            (RawPrice::Reserves { reserve0, reserve1 }, Which::Token0) => {
                ratio(self.0, U256::from(reserve0), U256::from(reserve1))?
            }
            // The price is root² / 2^192: in two steps, each of which fits.
            (RawPrice::Root(root), Which::Token1) => ratio(ratio(self.0, root, X96)?, root, X96)?,
            (RawPrice::Root(root), Which::Token0) => ratio(ratio(self.0, X96, root)?, X96, root)?,
            // No pool says such.
            (RawPrice::Dollars(_) | RawPrice::Unknown, _) => return None,
        };
        (!found.is_zero()).then_some(Self(found))
    }

    /// What an amount is worth. `None` beyond 18 trillion dollars: that is no price.
    #[must_use]
    pub fn value(self, raw: U256) -> Option<Usd> {
        let product: U512 = raw.widening_mul(self.0);
        let half = U512::ONE.wrapping_shl(PLACES.saturating_sub(1));
        let micro = product.checked_mul(U512::from(MICRO))?.checked_add(half)?.wrapping_shr(PLACES);
        u64::try_from(micro).ok().map(Usd)
    }

    /// Liquidity against a token of this price, in a unit that all pools of the other token share.
    fn weight(self, both: u128) -> u128 {
        // 128 bits and at most as many: the root of 2^160 is 2^80.
        let product = U256::from(both).wrapping_mul(self.0.root(2)).wrapping_shr(PLACES / 2);
        u128::try_from(product).unwrap_or(u128::MAX)
    }

    /// Times 2^160.
    #[must_use]
    pub fn raw(self) -> U256 {
        self.0
    }

    /// The inverse of [`Dollars::raw`].
    #[must_use]
    pub fn from_raw(raw: U256) -> Self {
        Self(raw)
    }

    /// Dollars for one whole token, at most 18 significant digits.
    #[must_use]
    pub fn decimal(self, decimals: u8) -> Option<String> {
        price::binary_fraction(self.0, PLACES, decimals, Self::DIGITS)
    }
}

/// 2^96
const X96: U256 = U256::from_limbs([0, 1 << 32, 0, 0]);

/// `value · numerator / denominator`, rounded down; `None` where it does not fit, or the denominator is 0.
fn ratio(value: U256, numerator: U256, denominator: U256) -> Option<U256> {
    let product: U512 = value.widening_mul(numerator);
    U256::checked_from_limbs_slice(product.checked_div(U512::from(denominator))?.as_limbs())
}

/// What everything else is priced with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anchors {
    /// Worth one dollar, with their decimals once they are known.
    pub stablecoins: BTreeMap<Address, Option<u8>>,
    pub wrapped_native: Option<Address>,
    /// A pool must take so many dollars to move by one per cent, or it prices nothing.
    pub min_depth: Usd,
}

/// One way from a token to a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route {
    pool: PoolId,
    /// The token at the other side, and which one it is.
    counter: Address,
    which: Which,
}

/// Which pools can price a token. Pools are added and never taken away: one that a reorg took back has no gauge.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    anchors: Anchors,
    /// To a stablecoin or the native token.
    direct: HashMap<Address, Vec<Route>>,
    /// To any other token.
    indirect: HashMap<Address, Vec<Route>>,
    known: BTreeSet<PoolId>,
}

/// How directly a token has a price; lower is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Stablecoin,
    Native,
    Other,
}

/// A pool's say in a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Say {
    pub pool: PoolId,
    pub price: Dollars,
    /// Dollars that it takes to move it by one per cent, as far as they were there before.
    pub depth: Usd,
    /// Liquidity: comparable between pools of one token.
    pub weight: u128,
    /// Its depth is below the threshold: it does not count.
    pub is_thin: bool,
}

impl Say {
    /// With only a part of one side of its depth, the root of which its weight follows.
    fn scaled(self, part: u128, of: u128, min_depth: Usd) -> Self {
        let share = |value: u128, part: U256, of: U256| {
            let product: U512 = U256::from(value).widening_mul(part);
            product.checked_div(U512::from(of)).and_then(|share| u128::try_from(share).ok()).unwrap_or(u128::MAX)
        };
        let (part, of) = (U256::from(part), U256::from(of));
        let depth = Usd(u64::try_from(share(u128::from(self.depth.0), part, of)).unwrap_or(u64::MAX));
        // The roots of both, each with 64 binary places more.
        let root = |value: U256| value.wrapping_shl(128).root(2);
        let weight = share(self.weight, root(part), root(of));
        Self { depth, weight, is_thin: self.is_thin || depth < min_depth || weight == 0, ..self }
    }
}

/// A price with where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Priced {
    pub price: Dollars,
    /// By price; empty for a stablecoin.
    pub says: Vec<Say>,
}

impl Routes {
    #[must_use]
    pub fn new(anchors: Anchors) -> Self {
        Self { anchors, ..Self::default() }
    }

    /// Makes a pool known; a second time changes nothing.
    pub fn add(&mut self, pool: &PoolMeta) {
        if !self.known.insert(pool.id) {
            return;
        }
        let (token0, token1) = (self.priced_as(&pool.token0), self.priced_as(&pool.token1));
        for (token, counter, which) in [(token0, token1, Which::Token1), (token1, token0, Which::Token0)] {
            let route = Route { pool: pool.id, counter, which };
            let (mine, theirs) = (self.rank(&token), self.rank(&counter));
            if theirs < Rank::Other && theirs < mine {
                self.direct.entry(token).or_default().push(route);
            } else if mine == Rank::Other && theirs == Rank::Other {
                self.indirect.entry(token).or_default().push(route);
            }
        }
    }

    /// A stablecoin says how many raw units are one dollar. The first word counts.
    pub fn learn_decimals(&mut self, token: &Address, decimals: u8) {
        if let Some(known) = self.anchors.stablecoins.get_mut(token) {
            known.get_or_insert(decimals);
        }
    }

    /// Stablecoins whose decimals are not known.
    #[must_use]
    pub fn unknown(&self) -> Vec<Address> {
        self.anchors.stablecoins.iter().filter(|(_, decimals)| decimals.is_none()).map(|(token, _)| *token).collect()
    }

    /// Prices at one block: `gauge` knows every pool as of its end, `now` is its time.
    pub fn at<G: Fn(&PoolId) -> Option<Gauge>>(&self, now: u64, gauge: G) -> Prices<'_, G> {
        Prices { routes: self, now, gauge, found: RefCell::default(), backings: RefCell::default() }
    }

    /// Every pool that may have a say in what a token costs.
    #[must_use]
    pub fn pools_of(&self, token: &Address) -> BTreeSet<PoolId> {
        let token = &self.priced_as(token);
        let direct = |token: &Address| self.direct.get(token).into_iter().flatten();
        let native = self.anchors.wrapped_native.iter().flat_map(direct);
        let indirect = self.indirect.get(token).into_iter().flatten();
        let beyond = indirect.clone().flat_map(|route| direct(&route.counter));
        direct(token).chain(native).chain(indirect).chain(beyond).map(|route| route.pool).collect()
    }

    /// Native currency, which V4 trades as the zero address, costs what its wrapped form does.
    fn priced_as(&self, token: &Address) -> Address {
        self.anchors.wrapped_native.filter(|_| token.is_zero()).unwrap_or(*token)
    }

    fn rank(&self, token: &Address) -> Rank {
        let token = &self.priced_as(token);
        if self.anchors.stablecoins.contains_key(token) {
            Rank::Stablecoin
        } else if self.anchors.wrapped_native == Some(*token) {
            Rank::Native
        } else {
            Rank::Other
        }
    }
}

/// Prices of one block; what was found once is kept.
pub struct Prices<'a, G> {
    routes: &'a Routes,
    now: u64,
    gauge: G,
    found: RefCell<HashMap<Address, Option<Dollars>>>,
    backings: RefCell<HashMap<Address, Option<Backing>>>,
}

/// What stands behind a price that comes without a detour.
#[derive(Debug, Clone, Copy)]
struct Backing {
    price: Dollars,
    /// Millionths of a dollar that it takes to move its pools by one per cent.
    depth: u128,
}

impl<G: Fn(&PoolId) -> Option<Gauge>> Prices<'_, G> {
    #[must_use]
    pub fn price(&self, token: &Address) -> Option<Dollars> {
        let token = &self.routes.priced_as(token);
        if let Some(found) = self.found.borrow().get(token) {
            return *found;
        }
        let found = self.priced(token).map(|priced| priced.price);
        self.found.borrow_mut().insert(*token, found);
        found
    }

    /// The same with every pool that had a say, or would have with more depth.
    #[must_use]
    pub fn priced(&self, token: &Address) -> Option<Priced> {
        let token = &self.routes.priced_as(token);
        let mut says = self.direct_says(token);
        says.extend(self.indirect_says(token));
        says.sort_unstable_by_key(|say| (say.price, say.pool));
        match median(&says) {
            Some(price) => Some(Priced { price, says }),
            None => {
                let decimals = *self.routes.anchors.stablecoins.get(token)?;
                Some(Priced { price: Dollars::one(decimals?)?, says: Vec::new() })
            }
        }
    }

    fn direct_says(&self, token: &Address) -> Vec<Say> {
        let routes = self.routes.direct.get(token).into_iter().flatten();
        routes.filter_map(|route| self.say(route, |counter| self.price(counter))).collect()
    }

    /// Over one other token. All pools with it together weigh what its own direct pools are worth, at most.
    fn indirect_says(&self, token: &Address) -> Vec<Say> {
        let routes = self.routes.indirect.get(token).into_iter().flatten();
        let price = |counter: &Address| self.backing(counter).map(|backing| backing.price);
        let said: Vec<(Address, Say)> = routes.filter_map(|route| Some((route.counter, self.say(route, price)?))).collect();
        let mut depths: HashMap<Address, u128> = HashMap::new();
        for (counter, say) in &said {
            let depth = depths.entry(*counter).or_default();
            *depth = depth.saturating_add(u128::from(say.depth.0));
        }
        let capped = |(counter, say): (Address, Say)| {
            let (all, behind) = (*depths.get(&counter)?, self.backing(&counter)?.depth);
            Some(if all <= behind { say } else { say.scaled(behind, all, self.routes.anchors.min_depth) })
        };
        said.into_iter().filter_map(capped).collect()
    }

    /// What a token costs without a detour, so that two tokens never price each other, and how much stands behind that.
    fn backing(&self, token: &Address) -> Option<Backing> {
        if let Some(found) = self.backings.borrow().get(token) {
            return *found;
        }
        let mut says = self.direct_says(token);
        says.sort_unstable_by_key(|say| (say.price, say.pool));
        let counted = says.iter().filter(|say| !say.is_thin);
        let depth = counted.fold(0_u128, |sum, say| sum.saturating_add(u128::from(say.depth.0)));
        let found = median(&says).map(|price| Backing { price, depth });
        self.backings.borrow_mut().insert(*token, found);
        found
    }

    fn say(&self, route: &Route, price: impl Fn(&Address) -> Option<Dollars>) -> Option<Say> {
        let gauge = (self.gauge)(&route.pool)?;
        let firm = gauge.firm_depth(self.now);
        if firm.both == 0 {
            return None;
        }
        let counter = price(&route.counter)?;
        let depth = counter.value(U256::from(firm.token(route.which)))?;
        let weight = counter.weight(firm.both);
        let is_thin = depth < self.routes.anchors.min_depth || weight == 0;
        Some(Say { pool: route.pool, price: counter.across(route.which, gauge.price?)?, depth, weight, is_thin })
    }

    /// What an event moved: a swap by one of its sides, everything else by both.
    #[must_use]
    pub fn worth(&self, pool: &PoolMeta, row: &EventRow) -> Option<Usd> {
        match &row.event.body {
            EventBody::V2Swap { .. } | EventBody::V3Swap { .. } | EventBody::V4Swap { .. } => self.swapped(pool, row.amounts()?),
            // What was borrowed, not what was paid for it.
            EventBody::V3Flash { amount0, amount1, .. } => self.both(pool, (*amount0, *amount1)),
            _ => {
                let (amount0, amount1) = row.amounts()?;
                self.both(pool, (amount0.unsigned_abs(), amount1.unsigned_abs()))
            }
        }
    }

    /// What a swap moved, by the token of the two that is nearer to a dollar: amounts of the other are as good as its pools are.
    fn swapped(&self, pool: &PoolMeta, amounts: (I256, I256)) -> Option<Usd> {
        let zero = (pool.token0, amounts.0);
        let one = (pool.token1, amounts.1);
        let (first, second) =
            if self.routes.rank(&pool.token1) < self.routes.rank(&pool.token0) { (one, zero) } else { (zero, one) };
        [first, second].into_iter().find_map(|(token, raw)| self.price(&token)?.value(raw.unsigned_abs()))
    }

    /// What both sides are worth together; `None` where a side that is not 0 has no price.
    #[must_use]
    pub fn both(&self, pool: &PoolMeta, amounts: (U256, U256)) -> Option<Usd> {
        let side = |token: &Address, raw: U256| if raw.is_zero() { Some(Usd(0)) } else { self.price(token)?.value(raw) };
        let (zero, one) = (side(&pool.token0, amounts.0)?, side(&pool.token1, amounts.1)?);
        zero.0.checked_add(one.0).map(Usd)
    }
}

/// The lowest price that at least half of the weight is at or below. `says` are sorted by price.
fn median(says: &[Say]) -> Option<Dollars> {
    let counted = || says.iter().filter(|say| !say.is_thin);
    let all = counted().fold(0_u128, |sum, say| sum.saturating_add(say.weight));
    let mut below = 0_u128;
    counted()
        .find(|say| {
            below = below.saturating_add(say.weight);
            below.saturating_mul(2) >= all
        })
        .map(|say| say.price)
}
