//! Groups and queues without sockets.

use std::sync::Arc;

use async_graphql::{Response, value};
use futures_util::{FutureExt as _, StreamExt as _, stream};

use super::{
    group::{Group, Member},
    lane::Lane,
    queue::{Body, Head, Item, Queue, Seat},
};
use crate::api::gql::link::{Fact, Nature, Opening, Replaces};

fn member() -> (Arc<Queue>, Arc<Head>) {
    (Arc::new(Queue::default()), Arc::new(Head::new(0, "1".into())))
}

/// What waits, in words: `+` stands for a frame with what it brings, `-n` says how many were left out before it.
fn waiting(queue: &Queue) -> Vec<String> {
    let word = |item: &Item| match &item.body {
        Body::Next(frame, skipped) => {
            let number: serde_json::Value = serde_json::from_str(&frame.payload).unwrap();
            format!("+{}{}", number["data"]["n"], if *skipped > 0 { format!(" -{skipped}") } else { String::new() })
        }
        Body::Failed(errors) => format!("failed {errors}"),
        Body::Complete => "complete".to_owned(),
    };
    queue.take(usize::MAX, usize::MAX).items.iter().map(word).collect()
}

/// One frame: its number, and what is said of it.
type Told = (i32, Fact);

/// Runs a group over frames, each told as the one before was published.
fn publish(group: &Group, frames: Vec<Told>) {
    let link = group.link();
    let told = stream::iter(frames).map(move |(number, fact)| {
        link.tell(fact);
        Response::new(value!({ "n": number }))
    });
    // It waits for nothing: the stream is there.
    let ended = group.run(told.chain(stream::pending())).now_or_never();
    assert!(ended.is_none());
}

fn event(epoch: u64) -> Fact {
    Fact { epoch: Some(epoch), through: Some(epoch), ..Fact::default() }
}

fn heartbeat(through: u64, only: bool) -> Fact {
    Fact { opening: Some(Opening { only, ..Opening::WHOLE }), through: Some(through), ..Fact::default() }
}

fn state(key: u64, from: u64) -> Fact {
    Fact { nature: Nature::State { replaces: Some(Replaces { key, from }) }, ..Fact::default() }
}

fn snapshot(only: bool) -> Fact {
    Fact { opening: Some(Opening { only, ..Opening::WHOLE }), ..state(0, 0) }
}

#[test]
fn a_stream_that_ends_completes_and_one_that_fails_says_why() {
    for (last, expected) in [(None, "complete"), (Some(()), "failed [{\"message\":\"no\"}]")] {
        let group = Group::new();
        let (queue, head) = member();
        assert!(group.add(Member::new(queue.clone(), head)).is_ok());
        group.link().tell(heartbeat(1, false));
        let failed = last.map(|()| Response::from_errors(vec![async_graphql::ServerError::new("no", None)]));
        let all = stream::iter([Response::new(value!({ "n": 0 }))].into_iter().chain(failed));
        assert!(group.run(all).now_or_never().is_some());
        assert_eq!(waiting(&queue), ["+0", expected]);
        let (queue, head) = member();
        assert!(group.add(Member::new(queue, head)).is_err(), "nobody joins what has ended");
    }
}

#[test]
fn a_field_that_panics_ends_the_group_and_everybody_hears_of_it() {
    let group = Group::new();
    let (queue, head) = member();
    assert!(group.add(Member::new(queue.clone(), head)).is_ok());
    let broken = stream::iter([()]).map(|()| -> Response { panic!("of a field") });
    assert!(group.run(broken).now_or_never().is_some());
    assert!(waiting(&queue)[0].starts_with("failed [{"));
}

#[test]
fn a_newcomer_begins_with_an_opening_and_others_do_not_see_it() {
    let group = Group::new();
    let (first, head) = member();
    group.add(Member::new(first.clone(), head)).ok().unwrap();
    publish(&group, vec![(0, heartbeat(1, false)), (1, event(2))]);
    let (second, head) = member();
    group.add(Member::new(second.clone(), head)).ok().unwrap();
    publish(&group, vec![(2, event(3)), (3, heartbeat(3, true)), (4, event(4)), (5, heartbeat(4, false))]);
    assert_eq!(waiting(&first), ["+0", "+1", "+2", "+4", "+5"]);
    assert_eq!(waiting(&second), ["+3", "+4", "+5"]);
}

#[test]
fn whoever_resumed_joins_where_it_is_or_is_told_that_it_cannot() {
    let group = Group::new();
    let (first, head) = member();
    group.add(Member::new(first, head)).ok().unwrap();
    publish(&group, vec![(0, heartbeat(10, false)), (1, event(11)), (2, event(12)), (3, event(13))]);
    let join = |at| {
        let (queue, head) = member();
        let (joining, joined) = Member::joining(queue.clone(), head, at);
        group.add(joining).ok().unwrap();
        (queue, joined)
    };
    let (early, mut early_joined) = join(9);
    let (middle, mut middle_joined) = join(12);
    let (ahead, mut ahead_joined) = join(15);
    publish(&group, vec![(4, heartbeat(14, true))]);
    assert_eq!((early_joined.try_recv(), waiting(&early)), (Ok(false), vec![]), "what it lacks is not here any more");
    assert_eq!((middle_joined.try_recv(), waiting(&middle)), (Ok(true), vec!["+3".to_owned()]));
    assert!(ahead_joined.try_recv().is_err(), "the group is not as far");
    publish(&group, vec![(5, event(15)), (6, event(16))]);
    assert_eq!((ahead_joined.try_recv(), waiting(&ahead)), (Ok(true), vec!["+6".to_owned()]), "it has what came up to 15");
    assert_eq!(waiting(&middle), ["+5", "+6"]);
    // Read back from history: of which epochs, nobody knows.
    let (late, mut late_joined) = join(16);
    publish(&group, vec![(7, Fact::default()), (8, heartbeat(20, false))]);
    assert_eq!((late_joined.try_recv(), waiting(&late)), (Ok(false), vec![]));
    let (now, mut now_joined) = join(20);
    publish(&group, vec![(9, event(21))]);
    assert_eq!((now_joined.try_recv(), waiting(&now)), (Ok(true), vec!["+9".to_owned()]));
}

#[test]
fn a_reorgs_two_frames_are_never_torn_apart() {
    let group = Group::new();
    let (first, head) = member();
    group.add(Member::new(first, head)).ok().unwrap();
    let retract = |epoch| Fact { epoch: Some(epoch), ..Fact::default() };
    publish(&group, vec![(0, heartbeat(10, false)), (1, retract(11))]);
    let (queue, head) = member();
    let (joining, mut joined) = Member::joining(queue.clone(), head, 11);
    group.add(joining).ok().unwrap();
    publish(&group, vec![(2, event(11)), (3, event(12))]);
    assert_eq!((joined.try_recv(), waiting(&queue)), (Ok(true), vec!["+3".to_owned()]));
}

#[test]
fn of_states_the_newest_stands_for_those_that_were_left_out() {
    let group = Group::new();
    let (queue, head) = member();
    group.add(Member::new(queue.clone(), head)).ok().unwrap();
    let mut frames = vec![(0, snapshot(false))];
    frames.extend((1..=5).map(|n| (n, state(0, 0))));
    // Another thing of the same subscription, and one that says less than what waits.
    frames.extend([(6, state(1, 0)), (7, state(2, 5)), (8, state(2, 9))]);
    publish(&group, frames);
    assert_eq!(waiting(&queue), ["+0", "+5 -4", "+6", "+7", "+8"]);
}

#[test]
fn a_member_that_is_behind_begins_anew_and_is_told_how_much_it_missed() {
    let group = Group::new();
    let (queue, head) = member();
    let token = group.add(Member::new(queue.clone(), head)).ok().unwrap();
    let alone = Fact { nature: Nature::State { replaces: None }, ..Fact::default() };
    let mut frames = vec![(0, snapshot(false))];
    frames.extend((1..=20).map(|n| (n, alone)));
    publish(&group, frames);
    let taken = queue.take(usize::MAX, usize::MAX);
    assert_eq!((taken.items.len(), taken.behind.len()), (0, 1), "what waited is not the truth any more");
    group.reopen(token);
    publish(&group, vec![(21, alone), (22, snapshot(true)), (23, alone)]);
    assert_eq!(waiting(&queue), ["+22 -21", "+23"], "0 to 20; while it waits nothing else counts");
}

#[test]
fn events_that_do_not_fit_end_the_connection_and_hold_no_memory() {
    let group = Group::new();
    let (queue, head) = member();
    group.add(Member::new(queue.clone(), head)).ok().unwrap();
    let mut frames = vec![(0, heartbeat(1, false))];
    frames.extend((1..=300).map(|n| (n, event(u64::try_from(n).unwrap() + 1))));
    publish(&group, frames);
    let taken = queue.take(usize::MAX, usize::MAX);
    assert!(taken.items.is_empty() && taken.given_up.is_some());
}

#[test]
fn an_opening_of_many_frames_is_delivered_whole() {
    let group = Group::new();
    let (queue, head) = member();
    group.add(Member::new(queue.clone(), head)).ok().unwrap();
    let frame = |n: u64| {
        let opening = Some(Opening { first: n == 0, last: n == 99, only: false });
        (i32::try_from(n).unwrap(), Fact { opening, ..state(n, 0) })
    };
    let mut frames: Vec<Told> = (0..100).map(frame).collect();
    // Then each of them changes.
    frames.extend((0..100).map(|n| (1_000, state(n, 0))));
    publish(&group, frames);
    let told = waiting(&queue);
    assert_eq!((told.len(), told[99].as_str()), (200, "+99"), "nothing took another's place");
}

#[test]
fn an_operation_works_for_a_reader_only_while_that_takes_what_there_is() {
    let (queue, head) = member();
    let turns: Vec<_> = (0..4).map(|_| queue.turn().now_or_never().expect("there is room")).collect();
    assert!(queue.turn().now_or_never().is_none(), "four at once");
    drop(turns);
    for _ in 0..8 {
        queue.push(Item { head: head.clone(), body: Body::Complete });
    }
    let mut waits = std::pin::pin!(queue.turn());
    assert!(waits.as_mut().now_or_never().is_none(), "nothing is read");
    assert_eq!(waiting(&queue).len(), 8);
    assert!(waits.now_or_never().is_some());
}

#[test]
fn an_opening_for_which_there_is_no_place_is_made_later() {
    let group = Group::new();
    let queue = Arc::new(Queue::default());
    let heads: Vec<Arc<Head>> = (0..300).map(|n| Arc::new(Head::new(n, n.to_string().into()))).collect();
    let tokens: Vec<u64> = heads.iter().map(|head| group.add(Member::new(queue.clone(), head.clone())).ok().unwrap()).collect();
    publish(&group, vec![(1, heartbeat(1, true))]);
    let first = queue.take(usize::MAX, usize::MAX);
    // 256 places; the others are told of nothing before they have begun.
    assert_eq!((first.items.len(), first.behind.len(), first.given_up.is_some()), (256, 44, false));
    publish(&group, vec![(2, event(2))]);
    assert_eq!(waiting(&queue).len(), 256);
    first.behind.iter().for_each(|head| group.reopen(tokens[usize::try_from(head.serial).unwrap()]));
    publish(&group, vec![(3, heartbeat(2, true))]);
    assert_eq!(waiting(&queue), ["+3"; 44]);
}

#[test]
fn a_connection_with_many_subscriptions_has_a_place_for_each() {
    let group = Group::new();
    let queue = Arc::new(Queue::default());
    let seats: Vec<Seat> = (0..1_000).map(|serial| Seat::new(&queue, serial)).collect();
    for n in 0..1_000_u64 {
        group.add(Member::new(queue.clone(), Arc::new(Head::new(n, n.to_string().into())))).ok().unwrap();
    }
    publish(&group, vec![(0, heartbeat(1, true)), (1, event(2)), (2, event(3))]);
    let taken = queue.take(usize::MAX, usize::MAX);
    assert_eq!((taken.items.len(), taken.given_up.is_some()), (3_000, false));
    drop(seats);
    publish(&group, vec![(3, event(4))]);
    assert!(queue.take(usize::MAX, usize::MAX).given_up.is_some(), "without them there are 256");
}

#[test]
fn what_an_operation_leaves_in_the_queue_goes_with_it() {
    let group = Group::new();
    let queue = Arc::new(Queue::default());
    let mut seats: Vec<Seat> = (0..1_000).map(|serial| Seat::new(&queue, serial)).collect();
    for n in 0..1_000_u64 {
        group.add(Member::new(queue.clone(), Arc::new(Head::new(n, n.to_string().into())))).ok().unwrap();
    }
    publish(&group, vec![(0, heartbeat(1, true)), (1, event(2))]);
    seats.truncate(100);
    // 200 wait for 100 operations, which may have 656 places: nobody is closed because of what others do not want any more.
    let taken = queue.take(usize::MAX, usize::MAX);
    assert_eq!((taken.items.len(), taken.given_up.is_some()), (200, false));
    assert!(taken.items.iter().all(|item| item.head.serial < 100));
}

#[test]
fn answers_do_not_take_the_room_of_events() {
    let group = Group::new();
    let (queue, head) = member();
    group.add(Member::new(queue.clone(), head.clone())).ok().unwrap();
    publish(&group, vec![(0, heartbeat(1, true))]);
    for _ in 0..4 {
        // Answers of a megabyte each, before anything is written.
        queue.push(Item { head: head.clone(), body: Body::Failed("x".repeat(1 << 20).into()) });
    }
    publish(&group, vec![(1, event(2))]);
    let taken = queue.take(usize::MAX, usize::MAX);
    assert_eq!((taken.items.len(), taken.given_up.is_some()), (6, false));
}

#[test]
fn a_group_stands_in_line_until_so_many_connections_read_it() {
    let (group, line) = (Group::new(), Lane::default().line());
    let (queue, head) = member();
    for _ in 0..20 {
        assert!(group.add(Member::new(queue.clone(), head.clone()).in_line(line.clone())).is_ok());
    }
    assert!(group.line().is_some(), "it is one connection");
    for _ in 1..8 {
        assert!(group.line().is_some());
        let (queue, head) = member();
        assert!(group.add(Member::new(queue, head).in_line(line.clone())).is_ok());
    }
    assert!(group.line().is_none());
}

#[test]
fn a_group_stands_in_the_shortest_of_its_members_lines() {
    let (group, lane) = (Group::new(), Lane::default());
    let join = |reads: usize| {
        let (queue, head) = member();
        let line = lane.line();
        line.set_reads(reads);
        (group.add(Member::new(queue, head).in_line(line.clone())).ok().unwrap(), line)
    };
    let reads = || group.line().unwrap().reads();
    let (_greedy, _) = join(1_000);
    assert_eq!(reads(), 1_000);
    let (modest, line) = join(1);
    assert_eq!(reads(), 1, "whoever reads little does not wait with whoever reads much");
    join(2);
    assert_eq!(reads(), 1);
    line.set_reads(3);
    assert_eq!(reads(), 2, "it is the one that is short now");
    line.set_reads(0);
    group.remove(modest);
    assert_eq!(reads(), 2, "and of those that are there");
}
