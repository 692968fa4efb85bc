//! What tokens and factories should have traded: lists of everything, looked at from end to end.

use std::collections::BTreeMap;

use alloy::primitives::{Address, U256};
use swaptide::domain::{
    block::BlockRef,
    book::Book,
    dollars::{Dollars, Routes, Usd, Which},
    event::EventKind,
    image::PoolImage,
    market::{Candle, End, Interval, KeptSeries, Market, Period, RawPrice, Subject, Trade},
    pool::{PoolId, PoolMeta},
    record::EventRow,
};

type Pools = BTreeMap<PoolId, (std::sync::Arc<PoolMeta>, PoolImage)>;

#[derive(Default)]
pub(crate) struct BookOracle {
    events: BTreeMap<Subject, Vec<Seen>>,
    trades: BTreeMap<Address, Vec<Trade>>,
    /// By the hour: everybody when it was over.
    ends: BTreeMap<u64, BTreeMap<Subject, End>>,
    /// Time of the newest block with events.
    newest: Option<u64>,
}

struct Seen {
    time: u64,
    /// A swap: its value, and the pool's fee.
    swap: Option<(Option<Usd>, u128)>,
}

impl BookOracle {
    /// A block with events comes: how all stood before, at the end of the hour that is over.
    pub(crate) fn before(&mut self, block: &BlockRef, pools: &Pools, routes: &Routes) {
        let Some(newest) = self.newest.replace(block.timestamp) else { return };
        let (hour, now) = (newest / 3_600, block.timestamp / 3_600);
        if hour == now {
            return;
        }
        let prices = routes.at(hour * 3_600 + 3_599, |id| pools.get(id).map(|(_, image)| image.gauge));
        let mut ends: BTreeMap<Subject, End> = BTreeMap::new();
        for (meta, image) in pools.values() {
            let (locked0, locked1) = image.locked().unwrap();
            for (token, raw) in [(meta.token0, locked0), (meta.token1, locked1)] {
                let end =
                    ends.entry(Subject::Token(token)).or_insert(End::Token { price: prices.price(&token), locked: U256::ZERO });
                let End::Token { locked, .. } = end else { panic!("a token") };
                *locked += raw;
            }
            let end = ends.entry(Subject::Factory(meta.factory)).or_insert(End::Factory { locked: 0 });
            let End::Factory { locked } = end else { panic!("a factory") };
            *locked += prices.both(meta, (locked0, locked1)).map_or(0, |usd| u128::from(usd.0));
        }
        self.ends.insert(hour, ends);
    }

    pub(crate) fn take(
        &mut self,
        block: &BlockRef,
        meta: &PoolMeta,
        row: &EventRow,
        price: impl Fn(&Address) -> Option<Dollars>,
    ) {
        if row.event.body.is_of_owners() || row.kind() == EventKind::PoolCreated {
            return;
        }
        let swap = (row.kind() == EventKind::Swap).then(|| (row.usd, u128::from(meta.fee_pips)));
        for of in [Subject::Token(meta.token0), Subject::Token(meta.token1), Subject::Factory(meta.factory)] {
            self.events.entry(of).or_default().push(Seen { time: block.timestamp, swap });
        }
        let Some(trade) = Trade::of(block.timestamp, row) else { return };
        for (token, which) in [(meta.token0, Which::Token0), (meta.token1, Which::Token1)] {
            self.trades.entry(token).or_default().push(trade.of_token(which, price(&token)));
        }
    }

    fn periods(&self, of: &Subject, interval: Interval) -> Vec<Period> {
        let length = interval.seconds();
        let mut periods: Vec<Period> = Vec::new();
        let newest = self.newest.unwrap();
        for seen in &self.events[of] {
            let start = seen.time / length * length;
            if periods.last().is_none_or(|last| last.start != start) {
                // Over, if a later block has events; as it was at the end of the last hour in which there were any.
                let over = newest >= start + length;
                let last = self.ends.range(..(start + length) / 3_600).next_back();
                let end = last.filter(|_| over).map_or(End::Unknown, |(_, ends)| ends[of]);
                periods.push(Period { start, events: 0, swaps: 0, usd: 0, unvalued: 0, fees: 0, end });
            }
            let period = periods.last_mut().unwrap();
            period.events += 1;
            let Some((usd, fee)) = seen.swap else { continue };
            period.swaps += 1;
            match usd {
                Some(usd) => {
                    period.usd += u128::from(usd.0);
                    period.fees += u128::from(usd.0) * fee;
                }
                None => period.unvalued += 1,
            }
        }
        periods
    }

    pub(crate) fn check(&self, book: &Book) {
        let ours: Vec<Subject> = {
            let mut all: Vec<Subject> = book.markets().map(|(of, _)| *of).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(ours, self.events.keys().copied().collect::<Vec<_>>(), "who traded");
        for of in self.events.keys() {
            let market = book.market(of).unwrap();
            for interval in [Interval::H1, Interval::D1] {
                assert_eq!(market.periods.list(interval, 0, u64::MAX), self.periods(of, interval), "{of:?} {interval:?}");
            }
            let mut naive = Market::default();
            if let Subject::Token(token) = of {
                self.trades.get(token).into_iter().flatten().for_each(|trade| naive.trade(trade));
            }
            let (ours, naive) = (market.kept(), naive.kept());
            assert_eq!((ours.series, ours.totals, ours.traders), (naive.series, naive.totals, naive.traders), "{of:?} traded");
        }
    }

    /// The same without dollars: some rows are of a time when their source was not followed, and the book was made again since.
    pub(crate) fn check_counts(&self, book: &Book) {
        for (of, seen) in &self.events {
            let market = book.market(of).unwrap_or_else(|| panic!("{of:?} is in the book"));
            let prices = |series: &[KeptSeries<Candle>]| -> usize {
                let all = series.iter().flat_map(|series| series.closed.iter().chain(&series.open));
                all.filter(|candle| candle.close.is_known()).count()
            };
            let days = market.periods.list(Interval::D1, 0, u64::MAX);
            assert_eq!(days.iter().map(|day| day.events as usize).sum::<usize>(), seen.len(), "events of {of:?}");
            let counts = |periods: Vec<Period>| periods.iter().map(|p| (p.start, p.events, p.swaps)).collect::<Vec<_>>();
            let hours = market.periods.list(Interval::H1, 0, u64::MAX);
            assert!(
                hours.iter().rev().skip(1).all(|hour| hour.end != End::Unknown),
                "every hour of {of:?} has an end: {hours:?}"
            );
            assert_eq!(counts(hours), counts(self.periods(of, Interval::H1)), "hours of {of:?}");
            let Subject::Token(token) = of else { continue };
            let mut naive = Market::default();
            self.trades.get(token).into_iter().flatten().for_each(|trade| naive.trade(trade));
            let traded = |market: &Market| {
                let side = |side: &swaptide::domain::market::Side| (side.volume0, side.trades, side.traders);
                let candles = market.candles(Interval::M1, 0, u64::MAX);
                candles.iter().map(|c| (c.start, side(&c.buys), side(&c.sells))).collect::<Vec<_>>()
            };
            assert_eq!(traded(market), traded(&naive), "minutes of {of:?}");
            // What was told when only some were followed stays, and so does what had no price then: but nobody goes without for good.
            let (ours, naive) = (prices(&market.kept().series), prices(&naive.kept().series));
            assert!(ours > 0 || naive == 0, "{of:?} has {naive} candles with a price");
        }
    }

    /// Some tokens have a price, or this proves little. How many candles with one.
    pub(crate) fn priced(&self) -> u64 {
        let known = |trade: &&Trade| trade.price != RawPrice::Unknown;
        self.trades.values().flatten().filter(known).count() as u64
    }
}
