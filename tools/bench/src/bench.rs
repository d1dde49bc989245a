//! Everything that all modes share: the server under test, and the CPUs of this thread and of the server.

use std::{
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use clap::Args;
use tungstenite::WebSocket;

use crate::{
    affinity,
    dialect::Dialect,
    failure::Failure,
    load::{Load, Wait},
    procfs::{self, Usage},
    report::ProgressLine,
    servers::{Programs, Server},
};

/// How long a client beside the load waits for an answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// The CPUs to use, and how the generator waits.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Placement {
    /// The CPU of this generator [default: one that is not the server's]
    #[arg(long, value_name = "N")]
    pub(crate) cpu: Option<usize>,
    /// The CPU of a server that this program starts [default: the first]
    #[arg(long, value_name = "N")]
    pub(crate) server_cpu: Option<usize>,
    /// What the generator does while it waits; at a fixed rate it always polls
    #[arg(long, value_enum, default_value_t = Wait::Spin)]
    pub(crate) wait: Wait,
}

/// The server to measure.
#[derive(Args, Clone, Debug)]
pub(crate) struct TargetArgs {
    /// The server to start, or the kind of server at --url
    #[arg(long, value_enum, default_value_t = Dialect::Lhttp)]
    pub(crate) server: Dialect,
    /// The URL of a server that already runs, instead of starting one
    #[arg(long, value_name = "ws://HOST:PORT")]
    pub(crate) url: Option<String>,
    /// The process of the server at --url, for its CPU time and memory
    #[arg(long, value_name = "PID", requires = "url")]
    pub(crate) pid: Option<u32>,
}

/// A server under test. Dropping this ends the server if this program started it.
#[derive(Debug)]
pub(crate) struct Target {
    /// The server's name in reports.
    pub(crate) name: &'static str,
    pub(crate) dialect: Dialect,
    pub(crate) address: SocketAddr,
    pid: Option<u32>,
    _server: Option<Server>,
}

/// A thread that is ready to measure.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The CPU that this thread runs on.
    pub(crate) generator_cpu: usize,
    /// The CPU that servers run on.
    pub(crate) server_cpu: usize,
    pub(crate) wait: Wait,
    pub(crate) programs: Programs,
    pub(crate) interrupted: Arc<AtomicBool>,
    pub(crate) progress: ProgressLine,
}

impl Bench {
    /// Pins this thread and raises its limit of file descriptors.
    pub(crate) fn new(placement: Placement, programs: Programs, interrupted: Arc<AtomicBool>) -> Self {
        let _ = rlimit::increase_nofile_limit(u64::MAX);
        let (generator_cpu, server_cpu) = affinity::arrange(placement.cpu, placement.server_cpu);
        Self { generator_cpu, server_cpu, wait: placement.wait, programs, interrupted, progress: ProgressLine::new() }
    }

    /// The server that the arguments name; starts it if it does not run yet.
    pub(crate) fn target(&self, arguments: &TargetArgs) -> Result<Target, Failure> {
        match &arguments.url {
            None => self.start(arguments.server, &[]),
            Some(url) => {
                let address = resolve(url)?;
                let name = arguments.server.server();
                Ok(Target { name, dialect: arguments.server, address, pid: arguments.pid, _server: None })
            }
        }
    }

    /// Starts a server on its CPU; `arguments` are further arguments for lhttpd.
    pub(crate) fn start(&self, dialect: Dialect, arguments: &[&str]) -> Result<Target, Failure> {
        self.start_on(self.server_cpu, dialect, arguments)
    }

    /// Starts a server on another CPU than usual.
    pub(crate) fn start_on(&self, cpu: usize, dialect: Dialect, arguments: &[&str]) -> Result<Target, Failure> {
        let server = Server::start(dialect, &self.programs, arguments, cpu)?;
        Ok(Target::new(dialect.server(), dialect, server))
    }

    /// Starts nats-server for its own clients on CPU `cpu`.
    pub(crate) fn start_nats(&self, cpu: usize) -> Result<Target, Failure> {
        let server = Server::start_nats(&self.programs, cpu)?;
        Ok(Target::new("nats-server", Dialect::Nats, server))
    }

    /// Starts nginx, which serves only the mode `post`.
    pub(crate) fn start_nginx(&self) -> Result<Target, Failure> {
        let server = Server::start_nginx(&self.programs, self.server_cpu)?;
        Ok(Target::new("nginx", Dialect::Lhttp, server))
    }

    /// The longest poll when there is nothing else to do.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.wait.patience()
    }

    /// A generator for `target`.
    pub(crate) fn load(&self, target: &Target) -> Result<Load, Failure> {
        self.load_waiting(target, self.wait)
    }

    /// A generator for `target` with its own way to wait.
    pub(crate) fn load_waiting(&self, target: &Target, wait: Wait) -> Result<Load, Failure> {
        Load::new(target.dialect, target.address, wait, Arc::clone(&self.interrupted))
    }
}

impl Target {
    fn new(name: &'static str, dialect: Dialect, server: Server) -> Self {
        Self { name, dialect, address: server.address, pid: Some(server.pid()), _server: Some(server) }
    }

    /// A client of an LHTTP server outside the load. It waits for answers for [`CLIENT_PATIENCE`].
    pub(crate) fn client(&self) -> Result<WebSocket<TcpStream>, Failure> {
        let address = self.address;
        let stream = TcpStream::connect(address).map_err(Failure::io(format!("cannot connect to {address}")))?;
        stream.set_read_timeout(Some(CLIENT_PATIENCE)).map_err(Failure::io("a read timeout"))?;
        let handshake = tungstenite::client(format!("ws://{address}/"), stream);
        let (socket, _) = handshake.map_err(|error| Failure::Server(format!("no handshake: {error}")))?;
        Ok(socket)
    }

    /// The server's use of the machine so far, if its process is known.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.pid.and_then(procfs::usage_at_rest)
    }

    /// The server's resident memory now, if its process is known.
    pub(crate) fn rss_bytes(&self) -> Option<u64> {
        self.pid.and_then(procfs::rss_bytes)
    }
}

/// The address in a URL, for example `ws://127.0.0.1:8080/`. The path does not matter to any of these servers.
pub(crate) fn resolve(url: &str) -> Result<SocketAddr, Failure> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    if url.starts_with("wss://") || url.starts_with("https://") {
        return Err(Failure::Usage(format!("{url}: TLS is not spoken here")));
    }
    let with_port = if authority.rsplit(']').next().unwrap_or_default().contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let mut addresses = with_port.to_socket_addrs().map_err(Failure::io(format!("cannot resolve {url}")))?;
    addresses.next().ok_or_else(|| Failure::Usage(format!("{url} has no address")))
}
