//! The read model of prices from outside the chain: what each source says, and the verdict over each pair.
//!
//! Verdicts are made when they are asked for, because they age by themselves. What is absent: connections, and blocks.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use alloy::primitives::Address;
use tokio::sync::watch;

use crate::domain::{
    ChainId,
    feed::{FeedStatus, Good, Millis, Refusal, Rules, SourceState, Tick, Verdict, judge},
};

const TROUBLE_MAX: usize = 200;

/// Names a source within [`Prices`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceId {
    pair: usize,
    source: usize,
}

/// One source of a pair, as it was configured.
#[derive(Debug, Clone)]
pub struct SourceSpec {
    pub name: String,
    pub stale_after_ms: Millis,
}

/// A pair with its sources.
#[derive(Debug, Clone)]
pub struct PairSpec {
    /// `ETH/USD`.
    pub name: String,
    pub rules: Rules,
    pub sources: Vec<SourceSpec>,
    /// Tokens whose price this is.
    pub tokens: Vec<(ChainId, Address)>,
}

/// How a source is doing, beside what it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    pub connected: bool,
    /// Ticks that were taken.
    pub ticks: u64,
    /// What could not be taken.
    pub refused: u64,
    /// The last trouble: a lost connection, a tick that was refused.
    pub trouble: Option<String>,
}

/// A pair at one moment.
#[derive(Debug, Clone)]
pub struct PairReport {
    pub pair: String,
    pub verdict: Verdict,
    /// Name and health, in the order of `verdict.sources`.
    pub sources: Vec<(String, Health)>,
}

struct Source {
    spec: SourceSpec,
    state: SourceState,
    health: Health,
}

struct Book {
    sources: Vec<Source>,
    last_good: Option<Good>,
}

struct Pair {
    spec: PairSpec,
    book: Mutex<Book>,
}

/// Shared by everybody; each pair has a lock of its own, held for a few moves.
pub struct Prices {
    pairs: Vec<Pair>,
    tokens: BTreeMap<(ChainId, Address), usize>,
    changes: watch::Sender<u64>,
}

impl Prices {
    #[must_use]
    pub fn new(specs: Vec<PairSpec>) -> Self {
        let bound = |(i, spec): (usize, &PairSpec)| spec.tokens.iter().map(move |token| (*token, i)).collect::<Vec<_>>();
        let tokens = specs.iter().enumerate().flat_map(bound).collect();
        let pair = |spec: PairSpec| {
            let source = |spec: &SourceSpec| Source {
                spec: spec.clone(),
                state: SourceState::new(spec.stale_after_ms),
                health: Health::default(),
            };
            let book = Book { sources: spec.sources.iter().map(source).collect(), last_good: None };
            Pair { spec, book: Mutex::new(book) }
        };
        Self { pairs: specs.into_iter().map(pair).collect(), tokens, changes: watch::Sender::new(0) }
    }

    /// The source of this name, for whoever runs it.
    #[must_use]
    pub fn source(&self, pair: &str, source: &str) -> Option<SourceId> {
        let at = self.pairs.iter().position(|p| p.spec.name == pair)?;
        let source = self.pairs.get(at)?.spec.sources.iter().position(|s| s.name == source)?;
        Some(SourceId { pair: at, source })
    }

    /// Moves whenever some source said something new, or its health changed.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes a tick; what is refused is counted and told. `true`: the source has a new price.
    pub fn hear(&self, id: SourceId, tick: Tick, now_ms: Millis) -> Result<bool, Refusal> {
        let outcome = self.with(id, |source| {
            let outcome = source.state.hear(tick, now_ms);
            match &outcome {
                Ok(true) => source.health.ticks = source.health.ticks.saturating_add(1),
                Ok(false) => {}
                Err(refusal) => refused(&mut source.health, &refusal.to_string()),
            }
            outcome
        });
        let outcome = outcome.unwrap_or(Ok(false));
        if outcome == Ok(true) {
            self.remember(id, now_ms);
        }
        if outcome != Ok(false) {
            self.changed();
        }
        outcome
    }

    /// Takes what a chain says at its head, and how old that is by the chain's clock; `Err`: why it has no price there.
    pub fn set(&self, id: SourceId, said: Result<(Tick, Millis), String>, now_ms: Millis) {
        let tick = said.as_ref().ok().map(|(tick, _)| *tick);
        let is_new = self.with(id, |source| {
            let before = source.state.tick();
            source.state.set(said.as_ref().ok().copied(), now_ms);
            source.health.connected = true;
            if before != tick {
                source.health.ticks = source.health.ticks.saturating_add(u64::from(tick.is_some()));
            }
            if let Err(why) = &said {
                refused(&mut source.health, why);
            }
            before != tick
        });
        if is_new == Some(true) {
            self.remember(id, now_ms);
        }
        if is_new == Some(true) || said.is_err() {
            self.changed();
        }
    }

    /// Something came that is no price.
    pub fn alive(&self, id: SourceId, now_ms: Millis) {
        self.with(id, |source| source.state.alive(now_ms));
    }

    /// Something came that makes no sense.
    pub fn garbage(&self, id: SourceId, why: &str) {
        self.with(id, |source| refused(&mut source.health, why));
        self.changed();
    }

    /// An actor begins with it: what became of the one before does not count.
    pub fn begin(&self, id: SourceId) {
        self.with(id, |source| source.state.set_faulted(false));
    }

    pub fn connected(&self, id: SourceId) {
        self.with(id, |source| source.health.connected = true);
        self.changed();
    }

    /// The connection is gone, or there is none.
    pub fn disconnected(&self, id: SourceId, why: &str) {
        self.with(id, |source| {
            source.health.connected = false;
            source.health.trouble = Some(short(why));
        });
        self.changed();
    }

    /// Its actor was given up; the log says why.
    pub fn faulted(&self, id: SourceId) {
        self.with(id, |source| source.state.set_faulted(true));
        self.disconnected(id, "it kept failing and was given up");
    }

    /// Every pair, in the order of the configuration.
    #[must_use]
    pub fn all(&self, now_ms: Millis) -> Vec<PairReport> {
        self.pairs.iter().map(|pair| report(pair, now_ms)).collect()
    }

    /// The pair that a token is bound to.
    #[must_use]
    pub fn of_token(&self, chain: ChainId, token: &Address, now_ms: Millis) -> Option<PairReport> {
        let at = self.tokens.get(&(chain, *token))?;
        self.pairs.get(*at).map(|pair| report(pair, now_ms))
    }

    /// Its name: what its prices are recorded under.
    #[must_use]
    pub fn pair_of(&self, chain: ChainId, token: &Address) -> Option<&str> {
        let at = self.tokens.get(&(chain, *token))?;
        self.pairs.get(*at).map(|pair| pair.spec.name.as_str())
    }

    /// How long a price was good is known where the next one is looked at: with each report, and with each tick.
    fn remember(&self, id: SourceId, now_ms: Millis) {
        if let Some(pair) = self.pairs.get(id.pair) {
            verdict(pair, &mut locked(pair), now_ms);
        }
    }

    fn with<T>(&self, id: SourceId, work: impl FnOnce(&mut Source) -> T) -> Option<T> {
        let pair = self.pairs.get(id.pair)?;
        locked(pair).sources.get_mut(id.source).map(work)
    }

    fn changed(&self) {
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }
}

fn refused(health: &mut Health, why: &str) {
    health.refused = health.refused.saturating_add(1);
    health.trouble = Some(short(why));
}

/// Texts of strangers are kept as short as people read them.
fn short(why: &str) -> String {
    why.chars().take(TROUBLE_MAX).collect()
}

fn locked(pair: &Pair) -> MutexGuard<'_, Book> {
    // A panic while it was held cannot leave it half-changed: every critical section is a few moves.
    pair.book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The verdict now, with what was good until the oldest of its sources went stale.
fn verdict(pair: &Pair, book: &mut Book, now_ms: Millis) -> Verdict {
    let states: Vec<&SourceState> = book.sources.iter().map(|s| &s.state).collect();
    let verdict = judge(&pair.spec.rules, &states, book.last_good, now_ms);
    let is_good = matches!(verdict.status, FeedStatus::Fresh | FeedStatus::Degraded);
    if let (Some(value), Some(updated_ms), true) = (verdict.value, verdict.updated_ms, is_good) {
        book.last_good = Some(Good { value, updated_ms, good_ms: now_ms });
    }
    verdict
}

fn report(pair: &Pair, now_ms: Millis) -> PairReport {
    let mut book = locked(pair);
    let sources = book.sources.iter().map(|s| (s.spec.name.clone(), s.health.clone())).collect();
    PairReport { pair: pair.spec.name.clone(), verdict: verdict(pair, &mut book, now_ms), sources }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        feed::{Exclusion, FeedStatus},
        fixed::Fixed18,
    };

    const RULES: Rules = Rules { min_sources: 1, max_deviation_bps: 100, halt_after_ms: 10_000 };
    const TOKEN: Address = Address::repeat_byte(7);

    fn prices() -> Prices {
        let source = |name: &str| SourceSpec { name: name.to_owned(), stale_after_ms: 1_000 };
        let sources = vec![source("binance"), source("coinbase")];
        Prices::new(vec![PairSpec { name: "ETH/USD".to_owned(), rules: RULES, sources, tokens: vec![(1, TOKEN)] }])
    }

    fn tick(text: &str, at_ms: Millis) -> Tick {
        Tick { price: Fixed18::parse(text).unwrap(), at_ms, id: None }
    }

    #[test]
    fn a_price_ages_by_itself_and_nothing_old_is_served_as_new() {
        let prices = prices();
        let [binance, coinbase] = ["binance", "coinbase"].map(|name| prices.source("ETH/USD", name).unwrap());
        let watch = prices.watch();
        let at = |now| prices.of_token(1, &TOKEN, now).unwrap().verdict;
        assert_eq!((at(0).status, at(0).value), (FeedStatus::Halted, None));
        assert_eq!(prices.hear(binance, tick("1850", 5_000), 5_000), Ok(true));
        assert!(watch.has_changed().unwrap());
        assert_eq!(at(5_000).status, FeedStatus::Degraded, "one of two");
        assert_eq!(prices.hear(coinbase, tick("1851", 5_500), 5_500), Ok(true));
        assert_eq!((at(5_500).status, at(5_500).value), (FeedStatus::Fresh, Some(Fixed18::parse("1850.5").unwrap())));
        assert_eq!((at(6_001).status, at(6_001).value), (FeedStatus::Degraded, Some(Fixed18::parse("1851").unwrap())));
        assert_eq!((at(6_501).status, at(6_501).value), (FeedStatus::Stale, Some(Fixed18::parse("1851").unwrap())));
        assert_eq!(at(6_501).updated_ms, Some(5_500));
        // From when it was seen to be good last: 6.001 s.
        assert_eq!(at(16_001).status, FeedStatus::Stale);
        assert_eq!((at(16_002).status, at(16_002).value, at(16_002).updated_ms), (FeedStatus::Halted, None, None));
        assert_eq!(prices.of_token(2, &TOKEN, 0).map(|r| r.pair), None, "another chain's token");
    }

    #[test]
    fn trouble_is_counted_and_told() {
        let prices = prices();
        let binance = prices.source("ETH/USD", "binance").unwrap();
        prices.connected(binance);
        prices.garbage(binance, "no JSON");
        assert!(prices.hear(binance, tick("1850", 1), 100_000).is_err());
        let report = &prices.all(100_000)[0];
        let health = &report.sources[0].1;
        assert_eq!((health.connected, health.ticks, health.refused), (true, 0, 2));
        assert_eq!(health.trouble.as_deref(), Some("it is 99999 ms old"));
        prices.faulted(binance);
        let report = &prices.all(100_000)[0];
        assert_eq!(report.verdict.sources[0].excluded_by, Some(Exclusion::Faulted));
        assert!(!report.sources[0].1.connected);
        prices.begin(binance);
        assert_eq!(prices.all(100_000)[0].verdict.sources[0].excluded_by, Some(Exclusion::NoData));
        prices.garbage(binance, &"x".repeat(1_000));
        assert_eq!(prices.all(1)[0].sources[0].1.trouble.as_ref().map(String::len), Some(TROUBLE_MAX));
        assert_eq!(prices.source("ETH/USD", "kraken"), None);
    }
}
