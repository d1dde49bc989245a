//! The sockets' TLS in a build without the feature `tls`: no connection uses it, because no listener may ask for it.

use std::io::{self, ErrorKind, IoSlice};

use mio::net::TcpStream;

use crate::{
    engine::{
        outbox::{SocketCounts, Written},
        slot::Slot,
        turn::{Got, Shaken},
    },
    tls::Acceptor,
};

/// Nothing.
#[derive(Debug, Default)]
pub(crate) struct TlsLayers;

impl TlsLayers {
    pub(crate) fn new(_: Option<Acceptor>) -> Self {
        Self
    }

    pub(super) fn insert(&mut self, _: Slot) {}

    pub(super) fn remove(&mut self, _: Slot, _: &mut TcpStream, _: bool) {}

    pub(super) fn has(&self, _: Slot) -> bool {
        false
    }

    pub(super) fn counts(&self) -> SocketCounts {
        SocketCounts::default()
    }

    pub(super) fn is_shaking(&self, _: Slot) -> bool {
        false
    }

    pub(super) fn is_waiting(&self, _: Slot) -> bool {
        false
    }

    pub(super) fn wants_to_write(&self, _: Slot) -> bool {
        false
    }

    pub(super) fn half_open(&self) -> usize {
        0
    }

    pub(super) fn kept_bytes(&self) -> usize {
        0
    }

    pub(super) fn kept_by(&self, _: Slot) -> usize {
        0
    }

    pub(super) fn shake(&mut self, _: Slot, _: &mut TcpStream, _: &mut [u8]) -> io::Result<Shaken> {
        Err(ErrorKind::Unsupported.into())
    }

    pub(super) fn read(&mut self, _: Slot, _: &mut TcpStream, _: &mut [u8], _: usize) -> io::Result<Got> {
        Err(ErrorKind::Unsupported.into())
    }

    pub(super) fn write(&mut self, _: Slot, _: &mut TcpStream, _: &[IoSlice<'_>]) -> io::Result<Written> {
        Err(ErrorKind::Unsupported.into())
    }

    pub(super) fn say_close(&mut self, _: Slot, _: &mut TcpStream) {}
}
