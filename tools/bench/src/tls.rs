//! The client's half of TLS 1.3, for a generator with thousands of connections: rustls makes the handshake, and then
//! [`Records`] takes over with the bare keys. Every server is offered the same suite, so that all of them encrypt alike.
//!
//! Certificates are not checked: the servers are this program's own, and the check would be the larger part of a
//! handshake here.

use std::{
    fmt, fs,
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mio::net::TcpStream;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup,
    client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue},
    crypto::{CryptoProvider, ring as provider},
    pki_types::ServerName,
};

mod records;
#[cfg(test)]
mod tests;
mod trust;

use self::records::{Opened, Records, invalid, record_bytes};
use crate::{failure::Failure, servers};

/// The name that clients ask for, and that certificates are made for.
const NAME: &str = "localhost";
/// The most plaintext that one write seals.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// What all TLS connections to a server share.
#[derive(Debug)]
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    /// The servers' tickets, for connections that come back.
    pub(crate) tickets: Arc<Tickets>,
}

impl TlsClient {
    /// A client that neither keeps nor uses tickets.
    pub(crate) fn new() -> Result<Self, Failure> {
        let suites = vec![provider::cipher_suite::TLS13_AES_128_GCM_SHA256];
        let provider = Arc::new(CryptoProvider { cipher_suites: suites, ..provider::default_provider() });
        let versions = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let builder = versions.map_err(|error| Failure::Tls(error.to_string()))?;
        let mut config = trust::everyone(builder).with_no_client_auth();
        let tickets = Arc::new(Tickets::default());
        config.resumption = Resumption::store(Arc::clone(&tickets) as _);
        config.enable_secret_extraction = true;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), tickets })
    }

    /// A connection that is still to be set up. Its first message is already made.
    pub(crate) fn session(&self) -> io::Result<Tls> {
        let name = ServerName::try_from(NAME).expect("a valid name");
        let handshake = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        let state = State::Handshake(Box::new(handshake));
        let mut tls = Tls { state, unread: Vec::new(), unsent: Vec::new(), is_resumed: false };
        tls.collect()?;
        Ok(tls)
    }
}

/// Tickets of servers, each used once.
#[derive(Default)]
pub(crate) struct Tickets {
    held: Mutex<Vec<Tls13ClientSessionValue>>,
    /// New tickets are kept.
    pub(crate) keeps: AtomicBool,
    /// New connections use a kept ticket if there is one.
    pub(crate) gives: AtomicBool,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tickets").field("held", &self.count()).finish_non_exhaustive()
    }
}

impl Tickets {
    /// Forgets those that are held.
    pub(crate) fn forget(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many are held.
    pub(crate) fn count(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        if self.keeps.load(Ordering::Relaxed) {
            self.held.lock().unwrap_or_else(PoisonError::into_inner).push(ticket);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let gives = self.gives.load(Ordering::Relaxed);
        gives.then(|| self.held.lock().unwrap_or_else(PoisonError::into_inner).pop()).flatten()
    }
}

/// One connection's TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    state: State,
    /// The start of a record whose end has not come.
    unread: Vec<u8>,
    /// Records that the socket has not taken yet.
    unsent: Vec<u8>,
    /// The handshake used a ticket.
    pub(crate) is_resumed: bool,
}

#[derive(Debug)]
enum State {
    Handshake(Box<ClientConnection>),
    Established(Box<Records>),
    /// The handshake failed.
    Failed,
}

/// The result of a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes for the reader, at the start of the buffer.
    pub(crate) bytes: usize,
    /// The read filled the buffer, so the socket may have more.
    pub(crate) may_have_more: bool,
    /// Nothing will follow.
    pub(crate) is_closed: bool,
}

impl Tls {
    /// Writes a part of `bytes`, and returns how many were taken. Their records may still wait for the socket, which
    /// [`flush`](Self::flush) ends; until then, nothing more is taken (`WouldBlock`).
    pub(crate) fn write(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        if !self.flush(stream)? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = bytes.len().min(WRITE_BYTES_MAX);
        match &mut self.state {
            State::Handshake(handshake) => handshake.writer().write_all(&bytes[..taken])?,
            State::Established(records) => records.seal(&bytes[..taken], &mut self.unsent),
            State::Failed => return Err(ErrorKind::BrokenPipe.into()),
        }
        self.collect()?;
        self.flush(stream)?;
        Ok(taken)
    }

    /// Writes records that wait for the socket. Returns whether it took all.
    pub(crate) fn flush(&mut self, stream: &mut TcpStream) -> io::Result<bool> {
        let mut taken = 0;
        while taken < self.unsent.len() {
            match stream.write(&self.unsent[taken..]) {
                Ok(more) => taken += more,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    self.unsent.drain(..taken);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        // Most connections never write again, so they free the buffer.
        self.unsent = Vec::new();
        Ok(true)
    }

    /// Reads once from the socket. Fewer bytes than came may be for the reader, or none.
    pub(crate) fn read(&mut self, stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Received> {
        let kept = self.unread.len();
        buffer[..kept].copy_from_slice(&self.unread);
        let length = match stream.read(&mut buffer[kept..])? {
            0 => return Ok(Received { is_closed: true, ..Received::default() }),
            more => kept + more,
        };
        let opened = match &mut self.state {
            State::Handshake(handshake) => advance(handshake, &mut buffer[..length]),
            State::Established(records) => records.open(&mut buffer[..length]),
            State::Failed => Err(ErrorKind::BrokenPipe.into()),
        };
        self.collect()?;
        let sent = self.flush(stream);
        let opened = opened?;
        sent?;
        self.unread = buffer[opened.used..length].to_vec();
        let may_have_more = length == buffer.len();
        Ok(Received { bytes: opened.plaintext, may_have_more, is_closed: opened.is_closed })
    }

    /// Replaces rustls by the bare keys. The handshake must be over, and the server's tickets should have come: they
    /// are before its first answer.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        let State::Handshake(handshake) = std::mem::replace(&mut self.state, State::Failed) else { return Ok(()) };
        self.is_resumed = handshake.handshake_kind() == Some(HandshakeKind::Resumed);
        let secrets = handshake.dangerous_extract_secrets().map_err(|error| invalid(error.to_string()))?;
        self.state = State::Established(Box::new(Records::new(secrets)?));
        Ok(())
    }

    /// Takes what rustls has to send.
    fn collect(&mut self) -> io::Result<()> {
        if let State::Handshake(handshake) = &mut self.state {
            while handshake.wants_write() {
                handshake.write_tls(&mut self.unsent)?;
            }
        }
        Ok(())
    }
}

/// Gives rustls all whole records, so that it keeps none when the bare keys take over.
fn advance(handshake: &mut ClientConnection, buffer: &mut [u8]) -> io::Result<Opened> {
    let mut opened = Opened::default();
    while let Some(length) = record_bytes(&buffer[opened.used..])? {
        let mut record = &buffer[opened.used..opened.used + length];
        opened.used += length;
        while !record.is_empty() {
            handshake.read_tls(&mut record)?;
            handshake.process_new_packets().map_err(|error| invalid(format!("TLS: {error}")))?;
        }
        match handshake.reader().read(&mut buffer[opened.plaintext..opened.used]) {
            Ok(0) => opened.is_closed = true,
            Ok(length) => opened.plaintext += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(opened)
}

/// A certificate and its key in PEM files, as servers want them.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Makes a self-signed ECDSA certificate (P-256) in `directory`.
    pub(crate) fn make(directory: &Path) -> Result<Self, Failure> {
        let names = [NAME.to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| Failure::Tls(error.to_string()))?;
        let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
        let cannot_write = || Failure::io(format!("cannot write a certificate to {}", directory.display()));
        fs::write(&certificate, made.cert.pem()).map_err(cannot_write())?;
        servers::write_secret(&key, &made.signing_key.serialize_pem()).map_err(cannot_write())?;
        Ok(Self { certificate, key })
    }
}
