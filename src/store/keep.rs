//! What cannot be derived again: prices from outside the chain, as they were judged, minute by minute. It is a database of its own, which no
//! resync of a chain touches.
//!
//! What is absent: chains and blocks. A pair's price is of a minute of the wall clock, and the first word about a minute stays.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{history::StoreError, prices::PairReport};
use crate::domain::{
    feed::{Exclusion, FeedStatus, Millis},
    fixed::Fixed18,
};

/// One price of each pair in so many seconds.
pub const EVERY_S: u64 = 60;
/// A moment of the past has the price that was recorded so many seconds before it at the most: a few may be missing, of a restart.
pub const HOLDS_S: u64 = 300;

/// A pair's price at the beginning of a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedPrice {
    /// `ETH/USD`
    pub pair: String,
    /// Unix seconds, a multiple of [`EVERY_S`].
    pub minute: u64,
    pub value: Fixed18,
    pub status: FeedStatus,
    /// The time of the oldest tick that it stood on.
    pub updated_ms: Millis,
    pub sources: Vec<RecordedSource>,
}

/// What one source said then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedSource {
    pub name: String,
    pub value: Option<Fixed18>,
    /// The source's own time of it.
    pub at_ms: Option<Millis>,
    /// Of [`crate::domain::feed::WEIGHT_ONE`].
    pub weight: u32,
    pub excluded_by: Option<Exclusion>,
}

/// Where prices are kept. Share it as `Arc<dyn Keep>`.
pub trait Keep: Send + Sync + 'static {
    /// Of what is there already nothing is changed.
    fn record(&self, prices: Vec<RecordedPrice>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The newest price of a pair in the minutes `from..=to`.
    fn price(&self, pair: &str, from: u64, to: u64) -> BoxFuture<'_, Result<Option<RecordedPrice>, StoreError>>;
}

impl RecordedPrice {
    /// As a pair stands at the beginning of this minute. `None`: it has no price.
    #[must_use]
    pub fn of(report: &PairReport, minute: u64) -> Option<Self> {
        let verdict = &report.verdict;
        let sources = report.sources.iter().zip(&verdict.sources).map(|((name, _), said)| RecordedSource {
            name: name.clone(),
            value: said.value,
            at_ms: said.at_ms,
            weight: said.weight,
            excluded_by: said.excluded_by,
        });
        Some(Self {
            pair: report.pair.clone(),
            minute,
            value: verdict.value?,
            status: verdict.status,
            updated_ms: verdict.updated_ms?,
            sources: sources.collect(),
        })
    }
}

/// As both stores keep a price: plain, so that people can read it there. These words and names never change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) value: String,
    pub(super) status: String,
    pub(super) updated_ms: i64,
    pub(super) sources: Vec<WrittenSource>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WrittenSource {
    name: String,
    value: Option<String>,
    at_ms: Option<i64>,
    weight: i64,
    excluded_by: Option<String>,
}

const STATUSES: [(FeedStatus, &str); 4] = [
    (FeedStatus::Fresh, "FRESH"),
    (FeedStatus::Degraded, "DEGRADED"),
    (FeedStatus::Stale, "STALE"),
    (FeedStatus::Halted, "HALTED"),
];

const EXCLUSIONS: [(Exclusion, &str); 6] = [
    (Exclusion::NoData, "NO_DATA"),
    (Exclusion::Stale, "STALE"),
    (Exclusion::Frozen, "FROZEN"),
    (Exclusion::Deviates, "DEVIATES"),
    (Exclusion::Faulted, "FAULTED"),
    (Exclusion::Thin, "THIN"),
];

fn word<T: PartialEq>(of: &[(T, &'static str)], value: &T) -> String {
    of.iter().find(|(known, _)| known == value).map_or("", |(_, word)| word).to_owned()
}

fn meant<T: Copy>(of: &[(T, &'static str)], word: &str) -> Option<T> {
    of.iter().find(|(_, known)| *known == word).map(|(value, _)| *value)
}

impl Written {
    pub(super) fn of(price: &RecordedPrice) -> Self {
        let source = |source: &RecordedSource| WrittenSource {
            name: source.name.clone(),
            value: source.value.map(|value| value.to_string()),
            at_ms: source.at_ms.map(u64::cast_signed),
            weight: source.weight.into(),
            excluded_by: source.excluded_by.map(|why| word(&EXCLUSIONS, &why)),
        };
        Self {
            value: price.value.to_string(),
            status: word(&STATUSES, &price.status),
            updated_ms: price.updated_ms.cast_signed(),
            sources: price.sources.iter().map(source).collect(),
        }
    }

    /// `None`: no version of ours wrote it.
    pub(super) fn read(self, pair: &str, minute: u64) -> Option<RecordedPrice> {
        let source = |source: WrittenSource| {
            Some(RecordedSource {
                name: source.name,
                value: source.value.map(|text| Fixed18::parse(&text)).transpose().ok()?,
                at_ms: source.at_ms.map(i64::cast_unsigned),
                weight: u32::try_from(source.weight).ok()?,
                excluded_by: match source.excluded_by {
                    Some(why) => Some(meant(&EXCLUSIONS, &why)?),
                    None => None,
                },
            })
        };
        Some(RecordedPrice {
            pair: pair.to_owned(),
            minute,
            value: Fixed18::parse(&self.value).ok()?,
            status: meant(&STATUSES, &self.status)?,
            updated_ms: self.updated_ms.cast_unsigned(),
            sources: self.sources.into_iter().map(source).collect::<Option<_>>()?,
        })
    }
}

/// What both implementations are held to.
#[cfg(test)]
pub(super) mod conformance {
    use super::*;

    pub(in crate::store) fn price(pair: &str, minute: u64, value: &str) -> RecordedPrice {
        let said = |name: &str, value: Option<&str>, excluded_by: Option<Exclusion>| RecordedSource {
            name: name.to_owned(),
            value: value.map(|text| Fixed18::parse(text).unwrap()),
            at_ms: value.map(|_| minute * 1_000 - 7),
            weight: if excluded_by.is_none() { 1_000_000 } else { 0 },
            excluded_by,
        };
        let sources = vec![
            said("binance", Some(value), None),
            said("coinbase", Some("0.000000000000000001"), Some(Exclusion::Deviates)),
            said("coingecko", None, Some(Exclusion::NoData)),
        ];
        let value = Fixed18::parse(value).unwrap();
        RecordedPrice {
            pair: pair.to_owned(),
            minute,
            value,
            status: FeedStatus::Degraded,
            updated_ms: minute * 1_000 - 7,
            sources,
        }
    }

    pub(in crate::store) async fn what_was_recorded_is_found_again(keep: &dyn Keep) {
        assert_eq!(keep.price("ETH/USD", 0, u64::from(u32::MAX)).await.unwrap(), None, "nothing yet");
        let all = [("ETH/USD", 60, "1850.25"), ("BTC/USD", 60, "60000"), ("ETH/USD", 120, "1851"), ("ETH/USD", 600, "1900")];
        let all = all.map(|(pair, minute, value)| price(pair, minute, value));
        keep.record(all[..2].to_vec()).await.unwrap();
        keep.record(all[1..].to_vec()).await.unwrap();
        keep.record(Vec::new()).await.unwrap();
        // Another process saw another price in that minute: the first word stays.
        keep.record(vec![price("ETH/USD", 60, "7"), price("BTC/USD", 120, "61000")]).await.unwrap();
        for (pair, from, to, expected) in [
            ("ETH/USD", 0, 59, None),
            ("ETH/USD", 0, 60, Some(&all[0])),
            ("ETH/USD", 60, 119, Some(&all[0])),
            ("ETH/USD", 61, 119, None),
            ("ETH/USD", 0, 599, Some(&all[2])),
            ("ETH/USD", 0, 1 << 40, Some(&all[3])),
            ("BTC/USD", 0, 119, Some(&all[1])),
            ("ETH/US", 0, 1 << 40, None),
            ("ETH/USDC", 0, 1 << 40, None),
        ] {
            assert_eq!(keep.price(pair, from, to).await.unwrap().as_ref(), expected, "{pair} in {from}..={to}");
        }
        assert_eq!(keep.price("BTC/USD", 0, 1_000).await.unwrap().unwrap().minute, 120);
    }
}
