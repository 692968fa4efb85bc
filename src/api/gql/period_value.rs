//! An hour or a day, ready to be written: for GraphQL and REST.

use alloy::primitives::Address;

use super::{candle::Candle, candle::Written, token::decimals};
use crate::{
    domain::{
        dollars::usd_text,
        market::{self, Interval, RawPrice, Subject},
        pool::StateAfter,
        price,
    },
    store::{
        Pin,
        periods::{PeriodAt, Standing},
    },
};

/// How periods of one subject are written.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Form {
    written: Written,
    decimals: [Option<u8>; 2],
}

impl Form {
    pub(in crate::api) fn new(pin: &Pin, of: &Subject, interval: Interval) -> Self {
        let (written, decimals) = match of {
            Subject::Pool(id) => match pin.pool(id) {
                Some(view) => {
                    let written = Written::new(pin, &view.meta, interval, false);
                    (written, [written.decimals0, written.decimals1])
                }
                None => (Written::token(pin, &Address::ZERO, interval), [None, None]),
            },
            Subject::Token(token) => (Written::token(pin, token, interval), [decimals(pin, token), None]),
            Subject::Factory(_) => (Written::token(pin, &Address::ZERO, interval), [None, None]),
        };
        Self { written, decimals }
    }
}

/// Texts and numbers of a period.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct PeriodValue {
    at: PeriodAt,
    form: Form,
}

impl PeriodValue {
    pub(in crate::api) fn new(at: PeriodAt, form: Form) -> Self {
        Self { at, form }
    }

    pub(in crate::api) fn start(&self) -> u64 {
        self.at.period.start
    }

    pub(in crate::api) fn end(&self) -> u64 {
        self.form.written.interval.end_of(self.start())
    }

    pub(in crate::api) fn is_closed(&self) -> bool {
        self.form.written.now >= self.end()
    }

    pub(in crate::api) fn events(&self) -> u32 {
        self.at.period.events
    }

    pub(in crate::api) fn swaps(&self) -> u32 {
        self.at.period.swaps
    }

    pub(in crate::api) fn volume_usd(&self) -> Option<String> {
        self.at.period.volume_usd().map(usd_text)
    }

    pub(in crate::api) fn fees_usd(&self) -> Option<String> {
        self.at.period.fees_usd().map(usd_text)
    }

    /// In the tokens' own units; of a token the first is its own.
    pub(in crate::api) fn volumes(&self) -> [Option<String>; 2] {
        let empty = || market::Candle::empty(self.start(), RawPrice::Unknown);
        let candle = Candle { candle: self.at.candle.unwrap_or_else(empty), written: self.form.written };
        let (volume0, volume1) = candle.volumes();
        [volume0, volume1]
    }

    pub(in crate::api) fn locked(&self) -> [Option<String>; 2] {
        let Standing { locked, .. } = &self.at.standing;
        let written = |i: usize| price::unsigned_amount((*locked.get(i)?)?, (*self.form.decimals.get(i)?)?);
        [written(0), written(1)]
    }

    pub(in crate::api) fn locked_usd(&self) -> Option<String> {
        self.at.standing.locked_usd.map(usd_text)
    }

    /// Of a token, when it ended.
    pub(in crate::api) fn price_usd(&self) -> Option<String> {
        let [decimals, _] = self.form.decimals;
        self.at.standing.price?.decimal(decimals?)
    }

    /// Open, high, low, close.
    pub(in crate::api) fn prices(&self) -> [Option<String>; 4] {
        let Some(candle) = self.at.candle else { return [None, None, None, None] };
        let written = Candle { candle, written: self.form.written };
        [candle.open, candle.high, candle.low, candle.close].map(|price| written.price(price))
    }

    pub(in crate::api) fn after(&self) -> Option<StateAfter> {
        self.at.standing.after
    }
}
