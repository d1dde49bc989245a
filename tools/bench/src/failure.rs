//! The reasons why a measurement gives no figure.

use std::io;

use thiserror::Error;

/// Every way in which a run can fail. Then no figure is printed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The system refused.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// The server violated its protocol.
    #[error("the server is not usable: {0}")]
    Server(String),
    /// TLS cannot be prepared.
    #[error("TLS: {0}")]
    Tls(String),
    /// Not every message arrived.
    #[error("{arrived} of {expected} deliveries arrived; {why}")]
    Missing { arrived: u64, expected: u64, why: String },
    /// More messages arrived than were published.
    #[error("{arrived} deliveries arrived where {expected} were due")]
    Surplus { arrived: u64, expected: u64 },
    /// A server of the comparison is not installed.
    #[error("{0}")]
    NotInstalled(String),
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// This many runs of a comparison failed; the report says why.
    #[error("{0} runs failed")]
    Runs(usize),
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// Wraps a system error together with the operation that failed.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
