//! Every kind of decoded event, with fields of any size.

use crate::domain::event::EventBody;

use super::Rng;

impl Rng {
    pub(crate) fn body(&mut self, variant: u64) -> EventBody {
        let (a, b, c) = (self.address(), self.address(), self.address());
        let (x, y, z, w) = (self.uint(256), self.uint(256), self.uint(256), self.uint(256));
        match variant {
            0 => EventBody::V2PairCreated { token0: a, token1: b, pair: c, pair_count: x },
            1 => EventBody::V2Sync { reserve0: self.u128(), reserve1: self.u128() },
            2 => EventBody::V2Swap { sender: a, to: b, amount0_in: x, amount1_in: y, amount0_out: z, amount1_out: w },
            3 => EventBody::V2Mint { sender: a, amount0: x, amount1: y },
            4 => EventBody::V2Burn { sender: a, to: b, amount0: x, amount1: y },
            5 => EventBody::V3PoolCreated { token0: a, token1: b, fee_pips: 500, tick_spacing: self.tick(), pool: c },
            6 => EventBody::V3Initialize { sqrt_price_x96: x, tick: self.tick() },
            7 => EventBody::V3Swap {
                sender: a,
                recipient: b,
                amount0: self.int(),
                amount1: self.int(),
                sqrt_price_x96: x,
                liquidity: self.u128(),
                tick: self.tick(),
            },
            8 => EventBody::V3Mint {
                sender: a,
                owner: b,
                tick_lower: self.tick(),
                tick_upper: self.tick(),
                amount: self.u128(),
                amount0: x,
                amount1: y,
            },
            9 => EventBody::V3Burn {
                owner: a,
                tick_lower: self.tick(),
                tick_upper: self.tick(),
                amount: self.u128(),
                amount0: x,
                amount1: y,
            },
            10 => EventBody::V3Collect {
                owner: a,
                recipient: b,
                tick_lower: self.tick(),
                tick_upper: self.tick(),
                amount0: self.u128(),
                amount1: self.u128(),
            },
            11 => EventBody::V3Flash { sender: a, recipient: b, amount0: x, amount1: y, paid0: z, paid1: w },
            12 => EventBody::V3CollectProtocol { sender: a, recipient: b, amount0: self.u128(), amount1: self.u128() },
            13 => EventBody::V3SetFeeProtocol {
                fee_protocol0_old: 0,
                fee_protocol1_old: 4,
                fee_protocol0_new: 255,
                fee_protocol1_new: 10,
            },
            14 => EventBody::V3IncreaseObservationCardinalityNext { old: 1, new: u16::MAX },
            16 => EventBody::V3IncreaseLiquidity { token_id: x, liquidity: self.u128(), amount0: y, amount1: z },
            17 => EventBody::V3DecreaseLiquidity { token_id: x, liquidity: self.u128(), amount0: y, amount1: z },
            18 => EventBody::V3CollectPosition { token_id: x, recipient: a, amount0: y, amount1: z },
            19 => EventBody::V3TransferPosition { from: a, to: b, token_id: x },
            20 => EventBody::V2Transfer { from: a, to: b, value: x },
            21 => self.v4_initialize(),
            22 => EventBody::V4ModifyLiquidity {
                sender: a,
                tick_lower: self.tick(),
                tick_upper: self.tick(),
                liquidity_delta: self.u128().cast_signed(),
                salt: self.hash(),
            },
            23 => EventBody::V4Swap {
                sender: a,
                amount0: self.int(),
                amount1: self.int(),
                sqrt_price_x96: x,
                liquidity: self.u128(),
                tick: self.tick(),
                fee_pips: 3_000,
            },
            24 => EventBody::V4Donate { sender: a, amount0: x, amount1: y },
            25 => EventBody::V4ProtocolFee { protocol_fee: 0x3e8_3e8 },
            26 => EventBody::V4TransferPosition { manager: c, from: a, to: b, token_id: x },
            _ => EventBody::Undecodable { reason: "data has 31 bytes, 224 are needed".to_owned() },
        }
    }

    fn v4_initialize(&mut self) -> EventBody {
        let (token0, token1, hooks) = (self.address(), self.address(), self.address());
        let (sqrt_price_x96, tick) = (self.uint(160), self.tick());
        EventBody::V4Initialize { token0, token1, fee_pips: 500, tick_spacing: 10, hooks, sqrt_price_x96, tick }
    }
}
