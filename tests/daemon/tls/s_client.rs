//! `openssl s_client`, another implementation of TLS than the server's, driven by its pipes.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use crate::helpers::{PATIENCE, certificates::Certified, daemon::Daemon, process, wait_until};

/// A daemon that speaks TLS, too.
pub(super) struct TlsDaemon {
    pub(super) daemon: Daemon,
    /// The port with TLS; that of `daemon` is without.
    pub(super) port: u16,
}

impl TlsDaemon {
    pub(super) fn start(cores: usize, certified: &Certified, args: &[&str]) -> Self {
        let flags = [&["--listen", "tls://127.0.0.1:0"], &certified.flags()[..], args].concat();
        Self::of(Daemon::start(cores, &flags))
    }

    /// Finds the first port with TLS in the first line of the log.
    pub(super) fn of(daemon: Daemon) -> Self {
        let line = daemon.stderr();
        let (_, rest) = line.split_once("tls://127.0.0.1:").expect("an address with TLS");
        let end = rest.find(|c: char| !c.is_ascii_digit()).expect("an end");
        Self { port: rest[..end].parse().expect("a port"), daemon }
    }

    /// A client for the host `a.example`.
    pub(super) fn client(&self, ca: &str, args: &[&str]) -> SClient {
        SClient::start(self.port, ca, &[&["-servername", "a.example"], args].concat())
    }
}

/// A running `openssl s_client`. Dropping it kills the process.
pub(super) struct SClient {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Everything on stdout and stderr, in the order of arrival.
    said: Arc<Mutex<Vec<u8>>>,
}

impl SClient {
    /// Connects, and refuses a server whose certificate is not of this authority.
    pub(super) fn start(port: u16, ca: &str, args: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-CAfile", ca, "-verify_return_error"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        let said = Arc::default();
        collect(child.stdout.take().expect("it is piped"), &said);
        collect(child.stderr.take().expect("it is piped"), &said);
        Self { stdin: child.stdin.take(), child, said }
    }

    /// Gives the client bytes for the server, in one piece. A letter at the beginning of a line is a command to the client.
    pub(super) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("it is open");
        stdin.write_all(bytes.as_ref()).and_then(|()| stdin.flush()).expect("openssl reads");
    }

    /// Ends the client's input: it sends close_notify.
    pub(super) fn end(&mut self) {
        self.stdin = None;
    }

    pub(super) fn said(&self) -> Vec<u8> {
        self.said.lock().expect("no reader panicked").clone()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.said()).into_owned()
    }

    /// Waits until the client has printed this so many times.
    #[track_caller]
    pub(super) fn wait_for_times(&self, part: &str, times: usize) {
        let is_said = wait_until(|| self.text().matches(part).count() >= times, PATIENCE);
        assert!(is_said, "no {part:?} {times} times in:\n{}", self.text());
    }

    #[track_caller]
    pub(super) fn wait_for(&self, part: &str) {
        self.wait_for_times(part, 1);
    }

    /// Asks for `/healthz` and waits for the answer.
    #[track_caller]
    pub(super) fn ask(&mut self) {
        let before = self.text().matches(ANSWER).count();
        self.write("GET /healthz HTTP/1.1\r\nHost: a.example\r\n\r\n");
        self.wait_for_times(ANSWER, before + 1);
    }

    /// Waits for the process's end, and gives what it has printed. True if it ended without an error.
    #[track_caller]
    pub(super) fn finish(mut self) -> (bool, String) {
        let status = process::exit_within(&mut self.child, PATIENCE);
        let Some(status) = status else { panic!("openssl does not end:\n{}", self.text()) };
        // Its readers end with it.
        let _ = wait_until(|| Arc::strong_count(&self.said) == 1, PATIENCE);
        (status.success(), self.text())
    }
}

/// The first and the last of the answer's parts that do not change.
const ANSWER: &str = "HTTP/1.1 200 OK";

impl Drop for SClient {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static, said: &Arc<Mutex<Vec<u8>>>) {
    let said = Arc::clone(said);
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            said.lock().expect("no reader panicked").extend(&buffer[..read]);
        }
    });
}
