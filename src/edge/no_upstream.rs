//! What stands for the upstream proxy in a build without the cargo feature `upstream`: there can be none.

use std::{io, sync::Arc, time::Instant};

use crate::{
    application::Upstream,
    config::Config,
    engine::{counters::Shared, inbox::Mailbox},
    error::StartError,
};

/// There is none.
#[derive(Debug)]
pub(crate) enum Pool {}

/// There is none.
pub(crate) enum Prepared {}

impl Prepared {
    pub(crate) fn gate(&self, _: u32) -> Box<dyn Upstream> {
        match *self {}
    }
}

impl Pool {
    /// Says that there is none; [`Config::validate`] says it before.
    pub(crate) fn prepare(_: &Config) -> Result<Prepared, StartError> {
        Err(StartError::Config("upstream-allow: this build has no upstream proxy".to_owned()))
    }

    pub(crate) fn start(prepared: Prepared, _: Vec<Mailbox>, _: Arc<Shared>) -> io::Result<Self> {
        match prepared {}
    }

    pub(crate) fn waiting(&self) -> usize {
        match *self {}
    }

    pub(crate) fn stop(&mut self, _: Instant) {
        match *self {}
    }
}
