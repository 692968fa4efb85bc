//! Candles and windows.

use alloy::primitives::Address;
use async_graphql::{Enum, Object};

use super::{
    scalars::{BigDecimal, Timestamp},
    token::decimals,
};
use crate::{
    domain::{
        dollars::usd_text,
        market::{self, RawPrice, Side, Subject},
        pool::PoolMeta,
        price,
    },
    store::{Pin, PoolView},
};

/// A candle's length. Days are UTC, weeks begin on Mondays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "market::Interval")]
pub(crate) enum Interval {
    /// A second.
    S1,
    /// 5 seconds.
    S5,
    /// 15 seconds.
    S15,
    /// A minute.
    M1,
    /// 5 minutes.
    M5,
    /// 15 minutes.
    M15,
    /// An hour.
    H1,
    /// 4 hours.
    H4,
    /// A day.
    D1,
    /// A week.
    W1,
}

/// How a candle is written: which way round, in which units, and up to when.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Written {
    pub(in crate::api) interval: market::Interval,
    pub(in crate::api) decimals0: Option<u8>,
    pub(in crate::api) decimals1: Option<u8>,
    /// Prices of token1 in token0.
    pub(in crate::api) invert: bool,
    /// Time of the newest block.
    pub(in crate::api) now: u64,
}

impl Written {
    /// Of a pool, as of the pinned block.
    pub(in crate::api) fn new(pin: &Pin, pool: &PoolMeta, interval: market::Interval, invert: bool) -> Self {
        let (decimals0, decimals1) = (decimals(pin, &pool.token0), decimals(pin, &pool.token1));
        Self { interval, decimals0, decimals1, invert, now: pin.head().block.map_or(0, |b| b.timestamp) }
    }
}

impl Written {
    /// Of a token, in dollars: its volume is that of token0.
    pub(in crate::api) fn token(pin: &Pin, token: &Address, interval: market::Interval) -> Self {
        let now = pin.head().block.map_or(0, |b| b.timestamp);
        Self { interval, decimals0: decimals(pin, token), decimals1: None, invert: false, now }
    }
}

/// A candle, ready to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candle {
    pub(in crate::api) candle: market::Candle,
    pub(in crate::api) written: Written,
}

impl Candle {
    pub(in crate::api) fn price(&self, price: RawPrice) -> Option<String> {
        if let RawPrice::Dollars(dollars) = price {
            return dollars.decimal(self.written.decimals0?);
        }
        let ratio = price::scaled(price, self.written.decimals0?, self.written.decimals1?)?;
        if self.written.invert { ratio.inverse()?.decimal() } else { ratio.decimal() }
    }

    /// Upside down, the lowest is the highest.
    pub(in crate::api) fn high_low(&self) -> (RawPrice, RawPrice) {
        if self.written.invert { (self.candle.low, self.candle.high) } else { (self.candle.high, self.candle.low) }
    }

    /// Bought, sold: of the token that is priced.
    pub(in crate::api) fn sides(&self) -> (&Side, &Side) {
        let sides = (&self.candle.buys, &self.candle.sells);
        if self.written.invert { (sides.1, sides.0) } else { sides }
    }

    pub(in crate::api) fn volumes(&self) -> (Option<String>, Option<String>) {
        let (buys, sells) = (&self.candle.buys, &self.candle.sells);
        let written =
            |a, b, decimals: Option<u8>| price::unsigned_amount(alloy::primitives::U256::saturating_add(a, b), decimals?);
        (
            written(buys.volume0, sells.volume0, self.written.decimals0),
            written(buys.volume1, sells.volume1, self.written.decimals1),
        )
    }

    /// All of it, bought and sold: dollars, each null where the value of some of it is not known.
    pub(in crate::api) fn volumes_usd(&self) -> [Option<String>; 3] {
        let (buys, sells) = self.sides();
        let (bought, sold) = (buys.volume_usd(), sells.volume_usd());
        let all = bought.zip(sold).map(|(bought, sold)| bought.saturating_add(sold));
        [all, bought, sold].map(|micro| micro.map(usd_text))
    }

    pub(in crate::api) fn next_start(&self) -> u64 {
        self.written.interval.end_of(self.candle.start)
    }

    pub(in crate::api) fn is_closed(&self) -> bool {
        self.written.now >= self.next_start()
    }
}

/// What a pool or a token did within a stretch of time. Prices are token1 per token0 in the tokens' own units, after each swap; with `invert`
/// they are token0 per token1; of a token they are dollars. Candles join: each opens at the close of the one before.
#[Object]
impl Candle {
    /// When it begins.
    async fn start(&self) -> Timestamp {
        Timestamp(self.candle.start)
    }

    /// When the next one begins.
    async fn end(&self) -> Timestamp {
        Timestamp(self.next_start())
    }

    /// The close of the candle before; of the first candle the price after its first swap. Null where a token has no decimals, or no price.
    async fn open(&self) -> Option<BigDecimal> {
        self.price(self.candle.open).map(BigDecimal)
    }

    /// The highest price, `open` included.
    async fn high(&self) -> Option<BigDecimal> {
        self.price(self.high_low().0).map(BigDecimal)
    }

    /// The lowest price, `open` included.
    async fn low(&self) -> Option<BigDecimal> {
        self.price(self.high_low().1).map(BigDecimal)
    }

    /// The price after the last swap.
    async fn close(&self) -> Option<BigDecimal> {
        self.price(self.candle.close).map(BigDecimal)
    }

    /// token0 that was traded, in either direction, in its own unit. Null where it has no decimals.
    async fn volume_token0(&self) -> Option<BigDecimal> {
        self.volumes().0.map(BigDecimal)
    }

    /// token1 that was traded, in either direction, in its own unit. Null where it has no decimals.
    async fn volume_token1(&self) -> Option<BigDecimal> {
        self.volumes().1.map(BigDecimal)
    }

    /// Dollars that were traded, each swap at the prices of its block. Null where the value of some of them is not known.
    #[graphql(name = "volumeUSD")]
    async fn volume_usd(&self) -> Option<BigDecimal> {
        let [all, ..] = self.volumes_usd();
        all.map(BigDecimal)
    }

    /// Dollars for which the token that is priced was bought.
    #[graphql(name = "buyVolumeUSD")]
    async fn buy_volume_usd(&self) -> Option<BigDecimal> {
        let [_, bought, _] = self.volumes_usd();
        bought.map(BigDecimal)
    }

    /// Dollars for which it was sold.
    #[graphql(name = "sellVolumeUSD")]
    async fn sell_volume_usd(&self) -> Option<BigDecimal> {
        let [.., sold] = self.volumes_usd();
        sold.map(BigDecimal)
    }

    /// Swaps that bought the token that is priced: token0, with `invert` token1.
    async fn buys(&self) -> u32 {
        self.sides().0.trades
    }

    /// Swaps that sold it.
    async fn sells(&self) -> u32 {
        self.sides().1.trades
    }

    /// Addresses that bought, each once: who received the tokens.
    async fn buyers(&self) -> u32 {
        self.sides().0.traders
    }

    /// Addresses that sold, each once: who received the tokens.
    async fn sellers(&self) -> u32 {
        self.sides().1.traders
    }

    /// Swaps.
    async fn tx_count(&self) -> u32 {
        self.candle.buys.trades.saturating_add(self.candle.sells.trades)
    }

    /// A block came that is later than it: only a reorg can change it now.
    async fn closed(&self) -> bool {
        self.is_closed()
    }
}

/// A stretch of time that ends now: whole minutes, the one under way included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "market::Window")]
pub(crate) enum Window {
    /// 5 minutes.
    M5,
    /// 15 minutes.
    M15,
    /// 30 minutes.
    M30,
    /// An hour.
    H1,
    /// 6 hours.
    H6,
    /// 24 hours.
    H24,
}

/// What a pool did within a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolStats {
    pub(in crate::api) stats: market::WindowStats,
    pub(in crate::api) decimals0: Option<u8>,
    pub(in crate::api) decimals1: Option<u8>,
}

impl PoolStats {
    pub(in crate::api) fn new(pin: &Pin, pool: &PoolView, window: market::Window) -> Self {
        let stats = pool.market.window(window, pin.head().block.map_or(0, |block| block.timestamp));
        Self { stats, decimals0: decimals(pin, &pool.meta.token0), decimals1: decimals(pin, &pool.meta.token1) }
    }

    /// Of a token in all of its pools: its volume is that of token0.
    pub(in crate::api) fn of_token(pin: &Pin, token: &Address, window: market::Window) -> Self {
        let market = pin.market(&Subject::Token(*token)).unwrap_or_default();
        let stats = market.window(window, pin.head().block.map_or(0, |block| block.timestamp));
        Self { stats, decimals0: decimals(pin, token), decimals1: None }
    }

    pub(in crate::api) fn volume0(&self) -> Option<String> {
        price::unsigned_amount(self.stats.buys.volume0.saturating_add(self.stats.sells.volume0), self.decimals0?)
    }

    pub(in crate::api) fn volume1(&self) -> Option<String> {
        price::unsigned_amount(self.stats.buys.volume1.saturating_add(self.stats.sells.volume1), self.decimals1?)
    }

    pub(in crate::api) fn dollars(&self) -> Option<String> {
        let (bought, sold) = (self.stats.buys.volume_usd()?, self.stats.sells.volume_usd()?);
        Some(usd_text(bought.saturating_add(sold)))
    }

    pub(in crate::api) fn change(&self) -> Option<String> {
        let (before, now) = self.stats.prices?;
        price::change_percent(before, now)
    }
}

/// What a pool did within a window that ends with the block of the answer.
#[Object]
impl PoolStats {
    /// The first second that is counted.
    async fn start(&self) -> Timestamp {
        Timestamp(self.stats.start)
    }

    /// token0 that was traded, in either direction, in its own unit. Null where it has no decimals.
    async fn volume_token0(&self) -> Option<BigDecimal> {
        self.volume0().map(BigDecimal)
    }

    /// token1 that was traded, in either direction, in its own unit. Null where it has no decimals.
    async fn volume_token1(&self) -> Option<BigDecimal> {
        self.volume1().map(BigDecimal)
    }

    /// Dollars that were traded, each swap at the prices of its block. Null where the value of some of them is not known.
    #[graphql(name = "volumeUSD")]
    async fn volume_usd(&self) -> Option<BigDecimal> {
        self.dollars().map(BigDecimal)
    }

    /// Swaps that bought token0.
    async fn buys(&self) -> u32 {
        self.stats.buys.trades
    }

    /// Swaps that sold token0.
    async fn sells(&self) -> u32 {
        self.stats.sells.trades
    }

    /// Addresses that bought token0, each once: who received it.
    async fn buyers(&self) -> u32 {
        self.stats.buys.traders
    }

    /// Addresses that sold token0, each once: who received token1.
    async fn sellers(&self) -> u32 {
        self.stats.sells.traders
    }

    /// Swaps.
    async fn tx_count(&self) -> u32 {
        self.stats.buys.trades.saturating_add(self.stats.sells.trades)
    }

    /// By how much token0 became dearer in token1 since the window began, in percent; negative where cheaper. Null before the first swap.
    async fn price_change_percent(&self) -> Option<BigDecimal> {
        self.change().map(BigDecimal)
    }
}
