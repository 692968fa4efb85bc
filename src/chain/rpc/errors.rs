//! What went wrong with one request to one endpoint, and what follows from it. Every provider words its limits in its own way.

use std::time::Duration;

use alloy::primitives::B256;

use super::wire::WireError;
use crate::chain::ChainError;

/// One failed request to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Unreachable(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Too many requests; the endpoint may say when to come back.
    #[error("rate limited: {message}")]
    Busy { message: String, after: Option<Duration> },
    #[error("unreadable answer: {0}")]
    BadAnswer(String),
    #[error("answers for chain {found}, not {expected}")]
    WrongChain { expected: u64, found: u64 },
    #[error("contradicts the chain: {0}")]
    Contradiction(String),
    #[error("does not know the block")]
    UnknownBlock,
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    /// One word, for the metric's label.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Timeout(_) => "timeout",
            Self::Busy { .. } => "rate_limited",
            Self::BadAnswer(_) => "bad_answer",
            Self::WrongChain { .. } => "wrong_chain",
            Self::Contradiction(_) => "contradiction",
            Self::UnknownBlock => "unknown_block",
            Self::TooLarge(_) => "too_large",
            Self::Refused(_) => "refused",
        }
    }

    /// The endpoint is to blame, not the question: others come first for a while.
    pub(super) fn is_unhealthy(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Timeout(_) | Self::Busy { .. } | Self::BadAnswer(_) | Self::WrongChain { .. })
    }

    /// Asking again, here or elsewhere, may help.
    pub(super) fn is_worth_retrying(&self) -> bool {
        !matches!(self, Self::TooLarge(_) | Self::Refused(_) | Self::WrongChain { .. })
    }

    /// Which of several endpoints' failures says most: the more the endpoint understood, the higher.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Self::Unreachable(_) | Self::Timeout(_) | Self::Busy { .. } | Self::BadAnswer(_) => 0,
            Self::WrongChain { .. } => 1,
            Self::Refused(_) => 2,
            Self::UnknownBlock => 3,
            Self::Contradiction(_) => 4,
            Self::TooLarge(_) => 5,
        }
    }

    /// For the caller; `who` is the endpoint's host, `block` the hash that was asked about.
    pub(super) fn into_chain_error(self, who: &str, block: Option<B256>) -> ChainError {
        match (self, block) {
            (Self::UnknownBlock, Some(hash)) => ChainError::UnknownBlock(hash),
            (Self::TooLarge(text), _) => ChainError::RangeTooLarge(format!("{who}: {text}")),
            (Self::Contradiction(text), _) => ChainError::Contradiction(format!("{who}: {text}")),
            (refused @ (Self::Refused(_) | Self::WrongChain { .. }), _) => ChainError::Refused(format!("{who}: {refused}")),
            (other, _) => ChainError::Unavailable(format!("{who}: {other}")),
        }
    }
}

/// Words of "too many results, or too wide a range", lower case, as providers put it.
const TOO_LARGE: [&str; 27] = [
    "query returned more than",   // geth forks, Infura, Alchemy: "query returned more than 10000 results"
    "block range is too wide",    // Ankr, BSC
    "block range too wide",       // Tenderly
    "block range too large",      // Cronos
    "block range is too large",   // Blast
    "range is too large",         // Chainstack
    "range too large",            // various
    "exceed maximum block range", // BSC: "exceed maximum block range: 5000"
    "exceeds max block range",    // various
    "block range limit exceeded", // various
    "maximum block range",        // "requested too many blocks ... maximum block range"
    "max block range",            // Arbitrum proxies
    "eth_getlogs is limited to",  // QuickNode: "eth_getLogs is limited to a 10,000 range"
    "eth_getlogs requests with up to", // Alchemy: "You can make eth_getLogs requests with up to a 2K block range"
    "response size exceeded",     // Alchemy: "Log response size exceeded"
    "response size is larger than", // Alchemy: "Response size is larger than 150MB limit"
    "response too large",         // jsonrpsee based nodes
    "response is too big",        // jsonrpsee: "Response is too big"
    "result too large",           // various
    "too many results",           // various
    "too many logs",              // various
    "max results",                // reth: "query exceeds max results 20000"
    "logs matched by query exceeds limit", // Infura and forks of geth: "logs matched by query exceeds limit of 10000"
    "query timeout exceeded",     // Infura
    "query exceeds",              // reth: "query exceeds max block range 100000"
    "please limit the query",     // Moonbeam
    "limited to 0 - ",            // drpc: "ranges over 10000 blocks are not supported"
];

const ALSO_TOO_LARGE: [&str; 4] = ["ranges over", "request entity too large", "exceeded max limit", "limit exceeded"];

const UNKNOWN_BLOCK: [&str; 9] = [
    "unknown block",    // geth, anvil
    "header not found", // geth
    "block not found",  // erigon, nethermind, anvil
    "header for hash not found",
    "hash is not currently canonical",
    "cannot find block",
    "could not find block",
    "no block with",
    "resource not found",
];

const RATE_LIMIT: [&str; 10] = [
    "rate limit",
    "rate-limit",
    "ratelimit",
    "too many requests",
    "request limit",
    "throughput", // Alchemy: "exceeded its compute units per second capacity ... throughput"
    "compute units per second",
    "capacity exceeded",
    "daily request count", // Infura: "daily request count exceeded, request rate limited"
    "try again later",
];

/// JSON-RPC codes that mean one thing wherever they are used.
const CODE_LIMIT_EXCEEDED: i64 = -32_005;
const CODE_RATE_LIMIT_HTTP: i64 = 429;

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        let text = error.message.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let message = format!("{} (code {})", error.message, error.code);
        // Rate limits first: several providers use -32005 for both, and say "limit exceeded" for both.
        if error.code == CODE_RATE_LIMIT_HTTP || has(&RATE_LIMIT) {
            return Self::Busy { message, after: None };
        }
        if error.code == CODE_LIMIT_EXCEEDED || has(&TOO_LARGE) || has(&ALSO_TOO_LARGE) {
            return Self::TooLarge(message);
        }
        if has(&UNKNOWN_BLOCK) {
            return Self::UnknownBlock;
        }
        if text.contains("timeout") || text.contains("timed out") || text.contains("deadline exceeded") {
            return Self::TooLarge(message);
        }
        if error.code == -32_603 && text.contains("internal error") {
            return Self::Unreachable(message);
        }
        Self::Refused(message)
    }
}

/// How many blocks an endpoint takes at most, where its refusal says so for good: "up to a 2K block range", "maximum block range:
/// 5000", "limited to a 10,000 range". What it suggests for this one question (a range that should work) is no limit, and counts of
/// results are none either.
pub(super) fn range_limit(message: &str) -> Option<u64> {
    let text = message.to_lowercase();
    let words: Vec<&str> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == ',' || c == '_' || c == '.' || c == '-'))
        .map(|word| word.trim_matches(|c| c == ',' || c == '.'))
        .filter(|word| !word.is_empty())
        .collect();
    let word = |at: Option<usize>| at.and_then(|at| words.get(at)).copied().unwrap_or_default();
    words.iter().enumerate().find_map(|(i, number)| {
        let blocks = count(number)?;
        let (next, after) = (word(i.checked_add(1)), word(i.checked_add(2)));
        let (before, earlier) = (word(i.checked_sub(1)), word(i.checked_sub(2)));
        let followed =
            matches!(next, "block" | "blocks") || (next == "range" && before == "a") || (next.is_empty() && after.is_empty());
        let preceded = before == "range" || (earlier == "range" && matches!(before, "of" | "is" | "to" | "limit"));
        let of_results = ["results", "logs", "result", "log"].contains(&next);
        (blocks > 0 && !of_results && (preceded || (followed && text.contains("range") || next == "blocks"))).then_some(blocks)
    })
}

/// "2k", "10,000", "5000".
fn count(word: &str) -> Option<u64> {
    let word = word.replace([',', '_'], "");
    let (digits, factor) = match word.strip_suffix('k') {
        Some(digits) => (digits, 1_000),
        None => (word.as_str(), 1),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// An HTTP status that is no success and whose body was no JSON-RPC error.
pub(super) fn from_status(status: u16, after: Option<Duration>) -> Failure {
    let message = format!("HTTP status {status}");
    match status {
        429 => Failure::Busy { message, after },
        413 => Failure::TooLarge(message),
        401 | 403 => Failure::Refused(format!("{message}: the key or the address is not accepted")),
        400..=499 if status != 408 => Failure::Refused(message),
        _ => Failure::Unreachable(message),
    }
}

#[cfg(test)]
mod tests;
