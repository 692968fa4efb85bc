//! Hours and days of pools, tokens and factories, and candles of tokens: over GraphQL and REST, through a reorg.

use async_graphql::Response;
use axum::http::StatusCode;
use futures_util::{FutureExt as _, StreamExt, stream::BoxStream};
use serde_json::{Value, json};

use super::{rest::get, world::*};

const FACTORY: &str = "0xfafafafafafafafafafafafafafafafafafafafa";
const POOL_FIELDS: &str = "start end closed txCount swapCount volumeToken0 volumeToken1 volumeUSD feesUSD totalValueLockedToken0 totalValueLockedToken1 totalValueLockedUSD liquidity sqrtPriceX96 tick open high low close";
const TOKEN_FIELDS: &str = "start end closed txCount swapCount volume volumeUSD feesUSD totalValueLocked totalValueLockedUSD priceUSD open high low close";
const PROTOCOL_FIELDS: &str = "start end closed txCount swapCount volumeUSD feesUSD totalValueLockedUSD";

/// USDC sold to a pool of a million of them, which has so many WETH afterwards.
fn sale(usdc: u64, weth: u128) -> Vec<Step> {
    v2_swap(usdc * 1_000_000, 5, 1_000_000_000_000, weth * 1_000_000_000_000_000_000)
}

/// Two sales in one hour, another two hours later: WETH costs 2,000, then 1,250, then 2,500 dollars.
fn traded() -> World {
    let mut world = World::priced();
    world.mine(sale(3, 500));
    world.mine(sale(1, 800));
    world.mine(Vec::new());
    world.idle += 7_200;
    world.mine(sale(10, 400));
    world
}

fn hour(block: u64, idle: u64) -> u64 {
    (1_700_000_000 + 12 * block + idle) / 3_600 * 3_600
}

fn list(query: &str, of: &str, fields: &str) -> String {
    format!("{{ {query}({of}) {{ totalCount pageInfo {{ hasNextPage endCursor }} nodes {{ {fields} }} }} }}")
}

async fn ask(world: &World, query: &str, of: &str, fields: &str) -> Value {
    world.data(&list(query, of, fields)).await[query].clone()
}

fn first_hour() -> Value {
    json!({
        "start": hour(2, 0), "end": hour(2, 0) + 3_600, "closed": true, "txCount": 2, "swapCount": 2, "volumeToken0": "4",
        "volumeToken1": "0.00000000000000001", "volumeUSD": "3", "feesUSD": "0.009", "totalValueLockedToken0": "1000000",
        "totalValueLockedToken1": "800", "totalValueLockedUSD": "2000000", "liquidity": null, "sqrtPriceX96": null, "tick": null,
        "open": "0.0005", "high": "0.0008", "low": "0.0005", "close": "0.0008",
    })
}

#[tokio::test]
async fn hours_of_a_pool_say_what_came_and_how_it_stood_at_their_ends() {
    let world = traded();
    let found = ask(&world, "poolHourDatas", &format!("pool: \"{PAIR}\""), POOL_FIELDS).await;
    let second = json!({
        "start": hour(5, 7_200), "end": hour(5, 7_200) + 3_600, "closed": false, "txCount": 1, "swapCount": 1, "volumeToken0": "10",
        "volumeToken1": "0.000000000000000005", "volumeUSD": "1.5", "feesUSD": "0.0045", "totalValueLockedToken0": "1000000",
        "totalValueLockedToken1": "400", "totalValueLockedUSD": "2000000", "liquidity": null, "sqrtPriceX96": null, "tick": null,
        "open": "0.0008", "high": "0.0008", "low": "0.0004", "close": "0.0004",
    });
    assert_eq!(found["nodes"], json!([second, first_hour()]), "newest first");
    assert_eq!((&found["totalCount"], &found["pageInfo"]["hasNextPage"]), (&json!(2), &json!(false)));
    let day = ask(&world, "poolDayDatas", &format!("pool: \"{PAIR}\""), POOL_FIELDS).await;
    let sum =
        |name: &str| -> Value { day["nodes"].as_array().unwrap().iter().map(|d| d[name].as_u64().unwrap()).sum::<u64>().into() };
    assert_eq!(sum("txCount"), json!(3));
    assert_eq!(day["nodes"][0]["close"], json!("0.0004"));
}

#[tokio::test]
async fn hours_of_tokens_and_factories_are_over_all_of_their_pools() {
    let world = traded();
    let weth = ask(&world, "tokenHourDatas", &format!("token: \"{WETH}\""), TOKEN_FIELDS).await;
    let first = json!({
        "start": hour(2, 0), "end": hour(2, 0) + 3_600, "closed": true, "txCount": 2, "swapCount": 2, "volume": "0.00000000000000001",
        "volumeUSD": "3", "feesUSD": "0.009", "totalValueLocked": "800", "totalValueLockedUSD": "1000000", "priceUSD": "1250",
        "open": "2000", "high": "2000", "low": "1250", "close": "1250",
    });
    let second = json!({
        "start": hour(5, 7_200), "end": hour(5, 7_200) + 3_600, "closed": false, "txCount": 1, "swapCount": 1,
        "volume": "0.000000000000000005", "volumeUSD": "1.5", "feesUSD": "0.0045", "totalValueLocked": "400",
        "totalValueLockedUSD": "1000000", "priceUSD": "2500", "open": "1250", "high": "2500", "low": "1250", "close": "2500",
    });
    assert_eq!(weth["nodes"], json!([second, first]));
    let all = ask(&world, "protocolHourDatas", &format!("factory: \"{FACTORY}\""), PROTOCOL_FIELDS).await;
    let first = json!({
        "start": hour(2, 0), "end": hour(2, 0) + 3_600, "closed": true, "txCount": 2, "swapCount": 2, "volumeUSD": "3",
        "feesUSD": "0.009", "totalValueLockedUSD": "2000000",
    });
    assert_eq!(all["nodes"][1], first);
    assert_eq!((&all["nodes"][0]["closed"], &all["nodes"][0]["totalValueLockedUSD"]), (&json!(false), &json!("2000000")));
    // A token that nobody traded, and a factory that nobody knows, have none.
    let none = ask(&world, "tokenDayDatas", &format!("token: \"{ODD}\""), TOKEN_FIELDS).await;
    assert_eq!((&none["nodes"], &none["totalCount"]), (&json!([]), &json!(0)));
    let none = ask(&world, "protocolDayDatas", &format!("factory: \"{ODD}\""), PROTOCOL_FIELDS).await;
    assert_eq!(none["nodes"], json!([]));
}

#[tokio::test]
async fn a_reorg_over_the_end_of_an_hour_leaves_no_trace() {
    let mut world = traded();
    let before = ask(&world, "tokenHourDatas", &format!("token: \"{WETH}\""), TOKEN_FIELDS).await;
    // Back over the sale that closed the hour, the empty block and the second sale of the hour: another one comes in its place.
    world.idle = 0;
    world.reorg(3, vec![sale(7, 1_000), Vec::new(), Vec::new(), Vec::new()]);
    let now = ask(&world, "tokenHourDatas", &format!("token: \"{WETH}\""), TOKEN_FIELDS).await;
    assert_eq!(now["nodes"].as_array().unwrap().len(), 1, "the later hour never was");
    let hour = &now["nodes"][0];
    assert_eq!(
        (&hour["closed"], &hour["priceUSD"], &hour["close"], &hour["totalValueLocked"], &hour["txCount"]),
        (&json!(false), &json!("1000"), &json!("1000"), &json!("1000"), &json!(2))
    );
    assert_ne!(before["nodes"][1]["close"], hour["close"]);
    // It is over without another event: it stays as it is.
    world.idle = 7_200;
    world.mine(Vec::new());
    let over = ask(&world, "tokenHourDatas", &format!("token: \"{WETH}\""), TOKEN_FIELDS).await;
    assert_eq!((&over["nodes"][0]["closed"], &over["nodes"][0]["priceUSD"]), (&json!(true), &json!("1000")));
}

#[tokio::test]
async fn pages_join_in_both_directions_and_rest_says_the_same() {
    let world = traded();
    for (query, of, fields, path) in [
        ("poolHourDatas", format!("pool: \"{PAIR}\""), POOL_FIELDS, format!("pools/{PAIR}")),
        ("tokenHourDatas", format!("token: \"{WETH}\""), TOKEN_FIELDS, format!("tokens/{WETH}")),
        ("protocolHourDatas", format!("factory: \"{FACTORY}\""), PROTOCOL_FIELDS, format!("factories/{FACTORY}")),
    ] {
        let all = ask(&world, query, &of, fields).await["nodes"].clone();
        let newest = ask(&world, query, &format!("{of}, first: 1"), fields).await;
        assert_eq!((&newest["nodes"], &newest["pageInfo"]["hasNextPage"]), (&json!([all[0]]), &json!(true)));
        let after = &newest["pageInfo"]["endCursor"];
        let rest = ask(&world, query, &format!("{of}, first: 1, after: {after}"), fields).await;
        assert_eq!((&rest["nodes"], &rest["pageInfo"]["hasNextPage"]), (&json!([all[1]]), &json!(false)));
        let oldest = ask(&world, query, &format!("{of}, first: 1, orderDirection: asc"), fields).await;
        assert_eq!(oldest["nodes"], json!([all[1]]));
        let after = &oldest["pageInfo"]["endCursor"];
        let rest = ask(&world, query, &format!("{of}, orderDirection: asc, after: {after}"), fields).await;
        assert_eq!(rest["nodes"], json!([all[0]]));
        let later = ask(&world, query, &format!("{of}, from: {}", hour(2, 0) + 1), fields).await;
        assert_eq!((&later["nodes"], &later["totalCount"]), (&json!([all[0]]), &json!(1)));
        let earlier = ask(&world, query, &format!("{of}, to: {}", hour(5, 7_200)), fields).await;
        assert_eq!(earlier["nodes"], json!([all[1]]));

        let (status, headers, body) = get(&world, &format!("/v1/{CHAIN}/{path}/periods?interval=H1&limit=1")).await;
        assert_eq!((status, &body["data"]), (StatusCode::OK, &json!([all[0]])), "{path}");
        let next = headers["link"].to_str().unwrap().trim_start_matches('<').split('>').next().unwrap().to_owned();
        let (status, headers, body) = get(&world, &next).await;
        assert_eq!((status, &body["data"], &body["cursor"]), (StatusCode::OK, &json!([all[1]]), &Value::Null), "{next}");
        assert!(headers.get("link").is_none());
        let (status, _, _) = get(&world, &format!("/v1/{CHAIN}/{path}/periods?interval=D1")).await;
        assert_eq!(status, StatusCode::OK);
    }
}

#[tokio::test]
async fn bad_questions_about_hours_are_explained() {
    let world = traded();
    let of = format!("pool: \"{PAIR}\"");
    for (arguments, says) in [
        (format!("{of}, from: 10, to: 10"), "`from` must be before `to`"),
        (format!("{of}, first: 0"), "`first` must lie between 1 and 1000"),
        (format!("{of}, after: \"Zm9v\""), "cursor"),
        ("pool: \"0x12\"".to_owned(), "pool"),
    ] {
        let answer = world.ask(&list("poolDayDatas", &arguments, "start")).await;
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT", "{arguments}: {answer}");
        assert!(error["message"].as_str().unwrap().contains(says), "{arguments}: {error}");
    }
    for (path, status) in [
        (format!("pools/{PAIR}/periods"), 400),
        (format!("pools/{PAIR}/periods?interval=M1"), 400),
        (format!("pools/{PAIR}/periods?interval=H1&from=5&to=5"), 400),
        (format!("pools/{PAIR}/periods?interval=H1&cursor=abc"), 400),
        (format!("pools/{ODD}/periods?interval=H1"), 404),
        (format!("tokens/{PAIR}/periods?interval=H1"), 404),
        (format!("tokens/{PAIR}/candles?interval=H1"), 404),
        (format!("tokens/{PAIR}/stats?window=H1"), 404),
        (format!("tokens/{WETH}/candles?interval=H1&from=9&to=9"), 400),
        (format!("tokens/{WETH}/candles?interval=H1&invert=true"), 400),
        ("factories/0x12/periods?interval=H1".to_owned(), 400),
    ] {
        let (found, _, body) = get(&world, &format!("/v1/{CHAIN}/{path}")).await;
        assert_eq!(found.as_u16(), status, "{path}: {body}");
        assert!(!body["detail"].as_str().unwrap().is_empty());
    }
}

async fn next(stream: &mut BoxStream<'static, Response>) -> Value {
    let value = serde_json::to_value(stream.next().await.unwrap()).unwrap();
    assert_eq!(value.get("errors"), None, "{value:#}");
    value["data"].as_object().unwrap().values().next().unwrap().clone()
}

#[tokio::test]
async fn a_tokens_candles_are_in_dollars_and_change_with_swaps_and_reorgs() {
    let mut world = traded();
    let fields = "start open high low close volumeToken0 volumeToken1 volumeUSD buys sells buyers sellers txCount closed";
    let query = format!(
        "{{ token(id: \"{WETH}\") {{ candles(interval: H1) {{ {fields} }} stats(window: H24) {{ volume volumeUSD buys sells buyers sellers txCount priceChangePercent }} }} }}"
    );
    let token = world.data(&query).await["token"].clone();
    let first = json!({
        "start": hour(2, 0), "open": "2000", "high": "2000", "low": "1250", "close": "1250", "volumeToken0": "0.00000000000000001",
        "volumeToken1": null, "volumeUSD": "3", "buys": 2, "sells": 0, "buyers": 1, "sellers": 0, "txCount": 2, "closed": true,
    });
    assert_eq!(token["candles"][0], first, "who sells USDC buys WETH");
    assert_eq!(token["candles"][1]["open"], json!("1250"), "candles join");
    assert_eq!(
        token["stats"],
        json!({
            "volume": "0.000000000000000015", "volumeUSD": "4.5", "buys": 3, "sells": 0, "buyers": 1, "sellers": 0, "txCount": 3,
            "priceChangePercent": "25",
        })
    );
    let path = format!("/v1/{CHAIN}/tokens/{WETH}");
    let (_, _, rest) = get(&world, &format!("{path}/candles?interval=H1")).await;
    let same = |name: &str| assert_eq!(rest["data"][0][name], first[name], "{name}");
    fields.split(' ').filter(|name| *name != "txCount").for_each(same);
    let (_, _, stats) = get(&world, &format!("{path}/stats?window=H24")).await;
    assert_eq!((&stats["priceChangePercent"], &stats["volumeUSD"]), (&json!("25"), &json!("4.5")));

    let subscription = format!(
        "subscription {{ onTokenCandlesUpdated(token: {{ address: \"{WETH}\" }}, interval: H1) {{ kind from data {{ close txCount }} }} }}"
    );
    let mut stream = world.schema.execute_stream(&subscription).boxed();
    let snapshot = next(&mut stream).await;
    assert_eq!((&snapshot["kind"], &snapshot["data"]), (&json!("SNAPSHOT"), &json!([{ "close": "2500", "txCount": 1 }])));
    // Of two other tokens' pool nothing is told.
    world.mine(Vec::new());
    assert!(stream.next().now_or_never().is_none());
    world.mine(sale(1, 500));
    let update = next(&mut stream).await;
    assert_eq!((&update["kind"], &update["data"]), (&json!("UPDATE"), &json!([{ "close": "2000", "txCount": 2 }])));
    world.reorg(1, vec![Vec::new(), Vec::new()]);
    assert_eq!(next(&mut stream).await["data"], json!([{ "close": "2500", "txCount": 1 }]), "taken back");
    // One that pools of others trade has candles, and no price.
    let query = format!("{{ token(id: \"{ODD}\") {{ candles(interval: D1) {{ open }} }} }}");
    assert_eq!(world.data(&query).await["token"]["candles"], json!([]));
}
