//! Position managers' tokens: what each stands for of the manager's positions in the pool (`NonfungiblePositionManager`).

use alloy::primitives::{Address, U256};
use serde::{Deserialize, Serialize};

use super::{Both, Fees, Position, PositionKey, add, less};
use crate::domain::event::EventBody;

/// A position manager's token, and what is behind it: a share of the position that the manager has in the pool. Raw units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub manager: Address,
    /// The zero address: it was burnt.
    pub owner: Address,
    pub tick_lower: i32,
    pub tick_upper: i32,
    /// As `positions()` of the manager answers, with what of it is owed and what of that is principal.
    pub position: Position,
    /// All that was ever put in …
    pub deposited: Both<U256>,
    /// … and freed.
    pub withdrawn: Both<U256>,
    /// Fees that were collected.
    pub collected: Both<U256>,
}

impl Token {
    /// The manager's position in the pool that it is a share of.
    #[must_use]
    pub fn key(&self) -> PositionKey {
        PositionKey { owner: self.manager, tick_lower: self.tick_lower, tick_upper: self.tick_upper }
    }
}

impl Fees {
    /// What of a token's fees its owner could collect now, raw units: what a static `collect` gives, less what he put in. The manager asks for
    /// what it keeps of the token, and the pool gives no more than it owes the manager, which may be a little less.
    #[must_use]
    pub fn uncollected_of(&self, tick: i32, token: &Token) -> Both<u128> {
        let key = token.key();
        let asked = self.owed(tick, &key, &token.position);
        // Where the token has no liquidity the manager does not touch the pool's position before.
        let is_touched = token.position.liquidity > 0;
        let had = self.positions.as_ref().and_then(|positions| positions.get(&key));
        let had = had.map(|all| if is_touched { self.owed(tick, &key, all) } else { all.owed });
        let given = had.map_or(asked, |had| {
            let ([asked0, asked1], [had0, had1]) = (asked, had);
            [asked0.min(had0), asked1.min(had1)]
        });
        less(given, token.position.principal)
    }

    /// A manager's own books. Its word comes right after the pool's on the same position, in one transaction. A token whose words do not fit
    /// is no position of this pool: it is forgotten, and the pool's own books, which stand on its own events, go on.
    pub(super) fn of_manager(&mut self, event: &EventBody) {
        let (EventBody::V3IncreaseLiquidity { token_id, .. }
        | EventBody::V3DecreaseLiquidity { token_id, .. }
        | EventBody::V3CollectPosition { token_id, .. }
        | EventBody::V3TransferPosition { token_id, .. }) = event
        else {
            return;
        };
        match self.changed(event, token_id) {
            Some(Some(token)) => self.tokens.insert_mut(*token_id, token),
            Some(None) => {}
            None => {
                self.tokens.remove_mut(token_id);
            }
        }
    }

    /// `Some(None)`: one that is older than what was read; what is behind it nobody said. `None`: it does not fit.
    fn changed(&self, event: &EventBody, token_id: &U256) -> Option<Option<Token>> {
        let made = match event {
            EventBody::V3TransferPosition { from, to, .. } if from.is_zero() => {
                let (key, _) = self.touched?;
                Some(Token {
                    manager: key.owner,
                    owner: *to,
                    tick_lower: key.tick_lower,
                    tick_upper: key.tick_upper,
                    position: Position::default(),
                    deposited: Both::default(),
                    withdrawn: Both::default(),
                    collected: Both::default(),
                })
            }
            _ => None,
        };
        let Some(mut token) = made.or(self.tokens.get(token_id).copied()) else { return Some(None) };
        let inside = self.touched.filter(|(key, _)| *key == token.key()).map(|(_, inside)| inside);
        match event {
            EventBody::V3TransferPosition { to, .. } => token.owner = *to,
            EventBody::V3IncreaseLiquidity { liquidity, amount0, amount1, .. } => {
                token.position.update(inside?)?;
                token.position.liquidity = token.position.liquidity.checked_add(*liquidity)?;
                add(&mut token.deposited, [*amount0, *amount1])?;
            }
            EventBody::V3DecreaseLiquidity { liquidity, amount0, amount1, .. } => {
                token.position.update(inside?)?;
                token.position.free([*amount0, *amount1]);
                token.position.liquidity = token.position.liquidity.checked_sub(*liquidity)?;
                add(&mut token.withdrawn, [*amount0, *amount1])?;
            }
            EventBody::V3CollectPosition { amount0, amount1, .. } => {
                if token.position.liquidity > 0 {
                    token.position.update(inside?)?;
                }
                let fees = token.position.collect([u128::try_from(*amount0).ok()?, u128::try_from(*amount1).ok()?])?;
                add(&mut token.collected, fees)?;
            }
            _ => {}
        }
        Some(Some(token))
    }
}
