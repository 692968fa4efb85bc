use crate::config::ListedPool;
use alloy::primitives::{Address, B256, U256, address, b256, keccak256};

use super::{TEMPLATES, template, write};
use crate::config::{self, ChainConfig, Finality, ProtocolConfig, StartBlock};

const UNISWAP_V2_INIT_CODE_HASH: B256 = b256!("96e8ac4277198ff8b6f785478aa9a39f403cb768dd02cbee326c3e7da348845f");
const UNISWAP_V3_INIT_CODE_HASH: B256 = b256!("e34f199b19b2b4f47f68442619d555527d244f78a3297ea89325f843f87b8b54");
const DRAGONSWAP_V2_INIT_CODE_HASH: B256 = b256!("1f07efc9aeaf9f1a5259be7f0e4bd52396274fcf450ef2efd01a1ac8965b12b2");

/// A chain's id, and the tokens of its pools.
struct Known {
    chain: &'static str,
    id: u64,
    tokens: &'static [Address],
}

const KNOWN: [Known; 5] = [
    Known {
        chain: "ethereum",
        id: 1,
        tokens: &[
            address!("C02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"), // WETH
            address!("A0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"), // USDC
            address!("dAC17F958D2ee523a2206206994597C13D831ec7"), // USDT
            address!("2260FAC5E5542a773Aa44fBCfeDf7C193bc2C599"), // WBTC
        ],
    },
    Known {
        chain: "base",
        id: 8453,
        tokens: &[
            address!("4200000000000000000000000000000000000006"), // WETH
            address!("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"), // USDC
        ],
    },
    Known {
        chain: "arbitrum",
        id: 42161,
        tokens: &[
            address!("82aF49447D8a07e3bd95BD0d56f35241523fBab1"), // WETH
            address!("af88d065e77c8cC2239327C5EDb3A432268e5831"), // USDC
            address!("Fd086bC7CD5C481DCC9C85ebE478A1C0b69FCbb9"), // USDT
            address!("2f2a2543B76A4166549F7aaB2e75Bef0aefC5B0f"), // WBTC
        ],
    },
    Known {
        chain: "polygon",
        id: 137,
        tokens: &[
            address!("0d500B1d8E8eF31E21C99d1Db9A6444d3ADf1270"), // WPOL
            address!("7ceB23fD6bC0adD59E62ac25578270cFf1b9f619"), // WETH
            address!("3c499c542cEF5E3811e1192ce70d8cC03d5c3359"), // USDC
        ],
    },
    Known {
        chain: "kaia",
        id: 8217,
        tokens: &[
            address!("19Aac5f612f524B754CA7e7c41cbFa2E981A4432"), // WKAIA
            address!("d077A400968890Eacc75cdc901F0356c943e4fDb"), // USDT
            address!("5C13E303a62Fc5DEdf5B52D66873f2E59fEdADC2"), // bridged USDT
            address!("02cbE46fB8A1F579254a9B485788f2D86Cad51aa"), // BORA
        ],
    },
];

/// As the environment of an operator who did what the file says.
fn parsed(toml: &str) -> ChainConfig {
    let env = |name: &str| (name == "RPC_URL").then(|| "wss://node.example/key".to_owned());
    let mut config = config::parse(toml, "swaptide.toml", &env, &[]).unwrap();
    assert_eq!(config.chain.len(), 1);
    config.chain.remove(0)
}

/// Where CREATE2 puts the pool of two tokens.
fn pool(factory: Address, init_code_hash: B256, a: Address, b: Address, fee_pips: Option<u64>) -> Address {
    let (token0, token1) = (a.min(b), a.max(b));
    let salt = match fee_pips {
        None => keccak256([token0.as_slice(), token1.as_slice()].concat()),
        Some(fee) => keccak256([token0.into_word(), token1.into_word(), B256::from(U256::from(fee))].map(|word| word.0).concat()),
    };
    factory.create2(salt, init_code_hash)
}

/// Every pool that a factory may have made of these tokens.
fn possible(protocol: ProtocolConfig, factory: Address, dex: &str, tokens: &[Address]) -> Vec<ListedPool> {
    let pairs = tokens.iter().flat_map(|a| tokens.iter().filter(move |b| a < *b).map(move |b| (*a, *b)));
    let found: Vec<Address> = match protocol {
        ProtocolConfig::UniswapV2 => {
            let hash = if dex == "dragonswap-v2" { DRAGONSWAP_V2_INIT_CODE_HASH } else { UNISWAP_V2_INIT_CODE_HASH };
            pairs.map(|(a, b)| pool(factory, hash, a, b, None)).collect()
        }
        ProtocolConfig::UniswapV3 => pairs
            .flat_map(|(a, b)| [100, 500, 3_000, 10_000].map(|fee| pool(factory, UNISWAP_V3_INIT_CODE_HASH, a, b, Some(fee))))
            .collect(),
        // Its pools have no addresses.
        ProtocolConfig::UniswapV4 => Vec::new(),
    };
    found.into_iter().map(ListedPool::Address).collect()
}

#[test]
fn every_template_is_a_configuration_of_its_chain() {
    assert_eq!(TEMPLATES.map(|t| t.chain), KNOWN.each_ref().map(|known| known.chain));
    for (template, known) in TEMPLATES.iter().zip(&KNOWN) {
        let chain = parsed(template.toml);
        assert_eq!((chain.name.as_str(), chain.id), (template.chain, known.id));
        assert_eq!(chain.start_block, StartBlock::Latest { minus: 0 }, "a full node is enough");
        assert!(known.tokens.contains(&chain.wrapped_native.unwrap()), "{}: wrapped_native", template.chain);
        assert!(!chain.stablecoins.is_empty() && !chain.dex.is_empty());
        if let Finality::Depth(depth) = chain.finality
            && template.chain != "arbitrum"
        {
            assert!(depth <= 100, "{}: a full node has the state of the last 128 blocks", template.chain);
        }
    }
}

#[test]
fn every_pool_is_where_its_factory_puts_it() {
    for (template, known) in TEMPLATES.iter().zip(&KNOWN) {
        for dex in parsed(template.toml).dex {
            assert!(!dex.pools.is_empty(), "{} {}: serves something at once", template.chain, dex.name);
            let possible = possible(dex.protocol, dex.factory, &dex.name, known.tokens);
            for pool in &dex.pools {
                assert!(possible.contains(pool), "{}: {pool} is no pool of {} and the known tokens", template.chain, dex.name);
            }
        }
    }
}

#[test]
fn every_address_has_its_checksum_and_every_setting_its_reason() {
    for template in TEMPLATES {
        let quoted = template.toml.split('"').filter(|text| text.starts_with("0x"));
        let addresses: Vec<&str> = quoted.collect();
        assert!(addresses.len() >= 5, "{}", template.chain);
        for address in addresses {
            assert!(Address::parse_checksummed(address, None).is_ok(), "{}: {address} has no EIP-55 checksum", template.chain);
        }
        for key in ["url = ", "start_block", "confirmations", "finality", "stall_timeout_ms", "wrapped_native"] {
            let line = template.toml.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            assert!(line.contains(" # "), "{}: {key} says no reason: {line:?}", template.chain);
        }
        for said in ["RPC_URL", "swaptide doctor", "swaptide run", "max_rps", "logs_range"] {
            assert!(template.toml.contains(said), "{} does not say {said}", template.chain);
        }
    }
}

#[test]
fn a_file_that_is_there_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("swaptide.toml");
    let base = template("base").unwrap();
    let said = write(base, &path).unwrap();
    assert!(said.contains("RPC_URL") && said.contains("swaptide doctor") && said.contains("swaptide run"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), base.toml);
    let refused = write(template("kaia").unwrap(), &path).unwrap_err();
    assert!(refused.contains("there already") && refused.contains("-o FILE"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), base.toml);
}

#[test]
fn the_init_code_hashes_give_well_known_pools() {
    let usdc = address!("A0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48");
    let weth = address!("C02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2");
    let v2 = pool(address!("5C69bEe701ef814a2B6a3EDD4B1652CB9cc5aA6f"), UNISWAP_V2_INIT_CODE_HASH, usdc, weth, None);
    assert_eq!(v2, address!("B4e16d0168e52d35CaCD2c6185b44281Ec28C9Dc"));
    let v3 = pool(address!("1F98431c8aD98523631AE4a59f267346ea31F984"), UNISWAP_V3_INIT_CODE_HASH, usdc, weth, Some(3_000));
    assert_eq!(v3, address!("8ad599c3A0ff1De082011EFDDc58f1908eb6e6D8"));
}
