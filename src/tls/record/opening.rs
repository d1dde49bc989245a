//! The reading half: records are opened where they lie.

use super::{Opened, PAYLOAD_BYTES_MAX, PLAINTEXT_BYTES_MAX, Records};
use crate::tls::{
    aead::{Content, HEADER_BYTES, Version},
    failure::{Alert, Cause, Failure},
    keys::Direction,
};

/// The most records in a row that bring no data: empty ones, and warnings.
const FRUITLESS_RECORDS_MAX: u8 = 32;

/// What a peer's key update costs it, and the most that it can have saved: 30 updates. A record with data earns 1. An
/// update costs this server as much as 5 records.
const KEY_UPDATE_COST: u8 = 8;
pub(super) const CREDIT_MAX: u8 = 240;

/// What a record was.
enum Taken {
    /// This many bytes of data.
    Data(usize),
    KeyUpdate,
    Nothing,
}

impl Records {
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
}
