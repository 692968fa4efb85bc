//! A pool's state as a fold over its events: no call to the contract is ever needed to follow it.

pub mod depth;
pub mod exchange;
pub mod fees;
pub mod hooks;
pub mod ladder;
pub mod math;
pub mod shares;
pub mod step;
pub mod swap;
pub mod trade;

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use alloy::primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

use self::math::{Round, amount0_between, amount1_between, sqrt_ratio_at_tick};
use super::{ChainId, block::BlockRef, event::EventBody, image::Origin};

/// Names a pool on its chain: the contract's address, or a 32-byte id (V4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PoolId {
    Address(Address),
    Id(B256),
}

impl PoolId {
    /// 20 or 32 bytes, as the store keeps it.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Address(a) => a.as_slice(),
            Self::Id(id) => id.as_slice(),
        }
    }

    /// The inverse of [`PoolId::as_slice`].
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            20 => Some(Self::Address(Address::from_slice(bytes))),
            32 => Some(Self::Id(B256::from_slice(bytes))),
            _ => None,
        }
    }
}

impl From<Address> for PoolId {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

/// Lowercase hex with `0x`, as every API answer writes it.
impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(a) => write!(f, "{a:#x}"),
            Self::Id(id) => write!(f, "{id:#x}"),
        }
    }
}

impl FromStr for PoolId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no pool id: give a 0x address (20 bytes) or a 0x pool id (32 bytes)");
        match text.len() {
            42 => Address::from_str(text).map(Self::Address).map_err(|_| wrong()),
            66 => B256::from_str(text).map(Self::Id).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    UniswapV2,
    UniswapV3,
    UniswapV4,
}

impl Protocol {
    pub const ALL: [Self; 3] = [Self::UniswapV2, Self::UniswapV3, Self::UniswapV4];
}

/// What never changes about a pool once its factory created it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolMeta {
    pub chain: ChainId,
    pub id: PoolId,
    pub protocol: Protocol,
    /// `name` of the `[[chain.dex]]` entry that watches it.
    pub dex: String,
    /// Of a V4 pool the PoolManager that it is in.
    pub factory: Address,
    pub token0: Address,
    pub token1: Address,
    /// Swap fee in hundredths of a basis point: 3000 is 0.30 %. V4: [`hooks::DYNAMIC_FEE`] where each swap has its own.
    pub fee_pips: u32,
    /// Of a pool with ticks.
    pub tick_spacing: Option<i32>,
    /// V4: whom the PoolManager calls before or after it acts on the pool. `None`: nobody.
    #[serde(default)]
    pub hooks: Option<Address>,
    pub created: CreatedAt,
    /// Of a pool that is older than what is read.
    #[serde(skip)]
    pub origin: Option<Box<Origin>>,
}

/// Where a pool enters our history: the log that created it or, for one that is older than what we read, the block at which its
/// contract was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedAt {
    pub block: BlockRef,
    /// `None`: created some time before `block`; `log_index` then says nothing.
    pub tx_hash: Option<B256>,
    pub log_index: u64,
}

impl PoolMeta {
    /// The block that created the pool, where we know it.
    #[must_use]
    pub fn creation(&self) -> Option<&BlockRef> {
        self.created.tx_hash.map(|_| &self.created.block)
    }
}

/// The state of one pool after some event. Cloning is cheap: ticks are shared until one changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolState {
    V2(V2State),
    V3(V3State),
    V4(V3State),
}

/// Raw token units, as `getReserves()` answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct V2State {
    pub reserve0: u128,
    pub reserve1: u128,
}

/// A pool with ticks, as `slot0()`, `liquidity()` and `ticks()` answer; V4 keeps the same in its PoolManager. `sqrt_price_x96` is 0 until the pool is initialised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct V3State {
    /// sqrt(token1/token0) in raw units, Q64.96.
    pub sqrt_price_x96: U256,
    pub tick: i32,
    /// In-range liquidity.
    pub liquidity: u128,
    /// V3: `feeProtocol0 + 16 * feeProtocol1`; V4: `protocolFee`, 12 bits for each direction. As in `slot0`.
    pub fee_protocol: u32,
    /// V3 only.
    pub observation_cardinality_next: u16,
    /// Every initialised tick. Copied on write, because readers hold the versions before.
    pub ticks: Arc<BTreeMap<i32, Tick>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    pub liquidity_gross: u128,
    /// Added to the in-range liquidity when the price crosses upwards.
    pub liquidity_net: i128,
}

/// Ticks between which nothing begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TickRange {
    pub lower: i32,
    /// The first tick that is not in it.
    pub upper: i32,
    /// In-range liquidity while the price is in it, never 0.
    pub liquidity: u128,
}

impl V3State {
    /// Where liquidity lies, ascending: what all ticks up to the lower one add (whitepaper 6.3).
    pub fn ranges(&self) -> impl Iterator<Item = TickRange> + '_ {
        let mut sum = 0_i128;
        let ends = self.ticks.keys().skip(1);
        self.ticks.iter().zip(ends).filter_map(move |((lower, tick), upper)| {
            sum = sum.checked_add(tick.liquidity_net)?;
            let liquidity = u128::try_from(sum).ok().filter(|liquidity| *liquidity > 0)?;
            Some(TickRange { lower: *lower, upper: *upper, liquidity })
        })
    }
}

/// What a row keeps of the state right after its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateAfter {
    V2 { reserve0: u128, reserve1: u128 },
    V3 { sqrt_price_x96: U256, tick: i32, liquidity: u128 },
}

/// An event that cannot follow the state we hold. The chain never produces one for a real pool, so it means that the pool is
/// not what its factory promised, or that a log is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("event of another protocol")]
    Protocol,
    #[error("liquidity of tick {0} leaves its 128 bits")]
    TickOverflow(i32),
    #[error("in-range liquidity leaves its 128 bits")]
    LiquidityOverflow,
}

impl ApplyError {
    /// The state we hold is proven not to be the contract's.
    #[must_use]
    pub fn is_drift(&self) -> bool {
        matches!(self, Self::TickOverflow(_) | Self::LiquidityOverflow)
    }
}

impl PoolState {
    /// The state a pool is created with.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::UniswapV2 => Self::V2(V2State::default()),
            Protocol::UniswapV3 => Self::V3(V3State::default()),
            Protocol::UniswapV4 => Self::V4(V3State::default()),
        }
    }

    /// Moves the state over one event. On `Err` the state is unchanged.
    pub fn apply(&mut self, event: &EventBody) -> Result<(), ApplyError> {
        match (self, event) {
            (_, EventBody::V2PairCreated { .. } | EventBody::V3PoolCreated { .. } | EventBody::Undecodable { .. }) => Ok(()),
            (Self::V2(state), event) => state.apply(event),
            (Self::V3(state) | Self::V4(state), event) => state.apply(event),
        }
    }

    /// `None`: it has no ticks.
    #[must_use]
    pub fn v3(&self) -> Option<&V3State> {
        match self {
            Self::V3(state) | Self::V4(state) => Some(state),
            Self::V2(_) => None,
        }
    }

    #[must_use]
    pub fn after(&self) -> StateAfter {
        match self {
            Self::V2(s) => StateAfter::V2 { reserve0: s.reserve0, reserve1: s.reserve1 },
            Self::V3(s) | Self::V4(s) => {
                StateAfter::V3 { sqrt_price_x96: s.sqrt_price_x96, tick: s.tick, liquidity: s.liquidity }
            }
        }
    }
}

impl V2State {
    fn apply(&mut self, event: &EventBody) -> Result<(), ApplyError> {
        match event {
            // The pair emits Sync on every change of its reserves, so nothing else has to be added up.
            EventBody::V2Sync { reserve0, reserve1 } => {
                *self = Self { reserve0: *reserve0, reserve1: *reserve1 };
                Ok(())
            }
            EventBody::V2Swap { .. } | EventBody::V2Mint { .. } | EventBody::V2Burn { .. } | EventBody::V2Transfer { .. } => {
                Ok(())
            }
            _ => Err(ApplyError::Protocol),
        }
    }
}

/// What liquidity between two ticks is worth of token0 and token1 at a price and its tick, raw units. `None`: there are no such ticks.
#[must_use]
pub fn held_between(
    (sqrt_price_x96, tick): (U256, i32),
    (lower, upper): (i32, i32),
    liquidity: u128,
    round: Round,
) -> Option<[U256; 2]> {
    let (low, high) = (sqrt_ratio_at_tick(lower)?, sqrt_ratio_at_tick(upper)?);
    let price = if tick < lower {
        low
    } else if tick < upper {
        sqrt_price_x96
    } else {
        high
    };
    Some([amount0_between(price, high, liquidity, round)?, amount1_between(low, price, liquidity, round)?])
}

impl V3State {
    /// What burning so much liquidity between two ticks would free of token0 and token1, raw units (`UniswapV3Pool._modifyPosition`).
    /// `None`: there are no such ticks.
    #[must_use]
    pub fn held_by(&self, lower: i32, upper: i32, liquidity: u128) -> Option<[U256; 2]> {
        held_between((self.sqrt_price_x96, self.tick), (lower, upper), liquidity, Round::Down)
    }

    /// What its liquidity would free if all of it was burnt, range by range, raw units; fees are not in it.
    #[must_use]
    pub fn held_by_all(&self) -> (U256, U256) {
        self.ranges().fold((U256::ZERO, U256::ZERO), |(sum0, sum1), range| {
            // Ticks that are no ticks hold nothing.
            let [held0, held1] = self.held_by(range.lower, range.upper, range.liquidity).unwrap_or_default();
            (sum0.saturating_add(held0), sum1.saturating_add(held1))
        })
    }

    #[must_use]
    pub fn is_initialized(&self) -> bool {
        !self.sqrt_price_x96.is_zero()
    }

    fn apply(&mut self, event: &EventBody) -> Result<(), ApplyError> {
        match event {
            EventBody::V3Initialize { sqrt_price_x96, tick } => {
                self.sqrt_price_x96 = *sqrt_price_x96;
                self.tick = *tick;
                self.observation_cardinality_next = 1;
                Ok(())
            }
            EventBody::V4Initialize { sqrt_price_x96, tick, .. } => {
                self.sqrt_price_x96 = *sqrt_price_x96;
                self.tick = *tick;
                Ok(())
            }
            EventBody::V3Swap { sqrt_price_x96, liquidity, tick, .. }
            | EventBody::V4Swap { sqrt_price_x96, liquidity, tick, .. } => {
                self.sqrt_price_x96 = *sqrt_price_x96;
                self.liquidity = *liquidity;
                self.tick = *tick;
                Ok(())
            }
            EventBody::V3Mint { tick_lower, tick_upper, amount, .. } => {
                self.change_position(*tick_lower, *tick_upper, *amount, Direction::Add)
            }
            EventBody::V3Burn { tick_lower, tick_upper, amount, .. } => {
                self.change_position(*tick_lower, *tick_upper, *amount, Direction::Remove)
            }
            EventBody::V4ModifyLiquidity { tick_lower, tick_upper, liquidity_delta, .. } => {
                let direction = if *liquidity_delta < 0 { Direction::Remove } else { Direction::Add };
                self.change_position(*tick_lower, *tick_upper, liquidity_delta.unsigned_abs(), direction)
            }
            EventBody::V4ProtocolFee { protocol_fee } => {
                self.fee_protocol = *protocol_fee;
                Ok(())
            }
            EventBody::V3SetFeeProtocol { fee_protocol0_new, fee_protocol1_new, .. } => {
                // Two nibbles; the contract admits 0 and 4 to 10 only.
                self.fee_protocol = u32::from((fee_protocol0_new & 0x0f) | (fee_protocol1_new << 4));
                Ok(())
            }
            EventBody::V3IncreaseObservationCardinalityNext { new, .. } => {
                self.observation_cardinality_next = *new;
                Ok(())
            }
            EventBody::V3Collect { .. }
            | EventBody::V3Flash { .. }
            | EventBody::V3CollectProtocol { .. }
            | EventBody::V4Donate { .. } => Ok(()),
            event if event.is_of_owners() => Ok(()),
            _ => Err(ApplyError::Protocol),
        }
    }

    /// `UniswapV3Pool._modifyPosition` and `Tick.update`: the lower tick gains what the upper loses; in-range liquidity
    /// changes when `tick_lower <= tick < tick_upper`.
    fn change_position(&mut self, lower: i32, upper: i32, amount: u128, direction: Direction) -> Result<(), ApplyError> {
        if amount == 0 {
            return Ok(()); // burn(0) only collects fees
        }
        let delta = i128::try_from(amount).map_err(|_| ApplyError::TickOverflow(lower))?;
        let delta =
            if direction == Direction::Add { delta } else { delta.checked_neg().ok_or(ApplyError::TickOverflow(lower))? };
        let neg = delta.checked_neg().ok_or(ApplyError::TickOverflow(upper))?;
        let lower_tick = self.changed_tick(lower, amount, delta, direction)?;
        let upper_tick = self.changed_tick(upper, amount, neg, direction)?;
        let liquidity = if (lower..upper).contains(&self.tick) {
            self.liquidity.checked_add_signed(delta).ok_or(ApplyError::LiquidityOverflow)?
        } else {
            self.liquidity
        };
        let ticks = Arc::make_mut(&mut self.ticks);
        for (index, tick) in [(lower, lower_tick), (upper, upper_tick)] {
            if tick.liquidity_gross == 0 {
                ticks.remove(&index);
            } else {
                ticks.insert(index, tick);
            }
        }
        self.liquidity = liquidity;
        Ok(())
    }

    fn changed_tick(&self, index: i32, amount: u128, net: i128, direction: Direction) -> Result<Tick, ApplyError> {
        let tick = self.ticks.get(&index).copied().unwrap_or_default();
        let gross = match direction {
            Direction::Add => tick.liquidity_gross.checked_add(amount),
            Direction::Remove => tick.liquidity_gross.checked_sub(amount),
        };
        Ok(Tick {
            liquidity_gross: gross.ok_or(ApplyError::TickOverflow(index))?,
            liquidity_net: tick.liquidity_net.checked_add(net).ok_or(ApplyError::TickOverflow(index))?,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Add,
    Remove,
}

#[cfg(test)]
mod tests;
