//! The time of day, which tokens need. Everything else counts the time for which the core has run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time of day.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum WallClock {
    /// The system's clock, which may be set while the server runs.
    #[default]
    System,
    /// A test's clock: this time at the core's start.
    #[cfg(any(test, feature = "fuzz"))]
    Virtual(Duration),
}

impl WallClock {
    /// The time since 1970 in UTC. `ran` is the time since the core's start.
    pub(crate) fn now(self, ran: Duration) -> Duration {
        match self {
            // The system's clock goes on by itself.
            Self::System => {
                let _ = ran;
                SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
            }
            #[cfg(any(test, feature = "fuzz"))]
            Self::Virtual(start) => start + ran,
        }
    }
}
