//! All groups of this process.

use std::{
    collections::{HashMap, hash_map},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    group::{Group, Member},
    lane::{Lane, Line},
    queue::{Head, Queue},
};
use crate::api::{
    gql::{
        ApiSchema,
        error::{ApiError, Code},
        normal::Shared,
    },
    intake::Client,
};

/// Different subscriptions of this process. Each costs an execution for each block.
const GROUPS_MAX: usize = 10_000;
/// Of those, so many that one address was the first to ask for.
const GROUPS_PER_CLIENT_MAX: usize = 1_000;

struct Entry {
    group: Arc<Group>,
    /// Who asked for it first.
    owner: Client,
}

#[derive(Default)]
struct Inner {
    lane: Lane,
    groups: HashMap<Arc<str>, Entry>,
    clients: HashMap<Client, Known>,
}

/// A client that reads something.
struct Known {
    /// What it was the first to ask for, and goes on.
    groups: usize,
    line: Line,
}

impl Known {
    fn reads_less(&mut self) {
        self.line.set_reads(self.line.reads().saturating_sub(1));
    }
}

/// Where a member is now.
struct Placed {
    key: Arc<str>,
    group: Arc<Group>,
    token: u64,
    /// It has to be run.
    is_new: bool,
}

impl Inner {
    fn enter(&mut self, shared: &Shared, member: Member, client: Client) -> Result<Placed, ApiError> {
        let known = self.clients.entry(client).or_insert_with(|| Known { groups: 0, line: self.lane.line() });
        known.line.set_reads(known.line.reads().saturating_add(1));
        let member = member.in_line(known.line.clone());
        let placed = self.place(shared, member, client);
        if placed.is_err() {
            self.change(client, Known::reads_less);
        }
        placed
    }

    /// Whoever it belonged to reads one less; nobody is left in its group: then it ends.
    fn leave(&mut self, key: &str, group: &Arc<Group>, token: u64, client: Client) {
        self.change(client, Known::reads_less);
        if group.remove(token) {
            self.remove(key, group);
            group.stop();
        }
    }

    /// Into the group of this name, or a new one.
    fn place(&mut self, shared: &Shared, mut member: Member, client: Client) -> Result<Placed, ApiError> {
        if let Some((key, entry)) = self.groups.get_key_value(shared.key.as_str()) {
            let (key, group) = (key.clone(), entry.group.clone());
            match group.add(member) {
                Ok(token) => return Ok(Placed { key, group, token, is_new: false }),
                // It has just ended.
                Err(back) => {
                    member = back;
                    self.remove(&key, &group);
                }
            }
        }
        let owned = self.clients.get(&client).map_or(0, |known| known.groups);
        if self.groups.len() >= GROUPS_MAX || owned >= GROUPS_PER_CLIENT_MAX {
            let message = format!(
                "there are too many different subscriptions, at most {GROUPS_PER_CLIENT_MAX} of one address and {GROUPS_MAX} in all: \
                 ask for several things in one, or end some"
            );
            return Err(ApiError::new(Code::RateLimited, message));
        }
        let (key, group): (Arc<str>, _) = (shared.key.as_str().into(), Arc::new(Group::new()));
        let Ok(token) = group.add(member) else {
            return Err(ApiError::new(Code::UpstreamDown, "this subscription could not begin: subscribe again"));
        };
        self.groups.insert(key.clone(), Entry { group: group.clone(), owner: client });
        self.change(client, |known| known.groups = known.groups.saturating_add(1));
        Ok(Placed { key, group, token, is_new: true })
    }

    fn remove(&mut self, key: &str, group: &Arc<Group>) {
        if !self.groups.get(key).is_some_and(|entry| Arc::ptr_eq(&entry.group, group)) {
            return;
        }
        let Some(entry) = self.groups.remove(key) else { return };
        self.change(entry.owner, |known| known.groups = known.groups.saturating_sub(1));
    }

    /// Forgets a client of whom nothing is left.
    fn change(&mut self, client: Client, change: impl FnOnce(&mut Known)) {
        if let hash_map::Entry::Occupied(mut known) = self.clients.entry(client) {
            change(known.get_mut());
            if known.get().groups == 0 && known.get().line.reads() == 0 {
                known.remove();
            }
        }
    }
}

pub(super) struct Hub {
    schema: ApiSchema,
    inner: Mutex<Inner>,
}

/// A place in a group, for as long as it lives.
pub(super) struct Membership {
    hub: Arc<Hub>,
    key: Arc<str>,
    group: Arc<Group>,
    token: u64,
    client: Client,
}

impl Membership {
    pub(super) fn reopen(&self) {
        self.group.reopen(self.token);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.hub.inner().leave(&self.key, &self.group, self.token, self.client);
    }
}

impl Hub {
    pub(super) fn new(schema: ApiSchema) -> Arc<Self> {
        Arc::new(Self { schema, inner: Mutex::default() })
    }

    pub(super) fn schema(&self) -> &ApiSchema {
        &self.schema
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Never held across an await.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins those who subscribed to the same, or is the first of them.
    ///
    /// # Errors
    /// There are too many different ones.
    pub(super) fn join(
        self: &Arc<Self>,
        shared: &Shared,
        queue: &Arc<Queue>,
        head: &Arc<Head>,
        client: Client,
    ) -> Result<Membership, ApiError> {
        self.enter(shared, Member::new(queue.clone(), head.clone()), client)
    }

    /// The same for one that has everything up to an epoch; and whether it may stop to look by itself.
    pub(super) fn join_at(
        self: &Arc<Self>,
        shared: &Shared,
        queue: &Arc<Queue>,
        head: &Arc<Head>,
        client: Client,
        at: u64,
    ) -> Result<(Membership, oneshot::Receiver<bool>), ApiError> {
        let (member, joined) = Member::joining(queue.clone(), head.clone(), at);
        Ok((self.enter(shared, member, client)?, joined))
    }

    fn enter(self: &Arc<Self>, shared: &Shared, member: Member, client: Client) -> Result<Membership, ApiError> {
        let mut inner = self.inner();
        let Placed { key, group, token, is_new } = inner.enter(shared, member, client)?;
        drop(inner);
        if is_new {
            let request = shared.request().data(group.link());
            let (hub, name, running) = (self.clone(), key.clone(), group.clone());
            tokio::spawn(async move {
                running.run(hub.schema.execute_stream(request)).await;
                hub.inner().remove(&name, &running);
            });
        }
        Ok(Membership { hub: self.clone(), key, group, token, client })
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::Variables;

    use super::*;
    use crate::api::gql::normal::Document;

    fn enter(inner: &mut Inner, client: u8, query: usize) -> Result<Placed, ApiError> {
        let document = Document::new(&format!("subscription {{ blocks {{ a{query}: seq }} }}"), None).unwrap();
        let shared = Shared::new(document.parsed, None, Variables::default(), "").unwrap();
        let member = Member::new(Arc::default(), Arc::new(Head::new(0, "1".into())));
        inner.enter(&shared, member, client_at(client))
    }

    fn client_at(last: u8) -> Client {
        Client::at([192, 0, 2, last].into())
    }

    #[test]
    fn whoever_reads_something_has_one_line_and_whoever_reads_nothing_is_forgotten() {
        let mut inner = Inner::default();
        let greedy: Vec<Placed> = (0..GROUPS_PER_CLIENT_MAX).map(|query| enter(&mut inner, 1, query).ok().unwrap()).collect();
        assert!(greedy.iter().all(|placed| placed.is_new && placed.group.line().is_some_and(|line| line.reads() == 1_000)));
        // One more is refused, and counts for nothing; what is there already may be read by everybody.
        assert!(enter(&mut inner, 1, 1_000).is_err());
        assert_eq!(greedy[0].group.line().unwrap().reads(), 1_000);
        let modest = enter(&mut inner, 2, 0).ok().unwrap();
        assert!(!modest.is_new);
        assert_eq!(modest.group.line().unwrap().reads(), 1, "it waits with nothing of the other one");
        // Whoever asked first goes; the group goes on, and is still one of its own.
        for placed in greedy {
            inner.leave(&placed.key, &placed.group, placed.token, client_at(1));
        }
        assert_eq!((inner.groups.len(), inner.clients.len()), (1, 2));
        inner.leave(&modest.key, &modest.group, modest.token, client_at(2));
        assert_eq!((inner.groups.len(), inner.clients.len()), (0, 0));
    }

    #[test]
    fn the_place_of_a_group_that_has_ended_is_taken_by_a_new_one() {
        let mut inner = Inner::default();
        let first = enter(&mut inner, 1, 0).ok().unwrap();
        first.group.stop();
        let second = enter(&mut inner, 1, 0).ok().unwrap();
        assert!(second.is_new && !Arc::ptr_eq(&first.group, &second.group));
        for placed in [second, first] {
            inner.leave(&placed.key, &placed.group, placed.token, client_at(1));
        }
        assert_eq!((inner.groups.len(), inner.clients.len()), (0, 0));
    }
}
