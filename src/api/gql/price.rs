//! Prices from outside the chain, each with where it comes from.

use std::{collections::HashSet, time::Duration};

use alloy::primitives::{Address, U256};
use async_graphql::{Context, Enum, InputObject, Object, Result, SimpleObject};
use futures_util::stream::{self, Stream};
use tokio::sync::watch;

use super::{
    block::BlockRef,
    core::{Core, core},
    error::ApiError,
    frame::FrameKind,
    pins::pin,
    scalars::{AddressScalar, BigDecimal, Timestamp},
};
use crate::{
    domain::{
        ChainId, feed,
        fixed::{self, Fixed18},
        price,
    },
    store::prices::{Health, PairReport, Prices},
};

/// Tokens of one question.
const TOKENS_MAX: usize = 100;
/// A price ages without a message: so often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A busy exchange has dozens of ticks a second.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
const THROTTLE_MAX_MS: i32 = 60_000;

/// A token of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, InputObject)]
pub(crate) struct TokenKey {
    /// EIP-155 chain id; may be left out where one chain is configured.
    chain_id: Option<u64>,
    /// The token's address, any case.
    address: AddressScalar,
}

/// What a price is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "feed::FeedStatus")]
pub(crate) enum FeedStatus {
    /// Every source is fresh, and they agree.
    Fresh,
    /// Too few sources are fresh: the value is the last good one, of `updatedAt`.
    Stale,
    /// Enough sources are fresh and agree; some are left out.
    Degraded,
    /// There is no value: too few sources for too long, or they contradict each other, or there is none at all.
    Halted,
}

/// Why a source has no part in a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "feed::Exclusion")]
pub(crate) enum ExclusionReason {
    /// It has not said anything yet that could be used.
    NoData,
    /// What it said last is too old.
    Stale,
    /// It goes on talking, and repeats the same trade.
    Frozen,
    /// It is too far from the median of all.
    Deviates,
    /// It kept failing and was given up.
    Faulted,
}

/// One source of a price.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
pub(crate) struct PriceSource {
    /// `binance`, `coinbase`, `coingecko`, `chainlink`.
    name: String,
    /// What it said last; null where it said nothing yet.
    value: Option<BigDecimal>,
    /// How old that is, by its own clock or by ours, whichever says older. Milliseconds.
    age_ms: Option<u64>,
    /// Its part in the price, 0 to 1. The price is the median: those that are not in the middle guard it, and weigh nothing.
    weight: BigDecimal,
    /// Why it was left out; null where it was not.
    excluded_by: Option<ExclusionReason>,
    /// Whether there is a connection to it.
    connected: bool,
    /// How many prices were taken from it since the start.
    ticks: u64,
    /// How many of its messages could not be used: garbage, zero, negative, of another time.
    refused: u64,
    /// The last trouble with it.
    trouble: Option<String>,
}

/// A pair that is fed from outside the chain.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
pub(crate) struct Feed {
    /// `ETH/USD`: what one ETH costs in dollars.
    pair: String,
    /// The median of the sources that can be believed now; null where there are too few.
    value: Option<BigDecimal>,
    /// What it is worth.
    status: FeedStatus,
    /// The time of the oldest price that `value` stands on.
    updated_at: Option<Timestamp>,
    /// Every source, in the order of the configuration.
    sources: Vec<PriceSource>,
}

impl Feed {
    fn new(report: &PairReport) -> Self {
        let verdict = &report.verdict;
        let sources =
            report.sources.iter().zip(&verdict.sources).map(|((name, health), said)| source(name, health, said)).collect();
        Self {
            pair: report.pair.clone(),
            value: dollars(verdict.value).map(BigDecimal),
            status: verdict.status.into(),
            updated_at: verdict.updated_ms.map(|ms| Timestamp(ms / 1_000)),
            sources,
        }
    }

    /// What a listener of states wants to hear of: not each price.
    fn standing(&self) -> (FeedStatus, Vec<(Option<ExclusionReason>, bool)>) {
        (self.status, self.sources.iter().map(|s| (s.excluded_by, s.connected)).collect())
    }
}

fn source(name: &str, health: &Health, said: &feed::SourceReport) -> PriceSource {
    PriceSource {
        name: name.to_owned(),
        value: dollars(said.value).map(BigDecimal),
        age_ms: said.age_ms,
        weight: BigDecimal(weight(said)),
        excluded_by: said.excluded_by.map(Into::into),
        connected: health.connected,
        ticks: health.ticks,
        refused: health.refused,
        trouble: health.trouble.clone(),
    }
}

/// A source's part in a price: `0`, `0.5`, `1`.
pub(in crate::api) fn weight(said: &feed::SourceReport) -> String {
    match said.weight {
        0 => "0".to_owned(),
        feed::WEIGHT_ONE => "1".to_owned(),
        part => format!("0.{part:06}").trim_end_matches('0').to_owned(),
    }
}

/// Without a loss where it has at most 34 digits.
pub(in crate::api) fn dollars(price: Option<Fixed18>) -> Option<String> {
    price::unsigned_amount(U256::from(price?.scaled()), fixed::PLACES)
}

/// What a token costs in dollars.
pub(crate) struct TokenPrice {
    chain: ChainId,
    token: Address,
    as_of: Option<BlockRef>,
    feed: Option<Feed>,
    exact: Option<Fixed18>,
}

/// What a token costs in dollars, and who says so. A token that no feed is bound to has no value: null, never 0.
#[Object]
impl TokenPrice {
    /// EIP-155 id of the token's chain.
    async fn chain_id(&self) -> u64 {
        self.chain
    }

    /// The token's address.
    async fn token(&self) -> AddressScalar {
        AddressScalar(self.token)
    }

    /// Dollars for one token; null where nobody can be believed.
    async fn value(&self) -> Option<&BigDecimal> {
        self.feed.as_ref()?.value.as_ref()
    }

    /// What it is worth.
    async fn status(&self) -> FeedStatus {
        self.feed.as_ref().map_or(FeedStatus::Halted, |feed| feed.status)
    }

    /// The newest block of the chain when this was said. The price itself is of `updatedAt`.
    async fn as_of(&self) -> Option<BlockRef> {
        self.as_of
    }

    /// The time of the oldest price that `value` stands on.
    async fn updated_at(&self) -> Option<Timestamp> {
        self.feed.as_ref()?.updated_at
    }

    /// The pair that it is read from, `ETH/USD`; null where the token is bound to none.
    async fn pair(&self) -> Option<&str> {
        self.feed.as_ref().map(|feed| feed.pair.as_str())
    }

    /// Every source, in the order of the configuration.
    async fn sources(&self) -> &[PriceSource] {
        self.feed.as_ref().map_or(&[], |feed| feed.sources.as_slice())
    }
}

pub(super) fn feeds(ctx: &Context<'_>) -> Result<Vec<Feed>> {
    let core = core(ctx)?;
    Ok(core.reader.prices().all((core.now_unix_ms)()).iter().map(Feed::new).collect())
}

fn distinct(core: &Core, tokens: &[TokenKey]) -> std::result::Result<(), ApiError> {
    let keys: HashSet<_> =
        tokens.iter().map(|t| (core.reader.live(t.chain_id).map(|live| live.chain).ok(), t.address.0)).collect();
    match tokens.len() {
        0 => Err(ApiError::input("`tokens` is empty: name at least one token")),
        n if n > TOKENS_MAX => Err(ApiError::input(format!("`tokens` takes 1 to {TOKENS_MAX} tokens, these are {n}"))),
        n if n > keys.len() => Err(ApiError::input("`tokens` names a token twice")),
        _ => Ok(()),
    }
}

fn price_of(prices: &Prices, chain: ChainId, token: Address, as_of: Option<BlockRef>, now_ms: u64) -> TokenPrice {
    let report = prices.of_token(chain, &token, now_ms);
    let exact = report.as_ref().and_then(|r| r.verdict.value);
    TokenPrice { chain, token, as_of, feed: report.as_ref().map(Feed::new), exact }
}

pub(super) async fn prices(ctx: &Context<'_>, tokens: Vec<TokenKey>) -> Result<Vec<TokenPrice>> {
    let core = core(ctx)?;
    distinct(core, &tokens)?;
    let now_ms = (core.now_unix_ms)();
    let mut found = Vec::with_capacity(tokens.len());
    for key in tokens {
        let pin = pin(ctx, key.chain_id).await?;
        found.push(price_of(core.reader.prices(), pin.chain(), key.address.0, pin.head().block.map(Into::into), now_ms));
    }
    Ok(found)
}

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

    fn all(&self, core: &Core) -> Vec<TokenPrice> {
        let now_ms = (core.now_unix_ms)();
        let one = |(chain, token): &(ChainId, Address)| {
            let block = core.reader.live(Some(*chain)).ok().and_then(|live| live.head().block);
            price_of(core.reader.prices(), *chain, *token, block.map(Into::into), now_ms)
        };
        self.tokens.iter().map(one).collect()
    }

    /// Against what the subscriber was told last.
    fn moved(&self, told: &Told, now: &TokenPrice) -> bool {
        let (status, exact) = told;
        let apart = match (exact, now.exact) {
            (Some(before), Some(after)) => {
                before.apart_bps(after) >= self.min_change_bps.max(1) || (self.min_change_bps == 0 && *before != after)
            }
            (None, None) => false,
            _ => true,
        };
        apart || *status != now.feed.as_ref().map(|feed| feed.status)
    }
}

/// Something new, or something grew old; and not with every tick of every exchange.
async fn next_look(changes: &mut watch::Receiver<u64>) {
    tokio::time::sleep(LOOK_PAUSE).await;
    let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
    changes.mark_unchanged();
}

type Told = (Option<FeedStatus>, Option<Fixed18>);

fn told(price: &TokenPrice) -> Told {
    (price.feed.as_ref().map(|feed| feed.status), price.exact)
}

/// A reader that is slow gets the newest prices, not all of them: nothing piles up for it.
pub(super) fn on_prices(core: std::sync::Arc<Core>, wanted: Wanted) -> impl Stream<Item = Result<PriceEvent>> + use<> {
    let changes = core.reader.prices().watch();
    let first: Option<Vec<Told>> = None;
    stream::unfold((core, wanted, changes, first, 0_u64), |(core, wanted, mut changes, before, seq)| async move {
        let Some(mut before) = before else {
            let data = wanted.all(&core);
            let before = data.iter().map(told).collect();
            core.metrics.frames_sent_total.inc();
            return Some((
                Ok(PriceEvent { seq, kind: FrameKind::Snapshot, data }),
                (core, wanted, changes, Some(before), seq.saturating_add(1)),
            ));
        };
        tokio::time::sleep(wanted.throttle).await;
        loop {
            // Something new, or something grew old.
            next_look(&mut changes).await;
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
                    (core, wanted, changes, Some(before), seq.saturating_add(1)),
                ));
            }
        }
    })
}

pub(super) fn on_feed_status(core: std::sync::Arc<Core>) -> impl Stream<Item = Result<FeedEvent>> + use<> {
    let changes = core.reader.prices().watch();
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
            next_look(&mut changes).await;
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
