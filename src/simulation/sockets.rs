//! A node's sockets, as the kernel has them.

use std::io::{self, IoSlice};

use rand::{RngExt, rngs::StdRng};

use crate::engine::{outbox::Sink, subscriptions::Slot};

/// One connection's two directions, as the kernel has them.
#[derive(Default)]
pub(crate) struct Socket {
    /// From the client, not read yet.
    pub(crate) inbound: Vec<u8>,
    /// The client will send no more.
    pub(crate) is_finished: bool,
    pub(crate) is_reset: bool,
    /// Taken from the server; the client fetches it.
    pub(crate) outbound: Vec<u8>,
    /// Bytes that the server may write until the client reads.
    pub(crate) room: usize,
    /// The last write took less than all.
    pub(crate) is_refused: bool,
    /// The server has shut its side, or closed the socket.
    pub(crate) is_shut: bool,
    pub(crate) is_closed: bool,
    /// The edges that the server has not heard of.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// The sockets of a node, by slot; a socket outlives its slot for the client to read the rest.
#[derive(Default)]
pub(super) struct Sockets {
    pub(super) by_slot: Vec<Option<usize>>,
    pub(super) all: Vec<Socket>,
    pub(super) short_writes: Option<StdRng>,
}

impl Sink for Sockets {
    fn write(&mut self, slot: Slot, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(id) = self.by_slot[slot as usize] else { return Err(io::ErrorKind::NotConnected.into()) };
        let socket = &mut self.all[id];
        assert!(!socket.is_shut && !socket.is_closed, "a write to a socket that is shut");
        if socket.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut sent = len.min(socket.room);
        if let Some(rng) = &mut self.short_writes
            && rng.random_bool(0.1)
        {
            sent = sent.min(rng.random_range(0..2000));
        }
        let mut left = sent;
        for slice in slices {
            let taken = left.min(slice.len());
            socket.outbound.extend_from_slice(&slice[..taken]);
            left -= taken;
        }
        socket.room -= sent;
        socket.is_refused |= sent < len;
        if sent == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }
}
