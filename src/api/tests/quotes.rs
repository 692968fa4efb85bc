//! What a swap would pay, through the schema and REST.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use alloy::primitives::{Address, U256};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{rest::get, world::*};
use crate::domain::event::EventBody;

pub(super) fn reserves(pair: Address, reserve0: u128, reserve1: u128) -> Step {
    Step::Log(pair, EventBody::V2Sync { reserve0, reserve1 })
}

/// `UniswapV2Library.getAmountOut`.
pub(super) fn amount_out(amount: u128, reserve_in: u128, reserve_out: u128) -> u128 {
    let paid = U256::from(amount) * U256::from(997);
    (paid * U256::from(reserve_out) / (U256::from(reserve_in) * U256::from(1_000) + paid)).to()
}

pub(super) fn ask(token_in: Address, token_out: Address, amount: &str, more: &str) -> String {
    format!(
        "{{ quote(input: {{ tokenIn: \"{token_in}\", tokenOut: \"{token_out}\", amount: \"{amount}\", {more} }}) {{
            amountIn amountOut amountMinOrMax midPrice effectivePrice priceImpactBps stateAgeMs block {{ number hash }}
            routes {{ amountIn amountOut hops {{ pool {{ id }} tokenIn tokenOut amountIn amountOut }} }} }} }}"
    )
}

/// USDC has 6 decimals, WETH 18: a WETH costs 2,000 USDC, and one ODD unit a thousandth of it.
pub(super) fn traded() -> World {
    let mut world = World::new();
    world
        .mine(vec![reserves(PAIR, 4_000_000_000, 2_000_000_000_000_000_000), reserves(ODD_PAIR, 10u128.pow(18), 10u128.pow(21))]);
    world
}

pub(super) async fn refused(world: &World, query: &str) -> (String, String) {
    let answer = world.schema.execute(query).await;
    let error = serde_json::to_value(answer.errors.first().unwrap_or_else(|| panic!("{query}: {:?}", answer.data))).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&error["extensions"]["code"]), text(&error["message"]))
}

#[tokio::test]
async fn a_quote_is_what_the_contracts_would_pay_hop_by_hop() {
    let world = traded();
    let answer = world.data(&ask(USDC, WETH, "40000000", "type: EXACT_INPUT, slippageBps: 100")).await["quote"].clone();
    let out = amount_out(40_000_000, 4_000_000_000, 2_000_000_000_000_000_000);
    let (number, hash) = (world.tip().number, world.tip().hash);
    assert_eq!(
        answer,
        json!({
            "amountIn": "40000000", "amountOut": out.to_string(), "amountMinOrMax": (out - out / 100).to_string(),
            "midPrice": "0.0005", "effectivePrice": "0.000493579017198530625", "priceImpactBps": "128.4196560293875",
            "stateAgeMs": NOW_MS - world.tip().timestamp * 1_000, "block": { "number": number, "hash": hash },
            "routes": [{ "amountIn": "40000000", "amountOut": out.to_string(), "hops": [
                { "pool": { "id": format!("{PAIR:#x}") }, "tokenIn": format!("{USDC:#x}"), "tokenOut": format!("{WETH:#x}"),
                  "amountIn": "40000000", "amountOut": out.to_string() },
            ] }],
        })
    );
    // What that costs is what was paid, or less where fewer would have done.
    let back = world.data(&ask(USDC, WETH, &out.to_string(), "type: EXACT_OUTPUT, slippageBps: 5000")).await["quote"].clone();
    let paid: u128 = back["amountIn"].as_str().unwrap().parse().unwrap();
    assert_eq!(back["amountOut"], json!(out.to_string()));
    assert!(paid <= 40_000_000 && amount_out(paid, 4_000_000_000, 2_000_000_000_000_000_000) >= out);
    assert_eq!(back["amountMinOrMax"], json!((paid + paid / 2).to_string()));

    let two = world.data(&ask(USDC, ODD, "40000000", "type: EXACT_INPUT")).await["quote"].clone();
    let odd = amount_out(out, 10u128.pow(18), 10u128.pow(21));
    assert_eq!(two["amountOut"], json!(odd.to_string()));
    let hops = two["routes"][0]["hops"].as_array().unwrap();
    assert_eq!(
        hops.iter().map(|hop| hop["amountOut"].clone()).collect::<Vec<_>>(),
        [json!(out.to_string()), json!(odd.to_string())]
    );
}

#[tokio::test]
async fn a_quote_that_cannot_be_says_why_and_how_much_would_go() {
    let world = traded();
    let nowhere = Address::repeat_byte(0x77);
    let kind = "type: EXACT_INPUT";
    for (query, code, says) in [
        (ask(USDC, USDC, "1", kind), "BAD_USER_INPUT", "the same token"),
        (ask(USDC, WETH, "0", kind), "BAD_USER_INPUT", "above 0"),
        (ask(USDC, WETH, "-5", kind), "BAD_USER_INPUT", "above 0"),
        (ask(USDC, WETH, "1", "type: EXACT_INPUT, maxHops: 5"), "BAD_USER_INPUT", "`maxHops` is 1 to 4, not 5"),
        (ask(USDC, WETH, "1", "type: EXACT_INPUT, slippageBps: 5001"), "BAD_USER_INPUT", "`slippageBps` is 0 to 5000"),
        (ask(USDC, WETH, "1", "type: EXACT_INPUT, slippageBps: -1"), "BAD_USER_INPUT", "`slippageBps` is 0 to 5000"),
        (ask(USDC, nowhere, "1", kind), "NOT_FOUND", "`tokenOut`: no pool"),
        (ask(nowhere, USDC, "1", kind), "NOT_FOUND", "`tokenIn`: no pool"),
        (ask(USDC, ODD, "1000000", "type: EXACT_INPUT, maxHops: 1"), "NO_ROUTE", "in 1 hops"),
        (ask(USDC, ODD, "1000000", "type: EXACT_INPUT, protocols: [UNISWAP_V3]"), "NO_ROUTE", "no pools lead"),
        (ask(USDC, WETH, "1", "type: EXACT_INPUT, protocols: [UNISWAP_V3]"), "INSUFFICIENT_LIQUIDITY", "are empty"),
        (ask(USDC, WETH, "1000000", "type: EXACT_INPUT, maxStateAgeMs: 1000"), "STATE_STALE", "ms old"),
    ] {
        let (got, text) = refused(&world, &query).await;
        assert!(got == code && text.contains(says), "{query}: {got} {text}");
    }
    // The amount that it names goes, and a hundredth more does not.
    for (kind, amount) in [("EXACT_OUTPUT", 5_000_000_000_000_000_000_u128), ("EXACT_INPUT", u128::MAX)] {
        let of = |amount: u128| ask(USDC, WETH, &amount.to_string(), &format!("type: {kind}"));
        let (code, text) = refused(&world, &of(amount)).await;
        assert_eq!(code, "INSUFFICIENT_LIQUIDITY", "{text}");
        let most: u128 = text.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
        world.data(&of(most)).await;
        assert_eq!(refused(&world, &of(most + most / 100)).await.0, "INSUFFICIENT_LIQUIDITY");
    }
}

#[tokio::test]
async fn several_quotes_are_of_one_block_and_the_one_that_fails_is_named() {
    let world = traded();
    let input = |out: Address, amount: u64| {
        format!("{{ tokenIn: \"{USDC}\", tokenOut: \"{out}\", amount: {amount}, type: EXACT_INPUT }}")
    };
    let query = |inputs: &[String]| format!("{{ quotes(inputs: [{}]) {{ amountOut block {{ hash }} }} }}", inputs.join(" "));
    let all = world.data(&query(&[input(WETH, 40_000_000), input(ODD, 1_000_000), input(WETH, 1)])).await["quotes"].clone();
    assert_eq!(all.as_array().unwrap().len(), 3);
    for (at, (out, amount)) in [(WETH, 40_000_000), (ODD, 1_000_000), (WETH, 1)].into_iter().enumerate() {
        let one = world.data(&ask(USDC, out, &amount.to_string(), "type: EXACT_INPUT")).await["quote"].clone();
        assert_eq!((&all[at]["amountOut"], &all[at]["block"]["hash"]), (&one["amountOut"], &one["block"]["hash"]));
    }
    let (code, text) = refused(&world, &query(&[input(WETH, 1_000), input(USDC, 1)])).await;
    assert_eq!((code.as_str(), text.starts_with("`inputs[1]`: ")), ("BAD_USER_INPUT", true), "{text}");
    let (code, text) = refused(&world, &query(&vec![input(WETH, 1_000); 21])).await;
    assert_eq!((code.as_str(), text.contains("at most 20")), ("BAD_USER_INPUT", true), "{text}");
}

#[tokio::test]
async fn depth_is_what_it_takes_to_move_the_price() {
    let mut world = traded();
    let query =
        |bps: &str| format!("{{ pool(id: \"{PAIR}\") {{ depth(bps: {bps}) {{ bps token0In token1Out token1In token0Out }} }} }}");
    let levels = world.data(&query("[100, 500]")).await["pool"]["depth"].clone();
    let (_, _, body) = get(&world, &format!("/v1/{CHAIN}/pools/{PAIR}/depth?bps=100,500")).await;
    assert_eq!(body["data"], levels);
    // Whoever pays what it says gets what it says, and then token0 costs a hundredth less.
    let raw = |value: &Value, digits: u32| {
        let text = value.as_str().unwrap();
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        format!("{whole}{part:0<width$}", width = digits as usize).parse::<u128>().unwrap()
    };
    let (paid, got) = (raw(&levels[0]["token0In"], 6), raw(&levels[0]["token1Out"], 18));
    assert_eq!(amount_out(paid, 4_000_000_000, 2_000_000_000_000_000_000), got);
    world.mine(vec![reserves(PAIR, 4_000_000_000 + paid, 2_000_000_000_000_000_000 - got)]);
    let price = world.data(&format!("{{ pool(id: \"{PAIR}\") {{ token1Price token0Price }} }}")).await["pool"].clone();
    let known = price.to_string();
    assert!(known.contains("0.00049499999") || known.contains("0.000495\""), "{known}");
    for (bps, says) in [("[]", "1 to 20 distances"), ("[0]", "1 to 9000"), ("[-1]", "1 to 9000"), ("[9001]", "1 to 9000")] {
        let (code, text) = refused(&world, &query(bps)).await;
        assert!(code == "BAD_USER_INPUT" && text.contains(says), "{bps}: {text}");
    }
    for more in ["", "0", "01", "9001", "1,", "x", "1.5"] {
        let (status, _, body) = get(&world, &format!("/v1/{CHAIN}/pools/{PAIR}/depth?bps={more}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{more}: {body}");
    }
    // One without a price has no depth.
    let empty = world.data(&format!("{{ pool(id: \"{POOL}\") {{ depth(bps: [1]) {{ token0In token1In }} }} }}")).await;
    assert_eq!(empty["pool"]["depth"], json!([{ "token0In": null, "token1In": null }]));
}

#[tokio::test]
async fn rest_says_the_same_and_refuses_with_problems() {
    let world = traded();
    let theirs = world.data(&ask(USDC, ODD, "40000000", "type: EXACT_INPUT")).await["quote"].clone();
    let path = |more: &str| format!("/v1/{CHAIN}/quote?tokenIn={USDC}&tokenOut={ODD}&amount={more}");
    let (status, headers, body) = get(&world, &path("40000000")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(headers["x-as-of-block"], world.tip().number.to_string());
    assert_eq!(body["block"]["number"], json!(world.tip().number));
    for (name, raw) in [("amountIn", "amountInRaw"), ("amountOut", "amountOutRaw"), ("amountMinOrMax", "amountMinOrMaxRaw")] {
        assert_eq!(body[raw], theirs[name]);
    }
    for name in ["midPrice", "effectivePrice", "priceImpactBps"] {
        assert_eq!(body[name], theirs[name]);
    }
    let hops = body["routes"][0]["hops"].as_array().unwrap();
    assert_eq!((hops.len(), &hops[1]["pool"]), (2, &json!(format!("{ODD_PAIR:#x}"))));
    for (more, status, code) in [
        ("", 400, "BAD_USER_INPUT"),
        ("0", 400, "BAD_USER_INPUT"),
        ("0x10", 400, "BAD_USER_INPUT"),
        ("1.5", 400, "BAD_USER_INPUT"),
        ("1&type=SELL", 400, "BAD_USER_INPUT"),
        ("1&protocols=UNISWAP_V9", 400, "BAD_USER_INPUT"),
        ("1&maxHops=0", 400, "BAD_USER_INPUT"),
        ("1&unknown=1", 400, "BAD_USER_INPUT"),
        ("40000000&maxHops=1", 422, "NO_ROUTE"),
        ("40000000&protocols=UNISWAP_V3", 422, "NO_ROUTE"),
        ("40000000&maxStateAgeMs=5", 503, "STATE_STALE"),
        ("1000000000000000000000&type=EXACT_OUTPUT", 422, "INSUFFICIENT_LIQUIDITY"),
    ] {
        let (got, _, body) = get(&world, &path(more)).await;
        assert_eq!((got.as_u16(), &body["code"]), (status, &json!(code)), "{more}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_is_never_of_two_blocks() {
    let mut world = traded();
    // In each block both pools stand where its number says.
    let pair = |number: u64| (4_000_000_000 + u128::from(number) * 1_000_000_000, 2_000_000_000_000_000_000);
    let odd = |number: u64| (10u128.pow(18), 10u128.pow(21) + u128::from(number) * 10u128.pow(21));
    let steps =
        |number: u64| vec![reserves(PAIR, pair(number).0, pair(number).1), reserves(ODD_PAIR, odd(number).0, odd(number).1)];
    world.mine(steps(world.tip().number + 1));
    let (schema, done) = (world.schema.clone(), Arc::new(AtomicBool::new(false)));
    let asking = tokio::spawn({
        let done = done.clone();
        async move {
            let mut blocks = std::collections::BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                let answer = schema.execute(ask(USDC, ODD, "40000000", "type: EXACT_INPUT")).await;
                assert!(answer.errors.is_empty(), "{:?}", answer.errors);
                let quote = answer.data.into_json().unwrap()["quote"].clone();
                let number = quote["block"]["number"].as_u64().unwrap();
                let (pair, odd) = (pair(number), odd(number));
                let out = amount_out(amount_out(40_000_000, pair.0, pair.1), odd.0, odd.1);
                assert_eq!(quote["amountOut"], json!(out.to_string()), "block {number}");
                blocks.insert(number);
            }
            blocks.len()
        }
    });
    for _ in 0..2_000 {
        world.mine(steps(world.tip().number + 1));
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::Relaxed);
    assert!(asking.await.unwrap() > 10, "too few blocks were caught");
}

pub(super) fn simulation(steps: &[String]) -> String {
    let fields = "tokenOut amountIn amountOut amountLeft ticksCrossed token0PriceAfter token1PriceAfter reserve0After reserve1After sqrtPriceX96After tickAfter";
    format!("{{ simulate(steps: [{}]) {{ block {{ number }} steps {{ pool {{ reserve0 }} {fields} }} }} }}", steps.join(", "))
}

pub(super) fn step(pool: Address, token_in: Address, amount: &str, more: &str) -> String {
    format!("{{ pool: \"{pool}\", tokenIn: \"{token_in}\", amount: \"{amount}\", {more} }}")
}

#[tokio::test]
async fn each_swap_of_a_simulation_sees_the_one_before_and_the_pools_stay_as_they_are() {
    let world = traded();
    let exact = "type: EXACT_INPUT";
    let first = step(PAIR, USDC, "40000000", exact);
    let (reserve0, reserve1) = (4_000_000_000_u128, 2_000_000_000_000_000_000_u128);
    let out = amount_out(40_000_000, reserve0, reserve1);
    let again = amount_out(40_000_000, reserve0 + 40_000_000, reserve1 - out);
    let answer = world.data(&simulation(&[first.clone(), first.clone(), step(PAIR, WETH, "1000000000000000", exact)])).await;
    let steps = answer["simulate"]["steps"].as_array().unwrap();
    assert_eq!(answer["simulate"]["block"]["number"], json!(world.tip().number));
    assert_eq!((&steps[0]["amountOut"], &steps[1]["amountOut"]), (&json!(out.to_string()), &json!(again.to_string())));
    assert_eq!(steps[1]["reserve0After"], json!((reserve0 + 80_000_000).to_string()));
    assert_eq!(steps[1]["pool"]["reserve0"], json!(reserve0.to_string()), "the pool itself stays");
    let (held0, held1) = (reserve0 + 80_000_000, reserve1 - out - again);
    let back = amount_out(1_000_000_000_000_000, held1, held0);
    assert_eq!((&steps[2]["amountOut"], &steps[2]["tokenOut"]), (&json!(back.to_string()), &json!(format!("{USDC:#x}"))));
    assert_eq!((&steps[0]["tickAfter"], &steps[0]["sqrtPriceX96After"]), (&Value::Null, &Value::Null));

    let nowhere = Address::repeat_byte(0x77);
    let many = vec![first.clone(); 51];
    for (steps, code, says) in [
        (vec![], "BAD_USER_INPUT", "`steps` are 1 to 50 swaps, these are 0"),
        (many, "BAD_USER_INPUT", "these are 51"),
        (vec![first.clone(), step(nowhere, USDC, "1", exact)], "NOT_FOUND", "`steps[1]`: there is no such pool"),
        (vec![step(PAIR, ODD, "1", exact)], "BAD_USER_INPUT", "does not trade that token"),
        (vec![step(PAIR, USDC, "0", exact)], "BAD_USER_INPUT", "`amount` is a whole number above 0"),
        (vec![step(PAIR, USDC, "-1", exact)], "BAD_USER_INPUT", "`amount` is a whole number above 0"),
        (vec![step(PAIR, WETH, "1", exact)], "BAD_USER_INPUT", "for so little nothing comes out"),
        (vec![step(POOL, USDC, "1", exact)], "INSUFFICIENT_LIQUIDITY", "the pool is empty"),
        (
            vec![step(PAIR, USDC, &reserve1.to_string(), "type: EXACT_OUTPUT")],
            "INSUFFICIENT_LIQUIDITY",
            "at most 1999999999999999999",
        ),
        (
            vec![step(PAIR, USDC, "1", "type: EXACT_INPUT, sqrtPriceLimitX96: 5")],
            "BAD_USER_INPUT",
            "`sqrtPriceLimitX96` is of V3",
        ),
        (vec![step(PAIR, USDC, &U256::MAX.to_string(), exact)], "BAD_USER_INPUT", "beyond what the contract computes with"),
    ] {
        let query = simulation(&steps);
        let (got, text) = refused(&world, &query).await;
        assert!(got == code && text.contains(says), "{query}: {got} {text}");
    }
}

#[tokio::test]
async fn the_swap_to_a_price_brings_the_pool_there_and_no_further() {
    let world = traded();
    let query = |pool: Address, token: Address, price: &str| {
        format!(
            "{{ swapToPrice(pool: \"{pool}\", tokenIn: \"{token}\", targetPrice: \"{price}\") {{ amountIn amountOut priceAfter block {{ number }} }} }}"
        )
    };
    // A USDC buys 0.0005 WETH, and a WETH 2,000 USDC.
    for (token, price, kept) in [(USDC, "0.00049", "0.0004899999"), (WETH, "1999.5", "1999.49999"), (WETH, "1", "0.9999999")] {
        let swap = world.data(&query(PAIR, token, price)).await["swapToPrice"].clone();
        let amount = swap["amountIn"].as_str().unwrap();
        assert!(swap["priceAfter"].as_str().unwrap().starts_with(kept) || swap["priceAfter"] == json!(price), "{swap}");
        let after = async |amount: &str| {
            let done =
                world.data(&simulation(&[step(PAIR, token, amount, "type: EXACT_INPUT")])).await["simulate"]["steps"][0].clone();
            (done["amountOut"].clone(), done[if token == USDC { "token1PriceAfter" } else { "token0PriceAfter" }].clone())
        };
        assert_eq!(after(amount).await, (swap["amountOut"].clone(), swap["priceAfter"].clone()));
        let less = (amount.parse::<u128>().unwrap() - 1).to_string();
        let short: f64 = after(&less).await.1.as_str().unwrap().parse().unwrap();
        assert!(short >= price.parse::<f64>().unwrap(), "{short} for a unit less");
    }
    assert_eq!(world.data(&query(Address::repeat_byte(0x77), USDC, "1")).await["swapToPrice"], Value::Null);
    for (pool, token, price, code, says) in [
        (PAIR, USDC, "0.0006", "BAD_USER_INPUT", "has to be below what tokenIn costs now"),
        (PAIR, USDC, "0", "BAD_USER_INPUT", "above 0"),
        (PAIR, WETH, "0", "BAD_USER_INPUT", "above 0"),
        (PAIR, USDC, "-1", "BAD_USER_INPUT", "above 0"),
        (PAIR, USDC, &"9".repeat(78), "BAD_USER_INPUT", "at most 77 digits"),
        (PAIR, ODD, "1", "BAD_USER_INPUT", "none of the pool's two tokens"),
        (ODD_PAIR, WETH, "1", "BAD_USER_INPUT", "has no decimals"),
        (POOL, USDC, "0.0001", "INSUFFICIENT_LIQUIDITY", "empty"),
        (PAIR, USDC, "0.0000000000000000000000000000000000000000000000000000000000000001", "BAD_USER_INPUT", "can reach"),
    ] {
        let query = query(pool, token, price);
        let (got, text) = refused(&world, &query).await;
        assert!(got == code && text.contains(says), "{query}: {got} {text}");
    }
}

#[tokio::test]
async fn a_subscriber_has_the_quote_of_each_block_that_changes_it() {
    use futures_util::{FutureExt as _, StreamExt as _};

    let mut world = traded();
    let subscription = |bps: i32| {
        format!(
            "subscription {{ onQuoteUpdated(minChangeBps: {bps}, input: {{ tokenIn: \"{USDC}\", tokenOut: \"{ODD}\", amount: \"1000000\", type: EXACT_INPUT }}) {{
                seq kind block {{ number }} code reason data {{ amountOut routes {{ hops {{ pool {{ id }} }} }} }} }} }}"
        )
    };
    let now =
        async |world: &World| world.data(&ask(USDC, ODD, "1000000", "type: EXACT_INPUT")).await["quote"]["amountOut"].clone();
    let mut every = world.schema.execute_stream(subscription(0)).boxed();
    let mut large = world.schema.execute_stream(subscription(100)).boxed();
    async fn next(stream: &mut futures_util::stream::BoxStream<'_, async_graphql::Response>) -> Value {
        let frame = serde_json::to_value(stream.next().await.unwrap()).unwrap();
        assert_eq!(frame.get("errors"), None, "{frame:#}");
        frame["data"]["onQuoteUpdated"].clone()
    }
    let first = next(&mut every).await;
    assert_eq!((&first["seq"], &first["kind"], &first["code"]), (&json!(0), &json!("SNAPSHOT"), &Value::Null));
    assert_eq!(first["data"][0]["amountOut"], now(&world).await);
    assert_eq!(next(&mut large).await["data"], first["data"]);

    world.mine(Vec::new());
    assert!(every.next().now_or_never().is_none(), "a block that changes nothing");
    // A ten-thousandth on the first hop.
    let pair = |reserve1: u128| vec![reserves(PAIR, 4_000_000_000, reserve1)];
    world.mine(pair(2_000_200_000_000_000_000));
    let second = next(&mut every).await;
    assert_eq!((&second["seq"], &second["kind"]), (&json!(1), &json!("UPDATE")));
    assert_eq!(second["data"][0]["amountOut"], now(&world).await);
    assert_eq!(second["block"]["number"], json!(world.tip().number));
    assert!(large.next().now_or_never().is_none(), "not by a hundredth");
    // A reorg takes that back, and what is left is what was before.
    world.reorg(1, vec![Vec::new(), Vec::new()]);
    assert_eq!(next(&mut every).await["data"], first["data"]);
    // The second hop is emptied, and filled again.
    world.mine(vec![reserves(ODD_PAIR, 0, 0)]);
    for stream in [&mut every, &mut large] {
        let gone = next(stream).await;
        assert_eq!((&gone["data"], &gone["code"]), (&json!([]), &json!("INSUFFICIENT_LIQUIDITY")));
        assert!(gone["reason"].as_str().unwrap().contains("are empty"), "{gone}");
    }
    world.mine(vec![reserves(ODD_PAIR, 10u128.pow(18), 10u128.pow(21))]);
    for stream in [&mut every, &mut large] {
        assert_eq!(next(stream).await["data"], first["data"]);
    }
    for (wrong, says) in
        [(subscription(-1), "`minChangeBps` is 0 to 10000"), (subscription(0).replace("\"1000000\"", "\"0\""), "above 0")]
    {
        let refused = serde_json::to_value(world.schema.execute_stream(wrong).next().await.unwrap()).unwrap();
        assert_eq!(refused["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
        assert!(refused["errors"][0]["message"].as_str().unwrap().contains(says), "{refused}");
    }
}

#[tokio::test]
async fn gas_costs_what_the_block_says_unless_it_is_said_otherwise() {
    let mut world = World::priced();
    world.mine(v2_swap(7, 7, 2_000_000_000_000, 1_000 * 10_u128.pow(18)));
    let query = |more: &str| {
        format!(
            "{{ quote(input: {{ tokenIn: \"{WETH}\", tokenOut: \"{USDC}\", amount: \"1000000000000000000\", type: EXACT_INPUT{more} }})
            {{ amountOut gasEstimate gasUSD quoteGasAdjusted }} }}"
        )
    };
    let plain = world.data(&query("")).await["quote"].clone();
    let said = world.data(&query(&format!(", gasPriceWei: \"{BASE_FEE_WEI}\""))).await["quote"].clone();
    assert_eq!(plain, said);
    let number = |value: &Value| value.as_str().unwrap().parse::<u128>().unwrap();
    // A WETH is 2,000 dollars, and a unit of USDC a millionth of one.
    let micro = number(&plain["gasEstimate"]) * u128::from(BASE_FEE_WEI) * 2_000 / 10_u128.pow(12);
    let counted = number(&plain["amountOut"]) - number(&plain["quoteGasAdjusted"]);
    assert!(counted.abs_diff(micro) <= 1, "rounded down: {plain}");
    assert!(micro > 100_000 && plain["gasUSD"].as_str().unwrap().starts_with("0."), "{plain}");
    let free = world.data(&query(", gasPriceWei: \"0\"")).await["quote"].clone();
    assert_eq!((&free["quoteGasAdjusted"], &free["gasUSD"]), (&free["amountOut"], &json!("0")), "{free}");
    let path = format!("/v1/{CHAIN}/quote?tokenIn={WETH}&tokenOut={USDC}&amount=1000000000000000000&gasPriceWei=0");
    let (status, _, answer) = get(&world, &path).await;
    assert_eq!((status, &answer["quoteGasAdjustedRaw"]), (StatusCode::OK, &free["amountOut"]), "{answer}");
}
