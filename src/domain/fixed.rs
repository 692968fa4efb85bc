//! Prices from outside the chain: positive decimals, kept as integers scaled by 10^18.
//!
//! What is absent: floats. A decimal text becomes the nearest multiple of 10^-18, half to even, and is written back without a loss.

use std::fmt;

/// Decimal places that are kept.
pub const PLACES: u8 = 18;
const SCALE: u32 = PLACES as u32;
const ONE: u128 = 10_u128.pow(SCALE);
/// Longer texts are no price; they are not looked at.
const TEXT_MAX: usize = 64;
/// Exponents beyond can give neither a price that is kept nor one that fits.
const EXPONENT_MAX: i32 = 64;

/// A price above 0 and below 3.4e20, in units of 10^-18.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fixed18(u128);

/// Why a text is no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPrice {
    #[error("it is no decimal number")]
    Garbage,
    #[error("it is zero or negative")]
    NotPositive,
    #[error("it is too large or too small for 18 decimal places")]
    OutOfRange,
}

impl Fixed18 {
    /// `None` for 0.
    #[must_use]
    pub fn from_scaled(scaled: u128) -> Option<Self> {
        (scaled > 0).then_some(Self(scaled))
    }

    #[must_use]
    pub fn scaled(self) -> u128 {
        self.0
    }

    /// A plain or scientific decimal: `1850.25`, `1.2e-7`.
    ///
    /// # Errors
    /// Where it is none, not above 0, or out of range.
    pub fn parse(text: &str) -> Result<Self, NoPrice> {
        if text.is_empty() || text.len() > TEXT_MAX {
            return Err(NoPrice::Garbage);
        }
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| NoPrice::Garbage)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        if digits().next().is_none() || !digits().all(|b| b.is_ascii_digit()) {
            return Err(NoPrice::Garbage);
        }
        if negative || digits().all(|b| b == b'0') {
            return Err(NoPrice::NotPositive);
        }
        if exponent.abs() > EXPONENT_MAX {
            return Err(NoPrice::OutOfRange);
        }
        // The digits as one integer, times 10^shift, is the price in units of 10^-18.
        let places = i32::try_from(fraction.len()).map_err(|_| NoPrice::Garbage)?;
        let shift = SCALE.cast_signed().saturating_add(exponent).saturating_sub(places);
        let digits: Vec<u8> = digits().skip_while(|b| *b == b'0').map(|b| b.saturating_sub(b'0')).collect();
        Self::from_scaled(scale(&digits, shift).ok_or(NoPrice::OutOfRange)?).ok_or(NoPrice::OutOfRange)
    }

    /// An integer with so many decimal places, as contracts answer.
    #[must_use]
    pub fn from_integer(value: u128, decimals: u8) -> Option<Self> {
        let scaled = match SCALE.checked_sub(u32::from(decimals)) {
            Some(up) => value.checked_mul(10_u128.checked_pow(up)?)?,
            None => round_half_even(value, 10_u128.checked_pow(u32::from(decimals).checked_sub(SCALE)?)?),
        };
        Self::from_scaled(scaled)
    }

    /// The number half-way, rounded down.
    #[must_use]
    pub fn between(self, other: Self) -> Self {
        let (low, high) = (self.min(other).0, self.max(other).0);
        Self(low.saturating_add(high.saturating_sub(low) / 2))
    }

    /// How far apart they are, in parts of 10,000 of `self`; saturates.
    #[must_use]
    pub fn apart_bps(self, other: Self) -> u64 {
        let apart = self.0.abs_diff(other.0);
        let bps = match apart.checked_mul(10_000) {
            Some(scaled) => scaled.checked_div(self.0),
            None => apart.checked_div((self.0 / 10_000).max(1)),
        };
        bps.and_then(|bps| u64::try_from(bps).ok()).unwrap_or(u64::MAX)
    }
}

fn round_half_even(value: u128, unit: u128) -> u128 {
    let (Some(quotient), Some(rest)) = (value.checked_div(unit), value.checked_rem(unit)) else { return 0 };
    let up = match rest.cmp(&unit.saturating_sub(rest)) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 == 1,
        std::cmp::Ordering::Greater => true,
    };
    quotient.saturating_add(u128::from(up))
}

/// digits × 10^shift, half to even.
fn scale(digits: &[u8], shift: i32) -> Option<u128> {
    let integer = |digits: &[u8]| digits.iter().try_fold(0_u128, |n, d| n.checked_mul(10)?.checked_add(u128::from(*d)));
    if let Ok(up) = u32::try_from(shift) {
        return integer(digits)?.checked_mul(10_u128.checked_pow(up)?);
    }
    let gone = usize::try_from(shift.unsigned_abs()).ok()?;
    let Some(kept) = digits.len().checked_sub(gone) else { return Some(0) };
    let (kept, gone) = digits.split_at(kept);
    let kept = integer(kept)?;
    let first = gone.first().copied().unwrap_or(0);
    let more = gone.iter().skip(1).any(|d| *d > 0);
    let up = first > 5 || (first == 5 && (more || kept % 2 == 1));
    kept.checked_add(u128::from(up))
}

impl fmt::Display for Fixed18 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / ONE, self.0 % ONE);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let text = format!("{fraction:018}");
        write!(f, "{whole}.{}", text.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_a_price() {
        for (text, scaled) in [
            ("1", ONE),
            ("1850.25", 1_850_250_000_000_000_000_000),
            ("0001.50", 1_500_000_000_000_000_000),
            (".5", ONE / 2),
            ("5.", 5 * ONE),
            ("1.2e-7", 120_000_000_000),
            ("3E2", 300 * ONE),
            ("1e-18", 1),
            // Half to even, at the last place that is kept.
            ("0.0000000000000000025", 2),
            ("0.0000000000000000035", 4),
            ("0.00000000000000000250000001", 3),
            ("340282366920938463463.374607431768211455", u128::MAX),
        ] {
            assert_eq!(Fixed18::parse(text).map(Fixed18::scaled), Ok(scaled), "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        for (text, why) in [
            ("", NoPrice::Garbage),
            ("NaN", NoPrice::Garbage),
            ("Infinity", NoPrice::Garbage),
            ("1,850.25", NoPrice::Garbage),
            ("1.2.3", NoPrice::Garbage),
            ("0x12", NoPrice::Garbage),
            (" 1", NoPrice::Garbage),
            ("+1", NoPrice::Garbage),
            (".", NoPrice::Garbage),
            ("e5", NoPrice::Garbage),
            ("1e", NoPrice::Garbage),
            ("1e99999999999", NoPrice::Garbage),
            ("0", NoPrice::NotPositive),
            ("0.000", NoPrice::NotPositive),
            ("-0", NoPrice::NotPositive),
            ("-1850", NoPrice::NotPositive),
            ("1e-19", NoPrice::OutOfRange),
            ("1e21", NoPrice::OutOfRange),
            ("1e65", NoPrice::OutOfRange),
            ("340282366920938463463.374607431768211456", NoPrice::OutOfRange),
        ] {
            assert_eq!(Fixed18::parse(text), Err(why), "{text}");
        }
        assert_eq!(Fixed18::parse(&"1".repeat(65)), Err(NoPrice::Garbage));
    }

    #[test]
    fn integers_of_contracts() {
        assert_eq!(Fixed18::from_integer(185_025_000_000, 8), Fixed18::parse("1850.25").ok());
        assert_eq!(Fixed18::from_integer(ONE, 18), Fixed18::parse("1").ok());
        assert_eq!(Fixed18::from_integer(25, 20).map(Fixed18::scaled), None, "a quarter of the smallest unit");
        assert_eq!(Fixed18::from_integer(150, 20).map(Fixed18::scaled), Some(2));
        assert_eq!(Fixed18::from_integer(u128::MAX, 0), None);
        assert_eq!(Fixed18::from_integer(1, 255), None);
    }

    #[test]
    fn distance() {
        let of = |text| Fixed18::parse(text).unwrap();
        assert_eq!(of("100").apart_bps(of("101")), 100);
        assert_eq!(of("100").apart_bps(of("99.99")), 1);
        assert_eq!(of("1e-18").apart_bps(of("3e20")), u64::MAX);
        assert!(of("3e20").apart_bps(of("1e-18")) >= 9_999, "nearly all of it");
        assert_eq!(of("1").between(of("2")), of("1.5"));
        assert_eq!(of("3e-18").between(of("2e-18")), of("2e-18"));
    }

    proptest! {
        #[test]
        fn a_price_is_written_as_it_is_read(scaled in 1..=u128::MAX) {
            let price = Fixed18(scaled);
            prop_assert_eq!(Fixed18::parse(&price.to_string()), Ok(price));
        }

        #[test]
        fn no_text_panics(text in ".{0,70}") {
            let _ = Fixed18::parse(&text);
        }
    }
}
