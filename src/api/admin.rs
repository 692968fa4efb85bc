//! What the operator asks: is it up, is it ready, what is it doing, and what exactly does it hold.

use std::sync::Arc;

use alloy::primitives::U256;
use axum::{
    Json,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::ApiState;
use crate::{
    domain::{
        ChainId,
        block::BlockRef,
        pool::{
            PoolMeta, PoolState,
            fees::{Books, Position, PositionKey, Token},
        },
    },
    store::{Freshness, Live, Pin, PoolStatus, PoolView},
};

/// `/metrics`: the Prometheus text format.
pub(super) async fn metrics(State(state): State<Arc<ApiState>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render()).into_response()
}

/// `/health`: the process is up and answers.
pub(super) async fn health() -> &'static str {
    "ok\n"
}

#[derive(Deserialize)]
pub(super) struct ReadyQuery {
    /// Also ask that every chain had a block within this many seconds.
    max_age_s: Option<u64>,
}

/// `/ready`: 200 once every chain was at its head, until draining. Staleness is no unreadiness unless `max_age_s` asks for it.
pub(super) async fn ready(State(state): State<Arc<ApiState>>, Query(query): Query<ReadyQuery>) -> Response {
    let refuse = |text: String| (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    if state.draining.is_cancelled() {
        return refuse("draining\n".to_owned());
    }
    if !*state.ready.borrow() {
        return refuse("catching up: not at the head of every chain yet\n".to_owned());
    }
    let now = Instant::now();
    for live in state.reader.chains() {
        let age_s = now.saturating_duration_since(live.head().committed_at).as_secs();
        if query.max_age_s.is_some_and(|max| age_s > max) {
            return refuse(format!("chain {}: no block for {age_s} s\n", live.chain));
        }
    }
    "ready\n".into_response()
}

/// `/status`: everything an operator wants to see at a glance.
pub(super) async fn status(State(state): State<Arc<ApiState>>) -> Json<Value> {
    let chains: Vec<Value> = state.reader.chains().map(chain_status).collect();
    Json(json!({
        "version": state.version,
        "ready": *state.ready.borrow() && !state.draining.is_cancelled(),
        "draining": state.draining.is_cancelled(),
        // Another instance may.
        "writes": state.metrics.store_writer.get() == 1,
        "chains": chains,
        "ws_connections": state.metrics.ws_connections.get(),
        "subscriptions": state.metrics.subscriptions.get(),
        "actors": state.board.all(),
    }))
}

fn chain_status(live: &Arc<Live>) -> Value {
    let pin = live.pin();
    let head = pin.head();
    let pools = pin.pools();
    let with = |status: PoolStatus| pools.iter().filter(|view| view.status == status).count();
    let durable = live.durable_block();
    let number = head.block.map_or(0, |b| b.number);
    json!({
        "chain_id": live.chain,
        "name": live.chain_name,
        "head": head.block,
        "epoch": head.epoch,
        "at_head": head.at_head,
        "age_ms": u64::try_from(Instant::now().saturating_duration_since(head.committed_at).as_millis()).unwrap_or(u64::MAX),
        "freshness": freshness_name(pin.freshness()),
        "finalized_block": head.finalized_number,
        "durable_block": durable,
        "durable_lag_blocks": number.saturating_sub(durable),
        "store_stand_in": live.stand_in,
        "pools": pools.len(),
        "pools_rebuilding": with(PoolStatus::Rebuilding),
        "pools_faulted": with(PoolStatus::Faulted),
        "tokens": pin.tokens().len(),
        "subscribers": live.topics.subscribers(),
    })
}

fn freshness_name(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Live => "LIVE",
        Freshness::Delayed => "DELAYED",
        Freshness::Stale => "STALE",
    }
}

fn status_name(status: PoolStatus) -> &'static str {
    match status {
        PoolStatus::Live => "LIVE",
        PoolStatus::Rebuilding => "REBUILDING",
        PoolStatus::Faulted => "FAULTED",
    }
}

#[derive(Deserialize)]
pub(super) struct StateQuery {
    /// May be left out where one chain is configured.
    chain: Option<ChainId>,
}

/// The whole live state of one epoch.
#[derive(Serialize)]
struct LiveState<'a> {
    chain_id: ChainId,
    epoch: u64,
    block: Option<BlockRef>,
    pools: Vec<PoolOfState<'a>>,
}

#[derive(Serialize)]
struct PoolOfState<'a> {
    meta: &'a PoolMeta,
    status: &'static str,
    /// Where it is not LIVE: the last block whose events are in `state`.
    held_at: Option<BlockRef>,
    state: &'a PoolState,
    books: Option<Books>,
    positions: Vec<(PositionKey, Position)>,
    tokens: Vec<(U256, Token)>,
}

/// `/admin/state`: the whole live state of one epoch, every tick and position included; what `swaptide audit` compares with the chain.
pub(super) async fn state(State(state): State<Arc<ApiState>>, Query(query): Query<StateQuery>) -> Response {
    match state.reader.pin(query.chain) {
        Ok(pin) => live_state(&pin),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

fn live_state(pin: &Pin) -> Response {
    let mut views: Vec<Arc<PoolView>> = pin.pools();
    views.sort_by_key(|view| view.meta.id);
    let pools = views
        .iter()
        .map(|view| PoolOfState {
            meta: &view.meta,
            status: status_name(view.status),
            held_at: view.held_at,
            state: &view.image.state,
            books: view.image.fees.as_ref().map(|fees| fees.books()),
            positions: view.image.positions().collect(),
            tokens: view.image.tokens().collect(),
        })
        .collect();
    Json(LiveState { chain_id: pin.chain(), epoch: pin.head().epoch, block: pin.head().block, pools }).into_response()
}
