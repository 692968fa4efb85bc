use proptest::prelude::*;

use super::*;

const NOW: Millis = 1_700_000_000_000;
const STALE_MS: Millis = 30_000;
const RULES: Rules = Rules { min_sources: 2, max_deviation_bps: 100, halt_after_ms: 90_000 };

fn price(text: &str) -> Fixed18 {
    Fixed18::parse(text).unwrap()
}

fn tick(text: &str, at_ms: Millis) -> Tick {
    Tick { price: price(text), at_ms, id: None }
}

fn source(text: &str, age_ms: Millis) -> SourceState {
    let mut source = SourceState::new(STALE_MS);
    assert_eq!(source.hear(tick(text, NOW - age_ms), NOW - age_ms), Ok(true));
    source
}

fn judged(sources: &[SourceState], last_good: Option<Good>) -> Verdict {
    judge(&RULES, &sources.iter().collect::<Vec<_>>(), last_good, NOW)
}

fn excluded(verdict: &Verdict) -> Vec<Option<Exclusion>> {
    verdict.sources.iter().map(|s| s.excluded_by).collect()
}

#[test]
fn the_median_of_the_fresh() {
    let three = judged(&[source("1850", 0), source("1852", 100), source("1851", 2_000)], None);
    assert_eq!((three.value, three.status), (Some(price("1851")), FeedStatus::Fresh));
    assert_eq!(three.updated_ms, Some(NOW - 2_000), "as old as the oldest that it stands on");
    assert_eq!(three.sources.iter().map(|s| s.weight).collect::<Vec<_>>(), [0, 0, WEIGHT_ONE]);
    let two = judged(&[source("1850", 0), source("1851", 0)], None);
    assert_eq!(two.value, Some(price("1850.5")));
    assert_eq!(two.sources.iter().map(|s| s.weight).collect::<Vec<_>>(), [WEIGHT_ONE / 2, WEIGHT_ONE / 2]);
}

#[test]
fn who_is_old_or_silent_or_far_off_is_left_out_and_named() {
    let verdict = judged(
        &[
            source("1850", 0),
            source("1851", 0),
            source("1852", 30_001),
            SourceState::new(STALE_MS),
            source("1999", 0),
            source("1850.5", 0),
        ],
        None,
    );
    assert_eq!((verdict.value, verdict.status), (Some(price("1850.5")), FeedStatus::Degraded));
    assert_eq!(
        excluded(&verdict),
        [None, None, Some(Exclusion::Stale), Some(Exclusion::NoData), Some(Exclusion::Deviates), None]
    );
    assert_eq!(verdict.sources[4].value, Some(price("1999")), "it is left out, and shown");
}

#[test]
fn a_ticker_that_repeats_itself_is_frozen_however_alive_it_looks() {
    let mut frozen = SourceState::new(STALE_MS);
    for second in 0..60 {
        // The message is new each time and its time moves; the trade is the same.
        let repeated = Tick { price: price("1850"), at_ms: NOW - 60_000 + second * 1_000, id: Some(7) };
        assert_eq!(frozen.hear(repeated, NOW - 60_000 + second * 1_000), Ok(second == 0));
    }
    let verdict = judged(&[frozen.clone(), source("1850", 0), source("1850", 0)], None);
    assert_eq!(excluded(&verdict), [Some(Exclusion::Frozen), None, None]);
    assert_eq!(frozen.hear(Tick { price: price("1851"), at_ms: NOW, id: Some(8) }, NOW), Ok(true));
    assert_eq!(judged(&[frozen, source("1850", 0)], None).status, FeedStatus::Fresh);
}

#[test]
fn of_two_that_contradict_each_other_neither_is_believed() {
    let good = Some(Good { value: price("1850"), updated_ms: NOW - 1_000, good_ms: NOW - 1_000 });
    let verdict = judged(&[source("1850", 0), source("1900", 0)], good);
    assert_eq!((verdict.value, verdict.status), (None, FeedStatus::Halted));
    // A third decides.
    let verdict = judged(&[source("1850", 0), source("1900", 0), source("1851", 0)], good);
    assert_eq!((verdict.value, verdict.status), (Some(price("1850.5")), FeedStatus::Degraded));
    // Two against two: no majority.
    let verdict = judged(&[source("1850", 0), source("1900", 0), source("1851", 0), source("1901", 0)], good);
    assert_eq!((verdict.value, verdict.status), (None, FeedStatus::Halted));
}

#[test]
fn too_few_sources_give_the_last_good_price_as_stale_and_then_none() {
    // Its price was an hour old when it was still good: an oracle's.
    let good = |age| Some(Good { value: price("1850"), updated_ms: NOW - 3_600_000, good_ms: NOW - age });
    let one = [source("1850", 0), source("1850", 40_000)];
    let verdict = judged(&one, good(90_000));
    assert_eq!(
        (verdict.value, verdict.status, verdict.updated_ms),
        (Some(price("1850")), FeedStatus::Stale, Some(NOW - 3_600_000))
    );
    assert!(verdict.sources.iter().all(|s| s.weight == 0));
    assert_eq!((judged(&one, good(90_001)).value, judged(&one, good(90_001)).status), (None, FeedStatus::Halted));
    assert_eq!(judged(&[], None).status, FeedStatus::Halted);
}

#[test]
fn what_cannot_be_true_is_refused_and_changes_nothing() {
    let mut known = source("1850", 1_000);
    let before = known.tick();
    for (tick, why) in [
        (tick("1", NOW - 365 * 86_400_000), Refusal::OutOfOrder),
        (tick("1", NOW + 60_001), Refusal::FromTheFuture(60_001)),
        (tick("1", NOW - 2_000), Refusal::OutOfOrder),
    ] {
        assert_eq!(known.hear(tick, NOW), Err(why));
        assert_eq!(known.tick(), before);
    }
    let mut new = SourceState::new(STALE_MS);
    assert_eq!(new.hear(tick("1", NOW - 365 * 86_400_000), NOW), Err(Refusal::TooOld(365 * 86_400_000)));
    assert_eq!(new.tick(), None);
}

#[test]
fn an_exchange_that_counts_anew_is_believed_once_its_last_tick_is_stale() {
    let numbered = |id, at_ms| Tick { price: price("1850"), at_ms, id: Some(id) };
    let mut source = SourceState::new(STALE_MS);
    assert_eq!(source.hear(numbered(1_000, NOW), NOW), Ok(true));
    assert_eq!(source.hear(numbered(1, NOW + 30_000), NOW + 30_000), Err(Refusal::OutOfOrder));
    assert_eq!(source.hear(numbered(2, NOW + 30_001), NOW + 30_001), Ok(true));
}

#[test]
fn what_the_chain_says_may_go_back_and_may_be_nothing() {
    let mut oracle = SourceState::new(STALE_MS);
    // A chain whose clock is years behind: its price is a second old.
    oracle.set(Some((tick("1850", 5_000), 1_000)), NOW);
    assert_eq!(oracle.age_ms(NOW), Some(1_000));
    // Told again, it is not younger.
    oracle.set(Some((tick("1850", 5_000), 0)), NOW + 40_000);
    assert_eq!(judged_at(&oracle, NOW + 40_000), Some(Exclusion::Stale));
    // A reorg brings the round before back.
    oracle.set(Some((tick("1849", 4_000), 20_000)), NOW);
    assert_eq!((oracle.tick().map(|t| t.price), oracle.age_ms(NOW)), (Some(price("1849")), Some(20_000)));
    oracle.set(None, NOW);
    assert_eq!(judged_at(&oracle, NOW), Some(Exclusion::NoData));
}

fn judged_at(source: &SourceState, now: Millis) -> Option<Exclusion> {
    judge(&RULES, &[source], None, now).sources[0].excluded_by
}

#[test]
fn a_clock_that_runs_ahead_does_not_make_a_price_younger() {
    let mut ahead = SourceState::new(STALE_MS);
    assert_eq!(ahead.hear(tick("1850", NOW + 50_000), NOW), Ok(true));
    assert_eq!(ahead.age_ms(NOW + 30_001), Some(30_001));
    assert_eq!(judge(&Rules { min_sources: 1, ..RULES }, &[&ahead], None, NOW + 30_001).status, FeedStatus::Halted);
}

proptest! {
    /// However the sources stand: a price comes from a majority that agrees, and is within it.
    #[test]
    fn a_price_lies_within_those_that_are_believed(
        values in proptest::collection::vec((1_u128..10_000, 0_u64..60_000), 0..9),
        min_sources in 0_usize..5,
    ) {
        let rules = Rules { min_sources, ..RULES };
        let sources: Vec<SourceState> = values
            .iter()
            .map(|(value, age)| {
                let mut state = SourceState::new(STALE_MS);
                let tick = Tick { price: Fixed18::from_scaled(*value).unwrap(), at_ms: NOW - age, id: None };
                state.hear(tick, NOW - age).unwrap();
                state
            })
            .collect();
        let verdict = judge(&rules, &sources.iter().collect::<Vec<_>>(), None, NOW);
        let believed: Vec<Fixed18> = verdict.sources.iter().filter(|s| s.excluded_by.is_none()).filter_map(|s| s.value).collect();
        match verdict.value {
            Some(value) => {
                prop_assert!(believed.len() >= min_sources.max(1));
                prop_assert!(*believed.iter().min().unwrap() <= value && value <= *believed.iter().max().unwrap());
                prop_assert!(believed.iter().all(|v| value.apart_bps(*v) <= rules.max_deviation_bps));
                prop_assert_eq!(verdict.sources.iter().map(|s| s.weight).sum::<u32>(), WEIGHT_ONE);
                prop_assert_eq!(verdict.status == FeedStatus::Fresh, believed.len() == sources.len());
            }
            None => prop_assert_eq!(verdict.status, FeedStatus::Halted),
        }
    }
}
