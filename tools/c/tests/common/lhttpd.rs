//! A real `lhttpd`, for what the configuration of a server inside a program cannot say. It lies beside the tests, where
//! `cargo test` in the repository's root has built it.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{self, Child, ChildStderr, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

/// A running daemon. Dropping it kills it.
pub(crate) struct Lhttpd {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Open as long as the daemon may write to it.
    stderr: BufReader<ChildStderr>,
}

impl Lhttpd {
    /// Starts it on a free port with this configuration, which it writes to a file in `folder`.
    pub(crate) fn start(folder: &Path, config: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = folder.join(format!("lhttpd-{}-{number}.toml", process::id()));
        fs::write(&file, config).expect("the folder can be written to");
        let test = env::current_exe().expect("the path of this test");
        let program = test.ancestors().nth(2).expect("it lies in target/PROFILE/deps").join("lhttpd");
        let shown = program.display();
        assert!(program.exists(), "there is no {shown}: `cargo test` in the repository's root builds it");
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--cores", "2", "--config"]).arg(file);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("lhttpd starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut said = String::new();
        let address = loop {
            let line = said.lines().last().and_then(|line| line.split_once("listening on ")?.1.split_once(": "));
            if let Some(address) = line.and_then(|(address, _)| address.parse().ok()) {
                break address;
            }
            let read = stderr.read_line(&mut said).expect("lhttpd says where it listens");
            assert_ne!(read, 0, "lhttpd ended: {said}");
        };
        Self { child, address, stderr }
    }

    /// The address for operators, if the configuration has one of this machine.
    #[allow(dead_code, reason = "not each test asks it")]
    pub(crate) fn admin(&mut self) -> String {
        let mut line = String::new();
        while !line.contains("admin: ") {
            line.clear();
            assert_ne!(self.stderr.read_line(&mut line).expect("lhttpd says it"), 0, "lhttpd ended");
        }
        let (_, rest) = line.split_once("admin: ").expect("it is there");
        rest.split_once(',').expect("a comma behind the address").0.to_owned()
    }
}

impl Drop for Lhttpd {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
