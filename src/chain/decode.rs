//! Raw logs become events. Pure, and strict: what a Solidity contract of the real protocol cannot have emitted is malformed.
//!
//! The words are cut by hand, because a backfill decodes some hundred thousand logs a second; the topics come from `sol!`, and
//! a test compares every event with alloy's own decoder. What is absent: who emitted the log. [`super::registry`] knows that.

pub(super) mod abi;
mod words;

use alloy::{
    primitives::{B256, I256},
    sol_types::SolEvent,
};

pub(super) use self::words::Wrong;
use self::words::{address, i24, i128_, i256, indexed, u8_, u16_, u24, u112, u128_, u160, u256, words};
use crate::domain::{
    event::{EventBody, RawLog},
    pool::Protocol,
};

/// What a log turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// Another event, or an anonymous one.
    NotOurs,
    Event(EventBody),
    /// The topic is ours, the rest does not fit it.
    Malformed {
        reason: String,
    },
}

/// The events that are watched, by topic0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    V2PairCreated,
    V2Sync,
    V2Swap,
    V2Mint,
    V2Burn,
    V2Transfer,
    V3PoolCreated,
    V3Initialize,
    V3Swap,
    V3Mint,
    V3Burn,
    V3Collect,
    V3Flash,
    V3CollectProtocol,
    V3SetFeeProtocol,
    V3IncreaseObservationCardinalityNext,
    V3IncreaseLiquidity,
    V3DecreaseLiquidity,
    V3CollectPosition,
    V3TransferPosition,
    V4Initialize,
    V4ModifyLiquidity,
    V4Swap,
    V4Donate,
    V4ProtocolFee,
    V4TransferPosition,
}

/// Ordered by how often they occur.
const KINDS: [(B256, Kind); 20] = [
    (abi::v3::Swap::SIGNATURE_HASH, Kind::V3Swap),
    (abi::v4::Swap::SIGNATURE_HASH, Kind::V4Swap),
    (abi::v2::Sync::SIGNATURE_HASH, Kind::V2Sync),
    (abi::v2::Swap::SIGNATURE_HASH, Kind::V2Swap),
    (abi::v4::ModifyLiquidity::SIGNATURE_HASH, Kind::V4ModifyLiquidity),
    (abi::v3::Mint::SIGNATURE_HASH, Kind::V3Mint),
    (abi::v3::Burn::SIGNATURE_HASH, Kind::V3Burn),
    (abi::v3::Collect::SIGNATURE_HASH, Kind::V3Collect),
    (abi::v2::Mint::SIGNATURE_HASH, Kind::V2Mint),
    (abi::v2::Burn::SIGNATURE_HASH, Kind::V2Burn),
    (abi::v2::PairCreated::SIGNATURE_HASH, Kind::V2PairCreated),
    (abi::v3::PoolCreated::SIGNATURE_HASH, Kind::V3PoolCreated),
    (abi::v4::Initialize::SIGNATURE_HASH, Kind::V4Initialize),
    (abi::v3::Initialize::SIGNATURE_HASH, Kind::V3Initialize),
    (abi::v3::Flash::SIGNATURE_HASH, Kind::V3Flash),
    (abi::v3::CollectProtocol::SIGNATURE_HASH, Kind::V3CollectProtocol),
    (abi::v3::SetFeeProtocol::SIGNATURE_HASH, Kind::V3SetFeeProtocol),
    (abi::v3::IncreaseObservationCardinalityNext::SIGNATURE_HASH, Kind::V3IncreaseObservationCardinalityNext),
    (abi::v4::Donate::SIGNATURE_HASH, Kind::V4Donate),
    (abi::v4::ProtocolFeeUpdated::SIGNATURE_HASH, Kind::V4ProtocolFee),
];

/// What position managers emit. The topic of a transfer is that of every token, so these are ours by their address alone.
const MANAGER_KINDS: [(B256, Kind); 4] = [
    (abi::manager::IncreaseLiquidity::SIGNATURE_HASH, Kind::V3IncreaseLiquidity),
    (abi::manager::DecreaseLiquidity::SIGNATURE_HASH, Kind::V3DecreaseLiquidity),
    (abi::manager::Collect::SIGNATURE_HASH, Kind::V3CollectPosition),
    (abi::manager::Transfer::SIGNATURE_HASH, Kind::V3TransferPosition),
];

/// What a pair's own token emits: ours by its address alone, too.
pub(super) const SHARES_TOPIC: B256 = abi::v2::Transfer::SIGNATURE_HASH;

/// A position manager's token is made, or changes hands.
pub(super) const POSITION_TOPIC: B256 = abi::manager::Transfer::SIGNATURE_HASH;

impl Kind {
    pub(super) fn of(topic0: &B256) -> Option<Self> {
        // Twenty comparisons that nearly always fail at the first byte: cheaper than hashing.
        KINDS.iter().find(|(hash, _)| hash == topic0).map(|(_, kind)| *kind)
    }

    /// The same of what a position manager emits.
    pub(super) fn of_manager(topic0: &B256) -> Option<Self> {
        MANAGER_KINDS.iter().find(|(hash, _)| hash == topic0).map(|(_, kind)| *kind)
    }

    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::V2PairCreated | Self::V2Sync | Self::V2Swap | Self::V2Mint | Self::V2Burn | Self::V2Transfer => {
                Protocol::UniswapV2
            }
            Self::V4Initialize
            | Self::V4ModifyLiquidity
            | Self::V4Swap
            | Self::V4Donate
            | Self::V4ProtocolFee
            | Self::V4TransferPosition => Protocol::UniswapV4,
            _ => Protocol::UniswapV3,
        }
    }

    /// Creates a pool.
    pub(super) fn is_creation(self) -> bool {
        matches!(self, Self::V2PairCreated | Self::V3PoolCreated | Self::V4Initialize)
    }
}

/// topic0 of every event that [`decode`] knows: what a filtered range request asks for.
#[must_use]
pub fn watched_topics() -> Vec<B256> {
    KINDS.iter().map(|(hash, _)| *hash).collect()
}

/// topic0 of every event of a position manager, to be asked for by its address.
#[must_use]
pub fn manager_topics() -> Vec<B256> {
    MANAGER_KINDS.iter().map(|(hash, _)| *hash).collect()
}

/// topic0 of what a pair's own token emits, to be asked for by its address.
#[must_use]
pub fn shares_topics() -> Vec<B256> {
    vec![SHARES_TOPIC]
}

/// topic0 of what a factory of this protocol emits when it creates a pool.
#[must_use]
pub fn creation_topics(protocol: Protocol) -> Vec<B256> {
    let creations = KINDS.iter().filter(|(_, kind)| kind.is_creation() && kind.protocol() == protocol);
    creations.map(|(hash, _)| *hash).collect()
}

/// What the log says, whoever emitted it.
#[must_use]
pub fn decode(raw: &RawLog) -> Decoded {
    let Some(kind) = raw.topics.first().and_then(Kind::of) else { return Decoded::NotOurs };
    match decode_as(kind, raw) {
        Ok(body) => Decoded::Event(body),
        Err(wrong) => Decoded::Malformed { reason: wrong.to_string() },
    }
}

pub(super) fn decode_as(kind: Kind, raw: &RawLog) -> Result<EventBody, Wrong> {
    let topics = raw.topics.as_slice();
    let data: &[u8] = &raw.data;
    Ok(match kind {
        Kind::V2PairCreated => {
            let ([token0, token1], [pair, count]) = (indexed(topics)?, words(data)?);
            EventBody::V2PairCreated {
                token0: address(token0, "token0")?,
                token1: address(token1, "token1")?,
                pair: address(pair, "pair")?,
                pair_count: u256(count),
            }
        }
        Kind::V2Sync => {
            let ([], [reserve0, reserve1]) = (indexed(topics)?, words(data)?);
            EventBody::V2Sync { reserve0: u112(reserve0, "reserve0")?, reserve1: u112(reserve1, "reserve1")? }
        }
        Kind::V2Swap => {
            let ([sender, to], [in0, in1, out0, out1]) = (indexed(topics)?, words(data)?);
            EventBody::V2Swap {
                sender: address(sender, "sender")?,
                to: address(to, "to")?,
                amount0_in: u256(in0),
                amount1_in: u256(in1),
                amount0_out: u256(out0),
                amount1_out: u256(out1),
            }
        }
        Kind::V2Mint => {
            let ([sender], [amount0, amount1]) = (indexed(topics)?, words(data)?);
            EventBody::V2Mint { sender: address(sender, "sender")?, amount0: u256(amount0), amount1: u256(amount1) }
        }
        Kind::V2Burn => {
            let ([sender, to], [amount0, amount1]) = (indexed(topics)?, words(data)?);
            EventBody::V2Burn {
                sender: address(sender, "sender")?,
                to: address(to, "to")?,
                amount0: u256(amount0),
                amount1: u256(amount1),
            }
        }
        Kind::V2Transfer => {
            let ([from, to], [value]) = (indexed(topics)?, words(data)?);
            EventBody::V2Transfer { from: address(from, "from")?, to: address(to, "to")?, value: u256(value) }
        }
        Kind::V3PoolCreated => {
            let ([token0, token1, fee], [spacing, pool]) = (indexed(topics)?, words(data)?);
            EventBody::V3PoolCreated {
                token0: address(token0, "token0")?,
                token1: address(token1, "token1")?,
                fee_pips: u24(fee, "fee")?,
                tick_spacing: i24(spacing, "tickSpacing")?,
                pool: address(pool, "pool")?,
            }
        }
        Kind::V3Initialize => {
            let ([], [price, tick]) = (indexed(topics)?, words(data)?);
            EventBody::V3Initialize { sqrt_price_x96: u160(price, "sqrtPriceX96")?, tick: i24(tick, "tick")? }
        }
        Kind::V3Swap => {
            let ([sender, recipient], [amount0, amount1, price, liquidity, tick]) = (indexed(topics)?, words(data)?);
            EventBody::V3Swap {
                sender: address(sender, "sender")?,
                recipient: address(recipient, "recipient")?,
                amount0: i256(amount0),
                amount1: i256(amount1),
                sqrt_price_x96: u160(price, "sqrtPriceX96")?,
                liquidity: u128_(liquidity, "liquidity")?,
                tick: i24(tick, "tick")?,
            }
        }
        Kind::V3Mint => {
            let ([owner, lower, upper], [sender, amount, amount0, amount1]) = (indexed(topics)?, words(data)?);
            EventBody::V3Mint {
                sender: address(sender, "sender")?,
                owner: address(owner, "owner")?,
                tick_lower: i24(lower, "tickLower")?,
                tick_upper: i24(upper, "tickUpper")?,
                amount: u128_(amount, "amount")?,
                amount0: u256(amount0),
                amount1: u256(amount1),
            }
        }
        Kind::V3Burn => {
            let ([owner, lower, upper], [amount, amount0, amount1]) = (indexed(topics)?, words(data)?);
            EventBody::V3Burn {
                owner: address(owner, "owner")?,
                tick_lower: i24(lower, "tickLower")?,
                tick_upper: i24(upper, "tickUpper")?,
                amount: u128_(amount, "amount")?,
                amount0: u256(amount0),
                amount1: u256(amount1),
            }
        }
        Kind::V3Collect => {
            let ([owner, lower, upper], [recipient, amount0, amount1]) = (indexed(topics)?, words(data)?);
            EventBody::V3Collect {
                owner: address(owner, "owner")?,
                recipient: address(recipient, "recipient")?,
                tick_lower: i24(lower, "tickLower")?,
                tick_upper: i24(upper, "tickUpper")?,
                amount0: u128_(amount0, "amount0")?,
                amount1: u128_(amount1, "amount1")?,
            }
        }
        Kind::V3Flash => {
            let ([sender, recipient], [amount0, amount1, paid0, paid1]) = (indexed(topics)?, words(data)?);
            EventBody::V3Flash {
                sender: address(sender, "sender")?,
                recipient: address(recipient, "recipient")?,
                amount0: u256(amount0),
                amount1: u256(amount1),
                paid0: u256(paid0),
                paid1: u256(paid1),
            }
        }
        Kind::V3CollectProtocol => {
            let ([sender, recipient], [amount0, amount1]) = (indexed(topics)?, words(data)?);
            EventBody::V3CollectProtocol {
                sender: address(sender, "sender")?,
                recipient: address(recipient, "recipient")?,
                amount0: u128_(amount0, "amount0")?,
                amount1: u128_(amount1, "amount1")?,
            }
        }
        Kind::V3SetFeeProtocol => {
            let ([], [old0, old1, new0, new1]) = (indexed(topics)?, words(data)?);
            EventBody::V3SetFeeProtocol {
                fee_protocol0_old: u8_(old0, "feeProtocol0Old")?,
                fee_protocol1_old: u8_(old1, "feeProtocol1Old")?,
                fee_protocol0_new: u8_(new0, "feeProtocol0New")?,
                fee_protocol1_new: u8_(new1, "feeProtocol1New")?,
            }
        }
        Kind::V3IncreaseObservationCardinalityNext => {
            let ([], [old, new]) = (indexed(topics)?, words(data)?);
            EventBody::V3IncreaseObservationCardinalityNext {
                old: u16_(old, "observationCardinalityNextOld")?,
                new: u16_(new, "observationCardinalityNextNew")?,
            }
        }
        Kind::V3IncreaseLiquidity => {
            let ([token_id], [liquidity, amount0, amount1]) = (indexed(topics)?, words(data)?);
            EventBody::V3IncreaseLiquidity {
                token_id: u256(token_id),
                liquidity: u128_(liquidity, "liquidity")?,
                amount0: u256(amount0),
                amount1: u256(amount1),
            }
        }
        Kind::V3DecreaseLiquidity => {
            let ([token_id], [liquidity, amount0, amount1]) = (indexed(topics)?, words(data)?);
            EventBody::V3DecreaseLiquidity {
                token_id: u256(token_id),
                liquidity: u128_(liquidity, "liquidity")?,
                amount0: u256(amount0),
                amount1: u256(amount1),
            }
        }
        Kind::V3CollectPosition => {
            let ([token_id], [recipient, amount0, amount1]) = (indexed(topics)?, words(data)?);
            EventBody::V3CollectPosition {
                token_id: u256(token_id),
                recipient: address(recipient, "recipient")?,
                amount0: u256(amount0),
                amount1: u256(amount1),
            }
        }
        Kind::V3TransferPosition => {
            let ([from, to, token_id], []) = (indexed(topics)?, words(data)?);
            EventBody::V3TransferPosition { from: address(from, "from")?, to: address(to, "to")?, token_id: u256(token_id) }
        }
        Kind::V4Initialize => {
            let ([_, token0, token1], [fee, spacing, hooks, price, tick]) = (indexed(topics)?, words(data)?);
            EventBody::V4Initialize {
                token0: address(token0, "currency0")?,
                token1: address(token1, "currency1")?,
                fee_pips: u24(fee, "fee")?,
                tick_spacing: i24(spacing, "tickSpacing")?,
                hooks: address(hooks, "hooks")?,
                sqrt_price_x96: u160(price, "sqrtPriceX96")?,
                tick: i24(tick, "tick")?,
            }
        }
        Kind::V4ModifyLiquidity => {
            let ([_, sender], [lower, upper, delta, salt]) = (indexed(topics)?, words(data)?);
            EventBody::V4ModifyLiquidity {
                sender: address(sender, "sender")?,
                tick_lower: i24(lower, "tickLower")?,
                tick_upper: i24(upper, "tickUpper")?,
                // Wider in the event, but the contract refuses what has more bits.
                liquidity_delta: i128_(delta, "liquidityDelta")?,
                salt: B256::from(*salt),
            }
        }
        Kind::V4Swap => {
            let ([_, sender], [amount0, amount1, price, liquidity, tick, fee]) = (indexed(topics)?, words(data)?);
            // The swapper's view: what he gets is positive.
            let of_pool = |word, field| i128_(word, field).map(|amount| I256::unchecked_from(amount).wrapping_neg());
            EventBody::V4Swap {
                sender: address(sender, "sender")?,
                amount0: of_pool(amount0, "amount0")?,
                amount1: of_pool(amount1, "amount1")?,
                sqrt_price_x96: u160(price, "sqrtPriceX96")?,
                liquidity: u128_(liquidity, "liquidity")?,
                tick: i24(tick, "tick")?,
                fee_pips: u24(fee, "fee")?,
            }
        }
        Kind::V4Donate => {
            let ([_, sender], [amount0, amount1]) = (indexed(topics)?, words(data)?);
            EventBody::V4Donate { sender: address(sender, "sender")?, amount0: u256(amount0), amount1: u256(amount1) }
        }
        Kind::V4ProtocolFee => {
            let ([_], [fee]) = (indexed(topics)?, words(data)?);
            EventBody::V4ProtocolFee { protocol_fee: u24(fee, "protocolFee")? }
        }
        Kind::V4TransferPosition => {
            let ([from, to, token_id], []) = (indexed(topics)?, words(data)?);
            let (from, to) = (address(from, "from")?, address(to, "to")?);
            EventBody::V4TransferPosition { manager: raw.address, from, to, token_id: u256(token_id) }
        }
    })
}

#[cfg(test)]
mod tests;
