//! A C program whose client gets what it has missed on channels with a history, from a real `lhttpd`.

mod common;

#[allow(dead_code, reason = "tests/library uses the rest")]
#[path = "../../../tests/helpers/proxy.rs"]
mod proxy;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
    sync::LazyLock,
};

use common::{Linkage, Process, compile, libraries, valgrind};
use proxy::CuttableProxy;

const SOURCE: &str = "tools/c/tests/c/history.c";

const RULES: &str = "
    [[channel]]
    match = \"kept.*\"
    history = 100
    [[channel]]
    match = \"short\"
    history = 3
";

#[test]
fn a_c_client_gets_what_it_has_missed() {
    for linkage in [Linkage::Shared, Linkage::Static] {
        talk(Command::new(compile(SOURCE, linkage)));
    }
}

#[test]
fn and_valgrind_finds_nothing_wrong() {
    if let Some(command) = valgrind(&compile(SOURCE, Linkage::Shared)) {
        talk(command);
    }
}

/// Runs the program, and cuts and restores its connection when it asks for that.
fn talk(mut command: Command) {
    let daemon = Daemon::start();
    let proxy = CuttableProxy::to(daemon.address);
    command.args([format!("ws://{}", daemon.address), format!("ws://127.0.0.1:{}", proxy.port())]);
    let mut program = Process::start(command);
    loop {
        match program.line().as_str() {
            "cut" => proxy.cut(),
            "restore" => proxy.restore(),
            "done" => break,
            other => panic!("{other:?}"),
        }
        program.say("done");
    }
    program.finish();
}

/// A daemon that keeps messages. Dropping it kills it.
struct Daemon {
    child: Child,
    address: SocketAddr,
    /// Open as long as the daemon may write to it.
    _stderr: BufReader<ChildStderr>,
}

impl Daemon {
    fn start() -> Self {
        static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
            let file = libraries().join(format!("history-{}.toml", std::process::id()));
            fs::write(&file, RULES).expect("the folder can be written to");
            file
        });
        let test = std::env::current_exe().expect("the path of this test");
        let program = test.ancestors().nth(2).expect("it lies in target/PROFILE/deps").join("lhttpd");
        let shown = program.display();
        assert!(program.exists(), "there is no {shown}: `cargo test` in the repository's root builds it");
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--cores", "2", "--config"]).arg(&*FILE);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("lhttpd starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut said = String::new();
        let address = loop {
            let line = said.lines().last().and_then(|line| line.split_once("listening on ")?.1.split_once(": "));
            if let Some(address) = line.and_then(|(address, _)| address.parse().ok()) {
                break address;
            }
            let read = stderr.read_line(&mut said).expect("lhttpd says where it listens");
            assert_ne!(read, 0, "{said}");
        };
        Self { child, address, _stderr: stderr }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
