//! What factories, pools and position managers emit, decoded. `chain::decode` makes these from raw logs; nothing here knows ABI.

use alloy::primitives::{Address, B256, Bytes, I256, U256};

use super::pool::PoolId;

/// A log as the chain has it, without the block it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawLog {
    pub address: Address,
    /// 0 to 4 topics.
    pub topics: Vec<B256>,
    pub data: Bytes,
    pub tx_hash: B256,
    pub tx_index: u64,
    /// Index within the block.
    pub log_index: u64,
}

/// A watched log of one pool (or of the factory that created it, the contract that it lives in, or the manager of a position in it), decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The pool that emitted it; for `PoolCreated` the pool that was created.
    pub pool: PoolId,
    pub body: EventBody,
    pub raw: RawLog,
}

/// The decoded fields, amounts in raw token units.
///
/// V2 amounts stay as the pair emits them; [`EventBody::amounts`] gives the pool's view for every protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventBody {
    V2PairCreated {
        token0: Address,
        token1: Address,
        pair: Address,
        pair_count: U256,
    },
    V2Sync {
        reserve0: u128,
        reserve1: u128,
    },
    V2Swap {
        sender: Address,
        to: Address,
        amount0_in: U256,
        amount1_in: U256,
        amount0_out: U256,
        amount1_out: U256,
    },
    V2Mint {
        sender: Address,
        amount0: U256,
        amount1: U256,
    },
    V2Burn {
        sender: Address,
        to: Address,
        amount0: U256,
        amount1: U256,
    },
    /// Of the pair's own token. Shares are made from the zero address, and destroyed to it.
    V2Transfer {
        from: Address,
        to: Address,
        value: U256,
    },
    V3PoolCreated {
        token0: Address,
        token1: Address,
        fee_pips: u32,
        tick_spacing: i32,
        pool: Address,
    },
    V3Initialize {
        sqrt_price_x96: U256,
        tick: i32,
    },
    V3Swap {
        sender: Address,
        recipient: Address,
        amount0: I256,
        amount1: I256,
        sqrt_price_x96: U256,
        liquidity: u128,
        tick: i32,
    },
    V3Mint {
        sender: Address,
        owner: Address,
        tick_lower: i32,
        tick_upper: i32,
        amount: u128,
        amount0: U256,
        amount1: U256,
    },
    V3Burn {
        owner: Address,
        tick_lower: i32,
        tick_upper: i32,
        amount: u128,
        amount0: U256,
        amount1: U256,
    },
    V3Collect {
        owner: Address,
        recipient: Address,
        tick_lower: i32,
        tick_upper: i32,
        amount0: u128,
        amount1: u128,
    },
    V3Flash {
        sender: Address,
        recipient: Address,
        amount0: U256,
        amount1: U256,
        paid0: U256,
        paid1: U256,
    },
    V3CollectProtocol {
        sender: Address,
        recipient: Address,
        amount0: u128,
        amount1: u128,
    },
    V3SetFeeProtocol {
        fee_protocol0_old: u8,
        fee_protocol1_old: u8,
        fee_protocol0_new: u8,
        fee_protocol1_new: u8,
    },
    V3IncreaseObservationCardinalityNext {
        old: u16,
        new: u16,
    },
    /// Of a position manager, as are the next three: it put liquidity into the pool for a token of its own.
    V3IncreaseLiquidity {
        token_id: U256,
        liquidity: u128,
        amount0: U256,
        amount1: U256,
    },
    V3DecreaseLiquidity {
        token_id: U256,
        liquidity: u128,
        amount0: U256,
        amount1: U256,
    },
    V3CollectPosition {
        token_id: U256,
        recipient: Address,
        amount0: U256,
        amount1: U256,
    },
    /// Minted from the zero address, burnt to it.
    V3TransferPosition {
        from: Address,
        to: Address,
        token_id: U256,
    },
    /// Of the one PoolManager, as are the next four: it creates a pool with its price.
    V4Initialize {
        token0: Address,
        token1: Address,
        /// With [`super::pool::hooks::DYNAMIC_FEE`] where the hook says it with each swap.
        fee_pips: u32,
        tick_spacing: i32,
        /// The zero address: none.
        hooks: Address,
        sqrt_price_x96: U256,
        tick: i32,
    },
    /// The position of `sender` and `salt` grows or shrinks, and what it earned is paid out.
    V4ModifyLiquidity {
        sender: Address,
        tick_lower: i32,
        tick_upper: i32,
        liquidity_delta: i128,
        salt: B256,
    },
    /// Amounts in the pool's view; the log has the swapper's.
    V4Swap {
        sender: Address,
        amount0: I256,
        amount1: I256,
        sqrt_price_x96: U256,
        liquidity: u128,
        tick: i32,
        /// What this swap paid in all, the protocol's part included.
        fee_pips: u32,
    },
    V4Donate {
        sender: Address,
        amount0: U256,
        amount1: U256,
    },
    /// 12 bits for each direction, as in `slot0`.
    V4ProtocolFee {
        protocol_fee: u32,
    },
    /// Of a V4 position manager. Minted from the zero address right before the position is filled, burnt to it.
    V4TransferPosition {
        manager: Address,
        from: Address,
        to: Address,
        token_id: U256,
    },
    /// The topic is one of ours, the rest does not fit it. Kept raw, counted, and changes nothing.
    Undecodable {
        reason: String,
    },
}

/// The closed set of row kinds; the discriminant is what the store keeps, so it never changes meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EventKind {
    Swap = 1,
    Mint = 2,
    Burn = 3,
    Collect = 4,
    Flash = 5,
    /// A V2 `Sync` that belongs to no swap, mint or burn (`sync()`, `skim()`).
    Sync = 6,
    Initialize = 7,
    PoolCreated = 8,
    CollectProtocol = 9,
    SetFeeProtocol = 10,
    IncreaseObservationCardinalityNext = 11,
    Undecodable = 12,
    IncreaseLiquidity = 13,
    DecreaseLiquidity = 14,
    CollectPosition = 15,
    TransferPosition = 16,
    TransferShares = 17,
    Donate = 18,
}

impl EventKind {
    pub const ALL: [Self; 18] = [
        Self::Swap,
        Self::Mint,
        Self::Burn,
        Self::Collect,
        Self::Flash,
        Self::Sync,
        Self::Initialize,
        Self::PoolCreated,
        Self::CollectProtocol,
        Self::SetFeeProtocol,
        Self::IncreaseObservationCardinalityNext,
        Self::Undecodable,
        Self::IncreaseLiquidity,
        Self::DecreaseLiquidity,
        Self::CollectPosition,
        Self::TransferPosition,
        Self::TransferShares,
        Self::Donate,
    ];

    /// The inverse of the stored discriminant.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }
}

impl EventBody {
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            Self::V2PairCreated { .. } | Self::V3PoolCreated { .. } | Self::V4Initialize { .. } => EventKind::PoolCreated,
            Self::V2Sync { .. } => EventKind::Sync,
            Self::V2Swap { .. } | Self::V3Swap { .. } | Self::V4Swap { .. } => EventKind::Swap,
            Self::V2Mint { .. } | Self::V3Mint { .. } => EventKind::Mint,
            Self::V2Burn { .. } | Self::V3Burn { .. } => EventKind::Burn,
            Self::V3Initialize { .. } => EventKind::Initialize,
            Self::V3Collect { .. } => EventKind::Collect,
            Self::V3Flash { .. } => EventKind::Flash,
            Self::V3CollectProtocol { .. } => EventKind::CollectProtocol,
            Self::V4ModifyLiquidity { liquidity_delta, .. } => match liquidity_delta.signum() {
                1 => EventKind::Mint,
                -1 => EventKind::Burn,
                _ => EventKind::Collect,
            },
            Self::V4Donate { .. } => EventKind::Donate,
            Self::V3SetFeeProtocol { .. } | Self::V4ProtocolFee { .. } => EventKind::SetFeeProtocol,
            Self::V3IncreaseObservationCardinalityNext { .. } => EventKind::IncreaseObservationCardinalityNext,
            Self::V3IncreaseLiquidity { .. } => EventKind::IncreaseLiquidity,
            Self::V3DecreaseLiquidity { .. } => EventKind::DecreaseLiquidity,
            Self::V3CollectPosition { .. } => EventKind::CollectPosition,
            Self::V3TransferPosition { .. } | Self::V4TransferPosition { .. } => EventKind::TransferPosition,
            Self::V2Transfer { .. } => EventKind::TransferShares,
            Self::Undecodable { .. } => EventKind::Undecodable,
        }
    }

    /// About whose the liquidity is: a position manager's word on a token of its own, or a pair's on its shares. What the pool's state is, other
    /// events say.
    #[must_use]
    pub fn is_of_owners(&self) -> bool {
        matches!(
            self,
            Self::V2Transfer { .. }
                | Self::V3IncreaseLiquidity { .. }
                | Self::V3DecreaseLiquidity { .. }
                | Self::V3CollectPosition { .. }
                | Self::V3TransferPosition { .. }
                | Self::V4TransferPosition { .. }
        )
    }

    /// `(amount0, amount1)` in the pool's view: positive into the pool, negative out of it. `None` where the event moves
    /// nothing, where it does not say what it moves ([`super::record::EventRow::amounts`] knows), or where a hostile pair emits amounts
    /// whose difference does not fit 256 bits signed.
    #[must_use]
    pub fn amounts(&self) -> Option<(I256, I256)> {
        let signed = |v: &U256| I256::try_from(*v).ok();
        let net = |inflow: &U256, outflow: &U256| signed(inflow)?.checked_sub(signed(outflow)?);
        match self {
            Self::V2Swap { amount0_in, amount1_in, amount0_out, amount1_out, .. } => {
                Some((net(amount0_in, amount0_out)?, net(amount1_in, amount1_out)?))
            }
            Self::V3Swap { amount0, amount1, .. } | Self::V4Swap { amount0, amount1, .. } => Some((*amount0, *amount1)),
            Self::V2Mint { amount0, amount1, .. }
            | Self::V3Mint { amount0, amount1, .. }
            | Self::V4Donate { amount0, amount1, .. } => Some((signed(amount0)?, signed(amount1)?)),
            Self::V2Burn { amount0, amount1, .. } | Self::V3Burn { amount0, amount1, .. } => {
                Some((signed(amount0)?.checked_neg()?, signed(amount1)?.checked_neg()?))
            }
            Self::V3Collect { amount0, amount1, .. } | Self::V3CollectProtocol { amount0, amount1, .. } => {
                Some((signed(&U256::from(*amount0))?.checked_neg()?, signed(&U256::from(*amount1))?.checked_neg()?))
            }
            Self::V3Flash { paid0, paid1, .. } => Some((signed(paid0)?, signed(paid1)?)),
            _ => None,
        }
    }
}
