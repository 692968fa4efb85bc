//! What is written as JSON. Names follow the GraphQL schema; every amount is a string. Every field is always written: what is not
//! there is null.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    text::{Address, Cursor, Decimal, EventId, Hash, PoolKey, Signed, Unsigned},
    words::{Commitment, Freshness, Kind, PoolStatus, Protocol, TokenFlag},
};
use crate::{
    api::gql::{event::At, token::decimals, value::PoolValue},
    domain::{
        block::BlockRef,
        event::EventBody,
        pool::PoolState,
        price::{self, Ratio, token1_per_token0},
        token::{self, TokenMeta},
    },
    store::{Pin, PoolView},
};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    #[schema(max_items = 1000)]
    pub(super) data: Vec<T>,
    /// For the next page; null on the last one.
    pub(super) cursor: Option<Cursor>,
}

/// A block. The hash names it; a number alone does not survive a reorg.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Block {
    #[schema(example = 23_456_789)]
    number: u64,
    hash: Hash,
    /// Seconds since 1970.
    #[schema(example = 1_760_000_000)]
    timestamp: u64,
}

impl From<BlockRef> for Block {
    fn from(block: BlockRef) -> Self {
        Self { number: block.number, hash: block.hash.into(), timestamp: block.timestamp }
    }
}

/// A token, as its contract describes itself. Anybody may call a token `USDC`: go by the address.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Token {
    address: Address,
    #[schema(example = 1)]
    chain_id: u64,
    /// Text of a stranger: escape it before you show it.
    #[schema(example = "WETH")]
    symbol: Option<String>,
    /// Text of a stranger: escape it before you show it.
    #[schema(example = "Wrapped Ether")]
    name: Option<String>,
    /// Null where the contract does not say: then nothing of it has a price.
    #[schema(minimum = 0, maximum = 255, example = 18)]
    decimals: Option<u8>,
    /// Raw units, at `metadataAsOf`.
    total_supply: Option<Unsigned>,
    /// What is odd about it; empty for a well-behaved token.
    flags: Vec<TokenFlag>,
    /// The block its contract was asked at.
    metadata_as_of: Option<Block>,
}

impl Token {
    pub(super) fn of(pin: &Pin, address: alloy::primitives::Address) -> Self {
        match pin.token(&address) {
            Some(meta) => Self::known(&meta),
            None => Self {
                address: address.into(),
                chain_id: pin.chain(),
                symbol: None,
                name: None,
                decimals: None,
                total_supply: None,
                flags: vec![token::TokenFlag::MetadataPending.into()],
                metadata_as_of: None,
            },
        }
    }

    pub(super) fn known(meta: &TokenMeta) -> Self {
        Self {
            address: meta.address.into(),
            chain_id: meta.chain,
            symbol: meta.symbol.clone(),
            name: meta.name.clone(),
            decimals: meta.decimals,
            total_supply: meta.total_supply.map(Into::into),
            flags: meta.flags.iter().map(|flag| (*flag).into()).collect(),
            metadata_as_of: Some(meta.as_of.into()),
        }
    }
}

/// A pool's state. It equals what the contract answers at the block in the headers, or at `heldAt` where that is not null.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pool {
    id: PoolKey,
    #[schema(example = 1)]
    chain_id: u64,
    protocol: Protocol,
    /// Name of the exchange in this server's configuration.
    #[schema(example = "uniswap-v3")]
    dex: String,
    factory: Address,
    token0: Token,
    token1: Token,
    /// Swap fee in hundredths of a basis point: 3000 is 0.30 %. 8388608 (0x800000): the pool's hook says it with each swap.
    #[schema(maximum = 8_388_608, example = 3000)]
    fee_tier: u32,
    /// V4: whom the PoolManager calls when it acts on the pool; null: nobody, and of all other protocols.
    hooks: Option<Address>,
    /// V4: its hook has a say in what a swap comes to, so that only the contracts can quote it.
    is_hooked: bool,
    /// V3, V4: every tick that can be initialised is a multiple of it.
    #[schema(minimum = 1, maximum = 16_383, example = 60)]
    tick_spacing: Option<i32>,
    /// V3, V4: in-range liquidity.
    liquidity: Option<Unsigned>,
    /// V3, V4: sqrt(token1 per token0) in raw units, Q64.96; 0 until initialised.
    sqrt_price: Option<Unsigned>,
    /// V3, V4: null until initialised.
    #[schema(minimum = -887_272, maximum = 887_272, example = 194_280)]
    tick: Option<i32>,
    /// V2, raw units.
    reserve0: Option<Unsigned>,
    /// V2, raw units.
    reserve1: Option<Unsigned>,
    /// token0 per token1; null where there is no price.
    token0_price: Option<Decimal>,
    /// token1 per token0; null where there is no price.
    token1_price: Option<Decimal>,
    /// token0 that it holds, in its own unit: of V2 the reserve, of V3 all that came in less what went out. Null where decimals are not known.
    total_value_locked_token0: Option<Decimal>,
    /// The same of token1.
    total_value_locked_token1: Option<Decimal>,
    /// token0 that was ever traded, in either direction, in its own unit.
    volume_token0: Option<Decimal>,
    /// token1 that was ever traded, in either direction, in its own unit.
    volume_token1: Option<Decimal>,
    /// Dollars that were ever traded, each swap at the prices of its block. Null where the value of some of them is not known.
    #[serde(rename = "volumeUSD")]
    volume_usd: Option<Decimal>,
    /// What traders paid for that.
    #[serde(rename = "feesUSD")]
    fees_usd: Option<Decimal>,
    /// What traders paid in token0, the protocol's part included: of V3 what the contract took, step by step. As far as this server has read.
    fees_token0: Option<Decimal>,
    /// The same in token1.
    fees_token1: Option<Decimal>,
    /// V3, V4: fees in token0 that owners of positions took out, without what they had put in. Null where the pool is older than what this server has read.
    collected_fees_token0: Option<Decimal>,
    /// The same in token1.
    collected_fees_token1: Option<Decimal>,
    /// V3: token0 that the protocol took and has not collected yet, as `protocolFees()` answers. V4: all that it took of this pool's swaps; the
    /// PoolManager keeps what is not collected by token.
    protocol_fees_token0: Option<Decimal>,
    /// The same of token1.
    protocol_fees_token1: Option<Decimal>,
    /// Swaps so far.
    swap_count: u32,
    status: PoolStatus,
    /// Where it is not LIVE: the block at which this state is true.
    held_at: Option<Block>,
    /// Null where the pool is older than what this server has read.
    created_at_block_number: Option<u64>,
    /// Seconds since 1970; null where the number is.
    created_at_timestamp: Option<u64>,
}

impl Pool {
    pub(super) fn of(pin: &Pin, view: &PoolView) -> Self {
        let meta = &view.meta;
        let ratio = decimals(pin, &meta.token0).zip(decimals(pin, &meta.token1));
        let ratio = ratio.and_then(|(decimals0, decimals1)| token1_per_token0(&view.image.state, decimals0, decimals1));
        let (v2, v3) = match &view.image.state {
            PoolState::V2(state) => (Some(state), None),
            PoolState::V3(state) | PoolState::V4(state) => (None, Some(state)),
        };
        let value = PoolValue::new(pin, view);
        Self {
            id: meta.id.into(),
            chain_id: meta.chain,
            protocol: meta.protocol.into(),
            dex: meta.dex.clone(),
            factory: meta.factory.into(),
            token0: Token::of(pin, meta.token0),
            token1: Token::of(pin, meta.token1),
            fee_tier: meta.fee_pips,
            hooks: meta.hooks.map(Into::into),
            is_hooked: meta.is_hooked(),
            tick_spacing: meta.tick_spacing,
            liquidity: v3.map(|s| s.liquidity.into()),
            sqrt_price: v3.map(|s| s.sqrt_price_x96.into()),
            tick: v3.filter(|s| s.is_initialized()).map(|s| s.tick),
            reserve0: v2.map(|s| s.reserve0.into()),
            reserve1: v2.map(|s| s.reserve1.into()),
            token0_price: ratio.and_then(Ratio::inverse).and_then(Ratio::decimal).map(Decimal),
            token1_price: ratio.and_then(Ratio::decimal).map(Decimal),
            total_value_locked_token0: value.locked0.map(Decimal),
            total_value_locked_token1: value.locked1.map(Decimal),
            volume_token0: value.volume0.map(Decimal),
            volume_token1: value.volume1.map(Decimal),
            volume_usd: value.volume_usd.map(Decimal),
            fees_usd: value.fees_usd.map(Decimal),
            fees_token0: value.fees0.map(Decimal),
            fees_token1: value.fees1.map(Decimal),
            collected_fees_token0: value.collected0.map(Decimal),
            collected_fees_token1: value.collected1.map(Decimal),
            protocol_fees_token0: value.protocol0.map(Decimal),
            protocol_fees_token1: value.protocol1.map(Decimal),
            swap_count: value.swaps,
            status: view.status.into(),
            held_at: view.held_at.map(Into::into),
            created_at_block_number: meta.creation().map(|block| block.number),
            created_at_timestamp: meta.creation().map(|block| block.timestamp),
        }
    }
}

/// An initialised tick of a V3 pool.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tick {
    #[schema(minimum = -887_272, maximum = 887_272, example = 194_280)]
    pub(super) tick_idx: i32,
    /// Of all positions that begin or end here.
    pub(super) liquidity_gross: Unsigned,
    /// What is added to the in-range liquidity when the price crosses upwards.
    pub(super) liquidity_net: Signed,
}

/// A swap, mint or burn.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    id: EventId,
    kind: Kind,
    #[schema(example = 1)]
    chain_id: u64,
    block: Block,
    transaction_hash: Hash,
    /// Its place in the block.
    #[schema(example = 7)]
    log_index: u64,
    pool: PoolKey,
    /// Null only where the pool is not known any more.
    token0: Option<Address>,
    /// Null only where the pool is not known any more.
    token1: Option<Address>,
    /// Who called the pool: usually a router.
    sender: Option<Address>,
    /// Who got what came out of it.
    recipient: Option<Address>,
    /// Who signed the transaction; null until it has been looked up.
    origin: Option<Address>,
    /// Of the whole transaction; null until it has been looked up.
    gas_used: Option<Unsigned>,
    /// Wei; null until it has been looked up.
    gas_price: Option<Unsigned>,
    /// In token0's own unit. Swap: positive into the pool, negative out of it; mint and burn: how much. Null where decimals are not known.
    amount0: Option<Decimal>,
    /// In token1's own unit, as `amount0`.
    amount1: Option<Decimal>,
    /// As `amount0`, in raw units.
    amount0_raw: Option<Signed>,
    /// As `amount1`, in raw units.
    amount1_raw: Option<Signed>,
    /// What it moved in dollars, at the prices of the end of its block. Null where nothing says what its tokens cost.
    #[serde(rename = "amountUSD")]
    amount_usd: Option<Decimal>,
    /// V3, V4 swap: after it.
    sqrt_price_x96: Option<Unsigned>,
    /// V3, V4 swap: after it.
    #[schema(minimum = -887_272, maximum = 887_272, example = 194_280)]
    tick: Option<i32>,
    /// Swap: what it paid, in hundredths of a basis point; of V4 its own fee, the protocol's part included, else the pool's.
    fee_pips: Option<u32>,
    /// V3, V4 mint and burn: whose position; of V4 the contract that acts for its owner, mostly a position manager.
    owner: Option<Address>,
    /// V3, V4 mint and burn: where the position begins.
    #[schema(minimum = -887_272, maximum = 887_272, example = 193_200)]
    tick_lower: Option<i32>,
    /// V3, V4 mint and burn: where the position ends.
    #[schema(minimum = -887_272, maximum = 887_272, example = 195_600)]
    tick_upper: Option<i32>,
    /// V3, V4 mint and burn: how much liquidity.
    liquidity: Option<Unsigned>,
    commitment: Commitment,
}

impl Event {
    pub(super) fn of(pin: &Arc<Pin>, found: crate::domain::record::EventAt) -> Self {
        let at = At::new(pin, found);
        let event = at.event();
        let raw = &event.row.event.raw;
        let amounts = at.amounts();
        let (sqrt_price_x96, tick) = match &event.row.event.body {
            EventBody::V3Swap { sqrt_price_x96, tick, .. } | EventBody::V4Swap { sqrt_price_x96, tick, .. } => {
                (Some((*sqrt_price_x96).into()), Some(*tick))
            }
            _ => (None, None),
        };
        let position = at.position();
        let meta = at.meta();
        Self {
            id: EventId::new(event.chain, &event.block, raw.log_index),
            kind: event.row.kind().into(),
            chain_id: event.chain,
            block: event.block.into(),
            transaction_hash: raw.tx_hash.into(),
            log_index: raw.log_index,
            pool: event.row.event.pool.into(),
            token0: meta.map(|meta| meta.token0.into()),
            token1: meta.map(|meta| meta.token1.into()),
            sender: at.sender().map(Into::into),
            recipient: at.recipient().map(Into::into),
            origin: event.row.enrichment.map(|e| e.origin.into()),
            gas_used: event.row.enrichment.map(|e| e.gas_used.into()),
            gas_price: event.row.enrichment.map(|e| e.gas_price_wei.into()),
            amount0: amounts.zip(at.decimals0()).and_then(|((amount, _), decimals)| price::amount(amount, decimals)).map(Decimal),
            amount1: amounts.zip(at.decimals1()).and_then(|((_, amount), decimals)| price::amount(amount, decimals)).map(Decimal),
            amount0_raw: amounts.map(|(amount, _)| amount.into()),
            amount1_raw: amounts.map(|(_, amount)| amount.into()),
            amount_usd: event.row.usd.map(|usd| Decimal(usd.to_string())),
            sqrt_price_x96,
            tick,
            fee_pips: at.fee_pips(),
            owner: position.map(|(owner, ..)| owner.into()),
            tick_lower: position.map(|(_, lower, ..)| lower),
            tick_upper: position.map(|(_, _, upper, _)| upper),
            liquidity: position.map(|(.., liquidity)| liquidity.into()),
            commitment: if event.canonical { pin.commitment(event.block.number).into() } else { Commitment::Latest },
        }
    }
}

/// How new this server is.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chain {
    #[schema(example = 1)]
    pub(super) chain_id: u64,
    /// What this server's configuration calls it.
    #[schema(example = "ethereum")]
    pub(super) name: String,
    /// The newest block; null before the first one arrived.
    pub(super) block: Option<Block>,
    pub(super) freshness: Freshness,
    /// False while history is being read.
    pub(super) at_head: bool,
    /// Blocks up to here count as SAFE.
    pub(super) safe_block: u64,
    /// Blocks up to here cannot be taken back.
    pub(super) finalized_block: u64,
    /// The newest block that is in the store; 0 while the store does not answer since the start.
    pub(super) durable_block: u64,
    /// How many pools are followed.
    pub(super) pools: usize,
}
