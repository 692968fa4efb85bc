//! Odd tokens and hostile contracts: flags, raw rows, and nobody stops.

use alloy::{
    primitives::{Address, B256, Bytes},
    sol_types::SolValue,
};
use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig, LogEmitter, OddTokens};

use super::engine::{Engine, Setup};

/// V2's topics, as api.md names them.
const PAIR_CREATED: &str = "0x0d3648bd0f6ba80134a33ba9275ac585d9d315f0ad8355cddefde31afa28d0e9";
const SYNC: &str = "0x1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1";
const SWAP_V2: &str = "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822";

fn topic(text: &str) -> B256 {
    text.parse().unwrap()
}

/// The emitter plays a factory that says it created a pair: itself.
async fn create_pair(emitter: &LogEmitter, devnet: &mut Devnet, token0: Address, token1: Address, pair: Address) {
    let topics = vec![topic(PAIR_CREATED), token0.into_word(), token1.into_word()];
    emitter.emit(devnet, topics, Bytes::from((pair, alloy::primitives::U256::from(1)).abi_encode_params())).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_tokens_get_flags_and_never_guesses() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let odd = OddTokens::deploy(&mut devnet).await.unwrap();
    let emitter = LogEmitter::deploy(&mut devnet).await.unwrap();
    let tokens = [
        odd.bytes32_symbol,
        odd.no_symbol,
        odd.reverting_decimals,
        odd.huge_symbol,
        odd.huge_decimals,
        odd.gas_burner,
        odd.markup_symbol,
        Address::repeat_byte(0xee),
    ];
    for (i, pair) in tokens.chunks(2).enumerate() {
        create_pair(&emitter, &mut devnet, pair[0], pair[1], Address::repeat_byte(0x10 + i as u8)).await;
    }
    let mut setup = Setup::of(&devnet, folder.path());
    setup.dexes.push(("uniswap_v2".to_owned(), emitter.address.to_string()));
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    let token = async |address: Address| -> Value {
        let query = "query($id: ID!) { token(id: $id) { name symbol decimals flags } }";
        engine.query(query, json!({ "id": address.to_string() })).await["token"].clone()
    };
    let flags = |token: &Value| token["flags"].to_string();

    let maker = token(odd.bytes32_symbol).await;
    assert_eq!((maker["symbol"].as_str(), maker["name"].as_str()), (Some("OMKR"), Some("Old Maker")), "{maker}");
    assert!(flags(&maker).contains("BYTES32"), "{maker}");
    let mute = token(odd.no_symbol).await;
    assert_eq!((mute["symbol"].clone(), mute["decimals"].clone()), (Value::Null, json!(9)), "{mute}");
    let undecided = token(odd.reverting_decimals).await;
    assert_eq!((undecided["symbol"].as_str(), undecided["decimals"].clone()), (Some("NODEC"), Value::Null), "{undecided}");
    assert!(flags(&undecided).contains("DECIMALS_MISSING"), "{undecided}");
    let huge = token(odd.huge_symbol).await;
    assert!(huge["symbol"].as_str().is_none_or(|s| s.len() <= 128), "{huge}");
    assert!(flags(&huge).contains("TEXT_MENDED"), "{huge}");
    let many = token(odd.huge_decimals).await;
    assert_eq!(many["decimals"], Value::Null, "{many}");
    let burner = token(odd.gas_burner).await;
    assert_eq!(burner["decimals"], json!(18), "one bad answer does not cost the others: {burner}");
    let nobody = token(Address::repeat_byte(0xee)).await;
    assert!(flags(&nobody).contains("NO_CODE"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_log_is_counted_and_kept_raw_and_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let emitter = LogEmitter::deploy(&mut devnet).await.unwrap();
    let (token0, token1) = (devnet.deployment.tokens[0].address, devnet.deployment.tokens[1].address);
    let mut setup = Setup::of(&devnet, folder.path());
    setup.dexes.push(("uniswap_v2".to_owned(), emitter.address.to_string()));
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    create_pair(&emitter, &mut devnet, token0, token1, emitter.address).await;
    let word = B256::repeat_byte(0x11);
    emitter.emit(&mut devnet, vec![topic(SYNC)], Bytes::from(vec![0u8; 63])).await.unwrap();
    emitter.emit(&mut devnet, vec![topic(SYNC)], Bytes::from(vec![0xffu8; 64])).await.unwrap();
    emitter.emit(&mut devnet, vec![topic(SWAP_V2), word, word], Bytes::new()).await.unwrap();
    emitter.emit(&mut devnet, vec![topic(SYNC)], Bytes::from((5u64, 7u64).abi_encode_params())).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    engine.at_head(&devnet).await;
    let query = "query($id: ID!) { pool(id: $id) { reserve0 reserve1 status } }";
    let pool = engine.query(query, json!({ "id": emitter.address.to_string() })).await;
    assert_eq!(
        pool["pool"],
        json!({ "reserve0": "5", "reserve1": "7", "status": "LIVE" }),
        "the good log after the bad ones counts"
    );
    let metrics = String::from_utf8(engine.admin.get("/metrics").await.unwrap().body).unwrap();
    assert!(metrics.contains("swaptide_malformed_logs_total{chain=\"31337\"} 3"), "{metrics}");
    // The real pool beside it trades on.
    devnet.trader.swap_v2(0, true, devnet.deployment.pools[0].token0.unit_raw()).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    engine.at_head(&devnet).await;
    assert_eq!(engine.query("{ swaps { totalCount } }", json!({})).await["swaps"]["totalCount"], 1);
}
