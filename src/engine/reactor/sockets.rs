//! A reactor as a turn sees it.

use std::{
    io::{self, IoSlice},
    time::Duration,
};

use super::Reactor;
use crate::engine::{
    hub::Hub,
    outbox::{Sink, Written},
    session::Ended,
    slot::{ConnectionKey, Slot},
    turn::Sockets,
};

impl Sink for Reactor {
    fn write(&mut self, slot: Slot, slices: &[IoSlice<'_>]) -> io::Result<Written> {
        self.connections.write(slot, slices)
    }
}

impl Sockets for Reactor {
    fn sort_events(&mut self, hub: &mut Hub) {
        Self::sort_events(self, hub);
    }

    fn has_seen_all(&self) -> bool {
        Self::has_seen_all(self)
    }

    fn accept(&mut self, hub: &mut Hub, now: Duration) {
        Self::accept(self, hub, now);
    }

    fn ready(&mut self) -> &mut Vec<ConnectionKey> {
        &mut self.ready
    }

    fn is_ready(&self, slot: Slot) -> bool {
        self.connections.is_ready(slot)
    }

    fn set_ready(&mut self, slot: Slot, is_ready: bool) -> bool {
        std::mem::replace(&mut self.connections.get(slot).is_ready, is_ready)
    }

    fn is_read_closed(&self, slot: Slot) -> bool {
        self.connections.is_read_closed(slot)
    }

    fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> io::Result<usize> {
        self.connections.read(slot, buffer)
    }

    fn shut(&mut self, slot: Slot) {
        self.connections.shut(slot);
    }

    fn close(&mut self, ended: Vec<Ended>) {
        Self::close(self, ended);
    }

    fn close_all(&mut self) {
        self.connections.clear();
    }

    fn clock(&self) -> Duration {
        self.start.elapsed()
    }
}
