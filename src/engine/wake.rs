//! The flag that wakes a core: one system call, however many threads ask for it before the core has looked.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::engine::log_limit::LogLimit;

/// Gets a core out of its poll.
#[derive(Debug)]
pub(crate) struct Wake {
    /// None in a simulation, whose cores are not asleep.
    waker: Option<mio::Waker>,
    is_due: AtomicBool,
}

impl Wake {
    pub(crate) fn new(waker: mio::Waker) -> Self {
        Self { waker: Some(waker), is_due: AtomicBool::new(false) }
    }

    /// One for a core that does not poll.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn silent() -> Self {
        Self { waker: None, is_due: AtomicBool::new(false) }
    }

    /// Makes sure that the core looks at its inputs after this: one system call for all that call it until then.
    pub(crate) fn notify(&self) {
        // Both sides swap, so either this one sees that the core has looked, or the core sees what came before this.
        if !self.is_due.swap(true, Ordering::AcqRel)
            && let Some(waker) = &self.waker
            && let Err(error) = waker.wake()
        {
            static LIMIT: LogLimit = LogLimit::new();
            LIMIT.say(|more| log::error!("cannot wake a core: {error}{more}"));
        }
    }

    /// The core is about to look at its inputs.
    pub(crate) fn clear(&self) {
        self.is_due.swap(false, Ordering::AcqRel);
    }
}

/// The waker of a core that polls `registry`.
///
/// # Errors
/// What the system says.
pub(crate) fn waker(registry: &mio::Registry, token: mio::Token) -> io::Result<Arc<Wake>> {
    Ok(Arc::new(Wake::new(mio::Waker::new(registry, token)?)))
}
