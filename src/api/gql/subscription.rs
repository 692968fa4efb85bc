//! The subscriptions: one frame per change of the chain, from the commit straight to the socket.

use std::{collections::BTreeSet, sync::Arc};

use async_graphql::{Context, ID, Result, Subscription as GraphQlSubscription};
use futures_util::stream::{self, Stream};

use super::{
    args::{self, EventFilter, SwapWhere},
    block::Protocol,
    candle::Interval,
    candle_feed::{self, CandleFrame},
    core::Core,
    error::{ApiError, Code},
    events_feed::{self, EventKind},
    following::{self, Following},
    frame::{self, BlockEvent, DexEvent, PoolEvent, SwapEvent},
    heights::BlockHeight,
    link::link,
    pool_feed,
    price::TokenKey,
    price_feed::{self, FeedEvent, PriceEvent, Wanted},
    quote::{self, QuoteInput},
    quote_feed::{self, QuoteEvent},
    scalars::{AddressScalar, Cursor},
};
use crate::{
    domain::{ChainId, event, market::Subject},
    store::{
        Live, Pin,
        follow::{Interest, News},
        topics,
    },
};

/// Pools that one subscription may name.
const POOLS_MAX: usize = 100;

pub(crate) struct Subscription;

fn shared(ctx: &Context<'_>) -> std::result::Result<Arc<Core>, ApiError> {
    let core = ctx.data_opt::<Arc<Core>>().cloned();
    core.ok_or_else(|| ApiError::new(Code::UpstreamDown, "this server is not ready yet: try again in a moment"))
}

fn door(ctx: &Context<'_>, chain: Option<ChainId>) -> std::result::Result<(Arc<Core>, Arc<Live>), ApiError> {
    let core = shared(ctx)?;
    let live = core.reader.live(chain)?.clone();
    Ok((core, live))
}

fn following(
    ctx: &Context<'_>,
    chain: Option<ChainId>,
    interest: Interest,
    resume_from: Option<Cursor>,
) -> std::result::Result<Following, ApiError> {
    let ((core, live), link) = (door(ctx, chain)?, link(ctx));
    let after = following::start(&link, &live, resume_from)?;
    Ok(Following::new(&core, &live, link, interest, after))
}

/// `resumeFrom`, or the position before `since`.
async fn begin(
    ctx: &Context<'_>,
    chain: Option<ChainId>,
    since: Option<BlockHeight>,
    resume_from: Option<Cursor>,
) -> std::result::Result<Option<Cursor>, ApiError> {
    match since {
        // Whoever comes back has both, because clients send again what they sent at first.
        Some(since) if resume_from.is_none() && link(ctx).follows_document() => {
            let (core, live) = door(ctx, chain)?;
            Ok(Some(Cursor(since.before(&core.reader, &live).await?.encode())))
        }
        _ => Ok(resume_from),
    }
}

/// What is pushed while the chain moves. Every payload is a frame; a reorg arrives as a RETRACT.
#[GraphQlSubscription]
impl Subscription {
    /// Blocks as they join the chain, and as a reorg takes them back.
    async fn blocks(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "The cursor of the last frame that was read: goes on right after it")] resume_from: Option<Cursor>,
    ) -> Result<impl Stream<Item = Result<BlockEvent>> + use<>> {
        let following = following(ctx, chain_id, Interest::Blocks, resume_from)?;
        Ok(stream::unfold(following, |mut following| async move {
            let keep = |_: &Arc<Pin>, news: &News| frame::blocks(news);
            let item = following.next(keep).await?.map(|(envelope, data)| BlockEvent { envelope, data });
            Some((item.map_err(Into::into), following))
        }))
    }

    /// Swaps as they happen, and as a reorg takes them back.
    async fn on_swaps_created(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "Which swaps: of one `pool`, or of one `token`", name = "where")] filter: Option<SwapWhere>,
        #[graphql(desc = "From this block on, that block too: first what is known of it, then live")] since: Option<BlockHeight>,
        #[graphql(desc = "The cursor of the last frame that was read: goes on right after it")] resume_from: Option<Cursor>,
    ) -> Result<impl Stream<Item = Result<SwapEvent>> + use<>> {
        let filter: EventFilter = filter.try_into()?;
        if filter.origin.is_some() || filter.transaction.is_some() || filter.time_from.is_some() || filter.time_to.is_some() {
            return Err(ApiError::input("`where` of onSwapsCreated takes pool and token only").into());
        }
        let token = filter.token;
        let wanted = events_feed::Wanted { pool: filter.pool, token, maker: None, kinds: vec![event::EventKind::Swap] };
        let resume_from = begin(ctx, chain_id, since, resume_from).await?;
        let following = following(ctx, chain_id, wanted.interest(), resume_from)?;
        Ok(stream::unfold(following, move |mut following| async move {
            let keep = |pin: &Arc<Pin>, news: &News| frame::swaps(pin, news, token);
            let item = following.next(keep).await?.map(|(envelope, data)| SwapEvent { envelope, data });
            Some((item.map_err(Into::into), following))
        }))
    }

    /// Swaps, mints and burns as they happen, and as a reorg takes them back.
    #[expect(clippy::too_many_arguments, reason = "they are the field's")]
    async fn on_events_created(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only of this pool")] pool: Option<ID>,
        #[graphql(desc = "Only of pools that trade this token")] token: Option<AddressScalar>,
        #[graphql(desc = "Only what this account called, got, or owns; as a signer only where that has been looked up")]
        maker: Option<AddressScalar>,
        #[graphql(desc = "Only of these kinds; all of them where it is not said")] kinds: Option<Vec<EventKind>>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "From this block on, that block too: first what is known of it, then live")] since: Option<BlockHeight>,
        #[graphql(desc = "The cursor of the last frame that was read: goes on right after it")] resume_from: Option<Cursor>,
    ) -> Result<impl Stream<Item = Result<DexEvent>> + use<>> {
        let kinds = kinds.unwrap_or_else(|| vec![EventKind::Swap, EventKind::Mint, EventKind::Burn]);
        if kinds.is_empty() {
            return Err(ApiError::input("`kinds` is empty: name at least one, or leave it out").into());
        }
        let wanted = events_feed::Wanted {
            pool: pool.as_ref().map(args::pool_id).transpose()?,
            token: token.map(|token| token.0),
            maker: maker.map(|maker| maker.0),
            kinds: kinds.into_iter().map(Into::into).collect(),
        };
        let resume_from = begin(ctx, chain_id, since, resume_from).await?;
        Ok(events_feed::on_events(following(ctx, chain_id, wanted.interest(), resume_from)?, wanted))
    }

    /// Pools as they are created, and as a reorg takes them back: then the pool is shown as it was created.
    async fn on_pool_created(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "Only pools of this protocol")] protocol: Option<Protocol>,
        #[graphql(desc = "The cursor of the last frame that was read: goes on right after it")] resume_from: Option<Cursor>,
    ) -> Result<impl Stream<Item = Result<PoolEvent>> + use<>> {
        let (_, live) = door(ctx, chain_id)?;
        Ok(events_feed::on_pools(following(ctx, chain_id, Interest::Created, resume_from)?, live, protocol))
    }

    /// A pool's candles: the one under way, then what changes with each swap and each reorg. Each frame replaces all candles from its `from` on.
    async fn on_candles_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The pool's address, any case")] pool: ID,
        #[graphql(desc = "How long a candle is")] interval: Interval,
        #[graphql(desc = "Prices of token1 in token0", default)] invert: bool,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
    ) -> Result<impl Stream<Item = Result<CandleFrame>> + use<>> {
        let pool = args::pool_id(&pool)?;
        let (core, live) = door(ctx, chain_id)?;
        Ok(candle_feed::stream(
            core,
            &live,
            link(ctx),
            candle_feed::Asked { of: Subject::Pool(pool), interval: interval.into(), invert },
        ))
    }

    /// A token's candles in dollars: the one under way, then what changes with each swap in one of its pools and each reorg. Each frame replaces
    /// all candles from its `from` on.
    async fn on_token_candles_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The token")] token: TokenKey,
        #[graphql(desc = "How long a candle is")] interval: Interval,
    ) -> Result<impl Stream<Item = Result<CandleFrame>> + use<>> {
        let (core, live) = door(ctx, token.chain_id)?;
        let of = Subject::Token(token.address.0);
        Ok(candle_feed::stream(core, &live, link(ctx), candle_feed::Asked { of, interval: interval.into(), invert: false }))
    }

    /// Reorgs: the blocks that are taken back, newest first, each time that happens.
    async fn on_reorg(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "The cursor of the last frame that was read: goes on right after it")] resume_from: Option<Cursor>,
    ) -> Result<impl Stream<Item = Result<BlockEvent>> + use<>> {
        let following = following(ctx, chain_id, Interest::Blocks, resume_from)?;
        Ok(stream::unfold(following, |mut following| async move {
            let keep = |_: &Arc<Pin>, news: &News| match news.kind {
                topics::FrameKind::Retract => frame::blocks(news),
                _ => Vec::new(),
            };
            let item = following.next(keep).await?.map(|(envelope, data)| BlockEvent { envelope, data });
            Some((item.map_err(Into::into), following))
        }))
    }

    /// What tokens cost in dollars: a SNAPSHOT of all, then those that moved. A reader that is slow gets the newest prices, not each.
    #[graphql(complexity = "tokens.len().saturating_mul(child_complexity.saturating_add(1))")]
    async fn on_prices_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The tokens, 1 to 100 of them")] tokens: Vec<TokenKey>,
        #[graphql(desc = "Only moves of at least so many parts of 10,000; 0: every move", default = 0)] min_change_bps: i32,
        #[graphql(desc = "At most one frame in so many milliseconds, 0 to 60000", default = 0)] throttle_ms: i32,
        #[graphql(desc = "Accepted, and answered with a SNAPSHOT: only the newest price counts")] resume_from: Option<Cursor>,
    ) -> Result<impl Stream<Item = Result<PriceEvent>> + use<>> {
        drop(resume_from);
        let core = shared(ctx)?;
        let wanted = Wanted::new(&core, &tokens, min_change_bps, throttle_ms)?;
        Ok(price_feed::on_prices(core, link(ctx), wanted))
    }

    /// What a swap would pay: a SNAPSHOT, then an UPDATE with each block that changes it. A reader that is slow gets the newest, not each.
    #[graphql(complexity = "quote::COST + child_complexity")]
    async fn on_quote_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The swap")] input: QuoteInput,
        #[graphql(
            desc = "Only where the amount that is not given moves by so many parts of 10,000; 0: every change",
            default = 1
        )]
        min_change_bps: i32,
    ) -> Result<impl Stream<Item = Result<QuoteEvent>> + use<>> {
        Ok(quote_feed::on_quote(shared(ctx)?, link(ctx), quote_feed::Wanted::new(input, min_change_bps)?)?)
    }

    /// The standing of feeds: a SNAPSHOT of all, then those whose status changed, or that left a source out or took it back.
    async fn on_feed_status(&self, ctx: &Context<'_>) -> Result<impl Stream<Item = Result<FeedEvent>> + use<>> {
        Ok(price_feed::on_feed_status(shared(ctx)?, link(ctx)))
    }

    /// The state of pools: a SNAPSHOT of each, then each change. An id of a pool that does not exist yet gets an empty SNAPSHOT, and
    /// its frames once it is created.
    async fn on_pool_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The pools' addresses, any case; 1 to 100 of them")] ids: Vec<ID>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "Accepted, and answered with a SNAPSHOT: only the newest state counts")] resume_from: Option<Cursor>,
    ) -> Result<impl Stream<Item = Result<PoolEvent>> + use<>> {
        if ids.is_empty() || ids.len() > POOLS_MAX {
            return Err(ApiError::input(format!("`ids` takes 1 to {POOLS_MAX} pool ids, these are {}", ids.len())).into());
        }
        let ids = ids.iter().map(args::pool_id).collect::<std::result::Result<BTreeSet<_>, _>>()?;
        drop(resume_from);
        let (core, live) = door(ctx, chain_id)?;
        Ok(pool_feed::on_pools(pool_feed::Pools::new(&core, &live, link(ctx), ids)))
    }
}
