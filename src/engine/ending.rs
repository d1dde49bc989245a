//! How a server is to end.

use std::time::Duration;

/// How a server ends: for how long it still serves, for how long it closes connections, and whether its clients are told
/// to come back. See [`Handle::end`](crate::server::Handle::end).
///
/// ```
/// use std::time::Duration;
/// use lhttp::{Server, server::Ending};
///
/// let server = Server::builder().cores(1).listen("127.0.0.1:0".parse()?).start()?;
/// server.end(Ending::within(Duration::from_secs(10)).restarts());
/// server.join();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    pub(crate) delay: Duration,
    pub(crate) drain: Duration,
    pub(crate) is_restart: bool,
}

impl Ending {
    /// An end for good, without a delay, that takes at most `drain`.
    pub const fn within(drain: Duration) -> Self {
        Self { delay: Duration::ZERO, drain, is_restart: false }
    }

    /// The server first serves and accepts for this long as before, and only `/healthz` answers 503. So a load balancer
    /// sends new clients elsewhere before the first connection is closed.
    #[must_use]
    pub const fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// A server will be there again soon, this one or another at the same address. Clients get the close reason
    /// `restart:<ms>`, and come back after a random part of this time (PROTOCOL.md §6).
    #[must_use]
    pub const fn restarts(self) -> Self {
        Self { is_restart: true, ..self }
    }

    /// The most time from the request to the end.
    pub(crate) fn time(self) -> Duration {
        self.delay.saturating_add(self.drain)
    }
}
