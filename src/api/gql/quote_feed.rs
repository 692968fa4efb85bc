//! A quote as it changes, block by block.

use std::sync::Arc;

use alloy::primitives::{U256, U512};
use async_graphql::{Result, SimpleObject};
use futures_util::stream::{self, Stream};
use tokio::sync::watch;

use super::{
    block::BlockRef,
    core::Core,
    error::{ApiError, Code},
    frame::FrameKind,
    link::{Fact, Link, Nature, Opening, Replaces},
    quote::{self, Quote, QuoteInput, TradeType},
    quote_input,
};
use crate::{
    domain::{block, pool::depth::BPS},
    store::Pin,
};

/// A quote that changed.
#[derive(SimpleObject)]
pub(crate) struct QuoteEvent {
    /// Counts the frames. Since the last SNAPSHOT, a number left out is a frame lost; after that the count may go on anywhere.
    seq: u64,
    /// SNAPSHOT: as it is at first. UPDATE: it is another one.
    kind: FrameKind,
    /// The block that it is true at.
    block: BlockRef,
    /// The quote; empty where there is none at this block.
    data: Vec<Quote>,
    /// Why there is none: the code of an error of `quote`.
    code: Option<String>,
    /// The same in words, with what to do.
    reason: Option<String>,
}

/// What a subscriber asked for.
pub(super) struct Wanted {
    input: QuoteInput,
    min_change_bps: u32,
}

/// What he was told last: the amount that follows from the one he gave, or that there is none.
type Told = std::result::Result<U256, Code>;

impl Wanted {
    /// Refuses what can never be answered.
    pub(super) fn new(input: QuoteInput, min_change_bps: i32) -> std::result::Result<Self, ApiError> {
        // A deadline that is given is one of each quote.
        quote_input::asked(&input, 0)?;
        let min_change_bps = u32::try_from(min_change_bps).ok().filter(|bps| *bps <= BPS).ok_or_else(|| {
            ApiError::input(format!("`minChangeBps` is 0 to {BPS}: parts of 10,000 by which the amount must have moved"))
        })?;
        Ok(Self { input, min_change_bps })
    }

    /// `None`: no block is there yet.
    async fn now(&self, core: &Core) -> Option<(block::BlockRef, std::result::Result<Quote, ApiError>)> {
        let pin: Arc<Pin> = Arc::new(core.reader.pin(self.input.chain_id).ok()?);
        let block = pin.head().block?;
        Some((block, quote::answer(pin, (core.now_unix_ms)(), self.input.clone()).await))
    }

    fn told(&self, quote: &std::result::Result<Quote, ApiError>) -> Told {
        let quote = quote.as_ref().map_err(|error| error.code)?;
        let plan = &quote.quoted.plan;
        Ok(match self.input.trade_type {
            TradeType::ExactInput => plan.amount_out(),
            TradeType::ExactOutput => plan.amount_in(),
        })
    }

    fn moved(&self, before: &Told, now: &Told) -> bool {
        match (before, now) {
            (Ok(before), Ok(now)) => {
                let apart: U512 = before.abs_diff(*now).widening_mul(U256::from(BPS));
                let least: U512 = before.widening_mul(U256::from(self.min_change_bps));
                before != now && apart >= least
            }
            (before, now) => before != now,
        }
    }
}

fn event(seq: u64, kind: FrameKind, block: block::BlockRef, quote: std::result::Result<Quote, ApiError>) -> QuoteEvent {
    let (data, error) = match quote {
        Ok(quote) => (vec![quote], None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let (code, reason) = error.map(|error| (error.code.as_str().to_owned(), error.message)).unzip();
    QuoteEvent { seq, kind, block: block.into(), data, code, reason }
}

struct Quotes {
    core: Arc<Core>,
    link: Arc<Link>,
    wanted: Wanted,
    epochs: watch::Receiver<u64>,
    told: Option<Told>,
    seq: u64,
}

impl Quotes {
    /// `None`: the chain is gone.
    async fn next(&mut self) -> Option<QuoteEvent> {
        let mut called = false;
        // What was told is of the newest block, or the next one is announced already.
        let mut is_new = self.told.is_none();
        loop {
            if std::mem::replace(&mut is_new, true)
                && let Some((block, quote)) = self.now().await
            {
                let now = self.wanted.told(&quote);
                let moved = self.told.as_ref().is_none_or(|before| self.wanted.moved(before, &now));
                // What is new is for everybody; newcomers begin with it, too.
                if moved || called {
                    let kind = if self.told.is_none() || !moved { FrameKind::Snapshot } else { FrameKind::Update };
                    if moved && called {
                        // They wait for a SNAPSHOT still.
                        self.link.call();
                    }
                    return Some(self.say(kind, block, quote, now, !moved));
                }
            }
            let reason = async {
                tokio::select! {
                    () = self.link.called() => Ok(true),
                    changed = self.epochs.changed() => changed.map(|()| false),
                }
            };
            called |= self.link.rest(reason).await.ok()?;
        }
    }

    async fn now(&mut self) -> Option<(block::BlockRef, std::result::Result<Quote, ApiError>)> {
        self.epochs.mark_unchanged();
        self.wanted.now(&self.core).await
    }

    fn say(
        &mut self,
        kind: FrameKind,
        block: block::BlockRef,
        quote: std::result::Result<Quote, ApiError>,
        now: Told,
        only: bool,
    ) -> QuoteEvent {
        self.core.metrics.frames_made_total.inc();
        let seq = self.seq;
        if !only {
            self.seq = seq.saturating_add(1);
            self.told = Some(now);
        }
        let nature = Nature::State { replaces: Some(Replaces { key: 0, from: 0 }) };
        let opening = (kind == FrameKind::Snapshot).then_some(Opening { only, ..Opening::WHOLE });
        self.link.tell(Fact { nature, opening, ..Fact::default() });
        event(seq, kind, block, quote)
    }
}

/// A reader that is slow gets the newest quote, not all of them: nothing piles up for it.
pub(super) fn on_quote(
    core: Arc<Core>,
    link: Arc<Link>,
    wanted: Wanted,
) -> Result<impl Stream<Item = Result<QuoteEvent>> + use<>, ApiError> {
    let epochs = core.reader.live(wanted.input.chain_id)?.watch_epoch();
    let quotes = Quotes { core, link, wanted, epochs, told: None, seq: 0 };
    Ok(stream::unfold(quotes, |mut quotes| async move {
        let event = quotes.next().await?;
        Some((Ok(event), quotes))
    }))
}
