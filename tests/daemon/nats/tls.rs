//! TLS to NATS: servers that demand a certificate, TLS before the first line, and renewed certificates.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::helpers::{
    self,
    client::Client,
    daemon::Daemon,
    nats::{NatsServer, has_nats_server},
    scratch::Scratch,
};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    fn file(&self, scratch: &Scratch, name: &str) -> String {
        scratch.write(name, &self.0.pem())
    }

    fn signed(&self, host: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, host);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.signed_by(&key, &self.0).expect("a certificate"), key)
    }

    /// The files of a certificate for this host and of its key.
    fn files(&self, scratch: &Scratch, host: &str, name: &str) -> (String, String) {
        let (certificate, key) = self.signed(host);
        (
            scratch.write(&format!("{name}.pem"), &certificate.pem()),
            scratch.write(&format!("{name}.key"), &key.serialize_pem()),
        )
    }
}

fn wait_until_online(daemon: &Daemon, name: &str) {
    let mut client = Client::connect(daemon.port());
    let is_online = || {
        client.say(&format!("LHTTP/1.0 n\r\nsubscribe:{name}\r\nack:a\r\n\r\n"));
        !String::from_utf8(client.recv().payload).expect("text").contains("offline")
    };
    assert!(helpers::wait_until(is_online, helpers::PATIENCE), "{}", daemon.stderr());
}

#[test]
fn a_node_presents_its_certificate_when_asked_and_a_node_without_one_logs_the_failure_and_serves_on() {
    if !has_nats_server() {
        return;
    }
    let (scratch, authority, other) = (Scratch::new(), Authority::new(), Authority::new());
    let ca = authority.file(&scratch, "ca.pem");
    let (certificate, key) = authority.files(&scratch, &helpers::loopback::free_address().ip().to_string(), "server");
    let config =
        format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\", ca_file: \"{ca}\", verify: true }}\n");
    let mut nats = NatsServer::start(&["-c", &scratch.write("nats.conf", &config)]);
    let (certificate, key) = authority.files(&scratch, "node", "node");
    let url = nats.url();
    let args = ["--nats", &url, "--nats-tls-ca", &ca, "--nats-tls-cert", &certificate, "--nats-tls-key", &key];
    let daemon = Daemon::start(1, &args);
    wait_until_online(&daemon, "room");
    let mut stranger = Daemon::start(1, &["--nats", &url, "--nats-tls-ca", &ca]);
    stranger.wait_for("cannot connect");
    stranger.assert_healthy();
    // A renewed certificate is used at the next connection. An unusable one is logged, and the old one stays in use.
    scratch.write("node.pem", "not a certificate");
    nats.kill();
    nats.restart();
    daemon.wait_for("the last usable files stay in use");
    wait_until_online(&daemon, "room.2");
    other.files(&scratch, "node", "node");
    nats.kill();
    nats.restart();
    daemon.wait_for("cannot connect to");
    authority.files(&scratch, "node", "node");
    wait_until_online(&daemon, "room.3");
}

#[test]
fn tls_starts_before_the_first_line_if_the_option_says_so() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let ca = authority.file(&scratch, "ca.pem");
    let (certificate, key) = authority.signed("127.0.0.1");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("the key fits");
    let url = serve(config);
    let first = Daemon::start(1, &["--nats", &url, "--nats-tls-ca", &ca, "--nats-tls-first"]);
    wait_until_online(&first, "room");
    // A node that waits for the server's first line gets no answer.
    let second = Daemon::start(1, &["--nats", &url, "--nats-tls-ca", &ca]);
    second.wait_for("cannot connect");
}

/// A server that sends nothing before TLS, and then answers requests.
fn serve(config: ServerConfig) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("nats://{}", listener.local_addr().expect("an address"));
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            thread::spawn(move || answer(config, stream));
        }
    });
    url
}

fn answer(config: Arc<ServerConfig>, stream: TcpStream) -> Option<()> {
    let connection = ServerConnection::new(config).ok()?;
    let mut stream = BufReader::new(StreamOwned::<_, TcpStream>::new(connection, stream));
    stream.get_mut().write_all(b"INFO {\"server_id\":\"x\",\"max_payload\":1024,\"headers\":true}\r\n").ok()?;
    let mut line = String::new();
    while stream.read_line(&mut line).ok()? > 0 {
        if line == "PING\r\n" {
            stream.get_mut().write_all(b"PONG\r\n").ok()?;
        }
        line.clear();
    }
    Some(())
}
