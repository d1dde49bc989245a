//! What stands for the gate in a build without the cargo feature `upstream`: there can be none.

use crate::{engine::session::ConnectionKey, error::Refusal, extension::control::Parsed};

/// There is none.
#[derive(Debug)]
pub(crate) enum Gate {}

impl Gate {
    pub(super) fn target(&self, _: &str, _: &str) -> Result<(), Refusal> {
        match *self {}
    }

    pub(super) fn submit(&self, _: ConnectionKey, _: Parsed<'_>, _: &str, _: &str) -> Result<(), Refusal> {
        match *self {}
    }
}
