//! A program that runs while the test talks to it.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a program may take to end: valgrind then scans all of its memory.
const EXIT_PATIENCE: Duration = Duration::from_secs(60);

/// A program with its stdin and stdout. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    /// None once it has ended.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Self { child, stdin, stdout }
    }

    /// The next line that the program prints. Fails the test at the end of the output.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("stdout is text");
        assert!(line.ends_with('\n'), "the program ended, its last words were {line:?}");
        line.trim_end().to_owned()
    }

    /// The address in the line `listening on ADDRESS`, which must come next.
    #[track_caller]
    pub(crate) fn address(&mut self) -> SocketAddr {
        let line = self.line();
        let address = line.strip_prefix("listening on ").and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("it does not say where it listens, but {line:?}"))
    }

    /// Writes a line to the program's stdin.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("its input goes on"), "{line}").expect("the program reads");
    }

    /// Closes the program's stdin.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Sends the signal with this name (without "SIG").
    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(kill.expect("sh runs").success());
    }

    /// Waits for the program's end. Fails the test unless it exits with 0.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        let status = self.wait_for_exit();
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }

    fn wait_for_exit(&mut self) -> Option<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < EXIT_PATIENCE {
            let status = self.child.try_wait().expect("the child can be waited for");
            if status.is_some() {
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the program has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
