//! A core's sockets, by slot.

#[cfg(not(feature = "tls"))]
#[path = "connection/no_tls.rs"]
mod tls;
#[cfg(feature = "tls")]
mod tls;

use std::{
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, SocketAddr},
    time::Duration,
};

use mio::net::TcpStream;
use socket2::SockRef;

use crate::engine::{
    hub::CLOSE_TIMEOUT,
    outbox::{Sink, SocketCounts, Written},
    session::Ended,
    slot::Slot,
    turn::{Got, Shaken},
};

pub(crate) use self::tls::TlsLayers;

/// All sockets of a core: 4 bytes for each slot, and 16 more if the server listens with TLS. A unix socket is stored as a
/// TCP socket: the operations are the same, and the system refuses those that do not apply.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    streams: Vec<Option<TcpStream>>,
    layers: TlsLayers,
    read_bytes: u64,
    written_bytes: u64,
}

impl Connections {
    /// No sockets yet; those that use TLS will use it as `layers` say.
    pub(crate) fn new(layers: TlsLayers) -> Self {
        Self { layers, ..Self::default() }
    }

    pub(crate) fn insert(&mut self, slot: Slot, stream: TcpStream, is_tls: bool) {
        if is_tls {
            self.layers.insert(slot);
        }
        let slot = slot as usize;
        if self.streams.len() <= slot {
            self.streams.resize_with(slot + 1, || None);
        }
        self.streams[slot] = Some(stream);
    }

    /// The other end of a connection, if it has an address.
    pub(crate) fn peer(&self, slot: Slot) -> Option<SocketAddr> {
        self.streams.get(slot as usize)?.as_ref()?.peer_addr().ok()
    }

    /// The local port of a connection.
    #[cfg(test)]
    pub(crate) fn local_port(&self, slot: Slot) -> Option<u16> {
        let address = self.streams[slot as usize].as_ref()?.local_addr();
        address.ok().map(|address| address.port())
    }

    /// Closes a socket.
    pub(crate) fn close(&mut self, Ended { slot, is_cut }: Ended) {
        if let Some(mut stream) = self.streams[slot as usize].take() {
            self.layers.remove(slot, &mut stream, is_cut);
            close(stream, is_cut);
        }
    }

    /// Closes all remaining sockets.
    pub(crate) fn close_all(&mut self) {
        for slot in 0..self.streams.len() as Slot {
            self.close(Ended { slot, is_cut: false });
        }
    }

    /// Reads once, about `room` bytes, into `buffer`.
    pub(crate) fn read(&mut self, slot: Slot, buffer: &mut [u8], room: usize) -> io::Result<Got> {
        let stream = self.streams[slot as usize].as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let got = if self.layers.has(slot) {
            self.layers.read(slot, stream, buffer, room)?
        } else {
            Got::of(retry(|| stream.read(&mut buffer[..room]))?, room)
        };
        self.read_bytes += got.bytes as u64;
        Ok(got)
    }

    /// Takes the handshake of a connection one step further.
    pub(crate) fn shake(&mut self, slot: Slot, buffer: &mut [u8]) -> io::Result<Shaken> {
        let stream = self.streams[slot as usize].as_mut().ok_or(io::ErrorKind::NotConnected)?;
        self.layers.shake(slot, stream, buffer)
    }

    /// Whether the connection has a handshake before it.
    pub(crate) fn is_shaking(&self, slot: Slot) -> bool {
        self.layers.is_shaking(slot)
    }

    /// Whether the connection's handshake has not begun.
    pub(crate) fn is_waiting(&self, slot: Slot) -> bool {
        self.layers.is_waiting(slot)
    }

    /// Whether its handshake waits until the socket takes bytes.
    pub(crate) fn wants_to_write(&self, slot: Slot) -> bool {
        self.layers.wants_to_write(slot)
    }

    /// The number of handshakes that have begun and are not finished.
    pub(crate) fn half_open(&self) -> usize {
        self.layers.half_open()
    }

    /// Lets the socket take bytes up to the size of its send buffer. The poll tells when it takes some.
    pub(crate) fn take_all(&mut self, slot: Slot) {
        #[cfg(target_os = "linux")]
        if let Some(stream) = &self.streams[slot as usize] {
            // It fails for a unix socket, which has no such limit.
            let _ = SockRef::from(stream).set_tcp_notsent_lowat(u32::MAX);
        }
    }

    /// Tells the peer that nothing more will come.
    pub(crate) fn shut(&mut self, slot: Slot) {
        if let Some(stream) = &mut self.streams[slot as usize] {
            self.layers.say_close(slot, stream);
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
        let written = match slices {
            _ if self.layers.has(slot) => self.layers.write(slot, stream, slices)?,
            [one] => Written::of(retry(|| stream.write(one)), one.len())?,
            _ => Written::of(retry(|| stream.write_vectored(slices)), slices.iter().map(|slice| slice.len()).sum())?,
        };
        self.written_bytes += written.bytes as u64;
        Ok(written)
    }

    fn kept_bytes(&self) -> usize {
        self.layers.kept_bytes()
    }

    fn kept_by(&self, slot: Slot) -> usize {
        self.layers.kept_by(slot)
    }

    fn counts(&self) -> SocketCounts {
        SocketCounts { read_bytes: self.read_bytes, written_bytes: self.written_bytes, ..self.layers.counts() }
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
