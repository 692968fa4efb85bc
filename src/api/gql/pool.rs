//! Pools and their ticks.

use std::sync::Arc;

use async_graphql::{Context, ID, Object};

use super::{
    block::{BlockRef, DataSource, OrderDirection, PoolStatus, Protocol},
    candle::{Candle, Interval, PoolStats, Window, Written},
    connection::{self, FIRST_DEFAULT, Page, Total, connection, first, page_cost},
    core::core,
    cursor,
    depth::{self, DepthLevel},
    error::ApiError,
    event::{At, Burn, Mint, Swap},
    event_query::{self, Within},
    liquidity::{self, Tick, TickRange},
    money::Money,
    query::nullable,
    rows::Rows,
    scalars::{AddressScalar, BigDecimal, BigInt, Bytes, Cursor, Timestamp},
    token::{Token, decimals},
};
use crate::{
    domain::{
        block,
        event::EventKind,
        market::Subject,
        pool::{PoolId, PoolState, V2State, V3State, hooks::permissions},
        price::{Ratio, tick_ratio, token1_per_token0},
    },
    store::{Pin, PoolView, candles::CandleQuery, query::Narrow},
};

/// Twenty of them are a query: each may read some thousand swaps.
pub(super) const CANDLES_COST: usize = 5_000;
/// A week.
const TWAP_MAX_SECONDS: u64 = 604_800;

/// A stretch of time that is not the wrong way round.
pub(super) fn stretch(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<(Option<u64>, Option<u64>), ApiError> {
    let (from, to) = (from.map(|t| t.0), to.map(|t| t.0));
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        return Err(ApiError::input("`from` must be before `to`"));
    }
    Ok((from, to))
}

/// One pool as of one block.
pub(crate) struct Pool {
    pin: Arc<Pin>,
    view: Arc<PoolView>,
    as_of: block::BlockRef,
}

impl Pool {
    pub(super) fn new(pin: &Arc<Pin>, view: Arc<PoolView>) -> Self {
        let as_of = pin.as_of(&view).unwrap_or(view.updated);
        Self { pin: pin.clone(), view, as_of }
    }

    /// As a frame brought it, whose block may be older than the newest epoch.
    pub(super) fn at(pin: &Arc<Pin>, view: Arc<PoolView>, frame: block::BlockRef) -> Self {
        let as_of = view.held_at.unwrap_or(frame);
        Self { pin: pin.clone(), view, as_of }
    }

    fn v2(&self) -> Option<&V2State> {
        match &self.view.image.state {
            PoolState::V2(state) => Some(state),
            PoolState::V3(_) | PoolState::V4(_) => None,
        }
    }

    fn v3(&self) -> Option<&V3State> {
        self.view.image.state.v3()
    }

    fn token1_per_token0(&self) -> Option<Ratio> {
        let decimals0 = decimals(&self.pin, &self.view.meta.token0)?;
        let decimals1 = decimals(&self.pin, &self.view.meta.token1)?;
        token1_per_token0(&self.view.image.state, decimals0, decimals1)
    }
}

/// A liquidity pool with its state as of one block, `asOf`. Equals what the contract answers there.
#[Object]
impl Pool {
    /// The contract's address, lowercase: unique on its chain.
    async fn id(&self) -> ID {
        ID(self.view.meta.id.to_string())
    }

    /// EIP-155 id of the chain it is on.
    async fn chain_id(&self) -> u64 {
        self.view.meta.chain
    }

    /// The exchange protocol that it speaks.
    async fn protocol(&self) -> Protocol {
        self.view.meta.protocol.into()
    }

    /// The pool's contract; null where pools have no contract of their own.
    async fn address(&self) -> Option<AddressScalar> {
        match self.view.meta.id {
            PoolId::Address(address) => Some(AddressScalar(address)),
            PoolId::Id(_) => None,
        }
    }

    /// The 32-byte id of a pool without a contract of its own; null for all others.
    async fn pool_id(&self) -> Option<Bytes> {
        match self.view.meta.id {
            PoolId::Address(_) => None,
            PoolId::Id(id) => Some(id.into()),
        }
    }

    /// Name of the exchange in this server's configuration.
    async fn dex(&self) -> &str {
        &self.view.meta.dex
    }

    /// The contract that created it; of V4 the PoolManager that it is in.
    async fn factory(&self) -> AddressScalar {
        AddressScalar(self.view.meta.factory)
    }

    /// The token with the smaller address.
    async fn token0(&self) -> Token {
        Token::of(&self.pin, self.view.meta.token0)
    }

    /// The token with the larger address.
    async fn token1(&self) -> Token {
        Token::of(&self.pin, self.view.meta.token1)
    }

    /// V4: whom the PoolManager calls when it acts on the pool. Null: nobody, and of all other protocols.
    async fn hooks(&self) -> Option<AddressScalar> {
        self.view.meta.hooks.map(AddressScalar)
    }

    /// V4: what its hook is called for, as its address says: `beforeSwap`, `afterSwapReturnDelta` and the like.
    async fn hook_permissions(&self) -> Vec<&'static str> {
        self.view.meta.hooks.iter().flat_map(permissions).collect()
    }

    /// V4: its hook has a say in what a swap comes to, so that only the contracts can quote it.
    async fn is_hooked(&self) -> bool {
        self.view.meta.is_hooked()
    }

    /// Swap fee in hundredths of a basis point: 3000 is 0.30 %. 8388608 (0x800000): the pool's hook says it with each swap.
    async fn fee_tier(&self) -> u32 {
        self.view.meta.fee_pips
    }

    /// Distance of usable ticks; null for V2.
    async fn tick_spacing(&self) -> Option<i32> {
        self.view.meta.tick_spacing
    }

    /// In-range liquidity, as `liquidity()` answers: sqrt(amount0 · amount1) in raw units. Null for V2, which has reserves.
    async fn liquidity(&self) -> Option<BigInt> {
        self.v3().map(|s| s.liquidity.into())
    }

    /// sqrt(token1 per token0) in raw units as a Q64.96 integer, as `slot0()` answers: 0 until initialised. Null for V2.
    async fn sqrt_price(&self) -> Option<BigInt> {
        self.v3().map(|s| s.sqrt_price_x96.into())
    }

    /// The current tick, as `slot0()` answers; null for V2, and until initialised.
    async fn tick(&self) -> Option<i32> {
        self.v3().filter(|s| s.is_initialized()).map(|s| s.tick)
    }

    /// token0 per token1, in the tokens' own units: what one token1 costs. Null where there is no price: not initialised, empty,
    /// or a token without decimals.
    #[graphql(name = "token0Price")]
    async fn token0_price(&self) -> Option<BigDecimal> {
        self.token1_per_token0()?.inverse()?.decimal().map(BigDecimal)
    }

    /// token1 per token0, in the tokens' own units: what one token0 costs. Null where `token0Price` is.
    #[graphql(name = "token1Price")]
    async fn token1_price(&self) -> Option<BigDecimal> {
        self.token1_per_token0()?.decimal().map(BigDecimal)
    }

    /// Reserve of token0 in raw units, as `getReserves()` answers; null for V3.
    #[graphql(name = "reserve0")]
    async fn reserve0(&self) -> Option<BigInt> {
        self.v2().map(|s| s.reserve0.into())
    }

    /// Reserve of token1 in raw units, as `getReserves()` answers; null for V3.
    #[graphql(name = "reserve1")]
    async fn reserve1(&self) -> Option<BigInt> {
        self.v2().map(|s| s.reserve1.into())
    }

    /// Price of one `base` in `quote`, in the tokens' own units. Null where there is no price.
    async fn price(
        &self,
        #[graphql(desc = "The token that is priced: one of the pool's two")] base: AddressScalar,
        #[graphql(desc = "The token that the price is in: the other one")] quote: AddressScalar,
    ) -> Option<async_graphql::Result<BigDecimal>> {
        let meta = &self.view.meta;
        let ratio = self.token1_per_token0();
        let ratio = match (base.0, quote.0) {
            (b, q) if b == meta.token0 && q == meta.token1 => ratio,
            (b, q) if b == meta.token1 && q == meta.token0 => ratio.and_then(Ratio::inverse),
            _ => {
                let text =
                    format!("`base` and `quote` must be this pool's two tokens, {:#x} and {:#x}", meta.token0, meta.token1);
                return nullable(Err(ApiError::input(text)));
            }
        };
        nullable(Ok(ratio.and_then(Ratio::decimal).map(BigDecimal)))
    }

    /// Time of the block that created it, seconds since 1970. Null where the pool is older than what this server has read.
    async fn created_at_timestamp(&self) -> Option<Timestamp> {
        self.view.meta.creation().map(|block| Timestamp(block.timestamp))
    }

    /// Height of the block that created it. Null where the pool is older than what this server has read.
    async fn created_at_block_number(&self) -> Option<u64> {
        self.view.meta.creation().map(|block| block.number)
    }

    /// Every initialised tick, in ascending order of its index. Empty for V2.
    #[graphql(complexity = "page_cost(first, child_complexity)")]
    async fn ticks(
        &self,
        #[graphql(desc = "How many, 1 to 1000", default_with = "FIRST_DEFAULT")] first: i32,
        #[graphql(desc = "Only ticks after this cursor")] after: Option<Cursor>,
    ) -> async_graphql::Result<TickConnection> {
        Ok(TickConnection(self.tick_page(first, after.as_ref())?))
    }

    /// What liquidity a trade meets at which price, from tick to tick, ascending; where there is none, there is no range. Empty for V2,
    /// whose liquidity is the same everywhere.
    #[graphql(complexity = "liquidity::COST.saturating_add(child_complexity.saturating_mul(100))")]
    async fn liquidity_distribution(
        &self,
        #[graphql(desc = "Nothing below this tick")] from_tick: Option<i32>,
        #[graphql(desc = "Nothing from this tick on")] to_tick: Option<i32>,
    ) -> async_graphql::Result<Vec<TickRange>> {
        Ok(liquidity::distribution(&self.view.image.state, from_tick, to_tick)?)
    }

    /// How much it takes to move the price so far, for each of `bps`, by the swaps that the contract would do.
    #[graphql(complexity = "bps.len().saturating_mul(depth::COST.saturating_add(child_complexity))")]
    async fn depth(
        &self,
        #[graphql(desc = "How far, 1 to 9000 parts of 10,000; at most 20 of them")] bps: Vec<i32>,
    ) -> async_graphql::Result<Vec<DepthLevel>> {
        Ok(depth::levels(&self.pin, &self.view, &bps).map_err(ApiError::input)?)
    }

    /// Its newest swaps, as of the block of the answer. A list to look at: to turn pages, ask `swaps(where: { pool: … })`.
    #[graphql(complexity = "page_cost(first, child_complexity)")]
    async fn swaps(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many, 1 to 1000", default_with = "FIRST_DEFAULT")] first: i32,
        #[graphql(desc = "Newest first unless `asc`", default_with = "OrderDirection::Desc")] order_direction: OrderDirection,
    ) -> async_graphql::Result<Rows<Swap>> {
        Ok(Rows(self.events(ctx, EventKind::Swap, first, order_direction).await?))
    }

    /// Its candles, oldest first, as of the block of the answer.
    #[graphql(complexity = "CANDLES_COST.saturating_add(usize::try_from(first).unwrap_or(0).saturating_mul(child_complexity))")]
    async fn candles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How long a candle is")] interval: Interval,
        #[graphql(desc = "The candle that this is in, and later ones; `first` intervals before `to` unless it is said")]
        from: Option<Timestamp>,
        #[graphql(desc = "Only those that begin before this; up to the one under way unless it is said")] to: Option<Timestamp>,
        #[graphql(desc = "How many intervals, 1 to 1000", default = 500)] first: i32,
        #[graphql(desc = "Also those in which nobody traded", default)] fill_empty: bool,
        #[graphql(desc = "Prices of token1 in token0", default)] invert: bool,
    ) -> async_graphql::Result<Vec<Candle>> {
        let (from, to) = stretch(from, to)?;
        let count = u64::try_from(connection::first(first)?).unwrap_or(u64::MAX);
        let interval = interval.into();
        let query = CandleQuery { of: Subject::Pool(self.view.meta.id), interval, from, to, count, fill: fill_empty };
        let found = core(ctx)?.reader.candles(&self.pin, query).await.map_err(ApiError::from)?;
        let written = Written::new(&self.pin, &self.view.meta, interval, invert);
        Ok(found.candles.into_iter().map(|candle| Candle { candle, written }).collect())
    }

    /// Time-weighted mean price of token0 in token1 over so many seconds before the answer's block: the price of the mean tick, as
    /// `OracleLibrary.consult` has it. Null for V2, and where the pool had no price yet.
    #[graphql(complexity = "CANDLES_COST")]
    async fn twap(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "1 to 604800")] seconds_ago: i32,
    ) -> async_graphql::Result<Option<BigDecimal>> {
        let seconds = u64::try_from(seconds_ago).ok().filter(|seconds| (1..=TWAP_MAX_SECONDS).contains(seconds));
        let seconds =
            seconds.ok_or_else(|| ApiError::input(format!("`secondsAgo` is 1 to {TWAP_MAX_SECONDS}, not {seconds_ago}")))?;
        let found = core(ctx)?.reader.mean_tick(&self.pin, self.view.meta.id, seconds).await.map_err(ApiError::from)?;
        let decimals = decimals(&self.pin, &self.view.meta.token0).zip(decimals(&self.pin, &self.view.meta.token1));
        let price = found.zip(decimals).and_then(|((tick, _), (zero, one))| tick_ratio(tick)?.in_units(zero, one)?.decimal());
        Ok(price.map(BigDecimal))
    }

    #[graphql(flatten)]
    async fn money(&self) -> Money<'_> {
        Money { pin: &self.pin, view: &self.view }
    }

    /// What it did lately, as of the block of the answer.
    #[graphql(complexity = "10 + child_complexity")]
    async fn stats(&self, #[graphql(desc = "How far back")] window: Window) -> PoolStats {
        PoolStats::new(&self.pin, &self.view, window.into())
    }

    /// Liquidity put into it, newest first, as of the block of the answer. To turn pages, ask `mints(where: { pool: … })`.
    #[graphql(complexity = "page_cost(first, child_complexity)")]
    async fn mints(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many, 1 to 1000", default_with = "FIRST_DEFAULT")] first: i32,
        #[graphql(desc = "Newest first unless `asc`", default_with = "OrderDirection::Desc")] order_direction: OrderDirection,
    ) -> async_graphql::Result<Rows<Mint>> {
        Ok(Rows(self.events(ctx, EventKind::Mint, first, order_direction).await?))
    }

    /// Liquidity taken out of it, newest first, as of the block of the answer. To turn pages, ask `burns(where: { pool: … })`.
    #[graphql(complexity = "page_cost(first, child_complexity)")]
    async fn burns(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many, 1 to 1000", default_with = "FIRST_DEFAULT")] first: i32,
        #[graphql(desc = "Newest first unless `asc`", default_with = "OrderDirection::Desc")] order_direction: OrderDirection,
    ) -> async_graphql::Result<Rows<Burn>> {
        Ok(Rows(self.events(ctx, EventKind::Burn, first, order_direction).await?))
    }

    /// How far the state can be trusted.
    async fn status(&self) -> PoolStatus {
        self.view.status.into()
    }

    /// The block at which this state is true.
    async fn as_of(&self) -> BlockRef {
        self.as_of.into()
    }

    /// Where this answer came from.
    async fn source(&self) -> DataSource {
        DataSource::Memory
    }
}

impl Pool {
    async fn events<N: From<At>>(
        &self,
        ctx: &Context<'_>,
        kind: EventKind,
        first: i32,
        direction: OrderDirection,
    ) -> Result<Vec<N>, ApiError> {
        let of_pool = (Narrow::Pool(self.view.meta.id), Within::default());
        event_query::nested(ctx, &self.pin, kind, of_pool, (first, direction)).await
    }

    fn tick_page(&self, count: i32, after: Option<&Cursor>) -> Result<Page<Tick>, ApiError> {
        let count = first(count)?;
        let after = match after {
            Some(cursor) => {
                let text = cursor::decode_key("tick", cursor)?;
                Some(text.parse::<i32>().map_err(|_| ApiError::input("`after` is no cursor of a list of ticks"))?)
            }
            None => None,
        };
        let Some(state) = self.v3() else {
            return Ok(Page::new(Vec::<(Cursor, Tick)>::new(), count, after.is_some(), Total::Known(0)));
        };
        let from = after.map_or(i32::MIN, |tick| tick.saturating_add(1));
        let items = state
            .ticks
            .range(from..)
            .take(count.saturating_add(1))
            .map(|(index, tick)| (cursor::encode_key("tick", &index.to_string()), Tick { index: *index, tick: *tick }))
            .collect();
        let total = u64::try_from(state.ticks.len()).unwrap_or(u64::MAX);
        Ok(Page::new(items, count, after.is_some(), Total::Known(total)))
    }
}

connection!(PoolConnection, "PoolConnection", PoolEdge, "PoolEdge", Pool);
connection!(TickConnection, "TickConnection", TickEdge, "TickEdge", Tick);
