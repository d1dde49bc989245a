//! Why a measurement gave no figure.

use std::io;

use thiserror::Error;

/// Every way in which a run can fail. No figure is printed then.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The system refused.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// The server did not do what its protocol says.
    #[error("the server is not usable: {0}")]
    Server(String),
    /// Not every message arrived.
    #[error("{arrived} of {expected} deliveries arrived; {why}")]
    Missing { arrived: u64, expected: u64, why: String },
    /// More messages arrived than were published to their subscribers.
    #[error("{arrived} deliveries arrived where {expected} were due")]
    Surplus { arrived: u64, expected: u64 },
    /// A server to compare with is not there.
    #[error("{0}")]
    NotInstalled(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// So many runs of a comparison failed; its report says why.
    #[error("{0} runs failed")]
    Runs(usize),
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// Wraps a system error with what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
