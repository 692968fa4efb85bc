//! Contracts that quotes need: routers and quoters, and the node that is asked.

use std::sync::Arc;

use alloy::primitives::{Address, B256, Bytes};
use futures_util::future::BoxFuture;

use crate::{
    chain::{CallOutcome, ChainSource},
    config::ChainConfig,
    store::{node::Node, quote::Routers},
};

/// Whom quotes name, and whom they ask.
pub(super) fn routers(chain: &ChainConfig) -> Routers {
    let by_dex = chain.dex.iter().filter_map(|dex| Some((dex.name.clone(), dex.router?))).collect();
    let quoters = chain.dex.iter().filter_map(|dex| Some((dex.name.clone(), dex.quoter?))).collect();
    Routers { universal: chain.universal_router, by_dex, quoters }
}

/// The node, for whoever answers requests.
pub(super) struct Calls(pub(super) Arc<dyn ChainSource>);

impl Node for Calls {
    fn call(&self, at: B256, to: Address, data: Bytes) -> BoxFuture<'_, Result<Option<Bytes>, String>> {
        Box::pin(async move {
            match self.0.call(at, to, data).await {
                Ok(CallOutcome::Returned(answer)) => Ok(Some(answer)),
                Ok(CallOutcome::Failed) => Ok(None),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}
