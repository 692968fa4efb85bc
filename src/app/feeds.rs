//! Prices from outside the chain: which sources there are, and who runs them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Exit, Shared, now_unix_ms};
use crate::{
    actors::{
        feed::{self, Feed, FeedDeps},
        oracle::{self, Oracle, OracleDeps},
        recorder::{self, Recorder, RecorderDeps},
    },
    config::{Config, FeedConfig, Pair},
    domain::feed::Rules,
    feeds::{self, PriceSource},
    store::{
        Live,
        prices::{PairSpec, Prices, SourceSpec},
    },
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
        let mut sources = Vec::new();
        for feed in &config.feed {
            if let Some(source) = feeds::open(feed).map_err(|why| told(feed, why))? {
                sources.push((feed.clone(), source));
            }
        }
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

/// How often a proxy is asked whether its aggregator is another one, unless `poll_ms` says so.
const RESOLVE_EVERY_MS: u64 = 60_000;

/// Feeds that are on a chain: they live as long as the tree that follows it.
pub(super) fn start_oracles(
    config: &Config,
    shared: &Shared,
    lives: &[Arc<Live>],
    stop: &CancellationToken,
) -> Vec<actix::Addr<Oracle>> {
    let start = |feed: &FeedConfig| {
        let (chain, proxy) = feed.proxy_on(&config.chain)?;
        let at = config.chain.iter().position(|c| c.id == chain)?;
        Some(oracle::start(OracleDeps {
            name: feed.name(),
            proxy,
            resolve_every: Duration::from_millis(feed.poll_ms.unwrap_or(RESOLVE_EVERY_MS)),
            source: shared.nodes.get(at)?.source.clone(),
            live: lives.get(at)?.clone(),
            id: shared.prices.source(&feed.pair.to_string(), feed.source.name())?,
            prices: shared.prices.clone(),
            metrics: shared.metrics.clone(),
            board: shared.board.clone(),
            stop: stop.clone(),
            now_unix_ms,
        }))
    };
    config.feed.iter().filter_map(start).collect()
}

/// What feeds say is recorded once a minute.
pub(super) fn record(shared: &Shared, stop: &CancellationToken) -> Option<actix::Addr<Recorder>> {
    let keep = shared.keep.clone()?;
    Some(recorder::start(RecorderDeps {
        keep,
        prices: shared.prices.clone(),
        metrics: shared.metrics.clone(),
        board: shared.board.clone(),
        stop: stop.clone(),
        now_unix_ms,
    }))
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
