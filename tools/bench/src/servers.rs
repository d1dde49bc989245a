//! Starts the servers under test and ends them again. Each runs alone, pinned to a CPU, on a free loopback port.

use std::{
    env, fs,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use crate::{affinity, dialect::Dialect, failure::Failure};

const START_TIMEOUT: Duration = Duration::from_secs(10);
const BUN_SCRIPT: &str = include_str!("../bun-server.js");
/// The path of Bun below this tool's directory, after `npm install`.
const BUN_PACKAGE: &str = "node_modules/@oven/bun-linux-x64/bin/bun";

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
    /// nginx, which `compare` uses for `post` [default: like nats-server]
    #[arg(long, value_name = "PATH")]
    pub(crate) nginx: Option<PathBuf>,
}

/// A running server. Dropping it kills the server and removes its files.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    files: PathBuf,
}

impl Server {
    /// Starts a server of this kind on CPU `cpu` and waits until it accepts connections.
    ///
    /// # Errors
    /// The server is not installed, or it ended instead of listening (with the last of its output).
    pub(crate) fn start(
        dialect: Dialect,
        programs: &Programs,
        arguments: &[&str],
        cpu: usize,
    ) -> Result<Self, Failure> {
        let address = free_address()?;
        let files = scratch_directory()?;
        let command = match dialect {
            Dialect::Lhttp => programs.lhttpd_command(address, arguments),
            Dialect::Nats => programs.nats_command(address, &files),
            Dialect::Bun => programs.bun_command(address, &files),
            Dialect::Floor => floor_command(address, cpu),
        };
        Self::spawn(dialect.server(), command, address, files, cpu)
    }

    /// Starts nginx with one worker that answers every request with an empty 200.
    pub(crate) fn start_nginx(programs: &Programs, cpu: usize) -> Result<Self, Failure> {
        let address = free_address()?;
        let files = scratch_directory()?;
        let command = programs.nginx_command(address, &files);
        Self::spawn("nginx", command, address, files, cpu)
    }

    /// Starts nats-server for its own clients, for example lhttpd.
    pub(crate) fn start_nats(programs: &Programs, cpu: usize) -> Result<Self, Failure> {
        let address = free_address()?;
        let files = scratch_directory()?;
        Self::spawn("nats-server", programs.plain_nats_command(address), address, files, cpu)
    }

    /// The process whose CPU time and memory count.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn spawn(
        name: &str,
        command: Result<Command, Failure>,
        address: SocketAddr,
        files: PathBuf,
        cpu: usize,
    ) -> Result<Self, Failure> {
        let started = command.and_then(|mut command| {
            let log = File::create(files.join("log")).map_err(Failure::io("cannot make a log file"))?;
            let errors = log.try_clone().map_err(Failure::io("cannot make a log file"))?;
            command.stdin(Stdio::null()).stdout(log).stderr(errors);
            // A child inherits the CPUs of the thread that starts it, and its own threads inherit them in turn.
            affinity::on_cpu(cpu, || command.spawn()).map_err(Failure::io(format!("cannot start {name}")))
        });
        let child = match started {
            Ok(child) => child,
            Err(failure) => {
                let _ = fs::remove_dir_all(&files);
                return Err(failure);
            }
        };
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
            let log = fs::read_to_string(self.files.join("log")).unwrap_or_default();
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
        let _ = fs::remove_dir_all(&self.files);
    }
}

impl Programs {
    fn lhttpd_command(&self, address: SocketAddr, arguments: &[&str]) -> Result<Command, Failure> {
        let beside = env::current_exe().map_err(Failure::io("cannot find this program"))?.with_file_name("lhttpd");
        let program = self.lhttpd.clone().unwrap_or(beside);
        let hint = "build it (cargo build --release) or give --lhttpd PATH";
        let program = existing("lhttpd", program, hint)?;
        let cpus = self.lhttpd_arg.iter().find_map(|argument| argument.strip_prefix("--cpu-list="));
        let mut command = match cpus {
            None => Command::new(program),
            Some(cpus) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpus]).arg(program);
                command
            }
        };
        command.args(["--listen", &address.to_string()]).args(&self.lhttpd_arg).args(arguments);
        if cpus.is_none() {
            command.args(["--cores", "1"]);
        }
        Ok(command)
    }

    fn nats_program(&self) -> Result<PathBuf, Failure> {
        find("nats-server", self.nats.as_ref(), "nats-server", "install it, or give --nats PATH")
    }

    fn plain_nats_command(&self, address: SocketAddr) -> Result<Command, Failure> {
        let mut command = Command::new(self.nats_program()?);
        command.args(["-a", &address.ip().to_string(), "-p", &address.port().to_string()]).env("GOMAXPROCS", "1");
        Ok(command)
    }

    fn nats_command(&self, address: SocketAddr, files: &Path) -> Result<Command, Failure> {
        let program = self.nats_program()?;
        let (plain, host, port) = (free_address()?.port(), address.ip(), address.port());
        let path = files.join("nats.conf");
        let text = format!(
            "host: {host}\nport: {plain}\nping_interval: \"1h\"\n\
             websocket {{\n  host: {host}\n  port: {port}\n  no_tls: true\n}}\n"
        );
        fs::write(&path, text).map_err(Failure::io("cannot write nats-server's configuration"))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(path).env("GOMAXPROCS", "1");
        Ok(command)
    }

    fn bun_command(&self, address: SocketAddr, files: &Path) -> Result<Command, Failure> {
        let hint = "npm install in tools/bench, or give --bun PATH";
        let given = self.bun.clone().or_else(|| env::var_os("LHTTP_BENCH_BUN").map(PathBuf::from));
        let program = find("Bun", given.as_ref(), "bun", hint).or_else(|failure| {
            if given.is_some() {
                return Err(failure);
            }
            // From the repository's root, or from target/release in it.
            let here = PathBuf::from("tools/bench").join(BUN_PACKAGE);
            let built = env::current_exe().ok().and_then(|exe| Some(exe.ancestors().nth(3)?.join(&here)));
            [Some(here), built].into_iter().flatten().find(|path| path.is_file()).ok_or(failure)
        })?;
        let script = files.join("bun-server.js");
        fs::write(&script, BUN_SCRIPT).map_err(Failure::io("cannot write Bun's script"))?;
        let mut command = Command::new(program);
        command.arg(script).arg(address.ip().to_string()).arg(address.port().to_string());
        Ok(command)
    }

    fn nginx_command(&self, address: SocketAddr, files: &Path) -> Result<Command, Failure> {
        let program = find("nginx", self.nginx.as_ref(), "nginx", "install it, or give --nginx PATH")?;
        let path = files.join("nginx.conf");
        let directory = files.display();
        // Without a master there is only one process, so its CPU time is everything.
        let text = format!(
            "daemon off;\nmaster_process off;\nworker_processes 1;\npid {directory}/pid;\n\
             error_log stderr;\nevents {{ worker_connections 16384; }}\nhttp {{\n  access_log off;\n  \
             keepalive_requests 1000000000;\n  client_body_temp_path {directory};\n  proxy_temp_path {directory};\n  \
             fastcgi_temp_path {directory};\n  uwsgi_temp_path {directory};\n  scgi_temp_path {directory};\n  \
             server {{ listen {address}; location / {{ return 200 \"\"; }} }}\n}}\n"
        );
        fs::write(&path, text).map_err(Failure::io("cannot write nginx's configuration"))?;
        let mut command = Command::new(program);
        command.arg("-e").arg("stderr").arg("-p").arg(files).arg("-c").arg(path);
        Ok(command)
    }
}

fn floor_command(address: SocketAddr, cpu: usize) -> Result<Command, Failure> {
    let program = env::current_exe().map_err(Failure::io("cannot find this program"))?;
    let mut command = Command::new(program);
    command.args(["floor", "--listen", &address.to_string(), "--cpu", &cpu.to_string()]);
    Ok(command)
}

/// The given program, or the one with this name in the usual places.
fn find(name: &str, given: Option<&PathBuf>, file: &str, hint: &str) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        return existing(name, given.clone(), hint);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let found = env::split_paths(&path).chain(more).map(|directory| directory.join(file)).find(|path| path.is_file());
    found.ok_or_else(|| Failure::NotInstalled(format!("{name} is not installed: {hint}")))
}

fn existing(name: &str, program: PathBuf, hint: &str) -> Result<PathBuf, Failure> {
    if program.is_file() {
        return Ok(program);
    }
    Err(Failure::NotInstalled(format!("{name} is not at {}: {hint}", program.display())))
}

/// A port that is free now, at a loopback address of this process alone, so that no other process takes it before the
/// server does.
pub(crate) fn free_address() -> Result<SocketAddr, Failure> {
    let [_, high, middle, low] = process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 128 | high, middle, low); // Linux numbers processes with 22 bits
    let listener = TcpListener::bind((address, 0)).map_err(Failure::io("cannot find a free port"))?;
    listener.local_addr().map_err(Failure::io("cannot find a free port"))
}

/// A new directory for a server's files.
fn scratch_directory() -> Result<PathBuf, Failure> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("lhttp-bench-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let directory = env::temp_dir().join(name);
    fs::create_dir_all(&directory).map_err(Failure::io(format!("cannot make {}", directory.display())))?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_at_once_is_an_error_with_its_words_and_leaves_no_files() {
        let files = scratch_directory().expect("a directory");
        let mut command = Command::new("sh");
        command.args(["-c", "echo the port is taken >&2; exit 3"]);
        let address = free_address().expect("a port");
        let error = Server::spawn("sh", Ok(command), address, files.clone(), 0).expect_err("it does not listen");
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.contains("the port is taken"), "{text}");
        assert!(!files.exists());
    }

    #[test]
    fn a_dropped_server_has_ended() {
        let files = scratch_directory().expect("a directory");
        // The port is this test's own, so the server itself need not listen.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let mut command = Command::new("sleep");
        command.arg("1000");
        let address = listener.local_addr().expect("an address");
        let server = Server::spawn("sleep", Ok(command), address, files.clone(), 0).expect("it runs");
        let process = PathBuf::from(format!("/proc/{}", server.pid()));
        assert!(process.exists());
        drop(server);
        assert!(!process.exists() && !files.exists());
    }

    #[test]
    fn a_program_that_is_missing_is_named_with_the_way_to_get_it() {
        let programs = Programs { nats: Some("/nowhere/nats-server".into()), ..Programs::default() };
        let error = Server::start(Dialect::Nats, &programs, &[], 0).expect_err("it is not there");
        assert!(matches!(&error, Failure::NotInstalled(_)), "{error:?}");
        assert!(error.to_string().contains("/nowhere/nats-server") && error.to_string().contains("--nats"), "{error}");
    }
}
