//! Bounds of what a way can come to, so that most ways need not be computed: no pool gives more for an amount than its price before the
//! swap, less the fee, says.
//!
//! Numbers of 64 significant bits, rounded to the side that keeps a bound a bound; what is paid is never computed with them.

use alloy::primitives::U256;

use crate::domain::pool::{PoolMeta, PoolState, Protocol, hooks::DYNAMIC_FEE, math::PIPS};

/// `mantissa` × 2^`exponent`, the mantissa's highest bit set; 0 is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::domain) struct Bound {
    // The order of the fields is that of the numbers.
    exponent: i32,
    mantissa: u64,
}

impl Bound {
    pub(super) const NONE: Self = Self { exponent: i32::MIN, mantissa: 0 };
    pub(super) const MOST: Self = Self { exponent: i32::MAX, mantissa: u64::MAX };
    pub(super) const ONE: Self = Self { exponent: -63, mantissa: 1 << 63 };

    /// At least `value`.
    pub(super) fn up(value: U256) -> Self {
        let down = Self::down(value);
        if down == Self::NONE || Self::shift(value).is_none_or(|bits| bits == 0 || value.trailing_zeros() >= bits) {
            return down;
        }
        down.next()
    }

    /// At most `value`.
    pub(super) fn down(value: U256) -> Self {
        if value.is_zero() {
            return Self::NONE;
        }
        match Self::shift(value) {
            Some(bits) => {
                let mantissa = value.wrapping_shr(bits).as_limbs().first().copied().unwrap_or_default();
                Self { exponent: i32::try_from(bits).unwrap_or_default(), mantissa }
            }
            None => {
                let small = value.as_limbs().first().copied().unwrap_or_default();
                let bits = small.leading_zeros();
                Self { exponent: 0_i32.saturating_sub_unsigned(bits), mantissa: small.wrapping_shl(bits) }
            }
        }
    }

    /// Bits that do not fit.
    fn shift(value: U256) -> Option<usize> {
        value.bit_len().checked_sub(64)
    }

    /// The next number up.
    fn next(self) -> Self {
        match self.mantissa.checked_add(1) {
            Some(mantissa) => Self { mantissa, ..self },
            None => Self { exponent: self.exponent.saturating_add(1), mantissa: 1 << 63 },
        }
    }

    /// At least the product.
    pub(super) fn times(self, other: Self) -> Self {
        if self == Self::NONE || other == Self::NONE {
            return Self::NONE;
        }
        let product = u128::from(self.mantissa).wrapping_mul(u128::from(other.mantissa));
        // 127 or 128 bits.
        let bits = 64_u32.wrapping_sub(product.leading_zeros());
        let mantissa = u64::try_from(product.wrapping_shr(bits)).unwrap_or(u64::MAX);
        let exponent = self.exponent.saturating_add(other.exponent).saturating_add_unsigned(bits);
        let floor = Self { exponent, mantissa };
        if product.trailing_zeros() >= bits { floor } else { floor.next() }
    }

    /// At this rate an amount is surely not worth more than that, or does not cost less.
    pub(in crate::domain) fn falls_short(self, known: U256, worth: U256, is_in: bool) -> bool {
        self.is_short(Self::known(known, is_in), Self::worth(worth, is_in), is_in)
    }

    /// The same of amounts that are on their sides already: see [`Bound::known`] and [`Bound::worth`].
    pub(super) fn is_short(self, known: Self, worth: Self, is_in: bool) -> bool {
        if is_in { known.times(self) <= worth } else { worth.times(self) <= known }
    }

    /// An amount that is known, on the side of the doubt.
    pub(super) fn known(amount: U256, is_in: bool) -> Self {
        if is_in { Self::up(amount) } else { Self::down(amount) }
    }

    /// What is to be beaten, on the side of the doubt.
    pub(super) fn worth(amount: U256, is_in: bool) -> Self {
        if is_in { Self::down(amount) } else { Self::up(amount) }
    }

    /// At least the quotient.
    fn ratio(of: U256, by: U256) -> Self {
        let (of, by) = (Self::up(of), Self::down(by));
        if of == Self::NONE || by == Self::NONE {
            return Self::NONE;
        }
        let quotient = u128::from(of.mantissa).wrapping_shl(64).checked_div(u128::from(by.mantissa)).unwrap_or_default();
        // 64 or 65 bits; whatever was cut off is less than the next one up.
        let bits = 64_u32.wrapping_sub(quotient.leading_zeros());
        let mantissa = u64::try_from(quotient.wrapping_shr(bits)).unwrap_or(u64::MAX);
        let exponent = of.exponent.saturating_sub(by.exponent).saturating_sub(64).saturating_add_unsigned(bits);
        Self { exponent, mantissa }.next()
    }
}

/// What a pool gives at most for a unit of token0, and for one of token1.
pub(super) fn rates(meta: &PoolMeta, state: &PoolState) -> [Bound; 2] {
    let rest = match (meta.protocol, meta.fee_pips) {
        // Each swap has its own.
        (Protocol::UniswapV4, DYNAMIC_FEE) => PIPS,
        (_, fee_pips) => PIPS.saturating_sub(fee_pips),
    };
    let rest = Bound::ratio(U256::from(rest), U256::from(PIPS));
    match state {
        PoolState::V2(pair) => {
            let (reserve0, reserve1) = (U256::from(pair.reserve0), U256::from(pair.reserve1));
            [Bound::ratio(reserve1, reserve0).times(rest), Bound::ratio(reserve0, reserve1).times(rest)]
        }
        PoolState::V3(pool) | PoolState::V4(pool) => {
            // The root of the price has 96 bits behind the point.
            let unit = U256::ONE.wrapping_shl(96);
            let (root, inverse) = (Bound::ratio(pool.sqrt_price_x96, unit), Bound::ratio(unit, pool.sqrt_price_x96));
            [root.times(root).times(rest), inverse.times(inverse).times(rest)]
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::U512;
    use proptest::prelude::*;

    use super::*;

    fn any_size() -> impl Strategy<Value = U256> {
        (any::<[u64; 4]>(), 0_usize..256).prop_map(|(limbs, bits)| U256::from_limbs(limbs) >> bits)
    }

    /// Of a number that may have a fraction, against a whole one.
    fn is_at_least(bound: Bound, exact: U512) -> bool {
        let (mantissa, bits) = (U512::from(bound.mantissa), usize::try_from(bound.exponent.unsigned_abs()).unwrap());
        if bound.exponent < 0 {
            return mantissa >= exact << bits;
        }
        let rest = (exact >> bits) << bits != exact;
        mantissa >= (exact >> bits) + U512::from(u8::from(rest))
    }

    proptest! {
        #[test]
        fn bounds_are_on_their_sides_and_close(a in any_size(), b in any_size()) {
            let (up, down) = (Bound::up(a), Bound::down(a));
            prop_assert!(down <= up);
            // Both ends by multiplication with a power of two, which is exact.
            let back = |bound: Bound| U512::from(bound.mantissa) << usize::try_from(bound.exponent + 64).unwrap_or(0);
            if !a.is_zero() {
                let exact = U512::from(a) << 64;
                prop_assert!(back(down) <= exact && exact <= back(up), "{a}: {down:?} {up:?}");
                prop_assert!(back(up) - back(down) <= exact >> 62);
            }
            prop_assert_eq!(a.cmp(&b) == std::cmp::Ordering::Less && Bound::up(a) > Bound::up(b), false);
            // A product and a quotient are not less than exact, and hardly more.
            if !a.is_zero() && !b.is_zero() {
                let exact: U512 = a.widening_mul(b);
                let product = Bound::up(a).times(Bound::up(b));
                prop_assert!(is_at_least(product, exact), "{a} {b}: {product:?}");
                prop_assert!(!is_at_least(product, exact + (exact >> 61) + U512::ONE), "{a} {b}: {product:?} is wide");
                // a / b is not above it: nor is a above it times b.
                let ratio = Bound::ratio(a, b);
                let (above, below) = (U512::from(ratio.mantissa) * U512::from(b), U512::from(a));
                let bits = usize::try_from(ratio.exponent.unsigned_abs()).unwrap();
                prop_assert!(if ratio.exponent < 0 { above >= below << bits } else { above << bits >= below }, "{a} {b}: {ratio:?}");
            }
        }
    }
}
