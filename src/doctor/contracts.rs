//! Do the contracts that the configuration names exist, and do they answer as their protocol's do?

use std::{sync::Arc, time::Duration};

use super::{Examined, endpoints, source, table::Row};
use crate::{
    actors, app,
    chain::{BlockTag, ChainError, ChainSource, contract_state, factory, older, registry::DexSpec},
    config::{ChainConfig, StartBlock},
    domain::{
        block::{BlockRef, Header},
        pool::{PoolId, Protocol},
    },
};

/// All contracts of a chain. Two hundred pools take about 1 s from a quick node.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Pools that are named one by one; of more, the number is enough.
const NAMED_MAX: usize = 10;

/// What the contracts of a chain are. `is_stored`: the store has this chain, and goes on where it stopped.
pub(super) async fn judge(examined: &Examined<'_>, is_stored: bool) -> Vec<Row> {
    let chain = examined.chain;
    let is_well = |index: usize| examined.endpoints.get(index).is_some_and(|e| endpoints::abilities(e).is_some());
    let Some(source) = source(chain, is_well) else {
        return vec![Row::fail(&chain.name, "contracts", "not looked at, because no endpoint answers for this chain")];
    };
    let mut rows = Vec::new();
    match tokio::time::timeout(TIMEOUT, look(&source, chain, is_stored, &mut rows)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => rows.push(Row::fail(&chain.name, "contracts", error.to_string())),
        Err(_) => {
            rows.push(Row::warn(&chain.name, "contracts", format!("not all were looked at within {} s", TIMEOUT.as_secs())))
        }
    }
    rows
}

async fn look(source: &dyn ChainSource, chain: &ChainConfig, is_stored: bool, rows: &mut Vec<Row>) -> Result<(), ChainError> {
    let head =
        source.header(BlockTag::Latest).await?.ok_or_else(|| ChainError::Unavailable("there is no newest block".to_owned()))?;
    if let (StartBlock::Number(start), false) = (chain.start_block, is_stored)
        && start > head.block.number.saturating_add(1)
    {
        let detail = format!("{start} lies above the newest block, {}: choose a lower one, or \"latest\"", head.block.number);
        rows.push(Row::fail(&chain.name, "start_block", detail));
    }
    let anchor =
        if is_stored { None } else { Some(actors::anchor(source, app::start_block(chain), app::finality(chain)).await?) };
    for dex in &chain.dex {
        let place = format!("{} {}", chain.name, dex.name);
        let spec = DexSpec { pools: dex.pools.iter().map(app::pool_id).collect(), ..app::dex_spec(dex) };
        let found = factory::look(source, &spec, head.block.hash).await?;
        rows.push(judge_factory(&place, &spec, found));
        if found.protocol() != Some(spec.protocol) {
            continue;
        }
        if !spec.pools.is_empty() {
            let confirmed = confirmed(source, chain, &spec, head.block).await?;
            rows.extend(pools(&place, &spec, &confirmed));
        }
        if spec.pools.is_empty() && !spec.older_pools {
            continue;
        }
        rows.push(match &anchor {
            None => Row::ok(&place, "older pools", "in the store already; what is added to the configuration is read back alone"),
            Some(None) => continue,
            Some(Some(anchor)) => seeding(source, chain, &place, &spec, &head, anchor).await,
        });
    }
    Ok(())
}

fn judge_factory(place: &str, spec: &DexSpec, found: factory::Found) -> Row {
    const CHECK: &str = "factory";
    let address = spec.factory;
    match (found, found.protocol()) {
        (factory::Found::Nothing, _) => {
            Row::fail(place, CHECK, format!("there is no contract at {address}: check `factory`, and that it is of this chain"))
        }
        (factory::Found::V2 { pairs }, Some(protocol)) if protocol == spec.protocol => {
            Row::ok(place, CHECK, format!("{address}, pairs: {pairs}"))
        }
        (_, Some(protocol)) if protocol == spec.protocol => Row::ok(place, CHECK, address.to_string()),
        (_, Some(protocol)) => {
            let name = name(protocol);
            Row::fail(place, CHECK, format!("{address} is a factory of `{name}`: set protocol = \"{name}\", or mend `factory`"))
        }
        (_, None) => {
            let name = name(spec.protocol);
            Row::fail(place, CHECK, format!("{address} does not answer as a factory of `{name}`: is it a router, or a pool?"))
        }
    }
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::UniswapV2 => "uniswap_v2",
        Protocol::UniswapV3 => "uniswap_v3",
        Protocol::UniswapV4 => "uniswap_v4",
    }
}

/// Which of the listed pools its factory knows.
async fn confirmed(
    source: &dyn ChainSource,
    chain: &ChainConfig,
    spec: &DexSpec,
    at: BlockRef,
) -> Result<Vec<PoolId>, ChainError> {
    if spec.protocol == Protocol::UniswapV4 {
        return contract_state::v4::initialised(source, at.hash, spec.factory, &spec.pools).await;
    }
    Ok(older::listed(source, chain.id, spec, at).await?.into_iter().map(|meta| meta.id).collect())
}

fn pools(place: &str, spec: &DexSpec, confirmed: &[PoolId]) -> Vec<Row> {
    let foreign: Vec<&PoolId> = spec.pools.iter().filter(|pool| !confirmed.contains(pool)).collect();
    let listed = spec.pools.len();
    if foreign.is_empty() {
        return vec![Row::ok(place, "pools", format!("all {listed} are its own"))];
    }
    let written = |pool: &PoolId| match pool {
        PoolId::Address(address) => address.to_string(),
        PoolId::Id(id) => id.to_string(),
    };
    let named = foreign.iter().take(NAMED_MAX).map(|pool| written(pool));
    let mut rows: Vec<Row> = named
        .map(|pool| Row::fail(place, "pools", format!("the factory does not know {pool}: is it of another dex, or chain?")))
        .collect();
    if foreign.len() > NAMED_MAX {
        rows.push(Row::fail(place, "pools", format!("it does not know {} of {listed}", foreign.len())));
    }
    rows
}

/// Reads what the first start would read, for one pool: it is the state at that block that may be gone, not the pool.
async fn seeding(
    source: &dyn ChainSource,
    chain: &ChainConfig,
    place: &str,
    spec: &DexSpec,
    head: &Header,
    anchor: &Header,
) -> Row {
    const CHECK: &str = "older pools";
    let at = anchor.block;
    let behind = head.block.number.saturating_sub(at.number);
    match read_one(source, chain, spec, at).await {
        Ok(None) => Row::ok(place, CHECK, format!("none is older than block {}, {behind} behind the head", at.number)),
        Ok(Some((_, Ok(())))) => Row::ok(place, CHECK, format!("can be read at block {}, {behind} behind the head", at.number)),
        Ok(Some((pool, Err(reason)))) => {
            let name = name(spec.protocol);
            Row::fail(
                place,
                CHECK,
                format!("{pool} does not answer as a pool of `{name}` ({reason}): a fork with other contracts?"),
            )
        }
        Err(error) => Row::fail(
            place,
            CHECK,
            format!(
                "their state at block {}, {behind} behind the head, cannot be read: add an archive endpoint, start nearer to the head, or lower \
                 `finality` ({error})",
                at.number
            ),
        ),
    }
}

/// A pool of the dex, and whether its whole state can be read. `None`: there is none at that block.
async fn read_one(
    source: &dyn ChainSource,
    chain: &ChainConfig,
    spec: &DexSpec,
    at: BlockRef,
) -> Result<Option<(PoolId, Result<(), String>)>, ChainError> {
    // Of V4 nobody but its log says what a pool is.
    if spec.pools.is_empty() || spec.protocol == Protocol::UniswapV4 {
        // Which ones there are takes the whole history of the factory; that it answers at that block shows that the state is there.
        factory::look_at(source, spec, at.hash).await?;
        return Ok(None);
    }
    let first = older::listed(source, chain.id, spec, at).await?.into_iter().next();
    let Some(meta) = first else { return Ok(None) };
    let states = contract_state::read(source, at.hash, &[Arc::new(meta)]).await?;
    Ok(states.into_iter().next().map(|(pool, state)| (pool, state.map(drop))))
}
