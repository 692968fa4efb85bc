//! What lives on the simulated chain: pools whose events are consistent with each other, as real ones are.

use alloy::{
    primitives::{
        Address, U256,
        aliases::{I24, U24},
    },
    sol_types::SolEvent,
};

use super::{
    pair::Pair,
    ticked::{TERMS, Ticked},
};
use crate::{
    chain::decode::abi::{v2, v3},
    domain::event::RawLog,
};

pub const V2_FACTORY: Address = Address::repeat_byte(0xf2);
pub const V3_FACTORY: Address = Address::repeat_byte(0xf3);
pub(super) const SOMEBODY: Address = Address::repeat_byte(0x5b);
const POOLS_MAX: usize = 12;
pub(super) const SPACING: i32 = 60;

/// splitmix64: small, seeded, and the same everywhere.
#[derive(Debug, Clone)]
pub struct SimRng(u64);

impl SimRng {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n` - 1; 0 for `n` = 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next_u64().checked_rem(n).unwrap_or(0)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

#[derive(Debug, Clone)]
enum Kind {
    V2(Pair),
    V3(Ticked),
}

#[derive(Debug, Clone)]
struct SimPool {
    address: Address,
    kind: Kind,
}

#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pools: Vec<SimPool>,
    /// The position manager's next.
    next_token: U256,
}

/// Collects the logs of one block.
pub(super) struct Out {
    logs: Vec<RawLog>,
    tx: u64,
    salt: u64,
}

impl Out {
    pub(super) fn emit(&mut self, address: Address, data: alloy::primitives::LogData) {
        let log_index = u64::try_from(self.logs.len()).unwrap_or(u64::MAX);
        let mut preimage = self.salt.to_be_bytes().to_vec();
        preimage.extend_from_slice(&self.tx.to_be_bytes());
        self.logs.push(RawLog {
            address,
            topics: data.topics().to_vec(),
            data: data.data,
            tx_hash: alloy::primitives::keccak256(preimage),
            tx_index: self.tx,
            log_index,
        });
    }
}

impl World {
    /// One block's worth of life.
    pub(super) fn block(&mut self, rng: &mut SimRng, poison: u64) -> Vec<RawLog> {
        let mut out = Out { logs: Vec::new(), tx: 0, salt: rng.next_u64() };
        for _ in 0..rng.below(7) {
            out.tx = out.tx.saturating_add(1);
            if self.pools.is_empty() || (self.pools.len() < POOLS_MAX && rng.percent(12)) {
                self.create(rng, &mut out);
            } else if rng.percent(poison) {
                self.poison(rng, &mut out);
            } else {
                self.trade(rng, &mut out);
            }
        }
        out.logs
    }

    fn create(&mut self, rng: &mut SimRng, out: &mut Out) {
        // The address follows from how many there are, as CREATE2 does from its salt: after a reorg it may come again.
        let index = u8::try_from(self.pools.len()).unwrap_or(u8::MAX);
        let mut bytes = [0x70; 20];
        bytes[19] = index;
        let address = Address::from(bytes);
        // A few tokens on each side, so that pools share them and prices have routes.
        let token = |first: u8, of: u8| Address::repeat_byte(first | (index.wrapping_add(index / of) % of));
        let (token0, token1) = (token(0x80, 3), token(0x88, 4));
        if rng.percent(50) {
            let created = v2::PairCreated { token0, token1, pair: address, pairCount: U256::from(index) };
            out.emit(V2_FACTORY, created.encode_log_data());
            let kind = Kind::V2(Pair::new(address));
            self.pools.push(SimPool { address, kind });
        } else {
            let fee = U24::from(TERMS.fee_pips);
            let created = v3::PoolCreated { token0, token1, fee, tickSpacing: I24::unchecked_from(SPACING), pool: address };
            out.emit(V3_FACTORY, created.encode_log_data());
            let kind = Kind::V3(Ticked::new(address, rng, out));
            self.pools.push(SimPool { address, kind });
        }
        // Created and used in one transaction.
        if let Some(pool) = self.pools.last_mut() {
            pool.act(&mut self.next_token, rng, out);
        }
    }

    fn trade(&mut self, rng: &mut SimRng, out: &mut Out) {
        let count = u64::try_from(self.pools.len()).unwrap_or(0);
        let at = usize::try_from(rng.below(count)).unwrap_or(0);
        if let Some(pool) = self.pools.get_mut(at) {
            pool.act(&mut self.next_token, rng, out);
        }
    }

    /// A known topic on too little data, and a perfect event of something that no factory created.
    fn poison(&mut self, rng: &mut SimRng, out: &mut Out) {
        let swap = v2::Swap {
            sender: SOMEBODY,
            amount0In: U256::MAX,
            amount1In: U256::ZERO,
            amount0Out: U256::ZERO,
            amount1Out: U256::from(1),
            to: SOMEBODY,
        };
        let data = swap.encode_log_data();
        if rng.percent(50) {
            out.emit(Address::repeat_byte(0xba), data);
        } else if let Some(pool) = self.pools.first() {
            let topics = data.topics().to_vec();
            out.emit(pool.address, alloy::primitives::LogData::new_unchecked(topics, data.data.slice(..64)));
        }
    }
}

impl SimPool {
    fn act(&mut self, next_token: &mut U256, rng: &mut SimRng, out: &mut Out) {
        match &mut self.kind {
            Kind::V2(pair) => pair.act(rng, out),
            Kind::V3(pool) => pool.act(next_token, rng, out),
        }
    }
}
