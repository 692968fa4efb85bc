//! What tokens cost in dollars, each with where that comes from: feeds from outside the chain, or the chain's pools.

use std::{collections::HashSet, sync::Arc};

use alloy::primitives::{Address, U256};
use async_graphql::{Context, Enum, InputObject, Object, Result, SimpleObject};

use super::{
    block::BlockRef,
    core::{Core, core},
    error::ApiError,
    pins::pin,
    pool_price::{PoolPrice, PoolSay},
    scalars::{AddressScalar, BigDecimal, Timestamp},
};
use crate::{
    domain::{
        ChainId, block,
        dollars::Priced,
        feed,
        fixed::{self, Fixed18},
        price,
    },
    store::{
        Pin,
        keep::{RecordedPrice, RecordedSource},
        past::{PastPrices, Then},
        prices::{Health, PairReport, Prices},
        query::Moment,
    },
};

/// Tokens of one question.
const TOKENS_MAX: usize = 100;

/// A token of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, InputObject)]
pub(crate) struct TokenKey {
    /// EIP-155 chain id; may be left out where one chain is configured.
    pub(super) chain_id: Option<u64>,
    /// The token's address, any case.
    pub(super) address: AddressScalar,
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
    /// A pool that too few dollars would move: it prices nothing.
    Thin,
}

/// One source of a price.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
pub(crate) struct PriceSource {
    /// `binance`, `coinbase`, `coingecko`, `chainlink`; of a price out of pools `pool:0x…`.
    name: String,
    /// What it said last; null where it said nothing yet.
    value: Option<BigDecimal>,
    /// How old that is, by its own clock or by ours, whichever says older. Milliseconds. Null for pools, which are as of `asOf`.
    age_ms: Option<u64>,
    /// Its part in the price, 0 to 1. Of feeds the price is the median: those that are not in the middle guard it, and weigh nothing. Of pools
    /// it is the weighted median: this is the part of the liquidity that counts.
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
    pub(super) fn new(report: &PairReport) -> Self {
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
    pub(super) fn standing(&self) -> (FeedStatus, Vec<(Option<ExclusionReason>, bool)>) {
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
    parts_text(said.weight)
}

/// Of [`feed::WEIGHT_ONE`].
pub(in crate::api) fn parts_text(parts: u32) -> String {
    match parts {
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
    value: Option<BigDecimal>,
    pub(super) status: FeedStatus,
    updated_at: Option<Timestamp>,
    pair: Option<String>,
    sources: Vec<PriceSource>,
}

/// What a token costs in dollars, and who says so. A token that a feed is bound to has the feed's price; every other one what the chain's
/// pools say. Without a source it is null, never 0.
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
        self.value.as_ref()
    }

    /// What it is worth.
    async fn status(&self) -> FeedStatus {
        self.status
    }

    /// The block of a price out of pools; of a feed's price the newest block when this was said, and the price itself is of `updatedAt`.
    async fn as_of(&self) -> Option<BlockRef> {
        self.as_of.clone()
    }

    /// The time of the oldest price that `value` stands on.
    async fn updated_at(&self) -> Option<Timestamp> {
        self.updated_at
    }

    /// The pair that it is read from, `ETH/USD`; null where the token is bound to none, and pools say what it costs.
    async fn pair(&self) -> Option<&str> {
        self.pair.as_deref()
    }

    /// Every source: of a feed in the order of the configuration, of pools by price.
    async fn sources(&self) -> &[PriceSource] {
        &self.sources
    }
}

impl TokenPrice {
    fn of_feed(chain: ChainId, token: Address, as_of: Option<BlockRef>, report: &PairReport) -> Self {
        let Feed { pair, value, status, updated_at, sources } = Feed::new(report);
        Self { chain, token, as_of, value, status, updated_at, pair: Some(pair), sources }
    }

    fn of_pools(pin: &Pin, token: Address, block: Option<block::BlockRef>, priced: Option<&Priced>) -> Self {
        let said = PoolPrice::new(pin, &token, priced);
        let source = |say: PoolSay| PriceSource {
            name: say.name,
            value: say.value.map(BigDecimal),
            age_ms: None,
            weight: BigDecimal(say.weight),
            excluded_by: say.is_thin.then_some(ExclusionReason::Thin),
            connected: true,
            ticks: 0,
            refused: 0,
            trouble: None,
        };
        Self {
            chain: pin.chain(),
            token,
            as_of: block.map(Into::into),
            updated_at: block.filter(|_| said.value.is_some()).map(|block| Timestamp(block.timestamp)),
            value: said.value.map(BigDecimal),
            status: said.status.into(),
            pair: None,
            sources: said.says.into_iter().map(source).collect(),
        }
    }

    /// As it was recorded then; what became of a source since is not told.
    fn of_record(chain: ChainId, token: Address, as_of: BlockRef, then: &RecordedPrice) -> Self {
        let source = |said: &RecordedSource| PriceSource {
            name: said.name.clone(),
            value: dollars(said.value).map(BigDecimal),
            age_ms: said.at_ms.map(|at_ms| then.minute.saturating_mul(1_000).saturating_sub(at_ms)),
            weight: BigDecimal(parts_text(said.weight)),
            excluded_by: said.excluded_by.map(Into::into),
            connected: true,
            ticks: 0,
            refused: 0,
            trouble: None,
        };
        Self {
            chain,
            token,
            as_of: Some(as_of),
            value: dollars(Some(then.value)).map(BigDecimal),
            status: then.status.into(),
            updated_at: Some(Timestamp(then.updated_ms / 1_000)),
            pair: Some(then.pair.clone()),
            sources: then.sources.iter().map(source).collect(),
        }
    }

    /// To 18 places: what decides whether it moved.
    pub(super) fn exact(&self) -> Option<Fixed18> {
        Fixed18::parse(&self.value.as_ref()?.0).ok()
    }
}

pub(super) fn feeds(ctx: &Context<'_>) -> Result<Vec<Feed>> {
    let core = core(ctx)?;
    Ok(core.reader.prices().all((core.now_unix_ms)()).iter().map(Feed::new).collect())
}

pub(super) fn distinct(core: &Core, tokens: &[TokenKey]) -> std::result::Result<(), ApiError> {
    let keys: HashSet<_> =
        tokens.iter().map(|t| (core.reader.live(t.chain_id).map(|live| live.chain).ok(), t.address.0)).collect();
    match tokens.len() {
        0 => Err(ApiError::input("`tokens` is empty: name at least one token")),
        n if n > TOKENS_MAX => Err(ApiError::input(format!("`tokens` takes 1 to {TOKENS_MAX} tokens, these are {n}"))),
        n if n > keys.len() => Err(ApiError::input("`tokens` names a token twice")),
        _ => Ok(()),
    }
}

/// In the order of the tokens; what was found out for one of them serves the others.
pub(super) fn prices_of(prices: &Prices, pin: &Pin, tokens: &[Address], now_ms: u64) -> Vec<TokenPrice> {
    let block = pin.head().block;
    let fed = |token: &Address| {
        let report = prices.of_token(pin.chain(), token, now_ms)?;
        Some(TokenPrice::of_feed(pin.chain(), *token, block.map(Into::into), &report))
    };
    let of_feeds: Vec<Option<TokenPrice>> = tokens.iter().map(fed).collect();
    let of_pools = pin.with_prices(|prices| {
        let rest = tokens.iter().zip(&of_feeds).filter(|(_, fed)| fed.is_none());
        rest.map(|(token, _)| prices.priced(token)).collect::<Vec<_>>()
    });
    let mut of_pools = of_pools.into_iter().flatten();
    let one = |(token, fed): (&Address, Option<TokenPrice>)| {
        fed.unwrap_or_else(|| TokenPrice::of_pools(pin, *token, block, of_pools.next().flatten().as_ref()))
    };
    tokens.iter().zip(of_feeds).map(one).collect()
}

/// As of which moment prices are asked for; `None`: now.
pub(super) fn moment(number: Option<u64>, time: Option<Timestamp>) -> std::result::Result<Option<Moment>, ApiError> {
    match (number, time) {
        (None, None) => Ok(None),
        (Some(number), None) => Ok(Some(Moment::Number(number))),
        (None, Some(time)) => Ok(Some(Moment::Time(time.0))),
        (Some(_), Some(_)) => Err(ApiError::input("`block` and `time` are two ways to say a moment: give one of them")),
    }
}

/// A question about the past looks up whatever may have a say, in the store: up to ten of them fit into a request.
const PAST_COST: usize = 9_000;

/// Complexity of `prices`.
pub(super) fn cost(tokens: usize, child: usize, is_past: bool) -> usize {
    tokens.saturating_mul(child.saturating_add(1)).saturating_add(if is_past { PAST_COST } else { 0 })
}

pub(super) async fn prices(ctx: &Context<'_>, tokens: Vec<TokenKey>, moment: Option<Moment>) -> Result<Vec<TokenPrice>> {
    let core = core(ctx)?;
    distinct(core, &tokens)?;
    let now_ms = (core.now_unix_ms)();
    // Every chain is asked once, whatever the order.
    let mut pins: Vec<(Arc<Pin>, Vec<Address>)> = Vec::new();
    let mut places = Vec::with_capacity(tokens.len());
    for key in tokens {
        let pin = pin(ctx, key.chain_id).await?;
        let at = pins.iter().position(|(known, _)| known.chain() == pin.chain()).unwrap_or(pins.len());
        if at == pins.len() {
            pins.push((pin, Vec::new()));
        }
        if let Some((_, wanted)) = pins.get_mut(at) {
            places.push((at, wanted.len()));
            wanted.push(key.address.0);
        }
    }
    let mut answers: Vec<Vec<Option<TokenPrice>>> = Vec::with_capacity(pins.len());
    for (pin, wanted) in &pins {
        let prices = match moment {
            None => prices_of(core.reader.prices(), pin, wanted, now_ms),
            Some(moment) => past(core, pin, wanted, moment).await?,
        };
        answers.push(prices.into_iter().map(Some).collect());
    }
    Ok(places.into_iter().filter_map(|(at, place)| answers.get_mut(at)?.get_mut(place)?.take()).collect())
}

async fn past(core: &Core, pin: &Pin, tokens: &[Address], moment: Moment) -> std::result::Result<Vec<TokenPrice>, ApiError> {
    let past = core.reader.prices_at(pin, tokens, moment).await?;
    let Some(PastPrices { block, prices, .. }) = past else {
        return Ok(tokens.iter().map(|token| TokenPrice::of_pools(pin, *token, None, None)).collect());
    };
    let one = |(token, then): (&Address, &Then)| match then {
        Then::Fed(then) => TokenPrice::of_record(pin.chain(), *token, block.into(), then),
        Then::Pools(priced) => TokenPrice::of_pools(pin, *token, Some(block), priced.as_ref()),
    };
    Ok(tokens.iter().zip(&prices).map(one).collect())
}

/// Of one token, as of the request's block.
pub(super) async fn now(ctx: &Context<'_>, chain: ChainId, token: Address) -> Result<TokenPrice> {
    let core = core(ctx)?;
    let pin = pin(ctx, Some(chain)).await?;
    let mut found = prices_of(core.reader.prices(), &pin, &[token], (core.now_unix_ms)());
    Ok(found.pop().unwrap_or_else(|| TokenPrice::of_pools(&pin, token, pin.head().block, None)))
}
