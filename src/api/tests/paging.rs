//! Pages have no gap and no duplicate, in both directions, while the chain goes on.

use serde_json::Value;

use super::world::*;

async fn page(world: &World, list: &str, args: &str, after: Option<&str>, field: &str) -> (Vec<Value>, Option<String>, Value) {
    let after = after.map_or(String::new(), |c| format!(r#", after: "{c}""#));
    let query = format!(
        "{{ {list}({args}{after}) {{ edges {{ cursor node {{ {field} }} }} nodes {{ {field} }} pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"
    );
    let data = world.data(&query).await[list].clone();
    let edges = data["edges"].as_array().unwrap();
    let nodes: Vec<Value> = data["nodes"].as_array().unwrap().iter().map(|n| n[field].clone()).collect();
    assert_eq!(edges.iter().map(|e| e["node"][field].clone()).collect::<Vec<_>>(), nodes);
    let info = &data["pageInfo"];
    assert_eq!(info["hasPreviousPage"].as_bool().unwrap(), !after.is_empty());
    assert_eq!(info["endCursor"], edges.last().map_or(Value::Null, |e| e["cursor"].clone()));
    assert_eq!(info["startCursor"], edges.first().map_or(Value::Null, |e| e["cursor"].clone()));
    let next = info["hasNextPage"].as_bool().unwrap().then(|| info["endCursor"].as_str().unwrap().to_owned());
    (nodes, next, data)
}

#[tokio::test]
async fn swaps_page_forwards_while_blocks_arrive() {
    let mut world = World::new();
    for i in 0..7u64 {
        let mut steps = v2_swap(i * 2 + 1, 1, 10, 10);
        steps.extend(v2_swap(i * 2 + 2, 1, 10, 10));
        world.mine(steps);
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let (nodes, next, _) = page(&world, "swaps", "first: 3", after.as_deref(), "amount0Raw").await;
        seen.extend(nodes);
        if seen.len() < 12 {
            let more = 15 + seen.len() as u64;
            world.mine(v2_swap(more, 1, 10, 10));
        }
        let Some(next) = next else { break };
        after = Some(next);
    }
    let all: Vec<Value> = world.data("{ swaps(first: 1000) { nodes { amount0Raw } } }").await["swaps"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["amount0Raw"].clone())
        .collect();
    assert_eq!(seen, all);
    assert!(seen.len() > 14);
}

#[tokio::test]
async fn swaps_page_backwards_and_what_arrives_meanwhile_is_not_in_the_way() {
    let mut world = World::new();
    for i in 0..10u64 {
        world.mine(v2_swap(i, 1, 10, 10));
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let (nodes, next, _) = page(&world, "swaps", "first: 4, orderDirection: desc", after.as_deref(), "amount0Raw").await;
        seen.extend(nodes);
        world.mine(v2_swap(100, 1, 10, 10));
        let Some(next) = next else { break };
        after = Some(next);
    }
    let expected: Vec<Value> = (0..10u64).rev().map(|i| Value::from(i.to_string())).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn pools_tokens_and_ticks_page_in_both_directions() {
    let mut world = World::new();
    world.mine(initialize(96, 0));
    for i in 1..=4 {
        world.mine(v3_mint(-10 * i, 10 * i, 5));
    }
    for (list, args, field) in [
        ("pools", "first: 1", "id"),
        ("pools", "first: 2, orderBy: id", "id"),
        ("tokens", "first: 2", "address"),
        ("tokens", "first: 1, orderBy: symbol", "symbol"),
    ] {
        let mut both = Vec::new();
        for direction in ["asc", "desc"] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let args = format!("{args}, orderDirection: {direction}");
                let (nodes, next, _) = page(&world, list, &args, after.as_deref(), field).await;
                seen.extend(nodes);
                let Some(next) = next else { break };
                after = Some(next);
            }
            assert_eq!(seen.len(), 3, "{list} {direction}");
            both.push(seen);
        }
        both[1].reverse();
        assert_eq!(both[0], both[1], "{list} {args}");
    }
    let ticks = async |after: &str| {
        let query = format!(
            r#"{{ pool(id: "{POOL}") {{ ticks(first: 5{after}) {{ nodes {{ tickIdx }} pageInfo {{ hasNextPage endCursor }} totalCount }} }} }}"#
        );
        world.data(&query).await["pool"]["ticks"].clone()
    };
    let first = ticks("").await;
    assert_eq!((&first["totalCount"], &first["pageInfo"]["hasNextPage"]), (&Value::from(8), &Value::from(true)));
    let second = ticks(&format!(", after: {}", first["pageInfo"]["endCursor"])).await;
    let index = |v: &Value| v["nodes"].as_array().unwrap().iter().map(|n| n["tickIdx"].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!([index(&first), index(&second)].concat(), [-40, -30, -20, -10, 10, 20, 30, 40]);

    let ranges = async |args: &str| {
        let query = format!(r#"{{ pool(id: "{POOL}") {{ liquidityDistribution{args} {{ tickLower tickUpper liquidity }} }} }}"#);
        let answer = world.ask(&query).await;
        match answer["errors"][0]["message"].as_str() {
            Some(message) => vec![message.to_owned()],
            None => answer["data"]["pool"]["liquidityDistribution"]
                .as_array()
                .unwrap()
                .iter()
                .map(|range| format!("{}..{} {}", range["tickLower"], range["tickUpper"], range["liquidity"].as_str().unwrap()))
                .collect(),
        }
    };
    let all = ["-40..-30 5", "-30..-20 10", "-20..-10 15", "-10..10 20", "10..20 15", "20..30 10", "30..40 5"];
    assert_eq!(ranges("").await, all);
    assert_eq!(ranges("(fromTick: -5, toTick: 15)").await, ["-5..10 20", "10..15 15"]);
    assert_eq!(ranges("(fromTick: 40)").await, Vec::<String>::new());
    assert_eq!(ranges("(fromTick: 5, toTick: 5)").await, ["`fromTick` must be below `toTick`"]);
}

#[tokio::test]
async fn the_cursor_of_a_frame_starts_a_page() {
    use futures_util::StreamExt;
    let mut world = World::new();
    let mut stream = world.schema.execute_stream("subscription { onSwapsCreated { cursor } }");
    // Where it begins.
    assert!(stream.next().await.is_some());
    world.mine(v2_swap(1, 1, 10, 10));
    let frame = serde_json::to_value(stream.next().await.unwrap()).unwrap();
    let cursor = frame["data"]["onSwapsCreated"]["cursor"].as_str().unwrap().to_owned();
    world.mine(v2_swap(2, 1, 10, 10));
    let amounts = async |direction: &str| {
        let data = world
            .data(&format!(r#"{{ swaps(after: "{cursor}", orderDirection: {direction}) {{ nodes {{ amount0Raw }} }} }}"#))
            .await;
        data["swaps"]["nodes"].to_string()
    };
    assert_eq!(amounts("asc").await, r#"[{"amount0Raw":"2"}]"#);
    assert_eq!(amounts("desc").await, r#"[{"amount0Raw":"1"}]"#);
}
