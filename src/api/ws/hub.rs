//! All groups of this process.

use std::{
    collections::HashMap,
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
    groups: HashMap<Arc<str>, Entry>,
    owned: HashMap<Client, Owned>,
}

/// What one client was the first to ask for.
struct Owned {
    groups: usize,
    line: Line,
}

impl Inner {
    fn remove(&mut self, key: &str, group: &Arc<Group>) {
        if !self.groups.get(key).is_some_and(|entry| Arc::ptr_eq(&entry.group, group)) {
            return;
        }
        let Some(entry) = self.groups.remove(key) else { return };
        if let Some(owned) = self.owned.get_mut(&entry.owner) {
            owned.groups = owned.groups.saturating_sub(1);
            if owned.groups == 0 {
                self.owned.remove(&entry.owner);
            }
        }
    }
}

pub(super) struct Hub {
    schema: ApiSchema,
    lane: Lane,
    inner: Mutex<Inner>,
}

/// A place in a group, for as long as it lives.
pub(super) struct Membership {
    hub: Arc<Hub>,
    key: Arc<str>,
    group: Arc<Group>,
    token: u64,
}

impl Membership {
    pub(super) fn reopen(&self) {
        self.group.reopen(self.token);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut inner = self.hub.inner();
        if self.group.remove(self.token) {
            inner.remove(&self.key, &self.group);
            self.group.stop();
        }
    }
}

impl Hub {
    pub(super) fn new(schema: ApiSchema) -> Arc<Self> {
        Arc::new(Self { schema, lane: Lane::new(), inner: Mutex::default() })
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

    fn enter(self: &Arc<Self>, shared: &Shared, mut member: Member, client: Client) -> Result<Membership, ApiError> {
        let mut inner = self.inner();
        if let Some((key, entry)) = inner.groups.get_key_value(shared.key.as_str()) {
            let (key, group) = (key.clone(), entry.group.clone());
            match group.add(member) {
                Ok(token) => return Ok(Membership { hub: self.clone(), key, group, token }),
                // It has just ended.
                Err(back) => {
                    member = back;
                    inner.remove(&key, &group);
                }
            }
        }
        let owned = inner.owned.get(&client).map_or(0, |owned| owned.groups);
        if inner.groups.len() >= GROUPS_MAX || owned >= GROUPS_PER_CLIENT_MAX {
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
        inner.groups.insert(key.clone(), Entry { group: group.clone(), owner: client });
        let owned = inner.owned.entry(client).or_insert_with(|| Owned { groups: 0, line: self.lane.line() });
        owned.groups = owned.groups.saturating_add(1);
        let line = owned.line.clone();
        drop(inner);
        let request = shared.request().data(group.link());
        let (hub, name, running) = (self.clone(), key.clone(), group.clone());
        tokio::spawn(async move {
            running.run(hub.schema.execute_stream(request), line).await;
            hub.inner().remove(&name, &running);
        });
        Ok(Membership { hub: self.clone(), key, group, token })
    }
}
