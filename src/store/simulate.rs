//! A sequence of swaps at a pinned block, each in the pools as the ones before left them.

use std::{collections::HashMap, sync::Arc};

use alloy::primitives::{Address, U256};

use super::{
    pin::Pin,
    view::{PoolStatus, PoolView},
};
use crate::domain::pool::{
    PoolId, PoolState,
    exchange::{NoSwap, Order},
    step::Amount,
    trade::{Traded, trade},
};

/// A swap that is thought of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub pool: PoolId,
    pub token_in: Address,
    pub amount: Amount,
    /// Q64.96, of a pool with ticks. `None`: as far as there is a price.
    pub limit: Option<U256>,
}

/// What it came to.
#[derive(Debug, Clone)]
pub struct Simulated {
    pub view: Arc<PoolView>,
    pub step: Step,
    pub traded: Traded,
}

/// Why a step cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoStep {
    #[error("there is no such pool")]
    NoPool,
    /// Its state is not of the block of the rest.
    #[error("the pool is being brought back to the newest block: try again in a moment")]
    Behind,
    #[error("the pool does not trade that token")]
    OtherToken,
    #[error(transparent)]
    NoSwap(#[from] NoSwap),
}

impl Pin {
    /// All of it, or nothing.
    ///
    /// # Errors
    /// The first step that cannot be done, by its place from 0, and why.
    pub fn simulate(&self, steps: &[Step]) -> Result<Vec<Simulated>, (usize, NoStep)> {
        let mut moved: HashMap<PoolId, PoolState> = HashMap::new();
        let mut all = Vec::with_capacity(steps.len());
        for (at, step) in steps.iter().enumerate() {
            let done = self.step(&moved, step).map_err(|reason| (at, reason))?;
            moved.insert(step.pool, done.traded.after.clone());
            all.push(done);
        }
        Ok(all)
    }

    fn step(&self, moved: &HashMap<PoolId, PoolState>, step: &Step) -> Result<Simulated, NoStep> {
        let view = self.pool(&step.pool).ok_or(NoStep::NoPool)?;
        if view.status != PoolStatus::Live {
            return Err(NoStep::Behind);
        }
        let down = step.token_in == view.meta.token0;
        if !down && step.token_in != view.meta.token1 {
            return Err(NoStep::OtherToken);
        }
        let state = moved.get(&step.pool).unwrap_or(&view.image.state);
        let traded = trade(&view.meta, state, Order { down, amount: step.amount, limit: step.limit })?;
        Ok(Simulated { view, step: *step, traded })
    }
}
