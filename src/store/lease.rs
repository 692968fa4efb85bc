//! Which of the instances that share a store writes to it. All of them follow the chain and serve.

use std::{fmt, time::Duration};

use tokio::sync::watch;

/// How long its holder is believed without a word of it. Five times as long as it takes to renew it.
pub const LEASE: Duration = Duration::from_secs(5);

/// What became of asking for the fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    Ours(u64),
    Theirs {
        owner: String,
        token: u64,
        /// By the store's clock.
        over: bool,
    },
}

/// A process, as the others know it: `HOST/PROCESS`.
#[derive(Debug, Clone)]
pub struct Owner {
    host: String,
    process: u32,
}

impl Owner {
    /// This process.
    #[must_use]
    pub fn here() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { host, process: std::process::id() }
    }

    /// The one that calls itself so is no more: it was a process of this host that has ended, or this one's predecessor in a container,
    /// where numbers come again. Wrong at worst where two containers share a host's name; the fence holds there too.
    #[must_use]
    pub fn outlived(&self, other: &str) -> bool {
        let process = other.rsplit_once('/').filter(|(host, _)| *host == self.host).and_then(|(_, process)| process.parse().ok());
        let Some(process) = process.and_then(rustix::process::Pid::from_raw) else { return false };
        let is_ours = u32::try_from(process.as_raw_pid()).is_ok_and(|process| process == self.process);
        is_ours || rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.process)
    }
}

/// The writer's fence of this process, while it has one; for each chain, whether that chain's writer has taken over from the one before.
/// Clones are the same.
#[derive(Debug, Clone)]
pub struct Lease {
    fence: watch::Sender<Option<u64>>,
    begun: watch::Sender<Option<u64>>,
}

impl Lease {
    #[must_use]
    pub fn new(fence: Option<u64>) -> Self {
        Self { fence: watch::Sender::new(fence), begun: watch::Sender::new(None) }
    }

    /// The same fence for another chain.
    #[must_use]
    pub fn of_chain(&self) -> Self {
        Self { fence: self.fence.clone(), begun: watch::Sender::new(None) }
    }

    /// `None`: another instance writes.
    #[must_use]
    pub fn fence(&self) -> Option<u64> {
        *self.fence.borrow()
    }

    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<u64>> {
        self.fence.subscribe()
    }

    /// This instance has it.
    pub fn take(&self, fence: u64) {
        self.fence.send_replace(Some(fence));
    }

    /// Another instance has a newer one than this. `false`: that was known.
    pub fn lose(&self, fence: u64) -> bool {
        self.fence.send_if_modified(|held| {
            let is_it = *held == Some(fence);
            if is_it {
                *held = None;
            }
            is_it
        })
    }

    /// Told by the writer of the chain: what the one before left is put in order.
    pub fn begin(&self, fence: u64) {
        self.begun.send_replace(Some(fence));
    }

    /// Waits until this instance writes to the chain.
    pub async fn begun(&self) {
        let mut begun = self.begun.subscribe();
        let mut fence = self.watch();
        loop {
            if begun.borrow_and_update().is_some_and(|begun| *fence.borrow_and_update() == Some(begun)) {
                return;
            }
            // We hold the senders: they do not end.
            tokio::select! { _ = begun.changed() => {}, _ = fence.changed() => {} }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_process_outlives_those_of_its_host_that_ended_and_itself() {
        let here = Owner::here();
        let of = |process: u32| format!("{}/{process}", here.host);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(here.outlived(&of(child.id())), "it ended");
        assert!(here.outlived(&here.to_string()), "our own number, before us");
        assert!(!here.outlived(&of(std::os::unix::process::parent_id())), "it runs");
        for other in ["", "elsewhere/1", "x", "/", &format!("{}/", here.host), &of(0), &format!("{}/x", here.host)] {
            assert!(!here.outlived(other), "{other:?}: nobody knows");
        }
    }

    #[test]
    fn a_chain_begins_once_its_writer_is_ready_and_not_with_an_older_fence() {
        let lease = Lease::new(None);
        let chain = lease.of_chain();
        let mut begun = Box::pin(chain.begun());
        let mut is_there = || begun.as_mut().now_or_never().is_some();
        assert!(!is_there());
        lease.take(3);
        assert!(!is_there(), "the writer has not taken over");
        chain.begin(2);
        assert!(!is_there(), "of before");
        chain.begin(3);
        assert!(is_there());
        assert!(lease.lose(3) && !lease.lose(3) && lease.fence().is_none());
        assert!(chain.begun().now_or_never().is_none());
    }
}
