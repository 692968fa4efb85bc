use std::collections::HashMap;

use futures_util::{FutureExt as _, future::BoxFuture, stream::BoxStream};
use proptest::prelude::*;

use super::*;
use crate::{
    chain::{BlockTag, HeadEvent, RangeLogs},
    domain::{
        ChainId,
        block::{BlockRef, Header},
        event::RawLog,
        pool::CreatedAt,
        record::Enrichment,
    },
};

/// Contracts that answer from a table; everything else fails.
#[derive(Default)]
struct Contracts(HashMap<(Address, Vec<u8>), Vec<U256>>);

impl Contracts {
    fn answer(&mut self, to: Address, selector: [u8; 4], argument: Option<i32>, words: &[U256]) {
        self.0.insert((to, call(to, selector, argument).data.to_vec()), words.to_vec());
    }

    /// A V3 pool in this state, with all its empty bitmap words.
    fn v3(&mut self, to: Address, spacing: i32, state: &V3State) {
        let net = |v: i128| I256::try_from(v).unwrap().into_raw();
        let tick = I256::unchecked_from(state.tick).into_raw();
        let zero = U256::ZERO;
        let slot0 =
            [state.sqrt_price_x96, tick, zero, zero, state.observation_cardinality_next.to(), state.fee_protocol.to(), U256::ONE];
        self.answer(to, SLOT0, None, &slot0);
        self.answer(to, LIQUIDITY, None, &[U256::from(state.liquidity)]);
        let books = books_of(state);
        self.answer(to, FEE_GROWTH_GLOBAL_0, None, &books.growth[..1]);
        self.answer(to, FEE_GROWTH_GLOBAL_1, None, &books.growth[1..]);
        self.answer(to, PROTOCOL_FEES, None, &books.protocol.map(U256::from));
        for word in bitmap_words(spacing) {
            self.answer(to, TICK_BITMAP, Some(word.into()), &[zero]);
        }
        for (index, tick) in state.ticks.iter() {
            // As `TickBitmap.position` does it.
            let compressed = index / spacing;
            let data = call(to, TICK_BITMAP, Some(compressed >> 8)).data.to_vec();
            let word = self.0.get_mut(&(to, data)).expect("a word over the whole valid range");
            word[0].set_bit(usize::try_from(compressed.rem_euclid(256)).unwrap(), true);
            let [outside0, outside1] = books.outside[index];
            let gross = U256::from(tick.liquidity_gross);
            self.answer(to, TICKS, Some(*index), &[gross, net(tick.liquidity_net), outside0, outside1, zero]);
        }
    }
}

trait To {
    fn to(self) -> U256;
}

impl<T: Into<u64>> To for T {
    fn to(self) -> U256 {
        U256::from(self.into())
    }
}

type Asked<'a, T> = BoxFuture<'a, Result<T, ChainError>>;

impl ChainSource for Contracts {
    fn chain_id(&self) -> Asked<'_, ChainId> {
        async { Ok(1) }.boxed()
    }
    fn heads(&self) -> BoxStream<'static, HeadEvent> {
        Box::pin(futures_util::stream::pending())
    }
    fn header(&self, _: BlockTag) -> Asked<'_, Option<Header>> {
        async { Ok(None) }.boxed()
    }
    fn block_logs(&self, _: &Header) -> Asked<'_, Vec<RawLog>> {
        async { Ok(Vec::new()) }.boxed()
    }
    fn range_logs(&self, _: u64, _: u64, _: &[B256], _: &[Address]) -> Asked<'_, RangeLogs> {
        async { Err(ChainError::Refused("not here".into())) }.boxed()
    }
    fn call_batch(&self, _: B256, calls: Vec<Call>, max_return_bytes: usize) -> Asked<'_, Vec<CallOutcome>> {
        let answer = |call: &Call| match self.0.get(&(call.to, call.data.to_vec())) {
            Some(words) => {
                let mut data: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes::<32>()).collect();
                data.truncate(max_return_bytes);
                CallOutcome::Returned(data.into())
            }
            None => CallOutcome::Failed,
        };
        let outcomes = calls.iter().map(answer).collect();
        async move { Ok(outcomes) }.boxed()
    }
    fn receipts(&self, _: B256, _: Vec<B256>) -> Asked<'_, Vec<(B256, Enrichment)>> {
        async { Ok(Vec::new()) }.boxed()
    }
    fn code(&self, _: Address) -> Asked<'_, alloy::primitives::Bytes> {
        async { Ok(alloy::primitives::Bytes::new()) }.boxed()
    }
}

fn meta(address: u8, protocol: Protocol, tick_spacing: Option<i32>) -> Arc<PoolMeta> {
    let block = BlockRef { number: 1, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 1 };
    Arc::new(PoolMeta {
        chain: 1,
        id: PoolId::Address(Address::repeat_byte(address)),
        protocol,
        dex: "d".into(),
        factory: Address::ZERO,
        token0: Address::ZERO,
        token1: Address::ZERO,
        fee_pips: 3_000,
        tick_spacing,
        created: CreatedAt { block, tx_hash: Some(B256::ZERO), log_index: 0 },
        hooks: None,
        origin: None,
    })
}

fn v3_state(spacing: i32) -> V3State {
    let most = MAX_TICK / spacing * spacing;
    let tick = |n: u128| Tick { liquidity_gross: n, liquidity_net: -i128::try_from(n).unwrap() };
    let indexes = [-most, -256 * spacing, -spacing, 0, spacing, 255 * spacing, 256 * spacing, most];
    V3State {
        sqrt_price_x96: U256::MAX >> 96,
        tick: -887_272,
        liquidity: u128::MAX,
        fee_protocol: 0x45,
        observation_cardinality_next: 65_535,
        ticks: Arc::new(indexes.into_iter().zip(1..).map(|(index, n)| (index, tick(n))).collect()),
    }
}

/// Some, each tick other ones.
fn books_of(state: &V3State) -> Books {
    let outside = state.ticks.iter().map(|(tick, of)| (*tick, [U256::from(of.liquidity_gross), U256::MAX]));
    Books { growth: [U256::MAX, U256::ONE], protocol: [7, u128::MAX], outside: outside.collect() }
}

fn v3_answer(state: V3State) -> Answer {
    Answer { books: Some(books_of(&state)), state: PoolState::V3(state) }
}

#[tokio::test]
async fn every_pool_is_read_whole_and_a_bad_one_spoils_only_itself() {
    let mut contracts = Contracts::default();
    let mut pools = Vec::new();
    let mut expected: Vec<Option<Answer>> = Vec::new();
    for (address, spacing) in [(1, 60), (2, 10), (3, 200), (4, 1)] {
        let state = v3_state(spacing);
        contracts.v3(Address::repeat_byte(address), spacing, &state);
        pools.push(meta(address, Protocol::UniswapV3, Some(spacing)));
        expected.push(Some(v3_answer(state)));
    }
    contracts.v3(Address::repeat_byte(5), 60, &V3State::default());
    pools.push(meta(5, Protocol::UniswapV3, Some(60)));
    expected.push(Some(v3_answer(V3State::default())));
    contracts.answer(Address::repeat_byte(6), GET_RESERVES, None, &[U256::from(7), U256::from(8), U256::from(9)]);
    pools.push(meta(6, Protocol::UniswapV2, None));
    expected.push(Some(Answer { state: PoolState::V2(V2State { reserve0: 7, reserve1: 8 }), books: None }));
    // No contract; reserves beyond 112 bits; no tick spacing.
    contracts.answer(Address::repeat_byte(8), GET_RESERVES, None, &[U256::ONE << 112, U256::ZERO, U256::ZERO]);
    for (address, protocol) in [(7, Protocol::UniswapV3), (8, Protocol::UniswapV2), (9, Protocol::UniswapV3)] {
        pools.insert(1, meta(address, protocol, (address == 7).then_some(60)));
        expected.insert(1, None);
    }
    let read = read(&contracts, B256::ZERO, &pools).await.unwrap();
    assert_eq!(read.len(), pools.len());
    for (((id, answer), meta), expected) in read.into_iter().zip(&pools).zip(expected) {
        assert_eq!(id, meta.id);
        assert_eq!(answer.ok(), expected, "{id}");
    }
    assert_eq!(super::read(&contracts, B256::ZERO, &[]).await.unwrap(), []);
}

proptest! {
    #[test]
    fn every_valid_tick_has_a_word_and_comes_back_from_it(spacing in 1..16_384_i32, at in any::<prop::sample::Index>()) {
        let most = MAX_TICK / spacing;
        let compressed = i32::try_from(at.index(usize::try_from(2 * most + 1).unwrap())).unwrap() - most;
        let position = i16::try_from(compressed >> 8).unwrap();
        prop_assert!(bitmap_words(spacing).contains(&position));
        let word = U256::ONE << usize::try_from(compressed & 255).unwrap();
        prop_assert_eq!(initialised(position, word, spacing).collect::<Vec<_>>(), vec![compressed * spacing]);
    }
}

#[test]
fn no_spacing_has_no_words() {
    assert!(bitmap_words(0).is_empty() && bitmap_words(-60).is_empty());
    assert_eq!(bitmap_words(60).len(), 116);
    assert_eq!(bitmap_words(1).len(), 6_932);
}
