//! The daemon as a process: started, watched and ended.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use crate::helpers::process;

/// Longer than anything here takes on a busy machine. Only a failing test waits this long.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon. It ends with the test, whether the test passes or fails.
pub(super) struct DaemonProcess {
    process: Process,
    pub(super) address: SocketAddr,
    /// The start-up line.
    pub(super) line: String,
    /// The lines on stderr after the start-up line, until the process ends. `None` once the pipe is closed.
    lines: Option<Receiver<String>>,
}

impl DaemonProcess {
    pub(super) fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    pub(super) fn start_with(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = daemon(&["--listen", "127.0.0.1:0"]);
        command.args(args).envs(variables.iter().copied()).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process(command.spawn().unwrap());
        let stderr = BufReader::new(process.0.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Self { process, address: unknown, line: String::new(), lines: Some(lines) };
        server.line = server.wait_for_line("listening on ");
        let rest = server.line.split_once("listening on ").unwrap().1;
        let address = rest.split([',', ' ']).next().unwrap().trim_end_matches(':');
        server.address = address.parse().unwrap_or_else(|_| panic!("no address in {:?}", server.line));
        server
    }

    pub(super) fn wait_for_line(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let lines = self.lines.as_ref().unwrap();
        let mut seen = Vec::new();
        while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line with {part:?} on stderr, only {seen:#?}");
    }

    /// The rest of the stderr of a process that has ended.
    pub(super) fn rest(&mut self) -> String {
        self.lines.take().unwrap().iter().collect::<Vec<_>>().join("\n")
    }

    /// Closes the reading end of the pipe at the next line, because nothing reads that line.
    pub(super) fn close_stderr(&mut self) {
        self.lines = None;
    }

    pub(super) fn signal(&self, name: &str) {
        process::signal(&self.process.0, name);
    }

    pub(super) fn wait(&mut self) -> ExitStatus {
        self.process.wait_for_exit()
    }
}

/// A child process that is killed if the test ends first.
struct Process(Child);

impl Process {
    fn wait_for_exit(&mut self) -> ExitStatus {
        process::exit_within(&mut self.0, PATIENCE)
            .unwrap_or_else(|| panic!("the process has not ended after {PATIENCE:?}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn daemon(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lhttpd"));
    command.args(args).env_remove("LHTTP_PUBLISH_KEY").env("RUST_BACKTRACE", "1");
    command
}

/// Runs the daemon until it ends, which must happen soon. Its output here fits into a pipe, so it can be read
/// afterwards.
pub(super) fn run(args: &[&str]) -> Output {
    let child = daemon(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut process = Process(child);
    let status = process.wait_for_exit();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    process.0.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    process.0.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    Output { status, stdout, stderr }
}

/// The stdout of a successful run.
pub(super) fn succeeds(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Checks that the daemon exits with code 1 and exactly one line on stderr, which contains `named`.
pub(super) fn assert_refused(args: &[&str], named: &str) {
    let output = run(args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(said.starts_with("lhttpd: ") && said.contains(named), "{args:?}: no {named:?} in {said:?}");
    assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The status of a `POST /publish` with these extra header lines.
pub(super) fn publish(address: SocketAddr, headers: &str) -> u16 {
    let body = "LHTTP/1.0 c\r\npublish:room\r\n\r\nhi";
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!("POST /publish HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut status_line = String::new();
    BufReader::new(stream).read_line(&mut status_line).unwrap();
    status_line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{status_line:?}"))
}
