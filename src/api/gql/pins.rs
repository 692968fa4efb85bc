//! One request, one epoch: the first field that reads takes the pin, all others use it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_graphql::Context;
use tokio::sync::OnceCell;

use super::{
    core::{Core, core},
    error::ApiError,
    heights::Wanted,
};
use crate::{
    domain::ChainId,
    store::{Live, Pin},
};

/// How long `number_gte` waits: eight blocks of a 250 ms chain.
const HEIGHT_WAIT: Duration = Duration::from_secs(2);

/// Lives in the request's data. Cells are made on first use.
#[derive(Default)]
pub(super) struct Pins {
    wanted: Wanted,
    cells: Mutex<BTreeMap<ChainId, Arc<OnceCell<Arc<Pin>>>>>,
}

impl Pins {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { wanted, cells: Mutex::default() }
    }

    pub(super) fn is_subscription(&self) -> bool {
        self.wanted.subscription
    }

    /// The request's pin of a chain.
    pub(super) async fn pin(&self, core: &Core, chain: Option<ChainId>) -> Result<Arc<Pin>, ApiError> {
        let live = core.reader.live(chain)?;
        let cell = {
            let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
            cells.entry(live.chain).or_default().clone()
        };
        let only_chain = core.reader.chains().count() == 1;
        let height = self
            .wanted
            .heights
            .iter()
            .filter(|(asked, _)| asked.map_or(only_chain, |id| id == live.chain))
            .map(|(_, number)| *number)
            .max();
        let pin = cell
            .get_or_init(|| async {
                if let Some(number) = height {
                    wait_for(live, number).await;
                }
                Arc::new(live.pin())
            })
            .await;
        Ok(pin.clone())
    }

    /// Every pin that was taken.
    pub(super) fn taken(&self) -> Vec<Arc<Pin>> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.values().filter_map(|cell| cell.get().cloned()).collect()
    }
}

/// Until the head has this height, or the time is over: the argument's own check says which.
pub(super) async fn wait_for(live: &Live, number: u64) {
    let mut epochs = live.watch_epoch();
    let reached = async {
        while live.head().block.is_none_or(|b| b.number < number) {
            if epochs.changed().await.is_err() {
                return;
            }
        }
    };
    // Both outcomes are answers.
    let _ = tokio::time::timeout(HEIGHT_WAIT, reached).await;
}

/// The pin of the request that is being resolved.
pub(super) async fn pin(ctx: &Context<'_>, chain: Option<ChainId>) -> Result<Arc<Pin>, ApiError> {
    let core = core(ctx)?;
    match ctx.data_opt::<Arc<Pins>>() {
        Some(pins) => pins.pin(core, chain).await,
        None => Ok(Arc::new(core.reader.pin(chain)?)),
    }
}
