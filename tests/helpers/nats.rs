//! A real `nats-server` for each test that needs one, and a client that speaks the plain lines of the protocol.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    process::{Child, Command, Stdio},
};

use super::{PATIENCE, loopback::own_ip, scratch::Scratch, wait_until};

/// Set where nats-server is installed: then a test that cannot run it fails.
pub(crate) const REQUIRED: &str = "LHTTP_REQUIRE_NATS_SERVER";

/// True if nats-server can be run; prints a line if not.
pub(crate) fn has_nats_server() -> bool {
    let runs = |mut command: Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let mut version = Command::new("nats-server");
    version.arg("--version");
    let found = runs(version);
    assert!(found || env::var_os(REQUIRED).is_none(), "nats-server is required ({REQUIRED}) and missing");
    if !found {
        eprintln!("SKIPPED: there is no nats-server");
    }
    found
}

/// A running nats-server. Dropping it kills the process.
pub(crate) struct NatsServer {
    child: Child,
    address: SocketAddr,
    args: Vec<String>,
    /// The folder in which the server writes its ports.
    folder: Scratch,
}

impl NatsServer {
    /// Starts a server on a free port.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::launch(SocketAddr::new(own_ip().into(), 0), args.iter().map(|&arg| arg.to_owned()).collect())
    }

    /// Starts a server at an address of [`free_address`](super::loopback::free_address).
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        Self::launch(address, Vec::new())
    }

    fn launch(address: SocketAddr, args: Vec<String>) -> Self {
        let folder = Scratch::new();
        let child = launch(address, &args, &folder);
        let mut server = Self { child, address, args, folder };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&mut self) {
        let file = self.folder.path().join(format!("nats-server_{}.ports", self.child.id()));
        let ready = wait_until(
            || {
                let text = fs::read_to_string(&file).unwrap_or_default();
                let port = text.split_once("nats\":").and_then(|(_, rest)| {
                    let rest = rest.split_once(&format!("{}:", self.address.ip()))?.1;
                    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
                });
                self.address.set_port(port.unwrap_or(0));
                port.is_some() && TcpStream::connect(self.address).is_ok()
            },
            PATIENCE,
        );
        assert!(ready, "nats-server does not start: {}", self.log());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value of `--nats`.
    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Kills the server with SIGKILL.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts the server again after [`NatsServer::kill`], at the same address.
    pub(crate) fn restart(&mut self) {
        self.child = launch(self.address, &self.args, &self.folder);
        self.wait_until_ready();
    }

    /// Stops all threads of the server until [`NatsServer::go_on`].
    pub(crate) fn pause(&self) {
        self.signal("STOP");
        let is_stopped = |task: io::Result<fs::DirEntry>| {
            let stat = fs::read_to_string(task.expect("a thread").path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        };
        let tasks = format!("/proc/{}/task", self.child.id());
        let stopped = || fs::read_dir(&tasks).expect("it is there").all(is_stopped);
        assert!(wait_until(stopped, PATIENCE), "nats-server does not stop");
    }

    /// Ends [`NatsServer::pause`].
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    /// Makes the server announce that it will close its connections, and close them after a while.
    pub(crate) fn lame_duck(&self) {
        self.signal("USR2");
    }

    /// Makes the server read its configuration again.
    pub(crate) fn reload(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        super::process::signal(&self.child, name);
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Port 0 means a free port.
fn launch(address: SocketAddr, args: &[String], folder: &Scratch) -> Child {
    let (ip, port) = (address.ip().to_string(), address.port());
    let port = if port == 0 { "-1".to_owned() } else { port.to_string() };
    let mut command = Command::new("nats-server");
    command.args(["-a", &ip, "-p", &port, "--ports_file_dir"]).arg(folder.path());
    command.arg("-l").arg(folder.path().join("log")).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nats-server starts")
}

/// A port of 127.0.0.1 where nobody listens now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A NATS client of a few lines, so that a test sees the protocol as it is.
pub(crate) struct RawNats {
    reader: BufReader<TcpStream>,
}

impl RawNats {
    pub(crate) fn connect(server: &NatsServer) -> Self {
        Self::connect_to(server.address())
    }

    pub(crate) fn connect_to(address: impl ToSocketAddrs) -> Self {
        Self::log_in(address, "")
    }

    pub(crate) fn connect_as(server: &NatsServer, user: &str, password: &str) -> Self {
        Self::log_in(server.address(), &format!(",\"user\":\"{user}\",\"pass\":\"{password}\""))
    }

    fn log_in(address: impl ToSocketAddrs, login: &str) -> Self {
        let stream = TcpStream::connect(address).expect("nats-server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_nodelay(true).expect("no delay");
        let mut client = Self { reader: BufReader::new(stream) };
        assert!(client.line().starts_with("INFO "));
        client.write(format!("CONNECT {{\"verbose\":false,\"pedantic\":false,\"protocol\":1{login}}}\r\n").as_bytes());
        client.flush();
        client
    }

    pub(crate) fn subscribe(&mut self, subject: &str) {
        self.write(format!("SUB {subject} 1\r\n").as_bytes());
        self.flush();
    }

    pub(crate) fn publish(&mut self, subject: &str, payload: &[u8]) {
        self.write(format!("PUB {subject} {}\r\n", payload.len()).as_bytes());
        self.write(payload);
        self.write(b"\r\n");
    }

    /// Whether anybody is subscribed to a subject, who gets an empty message then.
    pub(crate) fn has_subscriber(server: &NatsServer, subject: &str) -> bool {
        let mut client = Self::log_in(server.address(), ",\"headers\":true,\"no_responders\":true");
        client.write(format!("SUB _INBOX.probe 1\r\nPUB {subject} _INBOX.probe 0\r\n\r\nPING\r\n").as_bytes());
        let lines: Vec<String> = std::iter::from_fn(|| Some(client.line()).filter(|line| line != "PONG")).collect();
        !lines.iter().any(|line| line.starts_with("NATS/1.0 503"))
    }

    /// Waits until the server has read everything that was sent.
    pub(crate) fn flush(&mut self) {
        self.write(b"PING\r\n");
        loop {
            match self.line().as_str() {
                "PONG" => return,
                // The server pings once soon after the start, and now and then later.
                "PING" => self.write(b"PONG\r\n"),
                // The server announces other servers that come and go.
                line if line.starts_with("INFO ") => {}
                line => panic!("no PONG but {line:?}"),
            }
        }
    }

    /// The next message: its subject and payload.
    pub(crate) fn recv(&mut self) -> (String, Vec<u8>) {
        loop {
            let line = self.line();
            if line == "PING" {
                self.write(b"PONG\r\n");
                continue;
            }
            if line.starts_with("INFO ") {
                continue;
            }
            let words: Vec<&str> = line.split(' ').collect();
            let ["MSG", subject, .., len] = words[..] else { panic!("no message but {line:?}") };
            let mut payload = vec![0; len.parse::<usize>().expect("a length") + 2];
            self.reader.read_exact(&mut payload).expect("the payload comes");
            payload.truncate(payload.len() - 2);
            return (subject.to_owned(), payload);
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("nats-server takes it");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("nats-server answers in time");
        line.trim_end().to_owned()
    }
}
