//! Tokens.

use std::sync::Arc;

use alloy::primitives::Address;
use async_graphql::{Context, Enum, ID, Object, Result};

use super::{
    block::BlockRef,
    connection::connection,
    core::core,
    price::{self as prices, TokenPrice},
    scalars::{AddressScalar, BigInt},
    token_market::TokenMarket,
};
use crate::{
    domain::{ChainId, price, token},
    store::Pin,
};

/// What is odd about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum TokenFlag {
    /// Its contract could not be asked yet; it is asked again.
    MetadataPending,
    /// There is no contract at its address.
    NoCode,
    /// It has no `name()`.
    NameMissing,
    /// It has no `symbol()`.
    SymbolMissing,
    /// Its symbol is a `bytes32`, as early tokens have it.
    #[graphql(name = "SYMBOL_BYTES32")]
    SymbolBytes32,
    /// Its name is a `bytes32`, as early tokens have it.
    #[graphql(name = "NAME_BYTES32")]
    NameBytes32,
    /// Its name or symbol was longer than 128 bytes, or not UTF-8, and was cut or mended.
    TextMended,
    /// It has no `decimals()`: its amounts are known in raw units only, and it has no price.
    DecimalsMissing,
    /// It claims more than 77 decimals, more digits than any amount has: treated like missing ones.
    DecimalsAbsurd,
    /// It has no `totalSupply()`.
    TotalSupplyMissing,
}

impl From<token::TokenFlag> for TokenFlag {
    fn from(flag: token::TokenFlag) -> Self {
        match flag {
            token::TokenFlag::MetadataPending => Self::MetadataPending,
            token::TokenFlag::NoCode => Self::NoCode,
            token::TokenFlag::NameMissing => Self::NameMissing,
            token::TokenFlag::SymbolMissing => Self::SymbolMissing,
            token::TokenFlag::SymbolBytes32 => Self::SymbolBytes32,
            token::TokenFlag::NameBytes32 => Self::NameBytes32,
            token::TokenFlag::TextMended => Self::TextMended,
            token::TokenFlag::DecimalsMissing => Self::DecimalsMissing,
            token::TokenFlag::DecimalsAbsurd => Self::DecimalsAbsurd,
            token::TokenFlag::TotalSupplyMissing => Self::TotalSupplyMissing,
        }
    }
}

/// A token that some pool trades. Names and symbols are what the contract says: anybody may call a token `USDC`, so go by the
/// address.
pub(crate) struct Token {
    chain: ChainId,
    address: Address,
    meta: Option<Arc<token::TokenMeta>>,
}

impl Token {
    /// A pool's token exists even where nothing is known of it yet.
    pub(super) fn of(pin: &Pin, address: Address) -> Self {
        Self { chain: pin.chain(), address, meta: pin.token(&address) }
    }

    pub(super) fn known(meta: Arc<token::TokenMeta>) -> Self {
        Self { chain: meta.chain, address: meta.address, meta: Some(meta) }
    }
}

/// Decimals that amounts can be scaled with.
pub(in crate::api) fn decimals(pin: &Pin, address: &Address) -> Option<u8> {
    pin.token(address)?.decimals.filter(|d| *d <= price::DECIMALS_MAX)
}

/// A token that some pool trades. Names and symbols are what the contract says: anybody may call a token `USDC`, so go by the
/// address.
#[Object]
impl Token {
    /// The contract's address, lowercase: unique on its chain.
    async fn id(&self) -> ID {
        ID(format!("{:#x}", self.address))
    }

    /// EIP-155 id of the chain it is on.
    async fn chain_id(&self) -> u64 {
        self.chain
    }

    /// The contract's address.
    async fn address(&self) -> AddressScalar {
        AddressScalar(self.address)
    }

    /// As `symbol()` answers, at most 128 bytes; null where it does not.
    async fn symbol(&self) -> Option<&str> {
        self.meta.as_ref()?.symbol.as_deref()
    }

    /// As `name()` answers, at most 128 bytes; null where it does not.
    async fn name(&self) -> Option<&str> {
        self.meta.as_ref()?.name.as_deref()
    }

    /// Digits behind the point of its unit: one token is 10^decimals raw units. Null where the contract does not say; then
    /// nothing of it has a price.
    async fn decimals(&self) -> Option<u8> {
        self.meta.as_ref()?.decimals
    }

    /// As `totalSupply()` answered at `metadataAsOf`, in raw units.
    async fn total_supply(&self) -> Option<BigInt> {
        self.meta.as_ref()?.total_supply.map(BigInt::from)
    }

    /// What one costs in dollars, and who says so.
    #[graphql(name = "priceUSD", complexity = "10 + child_complexity")]
    async fn price_usd(&self, ctx: &Context<'_>) -> Result<TokenPrice> {
        prices::now(ctx, self.chain, self.address).await
    }

    #[graphql(flatten)]
    async fn market(&self) -> TokenMarket {
        TokenMarket { chain: self.chain, address: self.address }
    }

    /// What is odd about it; empty for a well-behaved token.
    async fn flags(&self) -> Vec<TokenFlag> {
        match &self.meta {
            Some(meta) => meta.flags.iter().map(|flag| TokenFlag::from(*flag)).collect(),
            None => vec![TokenFlag::MetadataPending],
        }
    }

    /// The block its contract was asked at; null while it has not been asked.
    async fn metadata_as_of(&self) -> Option<BlockRef> {
        self.meta.as_ref().map(|meta| meta.as_of.into())
    }

    /// What became of it when a pool lent it and got it back, tried now and then. Null where it was not tried yet, and where no pool lends it.
    async fn conduct(&self, ctx: &Context<'_>) -> Result<Option<TokenConduct>> {
        let live = core(ctx)?.reader.live(Some(self.chain)).ok();
        Ok(live.and_then(|live| live.conduct.of(&self.address)).map(TokenConduct))
    }
}

/// How a token behaved when it was moved. Who deploys a token may let it behave otherwise with others, and tomorrow.
pub(crate) struct TokenConduct(token::Conduct);

/// How a token behaved when it was moved. Who deploys a token may let it behave otherwise with others, and tomorrow.
#[Object]
impl TokenConduct {
    /// What it keeps of what a pool sends, in parts of 10,000.
    async fn buy_fee_bps(&self) -> u32 {
        self.0.buy_fee_bps
    }

    /// What it keeps of what is sent to a pool, in parts of 10,000. Null where the pool that lent it could not be sent it back: so it is with
    /// tokens that trade with the pool on their own account, and with those that cannot be sold.
    async fn sell_fee_bps(&self) -> Option<u32> {
        self.0.sell_fee_bps
    }

    /// Balances were seen to change without transfers, since the engine started. Growth that the next swap takes in is not seen.
    async fn rebases(&self) -> bool {
        self.0.rebases
    }

    /// Where it was tried.
    async fn block(&self) -> BlockRef {
        self.0.at.into()
    }
}

connection!(TokenConnection, "TokenConnection", TokenEdge, "TokenEdge", Token);
