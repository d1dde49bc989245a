//! What stands for the gate in a build without the cargo feature `upstream`: there can be none.

use std::net::IpAddr;

use crate::{
    application::upstream::Full,
    engine::slot::{ConnectionKey, Slot},
    error::Refusal,
    protocol::message::Parsed,
};

/// There is none.
#[derive(Debug)]
pub(crate) enum Gate {}

impl Gate {
    pub(crate) fn opened(&mut self, _: Slot, _: IpAddr) {
        match *self {}
    }

    pub(super) fn target(&self, _: &str, _: &str) -> Result<(), Refusal> {
        match *self {}
    }

    pub(super) fn submit(&self, _: ConnectionKey, _: Parsed<'_>, (): ()) -> Result<(), Full> {
        match *self {}
    }
}
