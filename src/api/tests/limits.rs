//! What costs too much is refused before it costs anything.

use std::{fmt::Write as _, time::Instant};

use super::world::*;

async fn refused_quickly(query: &str) {
    let world = World::new();
    let started = Instant::now();
    let (code, message) = world.refused(query).await;
    assert_eq!(code, "COMPLEXITY_LIMIT", "{message}");
    assert!(started.elapsed().as_millis() < 1_000, "took {:?}", started.elapsed());
}

/// Each fragment spreads the next one twice: 2^n selections in a few hundred bytes.
fn bomb(levels: usize) -> String {
    let mut query = "{ ...F0 }".to_owned();
    for i in 0..levels {
        write!(query, " fragment F{i} on Query {{ ...F{} ...F{} }}", i + 1, i + 1).unwrap();
    }
    write!(query, " fragment F{levels} on Query {{ __typename }}").unwrap();
    query
}

#[tokio::test]
async fn a_fragment_bomb_is_refused_at_once() {
    let query = bomb(24);
    assert!(query.len() < 1_300, "{}", query.len());
    refused_quickly(&query).await;
}

#[tokio::test]
async fn fragments_that_spread_themselves_are_refused() {
    let world = World::new();
    for query in [
        "{ ...A } fragment A on Query { ...A ...A }",
        "{ ...A } fragment A on Query { ...B ...B } fragment B on Query { ...A ...A }",
        "{ __typename } fragment A on Query { ...A ...A }",
    ] {
        assert_eq!(world.refused(query).await.0, "BAD_USER_INPUT", "{query}");
    }
}

#[tokio::test]
async fn depth_tokens_nesting_aliases_and_fragments_have_limits() {
    let deep = "pools { nodes { ticks { nodes { price0 } } } }";
    World::new().data(&format!("{{ {deep} }}")).await;
    refused_quickly(&format!("{{ swaps {{ {}id{} }} }}", "edges { node { pool { ".repeat(5), " } } }".repeat(5))).await;
    refused_quickly(&format!("{{ {} }}", "__typename ".repeat(6_000))).await;
    refused_quickly(&format!("{{ pools(first: {}1{}) {{ totalCount }} }}", "[".repeat(100_000), "]".repeat(100_000))).await;
    refused_quickly(&format!("{}{}", "{a".repeat(40_000), "}".repeat(40_000))).await;
    let aliases: String = (0..300).fold(String::new(), |all, i| all + &format!("a{i}: __typename "));
    refused_quickly(&format!("{{ {aliases} }}")).await;
    let fragments: String = (0..60).fold(String::new(), |all, i| all + &format!(" fragment F{i} on Query {{ __typename }}"));
    refused_quickly(&format!("{{ __typename }} {fragments}")).await;
}

#[tokio::test]
async fn a_page_of_pages_is_too_complex() {
    refused_quickly("{ pools(first: 1000) { nodes { ticks(first: 1000) { nodes { tickIdx price0 } } } } }").await;
    refused_quickly("{ pools(first: 2000000000) { nodes { ticks(first: 2000000000) { nodes { tickIdx price0 } } } } }").await;
}

#[tokio::test]
async fn what_a_front_end_asks_for_passes() {
    let world = World::new();
    world
        .data(
            "{ swaps(first: 1000, orderDirection: desc) { totalCount edges { cursor node { id timestamp logIndex amount0 amount1 sender
               recipient origin block { number hash timestamp } transaction { id } pool { id feeTier token0 { id symbol decimals }
               token1 { id symbol decimals } } } } pageInfo { endCursor hasNextPage } } }",
        )
        .await;
}

#[tokio::test]
async fn strings_and_comments_do_not_count_as_brackets() {
    let world = World::new();
    let (code, _) = world.refused(&format!("# {}\n{{ pool(id: \"{}\") {{ id }} }}", "{".repeat(500), "[".repeat(500))).await;
    assert_eq!(code, "BAD_USER_INPUT");
    let (code, _) = world.refused(&format!("{{ pool(id: \"\"\"{}\\\"\"\"(\"\"\") {{ id }} }}", "[\n".repeat(200))).await;
    assert_eq!(code, "BAD_USER_INPUT");
}
