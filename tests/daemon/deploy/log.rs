//! The daemon's log: it blocks nothing, no line can be forged, and it reports the actions of the defences.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, PipeReader, PipeWriter, Write, pipe},
    os::{
        fd::AsRawFd,
        unix::{fs::OpenOptionsExt, net::UnixDatagram},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::helpers::{
    PATIENCE, client::Client, daemon::Daemon, http::Http, message::chat, process, scratch::Scratch, wait_until,
};

/// A daemon whose stderr is a pipe that the test reads only when it wants to.
struct Unread {
    child: Child,
    port: u16,
    log: Option<BufReader<PipeReader>>,
    /// The writing end.
    end: PipeWriter,
}

impl Unread {
    fn start(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let (log, end) = pipe().expect("a pipe");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lhttpd"));
        command.args(["--listen", "127.0.0.1:0", "--cores", "1"]).args(args).envs(variables.iter().copied());
        let stderr = end.try_clone().expect("a pipe's end");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().expect("lhttpd starts");
        let mut log = BufReader::new(log);
        let mut line = String::new();
        log.read_line(&mut line).expect("it says where it listens");
        let (_, rest) = line.split_once("listening on 127.0.0.1:").unwrap_or_else(|| panic!("{line:?}"));
        let port = rest.split(':').next().and_then(|port| port.parse().ok()).expect("a port");
        Self { child, port, log: Some(log), end }
    }

    /// Fills the pipe. The pipe is opened anew for that, so the daemon's own end stays blocking.
    fn fill(&self) {
        let path = format!("/proc/self/fd/{}", self.end.as_raw_fd());
        let end = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path);
        let mut end = end.expect("a pipe can be opened anew");
        while end.write(&[b'.'; 4096]).is_ok() {}
        while end.write(b".").is_ok() {}
    }

    /// Starts to read, line by line.
    fn read(&mut self) -> Receiver<String> {
        let (log, (sender, lines)) = (self.log.take().expect("it is read once"), mpsc::channel());
        thread::spawn(move || log.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        lines
    }

    fn signal(&self, name: &str) {
        process::signal(&self.child, name);
    }

    fn exit_within(&mut self, time: Duration) -> Option<ExitStatus> {
        process::exit_within(&mut self.child, time)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// The next line that contains this part.
#[track_caller]
fn line_with(lines: &Receiver<String>, part: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line.contains(part) => return line,
            Ok(line) => seen.push(line),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => panic!("no {part:?} in {seen:#?}"),
        }
    }
}

#[test]
fn signals_take_effect_although_nobody_reads_the_log() {
    let mut daemon = Unread::start(&["--drain", "300ms", "--log", "trace"], &[]);
    let mut client = Client::connect(daemon.port);
    daemon.fill();
    daemon.signal("HUP");
    client.subscribe_acked("room");
    daemon.signal("TERM");
    client.expect_closed_with(1001);
    assert_eq!(daemon.exit_within(PATIENCE / 2).and_then(|status| status.code()), Some(0));
}

#[test]
fn a_second_signal_ends_a_daemon_at_once_although_nobody_reads_its_log() {
    let mut daemon = Unread::start(&["--drain", "1h"], &[]);
    let mut client = Client::connect(daemon.port);
    daemon.fill();
    daemon.signal("TERM");
    let (code, _) = client.expect_close(); // the client does not answer, so the drain goes on
    assert_eq!((code, daemon.exit_within(Duration::from_millis(100))), (1001, None));
    daemon.signal("TERM");
    assert_eq!(daemon.exit_within(PATIENCE / 2).and_then(|status| status.code()), Some(128 + 15));
}

#[cfg(feature = "nats")]
#[test]
fn a_node_reconnects_to_nats_although_nobody_reads_its_log() {
    use crate::helpers::nats::{NatsServer, RawNats, has_nats_server};
    if !has_nats_server() {
        return;
    }
    let mut nats = NatsServer::start(&[]);
    let daemon = Unread::start(&["--nats", &nats.url(), "--log", "trace"], &[]);
    let mut client = Client::connect(daemon.port);
    daemon.fill();
    nats.kill();
    nats.restart();
    let mut neighbour = RawNats::connect(&nats);
    // Ask until the node reports that the subscription is confirmed; it does so once it is back.
    let confirmed = "LHTTP/1.0 ack\r\nack:t\r\n\r\n";
    let is_back = wait_until(
        || {
            client.say("LHTTP/1.0 c\r\nsubscribe:room\r\nack:t\r\n\r\n");
            client.recv().payload == confirmed.as_bytes()
        },
        3 * PATIENCE,
    );
    assert!(is_back, "the node stays cut off");
    neighbour.publish("room", b"hello");
    client.expect_text("hello");
}

#[test]
fn messages_are_delivered_although_nobody_reads_the_log_and_far_more_is_logged_than_it_holds() {
    // At most 1,024 lines may wait. The end of each connection is one.
    const CONNECTIONS: usize = 1200;
    let mut daemon = Unread::start(&["--log", "trace", "--log-format", "json"], &[]);
    let [mut publisher, mut reader] = [daemon.port; 2].map(Client::connect);
    reader.subscribe_acked("room");
    daemon.fill();
    let message = chat(&["publish:room"], "hello");
    for number in 0..CONNECTIONS {
        let mut http = Http::connect(daemon.port);
        assert_eq!(http.ask("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").status, 200);
        if number % 100 == 0 {
            publisher.say(&message);
            reader.expect_text(&message);
        }
    }
    publisher.say(&message);
    reader.expect_text(&message);
    let lines = daemon.read();
    let line = line_with(&lines, "log lines were dropped");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let dropped = line["counters"]["log_dropped"].as_u64().expect("a number");
    assert!((1..=CONNECTIONS as u64).contains(&dropped) && line["level"] == "warn", "{line}");
    daemon.signal("TERM");
    line_with(&lines, "\"stopped\"");
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
}

#[test]
fn log_lines_that_do_not_fit_are_dropped_and_counted() {
    const LINES: usize = 100;
    let scratch = Scratch::new();
    let socket = scratch.path().join("notify");
    let told = UnixDatagram::bind(&socket).expect("a socket in a folder of ours");
    told.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let next_ready = || {
        let mut state = [0; 256];
        while !(told.recv(&mut state).map(|len| state[..len].starts_with(b"READY")).expect("it tells")) {}
    };
    // Each reload writes a line with this path of nearly 4 KiB. At most 256 KiB of lines may wait.
    let file = scratch.write("lhttpd.toml", "");
    let (folder, name) = file.rsplit_once('/').expect("a path");
    let path = format!("{folder}/{}{name}", "./".repeat((4000 - file.len()) / 2));
    let mut daemon = Unread::start(&["--config", &path], &[("NOTIFY_SOCKET", socket.to_str().expect("it is UTF-8"))]);
    next_ready();
    daemon.fill();
    for _ in 0..LINES {
        daemon.signal("HUP");
        next_ready();
    }
    let lines = daemon.read();
    let dropped = line_with(&lines, "log lines were dropped");
    let count: usize = dropped.split(' ').find_map(|word| word.parse().ok()).expect("a number");
    // The writer holds one line, and 256 KiB of lines wait.
    assert!((LINES - 70..LINES - 60).contains(&count), "{dropped}");
    daemon.signal("HUP");
    line_with(&lines, "nothing has changed");
    daemon.signal("TERM");
    let summary = line_with(&lines, "defences in the last");
    assert!(summary.contains(&format!("{count} log lines dropped")), "{summary}");
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
}

#[test]
fn names_from_others_begin_no_log_line_and_send_no_terminal_commands() {
    let scratch = Scratch::new();
    // A hostile file name. Names of channels, users and subjects reach the log in the same way.
    let name = "a\u{1b}[2J\n[2026-01-01T00:00:00Z ERROR forged]\r\u{2028}\u{202e}\u{9b}.toml";
    let path = scratch.write(name, "");
    let mut daemon = Daemon::start(1, &["--config", &path]);
    daemon.signal("HUP");
    daemon.wait_for("SIGHUP: ");
    daemon.terminate();
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
    let log = daemon.stderr();
    let (lines, odd): (Vec<&str>, Vec<&str>) = log
        .lines()
        .partition(|line| line.starts_with("lhttpd: ") || (line.starts_with('[') && line.contains(" lhttp")));
    assert_eq!(odd, Vec::<&str>::new(), "{log}");
    assert!(!log.contains("\u{1b}") && !log.contains(['\u{2028}', '\u{202e}', '\u{9b}']), "{log:?}");
    assert!(lines.iter().any(|line| line.contains("forged")), "{log}");
}

#[test]
fn the_end_of_the_log_says_which_defences_have_acted() {
    let mut daemon = Daemon::start(1, &["--max-subscriptions", "1"]);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("one");
    for _ in 0..3 {
        client.say("LHTTP/1.0 c\r\nsubscribe:two\r\n\r\n");
        client.expect_error(429, "too-many-subscriptions", None);
    }
    daemon.terminate();
    client.expect_closed_with(1001);
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
    daemon.wait_for("3 messages refused (refused)");
    let mut friendly = Daemon::start(1, &[]);
    Client::connect(friendly.port()).subscribe_acked("one");
    friendly.terminate();
    assert_eq!(friendly.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
    friendly.wait_for("stopped");
    assert!(!friendly.stderr().contains("defences"), "{}", friendly.stderr());
}
