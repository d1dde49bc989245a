//! A core's sockets, by slot.

use std::{
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    time::Duration,
};

use mio::net::TcpStream;
use socket2::SockRef;

use crate::engine::{
    hub::CLOSE_TIMEOUT,
    outbox::{Sink, Written},
    session::Ended,
    slot::Slot,
};

/// All sockets of a core: 4 bytes for each slot. A unix socket is held as one of TCP: what is done with either is the same,
/// and the system refuses what is not for it.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    streams: Vec<Option<TcpStream>>,
}

impl Connections {
    pub(crate) fn insert(&mut self, slot: Slot, stream: TcpStream) {
        let slot = slot as usize;
        if self.streams.len() <= slot {
            self.streams.resize_with(slot + 1, || None);
        }
        self.streams[slot] = Some(stream);
    }

    /// The port that a connection has come to.
    #[cfg(test)]
    pub(crate) fn local_port(&self, slot: Slot) -> Option<u16> {
        let address = self.streams[slot as usize].as_ref()?.local_addr();
        address.ok().map(|address| address.port())
    }

    /// Closes a socket.
    pub(crate) fn close(&mut self, Ended { slot, is_cut }: Ended) {
        if let Some(stream) = self.streams[slot as usize].take() {
            close(stream, is_cut);
        }
    }

    /// Closes all sockets that are left.
    pub(crate) fn close_all(&mut self) {
        self.streams.drain(..).flatten().for_each(|stream| close(stream, false));
    }

    /// Reads once into `buffer`.
    pub(crate) fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.streams[slot as usize] {
            Some(stream) => retry(|| stream.read(buffer)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Tells the peer that nothing more will come.
    pub(crate) fn shut(&mut self, slot: Slot) {
        if let Some(stream) = &self.streams[slot as usize] {
            // It fails when the peer has reset the connection, which the next read says.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
}

impl Sink for Connections {
    fn write(&mut self, slot: Slot, slices: &[IoSlice<'_>]) -> io::Result<Written> {
        let Some(stream) = &mut self.streams[slot as usize] else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        match slices {
            [one] => Written::of(retry(|| stream.write(one)), one.len()),
            _ => Written::of(retry(|| stream.write_vectored(slices)), slices.iter().map(|slice| slice.len()).sum()),
        }
    }
}

/// Closes a socket. Without more ado the kernel would go on for minutes offering what it has to a peer that
/// does not read, and nothing of ours would count that memory any more.
fn close(stream: TcpStream, is_cut: bool) {
    // They fail when the peer has reset the connection, which leaves nothing to be bounded.
    let _ = if is_cut {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)) // a reset, but for a unix socket, which has none
    } else {
        // What the kernel has is still delivered as long as the peer takes it. If the peer stopped
        // reading earlier, the kernel notices at its next probe, after about the same time again.
        SockRef::from(&stream).set_tcp_user_timeout(Some(CLOSE_TIMEOUT))
    };
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
