//! The subscriptions: one frame per change of the chain, from the commit straight to the socket.

use std::{collections::BTreeSet, sync::Arc};

use async_graphql::{Context, ID, Result, Subscription as GraphQlSubscription};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream, Stream},
};

use super::{
    args::{self, EventFilter, SwapWhere},
    block::Protocol,
    candle::Interval,
    candle_feed::{self, CandleFrame},
    core::Core,
    error::{ApiError, Code},
    events_feed::{self, EventKind},
    feed::Feed,
    frame::{self, BlockEvent, DexEvent, PoolEvent, SwapEvent},
    pool::Pool,
    price::TokenKey,
    price_feed::{self, FeedEvent, PriceEvent, Wanted},
    quote::{self, QuoteInput},
    quote_feed::{self, QuoteEvent},
    scalars::AddressScalar,
};
use crate::{
    domain::{ChainId, market::Subject},
    store::{
        Live, Pin,
        topics::{self, Topic},
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

/// What is pushed while the chain moves. Every payload is a frame; a reorg arrives as a RETRACT.
#[GraphQlSubscription]
impl Subscription {
    /// Blocks as they join the chain, and as a reorg takes them back.
    async fn blocks(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
    ) -> Result<impl Stream<Item = Result<BlockEvent>> + use<>> {
        let (core, live) = door(ctx, chain_id)?;
        let feed = Feed::new(&core, &live, Topic::Blocks);
        Ok(stream::unfold(feed, |mut feed| async move {
            let item = match feed.next().await? {
                Ok(frame) => Ok(frame::blocks(feed.envelope_of(&frame), &frame)),
                Err(error) => Err(error.into()),
            };
            Some((item, feed))
        }))
    }

    /// Swaps as they happen, and as a reorg takes them back.
    async fn on_swaps_created(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "Which swaps: of one `pool`, or of one `token`", name = "where")] filter: Option<SwapWhere>,
    ) -> Result<impl Stream<Item = Result<SwapEvent>> + use<>> {
        let filter: EventFilter = filter.try_into()?;
        if filter.origin.is_some() || filter.transaction.is_some() || filter.time_from.is_some() || filter.time_to.is_some() {
            return Err(ApiError::input("`where` of onSwapsCreated takes pool and token only").into());
        }
        let (core, live) = door(ctx, chain_id)?;
        let feed = Feed::new(&core, &live, filter.pool.map_or(Topic::Swaps, Topic::PoolSwaps));
        Ok(stream::unfold(feed, move |mut feed| async move {
            loop {
                let frame = match feed.next().await? {
                    Ok(frame) => frame,
                    Err(error) => return Some((Err(error.into()), feed)),
                };
                let pin = Arc::new(feed.live().pin());
                let swaps = frame::wanted_swaps(&frame, &pin, filter.token);
                if !swaps.is_empty() {
                    return Some((Ok(SwapEvent { envelope: feed.envelope_of(&frame), data: swaps }), feed));
                }
            }
        }))
    }

    /// Swaps, mints and burns as they happen, and as a reorg takes them back.
    async fn on_events_created(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only of this pool")] pool: Option<ID>,
        #[graphql(desc = "Only of pools that trade this token")] token: Option<AddressScalar>,
        #[graphql(desc = "Only what this account called, got, or owns; as a signer only where that has been looked up")]
        maker: Option<AddressScalar>,
        #[graphql(desc = "Only of these kinds; all of them where it is not said")] kinds: Option<Vec<EventKind>>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
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
        let (core, live) = door(ctx, chain_id)?;
        Ok(events_feed::on_events(core, &live, wanted))
    }

    /// Pools as they are created, and as a reorg takes them back: then the pool is shown as it was created.
    async fn on_pool_created(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
        #[graphql(desc = "Only pools of this protocol")] protocol: Option<Protocol>,
    ) -> Result<impl Stream<Item = Result<PoolEvent>> + use<>> {
        let (core, live) = door(ctx, chain_id)?;
        Ok(events_feed::on_pools(core, &live, protocol))
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
        Ok(candle_feed::stream(core, &live, candle_feed::Asked { of: Subject::Pool(pool), interval: interval.into(), invert }))
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
        Ok(candle_feed::stream(core, &live, candle_feed::Asked { of, interval: interval.into(), invert: false }))
    }

    /// Reorgs: the blocks that are taken back, newest first, each time that happens.
    async fn on_reorg(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
    ) -> Result<impl Stream<Item = Result<BlockEvent>> + use<>> {
        let (core, live) = door(ctx, chain_id)?;
        let feed = Feed::new(&core, &live, Topic::Blocks);
        Ok(stream::unfold(feed, |mut feed| async move {
            loop {
                match feed.next().await? {
                    Ok(frame) if frame.kind == topics::FrameKind::Retract => {
                        return Some((Ok(frame::blocks(feed.envelope_of(&frame), &frame)), feed));
                    }
                    Ok(_) => {}
                    Err(error) => return Some((Err(error.into()), feed)),
                }
            }
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
    ) -> Result<impl Stream<Item = Result<PriceEvent>> + use<>> {
        let core = shared(ctx)?;
        let wanted = Wanted::new(&core, &tokens, min_change_bps, throttle_ms)?;
        Ok(price_feed::on_prices(core, wanted))
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
        Ok(quote_feed::on_quote(shared(ctx)?, quote_feed::Wanted::new(input, min_change_bps)?)?)
    }

    /// The standing of feeds: a SNAPSHOT of all, then those whose status changed, or that left a source out or took it back.
    async fn on_feed_status(&self, ctx: &Context<'_>) -> Result<impl Stream<Item = Result<FeedEvent>> + use<>> {
        Ok(price_feed::on_feed_status(shared(ctx)?))
    }

    /// The state of pools: a SNAPSHOT of each, then each change. An id of a pool that does not exist yet gets an empty SNAPSHOT, and
    /// its frames once it is created.
    async fn on_pool_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The pools' addresses, any case; 1 to 100 of them")] ids: Vec<ID>,
        #[graphql(desc = "EIP-155 chain id; may be left out where one chain is configured")] chain_id: Option<u64>,
    ) -> Result<impl Stream<Item = Result<PoolEvent>> + use<>> {
        if ids.is_empty() || ids.len() > POOLS_MAX {
            return Err(ApiError::input(format!("`ids` takes 1 to {POOLS_MAX} pool ids, these are {}", ids.len())).into());
        }
        let ids = ids.iter().map(args::pool_id).collect::<std::result::Result<BTreeSet<_>, _>>()?;
        let (core, live) = door(ctx, chain_id)?;
        // Subscribe first, then pin: no change can fall between.
        let feeds: Vec<_> = ids.into_iter().map(|id| (id, Feed::new(&core, &live, Topic::Pool(id)))).collect();
        let pin = Arc::new(live.pin());
        let streams = feeds.into_iter().map(|(id, feed)| pool_stream(feed, &pin, id));
        Ok(stream::select_all(streams).scan(false, |ended, item| {
            // One topic that lost frames ends them all: the reader is the same.
            let next = (!*ended).then(|| {
                *ended = item.is_err();
                item
            });
            async move { next }
        }))
    }
}

fn pool_stream(mut feed: Feed, pin: &Arc<Pin>, id: crate::domain::pool::PoolId) -> BoxStream<'static, Result<PoolEvent>> {
    let snapshot = feed.snapshot(pin).map(|(envelope, block)| {
        let data = pin.pool(&id).map(|view| Pool::at(pin, view, block)).into_iter().collect();
        Ok(PoolEvent { envelope, data })
    });
    let frames = stream::unfold(feed, |mut feed| async move {
        let item = match feed.next().await? {
            Ok(frame) => {
                let pin = Arc::new(feed.live().pin());
                Ok(frame::pool(feed.envelope_of(&frame), &frame, &pin))
            }
            Err(error) => Err(error.into()),
        };
        Some((item, feed))
    });
    stream::iter(snapshot).chain(frames).boxed()
}
