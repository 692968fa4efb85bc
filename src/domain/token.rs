//! What is known of a token, and how far it can be trusted. Odd tokens get flags, never guesses.

use alloy::primitives::{Address, U256};
use serde::{Deserialize, Serialize};

use super::{ChainId, block::BlockRef, pool::depth::BPS};

/// The longest name or symbol kept, in bytes: a hostile token may answer megabytes.
pub const TOKEN_TEXT_MAX_BYTES: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMeta {
    pub chain: ChainId,
    pub address: Address,
    pub name: Option<String>,
    pub symbol: Option<String>,
    /// `None`: the token does not say; then nothing of it has a price.
    pub decimals: Option<u8>,
    /// Raw units, at `as_of`.
    pub total_supply: Option<U256>,
    pub flags: Vec<TokenFlag>,
    /// The block the four calls were made at.
    pub as_of: BlockRef,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TokenFlag {
    /// The calls could not be made yet; they are repeated.
    MetadataPending,
    /// No code at the address.
    NoCode,
    NameMissing,
    SymbolMissing,
    /// The symbol was a `bytes32` (MKR and its age).
    SymbolBytes32,
    NameBytes32,
    /// A text was longer than 128 bytes, or not UTF-8, and was cut or mended.
    TextMended,
    DecimalsMissing,
    /// More than 77: no 256-bit amount has that many digits.
    DecimalsAbsurd,
    TotalSupplyMissing,
}

/// A token that a pool lent, and got back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loan {
    /// What the pool holds before, by the word of the token.
    pub held: U256,
    pub lent: U256,
    /// What of it arrived.
    pub received: U256,
    /// All of that could be sent back.
    pub given: bool,
    /// What of that arrived.
    pub arrived: U256,
}

/// How a token behaved when it was moved. Who deploys a token may let it behave otherwise with others, and tomorrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conduct {
    /// Where it was tried.
    pub at: BlockRef,
    /// What it keeps of what a pool sends, in parts of 10,000.
    pub buy_fee_bps: u32,
    /// What it keeps of what is sent to a pool. `None`: it cannot be sent to a pool that is just lending, which tokens that trade with the
    /// pool on their own account cannot either.
    pub sell_fee_bps: Option<u32>,
    /// Balances changed without transfers.
    pub rebases: bool,
}

impl Conduct {
    #[must_use]
    pub fn of(loan: &Loan, at: BlockRef, rebases: bool) -> Self {
        let sell_fee_bps = loan.given.then(|| kept(loan.received, loan.arrived));
        Self { at, buy_fee_bps: kept(loan.lent, loan.received), sell_fee_bps, rebases }
    }

    /// Less arrives than is sent.
    #[must_use]
    pub fn has_fee(&self) -> bool {
        self.buy_fee_bps > 0 || self.sell_fee_bps.is_some_and(|bps| bps > 0)
    }
}

/// To the next part of 10,000: what tokens with shares lose by rounding is no fee.
fn kept(sent: U256, arrived: U256) -> u32 {
    let kept = alloy::primitives::U512::from(sent.saturating_sub(arrived));
    let (sent, bps) = (alloy::primitives::U512::from(sent), alloy::primitives::U512::from(BPS));
    let nearest = kept.saturating_mul(bps).saturating_add(sent.wrapping_shr(1)).checked_div(sent);
    nearest.map_or(0, |bps| bps.saturating_to())
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;

    #[test]
    fn fees_are_what_does_not_arrive_and_dust_is_none() {
        let at = BlockRef { number: 1, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 0 };
        let of = |lent: u64, received: u64, given: bool, arrived: u64| {
            let loan = Loan {
                held: U256::MAX,
                lent: U256::from(lent),
                received: U256::from(received),
                given,
                arrived: U256::from(arrived),
            };
            let conduct = Conduct::of(&loan, at, false);
            (conduct.buy_fee_bps, conduct.sell_fee_bps)
        };
        assert_eq!(of(1_000_000, 1_000_000, true, 1_000_000), (0, Some(0)));
        assert_eq!(of(1_000_000, 970_000, true, 921_500), (300, Some(500)));
        assert_eq!(of(1_000_000, 999_999, true, 999_997), (0, Some(0)), "as tokens with shares round");
        assert_eq!(of(1_000_000, 1_000_000, false, 0), (0, None), "it was not taken back");
        assert_eq!(of(1_000_000, 0, true, 0), (10_000, Some(0)));
        assert_eq!(of(1_000_000, 2_000_000, true, 3_000_000), (0, Some(0)), "more than was sent is no fee");
        assert_eq!(kept(U256::MAX, U256::ZERO), 10_000);
        assert_eq!(kept(U256::ZERO, U256::ZERO), 0);
    }
}
