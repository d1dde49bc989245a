//! Everything that all modes share: the server under test, and the CPUs of this thread and of the server.

use std::{
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use tungstenite::WebSocket;

use crate::{
    affinity,
    dialect::Dialect,
    failure::Failure,
    jwt::Tokens,
    load::{Load, Wait},
    procfs::{self, Usage},
    report::ProgressLine,
    servers::{Programs, Server},
    tls::TlsClient,
};

/// How long a client beside the load waits for an answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);
/// File descriptors that a process needs besides its connections.
const SPARE_DESCRIPTORS: u64 = 64;
/// How long a server may take to rest.
const REST_MAX: Duration = Duration::from_secs(10);

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
    /// Over TLS, as with a wss:// URL; a server that this program starts gets a certificate (ECDSA, P-256). All servers
    /// are offered TLS 1.3 with AES-128-GCM alone, and no certificate is checked
    #[arg(long)]
    pub(crate) tls: bool,
    /// Each connection shows a token of its own for all channels, signed with the secret (HS256) in this file. An lhttpd
    /// that this program starts gets the file as its --token-key
    #[arg(long, value_name = "FILE")]
    pub(crate) token_key: Option<PathBuf>,
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
    /// What its clients share for TLS, if it speaks that.
    pub(crate) tls: Option<Arc<TlsClient>>,
    /// Its clients' tokens, if they show some.
    pub(crate) tokens: Option<Arc<Tokens>>,
    /// Its processes, if they are known.
    pids: Vec<u32>,
    servers: Vec<Server>,
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
        if arguments.token_key.is_some() && arguments.server != Dialect::Lhttp {
            return Err(Failure::Usage(format!("{} knows no tokens", arguments.server)));
        }
        let mut target = match &arguments.url {
            None => {
                let key = arguments.token_key.as_ref().map(|path| path.display().to_string());
                let key: Vec<&str> = key.iter().flat_map(|path| ["--token-key", path]).collect();
                self.start_tls(arguments.server, &key, arguments.tls)?
            }
            Some(url) => {
                let (address, is_tls) = resolve(url)?;
                let tls = if is_tls || arguments.tls { Some(Arc::new(TlsClient::new()?)) } else { None };
                let (name, dialect) = (arguments.server.server(), arguments.server);
                let pids = arguments.pid.into_iter().collect();
                Target { name, dialect, address, tls, tokens: None, pids, servers: Vec::new() }
            }
        };
        if let Some(secret) = &arguments.token_key {
            target.show_tokens(secret)?;
        }
        Ok(target)
    }

    /// Starts a server on its CPU that speaks TLS if wanted; `arguments` are further arguments for lhttpd.
    pub(crate) fn start_tls(&self, dialect: Dialect, arguments: &[&str], tls: bool) -> Result<Target, Failure> {
        let server = Server::start(dialect, &self.programs, arguments, self.server_cpu, tls)?;
        let tls = if tls { Some(Arc::new(TlsClient::new()?)) } else { None };
        Ok(Target { tls, ..Target::new(dialect.server(), dialect, server) })
    }

    /// Starts lhttpd without TLS, and nginx with TLS in front of it, on the same CPU.
    pub(crate) fn start_front(&self, arguments: &[&str]) -> Result<Target, Failure> {
        let behind = self.start(Dialect::Lhttp, arguments)?;
        let front = Server::start_front(&self.programs, behind.address, self.server_cpu)?;
        let mut target = Target::new("nginx in front", Dialect::Lhttp, front);
        target.tls = Some(Arc::new(TlsClient::new()?));
        target.pids.extend(behind.pids);
        target.servers.extend(behind.servers);
        Ok(target)
    }

    /// Starts a server on its CPU; `arguments` are further arguments for lhttpd.
    pub(crate) fn start(&self, dialect: Dialect, arguments: &[&str]) -> Result<Target, Failure> {
        self.start_on(self.server_cpu, dialect, arguments)
    }

    /// Starts a server on another CPU than usual.
    pub(crate) fn start_on(&self, cpu: usize, dialect: Dialect, arguments: &[&str]) -> Result<Target, Failure> {
        let server = Server::start(dialect, &self.programs, arguments, cpu, false)?;
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

    /// Starts nginx with Nchan, which keeps the newest `messages` of each channel.
    pub(crate) fn start_nchan(&self, messages: usize, tls: bool) -> Result<Target, Failure> {
        if tls {
            return Err(Failure::Usage("Nchan is measured without TLS".into()));
        }
        let server = Server::start_nchan(&self.programs, messages, self.server_cpu)?;
        Ok(Target::new("Nchan", Dialect::Nchan, server))
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
        let mut load = Load::new(target.dialect, target.address, wait, Arc::clone(&self.interrupted))?;
        (load.tls, load.tokens) = (target.tls.clone(), target.tokens.clone());
        Ok(load)
    }

    /// Checks that this process may have that many connections. A server that it starts has the same limit.
    pub(crate) fn check_descriptors(&self, connections: usize) -> Result<(), Failure> {
        let most = descriptors()?;
        if connections > most {
            let why = format!("this process may have {most} connections, {connections} are wanted (`ulimit -Hn`)");
            return Err(Failure::Usage(why));
        }
        Ok(())
    }
}

impl Target {
    fn new(name: &'static str, dialect: Dialect, server: Server) -> Self {
        let (address, pids) = (server.address, vec![server.pid()]);
        Self { name, dialect, address, tls: None, tokens: None, pids, servers: vec![server] }
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
        procfs::usage_at_rest(&self.pids)
    }

    /// Its clients show tokens that are signed with the secret in this file.
    pub(crate) fn show_tokens(&mut self, secret: &Path) -> Result<(), Failure> {
        self.tokens = Some(Arc::new(Tokens::from_file(secret)?));
        Ok(())
    }

    /// This program started the server.
    pub(crate) fn is_ours(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Waits until the server has used no CPU time for a while, so that nothing from before is measured later.
    pub(crate) fn rest(&self) -> Option<Usage> {
        let deadline = Instant::now() + REST_MAX;
        let mut last = self.usage()?;
        loop {
            thread::sleep(Duration::from_millis(50));
            let now = self.usage()?;
            if now.cpu_ns == last.cpu_ns || Instant::now() > deadline {
                return Some(now);
            }
            last = now;
        }
    }

    /// Lets the most resident memory count from now on, and returns how much is resident now.
    pub(crate) fn restart_rss_peak(&self) -> Option<u64> {
        self.pids
            .iter()
            .map(|pid| procfs::restart_rss_peak(*pid))
            .sum::<Option<u64>>()
            .filter(|_| !self.pids.is_empty())
    }

    /// The most that was resident since then, of each process at its own time.
    pub(crate) fn rss_peak_bytes(&self) -> Option<u64> {
        self.pids.iter().map(|pid| procfs::rss_peak_bytes(*pid)).sum::<Option<u64>>().filter(|_| !self.pids.is_empty())
    }

    /// Bytes that the server has written to disks so far, if its process is known.
    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        self.pids.iter().map(|pid| procfs::disk_bytes(*pid)).sum::<Option<u64>>().filter(|_| !self.pids.is_empty())
    }

    /// The server's resident memory now, if its process is known.
    pub(crate) fn rss_bytes(&self) -> Option<u64> {
        self.pids.iter().map(|pid| procfs::rss_bytes(*pid)).sum::<Option<u64>>().filter(|_| !self.pids.is_empty())
    }
}

/// The address in a URL, for example `ws://127.0.0.1:8080/`, and whether it stands for TLS. The path does not matter to
/// any of these servers.
pub(crate) fn resolve(url: &str) -> Result<(SocketAddr, bool), Failure> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let is_tls = url.starts_with("wss://") || url.starts_with("https://");
    let with_port = if authority.rsplit(']').next().unwrap_or_default().contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:{}", if is_tls { 443 } else { 80 })
    };
    let mut addresses = with_port.to_socket_addrs().map_err(Failure::io(format!("cannot resolve {url}")))?;
    let address = addresses.next().ok_or_else(|| Failure::Usage(format!("{url} has no address")))?;
    Ok((address, is_tls))
}

/// How many connections this process may have.
pub(crate) fn descriptors() -> Result<usize, Failure> {
    let (files, _) = rlimit::getrlimit(rlimit::Resource::NOFILE).map_err(Failure::io("the limit of open files"))?;
    Ok(usize::try_from(files.saturating_sub(SPARE_DESCRIPTORS)).unwrap_or(usize::MAX))
}
