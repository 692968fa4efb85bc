//! Lists that are resolved in place say what the engine would say.

use serde_json::Value;

use super::{nested::busy, world::*};

/// Every field of a type that is a plain value and takes no arguments.
async fn plain_fields(world: &World, name: &str) -> Vec<String> {
    let query = format!(
        "{{ __type(name: \"{name}\") {{ fields {{ name args {{ name }} type {{ kind ofType {{ kind ofType {{ kind }} }} }} }} }} }}"
    );
    let answer = world.ask(&query).await;
    let kind = |kind: &Value| ["SCALAR", "ENUM"].iter().any(|plain| kind == *plain);
    let plain = |field: &&Value| {
        let of = &field["type"];
        let own = kind(&of["kind"]) || of["kind"] == "NON_NULL" && kind(&of["ofType"]["kind"]);
        own && field["args"].as_array().unwrap().is_empty()
    };
    let fields = answer["data"]["__type"]["fields"].as_array().unwrap().iter();
    fields.filter(plain).map(|field| field["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_list_in_place_equals_the_engines() {
    let mut world = World::new();
    busy(&mut world, 6);
    for (list, of) in [("swaps", "Swap"), ("mints", "Mint"), ("burns", "Burn"), ("pools", "Pool"), ("tokens", "Token")] {
        let fields = plain_fields(&world, of).await;
        assert!(fields.len() >= 6, "{of}: {fields:?}");
        let names = format!("__typename again: __typename first: {} {}", fields[0], fields.join(" "));
        // A directive makes a field one that the engine resolves.
        let guarded = fields.iter().map(|name| format!("{name} @include(if: true)")).collect::<Vec<_>>().join(" ");
        let guarded = format!("__typename again: __typename first: {} @include(if: true) {guarded}", fields[0]);
        let ask = async |selection: &str| {
            let answer = world.ask(&format!("{{ {list}(first: 10) {{ nodes {{ {selection} }} }} }}")).await;
            assert_eq!(answer.get("errors"), None, "{answer}");
            answer["data"][list]["nodes"].clone()
        };
        let (in_place, engines) = (ask(&names).await, ask(&guarded).await);
        assert!(in_place.as_array().unwrap().len() >= 2, "{list}");
        assert_eq!(in_place, engines, "{list}");
        // In the order that was asked for, too.
        assert_eq!(in_place.to_string(), engines.to_string(), "{list}");
    }
}
