//! The queries: the index of what can be read.

use std::{cmp::Ordering, sync::Arc};

use async_graphql::{Context, ID, Object, Result};

use super::{
    args::{self, BurnWhere, EventOrder, MintWhere, PoolFilter, PoolOrder, PoolWhere, SwapWhere, TokenOrder},
    block::OrderDirection,
    connection::{FIRST_DEFAULT, Page, Total, first, page_cost},
    cursor,
    depth::{self, SwapToPrice},
    error::{ApiError, Code},
    event::{BurnConnection, MintConnection, SwapConnection},
    event_query::{self, Asked},
    heights::BlockHeight,
    meta::Meta,
    period::Periods,
    pins::pin,
    pool::{Pool, PoolConnection},
    position::{self, PositionConnection, PositionWhere},
    price::{self, TokenKey, TokenPrice},
    quote::{self, Quote, QuoteInput},
    scalars::{AddressScalar, BigDecimal, Cursor, Timestamp},
    search::{self, ActivityConnection, SearchHit},
    simulate::{self, SimulationResult, SwapStep},
    token::{Token, TokenConnection},
    transaction::Transaction,
};
use crate::{
    domain::{event::EventKind, pool::PoolId, token::TokenMeta},
    store::{Pin, PoolView},
};

pub(crate) struct Query;

/// Everything that can be asked. All answers of one request are about one block of a chain: `_meta` and `extensions.asOf` name it.
#[Object]
impl Query {
    /// What a swap would pay, to the wei: the best way of up to four pools one after the other, out of memory.
    #[graphql(complexity = "quote::COST + child_complexity")]
    async fn quote(&self, ctx: &Context<'_>, #[graphql(desc = "The swap")] input: QuoteInput) -> Result<Quote> {
        Ok(quote::quote(ctx, input).await?)
    }

    /// What several swaps would pay, each by itself and all at the same block.
    #[graphql(complexity = "inputs.len().saturating_mul(quote::COST.saturating_add(child_complexity))")]
    async fn quotes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The swaps, at most 20")] inputs: Vec<QuoteInput>,
    ) -> Result<Vec<Quote>> {
        Ok(quote::quotes(ctx, inputs).await?)
    }

    /// What swaps would do one after the other, each in the pools as the ones before left them. All of them, or an error that names the first
    /// that cannot be done.
    #[graphql(complexity = "steps.len().saturating_mul(simulate::COST.saturating_add(child_complexity))")]
    async fn simulate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "The swaps, 1 to 50")] steps: Vec<SwapStep>,
    ) -> Result<SimulationResult> {
        Ok(simulate::simulate(ctx, chain_id, &steps).await?)
    }

    /// The smallest swap that brings a pool's price to `targetPrice`; null where there is no such pool.
    #[graphql(complexity = "depth::COST + child_complexity")]
    async fn swap_to_price(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "The pool's address, any case")] pool: ID,
        #[graphql(desc = "What is paid with: one of its two tokens")] token_in: AddressScalar,
        #[graphql(desc = "tokenOut per tokenIn, in their own units: below what it is now, for the swap makes tokenIn cheaper")]
        target_price: BigDecimal,
    ) -> Option<Result<SwapToPrice>> {
        let found = async {
            let id = args::pool_id(&pool)?;
            let pin = pin(ctx, chain_id).await?;
            pin.pool(&id).map(|view| depth::swap_to_price(&pin, &view, &token_in, &target_price)).transpose()
        };
        nullable(found.await)
    }

    #[graphql(flatten)]
    async fn periods(&self) -> Periods {
        Periods
    }

    /// One pool; null where there is none with this id.
    async fn pool(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "The pool's address, any case")] id: ID,
        #[graphql(desc = "The block that the answer must be of")] block: Option<BlockHeight>,
    ) -> Option<Result<Pool>> {
        let found = async {
            let id = args::pool_id(&id)?;
            let pin = pin(ctx, chain_id).await?;
            BlockHeight::check(block, &pin)?;
            Ok(pin.pool(&id).map(|view| Pool::new(&pin, view)))
        };
        nullable(found.await)
    }

    /// Pools, oldest first unless asked otherwise.
    #[expect(clippy::too_many_arguments, reason = "they are the arguments of the GraphQL field")]
    #[graphql(complexity = "page_cost(first, child_complexity)")]
    async fn pools(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "How many, 1 to 1000", default_with = "FIRST_DEFAULT")] first: i32,
        #[graphql(desc = "Only those after this cursor")] after: Option<Cursor>,
        #[graphql(desc = "Which pools", name = "where")] filter: Option<PoolWhere>,
        #[graphql(desc = "What to order by", default)] order_by: PoolOrder,
        #[graphql(desc = "Ascending or descending", default)] order_direction: OrderDirection,
        #[graphql(desc = "The block that the answer must be of")] block: Option<BlockHeight>,
    ) -> Result<PoolConnection> {
        let filter = PoolFilter::new(filter)?;
        let pin = pin(ctx, chain_id).await?;
        BlockHeight::check(block, &pin)?;
        let mut views = pin.pools();
        views.retain(|view| filter.admits(view));
        let order = |a: &PoolView, b: &PoolView| pool_order(order_by, a, b);
        let from = match &after {
            Some(cursor) => Some(pool_at(&pin, cursor)?),
            None => None,
        };
        let page = page(views, &order, order_direction, first, from.as_deref(), |view| {
            (cursor::encode_key("pool", &view.meta.id.to_string()), Pool::new(&pin, view))
        })?;
        Ok(PoolConnection(page))
    }

    /// One token; null where no pool trades it.
    async fn token(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "The token's address, any case")] id: ID,
        #[graphql(desc = "The block that the answer must be of")] block: Option<BlockHeight>,
    ) -> Option<Result<Token>> {
        let found = async {
            let id = args::token_id(&id)?;
            let pin = pin(ctx, chain_id).await?;
            BlockHeight::check(block, &pin)?;
            Ok(pin.token(&id).map(Token::known))
        };
        nullable(found.await)
    }

    /// Tokens that pools trade, by address unless asked otherwise.
    #[graphql(complexity = "page_cost(first, child_complexity)")]
    async fn tokens(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "How many, 1 to 1000", default_with = "FIRST_DEFAULT")] first: i32,
        #[graphql(desc = "Only those after this cursor")] after: Option<Cursor>,
        #[graphql(desc = "What to order by", default)] order_by: TokenOrder,
        #[graphql(desc = "Ascending or descending", default)] order_direction: OrderDirection,
        #[graphql(desc = "The block that the answer must be of")] block: Option<BlockHeight>,
    ) -> Result<TokenConnection> {
        let pin = pin(ctx, chain_id).await?;
        BlockHeight::check(block, &pin)?;
        let order = |a: &TokenMeta, b: &TokenMeta| token_order(order_by, a, b);
        let from = match &after {
            Some(cursor) => {
                let id = args::token_id(&ID(cursor::decode_key("token", cursor)?))?;
                Some(pin.token(&id).ok_or_else(|| gone("token"))?)
            }
            None => None,
        };
        let page = page(pin.tokens(), &order, order_direction, first, from.as_deref(), |meta| {
            (cursor::encode_key("token", &format!("{:#x}", meta.address)), Token::known(meta))
        })?;
        Ok(TokenConnection(page))
    }

    /// Swaps in the order of the chain, oldest first unless asked otherwise.
    #[graphql(complexity = "page_cost(first, child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "they are the arguments of the GraphQL field")]
    async fn swaps(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "How many, 1 to 1000", default_with = "FIRST_DEFAULT")] first: i32,
        #[graphql(desc = "Only those after this cursor, in the order asked for")] after: Option<Cursor>,
        #[graphql(desc = "Which swaps", name = "where")] filter: Option<SwapWhere>,
        #[graphql(desc = "What to order by", default)] order_by: EventOrder,
        #[graphql(desc = "Ascending or descending", default)] order_direction: OrderDirection,
        #[graphql(desc = "The block that the answer must be of")] block: Option<BlockHeight>,
    ) -> Result<SwapConnection> {
        let EventOrder::Timestamp = order_by;
        let filter = filter.try_into()?;
        let asked = Asked { kind: EventKind::Swap, chain: chain_id, first, after, filter, direction: order_direction, block };
        Ok(SwapConnection(event_query::page(ctx, asked).await?))
    }

    /// Liquidity put into pools, in the order of the chain, oldest first unless asked otherwise.
    #[graphql(complexity = "page_cost(first, child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "they are the arguments of the GraphQL field")]
    async fn mints(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "How many, 1 to 1000", default_with = "FIRST_DEFAULT")] first: i32,
        #[graphql(desc = "Only those after this cursor, in the order asked for")] after: Option<Cursor>,
        #[graphql(desc = "Which mints", name = "where")] filter: Option<MintWhere>,
        #[graphql(desc = "What to order by", default)] order_by: EventOrder,
        #[graphql(desc = "Ascending or descending", default)] order_direction: OrderDirection,
        #[graphql(desc = "The block that the answer must be of")] block: Option<BlockHeight>,
    ) -> Result<MintConnection> {
        let EventOrder::Timestamp = order_by;
        let filter = filter.try_into()?;
        let asked = Asked { kind: EventKind::Mint, chain: chain_id, first, after, filter, direction: order_direction, block };
        Ok(MintConnection(event_query::page(ctx, asked).await?))
    }

    /// Liquidity taken out of pools, in the order of the chain, oldest first unless asked otherwise.
    #[graphql(complexity = "page_cost(first, child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "they are the arguments of the GraphQL field")]
    async fn burns(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "How many, 1 to 1000", default_with = "FIRST_DEFAULT")] first: i32,
        #[graphql(desc = "Only those after this cursor, in the order asked for")] after: Option<Cursor>,
        #[graphql(desc = "Which burns", name = "where")] filter: Option<BurnWhere>,
        #[graphql(desc = "What to order by", default)] order_by: EventOrder,
        #[graphql(desc = "Ascending or descending", default)] order_direction: OrderDirection,
        #[graphql(desc = "The block that the answer must be of")] block: Option<BlockHeight>,
    ) -> Result<BurnConnection> {
        let EventOrder::Timestamp = order_by;
        let filter = filter.try_into()?;
        let asked = Asked { kind: EventKind::Burn, chain: chain_id, first, after, filter, direction: order_direction, block };
        Ok(BurnConnection(event_query::page(ctx, asked).await?))
    }

    /// One transaction; null where no event of it is known.
    #[graphql(complexity = "child_complexity + EventKind::ALL.len()")]
    async fn transaction(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "The transaction's hash, `0x` and 64 hex digits, any case")] id: ID,
        #[graphql(desc = "The block that the answer must be of")] block: Option<BlockHeight>,
    ) -> Option<Result<Transaction>> {
        let found = async {
            let hash = args::transaction_id(&id)?;
            let pin = pin(ctx, chain_id).await?;
            BlockHeight::check(block, &pin)?;
            Transaction::find(ctx, &pin, hash).await
        };
        nullable(found.await)
    }

    /// Positions of liquidity in pools with ticks, by pool and then by token; of accounts' own after those of managers' tokens. Positions
    /// that are older than what this server has read of a pool are not known.
    #[graphql(complexity = "page_cost(first, child_complexity).saturating_add(position::COST)")]
    async fn positions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "How many, 1 to 1000", default_with = "FIRST_DEFAULT")] first: i32,
        #[graphql(desc = "Only those after this cursor")] after: Option<Cursor>,
        #[graphql(desc = "Which positions", name = "where")] filter: PositionWhere,
        #[graphql(desc = "The block that the answer must be of")] block: Option<BlockHeight>,
    ) -> Result<PositionConnection> {
        Ok(position::positions(ctx, chain_id, (first, after), filter, block).await?)
    }

    /// What tokens cost in dollars, in the order of `tokens`, each with its sources.
    #[graphql(complexity = "price::cost(tokens.len(), child_complexity, block.is_some() || time.is_some())")]
    async fn prices(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The tokens, 1 to 100 of them")] tokens: Vec<TokenKey>,
        #[graphql(
            desc = "As of this height or the newest before it: where a feed is bound to a token what was recorded of it in the five minutes before, else what pools said"
        )]
        block: Option<u64>,
        #[graphql(desc = "The same as of a time, seconds since 1970")] time: Option<Timestamp>,
    ) -> Result<Vec<TokenPrice>> {
        price::prices(ctx, tokens, price::moment(block, time)?).await
    }

    /// Tokens and pools by what people type: an address, a symbol, a name, or two of them for a pool (`WETH/USDC`). The best first. Anybody
    /// may call a token anything: go by the address.
    #[graphql(complexity = "page_cost(first, child_complexity).saturating_add(search::COST)")]
    async fn search(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What was typed; case does not matter")] text: String,
        #[graphql(desc = "How many, 1 to 100", default = 20)] first: i32,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
    ) -> Result<Vec<SearchHit>> {
        search::search(ctx, chain_id, &text, first).await
    }

    /// What the transactions that an account signed made happen, newest first: swaps, mints and burns, as far as signers have been looked up.
    #[graphql(complexity = "page_cost(first, child_complexity)")]
    async fn account_activity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The account, any case")] address: AddressScalar,
        #[graphql(desc = "How many, 1 to 1000", default_with = "FIRST_DEFAULT")] first: i32,
        #[graphql(desc = "Only older ones than at this cursor")] after: Option<Cursor>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
    ) -> Result<ActivityConnection> {
        Ok(search::activity(ctx, chain_id, address, first, after).await?)
    }

    /// Every pair that is fed from outside the chain.
    #[graphql(complexity = "20 * child_complexity + 1")]
    async fn feeds(&self, ctx: &Context<'_>) -> Result<Vec<price::Feed>> {
        price::feeds(ctx)
    }

    /// What this server knows of a chain, and how new it is.
    #[graphql(name = "_meta")]
    async fn meta(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "The block that the answer must be of")] block: Option<BlockHeight>,
    ) -> Result<Meta> {
        let pin = pin(ctx, chain_id).await?;
        BlockHeight::check(block, &pin)?;
        Ok(Meta(pin))
    }
}

/// The engine leaves a failed field out, unless it is the inside of an `Option` that fails: then the field is null, as it must be.
pub(super) fn nullable<T>(found: std::result::Result<Option<T>, ApiError>) -> Option<Result<T>> {
    found.map_err(async_graphql::Error::from).transpose()
}

fn gone(what: &str) -> ApiError {
    ApiError::new(
        Code::CursorExpired,
        format!("the {what} that this cursor points at is not there any more: read the list again from its start"),
    )
}

fn pool_at(pin: &Pin, cursor: &Cursor) -> std::result::Result<Arc<PoolView>, ApiError> {
    let id: PoolId = args::pool_id(&ID(cursor::decode_key("pool", cursor)?))?;
    // Taken back by a reorg together with the block that created it.
    pin.pool(&id).ok_or_else(|| gone("pool"))
}

fn pool_order(by: PoolOrder, a: &PoolView, b: &PoolView) -> Ordering {
    let created = |view: &PoolView| (view.meta.created.block.number, view.meta.created.log_index, view.meta.id);
    match by {
        PoolOrder::Id => a.meta.id.cmp(&b.meta.id),
        PoolOrder::CreatedAtBlockNumber => created(a).cmp(&created(b)),
    }
}

fn token_order(by: TokenOrder, a: &TokenMeta, b: &TokenMeta) -> Ordering {
    let symbol = |meta: &TokenMeta| meta.symbol.as_ref().map(|s| s.to_lowercase());
    match by {
        TokenOrder::Id => a.address.cmp(&b.address),
        TokenOrder::Symbol => symbol(a).cmp(&symbol(b)).then_with(|| a.address.cmp(&b.address)),
    }
}

/// A page of a list that is wholly in memory.
fn page<T, N>(
    mut all: Vec<Arc<T>>,
    order: &dyn Fn(&T, &T) -> Ordering,
    direction: OrderDirection,
    count: i32,
    after: Option<&T>,
    node: impl Fn(Arc<T>) -> (Cursor, N),
) -> std::result::Result<Page<N>, ApiError> {
    let count = first(count)?;
    let total = u64::try_from(all.len()).unwrap_or(u64::MAX);
    let directed = |a: &T, b: &T| if direction == OrderDirection::Desc { order(b, a) } else { order(a, b) };
    all.sort_by(|a, b| directed(a, b));
    let start = after.map_or(0, |at| all.partition_point(|one| directed(one, at) != Ordering::Greater));
    let items = all.into_iter().skip(start).take(count.saturating_add(1)).map(node).collect();
    Ok(Page::new(items, count, after.is_some(), Total::Known(total)))
}
