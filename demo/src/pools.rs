//! Which pools a chain has: curated ones that a person knows first, then every pair in a fixed order.

use alloy::primitives::{
    Address, U256,
    aliases::{I24, U24},
};

use crate::{contracts::PositionManager as Nfpm, tokens::DevToken};

/// Far in the future (the year 2100): deadlines are not what is tested here.
pub(crate) const DEADLINE_S: u64 = 4_102_444_800;
/// `TickMath.MAX_TICK`.
const MAX_TICK: i32 = 887_272;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    V2,
    V3,
}

/// A pool that exists on the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevPool {
    pub protocol: Protocol,
    pub address: Address,
    pub token0: DevToken,
    pub token1: DevToken,
    /// Hundredths of a basis point; 3,000 for every V2 pool.
    pub fee_pips: u32,
    /// 0 for V2.
    pub tick_spacing: i32,
    /// What was put into it at first, on each side, in millionths of a dollar.
    pub usd_micro: u128,
}

impl DevPool {
    /// `WETH/USDC v3 0.05 %`, in the order of the addresses.
    pub fn label(&self) -> String {
        let protocol = if self.protocol == Protocol::V2 { "v2" } else { "v3" };
        format!("{}/{} {protocol} {} pips", self.token0.symbol, self.token1.symbol, self.fee_pips)
    }

    /// Whether both hold the same pair, for any fee.
    pub(crate) fn has_pair(&self, token0: Address, token1: Address) -> bool {
        self.token0.address == token0 && self.token1.address == token1
    }

    pub(crate) fn fee(&self) -> U24 {
        U24::from(self.fee_pips)
    }

    /// A position of `usd_micro` on each side.
    pub(crate) fn mint_params(&self, (lower, upper): (i32, i32), usd_micro: u128, recipient: Address) -> Nfpm::MintParams {
        Nfpm::MintParams {
            token0: self.token0.address,
            token1: self.token1.address,
            fee: self.fee(),
            tickLower: tick(lower),
            tickUpper: tick(upper),
            amount0Desired: self.token0.amount_raw(usd_micro),
            amount1Desired: self.token1.amount_raw(usd_micro),
            amount0Min: U256::ZERO,
            amount1Min: U256::ZERO,
            recipient,
            deadline: U256::from(DEADLINE_S),
        }
    }
}

/// A pool that is to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolSpec {
    pub(crate) a: usize,
    pub(crate) b: usize,
    pub(crate) fee_pips: u32,
}

/// V2 and V3 pairs that a person expects to see, as symbols; V3's with the fee in pips.
const KNOWN_V2: [(&str, &str); 6] =
    [("WETH", "USDC"), ("WBTC", "WETH"), ("UNI", "WETH"), ("DAI", "USDC"), ("PEPE", "WETH"), ("LINK", "WETH")];
const KNOWN_V3: [(&str, &str, u32); 6] = [
    ("WETH", "USDC", 500),
    ("WETH", "USDC", 3_000),
    ("WBTC", "WETH", 3_000),
    ("USDC", "USDT", 100),
    ("UNI", "WETH", 10_000),
    ("AAVE", "WETH", 3_000),
];
/// The fee tiers of the pools beyond the known ones.
pub(crate) const FEES: [u32; 3] = [500, 3_000, 10_000];

/// The tick spacing of a fee tier of the deployed factory (100 is enabled at setup, as on mainnet).
pub(crate) fn tick_spacing(fee_pips: u32) -> i32 {
    match fee_pips {
        100 => 1,
        500 => 10,
        3_000 => 60,
        _ => 200,
    }
}

/// The first `n` V2 pools over these tokens: a smaller `n` is a prefix of a larger one. Fewer when there are not enough pairs.
pub(crate) fn v2_specs(tokens: &[DevToken], n: usize) -> Vec<PoolSpec> {
    let known = KNOWN_V2.iter().filter_map(|(a, b)| spec(tokens, a, b, 3_000));
    let all = pairs(tokens.len()).map(|(a, b)| PoolSpec { a, b, fee_pips: 3_000 });
    distinct(known.chain(all), n)
}

/// The first `n` V3 pools over these tokens.
pub(crate) fn v3_specs(tokens: &[DevToken], n: usize) -> Vec<PoolSpec> {
    let known = KNOWN_V3.iter().filter_map(|(a, b, fee)| spec(tokens, a, b, *fee));
    let all = pairs(tokens.len()).flat_map(|(a, b)| FEES.map(|fee_pips| PoolSpec { a, b, fee_pips }));
    distinct(known.chain(all), n)
}

fn spec(tokens: &[DevToken], a: &str, b: &str, fee_pips: u32) -> Option<PoolSpec> {
    let index = |symbol: &str| tokens.iter().position(|t| t.symbol == symbol);
    let (a, b) = (index(a)?, index(b)?);
    Some(PoolSpec { a: a.min(b), b: a.max(b), fee_pips })
}

/// Neighbours first, then tokens further apart.
fn pairs(tokens: usize) -> impl Iterator<Item = (usize, usize)> {
    (1..tokens).flat_map(move |distance| (0..tokens - distance).map(move |a| (a, a + distance)))
}

fn distinct(specs: impl Iterator<Item = PoolSpec>, n: usize) -> Vec<PoolSpec> {
    let mut out: Vec<PoolSpec> = Vec::with_capacity(n);
    let mut seen = std::collections::HashSet::new();
    for spec in specs {
        if out.len() == n {
            break;
        }
        if seen.insert((spec.a, spec.b, spec.fee_pips)) {
            out.push(spec);
        }
    }
    out
}

/// `half` ticks to each side of `middle`, on the grid and within what the protocol allows.
pub(crate) fn band(middle: i32, half: i32, spacing: i32) -> (i32, i32) {
    let spacing = spacing.max(1);
    let edge = MAX_TICK / spacing * spacing;
    let middle = middle.div_euclid(spacing) * spacing;
    let half = (half / spacing).max(1) * spacing;
    (middle.saturating_sub(half).clamp(-edge, edge - spacing), middle.saturating_add(half).clamp(spacing - edge, edge))
}

/// All prices.
pub(crate) fn full_range(spacing: i32) -> (i32, i32) {
    band(0, MAX_TICK, spacing)
}

fn tick(value: i32) -> I24 {
    I24::try_from(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_stay_on_the_grid_and_in_range() {
        assert_eq!(full_range(60), (-887_220, 887_220));
        assert_eq!(full_range(1), (-887_272, 887_272));
        assert_eq!(band(-199, 600, 200), (-800, 400));
        assert_eq!(band(887_200, 600, 10), (886_600, 887_270));
        assert_eq!(band(5, 0, 10), (-10, 10));
    }

    #[test]
    fn pairs_are_enumerated_once() {
        let all: Vec<_> = pairs(4).collect();
        assert_eq!(all, [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3)]);
    }
}
