//! The lines of the daemon's log: as text and as JSON, about the end of each connection, and with names of strangers.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    process::Command,
};

use serde_json::Value;

use crate::helpers::{
    PATIENCE,
    client::Client,
    daemon::Daemon,
    frame::{CLOSE, FIN, close_payload, unmasked},
    http::{Http, handshake},
    scratch::Scratch,
    wait_until,
};

/// What a stranger may write to forge a line, to command a terminal, or to turn the direction of the text.
const HOSTILE: &str =
    "\"}\n[2026-01-01T00:00:00Z\r\u{1b}[2J\u{7f}\u{9b}1m\u{61c}\u{200e}\u{202e}\u{2066}\u{2028}\u{feff}\\";
const ESCAPED: &str =
    r#""}\n[2026-01-01T00:00:00Z\r\u{1b}[2J\u{7f}\u{9b}1m\u{61c}\u{200e}\u{202e}\u{2066}\u{2028}\u{feff}\"#;

/// A client and its address.
fn connect(port: u16, headers: &str) -> (Client, SocketAddr) {
    let mut http = Http::connect(port);
    let address = http.wire().local_addr();
    assert_eq!(http.ask(handshake("/", headers)).status, 101);
    (http.into_client(), address)
}

/// Stops the daemon and gives its log.
fn log_of(mut daemon: Daemon) -> String {
    daemon.terminate();
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
    daemon.wait_for("stopped");
    daemon.stderr()
}

#[test]
fn each_line_of_json_is_an_object_whatever_a_client_has_sent() {
    let daemon = Daemon::start(1, &["--log", "debug", "--log-format", "json", "--max-subscriptions", "1"]);
    let (mut client, address) = connect(daemon.port(), "");
    client.subscribe_acked("one");
    client.say("LHTTP/1.0 c\r\nsubscribe:two\r\n\r\n");
    client.expect_error(429, "too-many-subscriptions", None);
    client.send_frame(FIN | CLOSE, &close_payload(1000, HOSTILE.as_bytes()));
    client.expect_closed_with(1000);
    daemon.wait_for("closed it with 1000");
    let log = log_of(daemon);
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
        .collect();
    for line in &lines {
        let text = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}"));
        assert!(is_time(text("time")) && text("target").starts_with("lhttp"), "{line}");
        assert!(["info", "debug"].contains(&text("level")) && !text("message").is_empty(), "{line}");
    }
    let find = |part: &str| {
        let is_it = |line: &&Value| line["message"].as_str().is_some_and(|message| message.contains(part));
        lines.iter().find(is_it).unwrap_or_else(|| panic!("no {part:?} in {log}"))
    };
    assert_eq!(find("listening on 127.0.0.1:")["level"], "info");
    let end = find("closed it with");
    assert_eq!(end["message"], format!("{address}: the client has closed it with 1000: {ESCAPED}"));
    assert_eq!(end["level"], "debug");
    let defences = find("defences in the last");
    let names: BTreeSet<&str> =
        defences["counters"].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["refused", "subscriptions_refused"]), "{defences}");
    assert_eq!((&defences["counters"]["refused"], &defences["level"]), (&Value::from(1), &Value::from("info")));
}

/// Whether a text is a time such as `2026-08-01T12:00:00.000Z`.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

#[test]
fn a_server_that_cannot_start_says_so_at_once_in_the_format_of_its_log() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = taken.local_addr().expect("it is bound").to_string();
    let scratch = Scratch::new();
    let file = scratch.write("lhttpd.toml", "log-format = \"json\"\nlog = \"off\"\n");
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lhttpd")).args(args).output().expect("lhttpd runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("it is text")
    };
    let json: Value = serde_json::from_str(&run(&["--config", &file, "--listen", &listen])).expect("one object");
    let message = json["message"].as_str().expect("a message");
    assert!(json["level"] == "error" && message.starts_with(&format!("cannot listen on {listen}")), "{json}");
    // The configuration cannot be read here, so the flag alone says the format.
    let json: Value = serde_json::from_str(&run(&["--log-format", "json", "--config", "/none"])).expect("one object");
    assert!(json["message"].as_str().is_some_and(|message| message.contains("/none")), "{json}");
    let text = run(&["--config", &file, "--log-format", "text", "--listen", &listen]);
    assert!(text.starts_with(&format!("lhttpd: cannot listen on {listen}")), "{text}");
}

#[test]
fn another_format_needs_a_restart() {
    let scratch = Scratch::new();
    let path = scratch.write("lhttpd.toml", "log-format = \"json\"\n");
    let daemon = Daemon::start(1, &["--config", &path]);
    scratch.write("lhttpd.toml", "log-format = \"text\"\n");
    daemon.signal("HUP");
    daemon.wait_for("need a restart: log-format");
    assert!(log_of(daemon).lines().all(|line| line.starts_with('{')));
}

#[test]
fn the_end_of_each_connection_is_one_line_at_debug_with_its_address() {
    let daemon = Daemon::start(1, &["--log", "debug", "--trust-proxy", "127.0.0.1", "--handshake-timeout", "300ms"]);
    let port = daemon.port();
    let mut expected = Vec::new();

    let (mut client, address) = connect(port, "");
    client.send_frame(FIN | CLOSE, &close_payload(1000, HOSTILE.as_bytes()));
    client.expect_closed_with(1000);
    expected.push(format!("{address}: the client has closed it with 1000: {ESCAPED}"));
    let (mut client, address) = connect(port, "");
    client.send_frame(FIN | CLOSE, b"");
    assert_eq!(client.recv().opcode, CLOSE);
    expected.push(format!("{address}: the client has closed it without a code"));
    let (mut client, address) = connect(port, "");
    client.send_raw(&unmasked(FIN, b""));
    let (code, reason) = client.expect_close();
    expected.push(format!("{address}: closed with {code}: {reason}"));
    let (client, address) = connect(port, "");
    client.finish_sending();
    expected.push(format!("{address}: ended: the client sends nothing more"));
    // A trusted proxy names the client.
    let (mut client, _) = connect(port, "X-Forwarded-For: 203.0.113.9\r\n");
    client.send_frame(FIN | CLOSE, &close_payload(1000, b"bye"));
    client.expect_closed_with(1000);
    expected.push("203.0.113.9: the client has closed it with 1000: bye".to_owned());
    let mut http = Http::connect(port);
    let address = http.wire().local_addr();
    assert_eq!(http.ask("no request\r\n\r\n").status, 400);
    expected.push(format!("{address}: closed after the answer 400"));
    let mut late = Http::connect(port);
    expected.push(format!("{}: ended: no request came in time", late.wire().local_addr()));
    late.expect_end();
    let (_stays, address) = connect(port, "");
    expected.push(format!("{address}: closed with 1001: restart:"));

    let is_written = |line: &String| daemon.stderr().contains(line.as_str());
    let _ = wait_until(|| expected.iter().filter(|line| is_written(line)).count() >= expected.len() - 1, PATIENCE);
    let log = log_of(daemon);
    for end in &expected {
        let (client, _) = end.split_once(": ").expect("the address is first");
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&format!("] {client}: "))).collect();
        let is_it = |line: &str| line.contains(&format!(" DEBUG lhttp::engine::hub::ends] {end}"));
        assert!(lines.len() == 1 && is_it(lines[0]), "{end}: {log}");
    }
}

#[test]
fn the_ends_of_connections_are_logged_only_at_debug_which_a_reload_sets() {
    let scratch = Scratch::new();
    let path = scratch.write("lhttpd.toml", "");
    let daemon = Daemon::start(1, &["--config", &path]);
    let close = |(mut client, address): (Client, SocketAddr), code: u16| {
        client.send_frame(FIN | CLOSE, &close_payload(code, b""));
        client.expect_closed_with(code);
        address
    };
    close(connect(daemon.port(), ""), 3001);
    let earlier = connect(daemon.port(), "");
    scratch.write("lhttpd.toml", "log = \"debug\"\n");
    daemon.signal("HUP");
    daemon.wait_for("these have changed: log");
    close(earlier, 3002);
    daemon.wait_for("an earlier connection: the client has closed it with 3002");
    let address = close(connect(daemon.port(), ""), 3003);
    daemon.wait_for(&format!("{address}: the client has closed it with 3003"));
    assert!(!log_of(daemon).contains("3001"));
}
