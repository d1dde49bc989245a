//! The writing half: see [`Records`] for its three calls.

use std::{io::IoSlice, mem};

use super::{OUT_BYTES_MIN, PLAINTEXT_BYTES_MAX, Records, Sent, State};
use crate::tls::{
    aead::{Content, HEADER_BYTES, Schedule, TAG_BYTES, Version},
    failure::{Alert, Cause, Failure},
    keys::Direction,
};

/// Records that are sealed with one key of TLS 1.3 before this server changes it.
const UPDATE_AFTER_RECORDS: u64 = 1 << 23;

/// A KeyUpdate that does not ask the peer for one.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

impl Records {
    /// Seals plaintext into `out`, which must be empty: records of at most 16 KiB, together at most `out_max` bytes (of
    /// which [`OUT_BYTES_MIN`] are the least). It may seal less than all: after a key update, and when `out` is full. Then
    /// `out` is written, [`Records::sent`] told, and the rest given again.
    ///
    /// If a record is open, its plaintext must stand at the start of `slices`, and `out` starts with the bytes of this
    /// record that the socket does not have. They are the only ones that may exceed `out_max`.
    ///
    /// # Errors
    /// If the open record's plaintext has changed, if a TLS 1.2 key has sealed as many records as it may, or if
    /// [`Records::sent`] was not called between. The connection has failed then, and `out` is empty.
    pub(crate) fn seal(&mut self, slices: &[IoSlice<'_>], out: &mut Vec<u8>, out_max: usize) -> Result<(), Failure> {
        let State { open_sent, is_sealed, is_write_closed, .. } = *self.state();
        if is_sealed || is_write_closed || !out.is_empty() {
            out.clear();
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
                    if earlier == 0 {
                        state.open_tag.copy_from_slice(&sealed[end - TAG_BYTES..end]);
                    }
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
