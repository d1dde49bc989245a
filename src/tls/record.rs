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

use std::{io::IoSlice, mem};

use super::{
    aead::{Content, HEADER_BYTES, Schedule, Suite, TAG_BYTES, Version},
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

/// Records that are sealed with one key before this server changes it.
const UPDATE_AFTER_RECORDS: u64 = 1 << 23;

/// The body of a KeyUpdate that does not ask the peer for one.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// The most records in a row that bring no data: empty ones, and warnings.
const FRUITLESS_RECORDS_MAX: u8 = 32;

/// What a peer's key update costs it, and the most that it can have saved: 30 updates. A record with data earns 1. An update
/// costs this server as much as 5 records.
const KEY_UPDATE_COST: u8 = 8;
const CREDIT_MAX: u8 = 240;

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
    is_read_closed: bool,
    has_failed: bool,
    fruitless: u8,
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
        let state = State { credit: CREDIT_MAX, ..State::default() };
        Keys::new(suite, read, write, state).map(Self)
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// Opens all whole records at the start of `buffer` in place, and moves their plaintext to its front.
    ///
    /// # Errors
    /// If a record is wrong. The connection has failed then: [`Failure::alert`] is the last thing for the socket.
    pub(crate) fn open(&mut self, buffer: &mut [u8]) -> Result<Opened, Failure> {
        let mut opened = Opened::default();
        let mut schedule = None;
        if self.state().has_failed {
            return Err(Failure::new(Cause::Misuse, Vec::new()));
        }
        while !self.state().is_read_closed
            && let Some((header, end)) = self.whole_record(&buffer[opened.used..])?
        {
            let payload = opened.used + HEADER_BYTES - opened.plaintext;
            let bytes = &mut buffer[opened.plaintext..opened.used + end];
            opened.used += end;
            let key = schedule.get_or_insert_with(|| self.0.schedule(Direction::Read));
            let Some(len) = key.open(self.0.sequence(Direction::Read), header, bytes, payload) else {
                return Err(self.fail(Cause::BadTag, Alert::BadRecordMac));
            };
            self.0.count(Direction::Read);
            match self.take(header, &bytes[..len])? {
                Taken::Data(len) => opened.plaintext += len,
                Taken::KeyUpdate => {
                    opened.key_updates += 1;
                    schedule = None;
                }
                Taken::Nothing => {}
            }
        }
        if self.state().is_read_closed {
            (opened.used, opened.is_closed) = (buffer.len(), true); // RFC 8446 §6.1: what follows is ignored
        }
        Ok(opened)
    }

    /// The header of the record at the start of `bytes` and the record's length, if it is complete. A header that cannot
    /// be right fails before its payload has come.
    fn whole_record(&mut self, bytes: &[u8]) -> Result<Option<([u8; HEADER_BYTES], usize)>, Failure> {
        let Some(&header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [kind, major, minor, high, low] = header;
        let is_possible = match self.0.suite().version {
            // RFC 8446 §5.1 wants the version ignored. The tag covers it.
            Version::Tls13 => Content(kind) == Content::DATA,
            Version::Tls12 => {
                (Content::CHANGE_CIPHER_SPEC.0..=Content::DATA.0).contains(&kind) && (major, minor) == (3, 3)
            }
        };
        if !is_possible {
            return Err(self.fail(Cause::Unexpected, Alert::UnexpectedMessage));
        }
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len > PAYLOAD_BYTES_MAX {
            return Err(self.fail(Cause::TooLong, Alert::RecordOverflow));
        }
        let end = HEADER_BYTES + len;
        Ok((bytes.len() >= end).then_some((header, end)))
    }

    /// Takes the content of one record.
    fn take(&mut self, header: [u8; HEADER_BYTES], content: &[u8]) -> Result<Taken, Failure> {
        let (kind, plaintext) = match self.0.suite().version {
            Version::Tls12 => (Content(header[0]), content),
            Version::Tls13 => match content.iter().rposition(|byte| *byte != 0) {
                Some(end) => (Content(content[end]), &content[..end]),
                None => return Err(self.fail(Cause::Unexpected, Alert::UnexpectedMessage)),
            },
        };
        // Padding counts, too: RFC 8446 §5.4.
        let content_max = PLAINTEXT_BYTES_MAX + usize::from(self.0.suite().version == Version::Tls13);
        if content.len() > content_max {
            return Err(self.fail(Cause::TooLong, Alert::RecordOverflow));
        }
        match kind {
            Content::DATA if !plaintext.is_empty() => {
                let state = self.state_mut();
                state.fruitless = 0;
                state.credit = (state.credit + 1).min(CREDIT_MAX);
                Ok(Taken::Data(plaintext.len()))
            }
            Content::DATA => self.take_fruitless(),
            Content::ALERT => self.take_alert(plaintext),
            Content::HANDSHAKE => self.take_handshake(plaintext),
            _ => Err(self.fail(Cause::Unexpected, Alert::UnexpectedMessage)),
        }
    }

    fn take_fruitless(&mut self) -> Result<Taken, Failure> {
        self.state_mut().fruitless += 1;
        if self.state().fruitless > FRUITLESS_RECORDS_MAX {
            return Err(self.fail(Cause::Fruitless, Alert::UnexpectedMessage));
        }
        Ok(Taken::Nothing)
    }

    fn take_alert(&mut self, alert: &[u8]) -> Result<Taken, Failure> {
        const WARNING: u8 = 1;
        const USER_CANCELED: u8 = 90;
        let is_tls12 = self.0.suite().version == Version::Tls12;
        match alert {
            // TLS 1.3 ignores the level of an alert: RFC 8446 §6.
            [WARNING, 0] => self.take_close(),
            [_, 0] if !is_tls12 => self.take_close(),
            [WARNING, _] if is_tls12 => self.take_fruitless(),
            [_, USER_CANCELED] if !is_tls12 => self.take_fruitless(),
            [_, _] => {
                let state = self.state_mut();
                (state.has_failed, state.is_write_closed) = (true, true);
                Err(Failure::new(Cause::PeerAlert, Vec::new()))
            }
            _ => Err(self.fail(Cause::Unexpected, Alert::DecodeError)),
        }
    }

    fn take_close(&mut self) -> Result<Taken, Failure> {
        self.state_mut().is_read_closed = true;
        Ok(Taken::Nothing)
    }

    /// The only handshake message that a client may send now is a KeyUpdate. It must fill its record, because the next
    /// one has another key (RFC 8446 §5.1).
    fn take_handshake(&mut self, message: &[u8]) -> Result<Taken, Failure> {
        if self.0.suite().version == Version::Tls12 {
            return Err(self.fail(Cause::Renegotiation, Alert::NoRenegotiation));
        }
        let is_requested = match message {
            [24, 0, 0, 1, 0] => false,
            [24, 0, 0, 1, 1] => true,
            [24, 0, 0, 1, _] => return Err(self.fail(Cause::Unexpected, Alert::IllegalParameter)),
            _ => return Err(self.fail(Cause::Unexpected, Alert::UnexpectedMessage)),
        };
        let state = self.state_mut();
        let Some(credit) = state.credit.checked_sub(KEY_UPDATE_COST) else {
            return Err(self.fail(Cause::KeyUpdates, Alert::UnexpectedMessage));
        };
        state.credit = credit;
        state.is_update_due |= is_requested; // one answer is enough for several requests: RFC 8446 §4.6.3
        self.0.update(Direction::Read);
        Ok(Taken::KeyUpdate)
    }

    /// Seals plaintext into `out`, which must be empty: records of at most 16 KiB, together at most `out_max` bytes (of
    /// which [`OUT_BYTES_MIN`] are the least). It may seal less than all: after a key update, and when `out` is full. Then
    /// `out` is written, [`Records::sent`] told, and the rest given again.
    ///
    /// If a record is open, its plaintext must stand at the start of `slices`, and `out` starts with the bytes of this
    /// record that the socket does not have. They are the only ones that may exceed `out_max`.
    ///
    /// # Errors
    /// If the open record's plaintext has changed, if a TLS 1.2 key has sealed as many records as it may, or if
    /// [`Records::sent`] was not called between. The connection has failed then.
    pub(crate) fn seal(&mut self, slices: &[IoSlice<'_>], out: &mut Vec<u8>, out_max: usize) -> Result<(), Failure> {
        let State { open_sent, is_sealed, is_write_closed, .. } = *self.state();
        if is_sealed || is_write_closed || !out.is_empty() {
            return Err(self.fail(Cause::Misuse, Alert::InternalError));
        }
        let mut plaintext = Gather::new(slices);
        if plaintext.len == 0 && !self.has_output() && open_sent == 0 {
            return Ok(());
        }
        let key = self.0.schedule(Direction::Write);
        let mut sequence = self.0.sequence(Direction::Write);
        if open_sent > 0 {
            self.seal_open(&key, &mut plaintext, out)?;
            sequence += 1;
        }
        let suite = self.0.suite();
        let is_worn = sequence >= UPDATE_AFTER_RECORDS && suite.version == Version::Tls13;
        let is_update_due = self.state().is_update_due || (is_worn && plaintext.len > 0);
        if self.state().is_update_open {
            self.state_mut().is_update_sealed = true;
        } else if is_update_due {
            // The records behind it have another key, which is made when the socket has all of this one.
            key.seal(sequence, Content::HANDSHAKE, KEY_UPDATE.len(), out, |out| out.extend_from_slice(&KEY_UPDATE));
            self.state_mut().is_update_sealed = true;
        } else {
            let records_max = suite.records_max().saturating_sub(sequence);
            if records_max == 0 && plaintext.len > 0 && out.is_empty() {
                return Err(self.fail(Cause::KeyWornOut, Alert::CloseNotify));
            }
            seal_data(&key, sequence, records_max, &mut plaintext, out, out_max.max(OUT_BYTES_MIN));
        }
        self.state_mut().is_sealed = !out.is_empty();
        Ok(())
    }

    /// Seals the open record again, and leaves only what the socket does not have of it.
    fn seal_open(&mut self, key: &Schedule, plaintext: &mut Gather<'_, '_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        let sequence = self.0.sequence(Direction::Write);
        let State { open_tag, open_plaintext, open_sent, is_update_open, .. } = *self.state();
        if is_update_open {
            key.seal(sequence, Content::HANDSHAKE, KEY_UPDATE.len(), out, |out| out.extend_from_slice(&KEY_UPDATE));
        } else {
            let len = usize::from(open_plaintext);
            if plaintext.len < len {
                return Err(self.fail(Cause::ChangedPlaintext, Alert::InternalError));
            }
            key.seal(sequence, Content::DATA, len, out, |out| plaintext.push(len, out));
        }
        if !out.ends_with(&open_tag) {
            out.clear();
            return Err(self.fail(Cause::ChangedPlaintext, Alert::InternalError));
        }
        out.drain(..usize::from(open_sent));
        Ok(())
    }

    /// Hears that the socket took `sent` bytes of `sealed`, which is what the last [`Records::seal`] wrote.
    pub(crate) fn sent(&mut self, sealed: &[u8], sent: usize) -> Sent {
        let suite = self.0.suite();
        let is_update_sealed = mem::take(&mut self.state_mut().is_update_sealed);
        self.state_mut().is_sealed = false;
        let (mut at, mut result) = (0, Sent::default());
        while at < sealed.len() {
            // The first record is the rest of the open one, if there is one. All others have a header.
            let earlier = usize::from(self.state().open_sent);
            let plaintext = if earlier > 0 {
                usize::from(self.state().open_plaintext)
            } else {
                usize::from(u16::from_be_bytes([sealed[at + 3], sealed[at + 4]])) - suite.overhead()
            };
            let end = at + HEADER_BYTES + plaintext + suite.overhead() - earlier;
            let is_update = is_update_sealed && end == sealed.len();
            if end > sent {
                let state = self.state_mut();
                let taken = earlier + (sent - at);
                if taken > 0 {
                    state.open_tag.copy_from_slice(&sealed[end - TAG_BYTES..end]);
                    (state.open_plaintext, state.open_sent, state.is_update_open) =
                        (plaintext as u16, taken as u16, is_update);
                    result.open = if is_update { 0 } else { plaintext };
                }
                break;
            }
            let state = self.state_mut();
            (state.open_sent, state.is_update_open) = (0, false);
            if is_update {
                state.is_update_due = false;
                self.0.update(Direction::Write);
            } else {
                self.0.count(Direction::Write);
                result.plaintext += plaintext;
            }
            at = end;
        }
        result
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

/// Seals as much as fits into `out`, in at most `records_max` records.
fn seal_data(
    key: &Schedule,
    sequence: u64,
    records_max: u64,
    plaintext: &mut Gather<'_, '_>,
    out: &mut Vec<u8>,
    out_max: usize,
) {
    for sequence in sequence..sequence + records_max {
        let room = out_max.saturating_sub(out.len() + HEADER_BYTES + key.suite().overhead());
        let len = plaintext.len.min(PLAINTEXT_BYTES_MAX).min(room);
        if len == 0 {
            break;
        }
        key.seal(sequence, Content::DATA, len, out, |out| plaintext.push(len, out));
    }
}

/// What a record was.
enum Taken {
    /// This many bytes of data.
    Data(usize),
    KeyUpdate,
    Nothing,
}

/// Copies plaintext out of slices, front to back.
struct Gather<'s, 'b> {
    slices: &'s [IoSlice<'b>],
    /// Bytes of the first slice that are taken.
    at: usize,
    /// Bytes that are left.
    len: usize,
}

impl<'s, 'b> Gather<'s, 'b> {
    fn new(slices: &'s [IoSlice<'b>]) -> Self {
        Self { slices, at: 0, len: slices.iter().map(|slice| slice.len()).sum() }
    }

    /// Appends the next `len` bytes, of at least as many that are left.
    fn push(&mut self, mut len: usize, out: &mut Vec<u8>) {
        self.len -= len;
        while len > 0 {
            let rest = &self.slices[0][self.at..];
            let taken = &rest[..len.min(rest.len())];
            out.extend_from_slice(taken);
            len -= taken.len();
            self.at += taken.len();
            if taken.len() == rest.len() {
                (self.slices, self.at) = (&self.slices[1..], 0);
            }
        }
    }
}
