//! Who signed a transaction and what it paid, from receipts.

use alloy::primitives::{Address, B256, U256};
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::json;

use super::{
    Inner,
    ask::Order,
    endpoint::{Endpoint, Request},
    errors::Failure,
    wire::{Fixed, Quantity},
};
use crate::{chain::ChainError, domain::record::Enrichment};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireReceipt {
    transaction_hash: Fixed<32>,
    block_hash: Fixed<32>,
    from: Fixed<20>,
    gas_used: Quantity,
    effective_gas_price: U256,
}

/// All receipts of the block in one request; where the endpoint has no such method, one by one.
pub(super) async fn of_block(inner: &Inner, block: B256, wanted: &[B256]) -> Result<Vec<(B256, Enrichment)>, ChainError> {
    let request = &Request::new("eth_getBlockReceipts", &json!([block]));
    let whole = |endpoint: std::sync::Arc<Endpoint>| async move {
        match endpoint.request::<Vec<WireReceipt>>(request).await {
            Ok(receipts) => Ok(receipts.ok_or(Failure::UnknownBlock)?),
            Err(Failure::Refused(_)) => one_by_one(&endpoint, wanted).await,
            Err(failure) => Err(failure),
        }
    };
    let receipts = inner.attempt(Order::Bulk, Some(block), whole).await?;
    let ours = |receipt: &WireReceipt| B256::from(receipt.block_hash.0) == block;
    if !receipts.iter().all(ours) {
        // Taken back and mined again elsewhere: nothing that is said of them is about this block.
        return Err(ChainError::UnknownBlock(block));
    }
    let enrichment = |receipt: WireReceipt| Enrichment {
        origin: Address::from(receipt.from.0),
        gas_used: receipt.gas_used.0,
        gas_price_wei: receipt.effective_gas_price,
    };
    let mut found: Vec<(B256, Enrichment)> = Vec::with_capacity(wanted.len());
    for receipt in receipts {
        let hash = B256::from(receipt.transaction_hash.0);
        if wanted.binary_search(&hash).is_ok() {
            found.push((hash, enrichment(receipt)));
        }
    }
    Ok(found)
}

async fn one_by_one(endpoint: &Endpoint, wanted: &[B256]) -> Result<Vec<WireReceipt>, Failure> {
    let one = |hash: &B256| {
        let request = Request::new("eth_getTransactionReceipt", &json!([hash]));
        async move { endpoint.request::<WireReceipt>(&request).await?.ok_or(Failure::UnknownBlock) }
    };
    try_join_all(wanted.iter().map(one)).await
}
