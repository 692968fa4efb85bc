//! The ways to prices: they grow with pools and tokens, whatever the epoch.

use std::sync::{Arc, PoisonError};

use super::Live;
use crate::domain::{
    dollars::{Anchors, Routes},
    pool::PoolMeta,
    token::TokenMeta,
};

impl Live {
    /// What everything is priced with; before anything is followed.
    pub fn price_with(&self, anchors: Anchors) {
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Routes::new(anchors));
    }

    /// A pool that may price its tokens, as soon as it has a view.
    pub fn learn_pool(&self, meta: &PoolMeta) {
        Arc::make_mut(&mut *self.routes.write().unwrap_or_else(PoisonError::into_inner)).add(meta);
    }

    /// Of these tokens, how many raw units of a stablecoin are a dollar.
    pub fn learn_decimals(&self, tokens: &[Arc<TokenMeta>]) {
        if tokens.is_empty() {
            return;
        }
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let routes = Arc::make_mut(&mut *routes);
        for (address, decimals) in tokens.iter().filter_map(|token| Some((&token.address, token.decimals?))) {
            routes.learn_decimals(address, decimals);
        }
    }

    /// Looks at the ways to prices. Nobody waits for whoever looks: a pool that is added meanwhile is added to a copy.
    pub fn with_routes<T>(&self, look: impl FnOnce(&Routes) -> T) -> T {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner).clone();
        look(&routes)
    }
}
