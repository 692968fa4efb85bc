//! The lengths of candles and windows.

/// A candle's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interval {
    S1,
    S5,
    S15,
    M1,
    M5,
    M15,
    H1,
    H4,
    D1,
    W1,
}

impl Interval {
    /// Those whose closed candles are kept for good; shorter ones are made of swaps.
    pub const STORED: [Self; 7] = [Self::M1, Self::M5, Self::M15, Self::H1, Self::H4, Self::D1, Self::W1];

    #[must_use]
    pub fn is_stored(self) -> bool {
        self >= Self::M1
    }

    /// Stored candles are dropped when they are so old; `None`: never. What is older is made of swaps.
    #[must_use]
    pub fn retention_seconds(self) -> Option<u64> {
        match self {
            Self::S1 | Self::S5 | Self::S15 => Some(0),
            Self::M1 => Some(90 * DAY),
            Self::M5 => Some(366 * DAY),
            Self::M15 => Some(3 * 366 * DAY),
            Self::H1 | Self::H4 | Self::D1 | Self::W1 => None,
        }
    }

    /// What a store calls it.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::S1 => 1,
            Self::S5 => 2,
            Self::S15 => 3,
            Self::M1 => 4,
            Self::M5 => 5,
            Self::M15 => 6,
            Self::H1 => 7,
            Self::H4 => 8,
            Self::D1 => 9,
            Self::W1 => 10,
        }
    }
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
/// 1970 began on a Thursday; weeks begin on Mondays.
const MONDAY: u64 = 3 * DAY;

impl Interval {
    pub const ALL: [Self; 10] =
        [Self::S1, Self::S5, Self::S15, Self::M1, Self::M5, Self::M15, Self::H1, Self::H4, Self::D1, Self::W1];

    #[must_use]
    pub fn seconds(self) -> u64 {
        match self {
            Self::S1 => 1,
            Self::S5 => 5,
            Self::S15 => 15,
            Self::M1 => MINUTE,
            Self::M5 => 5 * MINUTE,
            Self::M15 => 15 * MINUTE,
            Self::H1 => HOUR,
            Self::H4 => 4 * HOUR,
            Self::D1 => DAY,
            Self::W1 => WEEK,
        }
    }

    /// The beginning of the candle that a time is in: UTC days, weeks from Monday.
    #[must_use]
    pub fn start_of(self, timestamp: u64) -> u64 {
        let shift = if self == Self::W1 { MONDAY } else { 0 };
        let shifted = timestamp.saturating_add(shift);
        shifted.saturating_sub(shifted.checked_rem(self.seconds()).unwrap_or(0)).saturating_sub(shift)
    }

    /// The first second after the candle.
    #[must_use]
    pub fn end_of(self, start: u64) -> u64 {
        // The first week of 1970 is cut short.
        self.start_of(start).saturating_add(self.seconds()).saturating_sub(if self == Self::W1 && start == 0 {
            MONDAY
        } else {
            0
        })
    }
}

/// A window that ends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    M5,
    M15,
    M30,
    H1,
    H6,
    H24,
}

impl Window {
    pub const ALL: [Self; 6] = [Self::M5, Self::M15, Self::M30, Self::H1, Self::H6, Self::H24];

    #[must_use]
    pub fn minutes(self) -> u64 {
        match self {
            Self::M5 => 5,
            Self::M15 => 15,
            Self::M30 => 30,
            Self::H1 => 60,
            Self::H6 => 360,
            Self::H24 => 1_440,
        }
    }

    /// Where it begins: so many minutes, the one that is under way included.
    #[must_use]
    pub fn start_at(self, now: u64) -> u64 {
        Interval::M1.start_of(now).saturating_sub(self.minutes().saturating_sub(1).saturating_mul(MINUTE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candles_begin_where_people_expect() {
        // 2026-11-25 20:53:13 UTC, a Wednesday.
        let now = 1_795_639_993;
        for (interval, start) in [
            (Interval::S1, 1_795_639_993),
            (Interval::S5, 1_795_639_990),
            (Interval::S15, 1_795_639_980),
            (Interval::M1, 1_795_639_980),
            (Interval::M5, 1_795_639_800),
            (Interval::M15, 1_795_639_500),
            (Interval::H1, 1_795_636_800),
            (Interval::H4, 1_795_636_800),
            (Interval::D1, 1_795_564_800),
            (Interval::W1, 1_795_392_000),
        ] {
            assert_eq!(interval.start_of(now), start, "{interval:?}");
            assert_eq!(interval.start_of(start), start, "{interval:?}");
            assert_eq!(interval.end_of(start), start + interval.seconds(), "{interval:?}");
            assert_eq!(interval.start_of(interval.end_of(start)), interval.end_of(start), "{interval:?}");
        }
        assert_eq!((Interval::W1.start_of(5), Interval::W1.end_of(0), Interval::W1.start_of(4 * DAY)), (0, 4 * DAY, 4 * DAY));
        assert_eq!(Window::M5.start_at(now), 1_795_639_980 - 240);
        assert_eq!(Window::H24.start_at(now), 1_795_639_980 - 1_439 * 60);
    }
}
