//! The two record layers that a connection may have, as `tls-records` says: ours, and the one of rustls for comparison and as
//! a fallback.

use std::io::{IoSlice, Read, Write};

use rustls::{IoState, ServerConnection};

use super::{
    aead::HEADER_BYTES,
    failure::{Cause, Failure},
    record::{OUT_BYTES_MIN, Opened, PAYLOAD_BYTES_MAX, Records, Sent},
};

/// The most plaintext that rustls seals at a time. What the socket does not take of it is kept as ciphertext.
const PLAINTEXT_BYTES_MAX: usize = 16 * 1024;

/// The most that a record is longer than its plaintext, whatever its suite.
const OVERHEAD_BYTES_MAX: usize = 32;

/// The record layer of an established connection. [`Records`] says what each function does.
pub(crate) enum RecordLayer {
    Own(Records),
    Rustls(Box<Whole>),
}

impl RecordLayer {
    /// See [`Records::open`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn open(&mut self, buffer: &mut [u8]) -> Result<Opened, Failure> {
        match self {
            Self::Own(records) => records.open(buffer),
            Self::Rustls(whole) => whole.open(buffer),
        }
    }

    /// See [`Records::seal`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn seal(&mut self, slices: &[IoSlice<'_>], out: &mut Vec<u8>, out_max: usize) -> Result<(), Failure> {
        match self {
            Self::Own(records) => records.seal(slices, out, out_max),
            Self::Rustls(whole) => whole.seal(slices, out, out_max),
        }
    }

    /// See [`Records::sent`].
    pub(crate) fn sent(&mut self, sealed: &[u8], sent: usize) -> Sent {
        match self {
            Self::Own(records) => records.sent(sealed, sent),
            Self::Rustls(whole) => whole.sent(sealed, sent),
        }
    }

    /// See [`Records::close_notify`].
    pub(crate) fn close_notify(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Own(records) => records.close_notify(out),
            Self::Rustls(whole) => whole.close_notify(out),
        }
    }

    /// See [`Records::has_output`].
    pub(crate) fn has_output(&self) -> bool {
        match self {
            Self::Own(records) => records.has_output(),
            Self::Rustls(whole) => whole.has_output(),
        }
    }
}

/// An established connection of rustls.
pub(crate) struct Whole {
    connection: ServerConnection,
    /// Ciphertext that the socket did not take. Until it has, all plaintext in it counts as open.
    left: Vec<u8>,
    /// The plaintext that was sealed and is not sent.
    plaintext: usize,
    /// The peer has sent close_notify.
    is_closed: bool,
}

impl Whole {
    pub(super) fn new(connection: ServerConnection) -> Self {
        Self { connection, left: Vec::new(), plaintext: 0, is_closed: false }
    }

    /// Gives rustls whole records only, so that their plaintext fits into their place.
    fn open(&mut self, buffer: &mut [u8]) -> Result<Opened, Failure> {
        let mut opened = Opened::default();
        if self.is_closed {
            return Ok(Opened { used: buffer.len(), is_closed: true, ..opened });
        }
        while let Some(header) = buffer[opened.used..].first_chunk::<HEADER_BYTES>() {
            let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
            if len > PAYLOAD_BYTES_MAX {
                return Err(Failure::new(Cause::TooLong, Vec::new()));
            }
            let end = opened.used + HEADER_BYTES + len;
            let Some(record) = buffer.get(opened.used..end) else { break };
            let state = self.feed(record)?;
            opened.used = end;
            let len = state.plaintext_bytes_to_read();
            let place = &mut buffer[opened.plaintext..end][..len];
            self.connection.reader().read_exact(place).map_err(|error| Failure::of_rustls(error, Vec::new()))?;
            opened.plaintext += len;
            if state.peer_has_closed() {
                (opened.used, opened.is_closed) = (buffer.len(), true);
                self.is_closed = true;
                break;
            }
        }
        Ok(opened)
    }

    fn feed(&mut self, mut record: &[u8]) -> Result<IoState, Failure> {
        loop {
            match self.connection.process_new_packets() {
                Ok(state) if record.is_empty() || state.peer_has_closed() => return Ok(state),
                Ok(_) => {}
                Err(error) => {
                    let mut alert = Vec::new();
                    if self.left.is_empty() {
                        self.take_output(&mut alert);
                    }
                    return Err(Failure::of_rustls(error, alert));
                }
            }
            self.connection.read_tls(&mut record).map_err(|error| Failure::of_rustls(error, Vec::new()))?;
        }
    }

    fn seal(&mut self, slices: &[IoSlice<'_>], out: &mut Vec<u8>, out_max: usize) -> Result<(), Failure> {
        if !self.left.is_empty() {
            out.append(&mut self.left);
            return Ok(());
        }
        // rustls makes at least one record of each piece, so it gets one piece.
        let room = out_max.clamp(OUT_BYTES_MIN, PLAINTEXT_BYTES_MAX) - OVERHEAD_BYTES_MAX;
        let mut piece = Vec::new();
        for slice in slices {
            piece.extend_from_slice(&slice[..slice.len().min(room - piece.len())]);
        }
        self.connection.writer().write_all(&piece).map_err(|error| Failure::of_rustls(error, Vec::new()))?;
        self.plaintext = piece.len();
        self.take_output(out);
        Ok(())
    }

    fn take_output(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // Writing to a `Vec` cannot fail.
            let _ = self.connection.write_tls(out);
        }
    }

    fn sent(&mut self, sealed: &[u8], sent: usize) -> Sent {
        if sent < sealed.len() {
            self.left = sealed[sent..].to_vec();
            return Sent { plaintext: 0, open: self.plaintext };
        }
        Sent { plaintext: std::mem::take(&mut self.plaintext), open: 0 }
    }

    fn close_notify(&mut self, out: &mut Vec<u8>) {
        if self.left.is_empty() {
            self.connection.send_close_notify();
            self.take_output(out);
        }
    }

    /// Not while plaintext is open: the next write of the connection takes it with it.
    fn has_output(&self) -> bool {
        self.plaintext == 0 && (self.connection.wants_write() || !self.left.is_empty())
    }
}
