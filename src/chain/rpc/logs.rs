//! Logs, and the proof that they are what the chain has.

use std::{sync::Arc, time::Duration};

use alloy::primitives::{Address, B256};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    Inner,
    ask::Order,
    endpoint::{Endpoint, Request},
    errors::{self, Failure},
    header_of, header_request,
    wire::Quantity,
};
use crate::{
    chain::{
        BlockTag, ChainError, RangeLogs,
        verify::{self, BlockReceipt, PlacedLog, RangeBlock, Unproven},
    },
    config::Proof,
    domain::{
        block::{BlockRef, Header},
        event::RawLog,
    },
};

/// Every so many ranges, one is compared with a second endpoint.
const SAMPLE_ONE_IN: u64 = 16;

/// Headers that are fetched at once where logs do not say their block's time.
const HEADERS_AT_ONCE: usize = 8;

/// Parts of one range that are fetched at once where an endpoint allows only short ones.
const PARTS_AT_ONCE: usize = 4;

/// How long a node that answered nothing may take to show that it is alive.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a range request asks for.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    topics: Value,
    addresses: Value,
}

impl Filter {
    /// Empty lists mean all.
    pub(super) fn new(topic0: &[B256], addresses: &[Address]) -> Self {
        let topics = if topic0.is_empty() { Value::Null } else { json!([topic0]) };
        let addresses = if addresses.is_empty() { Value::Null } else { json!(addresses) };
        Self { topics, addresses }
    }

    fn request(&self, from: u64, to: u64) -> Request {
        let mut filter = json!({ "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}") });
        if let Some(fields) = filter.as_object_mut() {
            // Left out rather than null: some nodes refuse null.
            for (name, value) in [("topics", &self.topics), ("address", &self.addresses)] {
                if !value.is_null() {
                    fields.insert(name.to_owned(), value.clone());
                }
            }
        }
        Request::new("eth_getLogs", &json!([filter]))
    }
}

/// All logs of a block, proven; what does not fit is asked for again, elsewhere where there is an elsewhere.
pub(super) async fn of_block(inner: &Inner, header: &Header) -> Result<Vec<RawLog>, ChainError> {
    if header.has_no_receipts() && header.logs_bloom.is_zero() {
        return Ok(Vec::new());
    }
    let hash = header.block.hash;
    inner
        .attempt(Order::Head, Some(hash), |endpoint| async move {
            proven(&endpoint, header, inner.proof).await?.map_err(|unproven| {
                tracing::warn!(endpoint = %endpoint.label, block = header.block.number, %hash, %unproven, "logs do not fit the header");
                Failure::Contradiction(format!("block {} ({hash}): {unproven}", header.block.number))
            })
        })
        .await
}

/// What one endpoint says are the logs of a block, and whether they are.
pub(super) async fn proven(endpoint: &Endpoint, header: &Header, proof: Proof) -> Result<Result<Vec<RawLog>, Unproven>, Failure> {
    let hash = header.block.hash;
    Ok(match proof {
        Proof::Bloom => {
            let request = Request::new("eth_getLogs", &json!([{ "blockHash": hash }]));
            let logs: Vec<PlacedLog> = endpoint.request(&request).await?.ok_or(Failure::UnknownBlock)?;
            verify::block(header, logs)
        }
        Proof::Receipts => {
            let request = Request::new("eth_getBlockReceipts", &json!([hash]));
            let receipts: Vec<BlockReceipt> = endpoint.request(&request).await?.ok_or(Failure::UnknownBlock)?;
            verify::receipts(header, receipts)
        }
    })
}

/// The filtered logs of a settled range, grouped by block.
pub(super) async fn of_range(inner: &Inner, from: u64, to: u64, filter: &Filter) -> Result<RangeLogs, ChainError> {
    if from > to {
        return Err(ChainError::Refused(format!("the range {from}..={to} is empty")));
    }
    inner
        .attempt(Order::Bulk, None, |endpoint| async move {
            let answer = range_from(&endpoint, from, to, filter).await?;
            if is_sampled(from)
                && let Some(witness) = witness(inner, &endpoint)
            {
                confirm(&witness, from, to, filter, &answer).await?;
            }
            Ok(answer)
        })
        .await
}

async fn range_from(endpoint: &Arc<Endpoint>, from: u64, to: u64, filter: &Filter) -> Result<RangeLogs, Failure> {
    let end = async {
        let header = header_of(endpoint, &header_request(BlockTag::Number(to)), false).await?;
        Ok(header.ok_or_else(|| Failure::Unreachable(format!("has no block {to} yet")))?.block)
    };
    let (logs, end): (Vec<PlacedLog>, BlockRef) = tokio::try_join!(fetch(endpoint, from, to, filter), end)?;
    if end.number != to {
        return Err(Failure::Contradiction(format!("asked for block {to}, got {}", end.number)));
    }
    let blocks = verify::range(from, &end, logs).map_err(|unproven| {
        tracing::warn!(endpoint = %endpoint.label, from, to, %unproven, "logs of a range do not fit");
        Failure::Contradiction(format!("blocks {from} to {to}: {unproven}"))
    })?;
    let blocks = stream::iter(blocks).map(|block| dated(endpoint, end, block)).buffered(HEADERS_AT_ONCE).try_collect().await?;
    Ok(RangeLogs { blocks, end })
}

/// The logs. An endpoint that says how many blocks it takes is asked again in parts, and from then on always so.
async fn fetch(endpoint: &Endpoint, from: u64, to: u64, filter: &Filter) -> Result<Vec<PlacedLog>, Failure> {
    loop {
        match in_parts(endpoint, from, to, filter).await {
            Err(Failure::TooLarge(text))
                if errors::range_limit(&text).is_some_and(|blocks| endpoint.learn_logs_range(blocks)) => {}
            answer => return answer,
        }
    }
}

/// In parts where the endpoint allows only short ranges.
async fn in_parts(endpoint: &Endpoint, from: u64, to: u64, filter: &Filter) -> Result<Vec<PlacedLog>, Failure> {
    let width = endpoint.logs_range().unwrap_or(u64::MAX);
    let mut starts = vec![from];
    while let Some(next) = starts.last().and_then(|start| start.checked_add(width)).filter(|next| *next <= to) {
        starts.push(next);
    }
    let parts: Vec<Vec<PlacedLog>> = stream::iter(starts)
        .map(|start| async move {
            let end = start.saturating_add(width.saturating_sub(1)).min(to);
            match endpoint.request(&filter.request(start, end)).await {
                Ok(logs) => Ok(logs.unwrap_or_default()),
                Err(Failure::Timeout(after)) if end > start => Err(slow_or_dead(endpoint, after).await),
                Err(failure) => Err(failure),
            }
        })
        .buffered(PARTS_AT_ONCE)
        .try_collect()
        .await?;
    let mut parts = parts.into_iter();
    let mut all = parts.next().unwrap_or_default();
    all.extend(parts.flatten());
    Ok(all)
}

/// A range that got no answer from a node that is alive is too large.
async fn slow_or_dead(endpoint: &Endpoint, after: Duration) -> Failure {
    let request = Request::new("eth_blockNumber", &json!([]));
    match timeout(ALIVE_TIMEOUT, endpoint.request::<Quantity>(&request)).await {
        Ok(Ok(_)) => Failure::TooLarge(format!("no answer within {after:?}")),
        _ => Failure::Timeout(after),
    }
}

/// A block of the answer with its time, from its logs or else from its header.
async fn dated(endpoint: &Endpoint, end: BlockRef, block: RangeBlock) -> Result<(BlockRef, Vec<RawLog>), Failure> {
    let RangeBlock { number, hash, timestamp, logs } = block;
    if number == end.number {
        return Ok((end, logs));
    }
    if let Some(timestamp) = timestamp {
        return Ok((BlockRef { number, hash, parent_hash: B256::ZERO, timestamp }, logs));
    }
    match header_of(endpoint, &header_request(BlockTag::Number(number)), false).await? {
        Some(header) if header.block.hash == hash => Ok((header.block, logs)),
        _ => Err(Failure::Contradiction(format!("block {number} is not the one its logs name ({hash})"))),
    }
}

/// The same ranges are sampled in every run: a failure can be repeated.
fn is_sampled(from: u64) -> bool {
    // SplitMix64, so that ranges of a power of two do not always hit or miss.
    let mut z = from.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).is_multiple_of(SAMPLE_ONE_IN)
}

/// The best endpoint of another host.
fn witness(inner: &Inner, asked: &Endpoint) -> Option<Arc<Endpoint>> {
    inner.ordered(Order::Bulk).into_iter().find(|other| other.label != asked.label)
}

/// A witness that does not answer proves nothing; one that answers something else does.
async fn confirm(witness: &Arc<Endpoint>, from: u64, to: u64, filter: &Filter, answer: &RangeLogs) -> Result<(), Failure> {
    match range_from(witness, from, to, filter).await {
        Ok(other) if same(&other, answer) => Ok(()),
        Ok(other) => {
            let (ours, theirs) = (count(answer), count(&other));
            tracing::warn!(witness = %witness.label, from, to, ours, theirs, "two endpoints disagree about a settled range");
            Err(Failure::Contradiction(format!(
                "{} has {theirs} logs in blocks {from} to {to} instead of {ours}, or others",
                witness.label
            )))
        }
        Err(failure) => {
            tracing::debug!(witness = %witness.label, from, to, %failure, "the sample could not be compared");
            Ok(())
        }
    }
}

/// Parent hashes are not compared: they are there or not, depending on how a time was found.
fn same(a: &RangeLogs, b: &RangeLogs) -> bool {
    a.end == b.end
        && a.blocks.len() == b.blocks.len()
        && a.blocks.iter().zip(&b.blocks).all(|((x, xs), (y, ys))| (x.hash, x.timestamp) == (y.hash, y.timestamp) && xs == ys)
}

fn count(range: &RangeLogs) -> usize {
    range.blocks.iter().map(|(_, logs)| logs.len()).sum()
}
