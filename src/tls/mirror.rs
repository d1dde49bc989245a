//! The other end of a record layer, for tests, fuzzing and benches: two ends with the same keys, and one that forges
//! records which no honest peer sends.

#[cfg(feature = "bench")]
use super::aead::Schedule;
pub(crate) use super::aead::Suite;
use super::{
    aead::{Cipher, Content, HEADER_BYTES, Version},
    keys::{Direction, Keys, Start},
    record::Records,
};

/// All suites.
pub(crate) const SUITES: [Suite; 6] = [
    Suite { version: Version::Tls13, cipher: Cipher::Aes128Gcm },
    Suite { version: Version::Tls13, cipher: Cipher::Aes256Gcm },
    Suite { version: Version::Tls13, cipher: Cipher::ChaCha20Poly1305 },
    Suite { version: Version::Tls12, cipher: Cipher::Aes128Gcm },
    Suite { version: Version::Tls12, cipher: Cipher::Aes256Gcm },
    Suite { version: Version::Tls12, cipher: Cipher::ChaCha20Poly1305 },
];

/// Makes an end of a connection from keys that mean nothing.
fn end<T>(suite: Suite, is_client: bool, make: impl FnOnce(Start<'_>, Start<'_>) -> Option<T>) -> T {
    let (of_client, of_server) = ([1; 48], [2; 48]);
    let (read, write) = if is_client { (&of_server, &of_client) } else { (&of_client, &of_server) };
    make(start(suite, read), start(suite, write)).expect("keys of the suite's lengths")
}

fn start(suite: Suite, bytes: &[u8; 48]) -> Start<'_> {
    Start { key: &bytes[..suite.key_len()], iv: [bytes[0]; 12], secret: &bytes[..suite.secret_len()], sequence: 0 }
}

/// A client's and a server's end of one connection.
pub(crate) fn pair(suite: Suite) -> (Records, Records) {
    let records = |is_client| end(suite, is_client, |read, write| Records::new(suite, read, write));
    (records(true), records(false))
}

/// A client that seals anything, for the server of [`pair`].
pub(crate) struct Forger(Box<Keys<()>>);

impl Forger {
    pub(crate) fn new(suite: Suite) -> Self {
        Self(end(suite, true, |read, write| Keys::new(suite, read, write, ())))
    }

    /// A record with this content, type and padding, which only TLS 1.3 has.
    pub(crate) fn seal(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let (mut record, key) = (Vec::new(), self.0.schedule(Direction::Write));
        let sequence = self.0.sequence(Direction::Write);
        if padding > 0 && self.0.suite().version == Version::Tls13 {
            // The last byte of the padding stands where the type would.
            key.seal(sequence, Content(0), content.len() + padding, &mut record, |out| {
                out.extend_from_slice(content);
                out.push(kind);
                out.resize(out.len() + padding - 1, 0);
            });
        } else {
            key.seal(sequence, Content(kind), content.len(), &mut record, |out| out.extend_from_slice(content));
        }
        self.0.count(Direction::Write);
        record
    }

    /// Goes on with the next key, as after a KeyUpdate.
    pub(crate) fn update(&mut self) {
        self.0.update(Direction::Write);
    }

    /// The type and content of a record of the server's.
    pub(crate) fn open(&mut self, record: &[u8]) -> Option<(u8, Vec<u8>)> {
        let header = *record.first_chunk::<HEADER_BYTES>()?;
        let (mut bytes, key) = (record.to_vec(), self.0.schedule(Direction::Read));
        let len = key.open(self.0.sequence(Direction::Read), header, &mut bytes, HEADER_BYTES)?;
        self.0.count(Direction::Read);
        bytes.truncate(len);
        let kind = if self.0.suite().version == Version::Tls13 { bytes.pop()? } else { header[0] };
        Some((kind, bytes))
    }
}

/// The server's key with a schedule that is kept, to compare with one that is made for each write.
#[cfg(feature = "bench")]
pub(crate) struct Kept {
    schedule: Schedule,
    sequence: u64,
}

#[cfg(feature = "bench")]
impl Kept {
    pub(crate) fn new(suite: Suite) -> Self {
        let mut keys = end(suite, false, |read, write| Keys::new(suite, read, write, ()));
        Self { schedule: keys.schedule(Direction::Write), sequence: 0 }
    }

    /// Appends one record.
    pub(crate) fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        let push = |out: &mut Vec<u8>| out.extend_from_slice(plaintext);
        self.schedule.seal(self.sequence, Content::DATA, plaintext.len(), out, push);
        self.sequence += 1;
    }
}
