//! Hours and days of pools, tokens and protocols.

use async_graphql::{Context, ID, Object};

use super::{
    args,
    block::OrderDirection,
    connection::{FIRST_DEFAULT, Page, Total, connection, first, page_cost},
    core::core,
    cursor,
    error::ApiError,
    heights::BlockHeight,
    period_value::{Form, PeriodValue},
    pins::pin,
    scalars::{AddressScalar, BigDecimal, BigInt, Cursor, Timestamp},
};
use crate::{
    domain::{
        ChainId,
        market::{Interval, Subject},
        pool::StateAfter,
    },
    store::{periods::PeriodQuery, query::EventQuery},
};

/// Chunks of some years may be read: twenty of them are a query.
const COST: usize = 5_000;

fn cost(count: i32, child: usize) -> usize {
    COST.saturating_add(page_cost(count, child))
}

/// An hour or a day of a pool, in which it had an event. Prices are token1 per token0; amounts are in the tokens' own units, null where one
/// has no decimals.
pub(crate) struct PoolPeriod(PeriodValue);

/// An hour or a day of a pool, in which it had an event. Prices are token1 per token0; amounts are in the tokens' own units, null where one
/// has no decimals.
#[Object]
impl PoolPeriod {
    /// When it begins. Days are UTC.
    async fn start(&self) -> Timestamp {
        Timestamp(self.0.start())
    }

    /// When the next one begins.
    async fn end(&self) -> Timestamp {
        Timestamp(self.0.end())
    }

    /// A block came that is later than it: only a reorg can change it now.
    async fn closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Events of the pool, of whatever kind.
    async fn tx_count(&self) -> u32 {
        self.0.events()
    }

    /// Swaps among them.
    async fn swap_count(&self) -> u32 {
        self.0.swaps()
    }

    /// token0 that was traded, in either direction.
    async fn volume_token0(&self) -> Option<BigDecimal> {
        let [volume, _] = self.0.volumes();
        volume.map(BigDecimal)
    }

    /// token1 that was traded, in either direction.
    async fn volume_token1(&self) -> Option<BigDecimal> {
        let [_, volume] = self.0.volumes();
        volume.map(BigDecimal)
    }

    /// Dollars, each swap at the prices of its block. Null where the value of some of them is not known.
    #[graphql(name = "volumeUSD")]
    async fn volume_usd(&self) -> Option<BigDecimal> {
        self.0.volume_usd().map(BigDecimal)
    }

    /// The swap fee's part of that.
    #[graphql(name = "feesUSD")]
    async fn fees_usd(&self) -> Option<BigDecimal> {
        self.0.fees_usd().map(BigDecimal)
    }

    /// token0 that the pool held after its last event in it.
    #[graphql(name = "totalValueLockedToken0")]
    async fn locked0(&self) -> Option<BigDecimal> {
        let [locked, _] = self.0.locked();
        locked.map(BigDecimal)
    }

    /// The same of token1.
    #[graphql(name = "totalValueLockedToken1")]
    async fn locked1(&self) -> Option<BigDecimal> {
        let [_, locked] = self.0.locked();
        locked.map(BigDecimal)
    }

    /// Both in dollars, at the prices of the end; of the one under way at those of the answer's block. Null where one of them has no price.
    #[graphql(name = "totalValueLockedUSD")]
    async fn locked_usd(&self) -> Option<BigDecimal> {
        self.0.locked_usd().map(BigDecimal)
    }

    /// Liquidity that was in range at the end; null for V2.
    async fn liquidity(&self) -> Option<BigInt> {
        match self.0.after()? {
            StateAfter::V3 { liquidity, .. } => Some(liquidity.into()),
            StateAfter::V2 { .. } => None,
        }
    }

    /// sqrt(token1 / token0) at the end, Q64.96; null for V2.
    #[graphql(name = "sqrtPriceX96")]
    async fn sqrt_price_x96(&self) -> Option<BigInt> {
        match self.0.after()? {
            StateAfter::V3 { sqrt_price_x96, .. } => Some(sqrt_price_x96.into()),
            StateAfter::V2 { .. } => None,
        }
    }

    /// The tick of that price; null for V2.
    async fn tick(&self) -> Option<i32> {
        match self.0.after()? {
            StateAfter::V3 { tick, .. } => Some(tick),
            StateAfter::V2 { .. } => None,
        }
    }

    /// The price when it began. Null before the first swap.
    async fn open(&self) -> Option<BigDecimal> {
        let [open, ..] = self.0.prices();
        open.map(BigDecimal)
    }

    /// The highest price after a swap, `open` included.
    async fn high(&self) -> Option<BigDecimal> {
        let [_, high, ..] = self.0.prices();
        high.map(BigDecimal)
    }

    /// The lowest price after a swap, `open` included.
    async fn low(&self) -> Option<BigDecimal> {
        let [.., low, _] = self.0.prices();
        low.map(BigDecimal)
    }

    /// The price after the last swap.
    async fn close(&self) -> Option<BigDecimal> {
        let [.., close] = self.0.prices();
        close.map(BigDecimal)
    }
}

/// An hour or a day of a token, in which one of its pools had an event. Prices are dollars.
pub(crate) struct TokenPeriod(PeriodValue);

/// An hour or a day of a token, in which one of its pools had an event. Prices are dollars.
#[Object]
impl TokenPeriod {
    /// When it begins. Days are UTC.
    async fn start(&self) -> Timestamp {
        Timestamp(self.0.start())
    }

    /// When the next one begins.
    async fn end(&self) -> Timestamp {
        Timestamp(self.0.end())
    }

    /// A block came that is later than it: only a reorg can change it now.
    async fn closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Events of its pools, of whatever kind.
    async fn tx_count(&self) -> u32 {
        self.0.events()
    }

    /// Swaps among them.
    async fn swap_count(&self) -> u32 {
        self.0.swaps()
    }

    /// How much of it was traded, in its own unit. Null where it has no decimals.
    async fn volume(&self) -> Option<BigDecimal> {
        let [volume, _] = self.0.volumes();
        volume.map(BigDecimal)
    }

    /// Dollars, each swap at the prices of its block. Null where the value of some of them is not known.
    #[graphql(name = "volumeUSD")]
    async fn volume_usd(&self) -> Option<BigDecimal> {
        self.0.volume_usd().map(BigDecimal)
    }

    /// What these swaps cost: of each its pool's fee.
    #[graphql(name = "feesUSD")]
    async fn fees_usd(&self) -> Option<BigDecimal> {
        self.0.fees_usd().map(BigDecimal)
    }

    /// What all of its pools together held at the end, in its own unit. Null where it has no decimals, or nobody wrote it down.
    async fn total_value_locked(&self) -> Option<BigDecimal> {
        let [locked, _] = self.0.locked();
        locked.map(BigDecimal)
    }

    /// The same in dollars, at the price of the end. Null where it has none.
    #[graphql(name = "totalValueLockedUSD")]
    async fn locked_usd(&self) -> Option<BigDecimal> {
        self.0.locked_usd().map(BigDecimal)
    }

    /// What it cost at the end; of the one under way, at the answer's block.
    #[graphql(name = "priceUSD")]
    async fn price_usd(&self) -> Option<BigDecimal> {
        self.0.price_usd().map(BigDecimal)
    }

    /// The price after the last swap before it. Null where there was none.
    async fn open(&self) -> Option<BigDecimal> {
        let [open, ..] = self.0.prices();
        open.map(BigDecimal)
    }

    /// The highest price at the end of a block in which it was swapped, `open` included.
    async fn high(&self) -> Option<BigDecimal> {
        let [_, high, ..] = self.0.prices();
        high.map(BigDecimal)
    }

    /// The lowest, `open` included.
    async fn low(&self) -> Option<BigDecimal> {
        let [.., low, _] = self.0.prices();
        low.map(BigDecimal)
    }

    /// The price at the end of the last block in which it was swapped.
    async fn close(&self) -> Option<BigDecimal> {
        let [.., close] = self.0.prices();
        close.map(BigDecimal)
    }
}

/// An hour or a day of a factory: of all of its pools together.
pub(crate) struct ProtocolPeriod(PeriodValue);

/// An hour or a day of a factory: of all of its pools together.
#[Object]
impl ProtocolPeriod {
    /// When it begins. Days are UTC.
    async fn start(&self) -> Timestamp {
        Timestamp(self.0.start())
    }

    /// When the next one begins.
    async fn end(&self) -> Timestamp {
        Timestamp(self.0.end())
    }

    /// A block came that is later than it: only a reorg can change it now.
    async fn closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Events of its pools, of whatever kind.
    async fn tx_count(&self) -> u32 {
        self.0.events()
    }

    /// Swaps among them.
    async fn swap_count(&self) -> u32 {
        self.0.swaps()
    }

    /// Dollars, each swap at the prices of its block. Null where the value of some of them is not known.
    #[graphql(name = "volumeUSD")]
    async fn volume_usd(&self) -> Option<BigDecimal> {
        self.0.volume_usd().map(BigDecimal)
    }

    /// What these swaps cost: of each its pool's fee.
    #[graphql(name = "feesUSD")]
    async fn fees_usd(&self) -> Option<BigDecimal> {
        self.0.fees_usd().map(BigDecimal)
    }

    /// Dollars that its pools held at the end, at the prices of then: of pools whose tokens both have a price. Null where nobody wrote it down.
    #[graphql(name = "totalValueLockedUSD")]
    async fn locked_usd(&self) -> Option<BigDecimal> {
        self.0.locked_usd().map(BigDecimal)
    }
}

connection!(PoolPeriodConnection, "PoolPeriodConnection", PoolPeriodEdge, "PoolPeriodEdge", PoolPeriod);
connection!(TokenPeriodConnection, "TokenPeriodConnection", TokenPeriodEdge, "TokenPeriodEdge", TokenPeriod);
connection!(ProtocolPeriodConnection, "ProtocolPeriodConnection", ProtocolPeriodEdge, "ProtocolPeriodEdge", ProtocolPeriod);

/// What all of these are asked with.
struct Asked {
    chain: Option<ChainId>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    first: i32,
    after: Option<Cursor>,
    direction: OrderDirection,
    block: Option<BlockHeight>,
}

async fn page<N>(
    ctx: &Context<'_>,
    of: Subject,
    interval: Interval,
    asked: Asked,
    node: fn(PeriodValue) -> N,
) -> Result<Page<N>, ApiError> {
    let count = first(asked.first)?;
    let pin = pin(ctx, asked.chain).await?;
    BlockHeight::check(asked.block, &pin)?;
    let (from, to) = super::pool::stretch(asked.from, asked.to)?;
    let newest_first = asked.direction == OrderDirection::Desc;
    let all = PeriodQuery {
        of,
        interval,
        from: from.unwrap_or(0),
        to: to.unwrap_or(u64::MAX),
        limit: usize::try_from(EventQuery::COUNT_CAP).unwrap_or(usize::MAX).saturating_add(1),
        newest_first,
    };
    let mut query = PeriodQuery { limit: count.saturating_add(1), ..all };
    if let Some(after) = &asked.after {
        let start = place(after)?;
        if newest_first {
            query.to = query.to.min(start);
        } else {
            query.from = query.from.max(start.saturating_add(1));
        }
    }
    let reader = &core(ctx)?.reader;
    let found = reader.periods(&pin, query).await?;
    let is_counted = ["totalCount", "totalCountCapped"].iter().any(|name| ctx.look_ahead().field(name).exists());
    let total = if is_counted { reader.count_periods(&pin, all).await? } else { 0 };
    let form = Form::new(&pin, &of, interval);
    let item = |at: crate::store::periods::PeriodAt| {
        (cursor::encode_key("period", &at.period.start.to_string()), node(PeriodValue::new(at, form)))
    };
    let items: Vec<_> = found.periods.into_iter().map(item).collect();
    Ok(Page::new(items, count, asked.after.is_some(), Total::Known(u64::try_from(total).unwrap_or(u64::MAX))))
}

/// Where the period of a cursor begins.
pub(in crate::api) fn place(cursor: &Cursor) -> Result<u64, ApiError> {
    let start = cursor::decode_key("period", cursor)?.parse();
    start.map_err(|_| ApiError::input("this is no cursor of a list of hours or days"))
}

pub(crate) struct Periods;

macro_rules! period_queries {
    ($($(#[$about:meta])* $name:ident: $interval:ident of $argument:ident: $scalar:ty, $desc:literal, $of:expr => $connection:ident($node:ident);)*) => {
        #[Object]
        impl Periods {
            $(
                $(#[$about])*
                #[expect(clippy::too_many_arguments, reason = "they are the arguments of the GraphQL field")]
                #[graphql(complexity = "cost(first, child_complexity)")]
                async fn $name(
                    &self,
                    ctx: &Context<'_>,
                    #[graphql(desc = $desc)] $argument: $scalar,
                    #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
                    #[graphql(desc = "Only those that begin here or later")] from: Option<Timestamp>,
                    #[graphql(desc = "Only those that begin before this")] to: Option<Timestamp>,
                    #[graphql(desc = "How many, 1 to 1000", default_with = "FIRST_DEFAULT")] first: i32,
                    #[graphql(desc = "Only those after this cursor")] after: Option<Cursor>,
                    #[graphql(desc = "Newest first unless `asc`", default_with = "OrderDirection::Desc")] order_direction: OrderDirection,
                    #[graphql(desc = "The block that the answer must be of")] block: Option<BlockHeight>,
                ) -> async_graphql::Result<$connection> {
                    let asked = Asked { chain: chain_id, from, to, first, after, direction: order_direction, block };
                    let of = $of($argument)?;
                    Ok($connection(page(ctx, of, Interval::$interval, asked, $node).await?))
                }
            )*
        }
    };
}

fn of_pool(pool: ID) -> Result<Subject, ApiError> {
    args::pool_id(&pool).map(Subject::Pool)
}

fn of_token(token: AddressScalar) -> Result<Subject, ApiError> {
    Ok(Subject::Token(token.0))
}

fn of_factory(factory: AddressScalar) -> Result<Subject, ApiError> {
    Ok(Subject::Factory(factory.0))
}

period_queries! {
    /// Days of a pool in which it had an event.
    pool_day_datas: D1 of pool: ID, "The pool's address, any case", of_pool => PoolPeriodConnection(PoolPeriod);
    /// Hours of a pool in which it had an event.
    pool_hour_datas: H1 of pool: ID, "The pool's address, any case", of_pool => PoolPeriodConnection(PoolPeriod);
    /// Days of a token in which one of its pools had an event.
    token_day_datas: D1 of token: AddressScalar, "The token's address, any case", of_token => TokenPeriodConnection(TokenPeriod);
    /// Hours of a token in which one of its pools had an event.
    token_hour_datas: H1 of token: AddressScalar, "The token's address, any case", of_token => TokenPeriodConnection(TokenPeriod);
    /// Days of a factory in which one of its pools had an event.
    protocol_day_datas: D1 of factory: AddressScalar, "The factory's address, any case; `Pool.factory` names it", of_factory => ProtocolPeriodConnection(ProtocolPeriod);
    /// Hours of a factory in which one of its pools had an event.
    protocol_hour_datas: H1 of factory: AddressScalar, "The factory's address, any case; `Pool.factory` names it", of_factory => ProtocolPeriodConnection(ProtocolPeriod);
}
