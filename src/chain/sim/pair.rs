//! A pair whose reserves jump about, and whose own token changes hands as a real pair's does.

use alloy::{
    primitives::{Address, U256, aliases::U112},
    sol_types::SolEvent as _,
};

use super::{
    super::decode::abi::v2,
    world::{Out, SOMEBODY, SimRng},
};

/// Who may hold shares.
const HOLDERS: [Address; 4] = [SOMEBODY, Address::repeat_byte(0x5c), Address::repeat_byte(0x5d), Address::repeat_byte(0x5e)];
const MINIMUM_LIQUIDITY: u64 = 1_000;

#[derive(Debug, Clone, Default)]
pub(super) struct Pair {
    address: Address,
    /// Of each of [`HOLDERS`].
    shares: [u64; 4],
    minted: bool,
}

impl Pair {
    pub(super) fn new(address: Address) -> Self {
        Self { address, ..Self::default() }
    }

    /// One thing that happens to it.
    pub(super) fn act(&mut self, rng: &mut SimRng, out: &mut Out) {
        let reserves @ [reserve0, reserve1] = [rng.below(1 << 40) + 1, rng.below(1 << 40) + 1];
        let mut amount = || U256::from(rng.below(1_000));
        let (amount0, amount1) = (amount(), amount());
        // Who it is about follows from what was drawn already.
        let [from, to] = reserves.map(|reserve| usize::try_from(reserve % 4).unwrap_or(0));
        match rng.below(10) {
            0 => {
                self.mint(to, 1 + reserve0 % 500, out);
                self.sync(reserves, out);
                out.emit(self.address, v2::Mint { sender: SOMEBODY, amount0, amount1 }.encode_log_data());
            }
            1 if self.burn(from, out) => {
                self.sync(reserves, out);
                out.emit(self.address, v2::Burn { sender: SOMEBODY, amount0, amount1, to: SOMEBODY }.encode_log_data());
            }
            // Shares alone, or all of somebody's.
            1 | 2 if self.has(from) > 0 && reserve1 % 3 > 0 => {
                let value = if reserve0 % 2 == 0 { self.has(from) } else { 1 + reserve1 % self.has(from) };
                self.give(from, to, value, out);
            }
            2 => self.sync(reserves, out), // sync() or skim(): a Sync alone
            _ => {
                self.sync(reserves, out);
                let (amount0_in, amount1_out) = (amount0, amount1);
                let swap = v2::Swap {
                    sender: SOMEBODY,
                    amount0In: amount0_in,
                    amount1In: U256::ZERO,
                    amount0Out: U256::ZERO,
                    amount1Out: amount1_out,
                    to: SOMEBODY,
                };
                out.emit(self.address, swap.encode_log_data());
            }
        }
    }

    fn sync(&self, [reserve0, reserve1]: [u64; 2], out: &mut Out) {
        let sync = v2::Sync { reserve0: U112::from(reserve0), reserve1: U112::from(reserve1) };
        out.emit(self.address, sync.encode_log_data());
    }

    fn has(&self, holder: usize) -> u64 {
        self.shares.get(holder).copied().unwrap_or(0)
    }

    fn add(&mut self, holder: usize, value: u64) {
        self.shares.iter_mut().skip(holder).take(1).for_each(|has| *has = has.saturating_add(value));
    }

    fn take(&mut self, holder: usize, value: u64) {
        self.shares.iter_mut().skip(holder).take(1).for_each(|has| *has = has.saturating_sub(value));
    }

    fn said(&self, from: Address, to: Address, value: u64, out: &mut Out) {
        out.emit(self.address, v2::Transfer { from, to, value: U256::from(value) }.encode_log_data());
    }

    fn mint(&mut self, to: usize, value: u64, out: &mut Out) {
        if !std::mem::replace(&mut self.minted, true) {
            self.said(Address::ZERO, Address::ZERO, MINIMUM_LIQUIDITY, out);
        }
        self.add(to, value);
        self.said(Address::ZERO, HOLDERS.get(to).copied().unwrap_or_default(), value, out);
    }

    /// All that one has; `false`: nothing.
    fn burn(&mut self, from: usize, out: &mut Out) -> bool {
        let value = self.has(from);
        if value == 0 {
            return false;
        }
        self.take(from, value);
        self.said(HOLDERS.get(from).copied().unwrap_or_default(), self.address, value, out);
        self.said(self.address, Address::ZERO, value, out);
        true
    }

    fn give(&mut self, from: usize, to: usize, value: u64, out: &mut Out) {
        self.take(from, value);
        self.add(to, value);
        let [from, to] = [from, to].map(|at| HOLDERS.get(at).copied().unwrap_or_default());
        self.said(from, to, value, out);
    }
}
