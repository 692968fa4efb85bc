//! `swaptide audit`: what the engine and its store say, against the chain.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    sync::Arc,
};

use serde::Serialize;
use swaptide::{
    app,
    audit::{self, RowReport},
    chain::ChainSource,
    config::{ChainConfig, Config},
    telemetry::progress::Progress,
};

/// A reorg may take the block while it is compared; then a newer state is asked for.
const AUDIT_TRIES: usize = 5;

/// What is to be compared, and how it is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct What {
    pub(crate) events: bool,
    pub(crate) from: Option<u64>,
    pub(crate) to: Option<u64>,
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct Found {
    /// `None`: no engine runs, and that was not needed.
    #[serde(flatten)]
    state: Option<audit::Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<RowReport>,
}

impl Found {
    fn is_equal(&self) -> bool {
        self.state.as_ref().is_none_or(audit::Report::is_equal) && self.events.as_ref().is_none_or(RowReport::is_equal)
    }
}

pub(crate) fn run(runtime: &tokio::runtime::Runtime, config: &Config, what: What) -> Result<ExitCode, String> {
    let mut worst = 0;
    for chain in &config.chain {
        worst = worst.max(audit_chain(runtime, config, chain, what)?);
    }
    Ok(ExitCode::from(worst))
}

/// Prints the report of one chain; the exit code that it asks for.
fn audit_chain(runtime: &tokio::runtime::Runtime, config: &Config, chain: &ChainConfig, what: What) -> Result<u8, String> {
    let source: Arc<dyn ChainSource> = Arc::new(app::source(chain).map_err(|e| e.to_string())?);
    let state = match runtime.block_on(audit_running(source.as_ref(), config, chain)) {
        Ok(report) => Some(report),
        Err(NoReport::NoEngine(url)) if what.events => {
            tracing::info!("no engine answers at {url}: what is in memory is not compared");
            None
        }
        Err(NoReport::NoEngine(url)) => {
            return Err(format!(
                "no engine answers at {url}: start it with `swaptide run`, or compare what is stored with --events"
            ));
        }
        Err(NoReport::Trouble(reason)) => return Err(reason),
    };
    let events = if what.events { Some(runtime.block_on(audit_stored(source, config, chain, what))?) } else { None };
    let found = Found { state, events };
    if what.json {
        say_line!("{}", serde_json::to_string_pretty(&found).map_err(|e| e.to_string())?);
    } else {
        if config.chain.len() > 1 {
            say_line!("{} ({})", chain.name, chain.id);
        }
        found.state.iter().for_each(tell_state);
        found.events.iter().for_each(tell_events);
    }
    let nothing = found.state.as_ref().is_some_and(|report| report.is_equal() && report.compared == 0);
    if nothing && found.events.is_none() {
        return Err(format!(
            "chain {}: nothing was compared: the engine serves no pool. Its log says which factories have none",
            chain.id
        ));
    }
    Ok(if found.is_equal() { 0 } else { 2 })
}

fn verdict(is_equal: bool) -> &'static str {
    if is_equal { "equal to the chain" } else { "DRIFT" }
}

fn tell_state(report: &audit::Report) {
    say_line!(
        "block {} {}: {} pools with {} ticks, {} positions and {} tokens of positions compared, {}",
        report.block_number,
        report.block_hash,
        report.compared,
        report.ticks,
        report.positions,
        report.tokens,
        verdict(report.is_equal())
    );
    report.skipped.iter().for_each(|reason| say_line!("  not compared: {reason}"));
    for pool in &report.drifts {
        for drift in &pool.drifts {
            say_line!("  {} {}: ours {}, chain {}", pool.pool, drift.field, drift.ours, drift.chain);
        }
    }
}

fn tell_events(report: &RowReport) {
    let (from, to, events) = (report.from_block, report.to_block, report.events);
    say_line!("blocks {from} to {to}: {events} stored events compared, {}", verdict(report.is_equal()));
    for drift in &report.drifts {
        let place = drift.log_index.map_or_else(String::new, |log_index| format!(" log {log_index}"));
        let pool = drift.pool.map_or_else(String::new, |pool| format!(" of {pool}"));
        say_line!("  block {}{place}{pool}:\n    stored {}\n    chain  {}", drift.block_number, drift.found, drift.expected);
    }
    let more = report.drift_count.saturating_sub(u64::try_from(report.drifts.len()).unwrap_or(u64::MAX));
    if more > 0 {
        say_line!("  and {more} more");
    }
}

enum NoReport {
    NoEngine(String),
    Trouble(String),
}

async fn audit_running(source: &dyn ChainSource, config: &Config, chain: &ChainConfig) -> Result<audit::Report, NoReport> {
    let url = format!("http://{}/admin/state?chain={}", config.admin.listen, chain.id);
    let mut last = String::new();
    for _ in 0..AUDIT_TRIES {
        let answer = reqwest::get(&url).await.map_err(|_| NoReport::NoEngine(url.clone()))?;
        let state = answer.json().await;
        let state: audit::StateAt = state.map_err(|e| NoReport::Trouble(format!("the engine is not ready yet: {e}")))?;
        match audit::compare_state(source, &state).await {
            Ok(report) => return Ok(report),
            Err(error) => last = error.to_string(),
        }
    }
    Err(NoReport::Trouble(format!("the contracts could not be asked: {last}")))
}

async fn audit_stored(
    source: Arc<dyn ChainSource>,
    config: &Config,
    chain: &ChainConfig,
    what: What,
) -> Result<RowReport, String> {
    let history = app::stored(config).await.map_err(|e| e.to_string())?;
    let mut progress = None;
    let told = |done: u64, total: u64| {
        let bar = progress.get_or_insert_with(|| {
            let is_terminal = std::io::stderr().is_terminal() && !what.json;
            Progress::start(&format!("{}: comparing", chain.name), 1, total, is_terminal)
        });
        bar.advance(1, 0);
        let _ = done;
    };
    let report =
        audit::compare_rows(source, history.as_ref(), (chain.id, &app::dex_specs(chain)), (what.from, what.to), told).await;
    if let Some(progress) = progress {
        progress.finish();
    }
    report.map_err(|error| format!("chain {}: {error}", chain.id))
}
