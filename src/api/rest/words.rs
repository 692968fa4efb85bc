//! Closed sets, as they are written. The names are a contract; a new one in the domain does not compile until it has a name here.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::gql::quote,
    domain::{block, event::EventKind, feed, market, pool, token},
    store,
};

macro_rules! words {
    ($(#[$about:meta])* $name:ident of $domain:ty { $($(#[$doc:meta])* $word:ident),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
        pub(super) enum $name {
            $($(#[$doc])* $word),+
        }

        impl From<$domain> for $name {
            fn from(domain: $domain) -> Self {
                match domain {
                    $(<$domain>::$word => Self::$word),+
                }
            }
        }

        impl From<$name> for $domain {
            fn from(word: $name) -> Self {
                match word {
                    $($name::$word => Self::$word),+
                }
            }
        }
    };
}

words! {
    /// Whether the numbers are as new as they should be: LIVE; DELAYED, a block is late; STALE, blocks have stopped coming.
    Freshness of store::Freshness { Live, Delayed, Stale }
}

words! {
    /// A candle's length. Days are UTC, weeks begin on Mondays.
    Interval of market::Interval { S1, S5, S15, M1, M5, M15, H1, H4, D1, W1 }
}

words! {
    /// Whole minutes up to now, the one under way included.
    Window of market::Window { M5, M15, M30, H1, H6, H24 }
}

words! {
    /// FRESH: every source is, and they agree. DEGRADED: enough are; some are left out. STALE: too few; the value is the last good one.
    /// HALTED: there is no value.
    FeedStatus of feed::FeedStatus { Fresh, Degraded, Stale, Halted }
}

words! {
    /// NO_DATA: it said nothing yet that could be used. STALE: what it said is too old. FROZEN: it repeats the same trade. DEVIATES: it is
    /// too far from the median. FAULTED: it kept failing. THIN: a pool that too few dollars would move.
    Exclusion of feed::Exclusion { NoData, Stale, Frozen, Deviates, Faulted, Thin }
}

words! {
    /// LIVE: true at the block of the answer. REBUILDING and FAULTED: true at `heldAt`, and for the second until the server is restarted.
    PoolStatus of store::PoolStatus { Live, Rebuilding, Faulted }
}

words! {
    /// The events and the arithmetic that a pool follows.
    Protocol of pool::Protocol { UniswapV2, UniswapV3, UniswapV4 }
}

words! {
    /// How settled a block is: LATEST may be taken back, SAFE is a few blocks deep, FINALIZED stays.
    Commitment of block::Commitment { Latest, Safe, Finalized }
}

words! {
    /// What is odd about a token.
    TokenFlag of token::TokenFlag {
        MetadataPending,
        NoCode,
        NameMissing,
        SymbolMissing,
        SymbolBytes32,
        NameBytes32,
        TextMended,
        DecimalsMissing,
        DecimalsAbsurd,
        TotalSupplyMissing,
    }
}

impl Protocol {
    /// As it is written.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::UniswapV2 => "UNISWAP_V2",
            Self::UniswapV3 => "UNISWAP_V3",
            Self::UniswapV4 => "UNISWAP_V4",
        }
    }
}

words! {
    /// MEMORY: computed here, out of the pool's state. NODE: its hook has a say, and V4Quoter was asked at the same block.
    QuoteSource of quote::QuoteSource { Memory, Node }
}

words! {
    /// THIN_POOL: it moves the price of a pool by more than about three per cent. HOOKED_POOL: one of the pools has a hook.
    QuoteWarning of quote::QuoteWarning { ThinPool, HookedPool, FeeOnTransfer, RebasingToken }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = EventKind)]
pub(super) enum Kind {
    Swap,
    Mint,
    Burn,
}

impl From<EventKind> for Kind {
    /// Only these three are asked for.
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Mint => Self::Mint,
            EventKind::Burn => Self::Burn,
            _ => Self::Swap,
        }
    }
}
