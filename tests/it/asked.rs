//! What only the contracts can say, beside what we say: verified quotes, and pools whose hooks have a say in swaps.

use alloy::primitives::{Address, U256};
use serde_json::{Value, json};
use swaptide::domain::pool::{exchange::Order, step::Amount};
use swaptide_demo::{Devnet, DevnetConfig};
use tempfile::TempDir;

use super::{
    engine::{Engine, Setup},
    quotes::Rng,
    v4_quotes::quoter,
};

const QUOTE: &str = "query($q: QuoteInput!) { quote(input: $q) { amountIn amountOut calldata warnings block { hash } \
                     routes { hops { pool { id isHooked } amountIn amountOut nodeAmount source } } } }";

#[tokio::test(flavor = "multi_thread")]
async fn the_contracts_own_word_stands_beside_ours_and_hooks_are_asked_never_guessed() {
    let folder = TempDir::new().unwrap();
    let config =
        DevnetConfig { seed: 97, tokens: 4, v2_pools: 3, v3_pools: 3, v4_pools: 4, max_new_pools: 0, ..DevnetConfig::default() };
    let mut devnet = Devnet::start(config).await.unwrap();
    devnet.fill(4, 20).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    let v4 = devnet.deployment.v4.clone().unwrap();
    let hooked = v4.pools.iter().find(|pool| pool.is_hooked()).unwrap();
    let tokens: Vec<Address> = devnet.deployment.tokens.iter().map(|token| token.address).chain([Address::ZERO]).collect();
    let mut rng = Rng(37);
    let (mut equal, mut unseen, mut by_hook, mut not_by_hook) = (0, 0, 0, 0);
    let number = |value: &Value| -> U256 { value.as_str().unwrap().parse().unwrap() };
    for _ in 0..12 {
        devnet.trader.push_random(8).await.unwrap();
        devnet.mine().await.unwrap();
        engine.at_head(&devnet).await;
        let pick = |rng: &mut Rng| tokens[usize::try_from(rng.below(tokens.len() as u64)).unwrap()];
        for _ in 0..3 {
            let (token_in, token_out, is_in) = (pick(&mut rng), pick(&mut rng), rng.below(2) == 0);
            let kind = if is_in { "EXACT_INPUT" } else { "EXACT_OUTPUT" };
            let amount = rng.amount(36).to_string();
            let input = json!({ "tokenIn": token_in, "tokenOut": token_out, "amount": amount, "type": kind, "verify": "CALL" });
            let answer = engine.raw_query(QUOTE, json!({ "q": input })).await;
            for hop in
                answer["data"]["quote"]["routes"].as_array().into_iter().flatten().flat_map(|leg| leg["hops"].as_array().unwrap())
            {
                assert_eq!((&hop["source"], &hop["pool"]["isHooked"]), (&json!("MEMORY"), &json!(false)), "{answer:#}");
                if hop["nodeAmount"].is_null() {
                    unseen += 1;
                    continue;
                }
                assert_eq!(hop["nodeAmount"], hop[if is_in { "amountOut" } else { "amountIn" }], "{answer:#}");
                equal += 1;
            }
        }
        // Between the two tokens of the hooked pool, from either side.
        let (down, is_in) = (rng.below(2) == 0, rng.below(2) == 0);
        let (token_in, token_out) = if down { (&hooked.token0, &hooked.token1) } else { (&hooked.token1, &hooked.token0) };
        let raw = if is_in { token_in } else { token_out }.amount_raw(u128::from(1 + rng.below(1_000_000_000)));
        let mut input = json!({
            "tokenIn": token_in.address, "tokenOut": token_out.address, "amount": raw.to_string(), "protocols": ["UNISWAP_V4"],
            "type": if is_in { "EXACT_INPUT" } else { "EXACT_OUTPUT" }, "maxHops": 1, "maxSplits": 1,
        });
        let ours = engine.raw_query(QUOTE, json!({ "q": input })).await["data"]["quote"].clone();
        assert_eq!(ours["routes"][0]["hops"][0]["pool"]["isHooked"], json!(false), "{ours:#}");
        input["hooked"] = json!(true);
        let all = engine.raw_query(QUOTE, json!({ "q": input })).await["data"]["quote"].clone();
        let at = all["block"]["hash"].as_str().unwrap().parse().unwrap();
        let amount = if is_in { Amount::In(raw) } else { Amount::Out(raw) };
        let theirs = quoter(&devnet, at, &hooked.key, &Order { down, amount, limit: None }).await.unwrap();
        let name = if is_in { "amountOut" } else { "amountIn" };
        let (with, without) = (number(&all[name]), number(&ours[name]));
        assert_eq!(with, if is_in { theirs.max(without) } else { theirs.min(without) }, "{all:#}");
        let hop = &all["routes"][0]["hops"][0];
        if with == without {
            assert_eq!(hop["source"], json!("MEMORY"), "{all:#}");
            not_by_hook += 1;
        } else {
            assert_eq!((&hop["source"], &hop["pool"]["id"]), (&json!("NODE"), &json!(hooked.id)), "{all:#}");
            assert!(
                all["warnings"].as_array().unwrap().contains(&json!("HOOKED_POOL")) && all["calldata"].is_string(),
                "{all:#}"
            );
            by_hook += 1;
        }
    }
    println!("{equal} hops verified, {unseen} that no call sees; {by_hook} quotes by a hook's pool, {not_by_hook} by another");
    assert!(equal > 30 && by_hook > 0 && not_by_hook > 0, "{equal} {by_hook} {not_by_hook}");
}
