//! The other end of a record layer, for tests, fuzzing and benches: two ends with the same keys.

pub(crate) use super::aead::Suite;
use super::{
    aead::{Cipher, Version},
    keys::Start,
    record::Records,
};
#[cfg(feature = "bench")]
use super::{
    aead::{Content, Schedule},
    keys::{Direction, Kept},
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
pub(super) fn end<T>(suite: Suite, is_client: bool, make: impl FnOnce(Start<'_>, Start<'_>) -> Option<T>) -> T {
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

/// The server's key with a schedule that is kept, to compare with one that is made for each write.
#[cfg(feature = "bench")]
pub(crate) struct Sealer {
    schedule: Schedule,
    sequence: u64,
}

#[cfg(feature = "bench")]
impl Sealer {
    pub(crate) fn new(suite: Suite) -> Self {
        let mut keys = end(suite, false, |read, write| Kept::new(suite, read, write, ()));
        Self { schedule: keys.schedule(Direction::Write), sequence: 0 }
    }

    /// Appends one record.
    pub(crate) fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        let push = |out: &mut Vec<u8>| out.extend_from_slice(plaintext);
        self.schedule.seal(self.sequence, Content::DATA, plaintext.len(), out, push);
        self.sequence += 1;
    }
}
