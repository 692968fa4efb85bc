//! Who has liquidity in a pair: the holders of its own token, folded from what that says of itself (`UniswapV2ERC20`). What is absent:
//! what a share is worth.

use alloy::primitives::{Address, U256};
use rpds::RedBlackTreeMapSync;

use crate::domain::event::EventBody;

/// The holders of one pair's token. Cloning is cheap: everything large is shared.
///
/// A pair says each share that it makes or destroys before it says what for. One that does not, or that moves more than there is, is no
/// pair of v2-core, or its token was not read: then nothing is claimed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shares {
    /// Raw units, above zero. Without the zero address, whose first thousand nobody can take out.
    holders: RedBlackTreeMapSync<Address, U256>,
    /// Since the last mint or burn of liquidity.
    made: bool,
    destroyed: bool,
}

impl Shares {
    /// As they were kept.
    #[must_use]
    pub fn restored(holders: impl Iterator<Item = (Address, U256)>) -> Self {
        Self { holders: holders.collect(), ..Self::default() }
    }

    /// Each with what he has, raw units, by address.
    pub fn holders(&self) -> impl ExactSizeIterator<Item = (&Address, &U256)> {
        self.holders.iter()
    }

    /// How many accounts have liquidity. The pair itself has none: what was sent to it goes to the next who burns.
    #[must_use]
    pub fn providers(&self, pair: &Address) -> usize {
        self.holders.size().saturating_sub(usize::from(self.holders.contains_key(pair)))
    }

    /// Moves them over an event of the pair. `None`: they are worth nothing any more.
    #[must_use]
    pub fn apply(&mut self, event: &EventBody) -> Option<()> {
        match event {
            EventBody::V2Transfer { from, to, value } => {
                (self.made, self.destroyed) = (self.made || from.is_zero(), self.destroyed || to.is_zero());
                if !from.is_zero() {
                    self.change(*from, |has| has.checked_sub(*value))?;
                }
                if !to.is_zero() {
                    self.change(*to, |has| has.checked_add(*value))?;
                }
                Some(())
            }
            EventBody::V2Mint { .. } => self.was(self.made),
            EventBody::V2Burn { .. } => self.was(self.destroyed),
            // It may have been about shares.
            EventBody::Undecodable { .. } => None,
            _ => Some(()),
        }
    }

    /// What was made or destroyed before is accounted for.
    fn was(&mut self, said: bool) -> Option<()> {
        (self.made, self.destroyed) = (false, false);
        said.then_some(())
    }

    fn change(&mut self, holder: Address, by: impl FnOnce(U256) -> Option<U256>) -> Option<()> {
        let after = by(self.holders.get(&holder).copied().unwrap_or_default())?;
        if after.is_zero() {
            self.holders.remove_mut(&holder);
        } else {
            self.holders.insert_mut(holder, after);
        }
        Some(())
    }

    /// After the last of a block's events: the next begins with a clean slate.
    pub fn end_block(&mut self) {
        (self.made, self.destroyed) = (false, false);
    }

    /// Whether [`Shares::end_block`] has anything to do.
    #[must_use]
    pub fn is_within_block(&self) -> bool {
        self.made || self.destroyed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Address = Address::repeat_byte(9);
    const ANN: Address = Address::repeat_byte(1);
    const BOB: Address = Address::repeat_byte(2);

    fn transfer(from: Address, to: Address, value: u64) -> EventBody {
        EventBody::V2Transfer { from, to, value: U256::from(value) }
    }

    fn mint() -> EventBody {
        EventBody::V2Mint { sender: ANN, amount0: U256::from(1), amount1: U256::from(1) }
    }

    fn burn() -> EventBody {
        EventBody::V2Burn { sender: ANN, to: ANN, amount0: U256::from(1), amount1: U256::from(1) }
    }

    fn after(events: &[EventBody]) -> Option<Shares> {
        let mut shares = Shares::default();
        events.iter().try_for_each(|event| shares.apply(event))?;
        Some(shares)
    }

    #[test]
    fn whoever_holds_a_share_is_counted_once_and_neither_the_pair_nor_nobody_is() {
        let first = [transfer(Address::ZERO, Address::ZERO, 1_000), transfer(Address::ZERO, ANN, 500), mint()];
        let mut events = first.to_vec();
        assert_eq!(after(&events).unwrap().providers(&PAIR), 1, "the thousand of nobody do not count");
        events.extend([transfer(ANN, BOB, 200), transfer(ANN, ANN, 300), transfer(BOB, ANN, 0)]);
        assert_eq!(after(&events).unwrap().providers(&PAIR), 2);
        events.push(transfer(BOB, PAIR, 200));
        assert_eq!(after(&events).unwrap().providers(&PAIR), 1, "on its way out");
        events.extend([transfer(PAIR, Address::ZERO, 200), burn(), transfer(ANN, BOB, 300)]);
        let end = after(&events).unwrap();
        assert_eq!(end.holders().map(|(who, has)| (*who, *has)).collect::<Vec<_>>(), [(BOB, U256::from(300))]);
        assert_eq!(Shares::restored(end.holders().map(|(who, has)| (*who, *has))), end);
    }

    #[test]
    fn a_pair_whose_token_says_nothing_or_too_much_has_no_count() {
        let first = [transfer(Address::ZERO, ANN, 500), mint()];
        let with = |more: &[EventBody]| after(&[&first[..], more].concat());
        assert_eq!(after(&[mint()]), None, "its token is not read");
        assert_eq!(with(&[mint()]), None, "each mint makes shares of its own");
        assert_eq!(with(&[transfer(ANN, PAIR, 100), burn()]), None, "nothing was destroyed");
        assert_eq!(with(&[transfer(BOB, ANN, 1)]), None, "more than he has");
        assert_eq!(with(&[EventBody::Undecodable { reason: String::new() }]), None, "nobody can read it");
        assert!(with(&[transfer(ANN, PAIR, 500), transfer(PAIR, Address::ZERO, 500), burn()]).is_some());
    }
}
