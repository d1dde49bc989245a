//! A real `lhttpd`, started on a free port and killed at the end of the test.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::{PATIENCE, process, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_lhttpd");

/// The daemon's words once it accepts connections, before the address.
const LISTENING: &str = "listening on ";

/// A running daemon. Dropping it kills the process.
pub(crate) struct Daemon {
    child: Child,
    address: SocketAddr,
    stderr: Arc<Mutex<String>>,
}

impl Daemon {
    /// Starts `lhttpd --listen 127.0.0.1:0 --cores CORES ARGS…` and waits until it listens.
    pub(crate) fn start(cores: usize, args: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        Self::launch(command.args(base_args(cores)).args(args))
    }

    /// The same, at an address of [`free_address`](super::loopback::free_address), where another one may have been.
    pub(crate) fn start_at(address: SocketAddr, cores: usize, args: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        let (listen, cores) = (address.to_string(), cores.to_string());
        Self::launch(command.args(["--listen", &listen, "--cores", &cores]).args(args))
    }

    /// The same, with at most `fds` open files; the daemon cannot raise that limit.
    pub(crate) fn start_with_fds(cores: usize, fds: u32, args: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {fds}; exec \"$0\" \"$@\"")).arg(BINARY);
        Self::launch(command.args(base_args(cores)).args(args))
    }

    /// The same on one core, with files of at most so many blocks of 512 bytes, until [`Daemon::lift_file_limit`].
    pub(crate) fn start_with_file_limit(blocks: u32, args: &[&str]) -> Self {
        let mut command = Command::new("sh");
        // A process that ignores the signal gets an error instead, as from a full disk.
        let shell = format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"");
        command.arg("-c").arg(shell).arg(BINARY);
        Self::launch(command.args(base_args(1)).args(args))
    }

    /// Lets the daemon's files grow.
    pub(crate) fn lift_file_limit(&self) {
        let status = Command::new("prlimit").args(["--pid", &self.id().to_string(), "--fsize=unlimited"]).status();
        assert!(status.expect("prlimit runs").success());
    }

    /// Lets the daemon have at most so many files open. Those that it has stay open.
    pub(crate) fn limit_open_files(&self, fds: usize) {
        let limit = format!("--nofile={fds}:"); // the soft limit alone
        let status = Command::new("prlimit").args(["--pid", &self.id().to_string(), &limit]).status();
        assert!(status.expect("prlimit runs").success());
    }

    /// Starts `lhttpd ARGS…` without an address, and waits until it listens.
    pub(crate) fn start_bare(args: &[&str]) -> Self {
        Self::launch(Command::new(BINARY).args(args))
    }

    /// The same as [`Daemon::start`], with an environment variable.
    pub(crate) fn start_with_variable(cores: usize, name: &str, value: &str, args: &[&str]) -> Self {
        Self::launch(Command::new(BINARY).args(base_args(cores)).args(args).env(name, value))
    }

    /// Starts `lhttpd ARGS…` without an address. It gets one or two listening sockets as from systemd.
    pub(crate) fn start_with_sockets(sockets: Vec<OwnedFd>, args: &[&str]) -> Self {
        Self::watch(command_with_sockets(sockets).args(args).stderr(Stdio::piped()))
    }

    fn launch(command: &mut Command) -> Self {
        Self::watch(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()))
    }

    fn watch(command: &mut Command) -> Self {
        // All tests that run at once are one process, and some have thousands of clients.
        rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be read and raised");
        let mut child = command.spawn().expect("lhttpd starts");
        let stderr = collect(child.stderr.take().expect("stderr is piped"));
        let mut daemon = Self { child, address: (Ipv4Addr::UNSPECIFIED, 0).into(), stderr };
        let mut exited = None;
        let known = wait_until(
            || {
                daemon.address = announced(&daemon.stderr()).unwrap_or(daemon.address);
                exited = daemon.child.try_wait().expect("the child can be waited for");
                daemon.port() != 0 || exited.is_some()
            },
            PATIENCE,
        );
        assert!(
            known && daemon.port() != 0,
            "lhttpd says no `{LISTENING}ADDRESS` (exit: {exited:?}); stderr:\n{}",
            daemon.stderr()
        );
        daemon
    }

    /// The port that the daemon listens on.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address that the daemon listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The daemon's process number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The daemon's stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().expect("no reader panicked").clone()
    }

    /// Waits until the daemon has written this to stderr.
    #[track_caller]
    pub(crate) fn wait_for(&self, part: &str) {
        let written = wait_until(|| self.stderr().contains(part), PATIENCE);
        assert!(written, "lhttpd does not write {part:?}; stderr:\n{}", self.stderr());
    }

    /// The daemon's own resident memory in bytes, rounded to pages. It excludes the pages of the program itself,
    /// because the kernel maps more or fewer of them depending on its cache.
    pub(crate) fn memory(&self) -> usize {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).expect("the daemon runs");
        let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).expect("smaps_rollup has Anonymous");
        let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("Anonymous is in kB");
        kib * 1024
    }

    /// The most resident memory since the start, in bytes.
    pub(crate) fn peak_rss(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the daemon runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("status has VmHWM");
        let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("VmHWM is in kB");
        kib * 1024
    }

    /// How many files the daemon has open; most are sockets.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the daemon runs").count()
    }

    /// The CPU time used, user and system, in the kernel's ticks of 10 ms.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the daemon runs");
        // The second field is the name in parentheses and may hold spaces; utime and stime are the 14th and 15th.
        let fields = stat.rsplit(')').next().expect("stat names the program").split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends the signal with this name (without "SIG").
    pub(crate) fn signal(&self, name: &str) {
        process::signal(&self.child, name);
    }

    /// The exit status, if the daemon ended within `timeout`.
    pub(crate) fn exit_within(&mut self, timeout: Duration) -> Option<ExitStatus> {
        process::exit_within(&mut self.child, timeout)
    }

    /// Fails the test if the daemon has died or one of its threads panicked.
    pub(crate) fn assert_healthy(&mut self) {
        let status = self.child.try_wait().expect("the child can be waited for");
        assert!(status.is_none(), "lhttpd ended with {status:?}; stderr:\n{}", self.stderr());
        assert!(!self.stderr().contains("panicked at"), "lhttpd panicked; stderr:\n{}", self.stderr());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only if the daemon has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let stderr = self.stderr();
        if thread::panicking() {
            eprintln!("--- lhttpd's stderr ---\n{stderr}");
        } else {
            assert!(!stderr.contains("panicked at"), "lhttpd panicked; stderr:\n{stderr}");
        }
    }
}

/// A shell that becomes lhttpd. It has the sockets as its stdin and stdout, and gives them the numbers 3 and 4.
pub(crate) fn command_with_sockets(sockets: Vec<OwnedFd>) -> Command {
    let script = "exec 3<&0 4<&1 0</dev/null 1>&2; export LISTEN_PID=$$ LISTEN_FDS=$COUNT; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(BINARY).env("COUNT", sockets.len().to_string());
    assert!((1..=2).contains(&sockets.len()), "there is a stdin and a stdout");
    let mut sockets = sockets.into_iter().map(Stdio::from);
    command.stdin(sockets.next().unwrap_or_else(Stdio::null)).stdout(sockets.next().unwrap_or_else(Stdio::null));
    command
}

fn base_args(cores: usize) -> [String; 4] {
    ["--listen".into(), "127.0.0.1:0".into(), "--cores".into(), cores.to_string()]
}

/// Reads stderr to its end on a thread, so that the daemon never blocks on a full pipe.
fn collect(stderr: ChildStderr) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&text);
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut sink = sink.lock().expect("no test panics while it holds the text");
            sink.push_str(&line);
            sink.push('\n');
        }
    });
    text
}

fn announced(stderr: &str) -> Option<SocketAddr> {
    let (_, rest) = stderr.split_once(LISTENING)?;
    let (address, _) = rest.split_once([' ', ','])?;
    address.trim_end_matches(':').parse().ok()
}
