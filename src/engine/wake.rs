//! The flag that wakes a core: one system call, even if many threads ask before the core has looked.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::engine::log_limit::LogLimit;

/// Wakes a core from its poll.
#[derive(Debug)]
pub(crate) struct Wake {
    /// `None` in a simulation, whose cores do not sleep.
    waker: Option<mio::Waker>,
    is_due: AtomicBool,
}

impl Wake {
    pub(crate) fn new(waker: mio::Waker) -> Self {
        Self { waker: Some(waker), is_due: AtomicBool::new(false) }
    }

    /// A `Wake` for a core that does not poll.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn silent() -> Self {
        Self { waker: None, is_due: AtomicBool::new(false) }
    }

    /// Makes sure that the core checks its inputs after this call. All calls before that check share one system call.
    pub(crate) fn notify(&self) {
        // Both sides swap. So either this side sees that the core has cleared the flag, or the core sees all input from
        // before this call.
        if !self.is_due.swap(true, Ordering::AcqRel)
            && let Some(waker) = &self.waker
            && let Err(error) = waker.wake()
        {
            static LIMIT: LogLimit = LogLimit::new();
            LIMIT.say(|more| log::error!("cannot wake a core: {error}{more}"));
        }
    }

    /// Called by the core before it checks its inputs.
    pub(crate) fn clear(&self) {
        self.is_due.swap(false, Ordering::AcqRel);
    }
}

/// The waker of a core that polls `registry`.
///
/// # Errors
/// The system's error.
pub(crate) fn waker(registry: &mio::Registry, token: mio::Token) -> io::Result<Arc<Wake>> {
    Ok(Arc::new(Wake::new(mio::Waker::new(registry, token)?)))
}
