//! nginx, Caddy and HAProxy, with the configurations of `tools/deploy/proxies`.

use std::{
    env,
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use socket2::{Domain, Socket, Type};

use super::{PATIENCE, scratch::Scratch, wait_until};

/// The name of the site in the configurations.
pub(crate) const SITE: &str = "chat.example.com";

/// The address from which the test's clients connect. The proxy itself uses 127.0.0.1.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Caddy,
    Haproxy,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Haproxy => "haproxy",
        }
    }

    /// The configuration as it stands in the repository.
    pub(crate) fn configuration(self) -> String {
        let name = match self {
            Self::Nginx => "nginx.conf",
            Self::Caddy => "Caddyfile",
            Self::Haproxy => "haproxy.cfg",
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/deploy/proxies").join(name);
        fs::read_to_string(path).expect("the configuration is there")
    }

    /// Whether the program is installed. Prints a line if not; with `LHTTP_REQUIRE_PROXIES` that fails the test.
    pub(crate) fn is_installed(self) -> bool {
        let folders = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&folders).chain([Path::new("/usr/sbin").to_owned()]);
        let is_there = folders.map(|folder| folder.join(self.program())).any(|path| path.is_file());
        assert!(is_there || env::var_os("LHTTP_REQUIRE_PROXIES").is_none(), "there is no {}", self.program());
        if !is_there {
            eprintln!("SKIPPED: what needs {}, which is missing", self.program());
        }
        is_there
    }
}

/// A running proxy. Dropping it kills the process.
pub(crate) struct ReverseProxy {
    child: Child,
    address: SocketAddr,
    trust: Arc<ClientConfig>,
    folder: Scratch,
}

/// A connection to the proxy, below HTTP.
pub(crate) type Secure = StreamOwned<ClientConnection, TcpStream>;

impl ReverseProxy {
    /// Starts the program in front of a server on this port, with its configuration changed by `change`, and waits until
    /// it accepts connections.
    pub(crate) fn start(kind: Kind, server_port: u16, change: impl FnOnce(String) -> String) -> Self {
        let folder = Scratch::new();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([SITE.to_owned()]).expect("a certificate");
        let certificate = folder.write("site.pem", &cert.pem());
        let key = folder.write("site.key", &signing_key.serialize_pem());
        folder.write("both.pem", &format!("{}{}", cert.pem(), signing_key.serialize_pem()));
        // The programs take a port, and no free one.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let text = change(kind.configuration()).replace("127.0.0.1:8081", &format!("127.0.0.1:{server_port}"));
        let mut command = Command::new(kind.program());
        command.env("PATH", format!("{}:/usr/sbin", env::var("PATH").unwrap_or_default()));
        let path = folder.path().display();
        match kind {
            Kind::Nginx => {
                let text = text
                    .replace("listen 443 ssl", &format!("listen {address} ssl"))
                    .replace("/etc/ssl/chat.example.com.pem", &certificate)
                    .replace("/etc/ssl/chat.example.com.key", &key);
                folder.write("site.conf", &text);
                let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|name| format!("{name}_temp_path {path}/{name};"))
                    .join(" ");
                // One process, which can be killed without leaving a worker behind.
                let main = format!(
                    "daemon off; master_process off; pid {path}/pid; error_log stderr;\nevents {{}}\n\
                     http {{ access_log off; {temporary} include {path}/site.conf; }}\n"
                );
                command.args(["-p", &path.to_string(), "-c", &folder.write("main.conf", &main)]);
            }
            Kind::Caddy => {
                let site =
                    format!("https://{SITE}:{} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}\n", address.port());
                let text = text.replace("\nchat.example.com {\n", &format!("\n{site}"));
                let global = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n";
                command.args(["run", "--adapter", "caddyfile", "--config"]);
                command.arg(folder.write("Caddyfile", &format!("{global}{text}")));
                command.env("XDG_DATA_HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
            }
            Kind::Haproxy => {
                let text = text
                    .replace("bind :443", &format!("bind {address}"))
                    .replace("/etc/haproxy/chat.example.com.pem", &format!("{path}/both.pem"));
                // Without a master there is one process.
                command.args([OsStr::new("-db"), OsStr::new("-f"), folder.write("haproxy.cfg", &text).as_ref()]);
            }
        }
        let log = fs::File::create(folder.path().join("log")).expect("the folder can be written to");
        let out = log.try_clone().expect("a descriptor");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(log).spawn().expect("the proxy starts");
        let mut proxy = Self { child, address, trust: trust(cert.der()), folder };
        let mut exited = None;
        let _ = wait_until(
            || {
                exited = proxy.child.try_wait().expect("the child can be waited for");
                exited.is_some() || TcpStream::connect(address).is_ok()
            },
            PATIENCE,
        );
        assert!(exited.is_none(), "{kind:?} ended with {exited:?}:\n{}", proxy.log());
        proxy
    }

    /// What the program has written.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A TLS connection from [`CLIENT`].
    pub(crate) fn connect(&self) -> Secure {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((CLIENT, 0)).into()).expect("the whole of 127.0.0.0/8 is this machine");
        socket.connect(&self.address.into()).expect("the proxy accepts");
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        let name = ServerName::try_from(SITE).expect("a name");
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.trust), name).expect("a connection"), stream)
    }
}

impl Drop for ReverseProxy {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the proxy's log ---\n{}", self.log());
        }
    }
}

/// Trusts this certificate and no other.
fn trust(certificate: &CertificateDer<'_>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone().into_owned()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
