//! Starts the servers under test and ends them again. Each runs alone, pinned to a CPU, on a free loopback port.

use std::{
    env, fs,
    fs::File,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use crate::{affinity, dialect::Dialect, failure::Failure, tls::Certificate};

mod commands;

const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How many messages of a channel Nchan keeps where a mode does not say so: its own default.
const NCHAN_KEEPS: usize = 10;

/// The paths of the servers' programs, and the arguments for lhttpd.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Programs {
    /// The lhttpd to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) lhttpd: Option<PathBuf>,
    /// Another argument for lhttpd, for example `--lhttpd-arg=--busy-poll=50`; may be repeated. With
    /// `--lhttpd-arg=--cpu-list=0,1` lhttpd has a core on each of these CPUs, otherwise one core
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) lhttpd_arg: Vec<String>,
    /// nats-server [default: from $PATH, /usr/sbin or /usr/local/sbin]
    #[arg(long, value_name = "PATH")]
    pub(crate) nats: Option<PathBuf>,
    /// Bun [default: $LHTTP_BENCH_BUN, from $PATH, or tools/bench/node_modules (`npm install` in tools/bench)]
    #[arg(long, value_name = "PATH")]
    pub(crate) bun: Option<PathBuf>,
    /// nginx, which `compare` uses for `post`, for Nchan, and with --tls in front of lhttpd [default: like nats-server]
    #[arg(long, value_name = "PATH")]
    pub(crate) nginx: Option<PathBuf>,
    /// nginx's module Nchan [default: from nginx's usual directories of modules]
    #[arg(long, value_name = "PATH")]
    pub(crate) nchan: Option<PathBuf>,
}

/// A running server. Dropping it kills the server, and then removes its files.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    files: Scratch,
}

impl Server {
    /// Starts a server of this kind on CPU `cpu` and waits until it accepts connections, with TLS if wanted.
    ///
    /// # Errors
    /// The server is not installed, or it ended instead of listening (with the last of its output).
    pub(crate) fn start(
        dialect: Dialect,
        programs: &Programs,
        arguments: &[&str],
        cpu: usize,
        tls: bool,
    ) -> Result<Self, Failure> {
        Self::prepare(dialect.server(), cpu, |address, files| {
            let certificate = if tls { Some(Certificate::make(files)?) } else { None };
            match dialect {
                Dialect::Lhttp => programs.lhttpd_command(address, arguments, certificate.as_ref()),
                Dialect::Nats => programs.nats_command(address, files, certificate.as_ref(), false),
                Dialect::JetStream => programs.nats_command(address, files, certificate.as_ref(), true),
                Dialect::Nchan if tls => Err(Failure::Usage("Nchan is measured without TLS".into())),
                Dialect::Nchan => programs.nchan_command(address, files, NCHAN_KEEPS),
                Dialect::Bun => programs.bun_command(address, files, certificate.as_ref()),
                Dialect::Floor if tls => Err(Failure::Usage("floor relays bytes and cannot speak TLS".into())),
                Dialect::Floor => commands::floor(address, cpu),
            }
        })
    }

    /// Starts nginx with one worker that answers every request with an empty 200.
    pub(crate) fn start_nginx(programs: &Programs, cpu: usize) -> Result<Self, Failure> {
        Self::prepare("nginx", cpu, |address, files| programs.nginx_command(address, files))
    }

    /// Starts nginx with Nchan, which keeps the newest `messages` of each channel.
    pub(crate) fn start_nchan(programs: &Programs, messages: usize, cpu: usize) -> Result<Self, Failure> {
        Self::prepare("nginx with Nchan", cpu, |address, files| programs.nchan_command(address, files, messages))
    }

    /// Starts lhttpd on an address that is free, for example that of one that was killed.
    pub(crate) fn start_lhttpd_at(
        address: SocketAddr,
        programs: &Programs,
        arguments: &[&str],
        cpu: usize,
    ) -> Result<Self, Failure> {
        let command = programs.lhttpd_command(address, arguments, None);
        Self::spawn("lhttpd", command, address, Scratch::make()?, cpu)
    }

    /// Ends the process at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(|_| ()).map_err(Failure::io("cannot kill the server"))
    }

    /// Starts nginx with one worker that speaks TLS to clients, and passes them on to the WebSocket server at
    /// `behind`.
    pub(crate) fn start_front(programs: &Programs, behind: SocketAddr, cpu: usize) -> Result<Self, Failure> {
        Self::prepare("nginx", cpu, |address, files| {
            programs.front_command(address, behind, files, &Certificate::make(files)?)
        })
    }

    /// Starts nats-server for its own clients, for example lhttpd.
    pub(crate) fn start_nats(programs: &Programs, cpu: usize) -> Result<Self, Failure> {
        Self::prepare("nats-server", cpu, |address, _| programs.plain_nats_command(address))
    }

    /// The process whose CPU time and memory count.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts the command for a free address and a new directory.
    fn prepare(
        name: &str,
        cpu: usize,
        command: impl FnOnce(SocketAddr, &Path) -> Result<Command, Failure>,
    ) -> Result<Self, Failure> {
        let address = free_address()?;
        let files = Scratch::make()?;
        let command = command(address, files.path());
        Self::spawn(name, command, address, files, cpu)
    }

    fn spawn(
        name: &str,
        command: Result<Command, Failure>,
        address: SocketAddr,
        files: Scratch,
        cpu: usize,
    ) -> Result<Self, Failure> {
        let mut command = command?;
        let log = File::create(files.path().join("log")).map_err(Failure::io("cannot make a log file"))?;
        let errors = log.try_clone().map_err(Failure::io("cannot make a log file"))?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        // A child inherits the CPUs of the thread that starts it, and its own threads inherit them in turn.
        let child = affinity::on_cpu(cpu, || command.spawn()).map_err(Failure::io(format!("cannot start {name}")))?;
        let mut server = Self { address, child, files };
        server.wait_until_it_listens(name)?;
        Ok(server)
    }

    fn wait_until_it_listens(&mut self, name: &str) -> Result<(), Failure> {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.address).is_err() {
            let state = match self.child.try_wait() {
                Ok(Some(status)) => format!("ended at once ({status})"),
                _ if Instant::now() > deadline => "does not listen after 10 s".into(),
                _ => {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                }
            };
            let log = fs::read_to_string(self.files.path().join("log")).unwrap_or_default();
            let from = log.char_indices().rev().nth(600).map_or(0, |(at, _)| at);
            return Err(Failure::Server(format!("{name} {state}; it said: {}", log[from..].trim())));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free now, at a loopback address of this process alone, so that no other process takes it before the
/// server does.
pub(crate) fn free_address() -> Result<SocketAddr, Failure> {
    let [_, high, middle, low] = process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 128 | high, middle, low); // Linux numbers processes with 22 bits
    let listener = TcpListener::bind((address, 0)).map_err(Failure::io("cannot find a free port"))?;
    listener.local_addr().map_err(Failure::io("cannot find a free port"))
}

/// Writes a file that nobody else may read.
pub(crate) fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// A new directory for files. Dropping this removes it.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes the directory.
    pub(crate) fn make() -> Result<Self, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("lhttp-bench-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = env::temp_dir().join(name);
        fs::create_dir_all(&directory).map_err(Failure::io(format!("cannot make {}", directory.display())))?;
        Ok(Self(directory))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_at_once_is_an_error_with_its_words_and_leaves_nofiles() {
        let files = Scratch::make().expect("a directory");
        let path = files.path().to_owned();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the port is taken >&2; exit 3"]);
        let address = free_address().expect("a port");
        let error = Server::spawn("sh", Ok(command), address, files, 0).expect_err("it does not listen");
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.contains("the port is taken"), "{text}");
        assert!(!path.exists());
    }

    #[test]
    fn a_dropped_server_has_ended() {
        let files = Scratch::make().expect("a directory");
        let path = files.path().to_owned();
        // The port is this test's own, so the server itself need not listen.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let mut command = Command::new("sleep");
        command.arg("1000");
        let address = listener.local_addr().expect("an address");
        let server = Server::spawn("sleep", Ok(command), address, files, 0).expect("it runs");
        let process = PathBuf::from(format!("/proc/{}", server.pid()));
        assert!(process.exists());
        drop(server);
        assert!(!process.exists() && !path.exists());
    }

    #[test]
    fn a_program_that_is_missing_is_named_with_the_way_to_get_it() {
        let programs = Programs { nats: Some("/nowhere/nats-server".into()), ..Programs::default() };
        let error = Server::start(Dialect::Nats, &programs, &[], 0, false).expect_err("it is not there");
        assert!(matches!(&error, Failure::NotInstalled(_)), "{error:?}");
        assert!(error.to_string().contains("/nowhere/nats-server") && error.to_string().contains("--nats"), "{error}");
    }
}
