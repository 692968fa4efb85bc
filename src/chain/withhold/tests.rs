use std::sync::{Arc, Mutex};

use alloy::{consensus::constants::EMPTY_RECEIPTS, primitives::Bloom};
use futures_util::stream;

use super::*;

/// A block is named by its number and a letter for its branch; a branch leaves `a` at the number that is given.
fn hash(number: u64, branch: char) -> B256 {
    let mut bytes = [0; 32];
    bytes[0] = branch as u8;
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    bytes.into()
}

/// `from` is where the branch leaves `a`: below it, all blocks are `a`'s.
fn branch(number: u64, branch: char, from: u64) -> Header {
    let on = |n: u64| if n < from { 'a' } else { branch };
    let block =
        BlockRef { number, hash: hash(number, on(number)), parent_hash: hash(number - 1, on(number - 1)), timestamp: number };
    Header { block, logs_bloom: Box::new(Bloom::ZERO), receipts_root: Some(EMPTY_RECEIPTS), base_fee_wei: None }
}

fn a(number: u64) -> Header {
    branch(number, 'a', 0)
}

fn following(numbers: std::ops::RangeInclusive<u64>) -> Withhold {
    let mut rule = Withhold::default();
    for number in numbers {
        assert_eq!(rule.head(0, a(number)), Verdict::Publish(a(number)));
    }
    rule
}

fn ask(number: u64) -> Verdict {
    Verdict::Ask { source: 0, hash: hash(number, 'a') }
}

#[test]
fn new_heads_gaps_siblings_and_repeats_pass() {
    let mut rule = following(1..=5);
    let passing = [a(5), a(9), branch(9, 'b', 9), branch(10, 'b', 9), branch(10, 'c', 10), branch(9, 'd', 9)];
    for header in passing {
        assert_eq!(rule.head(0, header.clone()), Verdict::Publish(header));
    }
}

#[test]
fn what_stands_on_the_tip_passes_from_any_endpoint() {
    let mut rule = following(1..=5);
    assert_eq!(rule.head(1, a(6)), Verdict::Publish(a(6)));
    // 7 was missed; who gave 8 is asked what is below it.
    assert_eq!(rule.head(2, a(8)), Verdict::Ask { source: 2, hash: hash(7, 'a') });
    assert_eq!(rule.answer(hash(7, 'a'), Answer::Known(a(7))), Verdict::Publish(a(8)));
    // Too far to trace: an endpoint that is so far behind stands for nothing.
    assert_eq!(rule.head(0, a(8 + FORK_LEAD + 1)), Verdict::Publish(a(8 + FORK_LEAD + 1)));
}

#[test]
fn two_endpoints_on_different_forks_do_not_make_the_head_flip() {
    let mut rule = following(1..=5);
    for number in 6..1_000 {
        // The other one is sometimes a block behind and sometimes ahead.
        let lead = number % 3;
        let other = branch(number + lead - 1, 'b', 6);
        if other.block.number >= 6 {
            let asked = rule.head(1, other.clone());
            let asked = if asked == (Verdict::Ask { source: 1, hash: other.block.parent_hash }) {
                let parent = branch(other.block.number - 1, 'b', 6);
                rule.answer(other.block.parent_hash, Answer::Known(parent))
            } else {
                asked
            };
            assert_eq!(asked, ask(number - 1), "block {number}");
            assert_eq!(rule.answer(hash(number - 1, 'a'), Answer::Known(a(number - 1))), Verdict::Drop);
        }
        assert_eq!(rule.head(0, a(number)), Verdict::Publish(a(number)));
    }
}

#[test]
fn another_branch_wins_when_the_tips_endpoint_denies_it_dies_or_stays_behind() {
    let mut denied = following(1..=5);
    assert_eq!(denied.head(1, branch(5, 'b', 5)), ask(5));
    for _ in 0..3 {
        assert_eq!(denied.answer(hash(5, 'a'), Answer::Unknown), Verdict::Wait);
    }
    assert_eq!(denied.answer(hash(5, 'a'), Answer::Unknown), Verdict::Publish(branch(5, 'b', 5)));

    let mut dead = following(1..=5);
    assert_eq!(dead.head(1, branch(5, 'b', 5)), ask(5));
    assert_eq!(dead.answer(hash(5, 'a'), Answer::Unreachable), Verdict::Publish(branch(5, 'b', 5)));
    // Back again, on its old branch: now it is the other one.
    assert_eq!(dead.head(0, a(6)), Verdict::Ask { source: 1, hash: hash(5, 'b') });

    let mut behind = following(1..=5);
    for number in 5..=5 + FORK_LEAD {
        assert_eq!(behind.head(1, branch(number, 'b', 5)), ask(5));
        assert_eq!(behind.answer(hash(5, 'a'), Answer::Known(a(5))), Verdict::Drop);
    }
    let ahead = branch(6 + FORK_LEAD, 'b', 5);
    assert_eq!(behind.head(1, ahead.clone()), Verdict::Publish(ahead));
}

#[test]
fn a_head_whose_parents_nobody_gives_is_another_branch() {
    let mut rule = following(1..=5);
    assert_eq!(rule.head(1, a(8)), Verdict::Ask { source: 1, hash: hash(7, 'a') });
    assert_eq!(rule.answer(hash(7, 'a'), Answer::Unknown), ask(5));
    assert_eq!(rule.answer(hash(5, 'a'), Answer::Known(a(5))), Verdict::Drop);
    // Its own endpoint may say so at once.
    assert_eq!(rule.head(0, a(8)), Verdict::Publish(a(8)));
}

#[test]
fn a_sibling_below_the_tip_passes_at_once_from_the_endpoint_that_gave_the_tip() {
    let mut rule = following(1..=10);
    assert_eq!(rule.head(1, branch(8, 'b', 8)), ask(10));
    assert_eq!(rule.head(2, branch(8, 'b', 8)), Verdict::Wait, "it is being asked about");
    assert_eq!(rule.head(0, branch(8, 'b', 8)), Verdict::Publish(branch(8, 'b', 8)));
}

#[test]
fn an_ancestor_is_withheld_and_dropped_once_the_tips_endpoint_affirms_the_tip() {
    let mut rule = following(1..=10);
    assert_eq!(rule.head(1, a(7)), ask(10));
    assert_eq!(rule.answer(hash(10, 'a'), Answer::Known(a(10))), Verdict::Drop);
    assert_eq!(rule.again(), Verdict::Drop);
    assert_eq!(rule.tip(), Some(&a(10)));
}

#[test]
fn a_real_rollback_passes_after_four_denials_in_a_row() {
    let mut rule = following(1..=10);
    assert_eq!(rule.head(0, a(7)), ask(10));
    for _ in 0..3 {
        assert_eq!(rule.answer(hash(10, 'a'), Answer::Unknown), Verdict::Wait);
        assert_eq!(rule.head(0, a(7)), Verdict::Wait);
        assert_eq!(rule.again(), ask(10));
    }
    assert_eq!(rule.answer(hash(10, 'a'), Answer::Unknown), Verdict::Publish(a(7)));
    assert_eq!(rule.tip(), Some(&a(7)));
    assert_eq!(rule.head(0, branch(8, 'b', 8)), Verdict::Publish(branch(8, 'b', 8)));
}

#[test]
fn a_lagging_backend_that_catches_up_starts_the_count_again_with_each_step() {
    let mut rule = following(1..=20);
    for lagging in 10..20 {
        assert_eq!(rule.head(0, a(lagging)), ask(20));
        for _ in 0..3 {
            assert_eq!(rule.answer(hash(20, 'a'), Answer::Unknown), Verdict::Wait);
        }
    }
    assert_eq!(rule.head(0, a(20)), Verdict::Publish(a(20)));
    assert_eq!(rule.again(), Verdict::Drop);
}

#[test]
fn an_endpoint_that_denies_and_then_affirms_must_deny_more_often_the_next_time() {
    let mut rule = following(1..=10);
    for expected in [8, 16, 32, 64, 64] {
        rule.head(0, a(9));
        assert_eq!(rule.answer(hash(10, 'a'), Answer::Unknown), Verdict::Wait);
        assert_eq!(rule.answer(hash(10, 'a'), Answer::Known(a(10))), Verdict::Drop);
        assert_eq!(rule.denials_needed, expected);
    }
    rule.head(0, a(9));
    for _ in 0..63 {
        assert_eq!(rule.answer(hash(10, 'a'), Answer::Unknown), Verdict::Wait);
    }
    assert_eq!(rule.answer(hash(10, 'a'), Answer::Unknown), Verdict::Publish(a(9)));
}

#[test]
fn an_endpoint_that_cannot_be_reached_denies_nothing() {
    let mut rule = following(1..=10);
    rule.head(1, a(7));
    for _ in 0..100 {
        assert_eq!(rule.answer(hash(10, 'a'), Answer::Unreachable), Verdict::Wait);
        assert_eq!(rule.again(), ask(10));
    }
    assert_eq!(rule.head(1, a(11)), Verdict::Publish(a(11)));
}

#[test]
fn ancestors_that_were_never_published_are_traced() {
    let mut rule = following(1..=1);
    rule.head(0, a(10));
    // 9 and 8 are asked for, then it is clear that 7 is an ancestor.
    assert_eq!(rule.head(1, a(7)), ask(9));
    assert_eq!(rule.answer(hash(9, 'a'), Answer::Known(a(9))), ask(8));
    assert_eq!(rule.answer(hash(8, 'a'), Answer::Known(a(8))), ask(10));
    assert_eq!(rule.answer(hash(10, 'a'), Answer::Known(a(10))), Verdict::Drop);
    // What was learned stays: a sibling of 7 is known as one at once.
    assert_eq!(rule.head(0, branch(7, 'b', 7)), Verdict::Publish(branch(7, 'b', 7)));
}

#[test]
fn ancestors_that_are_denied_or_lied_about_leave_the_tip_to_be_asked_about() {
    for answer in [Answer::Unknown, Answer::Known(branch(9, 'x', 9))] {
        let mut rule = following(1..=1);
        rule.head(0, a(10));
        assert_eq!(rule.head(1, a(7)), ask(9));
        assert_eq!(rule.answer(hash(9, 'a'), answer), ask(10));
    }
}

#[test]
fn what_is_remembered_is_bounded_and_a_head_from_before_it_is_withheld() {
    let last = 3 * u64::try_from(REMEMBERED_HEADERS).unwrap();
    let mut rule = following(1..=last);
    assert_eq!((rule.recent.len(), rule.order.len()), (REMEMBERED_HEADERS, REMEMBERED_HEADERS));
    assert_eq!(rule.head(0, a(5)), ask(last));
    assert_eq!(rule.head(0, branch(5, 'b', 1)), ask(last));
}

type Events = Vec<(usize, HeadEvent)>;

/// Runs the adapter over `events`, one each 10 ms; `knows` says which hashes an endpoint knows, after how many questions.
async fn run(events: Events, knows: impl Fn(usize, B256, usize) -> Result<bool, ChainError> + Send + 'static) -> Vec<HeadEvent> {
    let heads = stream::iter(events).then(|event| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        event
    });
    // The real stream never ends.
    let heads = heads.chain(stream::pending());
    let asked = Arc::new(Mutex::new(0_usize));
    let ask = move |source, question: Question| {
        let hash = match question {
            Question::Header(hash) => hash,
            Question::OnChain(block) => block.hash,
        };
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        let answer = knows(source, hash, *asked);
        async move {
            let number = u64::from_be_bytes(hash[24..].try_into().unwrap());
            answer.map(|known| known.then(|| a(number)))
        }
    };
    let mut out = withheld(heads, ask, Duration::from_millis(100));
    let mut found = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(60), out.next()).await {
        found.push(event);
    }
    found
}

fn heads(headers: &[Header]) -> Events {
    headers.iter().map(|h| (0, HeadEvent::Head(h.clone()))).collect()
}

fn said(headers: &[Header]) -> Vec<HeadEvent> {
    headers.iter().map(|h| HeadEvent::Head(h.clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn the_stream_lets_a_rollback_through_and_holds_a_lagging_head_back() {
    let events = heads(&[a(1), a(2), a(3), a(2)]);
    assert_eq!(run(events.clone(), |_, _, _| Ok(false)).await, said(&[a(1), a(2), a(3), a(2)]));
    assert_eq!(run(events.clone(), |_, _, _| Ok(true)).await, said(&[a(1), a(2), a(3)]));
    let unreachable = |_, _, _| Err(ChainError::Unavailable("x".into()));
    assert_eq!(run(events.clone(), unreachable).await, said(&[a(1), a(2), a(3)]));
    // A load balancer: every third question reaches the backend that lags.
    assert_eq!(run(events, |_, _, n| Ok(n % 3 == 0)).await, said(&[a(1), a(2), a(3)]));
}

/// A node that keeps the blocks of both branches still knows an orphan by its hash.
#[tokio::test(start_paused = true)]
async fn the_tip_is_asked_about_by_its_place_in_the_chain_and_ancestors_by_hash() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    let events = heads(&[a(1), a(9), a(7)]);
    let heads = stream::iter(events).chain(stream::pending());
    let ask = move |_, question| {
        heard.lock().unwrap().push(question);
        async move {
            Ok(match question {
                Question::Header(hash) => Some(a(u64::from_be_bytes(hash[24..].try_into().unwrap()))),
                Question::OnChain(_) => None,
            })
        }
    };
    let mut out = withheld(heads, ask, Duration::from_millis(100));
    while out.next().await != Some(HeadEvent::Head(a(7))) {}
    let asked = asked.lock().unwrap();
    assert_eq!(asked.first(), Some(&Question::Header(hash(8, 'a'))));
    assert!(asked[1..].iter().all(|q| *q == Question::OnChain(a(9).block)) && asked.len() == 5, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn new_heads_pass_while_a_question_is_open() {
    let events = heads(&[a(1), a(2), a(3), a(2), a(4), branch(4, 'b', 4)]);
    let expected = said(&[a(1), a(2), a(3), a(4), branch(4, 'b', 4)]);
    assert_eq!(run(events, |_, _, _| Ok(false)).await, expected);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_a_head_is_said_even_when_the_one_heard_is_withheld() {
    let down = || HeadEvent::Down { reason: "x".into() };
    let mut events = heads(&[a(1), a(2), a(3)]);
    events.push((0, down()));
    events.push((1, HeadEvent::Head(a(2))));
    let mut expected = said(&[a(1), a(2), a(3)]);
    expected.push(down());
    expected.push(HeadEvent::Head(a(3)));
    assert_eq!(run(events, |_, _, _| Ok(true)).await, expected);
}
