//! Exact numbers for people: integer ratios written as decimal strings of at most 34 significant digits, half-even, without an
//! exponent. No float anywhere.
//!
//! Sources: `UniswapV3Pool.slot0` (sqrtPriceX96 is sqrt(token1/token0) in raw units, Q64.96); `v3-subgraph` `pricing.ts` for
//! the names `token0Price` (token0 per token1) and `token1Price`. What is absent: dollars, and anything that is not exact
//! before its one rounding (powers of 1.0001 are carried to 70 digits).

use std::{cmp::Ordering, sync::LazyLock};

use alloy::primitives::{I256, U256, U512, Uint};

use super::{dollars::Dollars, market::RawPrice, pool::PoolState};

/// Holds sqrtPrice² (320 bits) times 10^77 (256 bits) times the scale of the division (at most 10^169).
type Wide = Uint<1024, 16>;

/// As IEEE 754 decimal128 and MongoDB's Decimal128 have.
pub const SIGNIFICANT_DIGITS: usize = 34;

/// Has one digit more.
const EXACT_BELOW: u128 = 10_u128.pow(34);

/// No 256-bit amount has more digits, so a token that claims more has no amounts in its own unit.
pub const DECIMALS_MAX: u8 = 77;

/// A non-negative exact ratio; the denominator is never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    num: Wide,
    den: Wide,
}

impl Ratio {
    fn new(num: Wide, den: Wide) -> Option<Self> {
        (!den.is_zero()).then_some(Self { num, den })
    }

    /// Of a ratio of raw units (token1 per token0): the same in the tokens' own units.
    #[must_use]
    pub fn in_units(self, decimals0: u8, decimals1: u8) -> Option<Self> {
        Self::new(self.num.checked_mul(power_of_ten(decimals0)?)?, self.den.checked_mul(power_of_ten(decimals1)?)?)
    }

    /// `None` where the ratio is 0.
    #[must_use]
    pub fn inverse(self) -> Option<Self> {
        Self::new(self.den, self.num)
    }

    /// So much of the numerator for so much of the denominator, rounded down.
    #[must_use]
    pub fn of(self, amount: U256) -> Option<U256> {
        let found = self.num.checked_mul(Wide::from(amount))?.checked_div(self.den)?;
        (found.bit_len() <= U256::BITS).then(|| U256::saturating_from(found))
    }

    /// The product; of more than 200 bits it is rounded down, far behind the digits that are said.
    #[must_use]
    pub fn times(self, other: Self) -> Option<Self> {
        Self::new(self.num.checked_mul(other.num)?, self.den.checked_mul(other.den)?).map(Self::shortened)
    }

    /// `parts` of so many, exactly.
    #[must_use]
    pub fn part(self, parts: u32, whole: u32) -> Option<Self> {
        Self::new(self.num.checked_mul(Wide::from(parts))?, self.den.checked_mul(Wide::from(whole))?)
    }

    /// Where `num / den` lies beside it; `None` where nothing computes that far.
    #[must_use]
    pub fn beside(&self, num: u128, den: u128) -> Option<Ordering> {
        Some(Wide::from(num).checked_mul(self.den)?.cmp(&self.num.checked_mul(Wide::from(den))?))
    }

    /// Its root as Q64.96, rounded down: what `sqrtPriceX96` would be.
    #[must_use]
    pub fn root_x96(&self) -> Option<U256> {
        let square = self.num.checked_mul(Wide::ONE.checked_shl(192)?)?.checked_div(self.den)?;
        let root = square.root(2);
        (root.bit_len() <= U256::BITS).then(|| U256::saturating_from(root))
    }

    /// A decimal number as it is written here: digits, with a point among them where there is one. `None`: another text, or more digits than
    /// anything here has.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let is_written = !whole.is_empty() && (!part.is_empty() || !text.contains('.'));
        if !is_written || whole.len().saturating_add(part.len()) > usize::from(DECIMALS_MAX) {
            return None;
        }
        let digits = format!("{whole}{part}");
        let num = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<Wide>().ok())??;
        Self::new(num, ten_to(part.len())?)
    }

    fn shortened(self) -> Self {
        let surplus = self.num.bit_len().min(self.den.bit_len()).saturating_sub(SHORT_BITS);
        Self { num: self.num.wrapping_shr(surplus), den: self.den.wrapping_shr(surplus) }
    }

    /// By how much it is below another one, in so many parts of that. `None`: it is not below.
    #[must_use]
    pub fn below(self, other: Self, parts: u32) -> Option<String> {
        let (a, b) = (self.shortened(), other.shortened());
        let (ours, theirs) = (a.num.checked_mul(b.den)?, b.num.checked_mul(a.den)?);
        decimal(theirs.checked_sub(ours)?.checked_mul(Wide::from(parts))?, theirs)
    }

    /// At most 34 significant digits, half-even, no exponent, no trailing zeros.
    #[must_use]
    pub fn decimal(self) -> Option<String> {
        decimal(self.num, self.den)
    }
}

/// Bits of the shorter side of a ratio that is multiplied on.
const SHORT_BITS: usize = 200;

/// One amount over another one, both in their own units: raw units and decimals.
#[must_use]
pub fn quotient((num, num_decimals): (U256, u8), (den, den_decimals): (U256, u8)) -> Option<Ratio> {
    let num = Wide::from(num).checked_mul(power_of_ten(den_decimals)?)?;
    Ratio::new(num, Wide::from(den).checked_mul(power_of_ten(num_decimals)?)?)
}

/// token1 per token0, both in their own unit: what one token0 costs. `None` where there is no price: an uninitialised V3 pool,
/// an empty V2 pair, or absurd decimals.
#[must_use]
pub fn token1_per_token0(state: &PoolState, decimals0: u8, decimals1: u8) -> Option<Ratio> {
    scaled(RawPrice::of(&state.after())?, decimals0, decimals1)
}

/// The same for a price that was kept. `None` where decimals are absurd.
#[must_use]
pub fn scaled(price: RawPrice, decimals0: u8, decimals1: u8) -> Option<Ratio> {
    let (raw_num, raw_den) = match price {
        RawPrice::Reserves { reserve0, reserve1 } => (Wide::from(reserve1), Wide::from(reserve0)),
        RawPrice::Root(root) => {
            let root = Wide::from(root);
            (root.checked_mul(root)?, Wide::ONE.checked_shl(192)?)
        }
        // Of a token, in dollars: it has no other side.
        RawPrice::Dollars(_) | RawPrice::Unknown => return None,
    };
    Ratio::new(raw_num.checked_mul(power_of_ten(decimals0)?)?, raw_den.checked_mul(power_of_ten(decimals1)?)?)
}

/// `value / 2^places` of a raw unit, for one whole token. It was rounded down before, so only so many digits are said as that left
/// alone.
#[must_use]
pub fn binary_fraction(value: U256, places: usize, decimals: u8, significant_digits: usize) -> Option<String> {
    let num = Wide::from(value).checked_mul(power_of_ten(decimals)?)?;
    rounded(num, Wide::ONE.checked_shl(places)?, significant_digits)
}

/// By how much a price moved, in percent of what it was: exact before its one rounding. `None` where they are prices of different
/// protocols.
#[must_use]
pub fn change_percent(before: RawPrice, after: RawPrice) -> Option<String> {
    let product = |a: u128, b: u128| Wide::from(a).checked_mul(Wide::from(b));
    let square = |root: U256| Wide::from(root).checked_mul(Wide::from(root));
    let (old, new, digits) = match (before, after) {
        (RawPrice::Root(old), RawPrice::Root(new)) => (square(old)?, square(new)?, SIGNIFICANT_DIGITS),
        // Both over the product of the two reserves of token0.
        (RawPrice::Reserves { reserve0: o0, reserve1: o1 }, RawPrice::Reserves { reserve0: n0, reserve1: n1 }) => {
            (product(o1, n0)?, product(n1, o0)?, SIGNIFICANT_DIGITS)
        }
        // Both were rounded down before: no more is said than that left alone.
        (RawPrice::Dollars(old), RawPrice::Dollars(new)) => (Wide::from(old.raw()), Wide::from(new.raw()), Dollars::DIGITS),
        _ => return None,
    };
    let moved = rounded(new.abs_diff(old).checked_mul(Wide::from(100))?, old, digits)?;
    Some(if new < old { format!("-{moved}") } else { moved })
}

/// A raw amount in the token's own unit.
#[must_use]
pub fn amount(raw: I256, decimals: u8) -> Option<String> {
    let text = unsigned_amount(raw.unsigned_abs(), decimals)?;
    Some(if raw.is_negative() { format!("-{text}") } else { text })
}

/// The same for amounts that have no sign.
#[must_use]
pub fn unsigned_amount(raw: U256, decimals: u8) -> Option<String> {
    // Nearly every amount: nothing is rounded, so nothing is divided.
    if let Ok(raw) = u128::try_from(raw)
        && (1..EXACT_BELOW).contains(&raw)
        && decimals <= DECIMALS_MAX
    {
        return place_point(&raw.to_string(), decimals.into());
    }
    decimal(Wide::from(raw), power_of_ten(decimals)?)
}

/// 1.0001^tick: raw token1 per raw token0 at this tick.
#[must_use]
pub fn tick_ratio(tick: i32) -> Option<Ratio> {
    let mut exponent = tick.unsigned_abs();
    let mut result = Binary::ONE;
    let mut base = Binary::tick_base()?;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result.times(base)?;
        }
        base = base.times(base)?;
        exponent >>= 1;
    }
    let ratio = result.ratio()?;
    if tick < 0 { ratio.inverse() } else { Some(ratio) }
}

/// A number as `mantissa · 2^exponent` with the mantissa's top bit set: relative error 2^-255 per multiplication.
#[derive(Clone, Copy)]
struct Binary {
    mantissa: U256,
    exponent: i32,
}

impl Binary {
    const ONE: Self = Self { mantissa: U256::from_limbs([0, 0, 0, 1 << 63]), exponent: -255 };

    /// 1.0001.
    fn tick_base() -> Option<Self> {
        let scaled = Wide::from(10_001u16).checked_shl(255)?.checked_div(Wide::from(10_000u16))?;
        Some(Self { mantissa: U256::from(scaled), exponent: -255 })
    }

    fn times(self, other: Self) -> Option<Self> {
        let product: U512 = self.mantissa.widening_mul(other.mantissa);
        // Two top bits multiply to bit 510 or 511.
        let shift: usize = if product.bit(511) { 256 } else { 255 };
        let exponent = self.exponent.checked_add(other.exponent)?.checked_add(i32::try_from(shift).ok()?)?;
        Some(Self { mantissa: U256::from(product.wrapping_shr(shift)), exponent })
    }

    fn ratio(self) -> Option<Ratio> {
        let mantissa = Wide::from(self.mantissa);
        let shift = usize::try_from(self.exponent.unsigned_abs()).ok()?;
        if self.exponent >= 0 {
            Ratio::new(mantissa.checked_shl(shift)?, Wide::ONE)
        } else {
            Ratio::new(mantissa, Wide::ONE.checked_shl(shift)?)
        }
    }
}

fn power_of_ten(exponent: u8) -> Option<Wide> {
    if exponent > DECIMALS_MAX { None } else { ten_to(usize::from(exponent)) }
}

/// Every power of ten that fits: raising 1,024 bits to a power is most of what a price would cost.
static POWERS_OF_TEN: LazyLock<Vec<Wide>> =
    LazyLock::new(|| std::iter::successors(Some(Wide::ONE), |power| power.checked_mul(Wide::from(10u8))).collect());

fn ten_to(exponent: usize) -> Option<Wide> {
    POWERS_OF_TEN.get(exponent).copied()
}

fn digits(value: Wide) -> Option<usize> {
    // 1,233 / 4,096 is a hair less than log10(2), so this is one less than the digits, or that once more.
    let mut digits = value.bit_len().checked_mul(1_233)? >> 12_u32;
    while POWERS_OF_TEN.get(digits).is_some_and(|power| *power <= value) {
        digits = digits.checked_add(1)?;
    }
    Some(digits.max(1))
}

fn decimal(num: Wide, den: Wide) -> Option<String> {
    rounded(num, den, SIGNIFICANT_DIGITS)
}

fn rounded(num: Wide, den: Wide, significant_digits: usize) -> Option<String> {
    if den.is_zero() {
        return None;
    }
    if num.is_zero() {
        return Some("0".to_owned());
    }
    // num/den lies between 10^(a-b-1) and 10^(a-b+1), so with this scale the quotient has as many digits, or one more.
    let magnitude = i32::try_from(digits(num)?).ok()?.checked_sub(i32::try_from(digits(den)?).ok()?)?;
    let mut scale = i32::try_from(significant_digits).ok()?.checked_sub(magnitude)?;
    let (mut quotient, mut rest, mut divisor) = scaled_division(num, den, scale)?;
    if digits(quotient)? > significant_digits {
        scale = scale.checked_sub(1)?;
        (quotient, rest, divisor) = scaled_division(num, den, scale)?;
    }
    let twice = rest.checked_mul(Wide::from(2u8))?;
    if twice > divisor || (twice == divisor && quotient.bit(0)) {
        quotient = quotient.checked_add(Wide::ONE)?;
    }
    place_point(&quotient.to_string(), scale)
}

/// `num · 10^scale / den` with its remainder and the divisor that was used.
fn scaled_division(num: Wide, den: Wide, scale: i32) -> Option<(Wide, Wide, Wide)> {
    let power = ten_to(usize::try_from(scale.unsigned_abs()).ok()?)?;
    let (num, den) = if scale >= 0 { (num.checked_mul(power)?, den) } else { (num, den.checked_mul(power)?) };
    let quotient = num.checked_div(den)?;
    let rest = num.checked_rem(den)?;
    Some((quotient, rest, den))
}

/// `digits · 10^-scale`, plainly written.
fn place_point(all_digits: &str, scale: i32) -> Option<String> {
    let kept = all_digits.trim_end_matches('0');
    let dropped = i32::try_from(all_digits.len().checked_sub(kept.len())?).ok()?;
    let scale = scale.checked_sub(dropped)?;
    let width = usize::try_from(scale.unsigned_abs()).ok()?;
    if scale <= 0 {
        return Some(format!("{kept}{}", "0".repeat(width)));
    }
    match kept.len().checked_sub(width) {
        Some(whole) if whole > 0 => {
            let (before, after) = kept.split_at_checked(whole)?;
            Some(format!("{before}.{after}"))
        }
        _ => Some(format!("0.{kept:0>width$}")),
    }
}

#[cfg(test)]
mod tests;
