//! Lists inside of lists: what they hold, of which moment, and what they cost the store.

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::world::*;
use crate::{
    domain::event::{EventBody, EventKind},
    store::query::{EventQuery, Fields, Narrow},
};

fn v3_burn() -> Step {
    let body = EventBody::V3Burn {
        owner: TRADER,
        tick_lower: -10,
        tick_upper: 10,
        amount: 5,
        amount0: alloy::primitives::U256::from(3_000_000u64),
        amount1: alloy::primitives::U256::ZERO,
    };
    Step::Log(POOL, body)
}

/// Blocks of two transactions: a V3 mint and a V3 swap; a V3 burn and a V2 swap.
pub(super) fn busy(world: &mut World, blocks: u64) {
    world.mine(initialize(96, 0));
    for n in 0..blocks {
        let mut steps = v3_mint(-10, 10, 5);
        steps.extend(v3_swap(96));
        steps.push(v3_burn());
        steps.extend(v2_swap(n + 1, 1, 10, 10).pop());
        world.mine(steps);
    }
}

fn questions(world: &World) -> Vec<Vec<EventQuery>> {
    std::mem::take(&mut *world.history.batches.lock().unwrap())
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

const NESTED: &str =
    "{ swaps(first: 50) { nodes { transaction { swaps { id } mints { id } burns { id } } pool { swaps(first: 3) { id } } } } }";

#[tokio::test]
async fn a_transaction_and_a_pool_have_what_the_root_lists_say_of_them() {
    let mut world = World::new();
    busy(&mut world, 4);
    let check = async |world: &World| {
        let swaps = world
            .data("{ swaps { nodes { id transaction { id swaps { id } mints { id } burns { id } } pool { id swaps { id } mints { id } burns(first: 1, orderDirection: asc) { id } } } } }")
            .await;
        let swaps = list(&swaps["swaps"]["nodes"]).clone();
        assert_eq!(swaps.len(), 8);
        for swap in swaps {
            for of in ["swaps", "mints", "burns"] {
                let same = |narrow: &str, rest: &str| format!("{{ {of}(where: {{ {narrow} }}{rest}) {{ nodes {{ id }} }} }}");
                let transaction = format!("transaction: {}", swap["transaction"]["id"]);
                let root = world.data(&same(&transaction, "")).await;
                assert_eq!(swap["transaction"][of], root[of]["nodes"], "{of} of {transaction}");
                let rest = if of == "burns" { ", first: 1" } else { ", orderDirection: desc" };
                let root = world.data(&same(&format!("pool: {}", swap["pool"]["id"]), rest)).await;
                assert_eq!(swap["pool"][of], root[of]["nodes"], "{of} of {}", swap["pool"]["id"]);
            }
        }
    };
    check(&world).await;
    assert_eq!(questions(&world), Vec::<Vec<EventQuery>>::new(), "memory has it all");
    world.bury();
    check(&world).await;
}

#[tokio::test]
async fn each_level_asks_the_store_once() {
    let mut world = World::new();
    busy(&mut world, 60);
    world.bury();
    for (query, levels) in [
        ("{ swaps { nodes { id } } }", 1),
        ("{ swaps { nodes { id } } mints { nodes { id } } more: swaps(first: 3) { nodes { id } } }", 1),
        (NESTED, 2),
        ("{ pools { nodes { swaps(first: 9) { id } mints(first: 9) { id } burns(first: 9) { id } } } }", 1),
        ("{ swaps(first: 100) { nodes { transaction { swaps { id } mints { id } burns { id } } } } }", 2),
        (
            "{ swaps(first: 9) { nodes { transaction { swaps(first: 3) { pool { burns(first: 3) { transaction { mints(first: 3) { id } } } } } } } } }",
            4,
        ),
        (
            "{ swaps(first: 9) { edges { node { transaction { mints { id } } } } } mints(first: 20) { nodes { transaction { swaps { id } } } } }",
            2,
        ),
    ] {
        for _ in ["under guard", "straight"] {
            world.once(query).await;
            let questions = questions(&world);
            assert_eq!(questions.len(), levels, "{query}: {:?}", questions.iter().map(Vec::len).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn what_many_fields_ask_for_is_asked_for_once() {
    let mut world = World::new();
    busy(&mut world, 30);
    world.bury();
    world.once(NESTED).await;
    let level = questions(&world).pop().unwrap();
    let pools = level.iter().filter(|query| matches!(query.narrow, Narrow::Pool(_)));
    assert_eq!(pools.count(), 2, "50 swaps are of two pools");
    let transactions = level.iter().filter(|query| matches!(query.narrow, Narrow::Transaction(_)));
    assert_eq!(transactions.count(), 3 * 50);
}

#[tokio::test]
async fn each_list_reads_what_is_selected_of_it() {
    let mut world = World::new();
    busy(&mut world, 2);
    world.bury();
    world
        .once("{ swaps { nodes { id transaction { gasUsed swaps { reserve0After } mints { id transaction { id } } burns { origin } } pool { swaps { transaction { gasPrice } } } } } }")
        .await;
    let questions = questions(&world);
    let fields = |kind, narrow: fn(&Narrow) -> bool| {
        let found = questions.iter().flatten().filter(|query| query.kind == kind && narrow(&query.narrow));
        let mut found: Vec<Fields> = found.map(|query| query.fields).collect();
        found.dedup();
        found
    };
    let none = Fields::default();
    assert_eq!(fields(EventKind::Swap, |n| *n == Narrow::All), [Fields { enrichment: true, ..none }]);
    let transaction = |n: &Narrow| matches!(n, Narrow::Transaction(_));
    assert_eq!(fields(EventKind::Swap, transaction), [Fields { state_after: true, ..none }]);
    assert_eq!(fields(EventKind::Mint, transaction), [none]);
    assert_eq!(fields(EventKind::Burn, transaction), [Fields { enrichment: true, ..none }]);
    assert_eq!(fields(EventKind::Swap, |n| matches!(n, Narrow::Pool(_))), [Fields { enrichment: true, ..none }]);
}

#[tokio::test]
async fn a_transaction_is_found_by_its_hash_whatever_it_did() {
    let mut world = World::new();
    let block = world.mine(initialize(96, 0));
    busy(&mut world, 1);
    let hash = |number: u64| format!("0x{:064x}", number * 1000);
    let check = async |world: &World| {
        let ask = |hash: String| {
            format!(
                r#"{{ transaction(id: "{hash}") {{ id blockNumber timestamp gasUsed swaps {{ logIndex }} mints {{ logIndex }} }} }}"#
            )
        };
        let expected = json!({ "id": hash(block.number), "blockNumber": block.number, "timestamp": block.timestamp, "gasUsed": null, "swaps": [], "mints": [] });
        assert_eq!(world.once(&ask(hash(block.number))).await["transaction"], expected);
        let both = world.once(&ask(hash(block.number + 2).to_uppercase().replace("0X", "0x"))).await;
        assert_eq!(both["transaction"]["swaps"], json!([{ "logIndex": 1 }]));
        assert_eq!(both["transaction"]["mints"], json!([{ "logIndex": 0 }]));
        assert_eq!(world.once(&ask(hash(999))).await["transaction"], Value::Null);
    };
    check(&world).await;
    world.bury();
    check(&world).await;
    assert_eq!(questions(&world).len(), 5, "two where there is one, one where there is none");
    let (code, message) = world.refused(r#"{ transaction(id: "0x12") { id } }"#).await;
    assert_eq!((code.as_str(), message.contains("64 hex digits")), ("BAD_USER_INPUT", true), "{message}");
}

#[tokio::test]
async fn a_store_that_fails_under_a_list_says_so_and_memory_still_answers() {
    let mut world = World::new();
    busy(&mut world, 3);
    world.bury();
    busy(&mut world, 2);
    world.history.break_it();
    let recent = "swaps(first: 2, orderDirection: desc) { nodes { transaction { swaps { id } burns { id } } pool { swaps(first: 1) { id } } } }";
    let data = world.data(&format!("{{ {recent} }}")).await;
    assert_eq!(list(&data["swaps"]["nodes"]).len(), 2);
    let nested = r#"swaps(first: 2, orderDirection: desc) { nodes { pool { swaps { id } } } }"#;
    for query in [format!("{{ {nested} }}"), format!("{{ {recent} mints {{ nodes {{ id }} }} }}"), NESTED.to_owned()] {
        let response = world.ask(&query).await;
        for error in list(&response["errors"]) {
            assert_eq!(error["extensions"]["code"], "UPSTREAM_DOWN", "{error}");
            assert!(!error["path"].is_null() && !error.to_string().contains("secret"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_field_that_is_refused_keeps_no_other_waiting() {
    let mut world = World::new();
    busy(&mut world, 9);
    world.bury();
    let (code, _) = world
        .refused("{ swaps(first: 9) { nodes { pool { a: swaps(first: 1) { id } b: swaps(first: 0) { id } c: mints(first: 5000) { id } d: burns { id } } } } }")
        .await;
    assert_eq!(code, "BAD_USER_INPUT");
    let response = world.ask(r#"{ a: swaps { nodes { id } } b: swaps(where: { pool: "x" }) { nodes { id } } }"#).await;
    assert_eq!(response["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
}

#[tokio::test]
async fn lists_in_lists_in_lists_are_refused() {
    let world = World::new();
    let nest = |levels: usize, args: &str| {
        let (open, close) = (format!("transaction {{ swaps{args} {{ "), " } }");
        format!("{{ swaps{args} {{ nodes {{ {}id{} }} }} }}", open.repeat(levels), close.repeat(levels))
    };
    for query in [
        nest(2, ""),
        nest(3, "(first: 50)"),
        nest(5, "(first: 1)"),
        nest(1, "(first: 1000)"),
        "{ pools(first: 100) { nodes { swaps(first: 1000) { id } } } }".to_owned(),
        "{ pools { nodes { swaps { pool { swaps { id } } } } } }".to_owned(),
        format!(
            r#"{{ {} }}"#,
            (0..200)
                .map(|n| format!(r#"t{n}: transaction(id: "0x{n:064x}") {{ swaps(first: 500) {{ id }} }} "#))
                .collect::<String>()
        ),
        "subscription { onSwapsCreated { data { pool { swaps(first: 1000) { id } } } } }".to_owned(),
    ] {
        let (code, message) = world.refused(&query).await;
        assert_eq!(code, "COMPLEXITY_LIMIT", "{query}: {message}");
    }
    for query in [nest(1, ""), nest(3, "(first: 15)"), nest(4, "(first: 1)"), NESTED.to_owned()] {
        world.data(&query).await;
    }
}

#[tokio::test]
async fn a_frames_events_have_lists_of_what_is_on_the_chain_now() {
    let mut world = World::new();
    busy(&mut world, 2);
    world.bury();
    let mut stream = world.schema.execute_stream(
        "subscription { onSwapsCreated { kind data { id transaction { blockNumber swaps { id } mints { id } } pool { swaps(first: 2) { id } } } } }",
    );
    // Where it begins.
    assert!(stream.next().await.is_some());
    let mut next = async || serde_json::to_value(stream.next().await.unwrap()).unwrap()["data"]["onSwapsCreated"].clone();
    let mut steps = v3_mint(-10, 10, 5);
    steps.extend(v3_swap(96));
    world.mine(steps);
    let frame = next().await;
    let swap = frame["data"][0].clone();
    assert_eq!(swap["transaction"]["swaps"], json!([{ "id": swap["id"] }]));
    assert_eq!(list(&swap["transaction"]["mints"]).len(), 1);
    let newest = &swap["pool"]["swaps"];
    assert_eq!((&newest[0]["id"], list(newest).len()), (&swap["id"], 2), "the second is in the store: {newest}");

    // Taken back; the transaction is mined again, without its mint.
    world.reorg(1, vec![[v3_swap(96), v3_swap(96)].into_iter().flatten().collect()]);
    let retract = next().await;
    assert_eq!((&retract["kind"], &retract["data"][0]["id"]), (&json!("RETRACT"), &swap["id"]));
    let update = next().await;
    let again: Vec<Value> = list(&update["data"]).iter().map(|swap| json!({ "id": swap["id"] })).collect();
    let gone = &retract["data"][0]["transaction"];
    assert_eq!((&gone["swaps"], &gone["mints"]), (&json!(again), &json!([])), "what is on the chain now");

    // Taken back for good.
    world.reorg(1, vec![Vec::new()]);
    let retract = next().await;
    assert_eq!(retract["kind"], "RETRACT");
    assert_eq!(retract["data"][0]["transaction"]["swaps"], json!([]));
}
