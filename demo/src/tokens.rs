//! Tokens that a person knows, with fair prices, and the arithmetic between dollars and raw amounts.

use alloy::primitives::{Address, U160, U256, aliases::U512};

/// A deployed ERC-20.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevToken {
    pub address: Address,
    pub symbol: String,
    pub name: String,
    pub decimals: u8,
    /// The price that trading leans back to, in millionths of a dollar.
    pub price_micro_usd: u64,
}

impl DevToken {
    /// What `usd_micro` millionths of a dollar buy, in the token's smallest unit; at least 1.
    pub fn amount_raw(&self, usd_micro: u128) -> U256 {
        let raw = U256::from(usd_micro) * self.unit_raw() / U256::from(self.price_micro_usd.max(1));
        raw.max(U256::from(1))
    }

    /// One whole token in its smallest unit.
    pub fn unit_raw(&self) -> U256 {
        U256::from(10).pow(U256::from(self.decimals))
    }
}

/// What a token is before it has an address. The first one of every chain is WETH9.
#[derive(Debug, Clone)]
pub(crate) struct TokenSpec {
    pub(crate) symbol: String,
    pub(crate) name: String,
    pub(crate) decimals: u8,
    pub(crate) price_micro_usd: u64,
}

/// Symbol, name, decimals as on mainnet, price in millionths of a dollar.
const KNOWN: [(&str, &str, u8, u64); 14] = [
    ("WETH", "Wrapped Ether", 18, 3_000_000_000),
    ("USDC", "USD Coin", 6, 1_000_000),
    ("USDT", "Tether USD", 6, 1_000_000),
    ("DAI", "Dai Stablecoin", 18, 1_000_000),
    ("WBTC", "Wrapped BTC", 8, 65_000_000_000),
    ("UNI", "Uniswap", 18, 9_000_000),
    ("LINK", "ChainLink Token", 18, 15_000_000),
    ("AAVE", "Aave Token", 18, 120_000_000),
    ("PEPE", "Pepe", 18, 10),
    ("ARB", "Arbitrum", 18, 800_000),
    ("LDO", "Lido DAO Token", 18, 2_000_000),
    ("CRV", "Curve DAO Token", 18, 500_000),
    ("SHIB", "SHIBA INU", 18, 20),
    ("ENS", "Ethereum Name Service", 18, 25_000_000),
];

/// The symbols that are worth one dollar.
pub(crate) const STABLE: [&str; 3] = ["USDC", "USDT", "DAI"];

/// The first `n` tokens; past the known ones they are `TK14`, `TK15`, … at 1 to 32 dollars.
pub(crate) fn specs(n: usize) -> Vec<TokenSpec> {
    let known = KNOWN.iter().map(|&(symbol, name, decimals, price_micro_usd)| TokenSpec {
        symbol: symbol.to_owned(),
        name: name.to_owned(),
        decimals,
        price_micro_usd,
    });
    let more = (KNOWN.len()..).map(|i| TokenSpec {
        symbol: format!("TK{i}"),
        name: format!("Token {i}"),
        decimals: 18,
        price_micro_usd: 1_000_000 << (i % 6),
    });
    known.chain(more).take(n).collect()
}

/// The square root price of a V3 pool at the fair prices: `sqrt(raw1 / raw0) * 2^96`, rounded down.
pub(crate) fn fair_sqrt_price_x96(token0: &DevToken, token1: &DevToken) -> U160 {
    let wide = |token: &DevToken, other: &DevToken| U512::from(token.unit_raw()) * U512::from(other.price_micro_usd.max(1));
    // One token0 is worth price0 / price1 of token1.
    let ratio_x192: U512 = (wide(token1, token0) << 192) / wide(token0, token1);
    U160::saturating_from(ratio_x192.root(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(symbol: &str) -> DevToken {
        let TokenSpec { symbol, name, decimals, price_micro_usd } =
            specs(20).into_iter().find(|s| s.symbol == symbol).expect("a known symbol");
        DevToken { address: Address::ZERO, symbol, name, decimals, price_micro_usd }
    }

    #[test]
    fn dollars_become_raw_amounts() {
        assert_eq!(token("USDC").amount_raw(1_500_000), U256::from(1_500_000));
        assert_eq!(token("WETH").amount_raw(3_000_000_000), U256::from(10).pow(U256::from(18)));
        assert_eq!(token("WBTC").amount_raw(650_000_000), U256::from(1_000_000));
        assert_eq!(token("WBTC").amount_raw(0), U256::from(1));
    }

    #[test]
    fn the_square_root_price_is_exact_where_it_can_be() {
        assert_eq!(fair_sqrt_price_x96(&token("USDC"), &token("USDT")), U160::from(1) << 96);
        // 1e18 raw DAI per 1e6 raw USDC: sqrt(1e12) = 1e6.
        assert_eq!(fair_sqrt_price_x96(&token("USDC"), &token("DAI")), U160::from(1_000_000) << 96);
    }
}
