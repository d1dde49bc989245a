//! What stands for the bridge in a build without the cargo feature `nats`: there can be none.

use std::{
    io,
    sync::{Arc, atomic::AtomicUsize},
    time::Instant,
};

use crate::{
    config::Config,
    engine::{
        counters::Shared,
        uplink::{Downlink, Uplink},
    },
    error::StartError,
};

/// There is none.
#[derive(Debug)]
pub(crate) enum Bridge {}

/// There is none.
#[derive(Debug)]
pub(crate) enum Access {}

impl Access {
    pub(crate) fn reread(&self) -> Result<Vec<&'static str>, String> {
        match *self {}
    }
}

/// There is none.
pub(crate) struct Prepared {
    pub(crate) access: Arc<Access>,
    pub(crate) uplink: Uplink,
    never: Bridge,
}

/// What it would be told by.
#[allow(dead_code)] // nobody reads it
pub(crate) struct Ends {
    pub(crate) downlinks: Vec<Downlink>,
    pub(crate) stats: Arc<Shared>,
    pub(crate) publish_bytes_max: Arc<AtomicUsize>,
    pub(crate) outbox_bytes_max: Arc<AtomicUsize>,
}

impl Bridge {
    /// Says that there is none; [`Config::validate`] says it before.
    pub(crate) fn prepare(_: &Config, _: u64) -> Result<Prepared, StartError> {
        Err(StartError::Config("nats: this build has no NATS bridge".to_owned()))
    }

    pub(crate) fn start(prepared: Prepared, _: Ends, _: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        Ok(prepared.never)
    }

    pub(crate) fn stop(&mut self, _: Instant) {
        match *self {}
    }
}
