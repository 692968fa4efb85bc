//! Contracts that quotes need: routers and quoters, and the node that is asked.

use std::sync::Arc;

use alloy::primitives::{Address, B256, Bytes};
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

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
pub(super) struct Calls {
    source: Arc<dyn ChainSource>,
    places: Semaphore,
}

/// Questions of clients that are under way at once: what follows the chain must not wait for them.
const CALLS_MAX: usize = 8;

impl Calls {
    pub(super) fn new(source: Arc<dyn ChainSource>) -> Self {
        Self { source, places: Semaphore::new(CALLS_MAX) }
    }
}

impl Node for Calls {
    fn call(&self, at: B256, to: Address, data: Bytes) -> BoxFuture<'_, Result<Option<Bytes>, String>> {
        Box::pin(async move {
            let Ok(_place) = self.places.try_acquire() else {
                return Err(format!("{CALLS_MAX} questions of clients are under way"));
            };
            match self.source.call(at, Some(to), data).await {
                Ok(CallOutcome::Returned(answer)) => Ok(Some(answer)),
                Ok(CallOutcome::Failed) => Ok(None),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}
