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

/// All sockets of a core: 4 bytes for each slot. A unix socket is stored as a TCP socket: the operations are the same,
/// and the system refuses those that do not apply.
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

    /// The local port of a connection.
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

    /// Closes all remaining sockets.
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
            // It fails if the peer has reset the connection; the next read reports that.
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

/// Closes a socket. By default the kernel would keep its bytes for minutes for a peer that does not read, and none of
/// our limits would count this memory.
fn close(stream: TcpStream, is_cut: bool) {
    // These calls fail if the peer has reset the connection, and then the kernel keeps no bytes.
    let _ = if is_cut {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)) // a reset, except for a unix socket, which has none
    } else {
        // The kernel still delivers its bytes while the peer takes them. If the peer stopped reading earlier, the
        // kernel notices at its next probe, after about the same time again.
        SockRef::from(&stream).set_tcp_user_timeout(Some(CLOSE_TIMEOUT))
    };
}

/// Closes a socket that has no slot, after this answer. It is not waited for: an address that connects too often must not
/// hold anything here.
pub(crate) fn turn_away(mut stream: TcpStream, answer: &[u8]) {
    // A close with unread bytes is a reset, which may overtake the answer.
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write(answer);
    let _ = stream.shutdown(Shutdown::Write);
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
