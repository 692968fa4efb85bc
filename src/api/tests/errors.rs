//! Every refusal has a code and a sentence that says what to do.

use super::world::*;
use crate::store::query::Fields;

#[tokio::test]
async fn bad_arguments_are_named() {
    let world = World::new();
    let check = async |query: &str, code: &str, word: &str| {
        let (got, message) = world.refused(query).await;
        assert_eq!(got, code, "{query}: {message}");
        assert!(message.contains(word), "{query}: `{message}` does not mention `{word}`");
    };
    check(r#"{ pool(id: "0x12") { id } }"#, "BAD_USER_INPUT", "0x address").await;
    check(r#"{ token(id: "USDC") { id } }"#, "BAD_USER_INPUT", "40 hex digits").await;
    check("{ pools(first: 0) { totalCount } }", "BAD_USER_INPUT", "between 1 and 1000").await;
    check("{ pools(first: 1001) { totalCount } }", "BAD_USER_INPUT", "between 1 and 1000").await;
    check("{ pools(first: -5) { totalCount } }", "BAD_USER_INPUT", "between 1 and 1000").await;
    check("{ swaps(first: 99999999) { totalCount } }", "BAD_USER_INPUT", "between 1 and 1000").await;
    check(r#"{ pools(after: "%%") { totalCount } }"#, "BAD_USER_INPUT", "no cursor").await;
    check(r#"{ swaps(after: "AAAA") { totalCount } }"#, "BAD_USER_INPUT", "no cursor").await;
    check(r#"{ pools(where: { token: "0xzz" }) { totalCount } }"#, "BAD_USER_INPUT", "hex").await;
    check(&format!(r#"{{ pools(where: {{ tokens: ["{WETH}"] }}) {{ totalCount }} }}"#), "BAD_USER_INPUT", "exactly two").await;
    check(
        &format!(r#"{{ swaps(where: {{ pool: "{PAIR}", token: "{WETH}" }}) {{ totalCount }} }}"#),
        "BAD_USER_INPUT",
        "at most one of pool, token, origin and transaction",
    )
    .await;
    check(r#"{ swaps(where: { pool: "x" }) { totalCount } }"#, "BAD_USER_INPUT", "no pool id").await;
    check("{ swaps(where: { timestamp_gte: -1 }) { totalCount } }", "BAD_USER_INPUT", "seconds").await;
    check("{ pools(chainId: 5) { totalCount } }", "BAD_USER_INPUT", "chain 5").await;
    check("{ nothing }", "BAD_USER_INPUT", "nothing").await;
    check("{ pools { ", "BAD_USER_INPUT", "").await;
    check("subscription { blocks { seq } }", "BAD_USER_INPUT", "").await;
    check(
        &format!(r#"{{ pool(id: "{PAIR}") {{ price(base: "{WETH}", quote: "{ODD}") }} }}"#),
        "BAD_USER_INPUT",
        "this pool's two tokens",
    )
    .await;
    check("{ _meta(block: { number: 1, number_gte: 1 }) { chainId } }", "BAD_USER_INPUT", "exactly one").await;
}

#[tokio::test(start_paused = true)]
async fn blocks_that_are_not_the_newest_are_explained() {
    let mut world = World::new();
    let old = world.mine(Vec::new());
    let tip = world.reorg(1, vec![Vec::new(), Vec::new()]);
    let meta = |block: &str| format!("{{ _meta(block: {block}) {{ block {{ number }} }} }}");
    for fine in [
        format!("{{ number: {} }}", tip.number),
        format!("{{ number_gte: {} }}", tip.number),
        "{ number_gte: 0 }".to_owned(),
        format!(r#"{{ hash: "{}" }}"#, tip.hash),
    ] {
        world.data(&meta(&fine)).await;
    }
    let code = async |block: String| world.refused(&meta(&block)).await.0;
    assert_eq!(code("{ number: 1 }".to_owned()).await, "BLOCK_PRUNED");
    assert_eq!(code(format!(r#"{{ hash: "{}" }}"#, tip.parent_hash)).await, "BLOCK_PRUNED");
    assert_eq!(code(format!(r#"{{ hash: "0x{}" }}"#, "12".repeat(32))).await, "BLOCK_PRUNED");
    assert_eq!(code(format!(r#"{{ hash: "{}" }}"#, old.hash)).await, "REORGED");
    assert_eq!(code("{ number: 99 }".to_owned()).await, "STATE_STALE");
    // Waits its two seconds, of a clock that is paused.
    assert_eq!(code("{ number_gte: 99 }".to_owned()).await, "STATE_STALE");
}

#[tokio::test]
async fn the_store_is_asked_for_what_is_selected_and_no_more() {
    let mut world = World::new();
    world.mine(v2_swap(1, 1, 10, 10));
    for _ in 0..70 {
        let tip = world.mine(Vec::new());
        world.live.set_durable(tip.number, tip.hash, 0);
    }
    for (selection, state_after, enrichment) in [
        ("nodes { id amount0Raw sender }", false, false),
        ("nodes { id reserve0After }", true, false),
        ("edges { node { after: liquidityAfter } }", true, false),
        ("edges { node { ...F } }", false, true),
        ("nodes { transaction { id timestamp } }", false, false),
        ("nodes { transaction { paid: gasPrice } }", false, true),
        ("edges { node { transaction { gasUsed } } }", false, true),
        ("totalCount nodes { ... on Swap { origin reserve1After } }", true, true),
    ] {
        let fragment = if selection.contains("...F") { "fragment F on Swap { origin }" } else { "" };
        world.data(&format!("{{ swaps {{ {selection} }} }} {fragment}")).await;
        let asked = std::mem::take(&mut *world.history.batches.lock().unwrap());
        assert_eq!(asked[0][0].fields, Fields { state_after, enrichment }, "{selection}");
    }
}

#[tokio::test]
async fn a_store_that_fails_is_reported_without_its_secrets() {
    let mut world = World::new();
    world.mine(v2_swap(1, 1, 10, 10));
    for _ in 0..70 {
        let tip = world.mine(Vec::new());
        world.live.set_durable(tip.number, tip.hash, 0);
    }
    // The swap is in the store only, by now.
    assert_eq!(world.data("{ swaps { totalCount nodes { amount0Raw } } }").await["swaps"]["nodes"][0]["amount0Raw"], "1");
    world.history.break_it();
    let response = world.ask(&format!(r#"{{ pool(id: "{PAIR}") {{ id }} _meta {{ pools }} }}"#)).await;
    assert_eq!(response.get("errors"), None, "live state does not need the store: {response}");
    let (code, message) = world.refused("{ swaps { nodes { id } } }").await;
    assert_eq!(code, "UPSTREAM_DOWN");
    assert!(!message.contains("secret"), "{message}");
}

#[tokio::test]
async fn cursors_of_another_chain_or_branch_are_refused() {
    let mut world = World::new();
    let cursor = crate::domain::cursor::Cursor {
        chain: 1,
        block_number: 1,
        block_hash: world.tip().hash,
        next_log_index: 1,
        finalized_number: 0,
    };
    let (code, message) = world.refused(&format!(r#"{{ swaps(after: "{}") {{ totalCount }} }}"#, cursor.encode())).await;
    assert_eq!(code, "BAD_USER_INPUT", "{message}");
    world.mine(v2_swap(1, 1, 10, 10));
    let data = world.data("{ swaps { pageInfo { endCursor } } }").await;
    let end = data["swaps"]["pageInfo"]["endCursor"].as_str().unwrap().to_owned();
    world.reorg(1, vec![v2_swap(2, 2, 20, 20)]);
    let (code, message) = world.refused(&format!(r#"{{ swaps(after: "{end}") {{ totalCount }} }}"#)).await;
    assert_eq!(code, "REORGED", "{message}");
}

#[tokio::test]
async fn a_pool_that_a_reorg_took_back_expires_its_cursor() {
    let mut world = World::new();
    let address = alloy::primitives::Address::repeat_byte(0x42);
    world.mine(vec![Step::Create(pool_meta(address, crate::domain::pool::Protocol::UniswapV2, USDC, WETH))]);
    let data = world.data("{ pools { pageInfo { endCursor } } }").await;
    let end = data["pools"]["pageInfo"]["endCursor"].as_str().unwrap().to_owned();
    world.reorg(1, vec![Vec::new()]);
    assert_eq!(world.refused(&format!(r#"{{ pools(after: "{end}") {{ totalCount }} }}"#)).await.0, "CURSOR_EXPIRED");
}

#[tokio::test]
async fn several_chains_must_be_told_apart() {
    let live = |id| std::sync::Arc::new(crate::store::Live::new(id, "some", 2, std::time::Duration::from_secs(1)));
    let world = World::over(vec![live(CHAIN), live(1)]);
    let (code, message) = world.refused("{ _meta { chainId } }").await;
    assert_eq!(code, "BAD_USER_INPUT");
    assert!(message.contains("chainId"), "{message}");
    let response =
        world.ask(&format!("{{ a: _meta(chainId: 1) {{ block {{ number }} }} b: _meta(chainId: {CHAIN}) {{ chainId }} }}")).await;
    assert_eq!(response["data"]["a"]["block"], serde_json::Value::Null);
    assert_eq!(response["extensions"]["asOf"].as_array().map(Vec::len), Some(2), "{response}");
}
