//! One price out of several sources, and what it is worth.
//!
//! Each source is a [`SourceState`]: what it said last, and when. [`judge`] makes the median of those that can be believed now, says of
//! each of the others why not, and gives nothing where too few are left: a wrong price is worse than none. Clocks are arguments.
//! What is absent: connections, and averages over time.

use super::fixed::{Fixed18, NoPrice};

/// Unix milliseconds.
pub type Millis = u64;

/// A source's clock may be ahead of ours by this much.
const AHEAD_MAX_MS: Millis = 60_000;
/// Weights are parts of this.
pub const WEIGHT_ONE: u32 = 1_000_000;

/// How a pair is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// So many sources must be believed.
    pub min_sources: usize,
    /// From the median, in parts of 10,000: who is further away is left out.
    pub max_deviation_bps: u64,
    /// How long the last good price is still given, as STALE, once too few sources are fresh.
    pub halt_after_ms: Millis,
}

/// What a source says of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    pub price: Fixed18,
    /// The source's own time for it, Unix milliseconds.
    pub at_ms: Millis,
    /// The number of the trade or round, where there is one: it only grows.
    pub id: Option<u64>,
}

/// Why a tick was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("not a price: {0}")]
    NoPrice(#[from] NoPrice),
    #[error("its time is {0} ms ahead of ours")]
    FromTheFuture(Millis),
    #[error("it is older than what the source said before")]
    OutOfOrder,
    #[error("it is {0} ms old")]
    TooOld(Millis),
}

/// Why a source does not count now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exclusion {
    /// It never said anything that could be taken.
    NoData,
    /// Its price is older than `stale_after_ms`.
    Stale,
    /// It goes on talking, and says the same trade again and again.
    Frozen,
    /// Too far from the median of all.
    Deviates,
    /// Its actor kept failing and was given up.
    Faulted,
    /// A pool that too few dollars would move (see [`super::dollars`]).
    Thin,
}

/// What a pair's price is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeedStatus {
    /// Every source is fresh and they agree.
    Fresh,
    /// Enough of them are; some are left out.
    Degraded,
    /// Too few are fresh: the price is the last good one.
    Stale,
    /// There is no price: too few sources for too long, or they contradict each other.
    Halted,
}

/// One source of one pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    stale_after_ms: Millis,
    last: Option<Heard>,
    /// When anything came from it, a repetition included.
    alive_ms: Millis,
    faulted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    tick: Tick,
    /// By our clock, when this tick came for the first time.
    since_ms: Millis,
    /// From when on it ages. The source's clock or ours, whichever says earlier: neither can make a price younger.
    from_ms: Millis,
}

impl SourceState {
    #[must_use]
    pub fn new(stale_after_ms: Millis) -> Self {
        Self { stale_after_ms, last: None, alive_ms: 0, faulted: false }
    }

    /// Something came that is no tick: a heartbeat.
    pub fn alive(&mut self, now_ms: Millis) {
        self.alive_ms = self.alive_ms.max(now_ms);
    }

    /// It was given up, or is back.
    pub fn set_faulted(&mut self, faulted: bool) {
        self.faulted = faulted;
    }

    /// Takes a tick. `Ok(false)`: it was known.
    ///
    /// # Errors
    /// Where it cannot be true; what was known stays.
    pub fn hear(&mut self, tick: Tick, now_ms: Millis) -> Result<bool, Refusal> {
        self.alive(now_ms);
        if tick.at_ms > now_ms.saturating_add(AHEAD_MAX_MS) {
            return Err(Refusal::FromTheFuture(tick.at_ms.saturating_sub(now_ms)));
        }
        let age = now_ms.saturating_sub(tick.at_ms);
        if let Some(known) = self.last {
            let (repeated, older) = match (tick.id, known.tick.id) {
                (Some(id), Some(before)) => (id == before, id < before),
                _ => (tick.at_ms == known.tick.at_ms && tick.price == known.tick.price, tick.at_ms < known.tick.at_ms),
            };
            if repeated {
                return Ok(false);
            }
            // An exchange may begin to count anew; once its last tick is stale nothing is lost by believing that.
            if older && now_ms.saturating_sub(known.since_ms) <= self.stale_after_ms {
                return Err(Refusal::OutOfOrder);
            }
        }
        if age > self.stale_after_ms {
            return Err(Refusal::TooOld(age));
        }
        self.last = Some(Heard { tick, since_ms: now_ms, from_ms: tick.at_ms.min(now_ms) });
        Ok(true)
    }

    /// Takes what a chain says at its head: a reorg may take it back to an older answer. `None`: it has none. `age_ms` is by the
    /// chain's clock, its head's time, which need not be ours; from then on it ages by ours.
    pub fn set(&mut self, said: Option<(Tick, Millis)>, now_ms: Millis) {
        if self.tick() != said.map(|(tick, _)| tick) {
            self.alive(now_ms);
            self.last = said.map(|(tick, age)| Heard { tick, since_ms: now_ms, from_ms: now_ms.saturating_sub(age) });
        }
    }

    /// The last tick that was taken.
    #[must_use]
    pub fn tick(&self) -> Option<Tick> {
        self.last.map(|heard| heard.tick)
    }

    #[must_use]
    pub fn age_ms(&self, now_ms: Millis) -> Option<Millis> {
        self.last.map(|heard| now_ms.saturating_sub(heard.from_ms))
    }

    fn exclusion(&self, now_ms: Millis) -> Option<Exclusion> {
        if self.faulted {
            return Some(Exclusion::Faulted);
        }
        let Some(age) = self.age_ms(now_ms) else { return Some(Exclusion::NoData) };
        if age <= self.stale_after_ms {
            return None;
        }
        let talks = now_ms.saturating_sub(self.alive_ms) <= self.stale_after_ms;
        Some(if talks { Exclusion::Frozen } else { Exclusion::Stale })
    }
}

/// What became of one source, in the order in which they were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceReport {
    pub value: Option<Fixed18>,
    pub age_ms: Option<Millis>,
    /// The source's own time of it.
    pub at_ms: Option<Millis>,
    /// Its part in the price, of [`WEIGHT_ONE`].
    pub weight: u32,
    pub excluded_by: Option<Exclusion>,
}

/// A pair's price now, with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub value: Option<Fixed18>,
    pub status: FeedStatus,
    /// The time of the oldest tick that the price stands on, by its source's clock.
    pub updated_ms: Option<Millis>,
    pub sources: Vec<SourceReport>,
}

/// The price that was good last, kept by the caller between two calls of [`judge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Good {
    pub value: Fixed18,
    /// [`Verdict::updated_ms`] of it.
    pub updated_ms: Millis,
    /// When it was still good, by our clock.
    pub good_ms: Millis,
}

/// The median of the sources that can be believed, half-way between the two middle ones where their number is even.
#[must_use]
pub fn judge(rules: &Rules, sources: &[&SourceState], last_good: Option<Good>, now_ms: Millis) -> Verdict {
    let mut reports: Vec<SourceReport> = sources
        .iter()
        .map(|source| SourceReport {
            value: source.tick().map(|tick| tick.price),
            age_ms: source.age_ms(now_ms),
            at_ms: source.tick().map(|tick| tick.at_ms),
            weight: 0,
            excluded_by: source.exclusion(now_ms),
        })
        .collect();
    let contradictory = exclude_deviating(rules, &mut reports);
    let believed = || reports.iter().filter(|r| r.excluded_by.is_none());
    let count = believed().count();
    let price = median(believed().filter_map(|r| r.value).collect());
    let oldest = believed().filter_map(|r| r.at_ms).min();
    match price {
        Some(value) if count >= rules.min_sources.max(1) && !contradictory => {
            let status = if count == reports.len() { FeedStatus::Fresh } else { FeedStatus::Degraded };
            weigh(&mut reports, count);
            Verdict { value: Some(value), status, updated_ms: oldest, sources: reports }
        }
        _ => {
            let kept = last_good.filter(|good| !contradictory && now_ms.saturating_sub(good.good_ms) <= rules.halt_after_ms);
            let status = if kept.is_some() { FeedStatus::Stale } else { FeedStatus::Halted };
            Verdict { value: kept.map(|g| g.value), status, updated_ms: kept.map(|g| g.updated_ms), sources: reports }
        }
    }
}

/// Who is too far from the median is left out, the furthest first, as long as a majority stays together. `true`: no majority does.
fn exclude_deviating(rules: &Rules, reports: &mut [SourceReport]) -> bool {
    let fresh = reports.iter().filter(|r| r.excluded_by.is_none()).count();
    loop {
        let believed: Vec<(usize, Fixed18)> = reports
            .iter()
            .enumerate()
            .filter(|(_, r)| r.excluded_by.is_none())
            .filter_map(|(i, r)| Some((i, r.value?)))
            .collect();
        let Some(middle) = median(believed.iter().map(|(_, value)| *value).collect()) else { return false };
        let furthest = believed.iter().map(|(i, value)| (middle.apart_bps(*value), *i)).max();
        match furthest {
            Some((apart, i)) if apart > rules.max_deviation_bps => {
                // Of two that disagree nobody knows which is wrong.
                if believed.len().saturating_sub(1).saturating_mul(2) <= fresh {
                    return true;
                }
                if let Some(report) = reports.get_mut(i) {
                    report.excluded_by = Some(Exclusion::Deviates);
                }
            }
            _ => return false,
        }
    }
}

fn median(mut values: Vec<Fixed18>) -> Option<Fixed18> {
    values.sort_unstable();
    let upper = values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(*upper);
    }
    values.len().checked_div(2)?.checked_sub(1).and_then(|i| values.get(i)).map(|lower| lower.between(*upper))
}

/// The price is made of the one or two in the middle: the others guard it, and weigh nothing.
fn weigh(reports: &mut [SourceReport], count: usize) {
    let mut order: Vec<(Fixed18, usize)> =
        reports.iter().enumerate().filter(|(_, r)| r.excluded_by.is_none()).filter_map(|(i, r)| Some((r.value?, i))).collect();
    order.sort_unstable();
    let middle = if count % 2 == 1 { count / 2..count / 2 + 1 } else { (count / 2).saturating_sub(1)..count / 2 + 1 };
    let share = if count % 2 == 1 { WEIGHT_ONE } else { WEIGHT_ONE / 2 };
    for (_, i) in order.get(middle).unwrap_or_default() {
        if let Some(report) = reports.get_mut(*i) {
            report.weight = share;
        }
    }
}

#[cfg(test)]
mod tests;
