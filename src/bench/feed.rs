//! Sockets without a kernel: they give the input that a fixture puts there, and count the output.

use std::{
    io::{self, IoSlice},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use crate::engine::{
    arrival::{Role, Transport},
    outbox::{Sink, Written},
    session::Ended,
    slot::{ConnectionKey, Slot},
    turn::{Accepted, Event, Got, Sockets},
};

/// Sockets that take all output at once and drop it. Their input is set with [`Feed::put`].
#[derive(Default)]
pub(super) struct Feed {
    pub(super) bytes: u64,
    pub(super) writes: u64,
    /// By slot: the input of a connection, and how much of it was read.
    pub(super) input: Vec<(Vec<u8>, usize)>,
    pub(super) accepts: usize,
    /// The first input of each accepted connection.
    pub(super) greeting: Vec<u8>,
    /// The connections with new input that the turn does not know of yet.
    pub(super) readable: Vec<ConnectionKey>,
}

impl Feed {
    /// Sets the new input of a connection.
    pub(super) fn put(&mut self, key: ConnectionKey, input: Vec<u8>) {
        let slot = key.slot as usize;
        self.input.resize_with(self.input.len().max(slot + 1), Default::default);
        self.input[slot] = (input, 0);
        self.readable.push(key);
    }
}

impl Sink for Feed {
    fn write(&mut self, _: Slot, slices: &[IoSlice<'_>]) -> io::Result<Written> {
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        self.bytes += len as u64;
        self.writes += 1;
        Ok(Written { bytes: len, is_blocked: false, ..Written::default() })
    }
}

impl Sockets for Feed {
    type Stream = ();

    fn events(&mut self) -> impl Iterator<Item = Event> {
        let told = |key| Event { key, is_writable: false, is_readable: true, is_read_closed: false };
        self.readable.drain(..).map(told)
    }

    fn has_seen_all(&self) -> bool {
        true
    }

    fn accept(&mut self, _: Duration, _: impl Fn(Role) -> bool) -> io::Result<Accepted<()>> {
        self.accepts = self.accepts.checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
        let peer = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        Ok(Accepted {
            stream: (),
            peer,
            role: Role::Public,
            transport: Transport::Tcp,
            is_loopback: false,
            is_told: false,
        })
    }

    fn add(&mut self, key: ConnectionKey, (): (), _: bool) -> io::Result<()> {
        self.put(key, self.greeting.clone());
        Ok(())
    }

    fn turn_away(&mut self, (): (), _: &[u8]) {}

    fn read(&mut self, slot: Slot, buffer: &mut [u8], room: usize) -> io::Result<Got> {
        let (input, used) = &mut self.input[slot as usize];
        let rest = &input[*used..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = rest.len().min(room);
        buffer[..len].copy_from_slice(&rest[..len]);
        *used += len;
        Ok(Got::of(len, room))
    }

    fn shut(&mut self, _: Slot) {}

    fn close(&mut self, _: Vec<Ended>) {}

    fn close_all(&mut self) {}

    fn leave_listeners(&mut self) {}

    fn clock(&self) -> Duration {
        Duration::ZERO
    }
}
