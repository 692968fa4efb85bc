//! `/v1/{chainId}/stats/volume` and `…/liquidity`: what all pools of a chain traded lately and hold now.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::Answer,
    document::Refusals,
    params::{InPath, InQuery, OnChain, pin},
    problem::Problem,
    text::{Address, Decimal, PoolKey},
    words::{Protocol, Window},
};
use crate::{
    api::{gql::error::Code, router::Public},
    domain::{ChainId, dollars::usd_text, market},
    store::{
        Pin,
        history::DataSource,
        totals::{Exchange, LISTED_MAX, Locked, Totals, Volume},
    },
};

const POOLS_DEFAULT: usize = 10;

/// Sums over all pools of a chain, made once an epoch however many ask.
#[derive(Default)]
pub(in crate::api) struct Sums {
    volumes: Kept<(ChainId, market::Window), Volume>,
    locked: Kept<ChainId, Locked>,
}

/// Of one epoch; whoever asks while it is made waits for it, and takes no thread.
type Made<T> = Arc<OnceCell<Arc<Totals<T>>>>;
/// With the newest epoch that was asked for.
type Kept<K, T> = Mutex<HashMap<K, (u64, Made<T>)>>;

async fn once<K: Hash + Eq, T: Send + Sync + 'static>(
    kept: &Kept<K, T>,
    key: K,
    pin: &Arc<Pin>,
    make: impl FnOnce(&Pin) -> Totals<T> + Send + 'static,
) -> Result<Arc<Totals<T>>, Problem> {
    let epoch = pin.head().epoch;
    match slot(kept, key, epoch) {
        Some(made) => made.get_or_try_init(|| aside(pin, make)).await.cloned(),
        None => aside(pin, make).await,
    }
}

/// `None`: others are at a later epoch; who comes late makes his own.
fn slot<K: Hash + Eq, T>(kept: &Kept<K, T>, key: K, epoch: u64) -> Option<Made<T>> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let slot = kept.entry(key).or_insert_with(|| (epoch, Made::default()));
    if slot.0 < epoch {
        *slot = (epoch, Made::default());
    }
    (slot.0 == epoch).then(|| slot.1.clone())
}

/// Work that looks at every pool keeps nobody else waiting.
async fn aside<T: Send + Sync + 'static>(
    pin: &Arc<Pin>,
    make: impl FnOnce(&Pin) -> Totals<T> + Send + 'static,
) -> Result<Arc<Totals<T>>, Problem> {
    let pin = pin.clone();
    let made = tokio::task::spawn_blocking(move || Arc::new(make(&pin))).await;
    made.map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, Code::UpstreamDown.as_str(), "the sums could not be made: try again")
    })
}

/// How many pools are listed.
fn listed(limit: Option<u64>) -> Result<usize, Problem> {
    let limit = limit.map_or(Some(POOLS_DEFAULT), |limit| usize::try_from(limit).ok());
    limit.filter(|limit| *limit <= LISTED_MAX).ok_or_else(|| Problem::bad(format!("`limit` is at most {LISTED_MAX}")))
}

/// Which window, and how many pools.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VolumeParams {
    /// How far back; `H24` where it is not said.
    #[param(inline)]
    window: Option<Window>,
    /// How many pools are listed, 0 to 1000; 10 where it is not said.
    #[param(maximum = 1000)]
    limit: Option<u64>,
}

/// How many pools.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LiquidityParams {
    /// How many pools are listed, 0 to 1000; 10 where it is not said.
    #[param(maximum = 1000)]
    limit: Option<u64>,
}

/// Something with what was traded in it. (Flattened structs would leave the document's objects open.)
macro_rules! traded {
    ($(#[$about:meta])* $name:ident { $($(#[$of:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Serialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(super) struct $name {
            $($(#[$of])* $field: $type,)+
            /// Dollars, each swap at the prices of its block, of the swaps whose value is known.
            #[serde(rename = "volumeUSD")]
            volume_usd: Decimal,
            swap_count: u64,
            /// Swaps whose value is not known: they are not in `volumeUSD`.
            unvalued_swaps: u64,
        }

        impl $name {
            fn new($($field: $type,)+ Volume { usd, trades, unvalued }: Volume) -> Self {
                Self { $($field,)+ volume_usd: Decimal(usd_text(usd)), swap_count: trades, unvalued_swaps: unvalued }
            }
        }
    };
}

/// The same of what is held.
macro_rules! held {
    ($(#[$about:meta])* $name:ident { $($(#[$of:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Serialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(super) struct $name {
            $($(#[$of])* $field: $type,)+
            /// Dollars at the prices of the block in the headers, of the pools whose value is known.
            #[serde(rename = "totalValueLockedUSD")]
            total_value_locked_usd: Decimal,
            pool_count: u64,
            /// Pools whose value is not known, because a token has no price or their balances are not known: they are not in
            /// `totalValueLockedUSD`.
            unvalued_pools: u64,
        }

        impl $name {
            fn new($($field: $type,)+ Locked { usd, pools, unvalued }: Locked) -> Self {
                Self { $($field,)+ total_value_locked_usd: Decimal(usd_text(usd)), pool_count: pools, unvalued_pools: unvalued }
            }
        }
    };
}

traded! {
    /// What the pools of an exchange traded.
    ExchangeVolume {
        /// As the configuration calls it.
        dex: String,
        factory: Address,
        protocol: Protocol,
    }
}

traded! {
    /// What a pool traded.
    PoolVolume { id: PoolKey }
}

traded! {
    /// What all pools traded within a window that ends with the block in the headers.
    VolumeTotals {
        /// The first second that is counted, seconds since 1970.
        start: u64,
        /// By their names.
        exchanges: Vec<ExchangeVolume>,
        /// Those with the most first.
        #[schema(max_items = 1000)]
        pools: Vec<PoolVolume>,
    }
}

held! {
    /// What the pools of an exchange hold.
    ExchangeLiquidity {
        /// As the configuration calls it.
        dex: String,
        factory: Address,
        protocol: Protocol,
    }
}

held! {
    /// What a pool holds.
    PoolLiquidity { id: PoolKey }
}

held! {
    /// What all pools hold at the block in the headers.
    LiquidityTotals {
        /// By their names.
        exchanges: Vec<ExchangeLiquidity>,
        /// Those with the most first.
        #[schema(max_items = 1000)]
        pools: Vec<PoolLiquidity>,
    }
}

/// What was traded lately on a chain.
///
/// In all, on each exchange, and in the pools that traded most, within a window that ends now. How it went over hours and days is said by
/// `/factories/{address}/periods`. Always from memory.
#[utoipa::path(
    get, path = "/v1/{chainId}/stats/volume", operation_id = "getVolume", tag = "pools",
    params(OnChain, VolumeParams),
    responses(
        (status = 200, description = "The sums", body = VolumeTotals),
        Refusals
    )
)]
pub(super) async fn volume(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OnChain>,
    InQuery(asked): InQuery<VolumeParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, limit) = (pin(&public, &at.chain_id)?, listed(asked.limit)?);
    let window: market::Window = asked.window.unwrap_or(Window::H24).into();
    let start = window.start_at(pin.head().block.map_or(0, |block| block.timestamp));
    let totals = once(&public.sums.volumes, (pin.chain(), window), &pin, move |pin| pin.volumes(window)).await?;
    let exchanges = totals.exchanges.iter().map(|(Exchange { name, factory, protocol }, part)| {
        ExchangeVolume::new(name.clone(), (*factory).into(), (*protocol).into(), *part)
    });
    let pools = totals.pools.iter().take(limit).map(|(id, part)| PoolVolume::new((*id).into(), *part));
    let said = VolumeTotals::new(start, exchanges.collect(), pools.collect(), totals.all);
    Answer::new(&pin, &headers, DataSource::Memory, &said)
}

/// What is held by a chain's pools.
///
/// In all, by each exchange's, and by those that hold most, in dollars of the answer's block. How it went over hours and days is said by
/// `/factories/{address}/periods`. Always from memory.
#[utoipa::path(
    get, path = "/v1/{chainId}/stats/liquidity", operation_id = "getLiquidity", tag = "pools",
    params(OnChain, LiquidityParams),
    responses(
        (status = 200, description = "The sums", body = LiquidityTotals),
        Refusals
    )
)]
pub(super) async fn liquidity(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OnChain>,
    InQuery(asked): InQuery<LiquidityParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, limit) = (pin(&public, &at.chain_id)?, listed(asked.limit)?);
    let totals = once(&public.sums.locked, pin.chain(), &pin, Pin::all_locked).await?;
    let exchanges = totals.exchanges.iter().map(|(Exchange { name, factory, protocol }, part)| {
        ExchangeLiquidity::new(name.clone(), (*factory).into(), (*protocol).into(), *part)
    });
    let pools = totals.pools.iter().take(limit).map(|(id, part)| PoolLiquidity::new((*id).into(), *part));
    let said = LiquidityTotals::new(exchanges.collect(), pools.collect(), totals.all);
    Answer::new(&pin, &headers, DataSource::Memory, &said)
}
