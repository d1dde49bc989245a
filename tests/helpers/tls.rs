//! A certificate authority, and a server on rustls that acknowledges every message and sends it back.

use std::{
    fs::{self, Permissions},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use lhttp::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};

/// How long anything that must happen may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// A certificate authority with its certificate in a file.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.pem", std::process::id()));
        fs::write(&file, issuer.pem()).expect("the file is written");
        Self { issuer, file }
    }

    /// Files with a certificate for `host` and its key, for a server's options. They stay until `cargo clean`.
    pub(crate) fn certificate_files(&self, host: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let (cert_file, key_file) =
            (self.file.with_extension(format!("{host}.cert")), self.file.with_extension(format!("{host}.key")));
        fs::write(&cert_file, certificate.pem()).expect("the file is written");
        fs::write(&key_file, key.serialize_pem()).expect("the file is written");
        fs::set_permissions(&key_file, Permissions::from_mode(0o600)).expect("the file is the test's");
        (cert_file, key_file)
    }

    /// A TLS connection to `localhost` over this one, in these versions, once the handshake is done.
    pub(crate) fn connect(
        &self,
        mut stream: TcpStream,
        versions: &[&'static SupportedProtocolVersion],
    ) -> StreamOwned<ClientConnection, TcpStream> {
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).expect("the handshake");
        }
        StreamOwned::new(connection, stream)
    }

    /// The configuration of a server that can prove to be `host`.
    pub(crate) fn server_config(&self, host: &str) -> ServerConfig {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("the key fits")
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// Serves one connection on its own port.
pub(crate) fn serve(config: ServerConfig) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        let connection = ServerConnection::new(Arc::new(config)).expect("a connection");
        // A client that does not trust the certificate ends here.
        let Ok(mut socket) = tungstenite::accept(StreamOwned::<_, TcpStream>::new(connection, stream)) else { return };
        while let Ok(message) = socket.read() {
            if !message.is_text() && !message.is_binary() {
                continue;
            }
            let parsed = Message::parse(&message.clone().into_data()).expect("LHTTP");
            let token = parsed.header_value("ack").expect("the client wants to know").to_owned();
            let _ = socket.send(message);
            let _ = socket.send(tungstenite::Message::text(format!("LHTTP/1.0 ack\r\nack:{token}\r\n\r\n")));
        }
    });
    port
}
