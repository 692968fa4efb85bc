//! Blocks, rows and queries from a seed. Nothing here is a real chain: only what a store must not mind.

mod body;

use std::sync::Arc;

use alloy::primitives::{Address, B256, Bytes, I256, U256, keccak256};

use crate::{
    domain::{
        ChainId,
        block::BlockRef,
        book::{Closing, TokenEnd, Told},
        dollars::{Depth, Dollars, Gauge, Usd},
        event::{Event, EventBody, EventKind, RawLog},
        image::{Held, PoolImage},
        market::{End, Happened, Market, RawPrice, Subject, Trade},
        pool::{
            CreatedAt, PoolId, PoolMeta, PoolState, Protocol, StateAfter, Tick, V2State, V3State,
            fees::{Books, Fees, Position, PositionKey, Token},
            shares::Shares,
            swap::Terms,
        },
        record::{BlockRecord, BookSnapshot, Enrichment, EventRow},
        token::{TokenFlag, TokenMeta},
    },
    store::query::{EventQuery, Fields, Narrow, Place},
};

pub(crate) const CHAIN: ChainId = 31_337;
pub(crate) const GENESIS: B256 = B256::repeat_byte(0x11);
/// Enough for pools that share a token, and for one that never trades.
pub(crate) const POOLS: u8 = 5;
/// The first ones have events. A pool's events are never older than its creation, so a random chain begins with these.
pub(crate) const TRADED: u8 = 3;

/// SplitMix64: the same seed gives the same chain everywhere.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn hash(&mut self) -> B256 {
        keccak256(self.next().to_be_bytes())
    }

    fn address(&mut self) -> Address {
        Address::from_word(self.hash())
    }

    /// Of any size, the extremes included.
    pub(crate) fn uint(&mut self, bits: usize) -> U256 {
        let all = U256::MAX >> (256 - bits);
        match self.below(6) {
            0 => U256::ZERO,
            1 => all,
            _ => U256::from_be_bytes(self.hash().0) >> (256 - 1 - usize::try_from(self.below(bits as u64)).unwrap()),
        }
    }

    pub(crate) fn u128(&mut self) -> u128 {
        self.uint(128).to()
    }

    fn int(&mut self) -> I256 {
        I256::from_raw(if self.chance(50) { self.uint(256) } else { self.uint(256).wrapping_neg() })
    }

    fn tick(&mut self) -> i32 {
        i32::try_from(self.below(1_774_545)).unwrap() - 887_272
    }

    /// A log that may or may not look like what was decoded from it: a store must not care.
    pub(crate) fn raw(&mut self, body: &EventBody, address: Address, log_index: u64, tx: B256, tx_index: u64) -> RawLog {
        let (mut topics, mut data) = (vec![B256::repeat_byte(7)], Vec::new());
        if let EventBody::V3Swap { sender, recipient, amount0, amount1, sqrt_price_x96, liquidity, tick } = body {
            topics.extend([sender.into_word(), recipient.into_word()]);
            data.extend(amount0.to_be_bytes::<32>());
            data.extend(amount1.to_be_bytes::<32>());
            data.extend(sqrt_price_x96.to_be_bytes::<32>());
            data.extend(U256::from(*liquidity).to_be_bytes::<32>());
            data.extend(I256::try_from(*tick).unwrap().to_be_bytes::<32>());
        } else {
            topics = (0..self.below(5)).map(|_| self.hash()).collect();
            data.extend((0..self.below(200)).map(|i| if i % 3 == 0 { 0 } else { 0xff }));
        }
        RawLog { address, topics, data: Bytes::from(data), tx_hash: tx, tx_index, log_index }
    }

    pub(crate) fn after(&mut self, body: &EventBody) -> StateAfter {
        match body {
            EventBody::V3Swap { sqrt_price_x96, tick, liquidity, .. } => {
                StateAfter::V3 { sqrt_price_x96: *sqrt_price_x96, tick: *tick, liquidity: *liquidity }
            }
            EventBody::V2Swap { .. } => StateAfter::V2 { reserve0: self.u128(), reserve1: self.u128() },
            _ => StateAfter::V3 { sqrt_price_x96: self.uint(160), tick: self.tick(), liquidity: self.u128() },
        }
    }

    pub(crate) fn state(&mut self) -> PoolState {
        if self.chance(30) {
            return PoolState::V2(V2State { reserve0: self.u128(), reserve1: self.u128() });
        }
        let ticks = (0..self.below(20)).map(|_| {
            let net = i128::try_from(self.u128() >> 1).unwrap();
            (self.tick(), Tick { liquidity_gross: self.u128(), liquidity_net: if self.chance(50) { net } else { -net } })
        });
        let ticks = Arc::new(ticks.collect());
        let ticked = V3State {
            sqrt_price_x96: self.uint(160),
            tick: self.tick(),
            liquidity: self.u128(),
            fee_protocol: 0x44,
            observation_cardinality_next: 7,
            ticks,
        };
        if self.chance(70) { PoolState::V3(ticked) } else { PoolState::V4(ticked) }
    }

    pub(crate) fn image(&mut self) -> PoolImage {
        let state = self.state();
        let steady = Depth { token0: self.u128(), token1: self.u128(), both: self.u128() };
        let gauge = Gauge::restored(&state, steady, self.below(2_000_000_000));
        let held = [Held::Unknown, Held::Nothing, Held::Amounts(self.uint(256), self.uint(200))];
        let held = held[usize::try_from(self.below(3)).unwrap()];
        let fees = state.v3().is_some().then(|| self.fees()).flatten().map(Arc::new);
        let holders = (0..self.below(6)).map(|_| (self.address(), self.uint(256)));
        let holders: Vec<_> = if matches!(state, PoolState::V2(_)) { holders.collect() } else { Vec::new() };
        let shares = (!holders.is_empty()).then(|| Arc::new(Shares::restored(holders.into_iter())));
        PoolImage { state, gauge, held, fees, shares }
    }

    fn fees(&mut self) -> Option<Fees> {
        if self.chance(20) {
            return None;
        }
        let terms = Terms { fee_pips: 3_000, tick_spacing: 60 };
        let outside = (0..self.below(9)).map(|_| (self.tick(), [self.uint(256), self.uint(256)])).collect();
        let books = Books { growth: [self.uint(256), self.uint(256)], protocol: [self.u128(), 0], outside };
        let positions = self.chance(80).then(|| (0..self.below(9)).map(|_| self.position()).collect());
        let tokens = (0..self.below(5)).map(|_| (self.uint(256), self.token())).collect();
        let (paid, collected) = ([self.uint(200), U256::ZERO], [self.uint(90), self.uint(90)]);
        let mut fees = Fees::seeded(terms, books);
        (fees.positions, fees.tokens, fees.paid, fees.collected) = (positions, tokens, paid, collected);
        Some(fees)
    }

    fn position(&mut self) -> (PositionKey, Position) {
        let (owner, tick_lower, tick_upper) = (Address::repeat_byte(9), self.tick(), self.tick());
        let (inside_last, owed) = ([self.uint(256), U256::ZERO], [self.u128(), self.u128()]);
        let position = Position { liquidity: self.u128(), inside_last, owed, principal: [0, owed[1]] };
        let salt = if self.chance(50) { self.hash() } else { B256::ZERO };
        (PositionKey { owner, tick_lower, tick_upper, salt }, position)
    }

    pub(crate) fn token(&mut self) -> Token {
        let (PositionKey { owner, tick_lower, tick_upper, salt }, position) = self.position();
        let (deposited, withdrawn) = ([self.uint(256), U256::ZERO], [self.uint(90), self.uint(120)]);
        let collected = [U256::ONE, self.uint(256)];
        Token { manager: owner, owner, tick_lower, tick_upper, salt, position, deposited, withdrawn, collected }
    }

    /// Some trades, without candles of seconds: those are not kept. Now and then none, as an older version wrote it.
    pub(crate) fn market(&mut self) -> Option<Arc<Market>> {
        let market = if self.chance(50) { self.pool_market() } else { self.token_market() };
        self.chance(80).then(|| Arc::new(market))
    }

    /// Of rows, whatever these are.
    pub(crate) fn pool_market(&mut self) -> Market {
        let (mut market, mut timestamp) = (Market::standing(None, self.held()), 1_700_000_000);
        for i in 0..self.below(20) {
            timestamp += self.below(400) * self.below(400);
            let tx = self.hash();
            let row = self.row(pool_id(0), i, tx);
            market.take(timestamp, &row, 3_000);
        }
        market
    }

    /// In dollars, with hours and days that ended.
    pub(crate) fn token_market(&mut self) -> Market {
        let (mut market, mut timestamp) = (Market::default(), 1_700_000_000);
        for _ in 0..self.below(20) {
            timestamp += self.below(400) * self.below(400);
            let locked = self.uint(200);
            let end = match self.below(3) {
                0 => End::Unknown,
                1 => End::Token { price: Dollars::one(18).filter(|_| self.chance(50)), locked },
                _ => End::Factory { locked: self.u128() },
            };
            market.periods.end(timestamp.saturating_sub(3_600), timestamp, end);
            let price = if self.chance(70) { RawPrice::Dollars(Dollars::from_raw(self.uint(250))) } else { RawPrice::Unknown };
            let usd = self.chance(80).then(|| Usd(self.next() >> 1));
            let trader = Address::with_last_byte(u8::try_from(self.below(9)).unwrap());
            let amount =
                |rng: &mut Self| I256::from_raw(rng.uint(200)) * if rng.chance(50) { I256::ONE } else { I256::MINUS_ONE };
            market.periods.count(timestamp, &Happened::Swap { usd, fee_pips: 500 });
            market.trade(&Trade { timestamp, price, amount0: amount(self), amount1: amount(self), usd, trader });
        }
        market
    }

    fn held(&mut self) -> Held {
        match self.below(3) {
            0 => Held::Unknown,
            1 => Held::Nothing,
            _ => Held::Amounts(self.uint(256), self.uint(100)),
        }
    }

    pub(crate) fn told(&mut self) -> Told {
        let price = |rng: &mut Self| Dollars::from_raw(rng.uint(250) | U256::ONE);
        let prices = (0..self.below(4)).map(|n| (Address::with_last_byte(u8::try_from(n).unwrap()), price(self))).collect();
        let closing = self.chance(30).then(|| {
            let token = |rng: &mut Self, n: u64| TokenEnd {
                token: Address::with_last_byte(u8::try_from(n).unwrap()),
                price: rng.chance(50).then(|| price(rng)),
                locked: rng.uint(256),
            };
            let tokens = (0..self.below(3)).map(|n| token(self, n)).collect();
            let factories = (0..self.below(3)).map(|n| (Address::repeat_byte(u8::try_from(n).unwrap()), self.u128())).collect();
            Closing { at: self.below(1 << 40), tokens, factories }
        });
        Told { prices, closing }
    }

    /// Markets of some tokens, and of a factory.
    pub(crate) fn book(&mut self, block: BlockRef) -> BookSnapshot {
        let tokens = (0..3).filter(|_| self.chance(60)).collect::<Vec<_>>();
        let of_token = |n: &u8| Subject::Token(Address::with_last_byte(*n));
        let all = tokens.iter().map(of_token).chain([Subject::Factory(Address::repeat_byte(0xfa))]);
        let markets = all.collect::<Vec<_>>().into_iter().map(|of| (of, Arc::new(self.token_market()))).collect();
        BookSnapshot { block, hour: self.below(1 << 40), sources: ["dex:a".to_owned()].into(), markets }
    }

    /// The next block; time stands still now and then, as on fast chains.
    pub(crate) fn child(&mut self, parent: &BlockRef) -> BlockRef {
        BlockRef {
            number: parent.number + 1,
            hash: self.hash(),
            parent_hash: parent.hash,
            timestamp: parent.timestamp + self.below(4),
        }
    }

    pub(crate) fn row(&mut self, pool: PoolId, log_index: u64, tx: B256) -> EventRow {
        let variant = if self.chance(70) { [2, 7, 8, 4][usize::try_from(self.below(4)).unwrap()] } else { self.below(27) };
        let body = self.body(variant);
        let address = match pool {
            PoolId::Address(address) if !self.chance(10) => address,
            _ => Address::repeat_byte(0xfa),
        };
        let raw = self.raw(&body, address, log_index, tx, log_index / 2);
        let after = self.chance(80).then(|| self.after(&body));
        let enrichment = self.chance(40).then(|| Enrichment {
            origin: Address::with_last_byte(u8::try_from(self.below(3)).unwrap()),
            gas_used: self.next(),
            gas_price_wei: self.uint(256),
        });
        let sync_log_index = (matches!(body, EventBody::V2Swap { .. }) && log_index > 0).then(|| log_index - 1);
        let usd = self.chance(60).then(|| Usd(self.next() >> 1));
        let kept = |rng: &mut Self| Depth { token0: rng.u128(), token1: rng.u128(), both: rng.u128() };
        let gauge = after.filter(|_| self.chance(50)).map(|after| {
            let locked = self.chance(30).then(|| (self.uint(256), self.uint(100)));
            Gauge::of_row(&after, self.u128(), locked, (kept(self), self.below(2_000_000_000)))
        });
        EventRow { event: Event { pool, body, raw }, sync_log_index, after, usd, gauge: gauge.map(Box::new), enrichment }
    }

    pub(crate) fn rows(&mut self, count: u64, first_log_index: u64) -> Vec<EventRow> {
        let mut tx = self.hash();
        let row = |i| {
            if self.chance(50) {
                tx = self.hash();
            }
            let pool = pool_id(u8::try_from(self.below(u64::from(TRADED))).unwrap());
            self.row(pool, first_log_index + 2 * i + 1, tx)
        };
        (0..count).map(row).collect()
    }

    pub(crate) fn record(&mut self, parent: &BlockRef, rows: u64) -> BlockRecord {
        let block = self.child(parent);
        let rows = self.rows(rows, 0);
        let told = (!rows.is_empty() && self.chance(80)).then(|| Arc::new(self.told()));
        BlockRecord { told, ..BlockRecord::new(CHAIN, block, rows) }
    }

    /// Any query that the set allows.
    pub(crate) fn query(&mut self, blocks: &[BlockRecord]) -> EventQuery {
        let some = |rng: &mut Self| usize::try_from(rng.below(blocks.len() as u64)).unwrap();
        let top = blocks.iter().map(|b| b.block.number).max().unwrap_or(0) + 2;
        let place = |rng: &mut Self| Place { block_number: rng.below(top), log_index: rng.below(12) };
        let time = |rng: &mut Self| blocks.get(some(rng)).map_or(0, |b| b.block.timestamp + rng.below(3)).saturating_sub(1);
        let narrow = match self.below(6) {
            0 => Narrow::All,
            1 => Narrow::Pool(pool_id(u8::try_from(self.below(u64::from(POOLS) + 1)).unwrap())),
            2 => Narrow::Origin(Address::with_last_byte(u8::try_from(self.below(4)).unwrap())),
            3 => {
                let row = blocks.get(some(self)).and_then(|b| b.rows.first());
                Narrow::Transaction(row.map_or(B256::ZERO, |row| row.event.raw.tx_hash))
            }
            _ => Narrow::Token(token(u8::try_from(self.below(u64::from(POOLS) + 2)).unwrap())),
        };
        EventQuery {
            chain: CHAIN,
            kind: if self.chance(70) { EventKind::Swap } else { EventKind::ALL[usize::try_from(self.below(18)).unwrap()] },
            narrow,
            after: self.chance(40).then(|| place(self)),
            before: self.chance(40).then(|| place(self)),
            time_from: self.chance(30).then(|| time(self)),
            time_to: self.chance(30).then(|| time(self)),
            newest_first: self.chance(50),
            fields: Fields::ALL,
            limit: usize::try_from(self.below(12)).unwrap(),
        }
    }
}

/// The block before everything.
pub(crate) fn genesis() -> BlockRef {
    BlockRef { number: 0, hash: GENESIS, parent_hash: B256::ZERO, timestamp: 1_000 }
}

/// The last one is a 32-byte id.
pub(crate) fn pool_id(n: u8) -> PoolId {
    if n + 1 == POOLS { PoolId::Id(B256::repeat_byte(n)) } else { Address::repeat_byte(0xa0 + n).into() }
}

pub(crate) fn token(n: u8) -> Address {
    Address::repeat_byte(n + 1)
}

/// Pool `n` trades token `n` against token `n + 1`: every token but the outer two is in two pools.
pub(crate) fn pool(n: u8, created: BlockRef) -> Arc<PoolMeta> {
    let protocol = match pool_id(n) {
        PoolId::Id(_) => Protocol::UniswapV4,
        PoolId::Address(_) if n.is_multiple_of(2) => Protocol::UniswapV2,
        PoolId::Address(_) => Protocol::UniswapV3,
    };
    Arc::new(PoolMeta {
        chain: CHAIN,
        id: pool_id(n),
        protocol,
        dex: "uniswap".to_owned(),
        factory: Address::repeat_byte(0xfa),
        token0: token(n),
        token1: token(n + 1),
        fee_pips: 3_000,
        tick_spacing: (protocol != Protocol::UniswapV2).then_some(-60),
        hooks: (protocol == Protocol::UniswapV4).then_some(Address::repeat_byte(0x88)),
        created: CreatedAt {
            block: created,
            tx_hash: Some(B256::repeat_byte(n)).filter(|_| n % 3 != 2),
            log_index: u64::from(n),
        },
        origin: (n % 3 == 2).then(|| Box::new(Rng(u64::from(n)).image().origin(created))),
    })
}

pub(crate) fn token_meta(n: u8, as_of: BlockRef) -> Arc<TokenMeta> {
    Arc::new(TokenMeta {
        chain: CHAIN,
        address: token(n),
        name: (n > 0).then(|| "It's \"ok\" \u{1f980}\0".to_owned()),
        symbol: Some("TKN".to_owned()),
        decimals: Some(18),
        total_supply: Some(U256::MAX),
        flags: if n == 0 { vec![TokenFlag::NameMissing, TokenFlag::SymbolBytes32] } else { Vec::new() },
        as_of,
    })
}
