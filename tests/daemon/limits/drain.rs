//! SIGTERM: the daemon notifies all clients, flushes what it can, and exits with code 0.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::helpers::{
    PATIENCE,
    client::{Client, close_parts},
    daemon::Daemon,
    frame::CLOSE,
    http::{Http, Response, handshake},
    message::chat,
    on_one_and_two_cores, wait_until,
};

on_one_and_two_cores!(
    every_client_gets_1001_and_the_daemon_exits_with_0,
    a_daemon_without_clients_ends_at_once,
    outboxes_are_flushed_before_the_exit,
    a_client_that_never_reads_delays_the_exit_by_drain_at_most,
    a_second_signal_ends_at_once,
    while_the_daemon_drains_health_is_503_and_no_new_client_is_admitted,
);

/// Messages that together are well below an outbox and well above the kernel's buffers for a small window.
const BACKLOG: usize = 20;
const BACKLOG_BODY_BYTES: usize = 40_000;

/// A client with unread messages in its outbox.
fn stalled_client(daemon: &Daemon) -> Client {
    let mut stalled = Client::connect_with_small_window(daemon.port());
    stalled.subscribe_acked("room");
    let mut publisher = Client::connect(daemon.port());
    publisher.subscribe_acked("room");
    for number in 0..BACKLOG {
        publisher.say(&backlog_message(number));
        publisher.expect_text(&backlog_message(number));
    }
    stalled
}

fn backlog_message(number: usize) -> String {
    chat(&["publish:room"], &format!("{number:0BACKLOG_BODY_BYTES$}"))
}

fn every_client_gets_1001_and_the_daemon_exits_with_0(cores: usize) {
    let mut daemon = Daemon::start(cores, &[]);
    let mut clients: Vec<_> = (0..16).map(|_| Client::connect(daemon.port())).collect();
    clients.iter_mut().for_each(|client| client.subscribe_acked("room"));
    // Neither a silent connection nor a kept-alive one may delay the daemon.
    let _silent = Http::connect(daemon.port());
    let mut kept = Http::connect(daemon.port());
    assert_eq!(kept.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
    daemon.terminate();
    clients.iter_mut().for_each(|client| client.expect_closed_with(1001));
    let status = daemon.exit_within(Duration::from_secs(5)).expect("all clients are gone");
    assert_eq!(status.code(), Some(0));
}

fn a_daemon_without_clients_ends_at_once(cores: usize) {
    let mut daemon = Daemon::start(cores, &["--drain", "60s"]);
    daemon.terminate();
    assert_eq!(daemon.exit_within(Duration::from_secs(3)).and_then(|status| status.code()), Some(0));
    assert!(TcpStream::connect(("127.0.0.1", daemon.port())).is_err(), "nobody listens any more");
}

fn outboxes_are_flushed_before_the_exit(cores: usize) {
    let mut daemon = Daemon::start(cores, &["--drain", "30s"]);
    let mut stalled = stalled_client(&daemon);
    let mut reading = Client::connect(daemon.port());
    daemon.terminate();
    reading.expect_closed_with(1001);
    for number in 0..BACKLOG {
        stalled.expect_text(&backlog_message(number));
    }
    stalled.expect_closed_with(1001);
    assert_eq!(daemon.exit_within(Duration::from_secs(5)).and_then(|status| status.code()), Some(0));
}

fn a_client_that_never_reads_delays_the_exit_by_drain_at_most(cores: usize) {
    let mut daemon = Daemon::start(cores, &["--drain", "1s"]);
    let _stalled = stalled_client(&daemon);
    let start = Instant::now();
    daemon.terminate();
    let status = daemon.exit_within(Duration::from_secs(5)).expect("it ends when --drain is over");
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(900), "it tried for {:?} only", start.elapsed());
}

fn a_second_signal_ends_at_once(cores: usize) {
    let mut daemon = Daemon::start(cores, &["--drain", "60s"]);
    let _stalled = stalled_client(&daemon);
    let mut reading = Client::connect(daemon.port());
    reading.expect_nothing_before_ack();
    daemon.terminate();
    let close = reading.recv();
    assert_eq!((close.opcode, close_parts(&close).0), (CLOSE, 1001), "it is draining");
    daemon.terminate();
    assert!(daemon.exit_within(Duration::from_secs(3)).is_some(), "it waits for the stalled client");
}

fn while_the_daemon_drains_health_is_503_and_no_new_client_is_admitted(cores: usize) {
    let mut daemon = Daemon::start(cores, &["--drain", "30s"]);
    let stalled = stalled_client(&daemon);
    let mut reading = Client::connect(daemon.port());
    let mut kept = Http::connect(daemon.port());
    assert_eq!(kept.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
    daemon.terminate();
    reading.expect_closed_with(1001);
    // Each core learns of the stop separately, so one may still be a moment behind.
    let health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let is_draining = |response: Response| (response.status, response.body_text().trim_end()) == (503, "draining");
    assert!(wait_until(|| is_draining(kept.ask(health)), PATIENCE), "it says that all is well");
    // A health check uses a new connection, so the daemon may accept one to answer it. It admits no other client.
    if TcpStream::connect(("127.0.0.1", daemon.port())).is_ok() {
        let ask = |request: &str| Http::connect(daemon.port()).ask(request);
        assert!(wait_until(|| is_draining(ask(health)), PATIENCE));
        assert!(wait_until(|| ask(&handshake("/", "")).status == 503, PATIENCE), "it lets clients in");
    }
    drop(stalled);
    assert_eq!(daemon.exit_within(Duration::from_secs(5)).and_then(|status| status.code()), Some(0));
}
