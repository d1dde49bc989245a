//! Handshakes in memory, between rustls's client and the configuration for the server's side.

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, ServerConnection,
    SupportedProtocolVersion,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};

use super::*;

mod renewal;

/// A folder with the files of a server and of the authority of its clients' and its own certificates.
struct Folder {
    path: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("lhttp-tls-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self { path, authority: authority() }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path.join(name), text).unwrap();
    }

    /// Writes a certificate for these hosts, and its key, which end in `.pem` and `.key`.
    fn certify(&self, name: &str, hosts: &[&str]) {
        let params = CertificateParams::new(hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>()).unwrap();
        self.certify_with(name, params);
    }

    /// As `certify`, for a time from and until the first day of a year.
    fn certify_from_until(&self, name: &str, from: i32, until: i32) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        self.certify_with(name, params);
    }

    fn certify_with(&self, name: &str, params: CertificateParams) {
        let key = KeyPair::generate().unwrap();
        self.write(&format!("{name}.pem"), &params.signed_by(&key, &self.authority).unwrap().pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// The options of a server with these certificates.
    fn config(&self, names: &[&str]) -> Config {
        let files = |ending: &str| names.iter().map(|name| self.path.join(format!("{name}.{ending}"))).collect();
        let listen = vec!["tls://127.0.0.1:0".parse().unwrap()];
        Config { listen, tls_cert: files("pem"), tls_key: files("key"), ..Config::default() }
    }

    /// The same, for clients with a certificate of the authority in a file.
    fn config_for_clients_of(&self, name: &str, authority: &str) -> Config {
        Config { tls_client_ca: Some(self.path.join(authority)), ..self.config(&[name]) }
    }

    fn acceptor(&self, names: &[&str]) -> Acceptor {
        acceptor(&self.config(names)).unwrap().unwrap()
    }

    fn refusal(&self, names: &[&str]) -> String {
        acceptor(&self.config(names)).unwrap_err().to_string()
    }

    /// A client that trusts the authority.
    fn client(&self) -> ClientConfig {
        self.client_with(&[&TLS13, &TLS12], None)
    }

    fn client_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        match own {
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
            None => builder.with_no_client_auth(),
        }
    }

    /// A client's certificate and key, made by the authority.
    fn of_client(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(Vec::new()).unwrap().signed_by(&key, &self.authority).unwrap();
        (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::OrganizationName, format!("{:?}", rand::random::<u64>()));
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Both ends after the handshake, which has also brought the client its tickets.
fn handshake(
    acceptor: &Acceptor,
    client: &Arc<ClientConfig>,
    host: &str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(acceptor.config())?;
    let mut bytes = Vec::new();
    while client.wants_write() || server.wants_write() {
        bytes.clear();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

/// The certificate that a client gets for a host.
fn shown(acceptor: &Acceptor, client: &ClientConfig, host: &str) -> Result<CertificateDer<'static>, rustls::Error> {
    let mut client = client.clone();
    client.resumption = Resumption::disabled();
    let (client, _) = handshake(acceptor, &Arc::new(client), host)?;
    Ok(client.peer_certificates().unwrap()[0].clone())
}

fn certificate(folder: &Folder, name: &str) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(folder.path.join(format!("{name}.pem"))).unwrap()
}

#[test]
fn a_server_without_an_address_that_speaks_tls_has_none() {
    assert!(acceptor(&Config::default()).unwrap().is_none());
}

#[test]
fn both_versions_end_with_http_1_1_and_keys_that_can_be_taken_over() {
    let folder = Folder::new();
    folder.certify("a", &["a.example"]);
    let acceptor = folder.acceptor(&["a"]);
    for (version, expected) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        for (offered, agreed) in [(&[][..], None), (&[&b"h2"[..], b"http/1.1"], Some(&b"http/1.1"[..]))] {
            let mut client = folder.client_with(&[version], None);
            client.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
            let (_, server) = handshake(&acceptor, &Arc::new(client), "a.example").unwrap();
            assert_eq!((server.protocol_version(), server.alpn_protocol()), (Some(expected), agreed));
            assert!(server.dangerous_extract_secrets().is_ok());
        }
    }
    let mut client = folder.client();
    client.alpn_protocols = vec![b"h2".to_vec()];
    assert!(handshake(&acceptor, &Arc::new(client), "a.example").is_err(), "nothing else is spoken");
}

#[test]
fn a_host_gets_its_certificate() {
    let folder = Folder::new();
    folder.certify("a", &["a.example"]);
    folder.certify("wild", &["*.b.example"]);
    let (acceptor, client) = (folder.acceptor(&["a", "wild"]), folder.client());
    assert_eq!(shown(&acceptor, &client, "a.example").unwrap(), certificate(&folder, "a"));
    assert_eq!(shown(&acceptor, &client, "x.b.example").unwrap(), certificate(&folder, "wild"));
    assert!(shown(&acceptor, &client, "c.example").is_err(), "the first one is not for this host");
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_option() {
    let folder = Folder::new();
    folder.certify("a", &["a.example"]);
    folder.certify("b", &["b.example"]);
    folder.certify("nameless", &[]);
    let text = |name: &str| fs::read_to_string(folder.path.join(name)).unwrap();
    folder.write("mixed.pem", &text("a.pem"));
    folder.write("mixed.key", &text("b.key"));
    folder.write("wrong-order.pem", &(text("b.pem") + &text("a.pem")));
    folder.write("wrong-order.key", &text("a.key"));
    folder.write("empty.pem", "");
    folder.write("empty.key", "");
    folder.write("keyless.pem", &text("a.pem"));
    folder.write("keyless.key", &text("a.pem"));
    folder.write("broken.pem", &text("a.pem")[..200]);
    folder.write("broken.key", &text("a.key"));
    folder.write("encrypted.pem", &text("a.pem"));
    folder.write("encrypted.key", &text("a.key").replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    folder.write("spoiled.pem", &text("a.pem"));
    let key = text("a.key");
    folder.write("spoiled.key", &key.replacen(&key[40..80], &"A".repeat(40), 1));
    folder.write("large.pem", &"x".repeat((1 << 20) + 1));
    for (name, option, said) in [
        ("missing", "tls-cert", "cannot read"),
        ("mixed", "tls-key", "does not belong to the first certificate"),
        ("wrong-order", "tls-key", "does not belong to the first certificate"),
        ("empty", "tls-cert", "there is no certificate"),
        ("keyless", "tls-key", "there is no private key"),
        ("broken", "tls-cert", "is not a PEM file"),
        ("encrypted", "tls-key", "is encrypted"),
        ("spoiled", "tls-key", "cannot be used"),
        ("large", "tls-cert", "more than 1048576 bytes"),
    ] {
        let sentence = folder.refusal(&[name]);
        let path = folder.path.join(name).display().to_string();
        assert!(sentence.starts_with(option) && sentence.contains(said) && sentence.contains(&path), "{sentence}");
        assert!(!sentence.contains("BEGIN"), "{sentence}");
    }
    assert!(folder.refusal(&["a", "nameless"]).contains("names no host"));
    folder.acceptor(&["nameless", "a"]);
}

#[test]
fn only_clients_with_a_certificate_of_the_authority_are_let_in() {
    let folder = Folder::new();
    let stranger = Folder::new();
    folder.certify("a", &["a.example"]);
    folder.write("ca.pem", &folder.authority.pem());
    let acceptor = acceptor(&folder.config_for_clients_of("a", "ca.pem")).unwrap().unwrap();
    for version in [&TLS12, &TLS13] {
        let is_let_in = |own| handshake(&acceptor, &Arc::new(folder.client_with(&[version], own)), "a.example").is_ok();
        assert!(is_let_in(Some(folder.of_client())));
        assert!(!is_let_in(None));
        assert!(!is_let_in(Some(stranger.of_client())));
    }
    folder.write("ca.pem", "nothing");
    let sentence = super::acceptor(&folder.config_for_clients_of("a", "ca.pem")).unwrap_err().to_string();
    assert!(sentence.starts_with("tls-client-ca: there is no certificate in"), "{sentence}");
}
