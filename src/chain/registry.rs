//! Which logs are ours: those of configured factories, of the pools that these created, and of managers of positions in them. Called once
//! per block, in order.
//!
//! What only looks like a pool (anybody may emit `Swap`) is ignored. What is absent: pool state.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use alloy::primitives::{
    Address, B256, U256,
    map::{AddressMap, DefaultHashBuilder},
};

use super::decode::{Kind, POSITION_TOPIC, SHARES_TOPIC, decode_as};
use crate::domain::{
    ChainId,
    block::BlockRef,
    event::{Event, EventBody, RawLog},
    pool::{CreatedAt, PoolId, PoolMeta, Protocol, fees::Fees},
};

/// One configured exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DexSpec {
    pub name: String,
    pub protocol: Protocol,
    /// V4: the PoolManager.
    pub factory: Address,
    /// V2 only; V3 says it with each pool.
    pub fee_pips: u32,
    /// Non-empty: only these pools.
    pub pools: Vec<PoolId>,
    /// Also what the factory created before the first block that is read.
    pub older_pools: bool,
    /// V3, V4: whose positions in the pools are told apart by their tokens.
    pub position_manager: Option<Address>,
    /// V2: the pairs' own tokens are followed, too.
    pub lp_tokens: bool,
}

impl DexSpec {
    /// The pair whose own token is to be followed from this log on.
    #[must_use]
    pub fn lp_token(&self, raw: &RawLog) -> Option<Address> {
        let kind = raw.topics.first().and_then(Kind::of).filter(|_| self.lp_tokens && raw.address == self.factory);
        match kind.map(|kind| decode_as(kind, raw)) {
            Some(Ok(EventBody::V2PairCreated { pair, .. })) => Some(pair).filter(|pair| self.admits(&PoolId::Address(*pair))),
            _ => None,
        }
    }

    fn admits(&self, pool: &PoolId) -> bool {
        self.pools.is_empty() || self.pools.contains(pool)
    }
}

/// What a block had for us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selected {
    /// In log order.
    pub events: Vec<Event>,
    /// Pools that this block created, in log order.
    pub created: Vec<Arc<PoolMeta>>,
    /// How many of `events` are [`EventBody::Undecodable`].
    pub malformed: usize,
}

#[derive(Debug)]
struct Dex {
    name: String,
    protocol: Protocol,
    fee_pips: u32,
    only: Option<HashSet<PoolId>>,
    lp_tokens: bool,
}

impl Dex {
    fn admits(&self, pool: &PoolId) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(pool))
    }
}

/// The factories and the pools they created so far, on the branch that is followed.
#[derive(Debug, Default)]
pub struct Registry {
    factories: AddressMap<Vec<Dex>>,
    pools: HashMap<PoolId, Arc<PoolMeta>, DefaultHashBuilder>,
    /// Pairs whose own tokens are followed.
    lp_tokens: BTreeSet<Address>,
    /// Block hash to the pools it created, so that a revert does not walk all pools.
    created_in: HashMap<B256, Vec<PoolId>>,
    /// Each with the factories whose pools it is the manager of.
    managers: HashMap<Address, HashSet<Address>>,
    /// Those of V4, each with its PoolManager.
    v4_managers: HashMap<Address, Address>,
    /// Managers' tokens: the pools they are in, and the blocks that made them (zero: long ago).
    tokens: HashMap<(Address, U256), (PoolId, B256)>,
}

/// A manager acted on a pool, and has not said yet for which of its tokens.
#[derive(Debug, Clone, Copy)]
struct Acted {
    tx_hash: B256,
    manager: Address,
    pool: PoolId,
}

impl Registry {
    #[must_use]
    pub fn new(dexes: Vec<DexSpec>) -> Self {
        let mut registry = Self::default();
        dexes.into_iter().for_each(|dex| registry.watch(dex));
        registry
    }

    /// From now on this exchange is watched, too.
    pub fn watch(&mut self, dex: DexSpec) {
        let only = (!dex.pools.is_empty()).then(|| dex.pools.into_iter().collect());
        if let Some(manager) = dex.position_manager.filter(|_| dex.protocol == Protocol::UniswapV4) {
            self.v4_managers.insert(manager, dex.factory);
        } else if let Some(manager) = dex.position_manager {
            self.managers.entry(manager).or_default().insert(dex.factory);
        }
        let entry = Dex { name: dex.name, protocol: dex.protocol, fee_pips: dex.fee_pips, only, lp_tokens: dex.lp_tokens };
        self.factories.entry(dex.factory).or_default().push(entry);
    }

    /// Adds the managers' tokens of a pool, as its books have them.
    pub fn insert_tokens(&mut self, pool: PoolId, fees: &Fees) {
        self.tokens.extend(fees.tokens.iter().map(|(token_id, token)| ((token.manager, *token_id), (pool, B256::ZERO))));
    }

    /// Adds a pool that is known from the store.
    pub fn insert(&mut self, meta: Arc<PoolMeta>) {
        let (id, block) = (meta.id, meta.created.block.hash);
        let dexes = self.factories.get(&meta.factory);
        if let PoolId::Address(pair) = id
            && dexes.into_iter().flatten().any(|dex| dex.lp_tokens && dex.admits(&id))
        {
            self.lp_tokens.insert(pair);
        }
        if self.pools.insert(id, meta).is_none() {
            self.created_in.entry(block).or_default().push(id);
        }
    }

    /// Listed pools that no configured factory has created so far, each with its dex: they are older than the start, or no pools.
    #[must_use]
    pub fn not_created(&self) -> Vec<(&str, PoolId)> {
        let listed = |dex: &'_ Dex| dex.only.iter().flatten().copied().collect::<Vec<_>>();
        let dexes = self.factories.values().flatten();
        let mut missing: Vec<(&str, PoolId)> =
            dexes.flat_map(|dex| listed(dex).into_iter().map(|pool| (dex.name.as_str(), pool))).collect();
        missing.retain(|(_, pool)| !self.pools.contains_key(pool));
        missing.sort_unstable();
        missing
    }

    /// Dexes of which no pool is known, where none are listed.
    #[must_use]
    pub fn without_pools(&self) -> Vec<(&str, Address)> {
        let found = |dex: &Dex| self.pools.values().any(|pool| pool.dex == dex.name);
        let dexes = self.factories.iter().flat_map(|(factory, dexes)| dexes.iter().map(move |dex| (dex, *factory)));
        let mut without: Vec<(&str, Address)> = dexes
            .filter(|(dex, _)| dex.only.is_none() && !found(dex))
            .map(|(dex, factory)| (dex.name.as_str(), factory))
            .collect();
        without.sort_unstable();
        without
    }

    /// Pairs whose own tokens are followed, ascending.
    #[must_use]
    pub fn lp_tokens(&self) -> &BTreeSet<Address> {
        &self.lp_tokens
    }

    #[must_use]
    pub fn get(&self, pool: &PoolId) -> Option<&Arc<PoolMeta>> {
        self.pools.get(pool)
    }

    /// The pool that a log is about, if it is one that is known.
    #[must_use]
    pub fn pool_of(&self, raw: &RawLog) -> Option<&Arc<PoolMeta>> {
        if let Some(meta) = self.pools.get(&PoolId::Address(raw.address)) {
            return Some(meta);
        }
        if let [POSITION_TOPIC, .., token_id] = raw.topics.as_slice() {
            let (pool, _) = self.tokens.get(&(raw.address, U256::from_be_bytes(token_id.0)))?;
            return self.pools.get(pool);
        }
        let id = raw.topics.get(1).filter(|_| self.factories.contains_key(&raw.address))?;
        self.pools.get(&PoolId::Id(*id)).filter(|meta| meta.factory == raw.address)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.pools.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty()
    }

    /// Forgets the pools that this block created: on another branch they may never be, or be something else.
    pub fn revert(&mut self, block_hash: B256) {
        self.tokens.retain(|_, (_, made_in)| *made_in != block_hash);
        for id in self.created_in.remove(&block_hash).unwrap_or_default() {
            if self.pools.get(&id).is_some_and(|meta| meta.created.block.hash == block_hash) {
                self.pools.remove(&id);
                if let PoolId::Address(pair) = id {
                    self.lp_tokens.remove(&pair);
                }
            }
        }
    }

    /// Our events of a block, from all its logs (or those with a watched topic). A pool counts from the very next log on.
    pub fn select(&mut self, chain: ChainId, block: BlockRef, logs: Vec<RawLog>) -> Selected {
        let mut selected = Selected::default();
        let mut acted: Option<Acted> = None;
        let minted = self.minted(&logs);
        for raw in logs {
            if let Some(factory) = self.v4_managers.get(&raw.address).copied() {
                self.of_v4_manager(raw, factory, &block, &minted, &mut selected);
                continue;
            }
            if self.managers.contains_key(&raw.address) {
                self.of_manager(raw, &block, &mut acted, &mut selected);
                continue;
            }
            let Some(kind) = raw.topics.first().and_then(|topic0| self.kind(topic0, &raw)) else { continue };
            if kind.is_creation() {
                self.creation(chain, block, kind, raw, &mut selected);
                continue;
            }
            // All of V4 is in one contract; which pool it is about its events say first.
            let of_v4 = kind.protocol() == Protocol::UniswapV4;
            let pool = match raw.topics.get(1) {
                Some(id) if of_v4 => PoolId::Id(*id),
                _ => PoolId::Address(raw.address),
            };
            let meta = self.pools.get(&pool).filter(|meta| meta.protocol == kind.protocol());
            let Some(factory) = meta.map(|meta| meta.factory).filter(|factory| !of_v4 || *factory == raw.address) else {
                continue;
            };
            let decoded = decode_as(kind, &raw);
            // Anybody may give liquidity to a manager; only what it did itself is followed by its word.
            let by = match &decoded {
                Ok(EventBody::V3Mint { sender, owner, .. }) => Some(*owner).filter(|owner| owner == sender),
                Ok(EventBody::V3Burn { owner, .. } | EventBody::V3Collect { owner, .. }) => Some(*owner),
                _ => None,
            };
            if let Some(manager) = by.filter(|by| self.managers.get(by).is_some_and(|of| of.contains(&factory))) {
                acted = Some(Acted { tx_hash: raw.tx_hash, manager, pool });
            }
            selected.push(pool, decoded.map_err(|w| w.to_string()), raw);
        }
        selected
    }

    fn kind(&self, topic0: &B256, raw: &RawLog) -> Option<Kind> {
        let of_share = || *topic0 == SHARES_TOPIC && self.lp_tokens.contains(&raw.address);
        Kind::of(topic0).or_else(|| of_share().then_some(Kind::V2Transfer))
    }

    /// A manager's word on one of its tokens. Which pool that is in shows in the pool's own event right before it, in one transaction; a
    /// token that changes hands is known from when it was made. What is about pools that are not watched is not ours.
    fn of_manager(&mut self, raw: RawLog, block: &BlockRef, acted: &mut Option<Acted>, selected: &mut Selected) {
        let Some(kind) = raw.topics.first().and_then(Kind::of_manager) else { return };
        let Ok(body) = decode_as(kind, &raw) else { return };
        let just_now = acted.filter(|acted| acted.tx_hash == raw.tx_hash && acted.manager == raw.address).map(|acted| acted.pool);
        let (pool, made) = match &body {
            EventBody::V3TransferPosition { from, token_id, .. } if !from.is_zero() => {
                let known = self.tokens.get(&(raw.address, *token_id)).map(|(pool, _)| *pool);
                (known.filter(|pool| self.pools.contains_key(pool)), None)
            }
            // Made before it is filled: the word on that comes next.
            EventBody::V3TransferPosition { token_id, .. } => (just_now, Some(*token_id)),
            EventBody::V3IncreaseLiquidity { .. }
            | EventBody::V3DecreaseLiquidity { .. }
            | EventBody::V3CollectPosition { .. } => {
                *acted = None;
                (just_now, None)
            }
            _ => return,
        };
        let Some(pool) = pool else { return };
        if let Some(made) = made {
            self.tokens.insert((raw.address, made), (pool, block.hash));
        }
        selected.push(pool, Ok(body), raw);
    }

    /// Tokens of V4's managers and the pools whose positions they are: a manager makes a token before it fills the position.
    fn minted(&self, logs: &[RawLog]) -> HashMap<(B256, Address, U256), PoolId> {
        if self.v4_managers.is_empty() {
            return HashMap::new();
        }
        let filled = |raw: &RawLog| {
            let kind = raw.topics.first().and_then(Kind::of).filter(|kind| *kind == Kind::V4ModifyLiquidity)?;
            let EventBody::V4ModifyLiquidity { sender, salt, .. } = decode_as(kind, raw).ok()? else { return None };
            let is_manager = self.v4_managers.get(&sender).is_some_and(|factory| *factory == raw.address);
            let key = (raw.tx_hash, sender, U256::from_be_bytes(salt.0));
            is_manager.then_some((key, PoolId::Id(*raw.topics.get(1)?)))
        };
        logs.iter().filter_map(filled).collect()
    }

    /// A token of a V4 manager was made, or changed hands. What is in its position the PoolManager says.
    fn of_v4_manager(
        &mut self,
        raw: RawLog,
        factory: Address,
        block: &BlockRef,
        minted: &HashMap<(B256, Address, U256), PoolId>,
        selected: &mut Selected,
    ) {
        if raw.topics.first() != Some(&POSITION_TOPIC) {
            return;
        }
        let Ok(body) = decode_as(Kind::V4TransferPosition, &raw) else { return };
        let EventBody::V4TransferPosition { from, token_id, .. } = &body else { return };
        let is_watched = |pool: &PoolId| self.pools.get(pool).is_some_and(|meta| meta.factory == factory);
        let token = (raw.address, *token_id);
        let pool = if from.is_zero() {
            minted.get(&(raw.tx_hash, raw.address, *token_id)).copied()
        } else {
            self.tokens.get(&token).map(|(pool, _)| *pool)
        };
        let Some(pool) = pool.filter(is_watched) else { return };
        if from.is_zero() {
            self.tokens.insert(token, (pool, block.hash));
        }
        selected.push(pool, Ok(body), raw);
    }

    fn creation(&mut self, chain: ChainId, block: BlockRef, kind: Kind, raw: RawLog, selected: &mut Selected) {
        let Some(dexes) = self.factories.get(&raw.address) else { return };
        if !dexes.iter().any(|dex| dex.protocol == kind.protocol()) {
            return;
        }
        let body = match decode_as(kind, &raw) {
            Ok(body) => body,
            Err(wrong) => return selected.push(PoolId::Address(raw.address), Err(wrong.to_string()), raw),
        };
        let (pool, token0, token1, fee_pips, tick_spacing) = match &body {
            EventBody::V2PairCreated { token0, token1, pair, .. } => (PoolId::Address(*pair), *token0, *token1, None, None),
            EventBody::V3PoolCreated { token0, token1, fee_pips, tick_spacing, pool } => {
                (PoolId::Address(*pool), *token0, *token1, Some(*fee_pips), Some(*tick_spacing))
            }
            EventBody::V4Initialize { token0, token1, fee_pips, tick_spacing, .. } => {
                let Some(id) = raw.topics.get(1) else { return };
                (PoolId::Id(*id), *token0, *token1, Some(*fee_pips), Some(*tick_spacing))
            }
            _ => return,
        };
        // The same factory may be configured twice with different pools.
        let wanted = |dex: &&Dex| dex.protocol == kind.protocol() && dex.admits(&pool);
        let Some(dex) = dexes.iter().find(wanted) else { return };
        let created = CreatedAt { block, tx_hash: Some(raw.tx_hash), log_index: raw.log_index };
        let meta = Arc::new(PoolMeta {
            chain,
            id: pool,
            protocol: dex.protocol,
            dex: dex.name.clone(),
            factory: raw.address,
            token0,
            token1,
            fee_pips: fee_pips.unwrap_or(dex.fee_pips),
            tick_spacing,
            hooks: match &body {
                EventBody::V4Initialize { hooks, .. } => Some(*hooks).filter(|hooks| !hooks.is_zero()),
                _ => None,
            },
            created,
            origin: None,
        });
        // A factory cannot create a pool twice; if one claims to, the first stands. The same log again (a block that is read
        // again after a restart) is the same creation.
        match self.pools.get(&pool) {
            Some(known) if known.created != meta.created => {}
            _ => {
                self.insert(Arc::clone(&meta));
                selected.created.push(meta);
            }
        }
        selected.push(pool, Ok(body), raw);
    }
}

impl Selected {
    fn push(&mut self, pool: PoolId, decoded: Result<EventBody, String>, raw: RawLog) {
        let body = decoded.unwrap_or_else(|reason| {
            self.malformed = self.malformed.saturating_add(1);
            EventBody::Undecodable { reason }
        });
        self.events.push(Event { pool, body, raw });
    }
}

#[cfg(test)]
mod tests;
