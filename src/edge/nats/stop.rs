//! The request to stop, from another thread.

use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time};

/// The request, once it is made.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// When the time to drain ends.
    by: OnceLock<time::Instant>,
    asked: Notify,
}

impl Stop {
    /// Asks the bridge to stop, with a time to drain. Only the first request counts.
    pub(super) fn ask(&self, by: Instant) {
        self.by.get_or_init(|| by.into());
        self.asked.notify_one();
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

    /// Waits for the request, and gives the end of the time to drain.
    pub(super) async fn wait(&self) -> time::Instant {
        loop {
            if let Some(&by) = self.by.get() {
                return by;
            }
            self.asked.notified().await;
        }
    }
}
