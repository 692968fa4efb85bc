//! What the parts of the process say of themselves: the actor tree of `/status`.

use std::sync::Arc;

use dashmap::DashMap;
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ActorState {
    Starting,
    Running,
    Restarting,
    /// Given up: FAULTED for a pool, the end of the process for ingest and persist.
    Quarantined,
    Stopped,
}

#[derive(Debug, Clone, Serialize)]
pub struct ActorStatus {
    /// `ingest/1`, `persist/1`, `pool/1/0x…`.
    pub name: String,
    pub kind: &'static str,
    pub state: ActorState,
    pub restarts: u64,
    /// The last failure, if there was one.
    pub last_failure: Option<String>,
    #[serde(skip)]
    incarnation: u64,
}

/// Cheap to clone; everyone shares one.
#[derive(Clone, Default)]
pub struct Board(Arc<DashMap<String, ActorStatus>>);

impl Board {
    /// A new actor takes the name. The number is its own: an older actor of the same name that ends later must not take the line.
    #[must_use]
    pub fn begin(&self, kind: &'static str, name: &str) -> u64 {
        let incarnation = self.0.get(name).map_or(0, |s| s.incarnation.wrapping_add(1));
        let status =
            ActorStatus { name: name.to_owned(), kind, state: ActorState::Running, restarts: 0, last_failure: None, incarnation };
        self.0.insert(name.to_owned(), status);
        incarnation
    }

    /// The actor ended.
    pub fn end(&self, name: &str, incarnation: u64) {
        self.0.remove_if(name, |_, status| status.incarnation == incarnation);
    }

    /// Says what an actor is doing now.
    pub fn set(&self, kind: &'static str, name: &str, state: ActorState) {
        let mut entry = self.0.entry(name.to_owned()).or_insert_with(|| ActorStatus {
            name: name.to_owned(),
            kind,
            state,
            restarts: 0,
            last_failure: None,
            incarnation: 0,
        });
        entry.state = state;
    }

    /// An actor failed and is being restarted.
    pub fn failed(&self, kind: &'static str, name: &str, state: ActorState, why: &str) {
        self.set(kind, name, state);
        if let Some(mut entry) = self.0.get_mut(name) {
            entry.restarts = entry.restarts.saturating_add(1);
            entry.last_failure = Some(why.to_owned());
        }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<ActorStatus> {
        self.0.get(name).map(|s| s.clone())
    }

    /// All actors, sorted by name.
    #[must_use]
    pub fn all(&self) -> Vec<ActorStatus> {
        let mut all: Vec<_> = self.0.iter().map(|s| s.clone()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}
