//! The meaning of a request.

use crate::engine::{session::Endpoint, survey::Question};

use super::gathering::Kind;

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Asked {
    Metrics,
    /// All cores are asked.
    Question(Question, Kind),
    /// The figures of the server.
    Status,
    /// The options as they run.
    Configuration,
    /// Its body says it.
    Body(Endpoint),
}
