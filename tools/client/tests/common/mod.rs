//! A server in this process, and the program that is run against it.

// Each test file is its own crate and uses a part of this module.
#![allow(dead_code)]

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use lhttp::{
    Handle, Message,
    client::{Client, Event},
};

/// How long anything that must happen may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server that is stopped at the end of the test.
pub(crate) struct Server {
    handle: Option<Handle>,
    address: SocketAddr,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into())
    }

    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let builder = lhttp::Server::builder().listen(address).cores(1);
        let handle = builder.start().expect("the server starts");
        let address = handle.local_addrs()[0];
        Self { handle: Some(handle), address }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The program with the URL and these arguments.
    pub(crate) fn program(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.arg(self.url()).args(args);
        command
    }

    /// Runs the program with this standard input.
    pub(crate) fn run(&self, args: &[&str], input: impl AsRef<[u8]>) -> Output {
        run(self.program(args), input.as_ref())
    }

    /// A client that is subscribed to these channels.
    pub(crate) fn subscriber(&self, channels: &str) -> Client {
        let mut client = Client::builder(self.url()).timeout(PATIENCE).connect().expect("the server listens");
        client.subscribe(channels).expect("the server takes it");
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.stop(Duration::ZERO);
            handle.join();
        }
    }
}

/// The program, without anything of the user's environment.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lhttp"));
    command.env_remove("LHTTP_URL").env_remove("LHTTP_TOKEN");
    command
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // The program may have ended without reading its input.
    let _ = child.stdin.take().expect("stdin is piped").write_all(input);
    child.wait_with_output().expect("the program ends")
}

#[track_caller]
pub(crate) fn expect_code(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout:\n{out}\nstderr:\n{err}");
    (out, err)
}

/// The next message that this client receives.
#[track_caller]
pub(crate) fn message(client: &mut Client) -> Message {
    match client.poll(PATIENCE).expect("the client goes on").expect("something comes in time") {
        Event::Message(message) => message,
        other => panic!("no message but {other:?}"),
    }
}

#[track_caller]
pub(crate) fn body(client: &mut Client) -> String {
    String::from_utf8(message(client).body_bytes().to_vec()).expect("a text")
}

/// The running program, which is killed at the end of the test.
pub(crate) struct Running {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
    stdin: Option<ChildStdin>,
}

impl Running {
    /// Background jobs of a shell ignore SIGINT, and so do the processes that they start. Here the program receives it
    /// in any case.
    pub(crate) fn start(program: Command) -> Self {
        Self::start_with(program, Stdio::null())
    }

    /// The same, with this standard error.
    pub(crate) fn start_with(program: Command, stderr: impl Into<Stdio>) -> Self {
        let mut command = Command::new("env");
        command.arg("--default-signal=INT").arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("the program starts");
        let out = child.stdout.take().map(BufReader::new);
        let stdin = child.stdin.take();
        Self { child, out, stdin }
    }

    /// Waits for the next line of the output and returns it without its end. Fails the test at the end of the output.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.as_mut().expect("stdout is open").read_line(&mut line).expect("the output can be read");
        assert!(line.ends_with('\n'), "the program ended, its last words were {line:?}");
        line.trim_end_matches('\n').to_owned()
    }

    /// Reads the rest of the output.
    pub(crate) fn read_to_end(&mut self) {
        io::copy(self.out.as_mut().expect("stdout is open"), &mut io::sink()).expect("the output can be read");
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("stdin is open"), "{line}").expect("the program reads");
    }

    /// Ends the program's input.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Closes the reading end of the output. Returns the exit code.
    pub(crate) fn stop_reading(mut self) -> Option<i32> {
        self.out = None;
        self.child.wait().expect("the program ends").code()
    }

    /// Sends SIGINT and waits for the program's end.
    pub(crate) fn interrupt(&mut self) -> ExitStatus {
        let kill = format!("kill -INT {}", self.child.id());
        assert!(Command::new("sh").arg("-c").arg(kill).status().expect("sh runs").success());
        self.child.wait().expect("the program ends")
    }

    pub(crate) fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("the program ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if the program has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that is removed at the end of the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("client-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder is made");
        Self(folder)
    }

    /// Writes a file in the folder, and returns its path.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).expect("the file is written");
        path.to_str().expect("a path in UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
