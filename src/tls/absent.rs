//! What stands in the place of TLS in a build without it: types without values. `Config::validate` refuses its options.

use crate::{config::Config, error::StartError};

/// No server of this build has one.
#[derive(Clone, Debug)]
pub(crate) enum Acceptor {}

/// No server of this build speaks TLS.
pub(crate) fn acceptor(_: &Config) -> Result<Option<Acceptor>, StartError> {
    Ok(None)
}

impl Acceptor {
    pub(crate) fn days_left(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn expiry(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn reloads_failed(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn check(&self, _: &Config) -> Result<(), String> {
        match *self {}
    }

    pub(crate) fn take_checked(&self) -> Vec<&'static str> {
        match *self {}
    }

    pub(crate) fn look(&self) {
        match *self {}
    }
}
