//! The request to stop, from another thread.

use std::{
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time};

/// The request, once it is made.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// When the time to drain ends.
    by: OnceLock<time::Instant>,
    /// Wakes the bridge's task.
    wake: Arc<Notify>,
}

impl Stop {
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        Self { by: OnceLock::new(), wake }
    }

    /// Asks the bridge to stop, with a time to drain. Only the first request counts.
    pub(super) fn ask(&self, by: Instant) {
        self.by.get_or_init(|| by.into());
        self.wake.notify_one();
    }

    /// Waits on this thread, without a runtime, until it is unparked. True if the bridge must stop.
    pub(super) fn wait_blocking(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        while self.by.get().is_none() {
            let Some(rest) = end.checked_duration_since(Instant::now()) else { return false };
            thread::park_timeout(rest);
        }
        true
    }

    /// The end of the time to drain, once the request is made.
    pub(super) fn by(&self) -> Option<time::Instant> {
        self.by.get().copied()
    }
}
