//! Our state against the contract's, field by field: what "equals the chain" means.

use std::collections::BTreeSet;

use alloy::primitives::Address;

use super::pool::{
    PoolState,
    fees::{Books, Position},
};

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Drift {
    /// `reserve0`, `sqrt_price_x96`, `tick[-60].liquidity_net` …
    pub field: String,
    pub ours: String,
    pub chain: String,
}

/// Every difference between the fees that we hold and those of the contract.
#[must_use]
pub fn compare_books(ours: &Books, chain: &Books) -> Vec<Drift> {
    let mut drifts = Vec::new();
    let mut field = |field: String, ours: String, chain: String| {
        if ours != chain {
            drifts.push(Drift { field, ours, chain });
        }
    };
    field("fee_growth_global".to_owned(), format!("{:?}", ours.growth), format!("{:?}", chain.growth));
    field("protocol_fees".to_owned(), format!("{:?}", ours.protocol), format!("{:?}", chain.protocol));
    let ticks: BTreeSet<&i32> = ours.outside.keys().chain(chain.outside.keys()).collect();
    for tick in ticks {
        let show = |books: &Books| format!("{:?}", books.outside.get(tick));
        field(format!("tick[{tick}].fee_growth_outside"), show(ours), show(chain));
    }
    drifts
}

/// What differs between a position that we hold and the contract's, each with whose it is. What of it is principal a contract does not know.
#[must_use]
pub fn compare_position(name: &str, ours: (Address, &Position), chain: (Address, &Position)) -> Option<Drift> {
    let said = |(owner, position): (Address, &Position)| {
        format!("{:?}", (owner, position.liquidity, position.inside_last, position.owed))
    };
    let (ours, chain) = (said(ours), said(chain));
    (ours != chain).then(|| Drift { field: format!("position[{name}]"), ours, chain })
}

/// Every difference between the state we hold and the state the contract answers at the same block. Empty: equal to the wei.
#[must_use]
pub fn compare(ours: &PoolState, chain: &PoolState) -> Vec<Drift> {
    let mut drifts = Vec::new();
    let mut field = |field: &str, ours: String, chain: String| {
        if ours != chain {
            drifts.push(Drift { field: field.to_owned(), ours, chain });
        }
    };
    match (ours, chain) {
        (PoolState::V2(a), PoolState::V2(b)) => {
            field("reserve0", a.reserve0.to_string(), b.reserve0.to_string());
            field("reserve1", a.reserve1.to_string(), b.reserve1.to_string());
        }
        (PoolState::V3(a), PoolState::V3(b)) | (PoolState::V4(a), PoolState::V4(b)) => {
            field("sqrt_price_x96", a.sqrt_price_x96.to_string(), b.sqrt_price_x96.to_string());
            field("tick", a.tick.to_string(), b.tick.to_string());
            field("liquidity", a.liquidity.to_string(), b.liquidity.to_string());
            field("fee_protocol", a.fee_protocol.to_string(), b.fee_protocol.to_string());
            field(
                "observation_cardinality_next",
                a.observation_cardinality_next.to_string(),
                b.observation_cardinality_next.to_string(),
            );
            let indices: BTreeSet<i32> = a.ticks.keys().chain(b.ticks.keys()).copied().collect();
            for index in indices {
                let (ours, chain) = (a.ticks.get(&index), b.ticks.get(&index));
                if ours != chain {
                    let show = |t: Option<&super::pool::Tick>| match t {
                        Some(t) => format!("gross {} net {}", t.liquidity_gross, t.liquidity_net),
                        None => "not initialised".to_owned(),
                    };
                    field(&format!("tick[{index}]"), show(ours), show(chain));
                }
            }
        }
        _ => field("protocol", "another".to_owned(), "another".to_owned() + " than the contract's"),
    }
    drifts
}
