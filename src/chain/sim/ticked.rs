//! Pools with ticks on the simulated chain: what they emit is what the contracts would, a position manager's words included.

use std::sync::Arc;

use alloy::{
    primitives::{Address, LogData, U160, U256, aliases::I24},
    sol_types::SolEvent,
};

use super::world::{Out, SOMEBODY, SPACING, SimRng};
use crate::{
    chain::decode::abi::{manager, v3},
    domain::{
        dollars::Gauge,
        event::EventBody,
        image::{Held, PoolImage},
        pool::{
            PoolState, V3State,
            fees::{Fees, PositionKey},
            math::sqrt_ratio_at_tick,
            swap::Terms,
        },
    },
};

pub const MANAGER: Address = Address::repeat_byte(0xa4);
pub(super) const TERMS: Terms = Terms { fee_pips: 3_000, tick_spacing: SPACING };

#[derive(Debug, Clone)]
pub(super) struct Ticked {
    address: Address,
    image: Box<PoolImage>,
    positions: Vec<Owned>,
}

/// Liquidity that somebody put in; `token`: through the manager.
#[derive(Debug, Clone, Copy)]
struct Owned {
    lower: i32,
    upper: i32,
    liquidity: u128,
    token: Option<U256>,
}

impl Ticked {
    /// Opened at a price of its own; says so.
    pub(super) fn new(address: Address, rng: &mut SimRng, out: &mut Out) -> Self {
        let fees = Some(Arc::new(Fees::new(TERMS)));
        let state = PoolState::V3(V3State::default());
        let image = PoolImage { state, gauge: Gauge::default(), held: Held::default(), fees, shares: None };
        let mut pool = Self { address, image: Box::new(image), positions: Vec::new() };
        let tick = small(rng, 600) - 300;
        let sqrt_price_x96 = sqrt_ratio_at_tick(tick).unwrap_or_default();
        pool.emit(EventBody::V3Initialize { sqrt_price_x96, tick }, out);
        pool
    }

    /// One transaction; `next_token` is the manager's.
    pub(super) fn act(&mut self, next_token: &mut U256, rng: &mut SimRng, out: &mut Out) {
        let some = usize::try_from(rng.below(u64::try_from(self.positions.len()).unwrap_or(0))).unwrap_or(0);
        match self.positions.get(some).copied() {
            Some(owned) if rng.percent(70) => match rng.below(20) {
                0..=2 => self.burn(some, owned, rng, out),
                3 => self.mint(owned, rng, out),
                4 | 5 => self.collect(owned, out),
                6 => self.hand_over(owned, rng, out),
                7 => {
                    let new = if rng.percent(50) { 0 } else { 10 };
                    let (fee_protocol0_old, fee_protocol1_old, fee_protocol1_new) = (0, 0, 4);
                    let event = EventBody::V3SetFeeProtocol {
                        fee_protocol0_old,
                        fee_protocol1_old,
                        fee_protocol0_new: new,
                        fee_protocol1_new,
                    };
                    self.emit(event, out);
                }
                _ => {
                    let tick = small(rng, 1_200) - 600;
                    let PoolState::V3(pool) = &self.image.state else { return };
                    if let Some(swap) = pool.swap_to(TERMS, tick) {
                        self.emit(swap, out);
                    }
                }
            },
            _ => {
                let lower = (small(rng, 40) - 20) * SPACING;
                let upper = lower + SPACING * (1 + small(rng, 20));
                let token = rng.percent(60).then(|| std::mem::replace(next_token, next_token.wrapping_add(U256::ONE)));
                let owned = Owned { lower, upper, liquidity: 0, token };
                self.positions.push(owned);
                self.mint(owned, rng, out);
            }
        }
    }

    fn mint(&mut self, owned: Owned, rng: &mut SimRng, out: &mut Out) {
        let Some(known) = self.positions.iter_mut().find(|known| known.key() == owned.key() && known.token == owned.token) else {
            return;
        };
        let is_first = known.liquidity == 0;
        let amount = u128::from(1 + rng.below(1_000_000_000));
        known.liquidity = known.liquidity.saturating_add(amount);
        let PositionKey { owner, tick_lower, tick_upper, .. } = owned.key();
        let (amount0, amount1) = (U256::from(amount), U256::from(amount));
        self.emit(EventBody::V3Mint { sender: SOMEBODY, owner, tick_lower, tick_upper, amount, amount0, amount1 }, out);
        if let Some(token_id) = owned.token {
            let is_made = self.image.fees.as_ref().is_some_and(|fees| fees.tokens.contains_key(&token_id));
            if is_first && !is_made {
                self.emit(EventBody::V3TransferPosition { from: Address::ZERO, to: SOMEBODY, token_id }, out);
            }
            self.emit(EventBody::V3IncreaseLiquidity { token_id, liquidity: amount, amount0, amount1 }, out);
        }
    }

    fn burn(&mut self, at: usize, owned: Owned, rng: &mut SimRng, out: &mut Out) {
        let amount = if rng.percent(50) { owned.liquidity } else { owned.liquidity / 2 };
        if let Some(known) = self.positions.get_mut(at) {
            known.liquidity = known.liquidity.saturating_sub(amount);
        }
        let PositionKey { owner, tick_lower, tick_upper, .. } = owned.key();
        let (amount0, amount1) = (U256::from(amount / 2), U256::from(amount));
        self.emit(EventBody::V3Burn { owner, tick_lower, tick_upper, amount, amount0, amount1 }, out);
        if let Some(token_id) = owned.token {
            self.emit(EventBody::V3DecreaseLiquidity { token_id, liquidity: amount, amount0, amount1 }, out);
        }
        if amount == owned.liquidity && rng.percent(70) {
            self.collect(Owned { liquidity: 0, ..owned }, out);
            self.positions.remove(at);
            if let Some(token_id) = owned.token {
                self.emit(EventBody::V3TransferPosition { from: SOMEBODY, to: Address::ZERO, token_id }, out);
            }
        }
    }

    /// Everything that it is owed, as a manager does it: with a touch before, where there is liquidity.
    fn collect(&mut self, owned: Owned, out: &mut Out) {
        let PositionKey { owner, tick_lower, tick_upper, .. } = owned.key();
        if owned.liquidity > 0 {
            let (amount0, amount1) = (U256::ZERO, U256::ZERO);
            self.emit(EventBody::V3Burn { owner, tick_lower, tick_upper, amount: 0, amount0, amount1 }, out);
        }
        let Some(fees) = self.image.fees.clone() else { return };
        let PoolState::V3(V3State { tick, .. }) = self.image.state else { return };
        let of_pool =
            fees.positions.as_ref().and_then(|all| all.get(&owned.key())).map(|position| position.owed).unwrap_or_default();
        // The manager asks for what it keeps of a token; the pool may have a little less.
        let token = owned.token.and_then(|token_id| fees.tokens.get(&token_id));
        let asked = token.map_or(of_pool, |token| fees.owed(tick, &token.key(), &token.position));
        let ([asked0, asked1], [has0, has1]) = (asked, of_pool);
        let (amount0, amount1, recipient) = (asked0.min(has0), asked1.min(has1), SOMEBODY);
        self.emit(EventBody::V3Collect { owner, recipient, tick_lower, tick_upper, amount0, amount1 }, out);
        if let Some(token_id) = owned.token {
            let (amount0, amount1) = (U256::from(asked0), U256::from(asked1));
            self.emit(EventBody::V3CollectPosition { token_id, recipient, amount0, amount1 }, out);
        }
    }

    /// A token changes hands: no word of the pool.
    fn hand_over(&mut self, owned: Owned, rng: &mut SimRng, out: &mut Out) {
        if let Some(token_id) = owned.token {
            let to = Address::with_last_byte(u8::try_from(1 + rng.below(9)).unwrap_or(1));
            self.emit(EventBody::V3TransferPosition { from: SOMEBODY, to, token_id }, out);
        }
    }

    /// Moves the pool, and emits: from the manager what is of it.
    fn emit(&mut self, event: EventBody, out: &mut Out) {
        let fits = self.image.apply(&event).is_ok() && self.image.fees.is_some();
        debug_assert!(fits, "{event:?} does not fit {:?}", self.address);
        let from = if event.is_of_owners() { MANAGER } else { self.address };
        if let Some(data) = encode(event) {
            out.emit(from, data);
        }
    }
}

impl Owned {
    fn key(&self) -> PositionKey {
        let owner = if self.token.is_some() { MANAGER } else { SOMEBODY };
        PositionKey::new(owner, self.lower, self.upper)
    }
}

fn small(rng: &mut SimRng, n: u64) -> i32 {
    i32::try_from(rng.below(n)).unwrap_or(0)
}

fn encode(event: EventBody) -> Option<LogData> {
    let tick = I24::unchecked_from;
    Some(match event {
        EventBody::V3Initialize { sqrt_price_x96, tick: at } => {
            v3::Initialize { sqrtPriceX96: U160::from(sqrt_price_x96), tick: tick(at) }.encode_log_data()
        }
        EventBody::V3Swap { sender, recipient, amount0, amount1, sqrt_price_x96, liquidity, tick: at } => {
            let sqrt_price = U160::from(sqrt_price_x96);
            v3::Swap { sender, recipient, amount0, amount1, sqrtPriceX96: sqrt_price, liquidity, tick: tick(at) }
                .encode_log_data()
        }
        EventBody::V3Mint { sender, owner, tick_lower, tick_upper, amount, amount0, amount1 } => {
            let (lower, upper) = (tick(tick_lower), tick(tick_upper));
            v3::Mint { sender, owner, tickLower: lower, tickUpper: upper, amount, amount0, amount1 }.encode_log_data()
        }
        EventBody::V3Burn { owner, tick_lower, tick_upper, amount, amount0, amount1 } => {
            let (lower, upper) = (tick(tick_lower), tick(tick_upper));
            v3::Burn { owner, tickLower: lower, tickUpper: upper, amount, amount0, amount1 }.encode_log_data()
        }
        EventBody::V3Collect { owner, recipient, tick_lower, tick_upper, amount0, amount1 } => {
            let (lower, upper) = (tick(tick_lower), tick(tick_upper));
            v3::Collect { owner, recipient, tickLower: lower, tickUpper: upper, amount0, amount1 }.encode_log_data()
        }
        EventBody::V3SetFeeProtocol { fee_protocol0_old, fee_protocol1_old, fee_protocol0_new, fee_protocol1_new } => {
            v3::SetFeeProtocol {
                feeProtocol0Old: fee_protocol0_old,
                feeProtocol1Old: fee_protocol1_old,
                feeProtocol0New: fee_protocol0_new,
                feeProtocol1New: fee_protocol1_new,
            }
            .encode_log_data()
        }
        EventBody::V3IncreaseLiquidity { token_id, liquidity, amount0, amount1 } => {
            manager::IncreaseLiquidity { tokenId: token_id, liquidity, amount0, amount1 }.encode_log_data()
        }
        EventBody::V3DecreaseLiquidity { token_id, liquidity, amount0, amount1 } => {
            manager::DecreaseLiquidity { tokenId: token_id, liquidity, amount0, amount1 }.encode_log_data()
        }
        EventBody::V3CollectPosition { token_id, recipient, amount0, amount1 } => {
            manager::Collect { tokenId: token_id, recipient, amount0, amount1 }.encode_log_data()
        }
        EventBody::V3TransferPosition { from, to, token_id } => {
            manager::Transfer { from, to, tokenId: token_id }.encode_log_data()
        }
        _ => return None,
    })
}
