//! The target of an outbox's bytes.

use std::io::{self, IoSlice};

use crate::engine::slot::Slot;

/// The target of an outbox's bytes.
pub(crate) trait Sink {
    /// Writes some of `slices` to the connection without blocking.
    ///
    /// # Errors
    /// The connection is lost.
    fn write(&mut self, slot: Slot, slices: &[IoSlice<'_>]) -> io::Result<Written>;

    /// The memory of input that the sockets keep because they cannot pass it on yet, in bytes.
    fn kept_bytes(&self) -> usize {
        0
    }

    /// A connection's part of it.
    fn kept_by(&self, _slot: Slot) -> usize {
        0
    }

    /// What the sockets have counted.
    fn counts(&self) -> SocketCounts {
        SocketCounts::default()
    }
}

/// Totals of a core's sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SocketCounts {
    /// Established TLS connections ended by a fault.
    pub(crate) tls_faults: u64,
    /// Key updates of TLS peers.
    pub(crate) tls_key_updates: u64,
    /// Bytes read, without those of TLS itself.
    pub(crate) read_bytes: u64,
    /// Bytes written, in the same way.
    pub(crate) written_bytes: u64,
}

/// The result of a write. A socket that encrypts may take all bytes and still be blocked, so the fields are
/// independent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// The number of bytes that the sink has taken.
    pub(crate) bytes: usize,
    /// The sink takes nothing more until it says that it is writable.
    pub(crate) is_blocked: bool,
    /// Of the bytes after those, the sink has sent a part in encrypted form. It keeps no copy, so the next write must
    /// begin with the same bytes.
    pub(crate) begun: usize,
}

impl Written {
    /// The result of a write of `len` bytes to a socket without a buffer of its own: a short write means that the
    /// socket is full.
    ///
    /// # Errors
    /// All errors except `WouldBlock`, which counts as a write of no bytes.
    pub(crate) fn of(result: io::Result<usize>, len: usize) -> io::Result<Self> {
        match result {
            Ok(bytes) => Ok(Self { bytes, is_blocked: bytes < len, begun: 0 }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(Self { bytes: 0, is_blocked: true, begun: 0 })
            }
            Err(error) => Err(error),
        }
    }
}
