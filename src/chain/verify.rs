//! Does an answer prove itself? Pure checks; what to do about a failure is for the caller.
//!
//! A bloom compared with *filtered* logs proves nothing: it is recomputed from all logs of a block and must be equal. Equal, it proves which
//! contracts said what, and not how often: where the last logs of a block repeat what was said before, it does not miss them. The root of
//! the receipts proves everything.

use std::collections::HashSet;

use alloy::{
    consensus::{Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom, TxType, proofs::ordered_trie_root_encoded},
    eips::eip2718::Encodable2718 as _,
    primitives::{B256, Bloom, BloomInput, Log, LogData},
    rlp::{Encodable as _, Header as ListHeader},
};

use crate::domain::{
    block::{BlockRef, Header},
    event::RawLog,
};

/// A log together with the block that it claims to be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedLog {
    pub block_number: u64,
    pub block_hash: B256,
    /// Seconds; not every node says it with the log.
    pub block_timestamp: Option<u64>,
    /// The node says that a reorg took it.
    pub removed: bool,
    pub log: RawLog,
}

/// How an answer contradicts the chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("the bloom of its {logs} logs is not the header's")]
    Bloom { logs: usize },
    #[error("log {log_index} belongs to another block")]
    OtherBlock { log_index: u64 },
    #[error("log {log_index} is marked as removed")]
    Removed { log_index: u64 },
    #[error("log {log_index} appears twice with different content")]
    Twice { log_index: u64 },
    #[error("log {missing} is missing: logs of a block are numbered without a gap")]
    Gap { missing: u64 },
    #[error("the root of its {receipts} receipts is not the header's")]
    Root { receipts: usize },
    #[error("its header says no root of receipts")]
    NoRoot,
    #[error("it has a receipt of type {kind}, which is not known here")]
    ReceiptKind { kind: u8 },
    #[error("block {number} is outside the range that was asked for")]
    OutOfRange { number: u64 },
    #[error("block {number} has two hashes")]
    TwoHashes { number: u64 },
    #[error("block {number} has two timestamps")]
    TwoTimestamps { number: u64 },
    #[error("logs of block {number} are out of order")]
    Order { number: u64 },
    #[error("the logs of the last block {number} carry another hash than its header")]
    EndHash { number: u64 },
}

/// The bloom of exactly these logs (yellow paper, section 4.4.1).
#[must_use]
pub fn bloom(logs: &[RawLog]) -> Bloom {
    let mut bloom = Bloom::ZERO;
    // The same tokens and topics come again and again: each is hashed once.
    let mut seen: HashSet<&[u8]> = HashSet::with_capacity(logs.len());
    for log in logs {
        let parts = std::iter::once(log.address.as_slice()).chain(log.topics.iter().map(|t| t.as_slice()));
        for part in parts {
            if seen.insert(part) {
                bloom.accrue(BloomInput::Raw(part));
            }
        }
    }
    bloom
}

/// All logs of one block, proven complete: sorted, each once, of this block, and with exactly its bloom. Order and exact
/// repeats are mended, because they lose nothing.
pub fn block(header: &Header, mut logs: Vec<PlacedLog>) -> Result<Vec<RawLog>, Unproven> {
    for placed in &logs {
        let log_index = placed.log.log_index;
        if placed.block_hash != header.block.hash || placed.block_number != header.block.number {
            return Err(Unproven::OtherBlock { log_index });
        }
        if placed.removed {
            return Err(Unproven::Removed { log_index });
        }
    }
    logs.sort_by_key(|placed| placed.log.log_index);
    logs.dedup_by(|b, a| a == b);
    for (a, b) in logs.iter().zip(logs.iter().skip(1)) {
        if a.log.log_index >= b.log.log_index {
            return Err(Unproven::Twice { log_index: b.log.log_index });
        }
    }
    let logs: Vec<RawLog> = logs.into_iter().map(|placed| placed.log).collect();
    if bloom(&logs) != *header.logs_bloom {
        return Err(Unproven::Bloom { logs: logs.len() });
    }
    without_a_gap(&logs)?;
    Ok(logs)
}

/// A node numbers the logs of a block from 0 on, over all its transactions.
fn without_a_gap(logs: &[RawLog]) -> Result<(), Unproven> {
    match (0..).zip(logs).find(|(place, log)| *place != log.log_index) {
        Some((missing, _)) => Err(Unproven::Gap { missing }),
        None => Ok(()),
    }
}

/// What a receipt says of its transaction, in the words of its proof.
#[derive(Debug, Clone)]
pub struct BlockReceipt {
    /// EIP-2718 type of the transaction.
    pub kind: u8,
    /// Since Byzantium whether it succeeded, before that the root of the state after it.
    pub outcome: Eip658Value,
    /// Of all transactions of the block up to this one.
    pub gas_used: u64,
    pub bloom: Bloom,
    pub logs: Vec<PlacedLog>,
    /// Deposits of the OP stack: nonce and version, as far as they are there.
    pub deposit: Vec<u64>,
}

/// A deposit of the OP stack, which has two fields more than others.
const DEPOSIT: u8 = 0x7e;

/// All logs of one block, proven to be exactly these by the header's root of its receipts (yellow paper, section 4.4.1; EIP-2718).
pub fn receipts(header: &Header, receipts: Vec<BlockReceipt>) -> Result<Vec<RawLog>, Unproven> {
    let expected = header.receipts_root.ok_or(Unproven::NoRoot)?;
    let encoded = receipts.iter().map(encoded).collect::<Result<Vec<_>, _>>()?;
    if ordered_trie_root_encoded(&encoded) != expected {
        return Err(Unproven::Root { receipts: receipts.len() });
    }
    let logs: Vec<RawLog> = receipts.into_iter().flat_map(|receipt| receipt.logs).map(|placed| placed.log).collect();
    // Numbers are not part of the proof.
    without_a_gap(&logs)?;
    Ok(logs)
}

fn encoded(receipt: &BlockReceipt) -> Result<Vec<u8>, Unproven> {
    let log = |placed: &PlacedLog| {
        let log = &placed.log;
        Log { address: log.address, data: LogData::new_unchecked(log.topics.clone(), log.data.clone()) }
    };
    let logs: Vec<Log> = receipt.logs.iter().map(log).collect();
    let fields = Receipt { status: receipt.outcome, cumulative_gas_used: receipt.gas_used, logs };
    let mut out = Vec::new();
    if receipt.kind == DEPOSIT {
        let payload_length = fields.rlp_encoded_fields_length_with_bloom(&receipt.bloom)
            + receipt.deposit.iter().map(alloy::rlp::Encodable::length).sum::<usize>();
        out.push(DEPOSIT);
        ListHeader { list: true, payload_length }.encode(&mut out);
        fields.rlp_encode_fields_with_bloom(&receipt.bloom, &mut out);
        receipt.deposit.iter().for_each(|field| field.encode(&mut out));
        return Ok(out);
    }
    let kind = TxType::try_from(receipt.kind).map_err(|_| Unproven::ReceiptKind { kind: receipt.kind })?;
    let with_bloom = ReceiptWithBloom { receipt: fields, logs_bloom: receipt.bloom };
    ReceiptEnvelope::from_typed(kind, with_bloom).encode_2718(&mut out);
    Ok(out)
}

/// One block of a range answer; the timestamp is there where the logs said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeBlock {
    pub number: u64,
    pub hash: B256,
    pub timestamp: Option<u64>,
    pub logs: Vec<RawLog>,
}

/// Groups a filtered range answer by block: within the range, in chain order, one hash per block, and the last block's logs
/// carry the hash of `end`. That nothing is missing cannot be proven here.
pub fn range(from: u64, end: &BlockRef, logs: Vec<PlacedLog>) -> Result<Vec<RangeBlock>, Unproven> {
    let mut blocks: Vec<RangeBlock> = Vec::new();
    for placed in logs {
        let number = placed.block_number;
        if number < from || number > end.number {
            return Err(Unproven::OutOfRange { number });
        }
        if placed.removed {
            return Err(Unproven::Removed { log_index: placed.log.log_index });
        }
        if number == end.number && placed.block_hash != end.hash {
            return Err(Unproven::EndHash { number });
        }
        match blocks.last_mut() {
            Some(block) if block.number == number => {
                if block.hash != placed.block_hash {
                    return Err(Unproven::TwoHashes { number });
                }
                if block.timestamp != placed.block_timestamp {
                    return Err(Unproven::TwoTimestamps { number });
                }
                match block.logs.last() {
                    Some(last) if last == &placed.log => {} // an exact repeat
                    Some(last) if last.log_index >= placed.log.log_index => return Err(Unproven::Order { number }),
                    _ => block.logs.push(placed.log),
                }
            }
            Some(block) if block.number > number => return Err(Unproven::Order { number }),
            _ => blocks.push(RangeBlock {
                number,
                hash: placed.block_hash,
                timestamp: placed.block_timestamp,
                logs: vec![placed.log],
            }),
        }
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests;
