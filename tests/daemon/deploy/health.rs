//! `lhttpd --health URL`: exit code 0 if the server answers 200, else 1 with one line.

use std::{
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::helpers::{
    PATIENCE, client::Client, closed_port::ClosedPort, daemon::Daemon, message::chat, namespace::in_namespace,
    scratch::Scratch, wait_until,
};

/// The exit code and the stderr.
fn health(url: &str) -> (Option<i32>, String) {
    outcome(Command::new(env!("CARGO_BIN_EXE_lhttpd")).args(["--health", url]))
}

fn outcome(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("lhttpd runs");
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8(output.stderr).expect("it is text"))
}

#[track_caller]
fn assert_unhealthy(url: &str, named: &str) {
    let (code, said) = health(url);
    assert!(code == Some(1) && said.contains(named) && said.lines().count() == 1, "{url}: {code:?}, {said:?}");
}

/// The URL of a server that answers one connection with these bytes and keeps it open.
fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/healthz", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody connects");
        let _ = stream.write_all(answer);
        let _ = stream.read_to_end(&mut Vec::new()); // until the other side closes
    });
    url
}

#[test]
fn a_server_that_runs_is_healthy() {
    let daemon = Daemon::start(1, &[]);
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(health(&format!("http://{host}:{}/healthz", daemon.port())), (Some(0), String::new()));
    }
    // No other page counts as healthy: without an upgrade the port answers 426.
    assert_unhealthy(&format!("http://127.0.0.1:{}", daemon.port()), "it says 426");
}

#[test]
fn a_server_that_drains_is_not_healthy() {
    let daemon = Daemon::start(1, &["--drain", "60s", "--outbox-max", "64MiB"]);
    let mut stalled = Client::connect_with_small_window(daemon.port());
    stalled.subscribe_acked("room");
    let mut publisher = Client::connect(daemon.port());
    for _ in 0..20 {
        publisher.say(&chat(&["publish:room"], &"x".repeat(60_000)));
    }
    publisher.expect_nothing_before_ack();
    // The open connection has no more to say. A health check comes on a new connection and is still answered.
    daemon.terminate();
    let url = format!("http://127.0.0.1:{}/healthz", daemon.port());
    assert!(wait_until(|| health(&url).1.contains("it says 503"), PATIENCE), "{:?}", health(&url));
}

#[test]
fn a_port_without_a_server_is_not_healthy() {
    let port = ClosedPort::new();
    assert_unhealthy(&format!("http://127.0.0.1:{}/healthz", port.number()), "refused");
    assert_unhealthy("http://no-such-host.invalid/healthz", "no-such-host.invalid");
}

#[test]
fn another_kind_of_server_is_not_healthy() {
    assert_unhealthy(&answering(b"220 smtp.example ESMTP\r\n"), "not HTTP");
    assert_unhealthy(&answering(&[b'x'; 20_000]), "not HTTP");
    assert_unhealthy(&answering(b"HTTP/1.1 204 No Content\r\n\r\n"), "it says 204");
    assert_eq!(health(&answering(b"HTTP/1.0 200 OK\r\n\r\n")).0, Some(0));
}

#[test]
fn a_server_that_does_not_answer_gets_three_seconds() {
    let start = Instant::now();
    assert_unhealthy(&answering(b"HTTP/1.1 200"), "no answer within 3 s");
    let taken = start.elapsed();
    assert!(taken >= Duration::from_secs(3) && taken < PATIENCE, "{taken:?}");
}

#[test]
fn a_name_server_that_does_not_answer_gets_three_seconds() {
    in_namespace(concat!(module_path!(), "::a_name_server_that_does_not_answer_gets_three_seconds"), || {
        let silent = UdpSocket::bind("127.0.0.1:53").expect("nobody else has it in this network");
        let folder = Scratch::new();
        // The resolver alone would wait for minutes.
        folder.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n");
        folder.write("nsswitch.conf", "hosts: files dns\n");
        // On a machine without such a file, the C library behaves as our file says.
        let script = r#"cd "$1" && shift && for file in *; do
                if [ -e "/etc/$file" ]; then mount --bind "$file" "/etc/$file" || exit; fi
            done; exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(folder.path()).arg(env!("CARGO_BIN_EXE_lhttpd"));
        let start = Instant::now();
        let (code, said) = outcome(command.args(["--health", "http://server.example/healthz"]));
        let taken = start.elapsed();
        assert!(code == Some(1) && said.contains("no answer within 3 s"), "{code:?}, {said:?}");
        assert!(taken >= Duration::from_secs(3) && taken < PATIENCE, "{taken:?}");
        silent.set_nonblocking(true).expect("a socket");
        let asked = silent.recv(&mut [0; 512]);
        assert!(asked.is_ok_and(|bytes| bytes > 0), "it was not asked");
    });
}

#[test]
fn an_invalid_url_is_reported() {
    for url in ["127.0.0.1:8081", "https://127.0.0.1/healthz", "http://", ""] {
        assert_unhealthy(url, "--health");
    }
    let with_more = Command::new(env!("CARGO_BIN_EXE_lhttpd")).args(["--health", "http://x", "--cores", "1"]).output();
    assert_eq!(with_more.expect("lhttpd runs").status.code(), Some(2), "it goes with no other flag");
}
