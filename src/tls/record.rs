//! The record layer of an established connection (RFC 8446 §5, RFC 5246 §6): bytes in, bytes out, no socket.
//!
//! A connection keeps raw keys and record numbers, and no ciphertext. One write is three calls:
//!
//! 1. [`Records::seal`] makes records of the plaintext, numbered from the next free number on.
//! 2. The caller writes them to the socket, once.
//! 3. [`Records::sent`] hears how many bytes the socket took.
//!
//! Records that the socket took none of are forgotten: nobody has seen them, so their numbers are free. A record that
//! it took in part is *open*: the next `seal` makes the same record again, from the same plaintext, and goes on where
//! the socket stopped. Its tag must then be the same. If it is not, its plaintext was changed, and a nonce would have
//! been used for two texts; the connection ends instead.

mod opening;
mod sealing;

use super::{
    aead::{Content, HEADER_BYTES, Suite, TAG_BYTES},
    failure::{Alert, Cause, Failure},
    keys::{Direction, Keys, Start},
};

/// The most plaintext of one record (RFC 8446 §5.1).
pub(crate) const PLAINTEXT_BYTES_MAX: usize = 1 << 14;

/// The most bytes of a record's payload that are accepted. TLS 1.2 allows more for ciphers that this server has not.
const PAYLOAD_BYTES_MAX: usize = PLAINTEXT_BYTES_MAX + 256;

/// The most bytes of a whole record: what a caller must be able to put aside of an unfinished one.
pub(crate) const RECORD_BYTES_MAX: usize = HEADER_BYTES + PAYLOAD_BYTES_MAX;

/// The smallest `out_max` of [`Records::seal`] that makes progress.
pub(crate) const OUT_BYTES_MIN: usize = 64;

/// The record layer of one connection: a pointer to 168 bytes with AES-128, at most to 232. Keys are zeroed when it is
/// dropped.
pub(crate) struct Records(Box<Keys<State>>);

/// What a connection keeps beside its keys.
#[derive(Default)]
struct State {
    /// The open record: its tag, the length of its plaintext, and the bytes that the socket has of it; 0 if there is none.
    open_tag: [u8; TAG_BYTES],
    open_plaintext: u16,
    open_sent: u16,
    /// The open record is a KeyUpdate.
    is_update_open: bool,
    /// A KeyUpdate must precede the next record of data.
    is_update_due: bool,
    /// `seal` wrote records, and `sent` has not been called.
    is_sealed: bool,
    /// The last of these records is a KeyUpdate.
    is_update_sealed: bool,
    /// A close_notify was sealed, or the connection has failed: no record may follow.
    is_write_closed: bool,
    /// The peer's close_notify has come.
    is_read_closed: bool,
    has_failed: bool,
    /// Records without data in a row, see `opening`.
    fruitless: u8,
    /// What the peer's key updates may cost.
    credit: u8,
}

/// What [`Records::open`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Bytes of plaintext, at the front of the buffer.
    pub(crate) plaintext: usize,
    /// Bytes of the buffer that are done with. Behind them is an unfinished record.
    pub(crate) used: usize,
    /// The peer has sent close_notify: nothing more will come.
    pub(crate) is_closed: bool,
    /// Key updates among the records: each costs as much as five records.
    pub(crate) key_updates: u32,
}

/// What [`Records::sent`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Bytes of plaintext that are sent for good.
    pub(crate) plaintext: usize,
    /// Bytes of plaintext behind them that make up the open record: the next `seal` must get the same bytes first.
    pub(crate) open: usize,
}

impl Records {
    /// `None` if a key or secret has the wrong length.
    pub(super) fn new(suite: Suite, read: Start<'_>, write: Start<'_>) -> Option<Self> {
        let state = State { credit: opening::CREDIT_MAX, ..State::default() };
        Keys::new(suite, read, write, state).map(Self)
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// Appends a close_notify alert, after which nothing can be sealed. If a record is open, or the connection has failed,
    /// it appends nothing: the peer finds out by the end of the stream. [`Records::sent`] need not hear of it.
    pub(crate) fn close_notify(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.last_alert(Alert::CloseNotify));
    }

    /// True if the next [`Records::seal`] has something to write without plaintext: an answer that the peer asked for.
    pub(crate) fn has_output(&self) -> bool {
        let state = self.state();
        !state.is_write_closed && (state.is_update_open || (state.is_update_due && state.open_sent == 0))
    }

    /// Goes to a record number that a test would take days to reach.
    #[cfg(test)]
    pub(super) fn skip_writing_to(&mut self, sequence: u64) {
        self.0.set_sequence(Direction::Write, sequence);
    }

    /// The same, for the peer; a bench goes back to read a record again.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn skip_reading_to(&mut self, sequence: u64) {
        self.0.set_sequence(Direction::Read, sequence);
    }

    /// Ends the connection by a fault.
    fn fail(&mut self, cause: Cause, alert: Alert) -> Failure {
        let alert = self.last_alert(alert);
        self.state_mut().has_failed = true;
        Failure::new(cause, alert)
    }

    /// A record with this alert, if the socket is between two records. No record follows it.
    fn last_alert(&mut self, alert: Alert) -> Vec<u8> {
        let mut out = Vec::new();
        let State { open_sent, is_sealed, is_write_closed, has_failed, .. } = *self.state();
        if open_sent == 0 && !is_sealed && !is_write_closed && !has_failed {
            let key = self.0.schedule(Direction::Write);
            let sequence = self.0.sequence(Direction::Write);
            key.seal(sequence, Content::ALERT, 2, &mut out, |out| out.extend_from_slice(&alert.bytes()));
            self.0.count(Direction::Write);
        }
        self.state_mut().is_write_closed = true;
        out
    }

    fn state(&self) -> &State {
        &self.0.rest
    }

    fn state_mut(&mut self) -> &mut State {
        &mut self.0.rest
    }
}
