use std::collections::BTreeMap;

use alloy::primitives::{Address, Bytes, U256, keccak256};
use proptest::prelude::*;
use serde_json::Value;

use self::by_alloy::by_alloy;
use super::*;
use crate::chain::test_support::case_file;

mod by_alloy;

fn log(topics: Vec<B256>, data: Vec<u8>) -> RawLog {
    let (address, tx_hash) = (Address::repeat_byte(1), B256::repeat_byte(2));
    RawLog { address, topics, data: data.into(), tx_hash, tx_index: 0, log_index: 0 }
}

fn event(raw: &RawLog) -> EventBody {
    match decode(raw) {
        Decoded::Event(body) => body,
        other => panic!("{other:?}"),
    }
}

/// api.md, section 4.
const SIGNATURES: [(&str, &str); 20] = [
    ("PairCreated(address,address,address,uint256)", "0d3648bd0f6ba80134a33ba9275ac585d9d315f0ad8355cddefde31afa28d0e9"),
    ("Sync(uint112,uint112)", "1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1"),
    ("Swap(address,uint256,uint256,uint256,uint256,address)", "d78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822"),
    ("Mint(address,uint256,uint256)", "4c209b5fc8ad50758f13e2e1088ba56a560dff690a1c6fef26394f4c03821c4f"),
    ("Burn(address,uint256,uint256,address)", "dccd412f0b1252819cb1fd330b93224ca42612892bb3f4f789976e6d81936496"),
    ("PoolCreated(address,address,uint24,int24,address)", "783cca1c0412dd0d695e784568c96da2e9c22ff989357a2e8b1d9b2b4e6b7118"),
    ("Initialize(uint160,int24)", "98636036cb66a9c19a37435efc1e90142190214e8abeb821bdba3f2990dd4c95"),
    (
        "Swap(address,address,int256,int256,uint160,uint128,int24)",
        "c42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67",
    ),
    (
        "Mint(address,address,int24,int24,uint128,uint256,uint256)",
        "7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde",
    ),
    ("Burn(address,int24,int24,uint128,uint256,uint256)", "0c396cd989a39f4459b5fa1aed6a9a8dcdbc45908acfd67e028cd568da98982c"),
    ("Collect(address,address,int24,int24,uint128,uint128)", "70935338e69775456a85ddef226c395fb668b63fa0115f5f20610b388e6ca9c0"),
    (
        "Flash(address,address,uint256,uint256,uint256,uint256)",
        "bdbdb71d7860376ba52b25a5028beea23581364a40522f6bcfb86bb1f2dca633",
    ),
    ("CollectProtocol(address,address,uint128,uint128)", "596b573906218d3411850b26a6b437d6c4522fdb43d2d2386263f86d50b8b151"),
    ("SetFeeProtocol(uint8,uint8,uint8,uint8)", "973d8d92bb299f4af6ce49b52a8adb85ae46b9f214c4c4fc06ac77401237b133"),
    ("IncreaseObservationCardinalityNext(uint16,uint16)", "ac49e518f90a358f652e4400164f05a5d8f7e35e7747279bc3a93dbf584e125a"),
    (
        "Initialize(bytes32,address,address,uint24,int24,address,uint160,int24)",
        "dd466e674ea557f56295e2d0218a125ea4b4f0f6f3307b95f85e6110838d6438",
    ),
    (
        "ModifyLiquidity(bytes32,address,int24,int24,int256,bytes32)",
        "f208f4912782fd25c7f114ca3723a2d5dd6f3bcc3ac8db5af63baa85f711d5ec",
    ),
    (
        "Swap(bytes32,address,int128,int128,uint160,uint128,int24,uint24)",
        "40e9cecb9f5f1f1c5b9c97dec2917b7ee92e57ba5563708daca94dd84ad7112f",
    ),
    ("Donate(bytes32,address,uint256,uint256)", "29ef05caaff9404b7cb6d1c0e9bbae9eaa7ab2541feba1a9c4248594c08156cb"),
    ("ProtocolFeeUpdated(bytes32,uint24)", "e9c42593e71f84403b84352cd168d693e2c9fcd1fdbcc3feb21d92b43e6696f9"),
];

#[test]
fn the_watched_topics_are_those_of_every_listed_signature_and_no_others() {
    let mut expected: Vec<B256> = SIGNATURES.iter().map(|(_, hash)| hash.parse().unwrap()).collect();
    for ((signature, _), hash) in SIGNATURES.iter().zip(&expected) {
        assert_eq!(keccak256(signature), *hash, "{signature}");
    }
    for (kind, signature) in [
        (Kind::V3IncreaseLiquidity, "IncreaseLiquidity(uint256,uint128,uint256,uint256)"),
        (Kind::V3DecreaseLiquidity, "DecreaseLiquidity(uint256,uint128,uint256,uint256)"),
        (Kind::V3CollectPosition, "Collect(uint256,address,uint256,uint256)"),
        (Kind::V3TransferPosition, "Transfer(address,address,uint256)"),
    ] {
        assert_eq!(Kind::of_manager(&keccak256(signature)), Some(kind), "{signature}");
        assert_eq!(Kind::of(&keccak256(signature)), None, "by its address alone");
    }
    assert_eq!(manager_topics().len(), 4);
    let mut watched = watched_topics();
    expected.sort_unstable();
    watched.sort_unstable();
    assert_eq!(watched, expected);
    for (hash, kind) in KINDS {
        assert_eq!(Kind::of(&hash), Some(kind));
    }
}

/// Any word, but often one near the limits of the ABI types.
fn word_of(bits: usize, signed: bool) -> BoxedStrategy<[u8; 32]> {
    let wide = any::<[u8; 32]>();
    prop_oneof![
        8 => wide.prop_map(move |bytes| {
            let mut word = [0_u8; 32];
            let n = bits / 8;
            word[32 - n..].copy_from_slice(&bytes[32 - n..]);
            if signed && word[32 - n] >= 0x80 {
                word[..32 - n].fill(0xff);
            }
            word
        }),
        1 => any::<[u8; 32]>(),
        1 => (0..32_usize, any::<u8>()).prop_map(|(at, byte)| { let mut word = [0; 32]; word[at] = byte; word }),
    ]
    .boxed()
}

/// Bits, and whether it is signed.
type Type = (usize, bool);

/// Type of each indexed parameter, then of each other one.
fn shape(kind: Kind) -> (Vec<Type>, Vec<Type>) {
    let (a, i24, u256, i256, u128_, u160) = ((160, false), (24, true), (256, false), (256, true), (128, false), (160, false));
    match kind {
        Kind::V2PairCreated => (vec![a, a], vec![a, u256]),
        Kind::V2Sync => (vec![], vec![(112, false); 2]),
        Kind::V2Swap => (vec![a, a], vec![u256; 4]),
        Kind::V2Mint => (vec![a], vec![u256; 2]),
        Kind::V2Burn => (vec![a, a], vec![u256; 2]),
        Kind::V2Transfer => (vec![a, a], vec![u256]),
        Kind::V3PoolCreated => (vec![a, a, (24, false)], vec![i24, a]),
        Kind::V3Initialize => (vec![], vec![u160, i24]),
        Kind::V3Swap => (vec![a, a], vec![i256, i256, u160, u128_, i24]),
        Kind::V3Mint => (vec![a, i24, i24], vec![a, u128_, u256, u256]),
        Kind::V3Burn => (vec![a, i24, i24], vec![u128_, u256, u256]),
        Kind::V3Collect => (vec![a, i24, i24], vec![a, u128_, u128_]),
        Kind::V3Flash => (vec![a, a], vec![u256; 4]),
        Kind::V3CollectProtocol => (vec![a, a], vec![u128_; 2]),
        Kind::V3SetFeeProtocol => (vec![], vec![(8, false); 4]),
        Kind::V3IncreaseObservationCardinalityNext => (vec![], vec![(16, false); 2]),
        Kind::V3IncreaseLiquidity | Kind::V3DecreaseLiquidity => (vec![u256], vec![u128_, u256, u256]),
        Kind::V3CollectPosition => (vec![u256], vec![a, u256, u256]),
        Kind::V3TransferPosition | Kind::V4TransferPosition => (vec![a, a, u256], vec![]),
        Kind::V4Initialize => (vec![u256, a, a], vec![(24, false), i24, a, u160, i24]),
        Kind::V4ModifyLiquidity => (vec![u256, a], vec![i24, i24, (128, true), u256]),
        Kind::V4Swap => (vec![u256, a], vec![(128, true), (128, true), u160, u128_, i24, (24, false)]),
        Kind::V4Donate => (vec![u256, a], vec![u256; 2]),
        Kind::V4ProtocolFee => (vec![u256], vec![(24, false)]),
    }
}

/// Of pools, factories and managers.
fn every_kind() -> impl Iterator<Item = (B256, Kind)> {
    KINDS.into_iter().chain(MANAGER_KINDS).chain([(POSITION_TOPIC, Kind::V4TransferPosition)])
}

fn any_log() -> impl Strategy<Value = (Kind, RawLog)> {
    (0..every_kind().count()).prop_flat_map(|at| {
        let (hash, kind) = every_kind().nth(at).unwrap();
        let (topics, data) = shape(kind);
        let of = |types: Vec<(usize, bool)>| types.into_iter().map(|(bits, signed)| word_of(bits, signed)).collect::<Vec<_>>();
        (of(topics), of(data)).prop_map(move |(topics, data)| {
            let topics = std::iter::once(hash).chain(topics.into_iter().map(B256::from)).collect();
            (kind, log(topics, data.concat()))
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn every_event_decodes_as_alloy_decodes_it_and_what_is_not_canonical_is_malformed((kind, raw) in any_log()) {
        match (decode_as(kind, &raw), by_alloy(kind, &raw)) {
            (Ok(ours), Some(theirs)) => prop_assert_eq!(ours, theirs),
            (Err(_), None) => {}
            (ours, theirs) => prop_assert!(false, "{:?} but alloy {:?}", ours, theirs),
        }
    }

    #[test]
    fn a_topic_or_a_byte_more_or_less_is_malformed((kind, raw) in any_log(), cut in 1..32_usize) {
        let mut longer = raw.clone();
        longer.data = [&raw.data[..], &[0]].concat().into();
        let mut shorter = raw.clone();
        shorter.data = Bytes::copy_from_slice(&raw.data[..raw.data.len().saturating_sub(cut)]);
        let mut more = raw.clone();
        more.topics.push(B256::ZERO);
        let mut fewer = raw.clone();
        // What it is, its first topic says.
        fewer.topics.truncate(raw.topics.len().saturating_sub(1).max(1));
        for wrong in [longer, shorter, more, fewer] {
            // Of no data, and of no parameter in a topic, there is nothing to take away.
            prop_assert!(wrong == raw || decode_as(kind, &wrong).is_err(), "{:?}", wrong);
        }
    }

    #[test]
    fn whatever_is_thrown_at_it_nothing_panics(topics in prop::collection::vec(any::<[u8; 32]>(), 0..5), at in 0..26_usize, data in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut topics: Vec<B256> = topics.into_iter().map(B256::from).collect();
        let kind = every_kind().nth(at);
        if let (Some(first), Some((hash, _))) = (topics.first_mut(), kind) {
            *first = hash;
        }
        let raw = log(topics, data);
        let (_, _) = (decode(&raw), kind.map(|(_, kind)| decode_as(kind, &raw)));
    }
}

fn raw(case: &Value) -> RawLog {
    let topics = case["topics"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().parse().unwrap()).collect();
    let mut raw = log(topics, Vec::new());
    raw.data = case["data"].as_str().unwrap().parse().unwrap();
    if let Some(address) = case["address"].as_str() {
        raw.address = address.parse().unwrap();
    }
    raw
}

/// The expected fields in the collector's names, from our event.
fn fields(body: &EventBody) -> BTreeMap<&'static str, String> {
    fn s(v: &impl ToString) -> String {
        v.to_string()
    }
    let pairs: Vec<(&str, String)> = match body {
        EventBody::V2PairCreated { token0, token1, pair, pair_count } => {
            vec![("token0", s(token0)), ("token1", s(token1)), ("pair", s(pair)), ("allPairsLength", s(pair_count))]
        }
        EventBody::V2Sync { reserve0, reserve1 } => vec![("reserve0", s(reserve0)), ("reserve1", s(reserve1))],
        EventBody::V2Swap { sender, to, amount0_in, amount1_in, amount0_out, amount1_out } => vec![
            ("sender", s(sender)),
            ("to", s(to)),
            ("amount0In", s(amount0_in)),
            ("amount1In", s(amount1_in)),
            ("amount0Out", s(amount0_out)),
            ("amount1Out", s(amount1_out)),
        ],
        EventBody::V2Mint { sender, amount0, amount1 } => {
            vec![("sender", s(sender)), ("amount0", s(amount0)), ("amount1", s(amount1))]
        }
        EventBody::V2Burn { sender, to, amount0, amount1 } => {
            vec![("sender", s(sender)), ("to", s(to)), ("amount0", s(amount0)), ("amount1", s(amount1))]
        }
        EventBody::V3PoolCreated { token0, token1, fee_pips, tick_spacing, pool } => vec![
            ("token0", s(token0)),
            ("token1", s(token1)),
            ("fee", s(fee_pips)),
            ("tickSpacing", s(tick_spacing)),
            ("pool", s(pool)),
        ],
        EventBody::V3Initialize { sqrt_price_x96, tick } => vec![("sqrtPriceX96", s(sqrt_price_x96)), ("tick", s(tick))],
        EventBody::V3Swap { sender, recipient, amount0, amount1, sqrt_price_x96, liquidity, tick } => vec![
            ("sender", s(sender)),
            ("recipient", s(recipient)),
            ("amount0", s(amount0)),
            ("amount1", s(amount1)),
            ("sqrtPriceX96", s(sqrt_price_x96)),
            ("liquidity", s(liquidity)),
            ("tick", s(tick)),
        ],
        EventBody::V3Mint { sender, owner, tick_lower, tick_upper, amount, amount0, amount1 } => vec![
            ("sender", s(sender)),
            ("owner", s(owner)),
            ("tickLower", s(tick_lower)),
            ("tickUpper", s(tick_upper)),
            ("amount", s(amount)),
            ("amount0", s(amount0)),
            ("amount1", s(amount1)),
        ],
        // The pool's view; the log has the swapper's.
        EventBody::V4Swap { sender, amount0, amount1, sqrt_price_x96, liquidity, tick, fee_pips } => vec![
            ("sender", s(sender)),
            ("amount0", s(&-*amount0)),
            ("amount1", s(&-*amount1)),
            ("sqrtPriceX96", s(sqrt_price_x96)),
            ("liquidity", s(liquidity)),
            ("tick", s(tick)),
            ("fee", s(fee_pips)),
        ],
        other => panic!("the open cases have no {other:?}: name its fields here"),
    };
    pairs.into_iter().collect()
}

fn is_ours(kind: Option<&str>) -> bool {
    kind.is_some_and(|kind| ["v2.", "v3.", "v4."].iter().any(|protocol| kind.starts_with(protocol)))
}

#[test]
fn the_reference_logs_decode_to_exactly_the_expected_values_and_other_kinds_are_ignored() {
    for file in ["logs/single_logs.json", "logs/reencoded.json", "logs/mainnet_17173049_17173050.json"] {
        let Some(cases) = case_file(file) else { return };
        for case in cases["logs"].as_array().unwrap() {
            let raw = raw(case);
            if is_ours(case["event"].as_str()) {
                let expected = case["decoded"].as_object().unwrap();
                let mut found = fields(&event(&raw));
                if expected.contains_key("id") {
                    found.insert("id", raw.topics[1].to_string());
                }
                let expected: BTreeMap<&str, String> =
                    expected.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap().to_owned())).collect();
                assert_eq!(found, expected, "{file}");
            } else {
                assert_eq!(decode(&raw), Decoded::NotOurs, "{file}: {case}");
            }
        }
    }
}

#[test]
fn the_reference_malformed_logs_are_malformed_or_ignored_as_stated() {
    let Some(cases) = case_file("logs/malformed.json") else { return };
    for case in cases["logs"].as_array().unwrap() {
        let decoded = decode(&raw(case));
        match case["expect"].as_str().unwrap() {
            "undecodable" => assert!(matches!(decoded, Decoded::Malformed { .. }), "{case}: {decoded:?}"),
            "ignored" => assert_eq!(decoded, Decoded::NotOurs, "{case}"),
            other => panic!("unknown expectation {other}"),
        }
    }
}

#[test]
fn the_sums_over_two_whole_mainnet_blocks_are_the_reference_aggregate() {
    let Some(cases) = case_file("logs/mainnet_17173049_17173050.json") else { return };
    let mut v2: BTreeMap<String, [U256; 8]> = BTreeMap::new();
    let mut v3: BTreeMap<String, (u64, I256, I256, U256, u128, i32)> = BTreeMap::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for case in cases["logs"].as_array().unwrap() {
        let raw = raw(case);
        let Decoded::Event(body) = decode(&raw) else { continue };
        let pool = format!("{:#x}", raw.address);
        match body {
            EventBody::V2Sync { reserve0, reserve1 } => {
                *counts.entry("v2.Sync".into()).or_default() += 1;
                let sums = v2.entry(pool).or_default();
                sums[1] += U256::ONE;
                (sums[6], sums[7]) = (U256::from(reserve0), U256::from(reserve1));
            }
            EventBody::V2Swap { amount0_in, amount1_in, amount0_out, amount1_out, .. } => {
                *counts.entry("v2.Swap".into()).or_default() += 1;
                let sums = v2.entry(pool).or_default();
                sums[0] += U256::ONE;
                for (at, amount) in [amount0_in, amount1_in, amount0_out, amount1_out].into_iter().enumerate() {
                    sums[at + 2] += amount;
                }
            }
            EventBody::V3Swap { amount0, amount1, sqrt_price_x96, liquidity, tick, .. } => {
                *counts.entry("v3.Swap".into()).or_default() += 1;
                let sums = v3.entry(pool).or_default();
                *sums = (sums.0 + 1, sums.1 + amount0, sums.2 + amount1, sqrt_price_x96, liquidity, tick);
            }
            other => panic!("{other:?}"),
        }
    }
    let aggregate = &cases["aggregate"];
    let expected = aggregate["counts"].as_object().unwrap();
    for (kind, count) in expected.iter().filter(|(kind, _)| is_ours(Some(kind))) {
        assert_eq!(counts.get(kind), count.as_u64().as_ref(), "{kind}");
    }
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let pairs = aggregate["v2Pairs"].as_object().unwrap();
    assert_eq!(pairs.len(), v2.len());
    for (pair, expected) in pairs {
        let names = ["swaps", "syncs", "amount0In", "amount1In", "amount0Out", "amount1Out", "reserve0", "reserve1"];
        for (name, found) in names.iter().zip(v2[pair]) {
            if !expected[name].is_null() {
                assert_eq!(found.to_string(), text(&expected[name]), "{pair} {name}");
            }
        }
    }
    let pools = aggregate["v3Pools"].as_object().unwrap();
    assert_eq!(pools.len(), v3.len());
    for (pool, expected) in pools {
        let (swaps, amount0, amount1, price, liquidity, tick) = v3[pool];
        let found = [
            ("swaps", swaps.to_string()),
            ("amount0Net", amount0.to_string()),
            ("amount1Net", amount1.to_string()),
            ("sqrtPriceX96", price.to_string()),
            ("liquidity", liquidity.to_string()),
            ("tick", tick.to_string()),
        ];
        for (name, found) in found {
            assert_eq!(found, text(&expected[name]), "{pool} {name}");
        }
    }
}
