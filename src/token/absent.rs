//! A build without the cargo feature `token` has no keys: [`Config::validate`] refuses the options that ask for them.

use std::{io, sync::Arc};

use super::{Claims, Invalid, KeyNumbers, Tally};
use crate::{config::Config, error::StartError};

/// There is no value of this type.
#[derive(Debug)]
pub(crate) enum Keys {}

/// There is no value of this type.
#[derive(Debug)]
pub(crate) enum Verifier {}

impl Keys {
    pub(crate) fn read(_: &Config) -> Result<Option<Self>, StartError> {
        Ok(None)
    }

    pub(crate) fn verifier(&self) -> Verifier {
        match *self {}
    }

    pub(crate) fn start(&self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn numbers(&self) -> KeyNumbers {
        match *self {}
    }

    pub(crate) fn reread(&self) -> Result<Vec<&'static str>, String> {
        match *self {}
    }
}

impl Verifier {
    pub(crate) fn tally(&self) -> &Tally {
        match *self {}
    }

    pub(crate) fn verify(&mut self, _: &[u8], _: u64) -> Result<Arc<Claims>, Invalid> {
        match *self {}
    }
}
