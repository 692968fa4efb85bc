use alloy::primitives::{Bytes, U256};

use super::*;

const V2: Address = Address::repeat_byte(0x22);
const V3: Address = Address::repeat_byte(0x33);
const PAIR: Address = Address::repeat_byte(0xa2);
const POOL: Address = Address::repeat_byte(0xa3);

fn spec(name: &str, protocol: Protocol, factory: Address, pools: Vec<Address>) -> DexSpec {
    DexSpec {
        name: name.into(),
        protocol,
        factory,
        fee_pips: 2_500,
        pools: pools.into_iter().map(PoolId::Address).collect(),
        older_pools: false,
        position_manager: None,
        lp_tokens: false,
    }
}

fn registry() -> Registry {
    Registry::new(vec![spec("two", Protocol::UniswapV2, V2, vec![]), spec("three", Protocol::UniswapV3, V3, vec![])])
}

fn at(number: u8) -> BlockRef {
    BlockRef { number: number.into(), hash: B256::repeat_byte(number), parent_hash: B256::repeat_byte(number - 1), timestamp: 9 }
}

fn log(address: Address, topic0: &str, topics: &[B256], words: &[U256]) -> RawLog {
    let mut all = vec![alloy::primitives::keccak256(topic0)];
    all.extend_from_slice(topics);
    let data: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes::<32>()).collect();
    RawLog { address, topics: all, data: data.into(), tx_hash: B256::ZERO, tx_index: 0, log_index: 0 }
}

fn n(value: u64) -> U256 {
    U256::from(value)
}

fn pair_created(factory: Address, pair: Address) -> RawLog {
    let tokens = [Address::repeat_byte(1).into_word(), Address::repeat_byte(2).into_word()];
    log(factory, "PairCreated(address,address,address,uint256)", &tokens, &[pair.into_word().into(), n(1)])
}

fn pool_created(factory: Address, pool: Address) -> RawLog {
    let topics = [Address::repeat_byte(1).into_word(), Address::repeat_byte(2).into_word(), B256::from(n(500))];
    log(factory, "PoolCreated(address,address,uint24,int24,address)", &topics, &[n(10), pool.into_word().into()])
}

fn sync(pair: Address) -> RawLog {
    log(pair, "Sync(uint112,uint112)", &[], &[n(5), n(6)])
}

fn initialize(pool: Address) -> RawLog {
    log(pool, "Initialize(uint160,int24)", &[], &[n(5), n(6)])
}

fn select(registry: &mut Registry, number: u8, logs: Vec<RawLog>) -> Selected {
    let numbered = logs.into_iter().zip(0..).map(|(log, log_index)| RawLog { log_index, ..log }).collect();
    registry.select(1, at(number), numbered)
}

fn kinds(selected: &Selected) -> Vec<(PoolId, crate::domain::event::EventKind)> {
    selected.events.iter().map(|e| (e.pool, e.body.kind())).collect()
}

use crate::domain::event::EventKind::{Initialize, PoolCreated, Sync as SyncKind, Undecodable};

#[test]
fn a_pool_counts_from_the_very_log_that_created_it_and_not_before() {
    let mut registry = registry();
    let logs = vec![sync(PAIR), pair_created(V2, PAIR), sync(PAIR), pool_created(V3, POOL), initialize(POOL)];
    let selected = select(&mut registry, 1, logs);
    let expected = [(PAIR.into(), PoolCreated), (PAIR.into(), SyncKind), (POOL.into(), PoolCreated), (POOL.into(), Initialize)];
    assert_eq!(kinds(&selected), expected);
    assert_eq!((selected.created.len(), selected.malformed), (2, 0));
    let (pair, pool) = (&selected.created[0], &selected.created[1]);
    assert_eq!((pair.dex.as_str(), pair.fee_pips, pair.tick_spacing, pair.factory), ("two", 2_500, None, V2));
    assert_eq!((pool.dex.as_str(), pool.fee_pips, pool.tick_spacing, pool.factory), ("three", 500, Some(10), V3));
    assert_eq!(pair.created, CreatedAt { block: at(1), tx_hash: Some(B256::ZERO), log_index: 1 });
    assert_eq!(kinds(&select(&mut registry, 2, vec![sync(PAIR)])), [(PAIR.into(), SyncKind)]);
}

#[test]
fn what_no_configured_factory_created_is_ignored() {
    let mut registry = registry();
    let stranger = Address::repeat_byte(0x99);
    let logs = vec![pair_created(stranger, PAIR), sync(PAIR), pool_created(V2, POOL), pair_created(V3, PAIR), initialize(POOL)];
    assert_eq!(select(&mut registry, 1, logs), Selected::default());
    assert!(registry.is_empty());
}

#[test]
fn an_event_of_another_protocol_is_not_the_pools_even_when_it_is_malformed() {
    let mut registry = registry();
    select(&mut registry, 1, vec![pair_created(V2, PAIR), pool_created(V3, POOL)]);
    let broken = RawLog { data: Bytes::new(), ..initialize(PAIR) };
    assert_eq!(select(&mut registry, 2, vec![initialize(PAIR), sync(POOL), broken]), Selected::default());
}

#[test]
fn a_malformed_log_is_kept_raw_counted_and_stops_nobody() {
    let mut registry = registry();
    let broken_creation = RawLog { data: Bytes::new(), ..pair_created(V2, PAIR) };
    let broken_sync = RawLog { data: Bytes::from(vec![0xff; 64]), ..sync(PAIR) };
    let selected = select(&mut registry, 1, vec![broken_creation, pair_created(V2, PAIR), broken_sync.clone(), sync(PAIR)]);
    let expected = [(V2.into(), Undecodable), (PAIR.into(), PoolCreated), (PAIR.into(), Undecodable), (PAIR.into(), SyncKind)];
    assert_eq!(kinds(&selected), expected);
    assert_eq!(selected.malformed, 2);
    assert_eq!(selected.events[2].raw, RawLog { log_index: 2, ..broken_sync });
}

#[test]
fn a_revert_forgets_the_pools_of_that_block_only_and_they_may_come_again_elsewhere() {
    let mut registry = registry();
    select(&mut registry, 1, vec![pair_created(V2, PAIR)]);
    select(&mut registry, 2, vec![pool_created(V3, POOL)]);
    registry.revert(at(2).hash);
    assert_eq!((registry.len(), registry.get(&POOL.into())), (1, None));
    assert_eq!(select(&mut registry, 3, vec![initialize(POOL)]), Selected::default());
    let again = select(&mut registry, 4, vec![pool_created(V3, POOL), initialize(POOL)]);
    assert_eq!(again.created[0].created.block, at(4));
    registry.revert(at(2).hash);
    assert!(registry.get(&POOL.into()).is_some());
}

#[test]
fn a_block_that_is_read_again_gives_the_same_and_a_second_creation_changes_nothing() {
    let mut registry = registry();
    let first = select(&mut registry, 1, vec![pair_created(V2, PAIR), sync(PAIR)]);
    assert_eq!(select(&mut registry, 1, vec![pair_created(V2, PAIR), sync(PAIR)]), first);
    let second = select(&mut registry, 2, vec![pair_created(V2, PAIR)]);
    assert_eq!((second.created.len(), second.events.len()), (0, 1));
    registry.revert(at(2).hash);
    assert_eq!(registry.get(&PAIR.into()).map(|m| m.created.block), Some(at(1)));
}

#[test]
fn pools_from_the_store_count_at_once() {
    let mut other = registry();
    let created = select(&mut other, 1, vec![pair_created(V2, PAIR)]).created;
    let mut restarted = registry();
    for meta in created {
        restarted.insert(meta);
    }
    assert_eq!(select(&mut restarted, 2, vec![sync(PAIR)]).events.len(), 1);
    restarted.revert(at(1).hash);
    assert!(restarted.is_empty());
}

#[test]
fn with_a_list_of_pools_only_these_are_watched_also_when_two_entries_share_a_factory() {
    let other = Address::repeat_byte(0xa4);
    let mut registry =
        Registry::new(vec![spec("a", Protocol::UniswapV2, V2, vec![PAIR]), spec("b", Protocol::UniswapV2, V2, vec![other])]);
    let stranger = Address::repeat_byte(0xa5);
    let logs = [PAIR, other, stranger].into_iter().flat_map(|pair| [pair_created(V2, pair), sync(pair)]).collect();
    let selected = select(&mut registry, 1, logs);
    assert_eq!(selected.events.len(), 4);
    assert_eq!(selected.created.iter().map(|m| m.dex.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

/// Its topic is that of every token, so only what the pairs of such an exchange say is ours.
#[test]
fn a_pairs_own_token_is_followed_where_that_is_asked_for() {
    use crate::domain::event::EventKind::{self, PoolCreated, Sync, TransferShares};
    let moved = |token: Address| {
        let topics = [Address::with_last_byte(5).into_word(), Address::with_last_byte(6).into_word()];
        log(token, "Transfer(address,address,uint256)", &topics, &[n(7)])
    };
    let stranger = Address::repeat_byte(0xa5);
    let logs = || {
        vec![moved(PAIR), pair_created(V2, PAIR), moved(PAIR), sync(PAIR), moved(stranger), pool_created(V3, POOL), moved(POOL)]
    };
    let of = |kinds: Vec<(PoolId, EventKind)>| kinds.into_iter().map(|(_, kind)| kind).collect::<Vec<_>>();
    assert_eq!(of(kinds(&select(&mut registry(), 1, logs()))), [PoolCreated, Sync, PoolCreated]);

    let dex = DexSpec { lp_tokens: true, ..spec("two", Protocol::UniswapV2, V2, vec![]) };
    let mut following = Registry::new(vec![dex.clone(), spec("three", Protocol::UniswapV3, V3, vec![])]);
    let selected = select(&mut following, 1, logs());
    assert_eq!(of(kinds(&selected)), [PoolCreated, TransferShares, Sync, PoolCreated]);
    assert_eq!(following.lp_tokens().iter().collect::<Vec<_>>(), [&PAIR]);
    following.revert(at(1).hash);
    assert!(following.lp_tokens().is_empty());

    // What a range of logs adds to those that are asked for.
    assert_eq!(logs().iter().filter_map(|log| dex.lp_token(log)).collect::<Vec<_>>(), [PAIR]);
    let other = DexSpec { pools: vec![stranger.into()], ..dex };
    assert_eq!(logs().iter().find_map(|log| other.lp_token(log)), None, "only those that are listed");
    let mut restarted = Registry::new(vec![other]);
    selected.created.into_iter().for_each(|meta| restarted.insert(meta));
    assert!(restarted.lp_tokens().is_empty());
}

mod managers {
    use super::*;
    use crate::domain::event::EventKind::{
        Burn, Collect, CollectPosition, DecreaseLiquidity, IncreaseLiquidity, Mint, TransferPosition,
    };

    const MANAGER: Address = Address::repeat_byte(0xee);
    /// Of the same factory, and not watched.
    const OTHER: Address = Address::repeat_byte(0xa9);

    fn watching() -> Registry {
        let dex = DexSpec { position_manager: Some(MANAGER), ..spec("three", Protocol::UniswapV3, V3, vec![POOL]) };
        let mut registry = Registry::new(vec![dex]);
        select(&mut registry, 1, vec![pool_created(V3, POOL), pool_created(V3, OTHER)]);
        registry
    }

    fn key(owner: Address) -> [B256; 3] {
        [owner.into_word(), B256::ZERO, B256::from(n(60))]
    }

    fn mint(pool: Address, owner: Address) -> RawLog {
        mint_by(owner, pool, owner)
    }

    fn mint_by(sender: Address, pool: Address, owner: Address) -> RawLog {
        let words = [sender.into_word().into(), n(7), n(1), n(1)];
        log(pool, "Mint(address,address,int24,int24,uint128,uint256,uint256)", &key(owner), &words)
    }

    fn burn(pool: Address) -> RawLog {
        log(pool, "Burn(address,int24,int24,uint128,uint256,uint256)", &key(MANAGER), &[n(7), n(1), n(1)])
    }

    fn collect(pool: Address) -> RawLog {
        let words = [U256::ZERO, n(1), n(1)];
        log(pool, "Collect(address,address,int24,int24,uint128,uint128)", &key(MANAGER), &words)
    }

    fn said(what: &str, token: u64) -> RawLog {
        let signature = format!("{what}(uint256,uint128,uint256,uint256)");
        log(MANAGER, &signature, &[B256::from(n(token))], &[n(7), n(1), n(1)])
    }

    fn collected(token: u64) -> RawLog {
        log(MANAGER, "Collect(uint256,address,uint256,uint256)", &[B256::from(n(token))], &[n(9), n(1), n(1)])
    }

    fn transfer(from: u8, to: u8, token: u64) -> RawLog {
        let topics = [Address::with_last_byte(from).into_word(), Address::with_last_byte(to).into_word(), B256::from(n(token))];
        log(MANAGER, "Transfer(address,address,uint256)", &topics, &[])
    }

    fn in_tx(tx: u8, logs: Vec<RawLog>) -> Vec<RawLog> {
        logs.into_iter().map(|log| RawLog { tx_hash: B256::repeat_byte(tx), ..log }).collect()
    }

    /// A token's whole life, in a pool that is watched.
    #[test]
    fn a_managers_words_go_to_the_pool_that_they_are_about() {
        let mut registry = watching();
        let of_pool = |kinds: &[crate::domain::event::EventKind]| -> Vec<_> {
            kinds.iter().map(|kind| (PoolId::Address(POOL), *kind)).collect()
        };
        let made = in_tx(1, vec![mint(POOL, MANAGER), transfer(0, 5, 1), said("IncreaseLiquidity", 1)]);
        assert_eq!(kinds(&select(&mut registry, 2, made)), of_pool(&[Mint, TransferPosition, IncreaseLiquidity]));
        let changed_hands = in_tx(2, vec![transfer(5, 6, 1)]);
        assert_eq!(kinds(&select(&mut registry, 3, changed_hands)), of_pool(&[TransferPosition]));
        let emptied =
            in_tx(3, vec![burn(POOL), said("DecreaseLiquidity", 1), burn(POOL), collect(POOL), collected(1), transfer(6, 0, 1)]);
        let expected = of_pool(&[Burn, DecreaseLiquidity, Burn, Collect, CollectPosition, TransferPosition]);
        assert_eq!(kinds(&select(&mut registry, 4, emptied)), expected);
    }

    /// One transaction over both pools, in any order: what is about the one that is not watched never lands in the other.
    #[test]
    fn words_about_a_pool_that_is_not_watched_are_not_ours() {
        let mut registry = watching();
        let ours = || vec![mint(POOL, MANAGER), transfer(0, 5, 1), said("IncreaseLiquidity", 1)];
        let theirs = || vec![mint(OTHER, MANAGER), transfer(0, 5, 2), said("IncreaseLiquidity", 2)];
        let expected = [Mint, TransferPosition, IncreaseLiquidity].map(|kind| (PoolId::Address(POOL), kind));
        for logs in [[ours(), theirs()].concat(), [theirs(), ours()].concat()] {
            assert_eq!(kinds(&select(&mut registry, 2, in_tx(1, logs))), expected);
        }
        let theirs = [burn(OTHER), said("DecreaseLiquidity", 2), collect(OTHER), collected(2), transfer(5, 6, 2)].to_vec();
        assert_eq!(kinds(&select(&mut registry, 3, in_tx(2, theirs))), []);
    }

    #[test]
    fn a_word_counts_in_the_transaction_of_the_pools_own_and_from_the_manager_alone() {
        let mut registry = watching();
        let apart = [in_tx(1, vec![mint(POOL, MANAGER)]), in_tx(2, vec![said("IncreaseLiquidity", 1)])].concat();
        assert_eq!(kinds(&select(&mut registry, 2, apart)), [(PoolId::Address(POOL), Mint)]);
        // Somebody's own position, a look-alike of the manager, and a token (whose transfers have the same topic).
        let foreign = RawLog { address: OTHER, ..said("IncreaseLiquidity", 1) };
        let erc20 = RawLog { address: Address::repeat_byte(1), ..transfer(0, 5, 1) };
        let logs = in_tx(3, vec![mint(POOL, OTHER), said("IncreaseLiquidity", 1), mint(POOL, MANAGER), foreign, erc20]);
        assert_eq!(kinds(&select(&mut registry, 3, logs)), [Mint, Mint].map(|kind| (PoolId::Address(POOL), kind)));
    }

    /// Anybody may mint for the manager. What it then says of a pool that is not watched is no word about the one where he did.
    #[test]
    fn liquidity_that_a_stranger_gives_to_the_manager_leads_no_word_astray() {
        let mut registry = watching();
        let stranger = Address::repeat_byte(0x51);
        let bait = mint_by(stranger, POOL, MANAGER);
        let logs = in_tx(1, vec![bait, mint(OTHER, MANAGER), transfer(0, 5, 1), said("IncreaseLiquidity", 1), collected(1)]);
        assert_eq!(kinds(&select(&mut registry, 2, logs)), [(PoolId::Address(POOL), Mint)]);
        // Nor does a manager of another factory's pools have a word here.
        let two = Address::repeat_byte(0xed);
        registry.watch(DexSpec {
            position_manager: Some(two),
            ..spec("other", Protocol::UniswapV3, Address::repeat_byte(0x34), vec![])
        });
        let word = |log: RawLog| RawLog { address: two, ..log };
        let logs = in_tx(2, vec![mint(POOL, two), word(transfer(0, 5, 1)), word(said("IncreaseLiquidity", 1))]);
        assert_eq!(kinds(&select(&mut registry, 3, logs)), [(PoolId::Address(POOL), Mint)]);
    }

    /// The block that made a token is taken back; on the other branch its number may stand for a pool that nobody watches.
    #[test]
    fn a_token_that_a_reorg_took_back_is_in_no_pool() {
        let mut registry = watching();
        let made = in_tx(1, vec![mint(POOL, MANAGER), transfer(0, 5, 1), said("IncreaseLiquidity", 1)]);
        select(&mut registry, 2, made.clone());
        registry.revert(at(2).hash);
        assert_eq!(kinds(&select(&mut registry, 3, in_tx(2, vec![transfer(5, 6, 1)]))), []);
        // One that is older than what is read is nobody's either, whatever was said of it since.
        select(&mut registry, 4, in_tx(3, vec![mint(POOL, MANAGER), said("IncreaseLiquidity", 9)]));
        assert_eq!(kinds(&select(&mut registry, 5, in_tx(4, vec![transfer(5, 6, 9)]))), []);
        select(&mut registry, 6, made);
        assert_eq!(kinds(&select(&mut registry, 7, in_tx(5, vec![transfer(5, 6, 1)]))).len(), 1);
    }
}
