//! Swaps, mints and burns.

use std::sync::Arc;

use alloy::primitives::{Address, I256, U256};
use async_graphql::{ID, MergedObject, Object};

use super::{
    block::{BlockRef, Commitment},
    connection::connection,
    pool::Pool,
    scalars::{AddressScalar, BigDecimal, BigInt, Timestamp},
    token::{Token, decimals},
    transaction::Transaction,
};
use crate::{
    domain::{
        event::{EventBody, EventKind},
        pool::{PoolMeta, StateAfter},
        price,
        record::{EventAt, event_id},
    },
    store::Pin,
};

/// How far a retracted event's pool is searched for among the blocks that were taken back with it.
const ORPHANS_SEARCHED_BLOCKS: usize = 256;

/// One event with what is needed to read it. Cheap to clone.
#[derive(Clone)]
pub(in crate::api) struct At {
    pin: Arc<Pin>,
    event: Arc<EventAt>,
    meta: Option<Arc<PoolMeta>>,
}

impl At {
    pub(in crate::api) fn new(pin: &Arc<Pin>, event: EventAt) -> Self {
        let meta = meta_of(pin, &event);
        Self { pin: pin.clone(), event: Arc::new(event), meta }
    }

    pub(in crate::api) fn event(&self) -> &EventAt {
        &self.event
    }

    pub(super) fn pin(&self) -> &Arc<Pin> {
        &self.pin
    }

    pub(in crate::api) fn meta(&self) -> Option<&PoolMeta> {
        self.meta.as_deref()
    }

    /// Whether the token is one of the pool's two.
    pub(super) fn trades(&self, token: &Address) -> bool {
        self.meta.as_ref().is_some_and(|meta| meta.token0 == *token || meta.token1 == *token)
    }

    fn body(&self) -> &EventBody {
        &self.event.row.event.body
    }

    /// `(amount0, amount1)` as they are shown: signed for a swap, sizes for all others.
    pub(in crate::api) fn amounts(&self) -> Option<(I256, I256)> {
        let (amount0, amount1) = self.event.row.amounts()?;
        if self.event.row.kind() == EventKind::Swap { Some((amount0, amount1)) } else { Some((size(amount0), size(amount1))) }
    }

    pub(in crate::api) fn decimals0(&self) -> Option<u8> {
        decimals(&self.pin, &self.meta.as_ref()?.token0)
    }

    pub(in crate::api) fn decimals1(&self) -> Option<u8> {
        decimals(&self.pin, &self.meta.as_ref()?.token1)
    }

    fn in_unit0(&self, raw: U256) -> Option<BigDecimal> {
        price::unsigned_amount(raw, self.decimals0()?).map(BigDecimal)
    }

    fn in_unit1(&self, raw: U256) -> Option<BigDecimal> {
        price::unsigned_amount(raw, self.decimals1()?).map(BigDecimal)
    }

    /// V2's own four numbers: `(amount0In, amount1In, amount0Out, amount1Out)`.
    fn in_and_out(&self) -> Option<(U256, U256, U256, U256)> {
        match self.body() {
            EventBody::V2Swap { amount0_in, amount1_in, amount0_out, amount1_out, .. } => {
                Some((*amount0_in, *amount1_in, *amount0_out, *amount1_out))
            }
            _ => None,
        }
    }

    pub(in crate::api) fn sender(&self) -> Option<Address> {
        match self.body() {
            EventBody::V2Swap { sender, .. }
            | EventBody::V3Swap { sender, .. }
            | EventBody::V2Mint { sender, .. }
            | EventBody::V3Mint { sender, .. }
            | EventBody::V4Swap { sender, .. }
            | EventBody::V4ModifyLiquidity { sender, .. }
            | EventBody::V2Burn { sender, .. } => Some(*sender),
            _ => None,
        }
    }

    pub(in crate::api) fn recipient(&self) -> Option<Address> {
        match self.body() {
            EventBody::V2Swap { to, .. } | EventBody::V2Burn { to, .. } => Some(*to),
            EventBody::V3Swap { recipient, .. } => Some(*recipient),
            _ => None,
        }
    }

    /// `(owner, tick_lower, tick_upper, liquidity)` of a V3 position's change.
    pub(in crate::api) fn position(&self) -> Option<(Address, i32, i32, u128)> {
        match self.body() {
            EventBody::V3Mint { owner, tick_lower, tick_upper, amount, .. }
            | EventBody::V3Burn { owner, tick_lower, tick_upper, amount, .. } => {
                Some((*owner, *tick_lower, *tick_upper, *amount))
            }
            EventBody::V4ModifyLiquidity { sender, tick_lower, tick_upper, liquidity_delta, .. } => {
                Some((*sender, *tick_lower, *tick_upper, liquidity_delta.unsigned_abs()))
            }
            _ => None,
        }
    }

    /// What a swap paid, hundredths of a basis point.
    pub(in crate::api) fn fee_pips(&self) -> Option<u32> {
        let is_swap = self.event.row.kind() == EventKind::Swap;
        self.meta.as_ref().filter(|_| is_swap).map(|meta| self.event.row.fee_pips(meta.fee_pips))
    }

    fn after_v2(&self) -> Option<(u128, u128)> {
        match self.event.row.after? {
            StateAfter::V2 { reserve0, reserve1 } => Some((reserve0, reserve1)),
            StateAfter::V3 { .. } => None,
        }
    }

    fn after_v3(&self) -> Option<(U256, i32, u128)> {
        match self.event.row.after? {
            StateAfter::V3 { sqrt_price_x96, tick, liquidity } => Some((sqrt_price_x96, tick, liquidity)),
            StateAfter::V2 { .. } => None,
        }
    }
}

fn size(amount: I256) -> I256 {
    amount.checked_abs().unwrap_or(amount)
}

/// The pool's description, also where the pool itself was taken back together with the event.
pub(super) fn meta_of(pin: &Pin, event: &EventAt) -> Option<Arc<PoolMeta>> {
    let id = event.row.event.pool;
    if let Some(view) = pin.pool(&id) {
        return Some(view.meta.clone());
    }
    let mut hash = event.block.hash;
    for _ in 0..ORPHANS_SEARCHED_BLOCKS {
        let record = pin.live().record(&hash)?;
        if let Some(meta) = record.created.iter().find(|meta| meta.id == id) {
            return Some(meta.clone());
        }
        hash = record.block.parent_hash;
    }
    None
}

/// What every event has.
pub(crate) struct EventFields(At);

/// What every event has.
#[Object]
impl EventFields {
    /// `chainId:blockHash:logIndex`. A transaction that is mined again after a reorg gets a new one.
    async fn id(&self) -> ID {
        let At { event, .. } = &self.0;
        ID(event_id(event.chain, &event.block.hash, event.row.log_index()))
    }

    /// EIP-155 id of the chain it is on.
    async fn chain_id(&self) -> u64 {
        self.0.event.chain
    }

    /// The block it is in.
    async fn block(&self) -> BlockRef {
        self.0.event.block.into()
    }

    /// Index of its log within the block, from 0.
    async fn log_index(&self) -> u64 {
        self.0.event.row.log_index()
    }

    /// Time of its block, seconds since 1970.
    async fn timestamp(&self) -> Timestamp {
        Timestamp(self.0.event.block.timestamp)
    }

    /// The pool's token with the smaller address. Null only where the pool is not known any more.
    async fn token0(&self) -> Option<Token> {
        Some(Token::of(&self.0.pin, self.0.meta.as_ref()?.token0))
    }

    /// The pool's token with the larger address. Null only where the pool is not known any more.
    async fn token1(&self) -> Option<Token> {
        Some(Token::of(&self.0.pin, self.0.meta.as_ref()?.token1))
    }

    /// Who called the pool: usually a router. Null where the event does not say.
    async fn sender(&self) -> Option<AddressScalar> {
        self.0.sender().map(AddressScalar)
    }

    /// Who signed the transaction. Null until it has been looked up.
    async fn origin(&self) -> Option<AddressScalar> {
        self.0.event.row.enrichment.map(|e| AddressScalar(e.origin))
    }

    /// Amount of token0 in its own unit. Swap: positive into the pool, negative out of it. Mint and burn: how much, positive.
    /// Null where the token's decimals are not known.
    #[graphql(name = "amount0")]
    async fn amount0(&self) -> Option<BigDecimal> {
        price::amount(self.0.amounts()?.0, self.0.decimals0()?).map(BigDecimal)
    }

    /// Amount of token1 in its own unit; signs as in `amount0`.
    #[graphql(name = "amount1")]
    async fn amount1(&self) -> Option<BigDecimal> {
        price::amount(self.0.amounts()?.1, self.0.decimals1()?).map(BigDecimal)
    }

    /// Amount of token0 in raw units, exact; signs as in `amount0`. Null only where a hostile pair emits more than 255 bits.
    #[graphql(name = "amount0Raw")]
    async fn amount0_raw(&self) -> Option<BigInt> {
        self.0.amounts().map(|(amount, _)| amount.into())
    }

    /// Amount of token1 in raw units, exact; signs as in `amount0`. Null only where a hostile pair emits more than 255 bits.
    #[graphql(name = "amount1Raw")]
    async fn amount1_raw(&self) -> Option<BigInt> {
        self.0.amounts().map(|(_, amount)| amount.into())
    }

    /// What it moved in dollars, at the prices of the end of its block: a swap by the side that is nearer to a dollar, a mint or burn by
    /// both sides. Null where nothing says what its tokens cost.
    #[graphql(name = "amountUSD")]
    async fn amount_usd(&self) -> Option<BigDecimal> {
        self.0.event.row.usd.map(|usd| BigDecimal(usd.to_string()))
    }

    /// How settled its block is; LATEST where it was taken back.
    async fn commitment(&self) -> Commitment {
        let At { pin, event, .. } = &self.0;
        if event.canonical { pin.commitment(event.block.number).into() } else { Commitment::Latest }
    }

    /// True where a reorg took it back: it did not happen.
    async fn removed(&self) -> bool {
        !self.0.event.canonical
    }

    /// V2: reserve of token0 after the event, in raw units. Null for V3, and where no state follows.
    #[graphql(name = "reserve0After")]
    async fn reserve0_after(&self) -> Option<BigInt> {
        self.0.after_v2().map(|(reserve, _)| reserve.into())
    }

    /// V2: reserve of token1 after the event, in raw units. Null for V3, and where no state follows.
    #[graphql(name = "reserve1After")]
    async fn reserve1_after(&self) -> Option<BigInt> {
        self.0.after_v2().map(|(_, reserve)| reserve.into())
    }

    /// V3, V4: in-range liquidity after the event. Null for V2, and where no state follows.
    async fn liquidity_after(&self) -> Option<BigInt> {
        self.0.after_v3().map(|(_, _, liquidity)| liquidity.into())
    }
}

/// What only a swap has.
pub(crate) struct SwapFields(At);

/// What only a swap has.
#[Object]
impl SwapFields {
    /// Who got the tokens that left the pool.
    async fn recipient(&self) -> Option<AddressScalar> {
        self.0.recipient().map(AddressScalar)
    }

    /// V3, V4: sqrt(token1 per token0) in raw units as a Q64.96 integer, after the swap. Null for V2.
    #[graphql(name = "sqrtPriceX96")]
    async fn sqrt_price_x96(&self) -> Option<BigInt> {
        match self.0.body() {
            EventBody::V3Swap { sqrt_price_x96, .. } | EventBody::V4Swap { sqrt_price_x96, .. } => Some((*sqrt_price_x96).into()),
            _ => None,
        }
    }

    /// V3, V4: the tick after the swap. Null for V2.
    async fn tick(&self) -> Option<i32> {
        match self.0.body() {
            EventBody::V3Swap { tick, .. } | EventBody::V4Swap { tick, .. } => Some(*tick),
            _ => None,
        }
    }

    /// What it paid, in hundredths of a basis point: of V4 its own fee, the protocol's part included, else the pool's. Null where the pool is not
    /// known any more.
    async fn fee_pips(&self) -> Option<u32> {
        self.0.fee_pips()
    }

    /// V2: token0 that went in, in its own unit. Null for V3.
    #[graphql(name = "amount0In")]
    async fn amount0_in(&self) -> Option<BigDecimal> {
        self.0.in_unit0(self.0.in_and_out()?.0)
    }

    /// V2: token1 that went in, in its own unit. Null for V3.
    #[graphql(name = "amount1In")]
    async fn amount1_in(&self) -> Option<BigDecimal> {
        self.0.in_unit1(self.0.in_and_out()?.1)
    }

    /// V2: token0 that came out, in its own unit. Null for V3.
    #[graphql(name = "amount0Out")]
    async fn amount0_out(&self) -> Option<BigDecimal> {
        self.0.in_unit0(self.0.in_and_out()?.2)
    }

    /// V2: token1 that came out, in its own unit. Null for V3.
    #[graphql(name = "amount1Out")]
    async fn amount1_out(&self) -> Option<BigDecimal> {
        self.0.in_unit1(self.0.in_and_out()?.3)
    }
}

/// What a mint and a burn have.
pub(crate) struct PositionFields(At);

/// What a mint and a burn have.
#[Object]
impl PositionFields {
    /// V3, V4: who owns the position; of V4 the contract that acts for its owner, mostly a position manager. Null for V2, whose shares are a token.
    async fn owner(&self) -> Option<AddressScalar> {
        self.0.position().map(|(owner, ..)| AddressScalar(owner))
    }

    /// V3, V4: liquidity added or removed, positive. Null for V2.
    async fn amount(&self) -> Option<BigInt> {
        self.0.position().map(|(.., amount)| amount.into())
    }

    /// V3, V4: lower end of the position, a tick index, inclusive. Null for V2.
    async fn tick_lower(&self) -> Option<i32> {
        self.0.position().map(|(_, lower, ..)| lower)
    }

    /// V3, V4: upper end of the position, a tick index, exclusive. Null for V2.
    async fn tick_upper(&self) -> Option<i32> {
        self.0.position().map(|(_, _, upper, _)| upper)
    }
}

/// What only a burn has.
pub(crate) struct BurnFields(At);

/// What only a burn has.
#[Object]
impl BurnFields {
    /// V2: who got the tokens. Null for V3, which hands them out by a later collect.
    async fn to(&self) -> Option<AddressScalar> {
        self.0.recipient().map(AddressScalar)
    }
}

/// What leads from an event to lists of events. A part of its own for each type: the engine builds a type out of parts that are
/// complete, and this one is complete only when the three types are.
macro_rules! links {
    ($name:ident) => {
        /// What an event belongs to.
        pub(crate) struct $name(At);

        /// What an event belongs to.
        #[Object]
        impl $name {
            /// The transaction it is in.
            async fn transaction(&self) -> Transaction {
                Transaction::of(self.0.clone())
            }

            /// The pool as it is now (its `asOf` says when), not as it was. Null where the block that created it was taken back.
            async fn pool(&self) -> Option<Pool> {
                let At { pin, event, .. } = &self.0;
                pin.pool(&event.row.event.pool).map(|view| Pool::new(pin, view))
            }
        }
    };
}

links!(SwapLinks);
links!(MintLinks);
links!(BurnLinks);

/// An exchange of one of the pool's tokens for the other.
#[derive(MergedObject)]
pub(crate) struct Swap(EventFields, SwapLinks, SwapFields);

/// Liquidity put into a pool.
#[derive(MergedObject)]
pub(crate) struct Mint(EventFields, MintLinks, PositionFields);

/// Liquidity taken out of a pool.
#[derive(MergedObject)]
pub(crate) struct Burn(EventFields, BurnLinks, PositionFields, BurnFields);

impl From<At> for Swap {
    fn from(at: At) -> Self {
        Self(EventFields(at.clone()), SwapLinks(at.clone()), SwapFields(at))
    }
}

impl From<At> for Mint {
    fn from(at: At) -> Self {
        Self(EventFields(at.clone()), MintLinks(at.clone()), PositionFields(at))
    }
}

impl From<At> for Burn {
    fn from(at: At) -> Self {
        Self(EventFields(at.clone()), BurnLinks(at.clone()), PositionFields(at.clone()), BurnFields(at))
    }
}

connection!(SwapConnection, "SwapConnection", SwapEdge, "SwapEdge", Swap);
connection!(MintConnection, "MintConnection", MintEdge, "MintEdge", Mint);
connection!(BurnConnection, "BurnConnection", BurnEdge, "BurnEdge", Burn);
