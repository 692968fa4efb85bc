//! What a configuration must hold beyond its types.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{ChainConfig, Config, Finality, ListedPool, ProtocolConfig, RpcConfig, StoreConfig};

/// `finality` above this needs more memory than a node keeps state for. 4,096 blocks: 14 h of mainnet.
const FINALITY_MAX: u64 = 4_096;

pub(super) fn check(config: &Config) -> Result<(), String> {
    for (key, listen) in [("api.listen", &config.api.listen), ("admin.listen", &config.admin.listen)] {
        listen
            .parse::<SocketAddr>()
            .map_err(|_| format!("`{key}` is an address with a port like 127.0.0.1:8080, not \"{listen}\""))?;
    }
    if config.api.listen == config.admin.listen && !config.api.listen.ends_with(":0") {
        return Err(format!(
            "`api.listen` and `admin.listen` are both {}: the operator's listener needs one of its own",
            config.api.listen
        ));
    }
    if config.api.requests_per_second > 0 && config.api.requests_burst == 0 {
        return Err(
            "`api.requests_burst` is 0, so that no request could be let in: leave it out, or set `api.requests_per_second` \
                    = 0 for no limit"
                .to_owned(),
        );
    }
    for (key, value) in [
        ("connections", config.api.connections),
        ("operations_per_connection", config.api.operations_per_connection),
        ("messages_per_second", usize::try_from(config.api.messages_per_second).unwrap_or(usize::MAX)),
    ] {
        if value == 0 {
            return Err(format!("`api.{key}` is 0, so that nobody could subscribe: leave it out, or give a number above 0"));
        }
    }
    if config.api.cost_per_second > 0 && config.api.cost_burst == 0 {
        return Err(
            "`api.cost_burst` is 0, so that nothing could be answered: leave it out, or set `api.cost_per_second` = 0".to_owned()
        );
    }
    let mut names = BTreeSet::new();
    for key in &config.api.key {
        if !names.insert(&key.name) {
            return Err(format!("the API key \"{}\" is configured twice", key.name));
        }
        if key.scopes.is_empty() {
            return Err(format!(
                "the API key \"{}\" opens nothing: give `scopes` of read and subscribe, or leave it out",
                key.name
            ));
        }
    }
    if config.api.key_required && config.api.key.is_empty() {
        return Err("`api.key_required` is set and there is no [[api.key]], so that nobody could ask: add one".to_owned());
    }
    check_store(&config.store)?;
    if config.chain.is_empty() {
        return Err("no [[chain]] is configured: add one with `id`, `name`, `rpc` and a [[chain.dex]]".to_owned());
    }
    let mut ids = BTreeSet::new();
    for chain in &config.chain {
        if !ids.insert(chain.id) {
            return Err(format!("chain {} is configured twice", chain.id));
        }
        check_chain(chain)?;
    }
    super::feed::check(&config.prices, &config.feed, &config.chain)
}

/// A busy block of mainnet has a few hundred.
const JOURNAL_ROWS_MIN: usize = 1_000;

fn check_store(store: &StoreConfig) -> Result<(), String> {
    if store.journal_rows < JOURNAL_ROWS_MIN {
        return Err(format!(
            "`store.journal_rows` is {}: at least {JOURNAL_ROWS_MIN}, or a block's own events would not fit",
            store.journal_rows
        ));
    }
    let credentials = store.username.is_some() || store.password.is_some();
    match store.url.split_once(':') {
        Some(("sqlite", file)) if !file.is_empty() && !credentials => Ok(()),
        Some(("sqlite", file)) if !file.is_empty() => {
            Err("`store.username` and `store.password` are for MongoDB; a SQLite file has none".to_owned())
        }
        Some(("mongodb" | "mongodb+srv", rest)) if rest.len() > 2 && rest.starts_with("//") => Ok(()),
        // Never the whole of it: it may hold a password.
        other => Err(format!(
            "`store.url` is sqlite:FILE, mongodb://host:port/database or mongodb+srv://host/database, not {}:…",
            other.map_or(store.url.as_str(), |(scheme, _)| scheme)
        )),
    }
}

fn check_chain(chain: &ChainConfig) -> Result<(), String> {
    let name = &chain.name;
    if chain.id == 0 {
        return Err(format!("chain \"{name}\": `id` is the chain's EIP-155 number, 1 for Ethereum"));
    }
    if chain.rpc.is_empty() {
        return Err(format!("chain \"{name}\" has no `rpc`: name at least one endpoint, ws://… first"));
    }
    for rpc in &chain.rpc {
        let url = url::Url::parse(rpc.url()).map_err(|_| format!("chain \"{name}\": an `rpc` entry is no URL"))?;
        if !matches!(url.scheme(), "ws" | "wss" | "http" | "https") || url.host_str().is_none() {
            return Err(format!(
                "chain \"{name}\": `rpc` takes ws://, wss://, http:// and https:// URLs, not {}://",
                url.scheme()
            ));
        }
        if let RpcConfig::Limited(limits) = rpc
            && [limits.max_rps.map(u64::from), limits.max_per_day, limits.max_concurrent.map(|n| n as u64), limits.logs_range]
                .contains(&Some(0))
        {
            return Err(format!(
                "chain \"{name}\": a limit of an `rpc` entry is 0, so that it could never be asked: leave the limit out, or the entry"
            ));
        }
    }
    if let Some(native) = chain.wrapped_native.filter(|native| chain.stablecoins.contains(native)) {
        return Err(format!("chain \"{name}\": {native:#x} is both a stablecoin and `wrapped_native`: it is one of them"));
    }
    if chain.dex.is_empty() {
        return Err(format!("chain \"{name}\" has nothing to watch: add a [[chain.dex]] with its factory"));
    }
    let mut factories = BTreeSet::new();
    for dex in &chain.dex {
        if !factories.insert(dex.factory) {
            return Err(format!("chain \"{name}\": factory {:#x} is configured twice", dex.factory));
        }
        if dex.fee_pips.is_some() && dex.protocol != ProtocolConfig::UniswapV2 {
            return Err(format!(
                "dex \"{}\": `fee_pips` is for uniswap_v2; pools of the other protocols say their fee themselves",
                dex.name
            ));
        }
        if dex.lp_tokens && dex.protocol != ProtocolConfig::UniswapV2 {
            return Err(format!(
                "dex \"{}\": `lp_tokens` is for uniswap_v2, whose pairs are tokens themselves; of uniswap_v3 name the `position_manager`",
                dex.name
            ));
        }
        if dex.older_pools && !dex.pools.is_empty() {
            return Err(format!(
                "dex \"{}\": `older_pools` is for a whole factory; listed `pools` are always taken, however old they are",
                dex.name
            ));
        }
        let mut pools = BTreeSet::new();
        if let Some(twice) = dex.pools.iter().find(|pool| !pools.insert(**pool)) {
            return Err(format!("dex \"{}\": {twice} is listed twice in `pools`", dex.name));
        }
        let of_v4 = dex.protocol == ProtocolConfig::UniswapV4;
        if let Some(wrong) = dex.pools.iter().find(|pool| matches!(pool, ListedPool::Id(_)) != of_v4) {
            let is = if of_v4 { "ids of 32 bytes, for they have no address" } else { "addresses of 20 bytes" };
            return Err(format!("dex \"{}\": {wrong} is no pool of its protocol: `pools` lists {is}", dex.name));
        }
        if dex.v2_fee_pips() >= 1_000_000 {
            return Err(format!(
                "dex \"{}\": `fee_pips` is in hundredths of a basis point, below 1000000 (3000 is 0.30 %)",
                dex.name
            ));
        }
    }
    if let Finality::Depth(depth) = chain.finality
        && !(1..=FINALITY_MAX).contains(&depth)
    {
        return Err(format!("chain \"{name}\": `finality` is 1 to {FINALITY_MAX} blocks, or \"tag\""));
    }
    if let Finality::Depth(depth) = chain.finality
        && chain.confirmations > depth
    {
        return Err(format!(
            "chain \"{name}\": `confirmations` is SAFE and `finality` FINALIZED: {} must not lie beyond {depth}",
            chain.confirmations
        ));
    }
    if chain.stall_timeout_ms == 0 {
        return Err(format!("chain \"{name}\": `stall_timeout_ms` must be above 0"));
    }
    Ok(())
}

/// Whether an endpoint speaks WebSocket.
#[must_use]
pub fn is_websocket(url: &str) -> bool {
    url.starts_with("ws://") || url.starts_with("wss://")
}
