//! Prices from outside the chain: which sources there are, and who runs them.

use std::{collections::BTreeSet, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{Exit, now_unix_ms};
use crate::{
    actors::feed::{self, Feed, FeedDeps},
    config::{Config, FeedConfig, Pair},
    domain::feed::Rules,
    feeds::{self, PriceSource},
    store::prices::{PairSpec, Prices, SourceSpec},
    telemetry::{Board, Metrics},
};

/// Opened, and not yet started.
pub(super) struct Feeds {
    prices: Arc<Prices>,
    sources: Vec<(FeedConfig, Box<dyn PriceSource>)>,
}

impl Feeds {
    pub(super) fn open(config: &Config) -> Result<Self, Exit> {
        let told = |feed: &FeedConfig, why: String| Exit(format!("feed \"{}\": {why}", feed.name()));
        let open = |feed: &FeedConfig| Ok((feed.clone(), feeds::open(feed).map_err(|why| told(feed, why))?));
        let sources = config.feed.iter().map(open).collect::<Result<_, Exit>>()?;
        Ok(Self { prices: Arc::new(Prices::new(pairs(config))), sources })
    }

    pub(super) fn prices(&self) -> Arc<Prices> {
        self.prices.clone()
    }

    /// Actors on the current `LocalSet`; they end with `stop`.
    pub(super) fn start(self, metrics: &Metrics, board: &Board, stop: &CancellationToken) -> Vec<actix::Addr<Feed>> {
        let prices = self.prices;
        let start = |(config, source): (FeedConfig, Box<dyn PriceSource>)| {
            let id = prices.source(&config.pair.to_string(), config.source.name())?;
            Some(feed::start(FeedDeps {
                name: config.name(),
                source,
                id,
                prices: prices.clone(),
                metrics: metrics.clone(),
                board: board.clone(),
                stop: stop.clone(),
                now_unix_ms,
            }))
        };
        self.sources.into_iter().filter_map(start).collect()
    }
}

/// In the order of the configuration.
fn pairs(config: &Config) -> Vec<PairSpec> {
    let rules = Rules {
        min_sources: config.prices.min_sources,
        max_deviation_bps: config.prices.max_deviation_bps,
        halt_after_ms: config.prices.halt_after_ms,
    };
    let mut seen: BTreeSet<&Pair> = BTreeSet::new();
    let first = config.feed.iter().filter(|feed| seen.insert(&feed.pair));
    first
        .map(|first| {
            let of_pair = || config.feed.iter().filter(|feed| feed.pair == first.pair);
            let source =
                |feed: &FeedConfig| SourceSpec { name: feed.source.name().to_owned(), stale_after_ms: feed.stale_after_ms() };
            let tokens: BTreeSet<_> = of_pair().filter_map(|feed| feed.token_on(&config.chain)).collect();
            PairSpec {
                name: first.pair.to_string(),
                rules,
                sources: of_pair().map(source).collect(),
                tokens: tokens.into_iter().collect(),
            }
        })
        .collect()
}
