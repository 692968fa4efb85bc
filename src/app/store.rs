//! Which store a run works on: the configured one; while a MongoDB does not answer at the start, one that stands in for it.
//!
//! A stand-in is an empty SQLite database in the temporary folder: the run begins as on a new store, from `start_block`, and all of
//! it works. It ends with the run, and nothing is lost with it: the run that follows, on the configured store, reads from the chain
//! what that lacks.

use std::{path::Path, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{Exit, Node, mongo_config};
use crate::{
    config::{ChainConfig, Config},
    store::{
        History, StoreError,
        keep::Keep,
        lease::{Lease, Leased, Owner},
        mongo::{MongoHistory, MongoKeep},
        sqlite::{SqliteHistory, SqliteKeep},
    },
};

/// How often a store that is away is asked, beside the driver's own patience.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What a run writes to.
pub(super) struct Opened {
    pub(super) history: Arc<dyn History>,
    pub(super) lease: Lease,
    pub(super) stand_in: Option<StandIn>,
}

/// Deletes its database when it is dropped.
pub(super) struct StandIn(#[expect(dead_code, reason = "held for its Drop")] TempDir);

/// The configured store, or a stand-in; `None`: `shutdown` came first.
pub(super) async fn open(config: &Config, nodes: &[Node], shutdown: &CancellationToken) -> Result<Option<Opened>, Exit> {
    // It may wait for another process that migrates: a signal ends that, too.
    tokio::select! {
        opened = choose(config, nodes) => opened.map(Some),
        () = shutdown.cancelled() => Ok(None),
    }
}

/// Waits until the configured store answers, and opens it. Whatever is wrong with it meanwhile, a stand-in goes on.
pub(super) async fn opened(config: &Config, nodes: &[Node]) -> Opened {
    let mut told = None;
    loop {
        let trouble = match mongodb(config).await {
            Ok(Ok(history)) => {
                let history = Arc::new(history);
                match claim(history.as_ref(), &config.chain, nodes).await {
                    Ok(lease) => return Opened { lease, history, stand_in: None },
                    Err(exit) => Some(exit.0),
                }
            }
            Ok(Err(_)) => None,
            Err(exit) => Some(exit.0),
        };
        if let Some(reason) = trouble.filter(|reason| told.as_ref() != Some(reason)) {
            tracing::warn!(reason, "MongoDB answers and cannot be used: it is tried again");
            told = Some(reason);
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Where recorded prices are: beside the chain's database, and there whatever becomes of that. Touches nothing yet.
pub(super) async fn keep(config: &Config) -> Result<Arc<dyn Keep>, Exit> {
    match config.store.url.strip_prefix("sqlite:") {
        Some(path) => Ok(Arc::new(SqliteKeep::beside(Path::new(path)))),
        None => Ok(Arc::new(MongoKeep::open(mongo_config(&config.store)).await.map_err(told)?)),
    }
}

async fn choose(config: &Config, nodes: &[Node]) -> Result<Opened, Exit> {
    if let Some(path) = config.store.url.strip_prefix("sqlite:") {
        let history = Arc::new(SqliteHistory::open(Path::new(path)).map_err(told)?);
        return Ok(Opened { lease: claim(history.as_ref(), &config.chain, nodes).await?, history, stand_in: None });
    }
    let reason = match mongodb(config).await? {
        Ok(history) => {
            let history = Arc::new(history);
            return Ok(Opened { lease: claim(history.as_ref(), &config.chain, nodes).await?, history, stand_in: None });
        }
        Err(reason) => reason,
    };
    let folder = tempfile::tempdir();
    let folder = folder.map_err(|e| Exit(format!("{reason}. Nothing can stand in for it: no temporary folder ({e})")))?;
    let history = Arc::new(SqliteHistory::open(&folder.path().join("stand-in.db")).map_err(told)?);
    tracing::warn!(
        reason,
        "serving without the store until it answers: from `start_block` on, and nothing of it outlives this process"
    );
    let stand_in = Some(StandIn(folder));
    Ok(Opened { lease: claim(history.as_ref(), &config.chain, nodes).await?, history, stand_in })
}

/// Or why it is away. Where it answers and refuses us, waiting would not help.
async fn mongodb(config: &Config) -> Result<Result<MongoHistory, String>, Exit> {
    match MongoHistory::open(mongo_config(&config.store)).await {
        Ok(history) => Ok(history.away().await.map_err(told)?.map_or(Ok(history), Err)),
        // A name that cannot be looked up now.
        Err(StoreError::Unavailable(reason)) => Ok(Err(reason)),
        Err(error) => Err(told(error)),
    }
}

/// The configured store as it is, to be read. Whoever writes to it goes on.
pub(super) async fn read_only(config: &Config, nodes: &[Node]) -> Result<Arc<dyn History>, Exit> {
    let history: Arc<dyn History> = match config.store.url.strip_prefix("sqlite:").map(Path::new) {
        Some(path) if !path.exists() => {
            return Err(Exit(format!(
                "there is no database `{}`: run it where the engine runs, or name another file",
                path.display()
            )));
        }
        Some(path) => Arc::new(SqliteHistory::open(path).map_err(told)?),
        None => Arc::new(mongodb(config).await?.map_err(Exit)?),
    };
    belongs(history.as_ref(), &config.chain, nodes).await?;
    Ok(history)
}

/// Who writes, once the database belongs to these chains.
async fn claim(history: &dyn History, chains: &[ChainConfig], nodes: &[Node]) -> Result<Lease, Exit> {
    belongs(history, chains, nodes).await?;
    match history.lease(&Owner::here(), None).await.map_err(told)? {
        Leased::Ours(fence) => Ok(Lease::new(Some(fence))),
        Leased::Theirs { owner, .. } => {
            tracing::info!(
                owner,
                "another instance writes to the store: this one follows the chain and serves, and takes over from it"
            );
            Ok(Lease::new(None))
        }
    }
}

async fn belongs(history: &dyn History, chains: &[ChainConfig], nodes: &[Node]) -> Result<(), Exit> {
    // A chain joins a database only beside chains that this process serves: those that are there already are found first.
    let mut unknown = Vec::new();
    for (chain, node) in chains.iter().zip(nodes) {
        match history.claim(chain.id, node.genesis).await {
            Err(StoreError::Foreign(_)) => unknown.push((chain.id, node.genesis)),
            claimed => claimed.map_err(told)?,
        }
    }
    for (chain, genesis) in unknown {
        history.claim(chain, genesis).await.map_err(told)?;
    }
    Ok(())
}

fn told(error: StoreError) -> Exit {
    Exit(error.to_string())
}
