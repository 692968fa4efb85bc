//! What is known of a token, and how far it can be trusted. Odd tokens get flags, never guesses.

use alloy::primitives::{Address, U256};
use serde::{Deserialize, Serialize};

use super::{ChainId, block::BlockRef};

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
