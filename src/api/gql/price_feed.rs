//! Prices as they move, and feeds as their standing changes.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use alloy::primitives::Address;
use async_graphql::{Result, SimpleObject};
use futures_util::{
    future::{BoxFuture, select_all},
    stream::{self, Stream},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    core::Core,
    error::ApiError,
    frame::FrameKind,
    link::{Fact, Link, Nature, Opening},
    price::{Feed, FeedStatus, TokenKey, TokenPrice, distinct, prices_of},
};
use crate::{
    api::in_a,
    domain::{ChainId, fixed::Fixed18},
};

/// A price ages without a message: so often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A busy exchange has dozens of ticks a second.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
const THROTTLE_MAX_MS: i32 = 60_000;

/// Prices that moved.
#[derive(SimpleObject)]
pub(crate) struct PriceEvent {
    /// Counts the frames. Since the last SNAPSHOT, a number left out is a frame lost; after that the count may go on anywhere.
    seq: u64,
    /// SNAPSHOT: all tokens. UPDATE: those whose price or status changed.
    kind: FrameKind,
    /// The prices.
    data: Vec<TokenPrice>,
}

/// Feeds whose standing changed.
#[derive(SimpleObject)]
pub(crate) struct FeedEvent {
    /// Counts the frames. Since the last SNAPSHOT, a number left out is a frame lost; after that the count may go on anywhere.
    seq: u64,
    /// SNAPSHOT: all feeds. UPDATE: those whose status changed, or that left a source out or took it back.
    kind: FrameKind,
    /// The feeds.
    data: Vec<Feed>,
}

/// What a subscriber to prices asked for.
pub(super) struct Wanted {
    tokens: Vec<(ChainId, Address)>,
    min_change_bps: u64,
    throttle: Duration,
}

impl Wanted {
    pub(super) fn new(
        core: &Core,
        tokens: &[TokenKey],
        min_change_bps: i32,
        throttle_ms: i32,
    ) -> std::result::Result<Self, ApiError> {
        distinct(core, tokens)?;
        let min_change_bps = u64::try_from(min_change_bps)
            .map_err(|_| ApiError::input("`minChangeBps` is 0 or more: parts of 10,000 by which a price must have moved"))?;
        if !(0..=THROTTLE_MAX_MS).contains(&throttle_ms) {
            return Err(ApiError::input(format!("`throttleMs` is 0 to {THROTTLE_MAX_MS}")));
        }
        let on = |key: &TokenKey| Ok::<_, ApiError>((core.reader.live(key.chain_id)?.chain, key.address.0));
        let tokens = tokens.iter().map(on).collect::<std::result::Result<_, _>>()?;
        Ok(Self { tokens, min_change_bps, throttle: Duration::from_millis(u64::try_from(throttle_ms).unwrap_or(0)) })
    }

    /// Tokens of one chain share one epoch, and what was found out for one of them.
    fn all(&self, core: &Core) -> Vec<TokenPrice> {
        let now_ms = (core.now_unix_ms)();
        let chains: BTreeSet<ChainId> = self.tokens.iter().map(|(chain, _)| *chain).collect();
        let mut found: HashMap<(ChainId, Address), TokenPrice> = HashMap::new();
        for pin in chains.into_iter().filter_map(|chain| core.reader.pin(Some(chain)).ok()) {
            let tokens: Vec<Address> =
                self.tokens.iter().filter(|(chain, _)| *chain == pin.chain()).map(|(_, token)| *token).collect();
            let prices = prices_of(core.reader.prices(), &pin, &tokens, now_ms);
            found.extend(tokens.iter().map(|token| (pin.chain(), *token)).zip(prices));
        }
        self.tokens.iter().filter_map(|key| found.remove(key)).collect()
    }

    /// Something outside the chain says what one of them costs.
    fn is_fed(&self, core: &Core) -> bool {
        let now_ms = (core.now_unix_ms)();
        self.tokens.iter().any(|(chain, token)| core.reader.prices().of_token(*chain, token, now_ms).is_some())
    }

    /// The newest block of each chain.
    fn epochs(&self, core: &Core) -> Vec<watch::Receiver<u64>> {
        let chains: BTreeSet<ChainId> = self.tokens.iter().map(|(chain, _)| *chain).collect();
        chains.into_iter().filter_map(|chain| Some(core.reader.live(Some(chain)).ok()?.watch_epoch())).collect()
    }

    /// Against what the subscriber was told last.
    fn moved(&self, told: &Told, now: &TokenPrice) -> bool {
        let (status, exact) = told;
        let apart = match (exact, now.exact()) {
            (Some(before), Some(after)) => {
                before.apart_bps(after) >= self.min_change_bps.max(1) || (self.min_change_bps == 0 && *before != after)
            }
            (None, None) => false,
            _ => true,
        };
        apart || *status != now.status
    }
}

/// What makes it worth to look.
struct Watch {
    changes: Option<watch::Receiver<u64>>,
    epochs: Vec<watch::Receiver<u64>>,
}

impl Watch {
    /// Something new, or something grew old; and not with every tick of every exchange.
    async fn news(&mut self) {
        let blocks = self.epochs.iter_mut().map(|epoch| Box::pin(epoch.changed()) as BoxFuture<'_, _>);
        let mut all: Vec<_> = blocks.collect();
        all.extend(self.changes.iter_mut().map(|changes| Box::pin(changes.changed()) as BoxFuture<'_, _>));
        if all.is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
            return;
        }
        let _ = tokio::time::timeout(LOOK_AGAIN, select_all(all)).await;
        self.epochs.iter_mut().for_each(watch::Receiver::mark_unchanged);
        self.changes.iter_mut().for_each(watch::Receiver::mark_unchanged);
    }
}

type All<T> = Box<dyn Fn(&Core) -> Vec<T> + Send + Sync>;
type Moved<T, B> = Box<dyn Fn(&B, &T) -> bool + Send + Sync>;

/// What is known of several things, told as a whole to whoever begins, and then only what moved.
struct Several<T, B> {
    core: Arc<Core>,
    link: Arc<Link>,
    watch: Watch,
    /// At most one frame in this time.
    throttle: Duration,
    quiet_until: Instant,
    /// Each as it was told last.
    before: Option<Vec<B>>,
    seq: u64,
    all: All<T>,
    brief: fn(&T) -> B,
    moved: Moved<T, B>,
}

impl<T, B> Several<T, B> {
    async fn next(&mut self) -> (u64, FrameKind, Vec<T>) {
        if self.before.is_none() {
            let data = (self.all)(&self.core);
            self.before = Some(data.iter().map(self.brief).collect());
            return self.say(FrameKind::Snapshot, data, false);
        }
        loop {
            // Newcomers put nothing off: the time of the next look stands.
            let quiet_until = self.quiet_until;
            let reason = async {
                tokio::select! {
                    () = self.link.called() => true,
                    () = async {
                        sleep_until(quiet_until).await;
                        self.watch.news().await;
                    } => false,
                }
            };
            if self.link.rest(reason).await {
                let data = (self.all)(&self.core);
                return self.say(FrameKind::Snapshot, data, true);
            }
            self.quiet_until = in_a(LOOK_PAUSE);
            let data = self.moved();
            if !data.is_empty() {
                return self.say(FrameKind::Update, data, false);
            }
        }
    }

    fn moved(&mut self) -> Vec<T> {
        let mut all = (self.all)(&self.core).into_iter().zip(self.before.iter_mut().flatten()).collect::<Vec<_>>();
        all.retain(|(now, before)| (self.moved)(before, now));
        let told = |(now, before): (T, &mut B)| {
            *before = (self.brief)(&now);
            now
        };
        all.into_iter().map(told).collect()
    }

    fn say(&mut self, kind: FrameKind, data: Vec<T>, only: bool) -> (u64, FrameKind, Vec<T>) {
        self.core.metrics.frames_made_total.inc();
        let opening = (kind == FrameKind::Snapshot).then_some(Opening { only, ..Opening::WHOLE });
        self.link.tell(Fact { nature: Nature::State { replaces: None }, opening, ..Fact::default() });
        let seq = self.seq;
        if !only {
            self.seq = seq.saturating_add(1);
            self.quiet_until = in_a(self.throttle.max(LOOK_PAUSE));
        }
        (seq, kind, data)
    }
}

type Told = (FeedStatus, Option<Fixed18>);

fn told(price: &TokenPrice) -> Told {
    (price.status, price.exact())
}

/// A reader that is slow gets the newest prices, not all of them: nothing piles up for it.
pub(super) fn on_prices(core: Arc<Core>, link: Arc<Link>, wanted: Wanted) -> impl Stream<Item = Result<PriceEvent>> + use<> {
    let changes = wanted.is_fed(&core).then(|| core.reader.prices().watch());
    let watch = Watch { changes, epochs: wanted.epochs(&core) };
    let (throttle, wanted) = (wanted.throttle, Arc::new(wanted));
    let moving = wanted.clone();
    let prices = Several {
        core,
        link,
        watch,
        throttle,
        quiet_until: Instant::now(),
        before: None,
        seq: 0,
        all: Box::new(move |core: &Core| wanted.all(core)),
        brief: told,
        moved: Box::new(move |before: &Told, now: &TokenPrice| moving.moved(before, now)),
    };
    stream::unfold(prices, |mut prices| async move {
        let (seq, kind, data) = prices.next().await;
        Some((Ok(PriceEvent { seq, kind, data }), prices))
    })
}

pub(super) fn on_feed_status(core: Arc<Core>, link: Arc<Link>) -> impl Stream<Item = Result<FeedEvent>> + use<> {
    let watch = Watch { changes: Some(core.reader.prices().watch()), epochs: Vec::new() };
    let feeds = Several {
        core,
        link,
        watch,
        throttle: Duration::ZERO,
        quiet_until: Instant::now(),
        before: None,
        seq: 0,
        all: Box::new(|core: &Core| core.reader.prices().all((core.now_unix_ms)()).iter().map(Feed::new).collect()),
        brief: Feed::clone,
        moved: Box::new(|before: &Feed, now: &Feed| before.standing() != now.standing()),
    };
    stream::unfold(feeds, |mut feeds| async move {
        let (seq, kind, data) = feeds.next().await;
        Some((Ok(FeedEvent { seq, kind, data }), feeds))
    })
}
