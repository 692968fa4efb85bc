//! Paths and query strings, checked: what is wrong with them is a problem that says what to write.

use std::sync::Arc;

use alloy::primitives::{Address, B256};
use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use crate::{
    api::{
        gql::scalars::{BigInt, shown},
        router::Public,
    },
    domain::{ChainId, pool::PoolId},
    store::{Pin, reader::ReadError},
};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;
/// Whatever has so many digits is below 2^256.
const DIGITS_MAX: usize = 77;

/// The parts of a path.
pub(super) struct InPath<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Path::<T>::from_request_parts(parts, state).await;
        found.map(|Path(found)| Self(found)).map_err(|e| Problem::bad(format!("the path cannot be read: {}", e.body_text())))
    }
}

/// What stands behind the question mark. Names that are not known are refused: a filter that is misspelt must not be ignored.
pub(super) struct InQuery<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Query::<T>::from_request_parts(parts, state).await;
        found.map(|Query(found)| Self(found)).map_err(|e| {
            let text = e.body_text();
            // What says nothing is left out, so that there is room for what helps.
            Problem::bad(shown(text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text)))
        })
    }
}

/// `/v1/{chainId}/…`
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct OnChain {
    /// EIP-155 number of a chain that this server follows.
    #[param(value_type = u64, example = 31337)]
    pub(super) chain_id: String,
}

/// `…/pools/{id}…`
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct OfPool {
    /// EIP-155 number of a chain that this server follows.
    #[param(value_type = u64, example = 31337)]
    pub(super) chain_id: String,
    /// The pool's address, in upper or lower case.
    #[param(pattern = "^0x([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$", example = "0x88e6A0c2dDD26FEEb64F039a2c41296FcB3f5640")]
    pub(super) id: String,
}

/// `…/tokens/{address}…`
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct OfToken {
    /// EIP-155 number of a chain that this server follows.
    #[param(value_type = u64, example = 31337)]
    pub(super) chain_id: String,
    /// The token's address, in upper or lower case.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$", example = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2")]
    pub(super) address: String,
}

/// `…/factories/{address}…`
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct OfFactory {
    /// EIP-155 number of a chain that this server follows.
    #[param(value_type = u64, example = 31337)]
    pub(super) chain_id: String,
    /// The factory's address, in upper or lower case.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$", example = "0x1F98431c8aD98523631AE4a59f267346ea31F984")]
    pub(super) address: String,
}

/// `…/accounts/{address}…`
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct OfAccount {
    /// EIP-155 number of a chain that this server follows.
    #[param(value_type = u64, example = 31337)]
    pub(super) chain_id: String,
    /// The account's address, in upper or lower case.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$", example = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")]
    pub(super) address: String,
}

/// `…/transactions/{hash}`
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct OfTransaction {
    /// EIP-155 number of a chain that this server follows.
    #[param(value_type = u64, example = 31337)]
    pub(super) chain_id: String,
    /// The transaction's hash, in upper or lower case.
    #[param(pattern = "^0x[0-9a-fA-F]{64}$", example = "0x88df016429689c079f3b2f6ad39fa052532c56795b733da78a91ebe6a713944b")]
    pub(super) hash: String,
}

/// One page of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParams {
    /// How many, 1 to 1000; 100 where it is not said.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
    /// Where the page begins: `cursor` of the page before, or follow its `Link`.
    #[param(pattern = "^[0-9A-Za-z_-]+$", max_length = 200)]
    pub(super) cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    Asc,
    #[default]
    Desc,
}

pub(super) fn limit(given: Option<usize>) -> Result<usize, Problem> {
    match given.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        other => Err(Problem::bad(format!("`limit` is 1 to {LIMIT_MAX}, not {other}"))),
    }
}

/// The newest epoch of the chain in the path.
pub(super) fn pin(public: &Public, chain: &str) -> Result<Arc<Pin>, Problem> {
    let id: ChainId = chain.parse().map_err(|_| {
        Problem::bad(format!("`{}` is no chain id: the path begins with /v1/ and the chain's EIP-155 number", shown(chain)))
    })?;
    let pin = public.reader.pin(Some(id))?;
    if pin.head().block.is_none() {
        return Err(ReadError::Starting.into());
    }
    Ok(Arc::new(pin))
}

pub(super) fn pool_id(text: &str) -> Result<PoolId, Problem> {
    let wrong =
        || Problem::bad(format!("`{}` is no pool id: give a 0x address (20 bytes) or a 0x pool id (32 bytes)", shown(text)));
    if !text.starts_with("0x") { Err(wrong()) } else { text.to_ascii_lowercase().parse().map_err(|_| wrong()) }
}

pub(super) fn address(name: &str, text: &str) -> Result<Address, Problem> {
    let wrong = || Problem::bad(format!("`{name}`: `{}` is no address: write 0x and 40 hexadecimal digits", shown(text)));
    if !text.starts_with("0x") { Err(wrong()) } else { text.to_ascii_lowercase().parse().map_err(|_| wrong()) }
}

/// Above 0.
pub(super) fn whole(name: &str, text: &str) -> Result<BigInt, Problem> {
    let is_whole = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_whole && (1..=DIGITS_MAX).contains(&text.len()) {
        Ok(BigInt(text.to_owned()))
    } else {
        Err(Problem::bad(format!(
            "`{name}` is a whole number above 0, of at most {DIGITS_MAX} digits, without a point or a sign"
        )))
    }
}

pub(super) fn hash(name: &str, text: &str) -> Result<B256, Problem> {
    let wrong = || Problem::bad(format!("`{name}`: `{}` is no hash: write 0x and 64 hexadecimal digits", shown(text)));
    if !text.starts_with("0x") { Err(wrong()) } else { text.to_ascii_lowercase().parse().map_err(|_| wrong()) }
}
