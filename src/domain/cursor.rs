//! A cursor: a position on a branch of one chain, opaque to clients.

use alloy::primitives::B256;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::ChainId;

const VERSION: u8 = 1;
const ENCODED_BYTES: usize = 1 + 8 + 8 + 32 + 4 + 8;

/// Everything before this point of the branch that ends in `block_hash` has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    pub chain: ChainId,
    pub block_number: u64,
    pub block_hash: B256,
    /// The first log of the block that has not been seen; [`Cursor::BLOCK_END`] when all have.
    pub next_log_index: u32,
    /// The highest finalized block when the cursor was made: what lies below it can never be retracted.
    pub finalized_number: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no cursor of this server: leave it out to start from the beginning, or pass one that it gave you")]
pub struct CursorError;

impl Cursor {
    pub const BLOCK_END: u32 = u32::MAX;

    /// URL-safe base64 of a fixed, versioned layout.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(ENCODED_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.chain.to_be_bytes());
        bytes.extend_from_slice(&self.block_number.to_be_bytes());
        bytes.extend_from_slice(self.block_hash.as_slice());
        bytes.extend_from_slice(&self.next_log_index.to_be_bytes());
        bytes.extend_from_slice(&self.finalized_number.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The inverse of [`Cursor::encode`].
    pub fn decode(text: &str) -> Result<Self, CursorError> {
        // Longer input is refused before it is decoded.
        if text.len() > 2 * ENCODED_BYTES {
            return Err(CursorError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let (&version, rest) = bytes.split_first().ok_or(CursorError)?;
        if version != VERSION || bytes.len() != ENCODED_BYTES {
            return Err(CursorError);
        }
        let (chain, rest) = rest.split_first_chunk::<8>().ok_or(CursorError)?;
        let (number, rest) = rest.split_first_chunk::<8>().ok_or(CursorError)?;
        let (hash, rest) = rest.split_first_chunk::<32>().ok_or(CursorError)?;
        let (log, rest) = rest.split_first_chunk::<4>().ok_or(CursorError)?;
        let (finalized, _) = rest.split_first_chunk::<8>().ok_or(CursorError)?;
        Ok(Self {
            chain: u64::from_be_bytes(*chain),
            block_number: u64::from_be_bytes(*number),
            block_hash: B256::from(*hash),
            next_log_index: u32::from_be_bytes(*log),
            finalized_number: u64::from_be_bytes(*finalized),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_wire_and_a_damaged_one_is_refused() {
        let cursor =
            Cursor { chain: 31_337, block_number: 7, block_hash: B256::repeat_byte(9), next_log_index: 3, finalized_number: 2 };
        let text = cursor.encode();
        assert_eq!(Cursor::decode(&text), Ok(cursor));
        for damaged in ["", "AA", &text[1..], &format!("{text}AAAA"), "%%%%"] {
            assert_eq!(Cursor::decode(damaged), Err(CursorError), "{damaged}");
        }
    }
}
