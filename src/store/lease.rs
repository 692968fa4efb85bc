//! Which of the instances that share a store writes to it. All of them follow the chain and serve.

use tokio::sync::watch;

/// The writer's fence of this process, while it has one. Cheap to clone: all clones are the same.
#[derive(Debug, Clone)]
pub struct Lease(watch::Sender<Option<u64>>);

impl Lease {
    #[must_use]
    pub fn new(fence: Option<u64>) -> Self {
        Self(watch::Sender::new(fence))
    }

    /// `None`: another instance writes.
    #[must_use]
    pub fn fence(&self) -> Option<u64> {
        *self.0.borrow()
    }

    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<u64>> {
        self.0.subscribe()
    }

    /// Waits until this instance is the one that writes.
    pub async fn held(&self) -> u64 {
        let mut fences = self.watch();
        loop {
            if let Some(fence) = *fences.borrow_and_update() {
                return fence;
            }
            // We hold the sender: it does not end.
            let _ = fences.changed().await;
        }
    }

    pub fn take(&self, fence: u64) {
        self.0.send_replace(Some(fence));
    }

    /// Another instance has a newer one than this. `false`: that was known.
    pub fn lose(&self, fence: u64) -> bool {
        self.0.send_if_modified(|held| {
            let is_it = *held == Some(fence);
            if is_it {
                *held = None;
            }
            is_it
        })
    }
}
