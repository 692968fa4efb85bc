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
use tokio::sync::watch;

use super::{
    core::Core,
    error::ApiError,
    frame::FrameKind,
    price::{Feed, FeedStatus, TokenKey, TokenPrice, distinct, prices_of},
};
use crate::domain::{ChainId, fixed::Fixed18};

/// A price ages without a message: so often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A busy exchange has dozens of ticks a second.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
const THROTTLE_MAX_MS: i32 = 60_000;

/// Prices that moved.
#[derive(SimpleObject)]
pub(crate) struct PriceEvent {
    /// Counts the frames of this subscription.
    seq: u64,
    /// SNAPSHOT: all tokens. UPDATE: those whose price or status changed.
    kind: FrameKind,
    /// The prices.
    data: Vec<TokenPrice>,
}

/// Feeds whose standing changed.
#[derive(SimpleObject)]
pub(crate) struct FeedEvent {
    /// Counts the frames of this subscription.
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

/// Something new, or something grew old; and not with every tick of every exchange.
async fn next_look(changes: &mut Option<watch::Receiver<u64>>, epochs: &mut [watch::Receiver<u64>]) {
    tokio::time::sleep(LOOK_PAUSE).await;
    let blocks = epochs.iter_mut().map(|epoch| Box::pin(epoch.changed()) as BoxFuture<'_, _>);
    let mut all: Vec<_> = blocks.collect();
    all.extend(changes.iter_mut().map(|changes| Box::pin(changes.changed()) as BoxFuture<'_, _>));
    let _ = tokio::time::timeout(LOOK_AGAIN, select_all(all)).await;
    epochs.iter_mut().for_each(watch::Receiver::mark_unchanged);
    changes.iter_mut().for_each(watch::Receiver::mark_unchanged);
}

type Told = (FeedStatus, Option<Fixed18>);

fn told(price: &TokenPrice) -> Told {
    (price.status, price.exact())
}

/// A reader that is slow gets the newest prices, not all of them: nothing piles up for it.
pub(super) fn on_prices(core: Arc<Core>, wanted: Wanted) -> impl Stream<Item = Result<PriceEvent>> + use<> {
    let changes = wanted.is_fed(&core).then(|| core.reader.prices().watch());
    let epochs = wanted.epochs(&core);
    let first: Option<Vec<Told>> = None;
    stream::unfold((core, wanted, (changes, epochs), first, 0_u64), |(core, wanted, mut watched, before, seq)| async move {
        let Some(mut before) = before else {
            let data = wanted.all(&core);
            let before = data.iter().map(told).collect();
            core.metrics.frames_sent_total.inc();
            return Some((
                Ok(PriceEvent { seq, kind: FrameKind::Snapshot, data }),
                (core, wanted, watched, Some(before), seq.saturating_add(1)),
            ));
        };
        tokio::time::sleep(wanted.throttle).await;
        loop {
            next_look(&mut watched.0, &mut watched.1).await;
            let mut data = wanted.all(&core);
            let mut keep = data
                .iter()
                .zip(&mut before)
                .map(|(now, before)| {
                    let moved = wanted.moved(before, now);
                    if moved {
                        *before = told(now);
                    }
                    moved
                })
                .collect::<Vec<_>>()
                .into_iter();
            data.retain(|_| keep.next().unwrap_or(false));
            if !data.is_empty() {
                core.metrics.frames_sent_total.inc();
                return Some((
                    Ok(PriceEvent { seq, kind: FrameKind::Update, data }),
                    (core, wanted, watched, Some(before), seq.saturating_add(1)),
                ));
            }
        }
    })
}

pub(super) fn on_feed_status(core: Arc<Core>) -> impl Stream<Item = Result<FeedEvent>> + use<> {
    let changes = Some(core.reader.prices().watch());
    let first: Option<Vec<Feed>> = None;
    stream::unfold((core, changes, first, 0_u64), |(core, mut changes, before, seq)| async move {
        let all = |core: &Core| -> Vec<Feed> { core.reader.prices().all((core.now_unix_ms)()).iter().map(Feed::new).collect() };
        let Some(before) = before else {
            let data = all(&core);
            core.metrics.frames_sent_total.inc();
            return Some((
                Ok(FeedEvent { seq, kind: FrameKind::Snapshot, data: data.clone() }),
                (core, changes, Some(data), seq.saturating_add(1)),
            ));
        };
        loop {
            next_look(&mut changes, &mut []).await;
            let now = all(&core);
            let data: Vec<Feed> = now
                .iter()
                .zip(&before)
                .filter(|(now, before)| now.standing() != before.standing())
                .map(|(now, _)| now.clone())
                .collect();
            if !data.is_empty() {
                core.metrics.frames_sent_total.inc();
                return Some((
                    Ok(FeedEvent { seq, kind: FrameKind::Update, data }),
                    (core, changes, Some(now), seq.saturating_add(1)),
                ));
            }
        }
    })
}
