//! Commands, and the exit codes that they end with: 0 done, 1 failed, 2 the audit found drift.

#![expect(clippy::print_stderr, reason = "a command line talks on its streams")]

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand, ValueEnum};
use swaptide::{
    api, app,
    config::{self, Config},
    doctor::{self, table::Verdict},
    feeds, init, telemetry,
};
use tokio_util::sync::CancellationToken;

/// To stdout. Whoever reads it may have gone, as `| head` does: that is no fault of ours.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = std::io::stdout().write_fmt(format_args!($($text)*));
    }};
}

/// The same with the end of a line.
macro_rules! say_line {
    ($($text:tt)*) => { say!("{}\n", format_args!($($text)*)) };
}

mod audit;

/// The real-time backend of a decentralized exchange: live pool state, history, and subscriptions that retract on a reorg.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Follow the chain and serve: everything in one process. Ctrl-C and SIGTERM drain
    Run {
        /// The configuration
        #[arg(short, long, default_value = "swaptide.toml", value_name = "FILE")]
        config: PathBuf,
        /// How log lines look
        #[arg(long, env = "SWAPTIDE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
        log_format: LogFormat,
    },
    /// Compare the running engine's state with the contracts at one block, and what is stored with the chain's logs; ends with 0 (equal)
    /// or 2 (drift)
    Audit {
        /// The configuration of the running engine
        #[arg(short, long, default_value = "swaptide.toml", value_name = "FILE")]
        config: PathBuf,
        /// Compare the stored events of final blocks, too: each with the logs of its block. Needs no running engine
        #[arg(long)]
        events: bool,
        /// … from this block on; otherwise from the first
        #[arg(long, value_name = "BLOCK", requires = "events")]
        from: Option<u64>,
        /// … up to this one; otherwise to the last that is final
        #[arg(long, value_name = "BLOCK", requires = "events")]
        to: Option<u64>,
        /// Print JSON, one report per chain
        #[arg(long)]
        json: bool,
    },
    /// Read a configuration and say what is wrong with it; asks no node and no store
    CheckConfig {
        /// The configuration; the same as `-c`
        #[arg(conflicts_with = "config")]
        file: Option<PathBuf>,
        /// The configuration
        #[arg(short, long, default_value = "swaptide.toml", value_name = "FILE")]
        config: PathBuf,
    },
    /// Print the GraphQL schema (SDL), or the OpenAPI document of REST
    Schema {
        /// The OpenAPI document instead
        #[arg(long)]
        openapi: bool,
    },
    /// Make an API key: prints it once, and what to write into the configuration for it
    Key,
    /// Ask a running engine whether it is up; ends with 0 (it is) or 1. For containers that have no shell
    Health {
        /// Its admin listener; an unspecified address means this machine
        #[arg(long, env = "SWAPTIDE__ADMIN__LISTEN", default_value = "127.0.0.1:9464", value_name = "ADDRESS:PORT")]
        admin: std::net::SocketAddr,
    },
    /// Check the configuration, every endpoint, the store and the contracts, and print one table; ends with 0 or, where something
    /// fails, 1. It writes nothing, and may run beside the engine
    Doctor {
        /// The configuration
        #[arg(short, long, default_value = "swaptide.toml", value_name = "FILE")]
        config: PathBuf,
        /// Print JSON instead of the table
        #[arg(long)]
        json: bool,
    },
    /// Write a commented configuration for a well-known chain; an existing file is never overwritten
    Init {
        /// The chain
        #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(init::TEMPLATES.map(|t| t.chain)))]
        chain: String,
        /// Where to write it
        #[arg(short, long, default_value = "swaptide.toml", value_name = "FILE")]
        output: PathBuf,
        /// Print it instead of writing a file
        #[arg(long, conflicts_with = "output")]
        stdout: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("error: TLS could not be set up");
        return ExitCode::FAILURE;
    }
    let outcome = match cli.command {
        Command::Run { config, log_format } => {
            telemetry::logs::init(matches!(log_format, LogFormat::Json));
            run(&config)
        }
        Command::Audit { config, events, from, to, json } => {
            telemetry::logs::init(false);
            let runtime = runtime();
            load(&config).and_then(|config| audit::run(&runtime?, &config, audit::What { events, from, to, json }))
        }
        Command::CheckConfig { file, config } => {
            let file = file.unwrap_or(config);
            load(&file).and_then(|config| {
                for feed in &config.feed {
                    feeds::open(feed).map_err(|why| format!("{}: feed \"{}\": {why}", file.display(), feed.name()))?;
                }
                let chains: Vec<String> = config.chain.iter().map(|c| format!("{} ({})", c.name, c.id)).collect();
                say_line!("{}: fine. Chains: {}", file.display(), chains.join(", "));
                Ok(ExitCode::SUCCESS)
            })
        }
        Command::Health { admin } => health(admin),
        Command::Schema { openapi } => {
            say!("{}", if openapi { api::openapi() } else { api::sdl() });
            Ok(ExitCode::SUCCESS)
        }
        Command::Key => new_key(),
        Command::Doctor { config, json } => doctor(&config, json),
        Command::Init { chain, output, stdout } => write_configuration(&chain, &output, stdout),
    };
    outcome.unwrap_or_else(|message| {
        eprintln!("error: {message}");
        ExitCode::FAILURE
    })
}

fn doctor(path: &Path, json: bool) -> Result<ExitCode, String> {
    let report = match load(path) {
        Ok(config) => runtime()?.block_on(doctor::examine(&config, path)),
        Err(error) => doctor::unreadable(&error),
    };
    if json {
        say_line!("{:#}", report.json());
    } else {
        say!("{}", report.table(std::io::stdout().is_terminal()));
    }
    Ok(if report.count(Verdict::Fail) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn new_key() -> Result<ExitCode, String> {
    let (key, hash) = api::new_key().map_err(|error| format!("the machine gives no random numbers: {error}"))?;
    say_line!("{key}");
    say_line!("");
    say_line!("# Give the key to whoever is to have it; it is not shown again. In swaptide.toml:");
    say_line!("[[api.key]]");
    say_line!("name = \"somebody\"");
    say_line!("hash = \"{hash}\"");
    say_line!("scopes = [\"read\", \"subscribe\"]");
    say_line!("cost_per_second = 2000      # points; 0: no limit");
    Ok(ExitCode::SUCCESS)
}

fn write_configuration(chain: &str, output: &Path, stdout: bool) -> Result<ExitCode, String> {
    let template = init::template(chain).ok_or_else(|| format!("there is no template for {chain}"))?;
    if stdout {
        say!("{}", template.toml);
    } else {
        say!("{}", init::write(template, output)?);
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::disallowed_methods, reason = "the one place where the environment comes in")]
fn load(path: &Path) -> Result<Config, String> {
    let overrides: Vec<(String, String)> = std::env::vars().filter(|(name, _)| name.starts_with("SWAPTIDE__")).collect();
    config::load(path, &|name| std::env::var(name).ok(), &overrides).map_err(|e| e.to_string())
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("swaptide-io")
        .build()
        .map_err(|e| format!("the runtime could not start: {e}"))
}

fn run(path: &Path) -> Result<ExitCode, String> {
    let config = load(path)?;
    let runtime = Arc::new(runtime()?);
    // Actors on this thread's LocalSet; axum, the store and the node's sockets on the workers.
    let system = actix::System::with_tokio_rt({
        let runtime = runtime.clone();
        move || runtime
    });
    let outcome = system.block_on(async move {
        let shutdown = CancellationToken::new();
        let signals = tokio::spawn(cancel_on_signal(shutdown.clone()));
        let outcome = app::run(config, shutdown).await;
        signals.abort();
        outcome
    });
    outcome.map(|()| ExitCode::SUCCESS).map_err(|exit| exit.to_string())
}

/// An orchestrator asks every few seconds: a late answer is no answer.
const HEALTH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

fn health(mut admin: std::net::SocketAddr) -> Result<ExitCode, String> {
    if admin.ip().is_unspecified() {
        admin.set_ip(if admin.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let url = format!("http://{admin}/health");
    let asked = async {
        let client = reqwest::Client::builder().timeout(HEALTH_TIMEOUT).no_proxy().tls_certs_only([]).build();
        let client = client.map_err(|e| e.without_url().to_string())?;
        let answer = client.get(&url).send().await.map_err(|e| e.without_url().to_string())?;
        answer.error_for_status().map_err(|e| e.without_url().to_string())
    };
    runtime()?.block_on(asked).map_err(|reason| format!("no healthy engine at {url}: {reason}"))?;
    Ok(ExitCode::SUCCESS)
}

async fn cancel_on_signal(shutdown: CancellationToken) {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(error) => {
            tracing::error!(%error, "SIGTERM cannot be heard");
            return;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => tracing::info!("Ctrl-C: draining"),
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
    }
    shutdown.cancel();
}
