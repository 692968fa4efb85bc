//! The composition root: builds node, store, tree and server, starts them, and stops them in order.

mod auditor;
mod calls;
mod feeds;
mod interface;
mod lease;
mod store;

use std::{sync::Arc, time::Duration};

use alloy::primitives::B256;
use futures_util::future::{join_all, try_join_all};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    actors::{Deps, Finality, Plan, StartBlock, sources::Joined, tree::ChainTree},
    api,
    chain::{
        BlockTag, ChainSource,
        registry::DexSpec,
        rpc::{EndpointConfig, RpcConfig, RpcSource},
    },
    config::{self, ChainConfig, Config, ProtocolConfig},
    domain::{
        dollars::{Anchors, Usd},
        pool::{PoolId, Protocol},
    },
    store::{History, Live, Reader, keep::Keep, lease::Lease, mongo::MongoConfig, prices::Prices},
    telemetry::{Board, Metrics},
};

/// Why the process ends, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Exit(pub String);

/// How long one request to a node may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_RETRIES: u32 = 3;
/// HTTP polling, where no WebSocket is up: well below the fastest chain's block time.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// A start that gets no answer from any endpoint gives up after this.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections that nobody has taken yet; the kernel may allow fewer (`net.core.somaxconn`, 4,096).
const BACKLOG: i32 = 4_096;

/// Runs until `shutdown` is cancelled or something fails that only an operator can mend. Must be called on the `LocalSet` that
/// is to own the actors, with a multi-thread runtime around it.
///
/// # Errors
/// One line for the operator. Where the start fails, nothing was written.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Exit> {
    // Everything that can fail for a reason outside comes first, the store last: a failed start writes nothing.
    let mut listeners = [listen("api.listen", &config.api.listen).await?, listen("admin.listen", &config.admin.listen).await?];
    let metrics = Metrics::new().map_err(|e| Exit(format!("metrics: {e}")))?;
    let nodes = try_join_all(config.chain.iter().map(|chain| node(chain, &metrics))).await?;
    let board = Board::default();
    let feeds = feeds::Feeds::open(&config)?;
    let keep = if config.feed.is_empty() { None } else { Some(store::keep(&config).await?) };
    let shared = Shared { metrics, board, nodes, prices: feeds.prices(), keep };
    // Whatever becomes of the store, prices from outside the chain go on.
    let _feeds = feeds.start(&shared.metrics, &shared.board, &shutdown);
    let _recorder = feeds::record(&shared, &shutdown);
    let Some(mut opened) = store::open(&config, &shared.nodes, &shutdown).await? else { return Ok(()) };
    loop {
        shared.metrics.store_stand_in.set(i64::from(opened.stand_in.is_some()));
        match serve(&config, listeners, &shared, opened, &shutdown).await? {
            Ended::Shutdown => return Ok(()),
            Ended::Again(kept, store) => (listeners, opened) = (kept, *store),
        }
        tracing::info!("starting over from the store");
    }
}

/// What every run of a process has in common.
struct Shared {
    metrics: Metrics,
    board: Board,
    nodes: Vec<Node>,
    prices: Arc<Prices>,
    /// Where prices from outside the chain are recorded; `None`: there are none.
    keep: Option<Arc<dyn Keep>>,
}

/// The public one, and the operator's.
type Listeners = [std::net::TcpListener; 2];

/// Why serving came to a good end.
enum Ended {
    Shutdown,
    /// A stand-in is no longer needed, or what is in memory must not be written. Who connects until all is built anew waits in the backlog
    /// of these.
    Again(Listeners, Box<store::Opened>),
}

/// Builds tree and server over an open store, and takes them down again.
async fn serve(
    config: &Config,
    listeners: Listeners,
    shared: &Shared,
    opened: store::Opened,
    shutdown: &CancellationToken,
) -> Result<Ended, Exit> {
    let store::Opened { history, lease, stand_in } = opened;
    let Shared { metrics, board, nodes, prices, keep } = shared;
    let (fatal_tx, mut fatal) = mpsc::channel(1);
    let live = |chain: &ChainConfig, node: &Node| {
        let stall_timeout = Duration::from_millis(chain.stall_timeout_ms);
        let mut live = Live::new(chain.id, &chain.name, chain.confirmations, stall_timeout);
        live.stand_in = stand_in.is_some();
        live.price_with(anchors(chain));
        live.routers = calls::routers(chain);
        live.node = Some(Arc::new(calls::Calls::new(node.source.clone())));
        Arc::new(live)
    };
    let chains: Vec<Deps> = config
        .chain
        .iter()
        .zip(nodes)
        .map(|(chain, node)| Deps {
            chain: chain.id,
            source: node.source.clone(),
            live: live(chain, node),
            history: history.clone(),
            metrics: metrics.clone(),
            board: board.clone(),
            plan: plan(chain, config),
            joined: Joined::default(),
            lease: lease.of_chain(),
            fatal: fatal_tx.clone(),
            stop: CancellationToken::new(),
            now_unix_ms,
        })
        .collect();
    let lives: Vec<Arc<Live>> = chains.iter().map(|deps| deps.live.clone()).collect();
    let (ready_tx, ready) = watch::channel(false);
    let draining = CancellationToken::new();
    let reader = Reader::new(lives.iter().cloned(), history.clone()).with_prices(prices.clone()).with_keep(keep.clone());
    let state = Arc::new(interface::state(&config.api, reader, shared, ready, &draining)?);
    // Closed at the end of serving, unless serving goes on: nobody is to wait for a process that ends.
    let may_start_over = stand_in.is_some() || history.is_shared();
    let kept = if may_start_over { Some(twice(&listeners)?) } else { None };
    let [public, admin] = listeners.map(TcpListener::from_std);
    let (public, admin) = (public.map_err(unusable)?, admin.map_err(unusable)?);
    let addresses = (public.local_addr(), admin.local_addr());
    let close = CancellationToken::new();
    let servers = [
        tokio::spawn(api::serve(public, api::public_router(state.clone()), close.clone())),
        tokio::spawn(api::serve(admin, api::admin_router(state), close.clone())),
    ];
    if let (Ok(public), Ok(admin)) = addresses {
        tracing::info!("serving on http://{public} (page, /graphql), admin on http://{admin} (/metrics, /ready, /status)");
    }
    let leasing =
        AbortOnDropHandle::new(tokio::spawn(lease::keep(history.clone(), lease.clone(), lives.clone(), metrics.clone())));
    let trees: Vec<ChainTree> = chains.into_iter().map(|deps| ChainTree::start(Arc::new(deps))).collect();
    let _oracles = feeds::start_oracles(config, shared, &lives, &draining);
    let audited = lives.iter().cloned().zip(nodes.iter().map(|node| node.source.clone())).collect();
    let _auditor = (config.audit.interval > 0).then(|| {
        let every = Duration::from_secs(config.audit.interval);
        AbortOnDropHandle::new(tokio::spawn(auditor::keep(audited, every, metrics.clone())))
    });
    let readiness = actix_rt::spawn(watch_ready(lives, ready_tx));

    let outcome = tokio::select! {
        () = shutdown.cancelled() => { drop(kept); Ok(None) }
        store = store::opened(config, nodes), if stand_in.is_some() => {
            tracing::info!("the store answers");
            Ok(kept.map(|kept| (kept, Box::new(store))))
        }
        () = lease.unfit(), if history.is_shared() => {
            let same = store::Opened { history: history.clone(), lease: Lease::new(lease.fence()), stand_in: None };
            Ok(kept.map(|kept| (kept, Box::new(same))))
        }
        reason = fatal.recv() => Err(Exit(reason.unwrap_or_else(|| "the actors ended".to_owned()))),
    };
    // Readiness off, no new heads, finish the block, flush, close the sockets.
    readiness.abort();
    draining.cancel();
    let flushed = join_all(trees.into_iter().map(ChainTree::stop)).await.into_iter().all(|flushed| flushed);
    // Whoever starts over keeps it, and whoever ends gives it back as soon as everything is written.
    let leasing = Some(leasing).filter(|_| matches!(outcome, Ok(Some(_))));
    if leasing.is_none() {
        lease::release(history.as_ref(), &lease).await;
    }
    close.cancel();
    for server in servers {
        match tokio::time::timeout(Duration::from_secs(5), server).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "a server ended badly"),
            Ok(Err(_)) | Err(_) => tracing::warn!("connections were still open at the end"),
        }
    }
    if !flushed && stand_in.is_none() && outcome.is_ok() {
        return Err(Exit("the last blocks could not be stored in time; they are read again at the next start".to_owned()));
    }
    drop(leasing);
    tracing::info!("stopped");
    Ok(outcome?.map_or(Ended::Shutdown, |(kept, mut store)| {
        if lease.is_unfit() {
            store.lease = Lease::new(lease.fence());
        }
        Ended::Again(kept, store)
    }))
}

/// A chain that answers, and is the right one.
struct Node {
    source: Arc<dyn ChainSource>,
    genesis: B256,
}

async fn node(chain: &ChainConfig, metrics: &Metrics) -> Result<Node, Exit> {
    let source: Arc<dyn ChainSource> = Arc::new(source(chain)?.counted(metrics));
    let genesis = check_chain(source.as_ref(), chain).await?;
    check_start(source.as_ref(), chain).await?;
    Ok(Node { source, genesis })
}

async fn listen(key: &str, address: &str) -> Result<std::net::TcpListener, Exit> {
    let bound = TcpListener::bind(address).await.and_then(TcpListener::into_std);
    // What is usual holds a thousand, and whoever finds it full tries again after a second.
    let bound = bound.and_then(|listener| rustix::net::listen(&listener, BACKLOG).map(|()| listener).map_err(Into::into));
    bound.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            Exit(format!("{address} is in use: stop what listens there, or change `{key}` in the configuration"))
        }
        _ => Exit(format!("`{key}` = {address} cannot be listened on: {e}")),
    })
}

fn twice([public, admin]: &Listeners) -> Result<Listeners, Exit> {
    Ok([public.try_clone().map_err(unusable)?, admin.try_clone().map_err(unusable)?])
}

fn unusable(error: std::io::Error) -> Exit {
    Exit(format!("a listening socket cannot be used: {error}"))
}

/// What is stored, to be read.
///
/// # Errors
/// Where a node or the store cannot be asked, or they do not belong together.
pub async fn stored(config: &Config) -> Result<Arc<dyn History>, Exit> {
    let metrics = Metrics::new().map_err(|e| Exit(format!("metrics: {e}")))?;
    let nodes = try_join_all(config.chain.iter().map(|chain| node(chain, &metrics))).await?;
    store::read_only(config, &nodes).await
}

/// The endpoints of a configured chain.
///
/// # Errors
/// Where an endpoint's URL cannot be used.
pub fn source(chain: &ChainConfig) -> Result<RpcSource, Exit> {
    RpcSource::new(rpc_config(chain)).map_err(|e| Exit(format!("chain \"{}\": {e}", chain.name)))
}

/// How the endpoints of a configured chain are asked while the engine runs.
#[must_use]
pub fn rpc_config(chain: &ChainConfig) -> RpcConfig {
    let endpoint = |rpc: &config::RpcConfig| match rpc {
        config::RpcConfig::Url(url) => EndpointConfig::new(url),
        config::RpcConfig::Limited(l) => EndpointConfig {
            url: l.url.clone(),
            max_rps: l.max_rps,
            max_per_day: l.max_per_day,
            max_concurrent: l.max_concurrent,
            logs_range: l.logs_range,
        },
    };
    RpcConfig {
        chain_id: chain.id,
        urls: chain.rpc.iter().map(endpoint).collect(),
        call_timeout: CALL_TIMEOUT,
        retries: CALL_RETRIES,
        stall_timeout: Duration::from_millis(chain.stall_timeout_ms),
        poll_interval: POLL_INTERVAL,
        proof: chain.proof,
    }
}

/// The right chain, with contracts where the configuration says; gives the genesis hash.
async fn check_chain(source: &dyn ChainSource, chain: &ChainConfig) -> Result<B256, Exit> {
    let name = &chain.name;
    let unreachable =
        |e: String| Exit(format!("chain \"{name}\": no `rpc` endpoint answers ({e}). Check the URLs, or start the node"));
    let checks = async {
        let id = source.chain_id().await.map_err(|e| unreachable(e.to_string()))?;
        if id != chain.id {
            return Err(Exit(format!(
                "chain \"{name}\": the `rpc` endpoint serves chain {id}, the configuration says id = {}",
                chain.id
            )));
        }
        for dex in &chain.dex {
            let contracts = [("factory", Some(dex.factory)), ("position_manager", dex.position_manager)];
            for (key, address) in contracts.into_iter().filter_map(|(key, address)| Some((key, address?))) {
                let code = source.code(address).await.map_err(|e| unreachable(e.to_string()))?;
                if code.is_empty() {
                    return Err(Exit(format!(
                        "dex \"{}\": there is no contract at `{key}` {address:#x} on chain {id}; check the address",
                        dex.name
                    )));
                }
            }
        }
        let genesis = source.header(BlockTag::Number(0)).await.map_err(|e| unreachable(e.to_string()))?;
        genesis.map(|h| h.block.hash).ok_or_else(|| unreachable("it does not know block 0".to_owned()))
    };
    tokio::time::timeout(START_TIMEOUT, checks)
        .await
        .unwrap_or_else(|_| Err(unreachable(format!("{} s without an answer", START_TIMEOUT.as_secs()))))
}

/// A start block that does not exist yet would be found out only after the database was made.
async fn check_start(source: &dyn ChainSource, chain: &ChainConfig) -> Result<(), Exit> {
    let config::StartBlock::Number(start) = chain.start_block else { return Ok(()) };
    let latest = source.header(BlockTag::Latest).await.map_err(|e| Exit(e.to_string()))?;
    match latest {
        Some(latest) if start > latest.block.number.saturating_add(1) => Err(Exit(format!(
            "chain \"{}\": `start_block` {start} lies above the newest block, {}: choose a lower one, or \"latest\"",
            chain.name, latest.block.number
        ))),
        _ => Ok(()),
    }
}

/// What of the configuration concerns MongoDB.
#[must_use]
pub fn mongo_config(store: &config::StoreConfig) -> MongoConfig {
    let (username, password) = (store.username.clone(), store.password.clone());
    MongoConfig { username, password, ..MongoConfig::new(&store.url, now_unix_s) }
}

/// Where a chain begins on an empty store, in the actors' terms.
#[must_use]
pub fn start_block(chain: &ChainConfig) -> StartBlock {
    match chain.start_block {
        config::StartBlock::Number(number) => StartBlock::Number(number),
        config::StartBlock::Latest { minus } => StartBlock::Latest { minus },
    }
}

/// When a block is final, in the actors' terms.
#[must_use]
pub fn finality(chain: &ChainConfig) -> Finality {
    match chain.finality {
        config::Finality::Depth(depth) => Finality::Depth(depth),
        config::Finality::Tag => Finality::Tag,
    }
}

fn plan(chain: &ChainConfig, config: &Config) -> Plan {
    Plan {
        start: start_block(chain),
        finality: finality(chain),
        dexes: dex_specs(chain),
        orphan_retention_s: config.store.orphan_retention,
        journal_rows_max: config.store.journal_rows,
        enrichment: chain.enrichment,
        token_probe: (chain.token_probe_seconds > 0).then(|| Duration::from_secs(chain.token_probe_seconds)),
        progress_bar: std::io::IsTerminal::is_terminal(&std::io::stderr()),
    }
}

fn anchors(chain: &ChainConfig) -> Anchors {
    Anchors {
        stablecoins: chain.stablecoins.iter().map(|token| (*token, None)).collect(),
        wrapped_native: chain.wrapped_native,
        min_depth: Usd::whole(chain.min_depth_usd),
    }
}

/// What is watched, in the chain layer's terms.
#[must_use]
pub fn dex_specs(chain: &ChainConfig) -> Vec<DexSpec> {
    // A listed pool is a source of its own, so that one which is added later is read back alone.
    let sources = |dex: &config::DexConfig| match dex.pools.as_slice() {
        [] => vec![dex_spec(dex)],
        pools => pools.iter().map(|pool| DexSpec { pools: vec![pool_id(pool)], ..dex_spec(dex) }).collect(),
    };
    chain.dex.iter().flat_map(sources).collect()
}

/// A listed pool, in the domain's terms.
#[must_use]
pub fn pool_id(listed: &config::ListedPool) -> PoolId {
    match *listed {
        config::ListedPool::Address(address) => PoolId::Address(address),
        config::ListedPool::Id(id) => PoolId::Id(id),
    }
}

/// A dex without its listed pools.
#[must_use]
pub fn dex_spec(dex: &config::DexConfig) -> DexSpec {
    DexSpec {
        name: dex.name.clone(),
        protocol: match dex.protocol {
            ProtocolConfig::UniswapV2 => Protocol::UniswapV2,
            ProtocolConfig::UniswapV3 => Protocol::UniswapV3,
            ProtocolConfig::UniswapV4 => Protocol::UniswapV4,
        },
        factory: dex.factory,
        fee_pips: dex.v2_fee_pips(),
        pools: Vec::new(),
        older_pools: dex.older_pools,
        position_manager: dex.position_manager.filter(|_| dex.protocol != ProtocolConfig::UniswapV2),
        lp_tokens: dex.lp_tokens,
    }
}

/// Ready once the head of every chain was reached for the first time; staleness is a label, not unreadiness.
async fn watch_ready(chains: Vec<Arc<Live>>, ready: watch::Sender<bool>) {
    for live in chains {
        let mut epochs = live.watch_epoch();
        while !live.head().at_head {
            if epochs.changed().await.is_err() {
                return;
            }
        }
    }
    ready.send_replace(true);
}

pub(crate) fn now_unix_s() -> u64 {
    now_unix_ms() / 1_000
}

#[expect(clippy::disallowed_methods, reason = "the one place where the wall clock comes in; everything else is given it")]
fn now_unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
