//! `swaptide doctor`: can this configuration run here? One table of what was looked at, with what to do where something is wrong.
//!
//! Read [`endpoints`], [`contracts`] and [`table`]; the store says for itself. It only reads: nothing is written to a store, no
//! transaction is sent, and it may run beside the engine. What is absent: load, and anything that a second look would be needed for.

mod contracts;
mod endpoints;
mod secrets;
pub mod table;

use std::path::Path;

use alloy::primitives::B256;
use futures_util::future::join_all;

use self::{
    secrets::Secrets,
    table::{Report, Row},
};
use crate::{
    app,
    chain::rpc::{RpcSource, probe::EndpointReport},
    config::{ChainConfig, Config},
    store::{
        inspect::{Inspection, Wanted},
        mongo, sqlite,
    },
};

/// One question to one endpoint. A dead one costs this once.
const CALL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(4);

/// One chain, as its endpoints are.
struct Examined<'a> {
    chain: &'a ChainConfig,
    endpoints: Vec<EndpointReport>,
    /// Of the first endpoint that knows block 0.
    genesis: Option<B256>,
}

/// Looks at every endpoint of every chain, the store, and the contracts that are named.
pub async fn examine(config: &Config, file: &Path) -> Report {
    let names: Vec<String> = config.chain.iter().map(|c| format!("{} ({})", c.name, c.id)).collect();
    let mut report = Report::default();
    report.add(Row::ok("configuration", "file", format!("{}: {}", file.display(), names.join(", "))));

    let examined = join_all(config.chain.iter().map(probe)).await;
    let wanted: Vec<Wanted> = examined.iter().map(|e| (e.chain.id, e.genesis)).collect();
    let (place, inspection) = inspect(config, &wanted).await;
    let contracts = join_all(examined.iter().map(|e| contracts::judge(e, inspection.chains.contains(&e.chain.id)))).await;

    let now_unix_s = app::now_unix_s();
    let endpoints = examined.iter().flat_map(|chain| endpoints::judge(chain, now_unix_s));
    let store = inspection.checks.into_iter().map(|check| match check.outcome {
        Ok(said) => Row::ok(place, check.name, said),
        Err(error) => Row::fail(place, check.name, error.to_string()),
    });
    let secrets = Secrets::of(config);
    for row in endpoints.chain(store).chain(contracts.into_iter().flatten()) {
        report.add(Row { detail: secrets.hide(row.detail), ..row });
    }
    report
}

/// The report of a configuration that cannot be read: there is nothing else to look at.
#[must_use]
pub fn unreadable(error: &str) -> Report {
    let mut report = Report::default();
    report.add(Row::fail("configuration", "file", error.to_owned()));
    report
}

async fn probe(chain: &ChainConfig) -> Examined<'_> {
    let endpoints = match source(chain, |_| true) {
        Some(source) => source.probe().await,
        None => Vec::new(),
    };
    let genesis = endpoints.iter().filter_map(|e| endpoints::abilities(e)?.genesis.clone().ok()).next();
    Examined { chain, endpoints, genesis }
}

/// Those endpoints of a chain, asked once and not for long. `None`: there are none.
fn source(chain: &ChainConfig, which: impl Fn(usize) -> bool) -> Option<RpcSource> {
    let mut config = app::rpc_config(chain);
    config.call_timeout = CALL_TIMEOUT;
    config.retries = 0;
    config.urls = config.urls.into_iter().enumerate().filter(|(index, _)| which(*index)).map(|(_, url)| url).collect();
    // The URLs are checked with the configuration.
    RpcSource::new(config).ok()
}

async fn inspect(config: &Config, wanted: &[Wanted]) -> (&'static str, Inspection) {
    match config.store.url.strip_prefix("sqlite:") {
        Some(path) => ("store SQLite", sqlite::inspect(Path::new(path), wanted).await),
        None => ("store MongoDB", mongo::inspect(app::mongo_config(&config.store), wanted).await),
    }
}
