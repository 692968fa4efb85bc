//! What of a quote the node is asked: pools whose hooks have a say in swaps, and the contracts' own word beside ours.

use alloy::primitives::U256;

use crate::{
    api::calls::quoters,
    domain::{
        pool::step::Amount,
        route::{Hop, Route},
        split::Plan,
    },
    store::{
        Pin,
        quote::{Ask, Quoted},
    },
};

/// Pools with a say that are asked for one quote.
const HOOKED_MAX: usize = 8;

/// The best of the pools whose hooks have a say, by the word of their contracts.
pub(super) async fn hooked(pin: &Pin, ask: &Ask) -> Option<Quoted> {
    let (Amount::In(known) | Amount::Out(known)) = ask.amount;
    let views = pin.hooked(ask);
    let asked = views.iter().take(HOOKED_MAX).map(|view| async move {
        let said = quoters::said(pin, &view.meta, ask.token_in, ask.amount).await.filter(|said| !said.is_zero())?;
        let (amount_in, amount_out) = match ask.amount {
            Amount::In(_) => (known, said),
            Amount::Out(_) => (said, known),
        };
        let (pool, protocol) = (view.meta.id, view.meta.protocol);
        let (token_in, token_out) = (ask.token_in, ask.token_out);
        Some(Hop { pool, protocol, token_in, token_out, amount_in, amount_out, crossed: 0 })
    });
    let hops = futures_util::future::join_all(asked).await.into_iter().flatten();
    let best = match ask.amount {
        Amount::In(_) => hops.max_by_key(|hop| hop.amount_out),
        Amount::Out(_) => hops.min_by_key(|hop| hop.amount_in),
    };
    Some(pin.quoted(Plan { legs: vec![Route { hops: vec![best?] }] }, &views, ask))
}

/// What the contracts say of each hop, as far as they can see it.
pub(super) async fn verified(pin: &Pin, quoted: &Quoted, amount: Amount) -> Vec<Vec<Option<U256>>> {
    let mut seen = Vec::new();
    let mut all = Vec::with_capacity(quoted.plan.legs.len());
    for leg in &quoted.plan.legs {
        let mut said = Vec::with_capacity(leg.hops.len());
        for hop in &leg.hops {
            let asked = match amount {
                Amount::In(_) => Amount::In(hop.amount_in),
                Amount::Out(_) => Amount::Out(hop.amount_out),
            };
            let view = quoted.pool(&hop.pool).filter(|_| !seen.contains(&hop.pool));
            let answer = match view {
                Some(view) => quoters::said(pin, &view.meta, hop.token_in, asked).await,
                None => None,
            };
            let ours = if matches!(amount, Amount::In(_)) { hop.amount_out } else { hop.amount_in };
            if answer.is_some_and(|answer| answer != ours) {
                tracing::error!(pool = %hop.pool, %ours, theirs = ?answer, "a quote differs from what the contract says at the same block");
            }
            said.push(answer);
        }
        seen.extend(leg.hops.iter().map(|hop| hop.pool));
        all.push(said);
    }
    all
}
