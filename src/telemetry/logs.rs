//! Log lines: text for people, JSON for collectors. `RUST_LOG` narrows them.

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Installs the process-wide subscriber once; a second call changes nothing (tests share a process).
pub fn init(json: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,alloy=error,alloy_transport_ws=off,alloy_pubsub=off,alloy_rpc_client=error"));
    let registry = tracing_subscriber::registry().with(filter);
    let installed = if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
    } else {
        let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
        registry.with(fmt::layer().with_target(false).with_ansi(ansi).with_writer(std::io::stderr)).try_init()
    };
    // Already installed: the first caller's choice stands.
    drop(installed);
}
