//! Quotes that are sent: with their own calldata, right after the block that they are of, they pay what they promised.

use alloy::primitives::{Address, Bytes, U256};
use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig, Tx, contracts::Token};
use tempfile::TempDir;

use super::{
    engine::{Engine, Setup},
    quotes::Rng,
};

const QUOTE: &str = "query($q: QuoteInput!) { quote(input: $q) { amountIn amountOut amountMinOrMax gasEstimate calldata to value \
                     routes { hops { pool { id protocol } ticksCrossed } } block { hash } } }";

fn number(value: &Value) -> U256 {
    value.as_str().unwrap().parse().unwrap()
}

async fn balance(devnet: &Devnet, of: Address, token: Address) -> U256 {
    if token.is_zero() {
        let said = devnet.rpc_call("eth_getBalance", json!([of, "latest"])).await.unwrap();
        return said.as_str().unwrap().parse().unwrap();
    }
    devnet.rpc().view(token, &Token::balanceOfCall { owner: of }).await.unwrap()
}

/// What a quote was, and what it cost.
struct Paid {
    protocols: Vec<String>,
    ways: usize,
    hops: Vec<String>,
    crossed: u64,
    estimate: u64,
    gas: u64,
}

/// Sends a quote in a block of its own. `None`: there is no quote, or no router does it.
async fn send(engine: &Engine, devnet: &mut Devnet, input: Value) -> Option<Paid> {
    let answer = engine.raw_query(QUOTE, json!({ "q": input })).await;
    if let Some(error) = answer["errors"].get(0) {
        let code = error["extensions"]["code"].as_str().unwrap();
        assert!(["NO_ROUTE", "INSUFFICIENT_LIQUIDITY", "NOT_FOUND"].contains(&code), "{answer:#}");
        return None;
    }
    let quote = &answer["data"]["quote"];
    assert_eq!(quote["block"]["hash"], json!(devnet.head().await.unwrap().hash));
    let data: Bytes = quote["calldata"].as_str()?.parse().unwrap();
    let token = |name: &str| -> Address { input[name].as_str().unwrap().parse().unwrap() };
    let from = devnet.deployment.accounts[1];
    let recipient = input["recipient"].as_str().map_or(from, |to| to.parse().unwrap());
    let (token_in, token_out) = (token("tokenIn"), token("tokenOut"));
    let before = (balance(devnet, from, token_in).await, balance(devnet, recipient, token_out).await);
    let (to, value) = (quote["to"].as_str().unwrap().parse().unwrap(), number(&quote["value"]));
    devnet.trader.queue_mut().push(Tx { from, to: Some(to), data, gas: 6_000_000, value }).await.unwrap();
    let mined = devnet.mine().await.unwrap();
    let block = devnet.rpc_call("eth_getBlockReceipts", json!([format!("{:#x}", mined.number)])).await.unwrap();
    let receipt = &block[0];
    if receipt["status"] != json!("0x1") {
        let before = format!("{:#x}", mined.number - 1);
        let call = json!([{ "from": from, "to": to, "data": quote["calldata"], "value": value }, before]);
        panic!("{:?}: {input:#} {quote:#}", devnet.rpc_call("eth_call", call).await);
    }
    let wei = |name: &str| -> U256 { receipt[name].as_str().unwrap().parse().unwrap() };
    let fee = wei("gasUsed") * wei("effectiveGasPrice");
    let of_gas = |token: Address, whose: Address| if token.is_zero() && whose == from { fee } else { U256::ZERO };
    let paid = before.0 - balance(devnet, from, token_in).await - of_gas(token_in, from);
    let got = balance(devnet, recipient, token_out).await + of_gas(token_out, recipient) - before.1;
    assert_eq!(paid, number(&quote["amountIn"]), "{input:#} {quote:#}");
    let promised = number(&quote["amountOut"]);
    // Of an exact output the Universal Router hands on what a pair gives for its rounded-up input.
    let may_be_more = input["type"] == json!("EXACT_OUTPUT") && quote["routes"].to_string().contains("UNISWAP_V2");
    assert!(got == promised || (may_be_more && got > promised), "{got}: {input:#} {quote:#}");
    let bound = number(&quote["amountMinOrMax"]);
    assert!(if input["type"] == json!("EXACT_INPUT") { got >= bound } else { paid <= bound }, "{quote:#}");
    let legs = quote["routes"].as_array().unwrap();
    let hops: Vec<&Value> = legs.iter().flat_map(|leg| leg["hops"].as_array().unwrap()).collect();
    let mut protocols: Vec<String> = hops.iter().map(|hop| hop["pool"]["protocol"].as_str().unwrap().to_owned()).collect();
    protocols.sort_unstable();
    protocols.dedup();
    let (estimate, gas) = (number(&quote["gasEstimate"]).to(), wei("gasUsed").to());
    let crossed = hops.iter().map(|hop| hop["ticksCrossed"].as_u64().unwrap()).sum();
    let of_legs = |leg: &Value| {
        let word = |hop: &Value| hop["pool"]["protocol"].as_str().unwrap()[8..].to_owned();
        leg["hops"].as_array().unwrap().iter().map(word).collect::<Vec<_>>().join("-")
    };
    Some(Paid { protocols, ways: legs.len(), hops: legs.iter().map(of_legs).collect(), crossed, estimate, gas })
}

/// Tokens that some pool has, with their decimals.
fn traded(devnet: &Devnet) -> Vec<(Address, u8)> {
    let pools = devnet.trader.pools().iter().flat_map(|pool| [&pool.token0, &pool.token1]);
    let mut tokens: Vec<(Address, u8)> = pools.map(|token| (token.address, token.decimals)).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

fn rounds() -> u64 {
    std::env::var("SWAPTIDE_SENT").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_that_is_sent_with_its_calldata_pays_to_the_wei_what_it_promised() {
    let folder = TempDir::new().unwrap();
    let config = DevnetConfig { seed: 95, v4_pools: 4, max_new_pools: 0, ..DevnetConfig::default() };
    let mut devnet = Devnet::start(config).await.unwrap();
    devnet.fill(4, 20).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    let mut tokens = traded(&devnet);
    tokens.push((Address::ZERO, 18));
    let mut rng = Rng(29);
    let mut paid: Vec<Paid> = Vec::new();
    let (mut refused, mut outputs, mut native) = (0, 0, 0);
    let stranger = Address::repeat_byte(0x5e);
    for round in 0..rounds() {
        // Now and then somebody trades in between.
        if round % 5 == 0 {
            devnet.trader.push_random(6).await.unwrap();
            devnet.mine().await.unwrap();
        }
        engine.at_head(&devnet).await;
        let pick = |rng: &mut Rng| tokens[usize::try_from(rng.below(tokens.len() as u64)).unwrap()];
        let ((token_in, decimals_in), (token_out, decimals_out)) = (pick(&mut rng), pick(&mut rng));
        if token_in == token_out {
            continue;
        }
        let is_in = rng.below(3) > 0;
        let decimals = if is_in { decimals_in } else { decimals_out };
        // From a thousandth of a unit to some thousand: large ones take several ways.
        let amount: U256 =
            (rng.amount(40) << 10_usize) * U256::from(10).pow(U256::from(decimals.saturating_sub(6))) / U256::from(1_u64 << 18);
        let mut input = json!({
            "tokenIn": token_in, "tokenOut": token_out, "amount": amount.max(U256::ONE).to_string(),
            "type": if is_in { "EXACT_INPUT" } else { "EXACT_OUTPUT" }, "slippageBps": rng.below(100), "maxHops": 1 + rng.below(4),
        });
        if rng.below(3) == 0 {
            input["recipient"] = json!(stranger);
        }
        match rng.below(4) {
            0 => input["protocols"] = json!(["UNISWAP_V2"]),
            1 => input["protocols"] = json!(["UNISWAP_V3", "UNISWAP_V4"]),
            _ => {}
        }
        match send(&engine, &mut devnet, input).await {
            Some(one) => {
                paid.push(one);
                outputs += usize::from(!is_in);
                native += usize::from(token_in.is_zero() || token_out.is_zero());
            }
            None => refused += 1,
        }
    }
    let split = paid.iter().filter(|one| one.ways > 1).count();
    let mixed = paid.iter().filter(|one| one.protocols.len() > 1).count();
    let mut off: Vec<i64> = paid
        .iter()
        .map(|one| {
            (i64::try_from(one.estimate).unwrap() - i64::try_from(one.gas).unwrap()) * 1_000 / i64::try_from(one.gas).unwrap()
        })
        .collect();
    if std::env::var_os("SWAPTIDE_SENT").is_some() {
        for one in &paid {
            println!("{} ways {:?}, {} ticks: {} estimated, {} paid", one.ways, one.hops, one.crossed, one.estimate, one.gas);
        }
    }
    off.sort_unstable();
    let median = off[off.len() / 2];
    println!(
        "{} quotes sent: {outputs} exact outputs, {split} over several ways, {mixed} through several protocols, {native} with native currency; \
         {refused} without a quote or a router; gas estimates off by {median} per mille at the median",
        paid.len()
    );
    assert!(paid.len() > 25 && outputs > 4 && split > 2 && mixed > 2 && native > 1, "too few");
    assert!(median.abs() <= 100, "{off:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_universal_router_an_exchanges_own_does_what_it_can() {
    let folder = TempDir::new().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 96, max_new_pools: 0, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(3, 20).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    let tokens = traded(&devnet);
    let mut rng = Rng(31);
    let (mut paid, mut refused) = (0, 0);
    for round in 0..80_u64 {
        engine.at_head(&devnet).await;
        let pick = |rng: &mut Rng| tokens[usize::try_from(rng.below(tokens.len() as u64)).unwrap()];
        let ((token_in, decimals_in), (token_out, decimals_out)) = (pick(&mut rng), pick(&mut rng));
        if token_in == token_out {
            continue;
        }
        let is_in = rng.below(2) == 0;
        let decimals = if is_in { decimals_in } else { decimals_out };
        let amount = rng.amount(20) * U256::from(10).pow(U256::from(decimals.saturating_sub(5)));
        let input = json!({
            "tokenIn": token_in, "tokenOut": token_out, "amount": amount.to_string(), "recipient": devnet.deployment.accounts[1],
            "type": if is_in { "EXACT_INPUT" } else { "EXACT_OUTPUT" }, "maxSplits": 1,
            "protocols": [if round % 2 == 0 { "UNISWAP_V2" } else { "UNISWAP_V3" }],
        });
        match send(&engine, &mut devnet, input).await {
            Some(_) => paid += 1,
            None => refused += 1,
        }
    }
    println!("{paid} quotes sent through Router02 and SwapRouter; {refused} without a quote");
    assert!(paid > 10, "{paid}");
}
