//! What the contracts themselves say of a swap in one pool: Router02, QuoterV2 and V4Quoter, asked of the node.

#![expect(non_snake_case, reason = "fields are called as the contracts call them")]

use std::time::Duration;

use alloy::{
    primitives::{Address, Bytes, U160, U256, aliases::I24, aliases::U24},
    sol,
    sol_types::SolCall,
};

use super::fee;
use crate::{
    domain::pool::{PoolMeta, Protocol, step::Amount},
    store::Pin,
};

sol! {
    interface Router {
        function getAmountsOut(uint256 amountIn, address[] path) external view returns (uint256[] amounts);
        function getAmountsIn(uint256 amountOut, address[] path) external view returns (uint256[] amounts);
    }
    interface QuoterV2 {
        struct In { address tokenIn; address tokenOut; uint256 amountIn; uint24 fee; uint160 limit; }
        struct Out { address tokenIn; address tokenOut; uint256 amount; uint24 fee; uint160 limit; }
        function quoteExactInputSingle(In params) external returns (uint256 amountOut, uint160 after, uint32 crossed, uint256 gas);
        function quoteExactOutputSingle(Out params) external returns (uint256 amountIn, uint160 after, uint32 crossed, uint256 gas);
    }
    interface V4Quoter {
        struct Key { address currency0; address currency1; uint24 fee; int24 tickSpacing; address hooks; }
        struct Params { Key poolKey; bool zeroForOne; uint128 exactAmount; bytes hookData; }
        function quoteExactInputSingle(Params params) external returns (uint256 amountOut, uint256 gasEstimate);
        function quoteExactOutputSingle(Params params) external returns (uint256 amountIn, uint256 gasEstimate);
    }
}

/// A node that takes longer is none that somebody waits for.
const PATIENCE: Duration = Duration::from_secs(3);

/// What goes in for an output, or comes out for an input, by the contracts' own word at the pinned block. `None`: no contract that says it is
/// configured, it reverts, or the node did not answer.
pub(crate) async fn said(pin: &Pin, meta: &PoolMeta, token_in: Address, amount: Amount) -> Option<U256> {
    let routers = &pin.live().routers;
    let contracts = if meta.protocol == Protocol::UniswapV2 { &routers.by_dex } else { &routers.quoters };
    let to = *contracts.get(&meta.dex)?;
    let (node, block) = (pin.live().node.clone()?, pin.head().block?);
    let call = question(meta, token_in, amount)?;
    let answer = tokio::time::timeout(PATIENCE, node.call(block.hash, to, call)).await;
    match answer {
        Ok(Ok(Some(answer))) => read(meta.protocol, amount, &answer),
        Ok(Ok(None)) => None,
        Ok(Err(reason)) => {
            tracing::warn!(pool = %meta.id, %reason, "the node could not be asked what a swap comes to");
            None
        }
        Err(_) => None,
    }
}

fn question(meta: &PoolMeta, token_in: Address, asked: Amount) -> Option<Bytes> {
    let down = token_in == meta.token0;
    let token_out = if down { meta.token1 } else { meta.token0 };
    let path = || vec![token_in, token_out];
    let data = match (meta.protocol, asked) {
        (Protocol::UniswapV2, Amount::In(amountIn)) => Router::getAmountsOutCall { amountIn, path: path() }.abi_encode(),
        (Protocol::UniswapV2, Amount::Out(amountOut)) => Router::getAmountsInCall { amountOut, path: path() }.abi_encode(),
        (Protocol::UniswapV3, Amount::In(amountIn)) => {
            let params = QuoterV2::In { tokenIn: token_in, tokenOut: token_out, amountIn, fee: fee(meta), limit: U160::ZERO };
            QuoterV2::quoteExactInputSingleCall { params }.abi_encode()
        }
        (Protocol::UniswapV3, Amount::Out(amount)) => {
            let params = QuoterV2::Out { tokenIn: token_in, tokenOut: token_out, amount, fee: fee(meta), limit: U160::ZERO };
            QuoterV2::quoteExactOutputSingleCall { params }.abi_encode()
        }
        (Protocol::UniswapV4, Amount::In(amount) | Amount::Out(amount)) => {
            let poolKey = V4Quoter::Key {
                currency0: meta.token0,
                currency1: meta.token1,
                // With its flag, where the hook says it.
                fee: U24::saturating_from(meta.fee_pips),
                tickSpacing: I24::try_from(meta.tick_spacing?).ok()?,
                hooks: meta.hooks.unwrap_or_default(),
            };
            let exactAmount = u128::try_from(amount).ok()?;
            let params = V4Quoter::Params { poolKey, zeroForOne: down, exactAmount, hookData: Bytes::new() };
            match asked {
                Amount::In(_) => V4Quoter::quoteExactInputSingleCall { params }.abi_encode(),
                Amount::Out(_) => V4Quoter::quoteExactOutputSingleCall { params }.abi_encode(),
            }
        }
    };
    Some(data.into())
}

fn read(protocol: Protocol, amount: Amount, answer: &[u8]) -> Option<U256> {
    Some(match (protocol, amount) {
        (Protocol::UniswapV2, Amount::In(_)) => *Router::getAmountsOutCall::abi_decode_returns(answer).ok()?.last()?,
        (Protocol::UniswapV2, Amount::Out(_)) => *Router::getAmountsInCall::abi_decode_returns(answer).ok()?.first()?,
        (Protocol::UniswapV3, Amount::In(_)) => QuoterV2::quoteExactInputSingleCall::abi_decode_returns(answer).ok()?.amountOut,
        (Protocol::UniswapV3, Amount::Out(_)) => QuoterV2::quoteExactOutputSingleCall::abi_decode_returns(answer).ok()?.amountIn,
        (Protocol::UniswapV4, Amount::In(_)) => V4Quoter::quoteExactInputSingleCall::abi_decode_returns(answer).ok()?.amountOut,
        (Protocol::UniswapV4, Amount::Out(_)) => V4Quoter::quoteExactOutputSingleCall::abi_decode_returns(answer).ok()?.amountIn,
    })
}
