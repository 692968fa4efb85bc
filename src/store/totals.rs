//! What all pools of a chain traded lately and hold now: in all, by exchange, and pool by pool. From memory, at one epoch.

use std::collections::BTreeMap;

use alloy::primitives::{Address, U256};

use super::{Pin, PoolStatus, PoolView};
use crate::domain::{
    dollars::Usd,
    market::Window,
    pool::{PoolId, Protocol},
};

/// So many pools are listed at most.
pub const LISTED_MAX: usize = 1_000;

/// A pool's exchange.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchange {
    pub name: String,
    pub factory: Address,
    pub protocol: Protocol,
}

/// Trades within a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Volume {
    /// Millionths of a dollar, of those whose value is known.
    pub usd: u128,
    pub trades: u64,
    /// Those whose value is not known.
    pub unvalued: u64,
}

/// What pools hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Locked {
    /// Millionths of a dollar, of those whose value is known.
    pub usd: u128,
    pub pools: u64,
    /// Those of which it is not: a token without a price, balances that nobody knows, or a pool that was given up.
    pub unvalued: u64,
}

/// The same of everything, of each exchange (by its name), and of the largest pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals<T> {
    pub all: T,
    pub exchanges: Vec<(Exchange, T)>,
    pub pools: Vec<(PoolId, T)>,
}

/// Something that can be summed up.
pub trait Part: Copy + Default {
    #[must_use]
    fn with(self, other: Self) -> Self;
    /// What is compared to find the largest.
    fn usd(&self) -> u128;
}

impl Part for Volume {
    fn with(self, other: Self) -> Self {
        Self {
            usd: self.usd.saturating_add(other.usd),
            trades: self.trades.saturating_add(other.trades),
            unvalued: self.unvalued.saturating_add(other.unvalued),
        }
    }

    fn usd(&self) -> u128 {
        self.usd
    }
}

impl Part for Locked {
    fn with(self, other: Self) -> Self {
        Self {
            usd: self.usd.saturating_add(other.usd),
            pools: self.pools.saturating_add(other.pools),
            unvalued: self.unvalued.saturating_add(other.unvalued),
        }
    }

    fn usd(&self) -> u128 {
        self.usd
    }
}

impl Pin {
    /// What was traded in a window that ends with the block of this epoch. Costs a look at each pool's minutes.
    #[must_use]
    pub fn volumes(&self, window: Window) -> Totals<Volume> {
        let now = self.head().block.map_or(0, |block| block.timestamp);
        sum(self, |view| {
            let stats = view.market.window(window, now);
            let sides = [stats.buys, stats.sells].map(|side| Volume {
                usd: side.usd,
                trades: side.trades.into(),
                unvalued: side.unvalued.into(),
            });
            sides.into_iter().fold(Volume::default(), Volume::with)
        })
    }

    /// What is in the pools, in dollars of this epoch.
    #[must_use]
    pub fn all_locked(&self) -> Totals<Locked> {
        let locked =
            |usd: Option<Usd>| Locked { usd: usd.map_or(0, |usd| usd.0.into()), pools: 1, unvalued: usd.is_none().into() };
        let priced =
            self.with_prices(|prices| sum(self, |view| locked(held(view).and_then(|held| prices.both(&view.meta, held)))));
        priced.unwrap_or_else(|| sum(self, |_| locked(None)))
    }
}

/// Of one that was given up the state is proven to be another than the contract's.
fn held(view: &PoolView) -> Option<(U256, U256)> {
    view.locked().filter(|_| view.status != PoolStatus::Faulted)
}

fn sum<T: Part>(pin: &Pin, of: impl Fn(&PoolView) -> T) -> Totals<T> {
    let mut all = T::default();
    let mut exchanges: BTreeMap<Exchange, T> = BTreeMap::new();
    let mut pools = Vec::new();
    for view in pin.pools() {
        let part = of(&view);
        let meta = &view.meta;
        let exchange = Exchange { name: meta.dex.clone(), factory: meta.factory, protocol: meta.protocol };
        let sum = exchanges.entry(exchange).or_default();
        *sum = sum.with(part);
        all = all.with(part);
        pools.push((meta.id, part));
    }
    // By their ids where they are alike: the same question has the same answer.
    pools.sort_unstable_by_key(|(id, part)| (std::cmp::Reverse(part.usd()), *id));
    pools.truncate(LISTED_MAX);
    pools.shrink_to_fit();
    Totals { all, exchanges: exchanges.into_iter().collect(), pools }
}
