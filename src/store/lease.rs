//! Which of the instances that share a store writes to it. All of them follow the chain and serve.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long its holder is believed without a word of it. Five times as long as it takes to renew it.
pub const LEASE: Duration = Duration::from_secs(5);

/// What became of asking for the fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    Ours(u64),
    Theirs {
        owner: String,
        /// Counts its holders.
        term: u64,
        /// By the store's clock.
        over: bool,
    },
}

/// A process, as the others know it: `HOST/PROCESS/WHERE`. Where, that is the run of the kernel and the space in which process numbers mean
/// something: of two containers, or two hosts of one name, nobody knows from the other's number whether it still runs.
#[derive(Debug, Clone)]
pub struct Owner {
    host: String,
    process: u32,
    /// Empty where the system does not say.
    place: String,
}

impl Owner {
    /// This process.
    #[must_use]
    pub fn here() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let space = std::fs::read_link("/proc/self/ns/pid").map(|link| link.to_string_lossy().into_owned()).unwrap_or_default();
        let place = if boot.is_empty() || space.is_empty() { String::new() } else { format!("{}-{space}", boot.trim()) };
        Self { host, process: std::process::id(), place }
    }

    /// The one that calls itself so has ended: it ran in the same place, and its number is nobody's, or ours by now.
    #[must_use]
    pub fn outlived(&self, other: &str) -> bool {
        let mut parts = other.rsplitn(3, '/');
        let (place, process) = (parts.next(), parts.next().and_then(|process| process.parse().ok()));
        if self.place.is_empty() || place != Some(&self.place) {
            return false;
        }
        let Some(process) = process.and_then(rustix::process::Pid::from_raw) else { return false };
        let is_ours = u32::try_from(process.as_raw_pid()).is_ok_and(|process| process == self.process);
        is_ours || rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.host, self.process, self.place)
    }
}

/// The writer's fence of this process, while it has one; for each chain, whether that chain's writer has taken over from the one before.
/// Clones are the same.
#[derive(Debug, Clone)]
pub struct Lease {
    fence: watch::Sender<Option<u64>>,
    begun: watch::Sender<Option<u64>>,
    unfit: CancellationToken,
    /// With which the store was read at the start: nobody else has written since.
    read: watch::Sender<Option<u64>>,
    /// Something was made of the store and not written to it.
    unwritten: Arc<AtomicBool>,
}

impl Lease {
    #[must_use]
    pub fn new(fence: Option<u64>) -> Self {
        Self {
            fence: watch::Sender::new(fence),
            begun: watch::Sender::new(None),
            unfit: CancellationToken::new(),
            read: watch::Sender::new(None),
            unwritten: Arc::default(),
        }
    }

    /// The same fence for another chain.
    #[must_use]
    pub fn of_chain(&self) -> Self {
        Self {
            fence: self.fence.clone(),
            begun: watch::Sender::new(None),
            read: watch::Sender::new(None),
            unwritten: Arc::default(),
            ..self.clone()
        }
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

    /// What is in memory was read from the store under this fence.
    pub fn read_with(&self, fence: Option<u64>) {
        self.read.send_replace(fence);
    }

    /// Memory is what is stored and more, because nobody but us has written since it was read.
    #[must_use]
    pub fn was_read_with(&self, fence: u64) -> bool {
        *self.read.borrow() == Some(fence)
    }

    /// See `Deps::keep`.
    pub fn mark_unwritten(&self) {
        self.unwritten.store(true, Ordering::Release);
    }

    #[must_use]
    pub fn is_unwritten(&self) -> bool {
        self.unwritten.load(Ordering::Acquire)
    }

    /// What is in memory is not what is stored and more: nobody may write from it. Everything is to be read from the store again.
    pub fn declare_unfit(&self) {
        self.unfit.cancel();
    }

    /// Waits for [`Lease::declare_unfit`].
    pub async fn unfit(&self) {
        self.unfit.cancelled().await;
    }

    #[must_use]
    pub fn is_unfit(&self) -> bool {
        self.unfit.is_cancelled()
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
        let of = |process: u32| format!("{}/{process}/{}", here.host, here.place);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(here.outlived(&of(child.id())), "it ended");
        assert!(here.outlived(&here.to_string()), "our own number, before us");
        assert!(!here.outlived(&of(std::os::unix::process::parent_id())), "it runs");
        let elsewhere = format!("{}/{}/another-boot", here.host, child.id());
        for other in ["", "elsewhere/1", "x", "/", "//", &elsewhere, &of(0), &format!("{}/x/{}", here.host, here.place)] {
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
