//! The account of what waits: how much there may be, and what may take whose place. No task waits here, and nothing is locked.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{Body, Frame, Head, Item};
use crate::api::gql::link::Replaces;

/// A minute of a 250 ms chain, for one subscription.
const PLACES: usize = 256;
/// For each other one, because one block may have something for all of them.
const PLACES_EACH: usize = 4;
/// About 50 events of one block.
const BYTES_EACH: usize = 16 * 1024;
/// 40 blocks of 100 swaps.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// States of one operation that wait side by side, where they cannot take each other's place.
const STATES: usize = 8;
/// Whoever reads history for a connection waits while more than this waits to be written: events of others must still fit.
const ROOM: usize = 8;
const ROOM_BYTES: usize = BYTES_MAX / 4;

struct Queued {
    item: Item,
    /// Nothing where it is the same frame as the one before it: that is in memory once.
    bytes: usize,
    /// Of what is for nobody else and has waited for room: it does not take that of events.
    alone: bool,
}

/// What waits, and what is to be done about it.
#[derive(Default)]
pub(super) struct Waiting {
    items: VecDeque<Queued>,
    /// Each item has a number, one more than that before it; this is the oldest one's.
    first: u64,
    /// Of frames that others get, too.
    bytes: usize,
    alone_bytes: usize,
    /// The numbers of states that wait, oldest first, by operation: however many others wait, an operation's own are found at once.
    states: HashMap<u64, VecDeque<u64>>,
    /// Operations that are to begin anew once everything is written.
    pub(super) behind: Vec<Arc<Head>>,
    /// The operation whose events did not fit.
    pub(super) given_up: Option<Arc<Head>>,
    pub(super) closed: bool,
    /// Operations that run.
    pub(super) seats: usize,
}

impl Waiting {
    pub(super) fn is_full(&self, more: usize) -> bool {
        let places = PLACES.saturating_add(self.seats.saturating_mul(PLACES_EACH));
        let bytes = BYTES_MAX.saturating_add(self.seats.saturating_mul(BYTES_EACH));
        self.items.len() >= places || (self.bytes > 0 && self.bytes.saturating_add(more) > bytes)
    }

    pub(super) fn has_room(&self) -> bool {
        self.items.len() < ROOM && self.bytes.saturating_add(self.alone_bytes) < ROOM_BYTES
    }

    /// What it takes to have it wait beside what waits already.
    pub(super) fn weight(&self, frame: &Arc<Frame>) -> usize {
        let is_same =
            self.items.back().is_some_and(|last| matches!(&last.item.body, Body::Next(before, _) if Arc::ptr_eq(before, frame)));
        if is_same { 0 } else { frame.payload.len() }
    }

    pub(super) fn push(&mut self, item: Item, bytes: usize, alone: bool) {
        if item.is_state() {
            let number = self.number_at(self.items.len());
            self.states.entry(item.head.serial).or_default().push_back(number);
        }
        let sum = if alone { &mut self.alone_bytes } else { &mut self.bytes };
        *sum = sum.saturating_add(bytes);
        self.items.push_back(Queued { item, bytes, alone });
    }

    fn number_at(&self, index: usize) -> u64 {
        self.first.saturating_add(u64::try_from(index).unwrap_or(u64::MAX))
    }

    /// Where the states of an operation are, oldest first.
    fn states_of(&self, serial: u64) -> impl DoubleEndedIterator<Item = usize> + use<'_> {
        let numbers = self.states.get(&serial).into_iter().flatten();
        numbers.filter_map(|number| usize::try_from(number.checked_sub(self.first)?).ok())
    }

    /// Its bytes are out of the queue.
    fn release(&mut self, queued: &Queued) {
        let sum = if queued.alone { &mut self.alone_bytes } else { &mut self.bytes };
        *sum = sum.saturating_sub(queued.bytes);
    }

    /// Drops the frames of an operation; how many that are, with those that they stand for.
    pub(super) fn leave_out(&mut self, serial: u64) -> u64 {
        let mut lost = 0_u64;
        let (gone, kept) = std::mem::take(&mut self.items)
            .into_iter()
            .partition(|queued| queued.item.head.serial == serial && matches!(queued.item.body, Body::Next(..)));
        self.items = kept;
        let gone: VecDeque<Queued> = gone;
        for queued in &gone {
            if let Body::Next(_, skipped) = queued.item.body {
                lost = lost.saturating_add(skipped).saturating_add(1);
            }
            self.release(queued);
        }
        // Others have moved up.
        let states = self.items.iter().enumerate().filter(|(_, queued)| queued.item.is_state());
        let numbers: Vec<(u64, u64)> = states.map(|(index, queued)| (queued.item.head.serial, self.number_at(index))).collect();
        self.states = HashMap::new();
        for (serial, number) in numbers {
            self.states.entry(serial).or_default().push_back(number);
        }
        lost
    }

    pub(super) fn clear(&mut self) {
        (self.items, self.states) = (VecDeque::new(), HashMap::new());
        (self.bytes, self.alone_bytes) = (0, 0);
    }

    pub(super) fn is_over(&self) -> bool {
        self.closed || self.given_up.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The oldest.
    pub(super) fn pop(&mut self) -> Option<Item> {
        let queued = self.items.pop_front()?;
        self.first = self.first.saturating_add(1);
        self.release(&queued);
        let serial = queued.item.head.serial;
        if queued.item.is_state()
            && let Some(numbers) = self.states.get_mut(&serial)
        {
            // The oldest of all is the oldest of its operation.
            numbers.pop_front();
            if numbers.is_empty() {
                self.states.remove(&serial);
            }
        }
        if self.items.is_empty() && self.items.capacity() > ROOM {
            // An idle connection holds no memory for what it once had to take.
            self.items = VecDeque::new();
        }
        Some(queued.item)
    }

    /// States of one operation that wait side by side, as many as there may be of those that cannot take each other's place.
    pub(super) fn has_many_like(&self, serial: u64, like: Option<Replaces>) -> bool {
        let alike = |queued: &&Queued| {
            let Body::Next(frame, _) = &queued.item.body else { return false };
            frame.replaces().map(|one| one.key) == like.map(|one| one.key)
        };
        self.states_of(serial).filter_map(|index| self.items.get(index)).filter(alike).count() >= STATES
    }

    /// Puts a state in the place of an older one that says no more than it.
    pub(super) fn replace(&mut self, head: &Arc<Head>, frame: &Arc<Frame>, new: Replaces, skipped: u64) -> bool {
        let older = self.states_of(head.serial).rev().find(|index| {
            let Some(Body::Next(old, _)) = self.items.get(*index).map(|queued| &queued.item.body) else { return false };
            // Whoever begins gets the SNAPSHOT that it begins with.
            let is_opening = old.fact.opening.is_some();
            !is_opening && old.replaces().is_some_and(|old| old.key == new.key && new.from <= old.from)
        });
        let Some(older) = older.and_then(|index| self.items.get_mut(index)) else { return false };
        let Body::Next(_, left_out) = older.item.body else { return false };
        older.item.body = Body::Next(frame.clone(), left_out.saturating_add(skipped).saturating_add(1));
        let (before, after) = (older.bytes, frame.payload.len());
        older.bytes = after;
        self.bytes = self.bytes.saturating_sub(before).saturating_add(after);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::gql::link::{Fact, Nature};

    #[test]
    fn whatever_comes_and_goes_the_states_of_each_operation_are_where_they_are() {
        let heads: Vec<Arc<Head>> = (0..4).map(|serial| Arc::new(Head::new(serial, "1".into()))).collect();
        let mut chance = crate::store::conformance::make::Rng(7);
        let (mut waiting, mut replaced) = (Waiting::default(), 0);
        for step in 0..20_000_u64 {
            let head = &heads[usize::try_from(chance.below(4)).unwrap()];
            let new = Replaces { key: chance.below(3), from: 0 };
            let state = Nature::State { replaces: Some(new) };
            let frame = |nature| Arc::new(Frame { payload: "{}".into(), plain: true, fact: Fact { nature, ..Fact::default() } });
            let any = frame(if chance.below(2) == 0 { Nature::Event } else { state });
            match chance.below(8) {
                0..=2 => waiting.push(Item { head: head.clone(), body: Body::Next(any, 0) }, 2, false),
                3 => replaced += u32::from(waiting.replace(head, &frame(state), new, 0)),
                4..=6 => drop(waiting.pop()),
                _ if step % 50 == 0 => drop(waiting.leave_out(head.serial)),
                _ => {}
            }
            for head in &heads {
                let is_its = |queued: &Queued| queued.item.head.serial == head.serial && queued.item.is_state();
                let truth: Vec<usize> = (0..waiting.len()).filter(|index| is_its(&waiting.items[*index])).collect();
                assert_eq!(waiting.states_of(head.serial).collect::<Vec<_>>(), truth, "step {step}");
            }
        }
        assert!(replaced > 100, "{replaced}");
    }
}
