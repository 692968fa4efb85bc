//! Quotes of the running engine, against the contracts at the block that each one names, while blocks come and are taken back.

use alloy::{
    primitives::{Address, B256, U256, utils::parse_units},
    sol_types::SolCall,
};
use serde_json::{Value, json};
use swaptide::domain::pool::{Protocol, exchange::Order, step::Amount};
use swaptide_demo::{DevPool, Devnet, DevnetConfig};
use tempfile::TempDir;

use super::{
    dollars::meta,
    engine::{Engine, Setup},
    quotes::{Rng, Router, call, quoter},
};

const QUOTE: &str = "query($q: QuoteInput!) { quote(input: $q) { amountIn amountOut block { hash } \
                     routes { hops { pool { id } tokenIn tokenOut amountIn amountOut } } } }";

/// What a pool's contract gives for an input, or takes for an output.
async fn theirs(devnet: &Devnet, at: B256, pool: &DevPool, token_in: Address, amount: Amount) -> Option<U256> {
    let meta = meta(devnet, pool);
    let down = token_in == meta.token0;
    if meta.protocol == Protocol::UniswapV3 {
        return quoter(devnet, at, &meta, &Order { down, amount, limit: None }).await.map(|(amount, ..)| amount);
    }
    let path = if down { vec![meta.token0, meta.token1] } else { vec![meta.token1, meta.token0] };
    let router = devnet.deployment.v2_router;
    match amount {
        Amount::In(amount) => {
            let said = call(devnet, at, router, Router::getAmountsOutCall { amountIn: amount, path }.abi_encode()).await?;
            Some(Router::getAmountsOutCall::abi_decode_returns(&said).unwrap()[1])
        }
        Amount::Out(amount) => {
            let said = call(devnet, at, router, Router::getAmountsInCall { amountOut: amount, path }.abi_encode()).await?;
            Some(Router::getAmountsInCall::abi_decode_returns(&said).unwrap()[0])
        }
    }
}

fn number(value: &Value) -> U256 {
    value.as_str().unwrap().parse().unwrap()
}

fn address(value: &Value) -> Address {
    value.as_str().unwrap().parse().unwrap()
}

/// Every hop pays what its contract says, each the next one's input, and no single pool pays better. How many hops there are.
async fn check(devnet: &Devnet, quote: &Value, (from, to): (Address, Address), amount: Amount) -> usize {
    let pools = devnet.trader.pools();
    let at: B256 = quote["block"]["hash"].as_str().unwrap().parse().unwrap();
    let hops = quote["routes"][0]["hops"].as_array().unwrap();
    let (amount_in, amount_out) = (number(&quote["amountIn"]), number(&quote["amountOut"]));
    let (mut token, mut paid) = (from, amount_in);
    for hop in hops {
        assert_eq!((address(&hop["tokenIn"]), number(&hop["amountIn"])), (token, paid), "{quote:#}");
        let pool = pools.iter().find(|pool| pool.address == address(&hop["pool"]["id"])).unwrap();
        (token, paid) = (address(&hop["tokenOut"]), number(&hop["amountOut"]));
        let (known, moved) = match amount {
            Amount::In(_) => (Amount::In(number(&hop["amountIn"])), paid),
            Amount::Out(_) => (Amount::Out(paid), number(&hop["amountIn"])),
        };
        assert_eq!(theirs(devnet, at, pool, address(&hop["tokenIn"]), known).await, Some(moved), "{amount:?} {hop:#}");
    }
    assert_eq!((token, paid), (to, amount_out), "{quote:#}");
    match amount {
        Amount::In(known) => assert_eq!(known, amount_in, "{quote:#}"),
        Amount::Out(known) => assert_eq!(known, amount_out, "{quote:#}"),
    }
    let between = |pool: &&DevPool| [(from, to), (to, from)].contains(&(pool.token0.address, pool.token1.address));
    for pool in pools.iter().filter(between) {
        match (amount, theirs(devnet, at, pool, from, amount).await) {
            (Amount::In(_), Some(out)) => assert!(out <= amount_out, "{} pays {out}: {quote:#}", pool.address),
            (Amount::Out(_), Some(cost)) => assert!(cost >= amount_in, "{} takes {cost}: {quote:#}", pool.address),
            (_, None) => {}
        }
    }
    hops.len()
}

/// Whoever pays what a level says gets what it says. How many swaps that were.
async fn check_depth(engine: &Engine, devnet: &Devnet, pool: &DevPool) -> usize {
    const DEPTH: &str =
        "query($id: ID!) { pool(id: $id) { asOf { hash } depth(bps: [10, 300]) { token0In token1Out token1In token0Out } } }";
    let answer = engine.query(DEPTH, json!({ "id": pool.address })).await["pool"].clone();
    let at: B256 = answer["asOf"]["hash"].as_str().unwrap().parse().unwrap();
    let mut swaps = 0;
    for level in answer["depth"].as_array().unwrap() {
        for (token, paid, other, got) in
            [(&pool.token0, "token0In", &pool.token1, "token1Out"), (&pool.token1, "token1In", &pool.token0, "token0Out")]
        {
            let raw = |text: &Value, decimals: u8| parse_units(text.as_str().unwrap(), decimals).unwrap().get_absolute();
            let (paid, got) = (raw(&level[paid], token.decimals), raw(&level[got], other.decimals));
            if !paid.is_zero() {
                let said = theirs(devnet, at, pool, token.address, Amount::In(paid)).await;
                assert_eq!(said, Some(got), "{} {level:#}", pool.address);
                swaps += 1;
            }
        }
    }
    swaps
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_is_what_the_contracts_pay_at_its_block_while_blocks_come_and_go() {
    let folder = TempDir::new().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 93, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(6, 10).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    engine.at_head(&devnet).await;
    let mut tokens: Vec<Address> =
        devnet.trader.pools().iter().flat_map(|pool| [pool.token0.address, pool.token1.address]).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let mut rng = Rng(17);
    let (mut paid, mut longer, mut refused, mut moved) = (0, 0, 0, 0);
    for round in 0..8_u64 {
        devnet.trader.push_random(8).await.unwrap();
        devnet.mine().await.unwrap();
        if round % 3 == 2 {
            devnet.reorg(1 + rng.below(3)).await.unwrap();
        }
        engine.at_head(&devnet).await;
        let pool = &devnet.trader.pools()[usize::try_from(round).unwrap()];
        moved += check_depth(&engine, &devnet, pool).await;
        for _ in 0..12 {
            let mut token = || tokens[usize::try_from(rng.below(tokens.len() as u64)).unwrap()];
            let (from, to) = (token(), token());
            if from == to {
                continue;
            }
            let raw = rng.amount(80);
            let (kind, amount) =
                if rng.below(2) == 0 { ("EXACT_INPUT", Amount::In(raw)) } else { ("EXACT_OUTPUT", Amount::Out(raw)) };
            // Ways side by side may share pools, which no call can see: `sent` sends them.
            let input = json!({ "tokenIn": from, "tokenOut": to, "amount": raw.to_string(), "type": kind, "maxSplits": 1 });
            let answer = engine.raw_query(QUOTE, json!({ "q": input })).await;
            if let Some(error) = answer["errors"].get(0) {
                let code = error["extensions"]["code"].as_str().unwrap();
                assert!(["NO_ROUTE", "INSUFFICIENT_LIQUIDITY"].contains(&code), "{answer:#}");
                refused += 1;
                continue;
            }
            let hops = check(&devnet, &answer["data"]["quote"], (from, to), amount).await;
            paid += 1;
            longer += usize::from(hops > 1);
        }
    }
    println!("{paid} quotes equal the contracts, {longer} of several hops; {refused} refused; {moved} swaps of a depth");
    assert!(paid > 30 && longer > 5 && moved > 20, "{paid} {longer} {refused} {moved}");
}
