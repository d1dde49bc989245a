//! A core's sockets, by slot.

use std::{
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    time::Duration,
};

use mio::net::TcpStream;
use socket2::SockRef;

use crate::engine::{
    arrival::Role,
    hub::CLOSE_TIMEOUT,
    outbox::{Sink, Written},
    session::Ended,
    slot::Slot,
};

/// One socket: 8 bytes.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// A unix socket is held as one of TCP: what is done with either is the same, and the system refuses what is not for it.
    pub(crate) stream: Option<TcpStream>,
    /// It is on the list of those that may have something to read.
    pub(crate) is_ready: bool,
    /// The peer has shut its side: a short read is not the end of what can be read.
    pub(crate) is_read_closed: bool,
    /// It is over the limit of its role, and has a reserved place for one request.
    pub(crate) is_reserved: bool,
    /// The role of the listener that has accepted it: that one's limit counts it.
    pub(crate) role: Role,
}

// In a debug build mio's socket is larger.
const _: () = assert!(cfg!(debug_assertions) || size_of::<Connection>() == 8);

impl Connection {
    /// Closes the socket. Without more ado the kernel would go on for minutes offering what it has to a peer that does not
    /// read, and nothing of ours would count that memory any more.
    fn close(&mut self, is_cut: bool) {
        let Some(stream) = self.stream.take() else { return };
        // They fail when the peer has reset the connection, which leaves nothing to be bounded.
        let _ = if is_cut {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)) // a reset, but for a unix socket, which has none
        } else {
            // What the kernel has is still delivered as long as the peer takes it. If the peer stopped
            // reading earlier, the kernel notices at its next probe, after about the same time again.
            SockRef::from(&stream).set_tcp_user_timeout(Some(CLOSE_TIMEOUT))
        };
    }
}

/// All sockets of a core.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    connections: Vec<Connection>,
}

impl Connections {
    pub(crate) fn insert(&mut self, slot: Slot, stream: TcpStream, role: Role, is_reserved: bool) {
        let slot = slot as usize;
        if self.connections.len() <= slot {
            self.connections.resize_with(slot + 1, Connection::default);
        }
        self.connections[slot] = Connection { stream: Some(stream), role, is_reserved, ..Connection::default() };
    }

    /// Closes a socket. Gives what is left of the connection.
    pub(crate) fn remove(&mut self, Ended { slot, is_cut }: Ended) -> Connection {
        let mut connection = std::mem::take(&mut self.connections[slot as usize]);
        connection.close(is_cut);
        connection
    }

    /// Closes all sockets that are left.
    pub(crate) fn clear(&mut self) {
        self.connections.drain(..).for_each(|mut connection| connection.close(false));
    }

    pub(crate) fn get(&mut self, slot: Slot) -> &mut Connection {
        &mut self.connections[slot as usize]
    }

    /// Whether it may have something to read.
    pub(crate) fn is_ready(&self, slot: Slot) -> bool {
        self.connections[slot as usize].is_ready
    }

    /// Whether the peer has shut its side.
    pub(crate) fn is_read_closed(&self, slot: Slot) -> bool {
        self.connections[slot as usize].is_read_closed
    }

    /// Reads once into `buffer`.
    pub(crate) fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.connections[slot as usize].stream {
            Some(stream) => retry(|| stream.read(buffer)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Tells the peer that nothing more will come.
    pub(crate) fn shut(&mut self, slot: Slot) {
        if let Some(stream) = &self.connections[slot as usize].stream {
            // It fails when the peer has reset the connection, which the next read says.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
}

impl Sink for Connections {
    fn write(&mut self, slot: Slot, slices: &[IoSlice<'_>]) -> io::Result<Written> {
        let Some(stream) = &mut self.connections[slot as usize].stream else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        match slices {
            [one] => Written::of(retry(|| stream.write(one)), one.len()),
            _ => Written::of(retry(|| stream.write_vectored(slices)), slices.iter().map(|slice| slice.len()).sum()),
        }
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
