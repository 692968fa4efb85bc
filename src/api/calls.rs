//! A plan of swaps as the one transaction that does it: what the routers take.
//!
//! The Universal Router does every plan; it spends by way of Permit2. Where it is not configured, a single way through pairs of one exchange is
//! a call of its Router02, and one through V3 pools of one exchange a call of its SwapRouter. What is absent: approvals, signatures, sending.

pub(crate) mod quoters;
mod universal;

use std::sync::Arc;

use alloy::{
    primitives::{Address, Bytes, U256, aliases::U24},
    sol,
    sol_types::SolCall,
};

use crate::{
    domain::{
        pool::{PoolMeta, Protocol, step::Amount},
        route::{Hop, Route},
    },
    store::{
        PoolView,
        quote::{Ask, Quoted, Routers},
    },
};

sol! {
    /// `UniswapV2Router02`
    interface V2Router {
        function swapExactTokensForTokens(uint256 amountIn, uint256 amountOutMin, address[] path, address to, uint256 deadline)
            external returns (uint256[] amounts);
        function swapTokensForExactTokens(uint256 amountOut, uint256 amountInMax, address[] path, address to, uint256 deadline)
            external returns (uint256[] amounts);
    }

    /// `SwapRouter` of v3-periphery
    interface V3Router {
        struct ExactInputParams { bytes path; address recipient; uint256 deadline; uint256 amountIn; uint256 amountOutMinimum; }
        struct ExactOutputParams { bytes path; address recipient; uint256 deadline; uint256 amountOut; uint256 amountInMaximum; }
        function exactInput(ExactInputParams params) external payable returns (uint256 amountOut);
        function exactOutput(ExactOutputParams params) external payable returns (uint256 amountIn);
    }
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) to: Address,
    pub(crate) data: Bytes,
    /// Wei of native currency.
    pub(crate) value: U256,
}

/// How it is to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Parts of 10,000.
    pub(crate) slippage_bps: u32,
    /// Who gets what is bought; `None`: whoever sends it.
    pub(crate) recipient: Option<Address>,
    /// Unix seconds.
    pub(crate) deadline: u64,
}

impl Terms {
    /// The least that should come out of an exact input, or the most that should go in for an exact output, of one way: both rounded towards
    /// the quote, so that the sum over several ways is at least as strict as the bound of all.
    pub(crate) fn bound(&self, amount: Amount, leg: &Route) -> U256 {
        let part = |of: U256| super::gql::quote::part_of(of, self.slippage_bps);
        match amount {
            Amount::In(_) => leg.amount_out().saturating_sub(part(leg.amount_out())),
            Amount::Out(_) => leg.amount_in().saturating_add(part(leg.amount_in())),
        }
    }
}

/// The transaction. `None`: no router that is configured does this plan.
pub(crate) fn transaction(quoted: &Quoted, ask: &Ask, terms: Terms, routers: &Routers) -> Option<Transaction> {
    if let Some(router) = routers.universal {
        return universal::transaction(quoted, ask, terms, router);
    }
    let [leg] = quoted.plan.legs.as_slice() else { return None };
    let views: Vec<&Arc<PoolView>> = leg.hops.iter().map(|hop| quoted.pool(&hop.pool)).collect::<Option<_>>()?;
    let first = &views.first()?.meta;
    if views.iter().any(|view| view.meta.dex != first.dex) {
        return None;
    }
    let (to, recipient) = (*routers.by_dex.get(&first.dex)?, terms.recipient?);
    let (deadline, bound) = (U256::from(terms.deadline), terms.bound(ask.amount, leg));
    let data = match (first.protocol, ask.amount) {
        (Protocol::UniswapV2, Amount::In(amount)) => {
            let (path, to) = (tokens(leg), recipient);
            V2Router::swapExactTokensForTokensCall { amountIn: amount, amountOutMin: bound, path, to, deadline }.abi_encode()
        }
        (Protocol::UniswapV2, Amount::Out(amount)) => {
            let (path, to) = (tokens(leg), recipient);
            V2Router::swapTokensForExactTokensCall { amountOut: amount, amountInMax: bound, path, to, deadline }.abi_encode()
        }
        (Protocol::UniswapV3, Amount::In(amount)) => {
            let path = path(&leg.hops, quoted, false)?;
            let params = V3Router::ExactInputParams { path, recipient, deadline, amountIn: amount, amountOutMinimum: bound };
            V3Router::exactInputCall { params }.abi_encode()
        }
        (Protocol::UniswapV3, Amount::Out(amount)) => {
            let path = path(&leg.hops, quoted, true)?;
            let params = V3Router::ExactOutputParams { path, recipient, deadline, amountOut: amount, amountInMaximum: bound };
            V3Router::exactOutputCall { params }.abi_encode()
        }
        // Only the Universal Router trades on the PoolManager.
        (Protocol::UniswapV4, _) => return None,
    };
    Some(Transaction { to, data: data.into(), value: U256::ZERO })
}

/// Of a way through pairs.
fn tokens(leg: &Route) -> Vec<Address> {
    tokens_of(&leg.hops)
}

fn tokens_of(hops: &[Hop]) -> Vec<Address> {
    let first = hops.first().map(|hop| hop.token_in);
    first.into_iter().chain(hops.iter().map(|hop| hop.token_out)).collect()
}

/// V3's path: token, fee, token, …; of an exact output from its end.
fn path(hops: &[Hop], quoted: &Quoted, reversed: bool) -> Option<Bytes> {
    let fee = |hop: &Hop| quoted.pool(&hop.pool).map(|view: &Arc<PoolView>| fee(&view.meta));
    let mut bytes: Vec<u8> = Vec::new();
    let mut add = |token: Address, fee: Option<U24>| {
        bytes.extend_from_slice(token.as_slice());
        bytes.extend(fee.iter().flat_map(|fee| fee.to_be_bytes::<3>()));
    };
    if reversed {
        for hop in hops.iter().rev() {
            add(hop.token_out, Some(fee(hop)?));
        }
        add(hops.first()?.token_in, None);
    } else {
        for hop in hops {
            add(hop.token_in, Some(fee(hop)?));
        }
        add(hops.last()?.token_out, None);
    }
    Some(bytes.into())
}

/// A fee has 24 bits in every contract.
fn fee(meta: &PoolMeta) -> U24 {
    U24::saturating_from(meta.fee_pips)
}
