//! Liquidity between two ticks, and what it is owed: of a pool's own positions, and of what managers keep of their tokens.

use alloy::primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

use super::Both;
use crate::domain::pool::math::{Round, mul_div};

/// Names a position within its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PositionKey {
    pub owner: Address,
    pub tick_lower: i32,
    pub tick_upper: i32,
    /// V4: an owner may have several between the same ticks; a position manager's are its tokens' ids. Else zero.
    #[serde(default)]
    pub salt: B256,
}

impl PositionKey {
    /// Of V3, or the first of an owner.
    #[must_use]
    pub fn new(owner: Address, tick_lower: i32, tick_upper: i32) -> Self {
        Self { owner, tick_lower, tick_upper, salt: B256::ZERO }
    }
}

/// As `positions()` answers, raw units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub liquidity: u128,
    /// `feeGrowthInside{0,1}LastX128`
    pub inside_last: Both<U256>,
    /// `tokensOwed{0,1}`
    pub owed: Both<u128>,
    /// How much of that was freed by burns. The rest are fees.
    pub principal: Both<u128>,
}

impl Position {
    /// What it earned since the last time goes to its account.
    pub(super) fn update(&mut self, inside: Both<U256>) -> Option<()> {
        let earned = self.earned(inside)?;
        for (owed, earned) in self.owed.iter_mut().zip(earned) {
            // The contract lets it wrap, and says: collect before that.
            *owed = owed.wrapping_add(earned);
        }
        self.inside_last = inside;
        Some(())
    }

    /// V4: what it earned is paid out, and its liquidity changes. Gives what was paid (`Position.update`).
    pub(super) fn modify(&mut self, delta: i128, inside: Both<U256>) -> Option<Both<U256>> {
        let paid = self.earned(inside)?.map(U256::from);
        self.inside_last = inside;
        self.liquidity = self.liquidity.checked_add_signed(delta)?;
        Some(paid)
    }

    /// What a burn gives back is on its account until it is collected.
    pub(super) fn free(&mut self, amounts: Both<U256>) {
        for ((owed, principal), freed) in self.owed.iter_mut().zip(&mut self.principal).zip(amounts) {
            // Cut to 128 bits and let wrap, as the contract does.
            let freed = freed.wrapping_to::<u128>();
            *owed = owed.wrapping_add(freed);
            *principal = principal.saturating_add(freed).min(*owed);
        }
    }

    /// Takes from its account, what was put in first. Gives how much of it were fees.
    pub(super) fn collect(&mut self, amounts: Both<u128>) -> Option<Both<U256>> {
        let mut fees = Both::default();
        for (((owed, principal), amount), fee) in self.owed.iter_mut().zip(&mut self.principal).zip(amounts).zip(&mut fees) {
            let back = (*principal).min(amount);
            (*owed, *principal) = (owed.checked_sub(amount)?, principal.checked_sub(back)?);
            *fee = U256::from(amount.checked_sub(back)?);
        }
        Some(fees)
    }

    /// What its liquidity earned since it was touched, raw units; cut to 128 bits, as the contract does.
    pub(super) fn earned(&self, inside: Both<U256>) -> Option<Both<u128>> {
        let liquidity = U256::from(self.liquidity);
        let one = |now: U256, last: U256| {
            let earned = mul_div(now.wrapping_sub(last), liquidity, U256::ONE.wrapping_shl(128), Round::Down)?;
            Some(earned.wrapping_to::<u128>())
        };
        let ([now0, now1], [last0, last1]) = (inside, self.inside_last);
        Some([one(now0, last0)?, one(now1, last1)?])
    }
}
