//! TLS 1.3 records (RFC 8446 §5) with the bare keys of an established connection. A read opens all whole records in
//! place, without an allocation, so that this program does not become the slower side of the measurement.

use std::io::{self, ErrorKind};

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};

/// Type, version and length.
pub(super) const HEADER_BYTES: usize = 5;
/// The most plaintext of a record.
const PLAINTEXT_BYTES_MAX: usize = 16 * 1024;
/// The most bytes behind a record's header: plaintext, its type, padding, tag.
const BODY_BYTES_MAX: usize = PLAINTEXT_BYTES_MAX + 256;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// The types of handshake messages that a server may send at any time.
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
const CLOSE_NOTIFY: u8 = 0;

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct Records {
    incoming: Direction,
    outgoing: Direction,
}

#[derive(Debug)]
struct Direction {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    /// The number of the next record.
    sequence: u64,
}

/// What was at the start of a buffer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Opened {
    /// Bytes of plaintext, now at the start of the buffer.
    pub(super) plaintext: usize,
    /// Bytes of whole records. The rest of the buffer is the start of another record.
    pub(super) used: usize,
    /// The server has sent its last record.
    pub(super) is_closed: bool,
}

impl Records {
    /// Goes on where rustls stopped.
    ///
    /// # Errors
    /// The suite is not the one that this program offers.
    pub(super) fn new(secrets: ExtractedSecrets) -> io::Result<Self> {
        Ok(Self { incoming: Direction::new(secrets.rx)?, outgoing: Direction::new(secrets.tx)? })
    }

    /// Opens all whole records at the start of `buffer` in place, and moves their plaintext to its start.
    ///
    /// # Errors
    /// The server sent something else than a record of this connection, or an alert.
    pub(super) fn open(&mut self, buffer: &mut [u8]) -> io::Result<Opened> {
        let mut opened = Opened::default();
        while let Some(length) = record_bytes(&buffer[opened.used..])? {
            let at = opened.used;
            opened.used += length;
            if buffer[at] == CHANGE_CIPHER_SPEC {
                continue;
            }
            let (header, body) = buffer[at..at + length].split_at_mut(HEADER_BYTES);
            let (kind, content) = self.incoming.open(header, body)?;
            match kind {
                APPLICATION_DATA => {
                    let content = at + HEADER_BYTES..at + HEADER_BYTES + content;
                    let plaintext = content.len();
                    buffer.copy_within(content, opened.plaintext);
                    opened.plaintext += plaintext;
                }
                HANDSHAKE if body[0] == NEW_SESSION_TICKET => {}
                HANDSHAKE if body[0] == KEY_UPDATE => {
                    return Err(invalid("it changed its TLS keys, which lhttp-bench cannot follow"));
                }
                ALERT if body[1] == CLOSE_NOTIFY => {
                    opened.is_closed = true;
                    break;
                }
                ALERT => return Err(invalid(format!("it sent TLS alert {}", body[1]))),
                _ => return Err(invalid(format!("it sent a TLS record of type {kind} that starts with {}", body[0]))),
            }
        }
        Ok(opened)
    }

    /// Appends `plaintext` to `out` in records that are as large as possible.
    pub(super) fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        for part in plaintext.chunks(PLAINTEXT_BYTES_MAX) {
            self.outgoing.seal(part, out);
        }
    }
}

impl Direction {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> io::Result<Self> {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            return Err(invalid("it chose a TLS suite that was not offered"));
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).map_err(|_| invalid("a TLS key has a wrong length"))?;
        let iv = iv.as_ref().try_into().map_err(|_| invalid("a TLS iv has a wrong length"))?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence })
    }

    /// The nonce of the next record (RFC 8446 §5.3).
    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// Opens a record's body in place. Returns the type of its content and the length, which is above zero unless the
    /// type is application data.
    fn open(&mut self, header: &[u8], body: &mut [u8]) -> io::Result<(u8, usize)> {
        let nonce = self.nonce();
        let opened = self.key.open_in_place(nonce, Aad::from(header), body);
        let opened = opened.map_err(|_| invalid("it sent a TLS record that does not belong to this connection"))?;
        let Some(end) = opened.iter().rposition(|byte| *byte != 0) else {
            return Err(invalid("it sent a TLS record without a type"));
        };
        let least = match opened[end] {
            APPLICATION_DATA => 0,
            ALERT => 2,
            _ => 1,
        };
        if end < least {
            return Err(invalid("it sent a TLS record that is too short"));
        }
        Ok((opened[end], end))
    }

    fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        let body = plaintext.len() + 1 + AES_128_GCM.tag_len();
        let [high, low] = (body as u16).to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        out.reserve(HEADER_BYTES + body);
        out.extend_from_slice(&header);
        let start = out.len();
        out.extend_from_slice(plaintext);
        out.push(APPLICATION_DATA);
        let nonce = self.nonce();
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[start..]);
        out.extend_from_slice(tag.expect("a record is far shorter than AES-GCM's limit").as_ref());
    }
}

/// The length of the record at the start of `bytes` with its header; `None` if its end has not come.
pub(super) fn record_bytes(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(header) = bytes.get(..HEADER_BYTES) else { return Ok(None) };
    let body = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if body > BODY_BYTES_MAX || !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&header[0]) {
        return Err(invalid(format!("it does not speak TLS; its record starts with {header:02x?}")));
    }
    Ok((bytes.len() >= HEADER_BYTES + body).then_some(HEADER_BYTES + body))
}

pub(super) fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}
