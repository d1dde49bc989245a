//! TLS below a core's sockets: handshakes, and one record layer for each established connection.
//!
//! A connection that has sent nothing has no state. One that is set up has the handshake of rustls. An established one has
//! keys and sequence numbers, and nothing else: plaintext stays in the core's arena, and records are sealed for a write and
//! forgotten.

use std::{
    fmt,
    io::{self, ErrorKind, IoSlice, Read, Write},
    mem,
};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use mio::net::TcpStream;
use smallvec::SmallVec;

use super::retry;
use crate::{
    config::memory::SEALED_BYTES,
    engine::{
        outbox::{SocketCounts, Written},
        slot::Slot,
        turn::{Got, Shaken},
    },
    tls::{Acceptor, Failure, Handshake, RECORD_BYTES_MAX, RecordLayer},
};

/// Bytes that one step of a handshake reads. A client's whole flight fits, unless its certificates are huge.
const HANDSHAKE_READ_BYTES: usize = 16 * 1024;
/// Reads of one step. The next step reads the rest.
const HANDSHAKE_READS: usize = 4;

/// The TLS of a core's connections, by slot.
#[derive(Default)]
pub(crate) struct TlsLayers {
    /// Absent if the server does not listen with TLS.
    acceptor: Option<Acceptor>,
    by_slot: Vec<Layer>,
    /// The received parts of unfinished records, and their bytes together.
    rests: HashMap<Slot, Box<[u8]>, RandomState>,
    rests_bytes: usize,
    /// Ciphertext of the write that is being made.
    sealed: Vec<u8>,
    /// Connections in [`Layer::Handshake`].
    half_open: usize,
    counts: SocketCounts,
}

#[derive(Default)]
enum Layer {
    /// The connection does not use TLS.
    #[default]
    Plain,
    /// Nothing has been read yet.
    Waiting,
    Handshake(Box<Handshake>),
    /// The connection is established.
    Open(RecordLayer),
}

/// Without keys.
impl fmt::Debug for TlsLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsLayers").field("half_open", &self.half_open).finish_non_exhaustive()
    }
}

impl TlsLayers {
    /// For connections with TLS the acceptor must be there.
    pub(crate) fn new(acceptor: Option<Acceptor>) -> Self {
        Self { acceptor, ..Self::default() }
    }

    /// Notes that a new connection with TLS has this slot.
    pub(super) fn insert(&mut self, slot: Slot) {
        let slot = slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize_with(slot + 1, || Layer::Plain);
        }
        self.by_slot[slot] = Layer::Waiting;
    }

    /// Frees the state of a connection that ends. Tells the peer, unless the connection `is_cut`: then the peer must not
    /// take what it has for the whole.
    pub(super) fn remove(&mut self, slot: Slot, stream: &mut TcpStream, is_cut: bool) {
        if !is_cut {
            self.say_close(slot, stream);
        }
        if let Some(Layer::Handshake(_)) = self.by_slot.get_mut(slot as usize).map(mem::take) {
            self.half_open -= 1;
        }
        self.take_rest(slot);
    }

    /// Whether bytes of this connection go through TLS.
    #[inline]
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.by_slot.get(slot as usize).is_some_and(|layer| !matches!(layer, Layer::Plain))
    }

    /// Whether the connection has a handshake before it.
    #[inline]
    pub(super) fn is_shaking(&self, slot: Slot) -> bool {
        let layer = self.by_slot.get(slot as usize);
        layer.is_some_and(|layer| matches!(layer, Layer::Waiting | Layer::Handshake(_)))
    }

    /// Whether the handshake of a connection has not begun.
    pub(super) fn is_waiting(&self, slot: Slot) -> bool {
        matches!(self.by_slot.get(slot as usize), Some(Layer::Waiting))
    }

    /// Whether a handshake has bytes that the socket did not take.
    pub(super) fn wants_to_write(&self, slot: Slot) -> bool {
        matches!(self.by_slot.get(slot as usize), Some(Layer::Handshake(handshake)) if !handshake.output().is_empty())
    }

    /// The number of handshakes that have begun and are not finished.
    pub(super) fn half_open(&self) -> usize {
        self.half_open
    }

    /// The memory of unfinished records, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.rests_bytes
    }

    pub(super) fn counts(&self) -> SocketCounts {
        self.counts
    }

    /// A connection's part of it.
    pub(super) fn kept_by(&self, slot: Slot) -> usize {
        if self.rests.is_empty() { 0 } else { self.rests.get(&slot).map_or(0, |rest| rest.len()) }
    }

    fn take_rest(&mut self, slot: Slot) -> Option<Box<[u8]>> {
        if self.rests.is_empty() {
            return None;
        }
        let rest = self.rests.remove(&slot);
        self.rests_bytes -= rest.as_ref().map_or(0, |rest| rest.len());
        rest
    }

    fn keep_rest(&mut self, slot: Slot, rest: &[u8]) {
        if !rest.is_empty() {
            self.rests_bytes += rest.len();
            self.rests.insert(slot, rest.into());
        }
    }

    /// Takes a handshake further, as far as the bytes that have come allow.
    ///
    /// # Errors
    /// The connection is lost. The peer was told why, if it is still there.
    pub(super) fn shake(&mut self, slot: Slot, stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Shaken> {
        if self.is_waiting(slot) {
            let Some(acceptor) = &self.acceptor else { return Err(ErrorKind::NotConnected.into()) };
            let handshake = Box::new(Handshake::new(&acceptor.config()));
            self.by_slot[slot as usize] = Layer::Handshake(handshake);
            self.half_open += 1;
        }
        let Some(Layer::Handshake(handshake)) = self.by_slot.get_mut(slot as usize) else {
            return Ok(Shaken::Done);
        };
        let shaken = step(handshake, stream, buffer)?;
        if shaken == Shaken::Done {
            self.establish(slot)?;
        }
        Ok(shaken)
    }

    /// Exchanges a finished handshake for the keys that it has agreed on.
    fn establish(&mut self, slot: Slot) -> io::Result<()> {
        let Layer::Handshake(handshake) = mem::take(&mut self.by_slot[slot as usize]) else {
            unreachable!("a handshake has just finished")
        };
        self.half_open -= 1;
        let Some(acceptor) = &self.acceptor else { return Err(ErrorKind::NotConnected.into()) };
        let (records, rest) = handshake.finish(acceptor.records()).map_err(broken)?;
        self.keep_rest(slot, &rest);
        self.by_slot[slot as usize] = Layer::Open(records);
        Ok(())
    }

    /// Reads once, and opens the records that are whole. An unfinished one is kept. `room` may be less than a record. There
    /// may be no plaintext in the records.
    ///
    /// # Errors
    /// `WouldBlock` if the handshake is not done; any other error means that the connection is lost.
    pub(super) fn read(
        &mut self,
        slot: Slot,
        stream: &mut TcpStream,
        buffer: &mut [u8],
        room: usize,
    ) -> io::Result<Got> {
        let rest = self.take_rest(slot).unwrap_or_default();
        let Some(Layer::Open(records)) = self.by_slot.get_mut(slot as usize) else {
            return Err(ErrorKind::WouldBlock.into());
        };
        buffer[..rest.len()].copy_from_slice(&rest);
        let end = room.max(RECORD_BYTES_MAX).max(rest.len()).min(buffer.len());
        let wanted = &mut buffer[rest.len()..end];
        let (read, is_end) = match retry(|| stream.read(wanted)) {
            Ok(read) => (read, read == 0 && !wanted.is_empty()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => (0, false),
            Err(error) => return Err(error),
        };
        let (may_have_more, len) = (read == wanted.len(), rest.len() + read);
        let opened = match records.open(&mut buffer[..len]) {
            Ok(opened) => opened,
            Err(failure) => {
                self.counts.tls_faults += 1;
                return Err(tell(&failure, stream));
            }
        };
        self.counts.tls_key_updates += u64::from(opened.key_updates);
        if records.has_output() {
            self.write(slot, stream, &[])?;
        }
        self.keep_rest(slot, &buffer[opened.used..len]);
        let is_end = opened.plaintext == 0 && (is_end || opened.is_closed);
        Ok(Got { bytes: opened.plaintext, may_have_more: may_have_more || opened.is_closed, is_end })
    }

    /// Seals plaintext and writes it, until the socket is full. Without plaintext, it writes what the record layer itself
    /// has to say.
    ///
    /// # Errors
    /// The connection is lost, or is not established.
    pub(super) fn write(&mut self, slot: Slot, stream: &mut TcpStream, slices: &[IoSlice<'_>]) -> io::Result<Written> {
        let Some(Layer::Open(records)) = self.by_slot.get_mut(slot as usize) else {
            return Err(ErrorKind::NotConnected.into());
        };
        let mut slices: SmallVec<[IoSlice<'_>; 64]> = slices.into();
        let mut slices = &mut slices[..];
        let mut written = Written::default();
        loop {
            self.sealed.clear();
            if let Err(failure) = records.seal(slices, &mut self.sealed, SEALED_BYTES) {
                self.counts.tls_faults += 1;
                return Err(tell(&failure, stream));
            }
            if self.sealed.is_empty() {
                return Ok(written);
            }
            let taken = match retry(|| stream.write(&self.sealed)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                result => result?,
            };
            let sent = records.sent(&self.sealed, taken);
            written.bytes += sent.plaintext;
            if taken < self.sealed.len() {
                return Ok(Written { is_blocked: true, begun: sent.open, ..written });
            }
            IoSlice::advance_slices(&mut slices, sent.plaintext);
            if slices.is_empty() && !records.has_output() {
                return Ok(written);
            }
        }
    }

    /// Tells the peer that nothing more comes (RFC 8446 §6.1), if the socket takes it.
    pub(super) fn say_close(&mut self, slot: Slot, stream: &mut TcpStream) {
        if let Some(Layer::Open(records)) = self.by_slot.get_mut(slot as usize) {
            self.sealed.clear();
            records.close_notify(&mut self.sealed);
            // If the socket is full or broken, the peer sees the end of the connection without it.
            let _ = stream.write(&self.sealed);
        }
    }
}

/// Writes what a handshake has to send, and reads what it needs next.
fn step(handshake: &mut Handshake, stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Shaken> {
    let room = buffer.len().min(HANDSHAKE_READ_BYTES);
    for _ in 0..HANDSHAKE_READS {
        if !send(handshake, stream)? {
            return Ok(Shaken::Waits);
        }
        if handshake.is_done() {
            return Ok(Shaken::Done);
        }
        let len = match retry(|| stream.read(&mut buffer[..room])) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Shaken::Waits),
            Err(error) => return Err(error),
        };
        if let Err(failure) = handshake.receive(&buffer[..len]) {
            let _ = send(handshake, stream); // the alert
            return Err(broken(failure));
        }
    }
    let is_done = send(handshake, stream)? && handshake.is_done();
    Ok(if is_done { Shaken::Done } else { Shaken::HasMore })
}

/// Writes a handshake's bytes. Returns false if the socket is full.
fn send(handshake: &mut Handshake, stream: &mut TcpStream) -> io::Result<bool> {
    while !handshake.output().is_empty() {
        match retry(|| stream.write(handshake.output())) {
            Ok(len) => handshake.sent(len),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Sends a failure's alert, if the socket takes it, and gives the error that ends the connection.
fn tell(failure: &Failure, stream: &mut TcpStream) -> io::Error {
    log::debug!("a TLS connection has failed: {failure}");
    let _ = stream.write(failure.alert());
    io::Error::new(ErrorKind::InvalidData, failure.to_string())
}

fn broken(failure: Failure) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, failure.to_string())
}
