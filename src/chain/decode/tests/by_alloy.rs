//! The same events through alloy's own decoder.

use alloy::{
    primitives::{I256, LogData, U256},
    sol_types::SolEvent,
};

use super::super::{Kind, abi};
use crate::domain::event::{EventBody, RawLog};

/// The same through alloy's decoder, with validation.
pub(super) fn by_alloy(kind: Kind, raw: &RawLog) -> Option<EventBody> {
    fn of<E: SolEvent>(raw: &RawLog) -> Option<E> {
        let data = LogData::new(raw.topics.clone(), raw.data.clone())?;
        let event = E::decode_log_data_validate(&data).ok()?;
        // alloy takes any padding in topics and longer data; encoding again shows what was not canonical.
        (event.encode_log_data() == data).then_some(event)
    }
    use abi::{manager, v2, v3, v4};
    let int = |v: alloy::primitives::aliases::I24| v.as_i32();
    Some(match kind {
        Kind::V2PairCreated => of::<v2::PairCreated>(raw).map(|e| EventBody::V2PairCreated {
            token0: e.token0,
            token1: e.token1,
            pair: e.pair,
            pair_count: e.pairCount,
        })?,
        Kind::V2Sync => {
            of::<v2::Sync>(raw).map(|e| EventBody::V2Sync { reserve0: e.reserve0.to(), reserve1: e.reserve1.to() })?
        }
        Kind::V2Swap => of::<v2::Swap>(raw).map(|e| EventBody::V2Swap {
            sender: e.sender,
            to: e.to,
            amount0_in: e.amount0In,
            amount1_in: e.amount1In,
            amount0_out: e.amount0Out,
            amount1_out: e.amount1Out,
        })?,
        Kind::V2Mint => {
            of::<v2::Mint>(raw).map(|e| EventBody::V2Mint { sender: e.sender, amount0: e.amount0, amount1: e.amount1 })?
        }
        Kind::V2Burn => of::<v2::Burn>(raw).map(|e| EventBody::V2Burn {
            sender: e.sender,
            to: e.to,
            amount0: e.amount0,
            amount1: e.amount1,
        })?,
        Kind::V3PoolCreated => of::<v3::PoolCreated>(raw).map(|e| EventBody::V3PoolCreated {
            token0: e.token0,
            token1: e.token1,
            fee_pips: e.fee.to(),
            tick_spacing: int(e.tickSpacing),
            pool: e.pool,
        })?,
        Kind::V3Initialize => of::<v3::Initialize>(raw)
            .map(|e| EventBody::V3Initialize { sqrt_price_x96: U256::from(e.sqrtPriceX96), tick: int(e.tick) })?,
        Kind::V3Swap => of::<v3::Swap>(raw).map(|e| EventBody::V3Swap {
            sender: e.sender,
            recipient: e.recipient,
            amount0: e.amount0,
            amount1: e.amount1,
            sqrt_price_x96: U256::from(e.sqrtPriceX96),
            liquidity: e.liquidity,
            tick: int(e.tick),
        })?,
        Kind::V3Mint => of::<v3::Mint>(raw).map(|e| EventBody::V3Mint {
            sender: e.sender,
            owner: e.owner,
            tick_lower: int(e.tickLower),
            tick_upper: int(e.tickUpper),
            amount: e.amount,
            amount0: e.amount0,
            amount1: e.amount1,
        })?,
        Kind::V3Burn => of::<v3::Burn>(raw).map(|e| EventBody::V3Burn {
            owner: e.owner,
            tick_lower: int(e.tickLower),
            tick_upper: int(e.tickUpper),
            amount: e.amount,
            amount0: e.amount0,
            amount1: e.amount1,
        })?,
        Kind::V3Collect => of::<v3::Collect>(raw).map(|e| EventBody::V3Collect {
            owner: e.owner,
            recipient: e.recipient,
            tick_lower: int(e.tickLower),
            tick_upper: int(e.tickUpper),
            amount0: e.amount0,
            amount1: e.amount1,
        })?,
        Kind::V3Flash => of::<v3::Flash>(raw).map(|e| EventBody::V3Flash {
            sender: e.sender,
            recipient: e.recipient,
            amount0: e.amount0,
            amount1: e.amount1,
            paid0: e.paid0,
            paid1: e.paid1,
        })?,
        Kind::V3CollectProtocol => of::<v3::CollectProtocol>(raw).map(|e| EventBody::V3CollectProtocol {
            sender: e.sender,
            recipient: e.recipient,
            amount0: e.amount0,
            amount1: e.amount1,
        })?,
        Kind::V3SetFeeProtocol => of::<v3::SetFeeProtocol>(raw).map(|e| EventBody::V3SetFeeProtocol {
            fee_protocol0_old: e.feeProtocol0Old,
            fee_protocol1_old: e.feeProtocol1Old,
            fee_protocol0_new: e.feeProtocol0New,
            fee_protocol1_new: e.feeProtocol1New,
        })?,
        Kind::V3IncreaseObservationCardinalityNext => {
            of::<v3::IncreaseObservationCardinalityNext>(raw).map(|e| EventBody::V3IncreaseObservationCardinalityNext {
                old: e.observationCardinalityNextOld,
                new: e.observationCardinalityNextNew,
            })?
        }
        Kind::V3IncreaseLiquidity => of::<manager::IncreaseLiquidity>(raw).map(|e| EventBody::V3IncreaseLiquidity {
            token_id: e.tokenId,
            liquidity: e.liquidity,
            amount0: e.amount0,
            amount1: e.amount1,
        })?,
        Kind::V3DecreaseLiquidity => of::<manager::DecreaseLiquidity>(raw).map(|e| EventBody::V3DecreaseLiquidity {
            token_id: e.tokenId,
            liquidity: e.liquidity,
            amount0: e.amount0,
            amount1: e.amount1,
        })?,
        Kind::V3CollectPosition => of::<manager::Collect>(raw).map(|e| EventBody::V3CollectPosition {
            token_id: e.tokenId,
            recipient: e.recipient,
            amount0: e.amount0,
            amount1: e.amount1,
        })?,
        Kind::V2Transfer => of::<v2::Transfer>(raw).map(|e| EventBody::V2Transfer { from: e.from, to: e.to, value: e.value })?,
        Kind::V4Initialize => of::<v4::Initialize>(raw).map(|e| EventBody::V4Initialize {
            token0: e.currency0,
            token1: e.currency1,
            fee_pips: e.fee.to(),
            tick_spacing: int(e.tickSpacing),
            hooks: e.hooks,
            sqrt_price_x96: U256::from(e.sqrtPriceX96),
            tick: int(e.tick),
        })?,
        Kind::V4ModifyLiquidity => {
            let e = of::<v4::ModifyLiquidity>(raw)?;
            EventBody::V4ModifyLiquidity {
                sender: e.sender,
                tick_lower: int(e.tickLower),
                tick_upper: int(e.tickUpper),
                // What has more bits no contract emits.
                liquidity_delta: i128::try_from(e.liquidityDelta).ok()?,
                salt: e.salt,
            }
        }
        Kind::V4Swap => of::<v4::Swap>(raw).map(|e| EventBody::V4Swap {
            sender: e.sender,
            amount0: -I256::try_from(e.amount0).unwrap(),
            amount1: -I256::try_from(e.amount1).unwrap(),
            sqrt_price_x96: U256::from(e.sqrtPriceX96),
            liquidity: e.liquidity,
            tick: int(e.tick),
            fee_pips: e.fee.to(),
        })?,
        Kind::V4Donate => {
            of::<v4::Donate>(raw).map(|e| EventBody::V4Donate { sender: e.sender, amount0: e.amount0, amount1: e.amount1 })?
        }
        Kind::V4ProtocolFee => {
            of::<v4::ProtocolFeeUpdated>(raw).map(|e| EventBody::V4ProtocolFee { protocol_fee: e.protocolFee.to() })?
        }
        Kind::V4TransferPosition => of::<manager::Transfer>(raw).map(|e| EventBody::V4TransferPosition {
            manager: raw.address,
            from: e.from,
            to: e.to,
            token_id: e.tokenId,
        })?,
        Kind::V3TransferPosition => {
            of::<manager::Transfer>(raw).map(|e| EventBody::V3TransferPosition { from: e.from, to: e.to, token_id: e.tokenId })?
        }
    })
}
