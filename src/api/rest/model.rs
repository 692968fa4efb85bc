//! What is written as JSON. Names follow the GraphQL schema; every amount is a string.

use std::sync::Arc;

use alloy::primitives::Address;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::gql::{event::At, token::decimals},
    domain::{
        block::{BlockRef, Commitment},
        event::{EventBody, EventKind},
        pool::{PoolState, Protocol},
        price::{self, Ratio, token1_per_token0},
        record::event_id,
        token::{TokenFlag, TokenMeta},
    },
    store::{Pin, PoolStatus, PoolView},
};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    /// For the next page; null on the last one.
    pub(super) cursor: Option<String>,
}

/// A block. The hash names it; a number alone does not survive a reorg.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Block {
    number: u64,
    hash: String,
    /// Seconds since 1970.
    timestamp: u64,
}

impl From<BlockRef> for Block {
    fn from(block: BlockRef) -> Self {
        Self { number: block.number, hash: format!("{:#x}", block.hash), timestamp: block.timestamp }
    }
}

/// A token, as its contract describes itself. Anybody may call a token `USDC`: go by the address.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Token {
    address: String,
    chain_id: u64,
    symbol: Option<String>,
    name: Option<String>,
    /// Null where the contract does not say: then nothing of it has a price.
    decimals: Option<u8>,
    /// Raw units, at `metadataAsOf`.
    total_supply: Option<String>,
    /// What is odd about it; empty for a well-behaved token.
    flags: Vec<String>,
    /// The block its contract was asked at.
    metadata_as_of: Option<Block>,
}

impl Token {
    pub(super) fn of(pin: &Pin, address: Address) -> Self {
        match pin.token(&address) {
            Some(meta) => Self::known(&meta),
            None => Self {
                address: format!("{address:#x}"),
                chain_id: pin.chain(),
                symbol: None,
                name: None,
                decimals: None,
                total_supply: None,
                flags: vec![flag(TokenFlag::MetadataPending).to_owned()],
                metadata_as_of: None,
            },
        }
    }

    pub(super) fn known(meta: &TokenMeta) -> Self {
        Self {
            address: format!("{:#x}", meta.address),
            chain_id: meta.chain,
            symbol: meta.symbol.clone(),
            name: meta.name.clone(),
            decimals: meta.decimals,
            total_supply: meta.total_supply.map(|supply| supply.to_string()),
            flags: meta.flags.iter().map(|f| flag(*f).to_owned()).collect(),
            metadata_as_of: Some(meta.as_of.into()),
        }
    }
}

fn flag(flag: TokenFlag) -> &'static str {
    match flag {
        TokenFlag::MetadataPending => "METADATA_PENDING",
        TokenFlag::NoCode => "NO_CODE",
        TokenFlag::NameMissing => "NAME_MISSING",
        TokenFlag::SymbolMissing => "SYMBOL_MISSING",
        TokenFlag::SymbolBytes32 => "SYMBOL_BYTES32",
        TokenFlag::NameBytes32 => "NAME_BYTES32",
        TokenFlag::TextMended => "TEXT_MENDED",
        TokenFlag::DecimalsMissing => "DECIMALS_MISSING",
        TokenFlag::DecimalsAbsurd => "DECIMALS_ABSURD",
        TokenFlag::TotalSupplyMissing => "TOTAL_SUPPLY_MISSING",
    }
}

/// A pool's state. It equals what the contract answers at the block in the headers, or at `heldAt` where that is not null.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pool {
    /// The contract's address, lowercase.
    id: String,
    chain_id: u64,
    protocol: &'static str,
    /// Name of the exchange in this server's configuration.
    dex: String,
    factory: String,
    token0: Token,
    token1: Token,
    /// Swap fee in hundredths of a basis point: 3000 is 0.30 %.
    fee_tier: u32,
    tick_spacing: Option<i32>,
    /// V3: in-range liquidity.
    liquidity: Option<String>,
    /// V3: sqrt(token1 per token0) in raw units, Q64.96; 0 until initialised.
    sqrt_price: Option<String>,
    /// V3: null until initialised.
    tick: Option<i32>,
    /// V2, raw units.
    reserve0: Option<String>,
    /// V2, raw units.
    reserve1: Option<String>,
    /// token0 per token1.
    token0_price: Option<String>,
    /// token1 per token0.
    token1_price: Option<String>,
    /// LIVE, REBUILDING or FAULTED.
    status: &'static str,
    /// Where it is not LIVE: the block at which this state is true.
    held_at: Option<Block>,
    /// Null where the pool is older than what this server has read.
    created_at_block_number: Option<u64>,
    created_at_timestamp: Option<u64>,
}

impl Pool {
    pub(super) fn of(pin: &Pin, view: &PoolView) -> Self {
        let meta = &view.meta;
        let ratio = decimals(pin, &meta.token0).zip(decimals(pin, &meta.token1));
        let ratio = ratio.and_then(|(decimals0, decimals1)| token1_per_token0(&view.state, decimals0, decimals1));
        let (v2, v3) = match &view.state {
            PoolState::V2(state) => (Some(state), None),
            PoolState::V3(state) => (None, Some(state)),
        };
        Self {
            id: meta.id.to_string(),
            chain_id: meta.chain,
            protocol: protocol(meta.protocol),
            dex: meta.dex.clone(),
            factory: format!("{:#x}", meta.factory),
            token0: Token::of(pin, meta.token0),
            token1: Token::of(pin, meta.token1),
            fee_tier: meta.fee_pips,
            tick_spacing: meta.tick_spacing,
            liquidity: v3.map(|s| s.liquidity.to_string()),
            sqrt_price: v3.map(|s| s.sqrt_price_x96.to_string()),
            tick: v3.filter(|s| s.is_initialized()).map(|s| s.tick),
            reserve0: v2.map(|s| s.reserve0.to_string()),
            reserve1: v2.map(|s| s.reserve1.to_string()),
            token0_price: ratio.and_then(Ratio::inverse).and_then(Ratio::decimal),
            token1_price: ratio.and_then(Ratio::decimal),
            status: status(view.status),
            held_at: view.held_at.map(Into::into),
            created_at_block_number: meta.creation().map(|block| block.number),
            created_at_timestamp: meta.creation().map(|block| block.timestamp),
        }
    }
}

pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::UniswapV2 => "UNISWAP_V2",
        Protocol::UniswapV3 => "UNISWAP_V3",
    }
}

fn status(status: PoolStatus) -> &'static str {
    match status {
        PoolStatus::Live => "LIVE",
        PoolStatus::Rebuilding => "REBUILDING",
        PoolStatus::Faulted => "FAULTED",
    }
}

/// An initialised tick of a V3 pool.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tick {
    pub(super) tick_idx: i32,
    pub(super) liquidity_gross: String,
    /// What is added to the in-range liquidity when the price crosses upwards.
    pub(super) liquidity_net: String,
}

/// A swap, mint or burn.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    /// `chainId:blockHash:logIndex`: a transaction that is mined again after a reorg gets a new one.
    id: String,
    /// SWAP, MINT or BURN.
    kind: &'static str,
    chain_id: u64,
    block: Block,
    transaction_hash: String,
    log_index: u64,
    pool: String,
    /// Null only where the pool is not known any more.
    token0: Option<String>,
    token1: Option<String>,
    /// Who called the pool: usually a router.
    sender: Option<String>,
    recipient: Option<String>,
    /// Who signed the transaction; null until it has been looked up.
    origin: Option<String>,
    gas_used: Option<String>,
    /// Wei.
    gas_price: Option<String>,
    /// In token0's own unit. Swap: positive into the pool, negative out of it; mint and burn: how much. Null where decimals are not known.
    amount0: Option<String>,
    amount1: Option<String>,
    amount0_raw: Option<String>,
    amount1_raw: Option<String>,
    /// V3 swap: after it.
    sqrt_price_x96: Option<String>,
    tick: Option<i32>,
    /// V3 mint and burn: whose position.
    owner: Option<String>,
    tick_lower: Option<i32>,
    tick_upper: Option<i32>,
    /// V3 mint and burn: how much liquidity.
    liquidity: Option<String>,
    /// LATEST, SAFE or FINALIZED.
    commitment: &'static str,
}

impl Event {
    pub(super) fn of(pin: &Arc<Pin>, found: crate::domain::record::EventAt) -> Self {
        let at = At::new(pin, found);
        let event = at.event();
        let raw = &event.row.event.raw;
        let amounts = at.amounts();
        let hex = |address: Address| format!("{address:#x}");
        let (sqrt_price_x96, tick) = match &event.row.event.body {
            EventBody::V3Swap { sqrt_price_x96, tick, .. } => (Some(sqrt_price_x96.to_string()), Some(*tick)),
            _ => (None, None),
        };
        let position = at.position();
        let meta = at.meta();
        Self {
            id: event_id(event.chain, &event.block.hash, raw.log_index),
            kind: match event.row.kind() {
                EventKind::Mint => "MINT",
                EventKind::Burn => "BURN",
                _ => "SWAP",
            },
            chain_id: event.chain,
            block: event.block.into(),
            transaction_hash: format!("{:#x}", raw.tx_hash),
            log_index: raw.log_index,
            pool: event.row.event.pool.to_string(),
            token0: meta.map(|meta| hex(meta.token0)),
            token1: meta.map(|meta| hex(meta.token1)),
            sender: at.sender().map(hex),
            recipient: at.recipient().map(hex),
            origin: event.row.enrichment.map(|e| hex(e.origin)),
            gas_used: event.row.enrichment.map(|e| e.gas_used.to_string()),
            gas_price: event.row.enrichment.map(|e| e.gas_price_wei.to_string()),
            amount0: amounts.zip(at.decimals0()).and_then(|((amount, _), decimals)| price::amount(amount, decimals)),
            amount1: amounts.zip(at.decimals1()).and_then(|((_, amount), decimals)| price::amount(amount, decimals)),
            amount0_raw: amounts.map(|(amount, _)| amount.to_string()),
            amount1_raw: amounts.map(|(_, amount)| amount.to_string()),
            sqrt_price_x96,
            tick,
            owner: position.map(|(owner, ..)| hex(owner)),
            tick_lower: position.map(|(_, lower, ..)| lower),
            tick_upper: position.map(|(_, _, upper, _)| upper),
            liquidity: position.map(|(.., liquidity)| liquidity.to_string()),
            commitment: match pin.commitment(event.block.number) {
                Commitment::Latest => "LATEST",
                Commitment::Safe => "SAFE",
                Commitment::Finalized => "FINALIZED",
            },
        }
    }
}

/// How new this server is.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chain {
    pub(super) chain_id: u64,
    pub(super) name: String,
    /// The newest block; null before the first one arrived.
    pub(super) block: Option<Block>,
    /// LIVE, DELAYED or STALE.
    pub(super) freshness: &'static str,
    pub(super) at_head: bool,
    pub(super) safe_block: u64,
    pub(super) finalized_block: u64,
    /// The newest block that is in the store.
    pub(super) durable_block: u64,
    pub(super) pools: usize,
}
