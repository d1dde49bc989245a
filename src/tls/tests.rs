//! rustls' client is the oracle: it has a record layer of its own.

mod conversation;
mod faults;
mod handshakes;
mod writing;

use std::{
    io::{IoSlice, Read, Write},
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedCipherSuite,
    crypto::{
        CryptoProvider,
        ring::{self, cipher_suite},
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};

use super::{
    failure::Failure,
    handshake::Handshake,
    record::{Records, Sent},
};

/// Every suite that rustls has with ring and an ECDSA key, TLS 1.3 first.
pub(super) const SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The most ciphertext of one write, as on a core.
const OUT_BYTES_MAX: usize = 64 * 1024;

/// The certificate of `localhost`, and a configuration with it.
fn server() -> &'static (CertificateDer<'static>, Arc<ServerConfig>) {
    static SERVER: OnceLock<(CertificateDer<'static>, Arc<ServerConfig>)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("the key is the certificate's");
        config.enable_secret_extraction = true;
        config.send_tls13_tickets = 1;
        config.ticketer = ring::Ticketer::new().expect("a ticketer");
        (certificate, Arc::new(config))
    })
}

/// A client's configuration with one suite.
pub(super) fn client_config(suite: SupportedCipherSuite) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(server().0.clone()).expect("a certificate");
    let provider = CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[suite.version()])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A client that has sent nothing.
pub(super) fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    client.set_buffer_limit(None);
    client
}

/// An established connection between rustls and our record layer.
pub(super) struct Pair {
    pub(super) client: ClientConnection,
    pub(super) server: Records,
    /// Ciphertext for our record layer.
    pub(super) to_server: Vec<u8>,
    /// What the client got.
    pub(super) got: Vec<u8>,
}

impl Pair {
    pub(super) fn new(suite: SupportedCipherSuite) -> Self {
        Self::establish(client(&client_config(suite)), || usize::MAX)
    }

    /// Makes the handshake. Bytes pass in pieces of `piece` bytes.
    pub(super) fn establish(mut client: ClientConnection, mut piece: impl FnMut() -> usize) -> Self {
        let mut handshake = Handshake::new(&server().1);
        while !handshake.is_done() {
            let mut wire = ciphertext(&mut client);
            while !wire.is_empty() {
                let rest = wire.split_off(piece().clamp(1, wire.len()));
                handshake.receive(&wire).expect("a good handshake");
                wire = rest;
            }
            while !handshake.output().is_empty() {
                let output = handshake.output();
                let len = piece().clamp(1, output.len());
                feed(&mut client, &output[..len], &mut Vec::new()).expect("a good handshake");
                handshake.sent(len);
            }
        }
        let (server, mut to_server) = handshake.finish().expect("the secrets can be extracted");
        to_server.extend_from_slice(&ciphertext(&mut client));
        Self { client, server, to_server, got: Vec::new() }
    }

    /// The client writes.
    pub(super) fn client_writes(&mut self, plaintext: &[u8]) {
        self.client.writer().write_all(plaintext).expect("the client takes it");
        self.to_server.extend_from_slice(&ciphertext(&mut self.client));
    }

    /// Our record layer reads all that the client has written.
    pub(super) fn server_reads(&mut self) -> Result<Vec<u8>, Failure> {
        let mut buffer = std::mem::take(&mut self.to_server);
        let opened = self.server.open(&mut buffer)?;
        self.to_server = buffer[opened.used..].to_vec();
        buffer.truncate(opened.plaintext);
        Ok(buffer)
    }

    /// Our record layer seals `plaintext`, and the client takes the first `taken` bytes of the ciphertext.
    pub(super) fn server_writes(&mut self, plaintext: &[u8], taken: usize) -> Result<Sent, Failure> {
        let mut out = Vec::new();
        self.server.seal(&[IoSlice::new(plaintext)], &mut out, OUT_BYTES_MAX)?;
        let taken = taken.min(out.len());
        feed(&mut self.client, &out[..taken], &mut self.got).expect("the client finds no fault");
        Ok(self.server.sent(&out, taken))
    }
}

/// All ciphertext that rustls has for its socket.
pub(super) fn ciphertext(client: &mut ClientConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut wire).expect("a `Vec` takes all");
    }
    wire
}

/// Gives rustls ciphertext, and takes its plaintext.
pub(super) fn feed(
    client: &mut ClientConnection,
    mut wire: &[u8],
    got: &mut Vec<u8>,
) -> Result<rustls::IoState, rustls::Error> {
    loop {
        let state = client.process_new_packets()?;
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = client.reader().read(&mut buffer) {
            got.extend_from_slice(&buffer[..len]);
        }
        if wire.is_empty() {
            return Ok(state);
        }
        client.read_tls(&mut wire).expect("its plaintext was taken");
    }
}

/// Bytes in which every place looks different.
pub(super) fn plaintext(len: usize, seed: usize) -> Vec<u8> {
    (seed..seed + len).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 11) as u8).collect()
}
