//! The operator's routes.

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::world::*;
use crate::{
    api::admin_router,
    domain::{
        block::BlockRef,
        pool::{
            PoolMeta, PoolState,
            fees::{Books, Position, PositionKey},
        },
    },
    telemetry::ActorState,
};

#[derive(serde::Deserialize)]
struct LiveState {
    chain_id: u64,
    block: BlockRef,
    pools: Vec<PoolOfState>,
}

#[derive(serde::Deserialize)]
struct PoolOfState {
    meta: PoolMeta,
    status: String,
    state: PoolState,
    books: Option<Books>,
    positions: Vec<(PositionKey, Position)>,
}

async fn get(world: &World, path: &str) -> (StatusCode, String) {
    let response = admin_router(world.state.clone()).oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn ready_means_at_the_head_and_not_draining() {
    let mut world = World::new();
    assert_eq!(get(&world, "/health").await.0, StatusCode::OK);
    assert_eq!(get(&world, "/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
    world.ready.send_replace(true);
    assert_eq!(get(&world, "/ready").await.0, StatusCode::OK);
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    // Staleness is a label of the answers, not unreadiness, unless somebody asks.
    assert_eq!(get(&world, "/ready").await.0, StatusCode::OK);
    assert_eq!(get(&world, "/ready?max_age_s=30").await.0, StatusCode::SERVICE_UNAVAILABLE);
    world.mine(Vec::new());
    assert_eq!(get(&world, "/ready?max_age_s=30").await.0, StatusCode::OK);
    assert_eq!(get(&world, "/ready?max_age_s=x").await.0, StatusCode::BAD_REQUEST);
    world.state.draining.cancel();
    assert_eq!(get(&world, "/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn status_shows_the_head_and_the_actors() {
    let world = World::new();
    world.state.board.set("ingest", "ingest/31337", ActorState::Running);
    let status: Value = serde_json::from_str(&get(&world, "/status").await.1).unwrap();
    let chain = &status["chains"][0];
    assert_eq!((&chain["head"]["number"], &chain["pools"], &chain["freshness"]), (&json!(1), &json!(3), &json!("LIVE")));
    assert_eq!(chain["durable_lag_blocks"], 1);
    assert_eq!(status["actors"][0]["name"], "ingest/31337");
    let (status, metrics) = get(&world, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(metrics.contains("swaptide_ws_connections 0"));
}

#[tokio::test]
async fn the_whole_state_of_one_block_can_be_read_back() {
    let mut world = World::new();
    world.mine(initialize(96, 0));
    world.mine(v3_mint(-20, 20, u128::from(u64::MAX) * 3));
    // Read as its types, as the audit does: amounts beyond 64 bits do not survive a detour over untyped JSON.
    let state: LiveState = serde_json::from_str(&get(&world, "/admin/state").await.1).unwrap();
    assert_eq!((state.chain_id, state.block), (CHAIN, world.tip()));
    assert_eq!(state.pools.len(), 3);
    for pool in state.pools {
        let image = world.live.pin().pool(&pool.meta.id).unwrap().image.clone();
        assert_eq!(pool.state, image.state);
        let fees = image.fees.as_ref();
        assert_eq!(pool.books, fees.map(|fees| fees.books()));
        assert_eq!(pool.positions, image.positions().collect::<Vec<_>>());
        assert_eq!(pool.positions.len(), usize::from(pool.meta.id == POOL.into()));
        assert_eq!(pool.status, "LIVE");
    }
    assert_eq!(get(&world, "/admin/state?chain=7").await.0, StatusCode::BAD_REQUEST);
}
