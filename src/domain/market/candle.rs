//! One candle, and the trade that it is made of.

use std::cmp::Ordering;

use alloy::primitives::{Address, I256, U256};

use crate::domain::{
    dollars::{Dollars, Usd, Which},
    event::EventBody,
    pool::StateAfter,
    record::EventRow,
};

/// A pool's price exactly as its contract keeps it, or a token's in dollars. Prices of one market compare; of different kinds they do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawPrice {
    /// V2: reserve1 / reserve0.
    Reserves { reserve0: u128, reserve1: u128 },
    /// V3 and V4: sqrt(token1 / token0), Q64.96.
    Root(U256),
    /// Of a token.
    Dollars(Dollars),
    /// Of a token that has had no price so far.
    Unknown,
}

impl RawPrice {
    /// `None` where there is no price: an empty pair, a pool that is not initialised.
    #[must_use]
    pub fn of(after: &StateAfter) -> Option<Self> {
        match *after {
            StateAfter::V2 { reserve0, reserve1 } => {
                (reserve0 > 0 && reserve1 > 0).then_some(Self::Reserves { reserve0, reserve1 })
            }
            StateAfter::V3 { sqrt_price_x96, .. } => (!sqrt_price_x96.is_zero()).then_some(Self::Root(sqrt_price_x96)),
        }
    }

    #[must_use]
    pub fn is_known(&self) -> bool {
        *self != Self::Unknown
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Root(a), Self::Root(b)) => a.cmp(b),
            (Self::Dollars(a), Self::Dollars(b)) => a.cmp(b),
            (Self::Reserves { reserve0: a0, reserve1: a1 }, Self::Reserves { reserve0: b0, reserve1: b1 }) => {
                // Two products of 128 bits each: they cannot overflow.
                let cross = |x: &u128, y: &u128| U256::from(*x).wrapping_mul(U256::from(*y));
                cross(a1, b0).cmp(&cross(b1, a0))
            }
            // No market changes its kind.
            _ => Ordering::Equal,
        }
    }

    #[must_use]
    pub fn higher(self, other: Self) -> Self {
        if other.compare(&self) == Ordering::Greater { other } else { self }
    }

    #[must_use]
    pub fn lower(self, other: Self) -> Self {
        if other.compare(&self) == Ordering::Less { other } else { self }
    }
}

/// One swap, as candles and windows see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trade {
    /// Of its block, seconds.
    pub timestamp: u64,
    /// After it.
    pub price: RawPrice,
    /// Raw units, positive into the pool.
    pub amount0: I256,
    pub amount1: I256,
    /// What it moved; `None` where nothing says what its tokens cost.
    pub usd: Option<Usd>,
    /// Who received what was bought: the signer is not known on the way in.
    pub trader: Address,
}

impl Trade {
    /// `None` where the event is no swap, or left no price.
    #[must_use]
    pub fn of(timestamp: u64, row: &EventRow) -> Option<Self> {
        let (trader, price) = match &row.event.body {
            EventBody::V2Swap { to, .. } => (*to, RawPrice::of(row.after.as_ref()?)?),
            // Said by the log itself: whether its actor answered is of no account.
            EventBody::V3Swap { recipient, sqrt_price_x96, .. } if !sqrt_price_x96.is_zero() => {
                (*recipient, RawPrice::Root(*sqrt_price_x96))
            }
            // Nobody says who received it.
            EventBody::V4Swap { sender, sqrt_price_x96, .. } if !sqrt_price_x96.is_zero() => {
                (*sender, RawPrice::Root(*sqrt_price_x96))
            }
            _ => return None,
        };
        let (amount0, amount1) = row.event.body.amounts()?;
        Some(Self { timestamp, price, amount0, amount1, usd: row.usd, trader })
    }

    /// The same as a trade of one of the two tokens, that costs so much in dollars: its amount is `amount0`, and there is no other.
    #[must_use]
    pub fn of_token(&self, which: Which, price: Option<Dollars>) -> Self {
        let amount0 = match which {
            Which::Token0 => self.amount0,
            Which::Token1 => self.amount1,
        };
        Self { price: price.map_or(RawPrice::Unknown, RawPrice::Dollars), amount0, amount1: I256::ZERO, ..*self }
    }

    /// token0 left the pool, or token1 came in for nothing that can be counted.
    #[must_use]
    pub fn is_buy(&self) -> bool {
        self.amount0.is_negative() || (self.amount0.is_zero() && self.amount1.is_positive())
    }
}

/// A trade on its way through candles, from short ones to long ones: what is the same for all is worked out once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lot {
    price: RawPrice,
    volume0: U256,
    volume1: U256,
    usd: Option<Usd>,
    is_buy: bool,
    /// It was a new high of every shorter candle: whoever holds a shorter one has seen as much.
    may_be_high: bool,
    may_be_low: bool,
}

impl Lot {
    pub(super) fn new(trade: &Trade) -> Self {
        Self {
            price: trade.price,
            volume0: trade.amount0.unsigned_abs(),
            volume1: trade.amount1.unsigned_abs(),
            usd: trade.usd,
            is_buy: trade.is_buy(),
            may_be_high: true,
            may_be_low: true,
        }
    }
}

/// What was traded in one direction. Raw units, without a sign.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Side {
    pub volume0: U256,
    pub volume1: U256,
    pub trades: u32,
    /// Millionths of a dollar, of the trades that have a value.
    pub usd: u128,
    /// Trades that have none.
    pub unvalued: u32,
    /// Addresses, each once.
    pub traders: u32,
}

impl Side {
    /// What was traded, in millionths of a dollar. `None` where the value of some of it is not known: a part would say too little.
    #[must_use]
    pub fn volume_usd(&self) -> Option<u128> {
        (self.unvalued == 0).then_some(self.usd)
    }

    pub(super) fn add(&mut self, lot: &Lot, is_new_trader: bool) {
        // Saturating: only a token that is no token moves 2^256.
        self.volume0 = self.volume0.saturating_add(lot.volume0);
        self.volume1 = self.volume1.saturating_add(lot.volume1);
        self.trades = self.trades.saturating_add(1);
        match lot.usd {
            Some(usd) => self.usd = self.usd.saturating_add(u128::from(usd.0)),
            None => self.unvalued = self.unvalued.saturating_add(1),
        }
        self.traders = self.traders.saturating_add(u32::from(is_new_trader));
    }

    /// Two stretches; traders cannot be added up.
    pub(super) fn join(&mut self, other: &Self) {
        self.volume0 = self.volume0.saturating_add(other.volume0);
        self.volume1 = self.volume1.saturating_add(other.volume1);
        self.trades = self.trades.saturating_add(other.trades);
        self.usd = self.usd.saturating_add(other.usd);
        self.unvalued = self.unvalued.saturating_add(other.unvalued);
    }
}

/// What a pool did between `start` and the end of the interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candle {
    /// Unix seconds.
    pub start: u64,
    /// The close of the candle before, so that candles join; of a market's first candle: the price after its first swap.
    pub open: RawPrice,
    pub high: RawPrice,
    pub low: RawPrice,
    pub close: RawPrice,
    /// token0 was bought.
    pub buys: Side,
    pub sells: Side,
}

impl Candle {
    /// Nobody traded: one price.
    #[must_use]
    pub fn empty(start: u64, price: RawPrice) -> Self {
        Self { start, open: price, high: price, low: price, close: price, buys: Side::default(), sells: Side::default() }
    }

    pub(super) fn add(&mut self, lot: &mut Lot, is_new_trader: bool) {
        if lot.price.is_known() {
            if !self.close.is_known() {
                // The first price that was ever told.
                *self = Self { buys: self.buys, sells: self.sells, ..Self::empty(self.start, lot.price) };
            }
            if lot.may_be_high {
                let high = self.high.higher(lot.price);
                lot.may_be_high = high != self.high;
                self.high = high;
            }
            if lot.may_be_low {
                let low = self.low.lower(lot.price);
                lot.may_be_low = low != self.low;
                self.low = low;
            }
            self.close = lot.price;
        }
        let side = if lot.is_buy { &mut self.buys } else { &mut self.sells };
        side.add(lot, is_new_trader);
    }
}
