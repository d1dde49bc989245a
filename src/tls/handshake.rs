//! The handshake of a connection, by rustls. This is the only file that names rustls' connections.
//!
//! rustls gets the peer's bytes one record at a time. So when the handshake is done, it has seen nothing of the data behind
//! it, and its keys go to [`Records`] at exactly this place of the stream.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, KeyLog, ProtocolVersion, ServerConfig, ServerConnection};
use zeroize::Zeroizing;

use super::{
    aead::{Cipher, HEADER_BYTES, Suite, Version},
    failure::Failure,
    keys::Start,
    record::Records,
    whole::{RecordLayer, Whole},
};
use crate::config::TlsRecords;

/// The most bytes that a peer may send before its handshake is done: far more than a ClientHello and the certificates of a
/// client need. rustls would keep messages of up to 64 KiB.
const RECEIVED_BYTES_MAX: usize = 24 * 1024;

/// A connection that is being set up.
pub(crate) struct Handshake {
    /// `None` if rustls refused even to begin.
    connection: Option<ServerConnection>,
    secrets: Arc<Secrets>,
    /// The header of the record that is coming in, and how many of its bytes are there.
    header: [u8; HEADER_BYTES],
    header_len: usize,
    /// Bytes of this record's payload that are missing.
    missing: usize,
    received: usize,
    /// Ciphertext for the socket, and the bytes of it that are sent.
    output: Vec<u8>,
    sent: usize,
    /// Bytes behind the handshake.
    rest: Vec<u8>,
}

impl Handshake {
    /// A handshake with this configuration, which must allow that secrets are extracted.
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Self {
        // A copy of the configuration (a few pointers) with a key log of its own: so the secrets that it collects cannot be
        // another connection's.
        let secrets = Arc::new(Secrets::default());
        let mut config = ServerConfig::clone(config);
        config.key_log = Arc::clone(&secrets) as Arc<dyn KeyLog>;
        Self {
            connection: ServerConnection::new(Arc::new(config)).ok(),
            secrets,
            header: [0; HEADER_BYTES],
            header_len: 0,
            missing: 0,
            received: 0,
            output: Vec::new(),
            sent: 0,
            rest: Vec::new(),
        }
    }

    /// True while it needs bytes of the peer. Read none when it does not: they are not the handshake's.
    pub(crate) fn wants_input(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| connection.is_handshaking())
    }

    /// Takes bytes of the peer, any number of them. Those behind the handshake are kept for [`Handshake::finish`].
    ///
    /// # Errors
    /// If the handshake has failed, or the peer sends more than a handshake needs. [`Handshake::output`] may hold an alert
    /// for the socket.
    pub(crate) fn receive(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() && self.wants_input() {
            let (piece, rest) = bytes.split_at(self.next_piece(bytes));
            bytes = rest;
            self.received += piece.len();
            if self.received > RECEIVED_BYTES_MAX {
                return Err(Failure::of_handshake(format_args!("more than {RECEIVED_BYTES_MAX} bytes came")));
            }
            let result = self.feed(piece);
            self.take_output();
            result?;
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    /// The length of the next bytes for rustls: of a record's header, or of its payload, but not past its end.
    fn next_piece(&mut self, bytes: &[u8]) -> usize {
        if self.missing == 0 {
            if self.header_len == HEADER_BYTES {
                self.header_len = 0;
            }
            let len = bytes.len().min(HEADER_BYTES - self.header_len);
            self.header[self.header_len..][..len].copy_from_slice(&bytes[..len]);
            self.header_len += len;
            if self.header_len == HEADER_BYTES {
                self.missing = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
            }
            return len;
        }
        let len = bytes.len().min(self.missing);
        self.missing -= len;
        len
    }

    fn feed(&mut self, mut piece: &[u8]) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else {
            return Err(Failure::of_handshake("it could not begin"));
        };
        while !piece.is_empty() {
            match connection.read_tls(&mut piece) {
                Ok(0) => return Err(Failure::of_handshake("the peer ended it")), // by close_notify
                Ok(_) => {}
                Err(error) => return Err(Failure::of_handshake(error)),
            }
            connection.process_new_packets().map_err(Failure::of_handshake)?;
        }
        Ok(())
    }

    fn take_output(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        while connection.wants_write() {
            // Writing to a `Vec` cannot fail.
            let _ = connection.write_tls(&mut self.output);
        }
    }

    /// Ciphertext that the socket must take now.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// Hears that the socket took so many bytes of [`Handshake::output`].
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent >= self.output.len() {
            (self.output, self.sent) = (Vec::new(), 0);
        }
    }

    /// True if the handshake is done and all its output is sent.
    pub(crate) fn is_done(&self) -> bool {
        !self.wants_input() && self.output.is_empty()
    }

    /// The record layer of the connection, which `records` chooses, and bytes that came behind the handshake, as they came.
    ///
    /// # Errors
    /// If it is not done, or its configuration does not allow that secrets are extracted.
    pub(crate) fn finish(mut self, records: TlsRecords) -> Result<(RecordLayer, Vec<u8>), Failure> {
        let rest = mem::take(&mut self.rest);
        let Some(connection) = self.connection.filter(|connection| !connection.is_handshaking()) else {
            return Err(Failure::of_handshake("it is not done"));
        };
        let layer = match records {
            TlsRecords::Own => RecordLayer::Own(take_over(connection, &self.secrets)?),
            TlsRecords::Rustls => RecordLayer::Rustls(Box::new(Whole::new(connection))),
        };
        Ok((layer, rest))
    }

    /// The bytes that it holds of the peer's and for the peer, at most.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn buffered(&self) -> usize {
        self.received + self.output.capacity() + self.rest.capacity()
    }
}

/// Our record layer, with the keys of this connection.
fn take_over(connection: ServerConnection, secrets: &Secrets) -> Result<Records, Failure> {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
        Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
        _ => return Err(Failure::of_handshake("a version that is not known")),
    };
    let ExtractedSecrets { rx, tx } = connection.dangerous_extract_secrets().map_err(Failure::of_handshake)?;
    let traffic = secrets.traffic.lock().unwrap_or_else(PoisonError::into_inner);
    let (read, write) = (start(&rx, &traffic[0]), start(&tx, &traffic[1]));
    let (Some((cipher, read)), Some((same, write))) = (read, write) else {
        return Err(Failure::of_handshake("a cipher that is not known"));
    };
    debug_assert_eq!(cipher, same);
    let records = Records::new(Suite { version, cipher }, read, write);
    records.ok_or_else(|| Failure::of_handshake("keys of another length"))
}

/// What the record layer takes over in one direction.
fn start<'k>((sequence, keys): &'k (u64, ConnectionTrafficSecrets), secret: &'k [u8]) -> Option<(Cipher, Start<'k>)> {
    let (cipher, key, iv) = match keys {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Cipher::ChaCha20Poly1305, key, iv),
        _ => return None,
    };
    let iv = iv.as_ref().try_into().ok()?;
    Some((cipher, Start { key: key.as_ref(), iv, secret, sequence: *sequence }))
}

/// Collects the two traffic secrets of TLS 1.3, which rustls gives to a key log only: key updates need them.
#[derive(Default)]
struct Secrets {
    /// The client's and the server's.
    traffic: Mutex<[Zeroizing<Vec<u8>>; 2]>,
}

/// Which of them a label of the key log names.
fn place(label: &str) -> Option<usize> {
    ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"].iter().position(|known| *known == label)
}

impl KeyLog for Secrets {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if let Some(place) = place(label) {
            self.traffic.lock().unwrap_or_else(PoisonError::into_inner)[place] = Zeroizing::new(secret.to_vec());
        }
    }

    fn will_log(&self, label: &str) -> bool {
        place(label).is_some()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}
