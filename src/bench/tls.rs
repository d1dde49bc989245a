//! TLS records, sealed and opened with keys that mean nothing.

use std::io::IoSlice;

use crate::tls::{
    mirror::{self, Kept, SUITES},
    record::Records,
};

/// The names of all suites; a suite is its place in here.
pub const SUITE_NAMES: [&str; 6] = [
    "1.3 AES-128-GCM",
    "1.3 AES-256-GCM",
    "1.3 ChaCha20-Poly1305",
    "1.2 AES-128-GCM",
    "1.2 AES-256-GCM",
    "1.2 ChaCha20-Poly1305",
];

/// Both ends of a connection.
pub struct TlsRecords {
    client: Records,
    server: Records,
    /// The server's key with a schedule that is kept. lhttpd makes it for each write.
    kept: Kept,
    /// Ciphertext that the server has sealed, and that the client reads.
    sealed: Vec<u8>,
    buffer: Vec<u8>,
}

impl TlsRecords {
    /// A connection with this suite.
    pub fn new(suite: usize) -> Self {
        let suite = SUITES[suite];
        let (client, server) = mirror::pair(suite);
        Self { client, server, kept: Kept::new(suite), sealed: Vec::new(), buffer: Vec::new() }
    }

    /// Seals records of this plaintext and sends them, and returns their bytes.
    ///
    /// # Panics
    /// If there are more than 64 KiB of them.
    pub fn seal(&mut self, plaintext: &[u8]) -> usize {
        self.sealed.clear();
        self.server.seal(&[IoSlice::new(plaintext)], &mut self.sealed, 64 * 1024).expect("all before was sent");
        let sent = self.server.sent(&self.sealed, self.sealed.len());
        assert_eq!(sent.plaintext, plaintext.len());
        self.sealed.len()
    }

    /// Seals one record with a key whose schedule is kept, and returns its bytes.
    pub fn seal_kept(&mut self, plaintext: &[u8]) -> usize {
        self.buffer.clear();
        self.kept.seal(plaintext, &mut self.buffer);
        self.buffer.len()
    }

    /// Opens a copy of what the first [`TlsRecords::seal`] has sealed, and returns the bytes of its plaintext.
    ///
    /// # Panics
    /// If something else was sealed since, or nothing.
    pub fn open(&mut self) -> usize {
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.sealed);
        self.client.skip_reading_to(0);
        let opened = self.client.open(&mut self.buffer).expect("what was sealed");
        assert_eq!(opened.used, self.sealed.len());
        opened.plaintext
    }
}
