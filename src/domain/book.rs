//! What tokens and factories traded, over all of their pools: folded block by block, beside the pools' own markets.
//!
//! A pool knows nothing of other pools, so what hangs on several of them is told with the block ([`Told`]): what the tokens of its
//! events cost when it ended, and how the hour stood that was over when it came. With that a [`Book`] follows from records alone.
//!
//! A value: cloning it costs a few pointers, so a reorg is a look at an older one. What is absent: prices, which are told, and pools, which
//! have markets of their own.

use std::{collections::BTreeMap, fmt, sync::Arc};

use alloy::primitives::{Address, U256, map::DefaultHashBuilder};
use rpds::HashTrieMapSync;

use super::{
    dollars::{Dollars, Gauge, Prices, Which},
    event::EventKind,
    image::Mark,
    market::{End, Happened, Interval, Market, Subject, Trade},
    pool::{PoolId, PoolMeta},
    record::BlockRecord,
};

/// What a record says that its rows do not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// What the tokens of its events cost at its end, by token. One that is not here has no price.
    pub prices: Vec<(Address, Dollars)>,
    /// The hour before it is over.
    pub closing: Option<Closing>,
}

impl Told {
    /// At the end of a block; `pools` are those of its events, as often as they may come.
    #[must_use]
    pub fn new<'a, G: Fn(&PoolId) -> Option<Gauge>>(
        pools: impl Iterator<Item = &'a PoolMeta>,
        prices: &Prices<'_, G>,
        closing: Option<Closing>,
    ) -> Self {
        // Many events, few pools: these are told apart by their places.
        let mut pools: Vec<&PoolMeta> = pools.collect();
        pools.sort_unstable_by_key(|pool| std::ptr::from_ref(*pool));
        pools.dedup_by_key(|pool| std::ptr::from_ref(*pool));
        let mut tokens: Vec<Address> = pools.into_iter().flat_map(|pool| [pool.token0, pool.token1]).collect();
        tokens.sort_unstable();
        tokens.dedup();
        Self { prices: tokens.into_iter().filter_map(|token| Some((token, prices.price(&token)?))).collect(), closing }
    }

    #[must_use]
    pub fn price(&self, token: &Address) -> Option<Dollars> {
        let at = self.prices.binary_search_by_key(token, |(token, _)| *token).ok()?;
        self.prices.get(at).map(|(_, price)| *price)
    }
}

/// How an hour stood when it was over, at the prices of its last second. Told with the first block after it that has events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closing {
    /// Its last second.
    pub at: u64,
    /// Of tokens with events in the hour, or in the day if that is over too.
    pub tokens: Vec<TokenEnd>,
    /// Millionths of a dollar in pools whose tokens both have a price, by factory.
    pub factories: Vec<(Address, u128)>,
}

impl Closing {
    /// `prices` are of the last second of the hour, `pools` as they stood then.
    #[must_use]
    pub fn new<'a, G: Fn(&PoolId) -> Option<Gauge>>(
        due: &Due,
        prices: &Prices<'_, G>,
        pools: impl Iterator<Item = (&'a PoolMeta, Mark)>,
    ) -> Self {
        let mut tokens: BTreeMap<Address, U256> = due.tokens.iter().map(|token| (*token, U256::ZERO)).collect();
        let mut factories: BTreeMap<Address, u128> = due.factories.iter().map(|factory| (*factory, 0)).collect();
        for (pool, mark) in pools {
            let Some(locked) = mark.locked else { continue };
            for (token, raw) in [(pool.token0, locked.0), (pool.token1, locked.1)] {
                if let Some(sum) = tokens.get_mut(&token) {
                    *sum = sum.saturating_add(raw);
                }
            }
            if let Some(sum) = factories.get_mut(&pool.factory)
                && let Some(usd) = prices.both(pool, locked)
            {
                *sum = sum.saturating_add(usd.0.into());
            }
        }
        let end = |(token, locked)| TokenEnd { token, price: prices.price(&token), locked };
        Self { at: due.at, tokens: tokens.into_iter().map(end).collect(), factories: factories.into_iter().collect() }
    }
}

/// A token at the end of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenEnd {
    pub token: Address,
    pub price: Option<Dollars>,
    /// Raw units, in all of its pools.
    pub locked: U256,
}

/// What is due when a block with events comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The last second of the hour that is over.
    pub at: u64,
    pub tokens: Vec<Address>,
    pub factories: Vec<Address>,
}

impl Due {
    /// All of it was told.
    #[must_use]
    pub fn is_in(&self, told: Option<&Closing>) -> bool {
        let Some(told) = told.filter(|told| told.at == self.at) else { return false };
        self.tokens.iter().all(|token| told.tokens.iter().any(|end| end.token == *token))
            && self.factories.iter().all(|factory| told.factories.iter().any(|(told, _)| told == factory))
    }
}

/// The markets of tokens and factories as of a block.
#[derive(Clone, PartialEq, Eq)]
pub struct Book {
    /// Where the hour begins that the newest event is in.
    hour: u64,
    markets: Markets,
}

type Markets = HashTrieMapSync<Subject, Arc<Market>, DefaultHashBuilder>;

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("hour", &self.hour).field("markets", &self.markets.size()).finish()
    }
}

impl Default for Book {
    fn default() -> Self {
        Self { hour: 0, markets: Markets::new_with_hasher_and_ptr_kind(DefaultHashBuilder::default()) }
    }
}

impl Book {
    /// As it was kept.
    #[must_use]
    pub fn restored(hour: u64, markets: impl IntoIterator<Item = (Subject, Arc<Market>)>) -> Self {
        let mut book = Self { hour, ..Self::default() };
        markets.into_iter().for_each(|(of, market)| book.markets.insert_mut(of, market));
        book
    }

    #[must_use]
    pub fn hour(&self) -> u64 {
        self.hour
    }

    #[must_use]
    pub fn market(&self, of: &Subject) -> Option<&Arc<Market>> {
        self.markets.get(of)
    }

    pub fn markets(&self) -> impl Iterator<Item = (&Subject, &Arc<Market>)> + '_ {
        self.markets.iter()
    }

    /// Markets that are others than there, or are not there.
    pub fn changed_since<'a>(&'a self, there: &'a Self) -> impl Iterator<Item = (&'a Subject, &'a Arc<Market>)> + 'a {
        self.markets.iter().filter(|(of, market)| there.market(of).is_none_or(|before| !Arc::ptr_eq(before, market)))
    }

    /// Memory need not have what the store has.
    pub fn change(&mut self, of: &Subject, change: impl FnOnce(&mut Market)) {
        if let Some(market) = self.markets.get_mut(of) {
            change(Arc::make_mut(market));
        }
    }

    /// An hour is over when a block of this time has events: of whom it has to be told how it ended.
    #[must_use]
    pub fn due(&self, timestamp: u64) -> Option<Due> {
        if self.hour == 0 || Interval::H1.end_of(self.hour) > timestamp {
            return None;
        }
        let at = Interval::H1.end_of(self.hour).saturating_sub(1);
        let mut due = Due { at, tokens: Vec::new(), factories: Vec::new() };
        for (of, _) in self.markets.iter().filter(|(_, market)| market.periods.is_over(at, timestamp)) {
            match of {
                Subject::Token(token) => due.tokens.push(*token),
                Subject::Factory(factory) => due.factories.push(*factory),
                Subject::Pool(_) => {}
            }
        }
        Some(due)
    }

    /// The next block of the chain; `metas` are the pools of its rows. Rows of pools that are not known are left out.
    pub fn fold(&mut self, record: &BlockRecord, metas: &[Option<&PoolMeta>]) {
        // Of pools that are none of ours, at least not yet: no hour of ours is over.
        if metas.iter().all(Option::is_none) {
            return;
        }
        let now = record.block.timestamp;
        let told = record.told.as_deref();
        if let Some(closing) = told.and_then(|told| told.closing.as_ref()) {
            for TokenEnd { token, price, locked } in &closing.tokens {
                let end = End::Token { price: *price, locked: *locked };
                self.change(&Subject::Token(*token), |market| market.periods.end(closing.at, now, end));
            }
            for (factory, locked) in &closing.factories {
                let end = End::Factory { locked: *locked };
                self.change(&Subject::Factory(*factory), |market| market.periods.end(closing.at, now, end));
            }
        }
        self.hour = Interval::H1.start_of(now);
        let known = record.rows.iter().zip(metas).filter_map(|(row, meta)| Some((row, (*meta)?)));
        for (row, meta) in known.filter(|(row, _)| Happened::counts(row)) {
            let happened = Happened::of(row, meta.fee_pips);
            let trade = if row.kind() == EventKind::Swap { Trade::of(now, row) } else { None };
            for (token, which) in [(meta.token0, Which::Token0), (meta.token1, Which::Token1)] {
                let price = told.and_then(|told| told.price(&token));
                self.with(Subject::Token(token), |market| {
                    market.periods.count(now, &happened);
                    trade.iter().for_each(|trade| market.trade(&trade.of_token(which, price)));
                });
            }
            self.with(Subject::Factory(meta.factory), |market| market.periods.count(now, &happened));
        }
    }

    fn with(&mut self, of: Subject, change: impl FnOnce(&mut Market)) {
        if let Some(market) = self.markets.get_mut(&of) {
            return change(Arc::make_mut(market));
        }
        let mut market = Market::default();
        change(&mut market);
        self.markets.insert_mut(of, Arc::new(market));
    }
}
