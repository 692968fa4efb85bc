//! The Universal Router's commands: a plan is one after the other of them, each for pools of one protocol.
//!
//! A way that changes protocol leaves what is between with the router, and its next part takes all of that. Only an exact input can: of an
//! exact output nobody knows before how much the parts between will need.

#![expect(non_snake_case, reason = "fields are called as the contracts call them")]

use alloy::{
    primitives::{Address, Bytes, U256, address, aliases::I24},
    sol,
    sol_types::{SolCall, SolValue},
};

use super::{Terms, Transaction, fee, path, tokens_of};
use crate::{
    domain::{
        pool::{Protocol, step::Amount},
        route::{Hop, Route},
    },
    store::quote::{Ask, Quoted},
};

sol! {
    interface Universal {
        function execute(bytes commands, bytes[] inputs, uint256 deadline) external payable;
    }

    struct PoolKey { address currency0; address currency1; uint24 fee; int24 tickSpacing; address hooks; }
    struct ExactInputSingle { PoolKey poolKey; bool zeroForOne; uint128 amountIn; uint128 amountOutMinimum; bytes hookData; }
    struct ExactOutputSingle { PoolKey poolKey; bool zeroForOne; uint128 amountOut; uint128 amountInMaximum; bytes hookData; }
}

/// `Commands.sol`
mod command {
    pub(super) const V3_SWAP_EXACT_IN: u8 = 0x00;
    pub(super) const V3_SWAP_EXACT_OUT: u8 = 0x01;
    pub(super) const SWEEP: u8 = 0x04;
    pub(super) const V2_SWAP_EXACT_IN: u8 = 0x08;
    pub(super) const V2_SWAP_EXACT_OUT: u8 = 0x09;
    pub(super) const V4_SWAP: u8 = 0x10;
}

/// `Actions.sol` of v4-periphery
mod action {
    pub(super) const SWAP_EXACT_IN_SINGLE: u8 = 0x06;
    pub(super) const SWAP_EXACT_OUT_SINGLE: u8 = 0x08;
    pub(super) const SETTLE: u8 = 0x0b;
    pub(super) const TAKE: u8 = 0x0e;
}

// `ActionConstants.sol`
const MSG_SENDER: Address = address!("0000000000000000000000000000000000000001");
const ADDRESS_THIS: Address = address!("0000000000000000000000000000000000000002");
/// Everything that the router has of a token.
const CONTRACT_BALANCE: U256 = U256::from_limbs([0, 0, 0, 1 << 63]);
/// Everything that is open with the PoolManager.
const OPEN_DELTA: U256 = U256::ZERO;

/// Commands with their inputs.
#[derive(Default)]
struct Program {
    commands: Vec<u8>,
    inputs: Vec<Bytes>,
}

impl Program {
    fn push(&mut self, command: u8, input: Vec<u8>) {
        self.commands.push(command);
        self.inputs.push(input.into());
    }
}

pub(super) fn transaction(quoted: &Quoted, ask: &Ask, terms: Terms, router: Address) -> Option<Transaction> {
    let mut program = Program::default();
    let recipient = terms.recipient.unwrap_or(MSG_SENDER);
    let mut paid = U256::ZERO;
    for leg in &quoted.plan.legs {
        let bound = terms.bound(ask.amount, leg);
        let (amount, most) = match ask.amount {
            Amount::In(_) => (Amount::In(leg.amount_in()), leg.amount_in()),
            Amount::Out(_) => (Amount::Out(leg.amount_out()), bound),
        };
        paid = paid.checked_add(most)?;
        way(&mut program, quoted, leg, (amount, bound), recipient)?;
    }
    let is_native = ask.token_in.is_zero();
    if is_native && matches!(ask.amount, Amount::Out(_)) {
        // What was too much comes back.
        program.push(command::SWEEP, (Address::ZERO, MSG_SENDER, U256::ZERO).abi_encode_params());
    }
    let Program { commands, inputs } = program;
    let call = Universal::executeCall { commands: commands.into(), inputs, deadline: U256::from(terms.deadline) };
    Some(Transaction { to: router, data: call.abi_encode().into(), value: if is_native { paid } else { U256::ZERO } })
}

/// One way, in parts of one protocol each.
fn way(program: &mut Program, quoted: &Quoted, leg: &Route, (amount, bound): (Amount, U256), recipient: Address) -> Option<()> {
    let parts: Vec<&[Hop]> = leg.hops.chunk_by(|a, b| a.protocol == b.protocol).collect();
    if parts.len() > 1 && matches!(amount, Amount::Out(_)) {
        return None;
    }
    for (at, hops) in parts.iter().enumerate() {
        let (is_first, is_last) = (at == 0, at.checked_add(1)? == parts.len());
        let to = if is_last { recipient } else { ADDRESS_THIS };
        // What is in between is bounded by the end.
        let bound = if is_last || matches!(amount, Amount::Out(_)) { bound } else { U256::ZERO };
        match hops.first()?.protocol {
            Protocol::UniswapV2 => {
                let (tokens, amount) = (tokens_of(hops), known(amount, is_first));
                let (command, amount) = match amount {
                    Amount::In(amount) => (command::V2_SWAP_EXACT_IN, amount),
                    Amount::Out(amount) => (command::V2_SWAP_EXACT_OUT, amount),
                };
                program.push(command, (to, amount, bound, tokens, is_first).abi_encode_params());
            }
            Protocol::UniswapV3 => {
                let (command, amount, path) = match known(amount, is_first) {
                    Amount::In(amount) => (command::V3_SWAP_EXACT_IN, amount, path(hops, quoted, false)?),
                    Amount::Out(amount) => (command::V3_SWAP_EXACT_OUT, amount, path(hops, quoted, true)?),
                };
                program.push(command, (to, amount, bound, path, is_first).abi_encode_params());
            }
            Protocol::UniswapV4 => program.push(command::V4_SWAP, of_v4(quoted, hops, (amount, bound), is_first, to)?),
        }
    }
    Some(())
}

/// Of a later part all that is there.
fn known(amount: Amount, is_first: bool) -> Amount {
    if is_first { amount } else { Amount::In(CONTRACT_BALANCE) }
}

/// Hop by hop, each with what the one before left open: what takes a whole path has another form in later routers.
fn of_v4(quoted: &Quoted, hops: &[Hop], (amount, bound): (Amount, U256), is_first: bool, to: Address) -> Option<Vec<u8>> {
    let (first, last) = (hops.first()?.token_in, hops.last()?.token_out);
    let take = (action::TAKE, (last, to, OPEN_DELTA).abi_encode_params());
    let settle = |amount: U256| (action::SETTLE, (first, amount, is_first).abi_encode_params());
    let bound = u128::try_from(bound).ok()?;
    let mut plan: Vec<(u8, Vec<u8>)> = Vec::with_capacity(hops.len().saturating_add(2));
    match amount {
        Amount::In(amount) => {
            if !is_first {
                plan.push(settle(CONTRACT_BALANCE));
            }
            for (at, hop) in hops.iter().enumerate() {
                let (poolKey, zeroForOne) = key(quoted, hop)?;
                let amountIn = if is_first && at == 0 { u128::try_from(amount).ok()? } else { 0 };
                let amountOutMinimum = if at.checked_add(1)? == hops.len() { bound } else { 0 };
                let swap = ExactInputSingle { poolKey, zeroForOne, amountIn, amountOutMinimum, hookData: Bytes::new() };
                plan.push((action::SWAP_EXACT_IN_SINGLE, (swap,).abi_encode_params()));
            }
        }
        Amount::Out(amount) => {
            for (at, hop) in hops.iter().enumerate().rev() {
                let (poolKey, zeroForOne) = key(quoted, hop)?;
                let amountOut = if at.checked_add(1)? == hops.len() { u128::try_from(amount).ok()? } else { 0 };
                let amountInMaximum = if at == 0 { bound } else { u128::MAX };
                let swap = ExactOutputSingle { poolKey, zeroForOne, amountOut, amountInMaximum, hookData: Bytes::new() };
                plan.push((action::SWAP_EXACT_OUT_SINGLE, (swap,).abi_encode_params()));
            }
        }
    }
    if is_first {
        plan.push(settle(OPEN_DELTA));
    }
    plan.push(take);
    let (actions, parameters): (Vec<u8>, Vec<Bytes>) =
        plan.into_iter().map(|(action, input)| (action, Bytes::from(input))).unzip();
    Some((Bytes::from(actions), parameters).abi_encode_params())
}

/// The pool, and whether token0 comes in.
fn key(quoted: &Quoted, hop: &Hop) -> Option<(PoolKey, bool)> {
    let meta = &quoted.pool(&hop.pool)?.meta;
    let key = PoolKey {
        currency0: meta.token0,
        currency1: meta.token1,
        fee: fee(meta),
        tickSpacing: I24::try_from(meta.tick_spacing?).ok()?,
        hooks: meta.hooks.unwrap_or_default(),
    };
    Some((key, hop.token_in == meta.token0))
}
