//! Position managers' tokens: what each stands for of the manager's positions in the pool (`NonfungiblePositionManager`), or, of V4, the
//! position that it is (`PositionManager`).

use alloy::primitives::{Address, B256, U256};
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
    /// V4: its id. Else zero.
    #[serde(default)]
    pub salt: B256,
    /// As `positions()` of the manager answers, with what of it is owed and what of that is principal.
    pub position: Position,
    /// All that was ever put in …
    pub deposited: Both<U256>,
    /// … and freed.
    pub withdrawn: Both<U256>,
    /// Fees that were collected.
    pub collected: Both<U256>,
}

/// A V4 manager made a token, and fills the position next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Minting {
    pub(super) manager: Address,
    pub(super) token_id: U256,
    pub(super) owner: Address,
}

impl Token {
    /// Just made: nothing is behind it yet. `key` is of its manager's position.
    fn new(key: PositionKey, owner: Address) -> Self {
        Self {
            manager: key.owner,
            owner,
            tick_lower: key.tick_lower,
            tick_upper: key.tick_upper,
            salt: key.salt,
            position: Position::default(),
            deposited: Both::default(),
            withdrawn: Both::default(),
            collected: Both::default(),
        }
    }

    /// The manager's position in the pool that it is a share of.
    #[must_use]
    pub fn key(&self) -> PositionKey {
        PositionKey { owner: self.manager, tick_lower: self.tick_lower, tick_upper: self.tick_upper, salt: self.salt }
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
        match event {
            EventBody::V4TransferPosition { manager, from, to, token_id } if from.is_zero() => {
                self.minting = Some(Minting { manager: *manager, token_id: *token_id, owner: *to });
                return;
            }
            EventBody::V4TransferPosition { to, token_id, .. } => {
                if let Some(token) = self.tokens.get(token_id) {
                    self.tokens.insert_mut(*token_id, Token { owner: *to, ..*token });
                }
                return;
            }
            _ => {}
        }
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

    /// A V4 position changed, at a price: the token that it belongs to, if it is a manager's. `moved` is what was put in, or freed.
    pub(super) fn modify_token(&mut self, key: PositionKey, delta: i128, inside: Both<U256>, moved: Both<U256>) -> Option<()> {
        let token_id = U256::from_be_bytes(key.salt.0);
        let known = self.tokens.get(&token_id).filter(|token| token.key() == key).copied();
        let minted = || self.minting.filter(|minting| minting.token_id == token_id && minting.manager == key.owner);
        let made = || minted().map(|minting| Token::new(key, minting.owner));
        let Some(mut token) = known.or_else(made) else { return Some(()) };
        add(&mut token.collected, token.position.modify(delta, inside)?)?;
        add(if delta < 0 { &mut token.withdrawn } else { &mut token.deposited }, moved)?;
        self.tokens.insert_mut(token_id, token);
        Some(())
    }

    /// `Some(None)`: one that is older than what was read; what is behind it nobody said. `None`: it does not fit.
    fn changed(&self, event: &EventBody, token_id: &U256) -> Option<Option<Token>> {
        let made = match event {
            EventBody::V3TransferPosition { from, to, .. } if from.is_zero() => {
                let (key, _) = self.touched?;
                Some(Token::new(key, *to))
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
