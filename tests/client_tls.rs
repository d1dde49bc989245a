//! The blocking client over TLS, against a server on rustls that acknowledges everything and sends it back.
#![cfg(feature = "tls")]

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use lhttp::{
    Message,
    client::{Builder, Client, ClientError, Event},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// How long anything that must happen may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// A certificate authority in a file, and what it has signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.pem", std::process::id()));
        fs::write(&file, issuer.pem()).expect("the file is written");
        Self { issuer, file }
    }

    /// What a server needs to prove that it is `host`.
    fn server_config(&self, host: &str) -> ServerConfig {
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

    /// A client that trusts this authority, of a server that has a certificate for `host`.
    fn client_of(&self, issuer: &Self, host: &str) -> Builder {
        let port = serve(issuer.server_config(host));
        Client::builder(format!("wss://127.0.0.1:{port}"))
            .ca_file(&self.file)
            .timeout(PATIENCE)
            .connect_timeout(PATIENCE)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// Serves one connection on a port of its own.
fn serve(config: ServerConfig) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        let connection = ServerConnection::new(Arc::new(config)).expect("a connection");
        // A client that does not trust us ends here.
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

#[test]
fn a_server_with_a_certificate_of_a_trusted_authority_is_talked_to() {
    let authority = Authority::new("trusted");
    let mut client = authority.client_of(&authority, "127.0.0.1").connect().unwrap();
    // The last is longer than a TLS record.
    for body in [b"hi".to_vec(), vec![0xff; 3], vec![b'x'; 100_000]] {
        client.publish("room", Message::new("chat").unwrap().body(body.clone())).unwrap();
        let Some(Event::Message(message)) = client.poll(PATIENCE).unwrap() else { panic!("no message") };
        assert_eq!(message.body_bytes(), body);
    }
    assert_eq!(client.poll(Duration::ZERO), Ok(None));
    client.close().unwrap();
}

#[test]
fn a_server_that_cannot_prove_who_it_is_is_not_talked_to() {
    let (trusted, other) = (Authority::new("right"), Authority::new("wrong"));
    for (issuer, host) in [(&other, "127.0.0.1"), (&trusted, "example.com")] {
        let error = trusted.client_of(issuer, host).connect().unwrap_err();
        assert!(matches!(&error, ClientError::NotConnected(why) if why.contains("certificate")), "{error:?}");
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_not_talked_to() {
    let authority = Authority::new("plain");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client connects");
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("the client reads");
    });
    let error = Client::builder(format!("wss://127.0.0.1:{port}")).ca_file(&authority.file).connect().unwrap_err();
    assert!(matches!(&error, ClientError::NotConnected(_)), "{error:?}");
    server.join().unwrap();
}

#[test]
fn a_ca_file_that_is_of_no_use_is_refused_before_anything_is_tried() {
    let empty = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("empty-{}.pem", std::process::id()));
    fs::write(&empty, "no certificate").unwrap();
    for file in [PathBuf::from("/does/not/exist.pem"), empty.clone()] {
        let error = Client::builder("wss://127.0.0.1:1").ca_file(&file).connect().unwrap_err();
        let named = file.display().to_string();
        assert!(matches!(&error, ClientError::Config(why) if why.contains(&named)), "{error:?}");
    }
    fs::remove_file(empty).unwrap();
}
