//! SIGTERM: the daemon notifies all clients, flushes what it can, and exits with code 0.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::helpers::{
    PATIENCE,
    client::{Client, close_parts},
    daemon::Daemon,
    frame::CLOSE,
    http::{Http, Response, handshake, publish_request},
    message::{Message, chat},
    on_one_and_two_cores, wait_until,
};

on_one_and_two_cores!(
    every_client_gets_1001_and_the_daemon_exits_with_0,
    a_daemon_without_clients_ends_at_once,
    outboxes_are_flushed_before_the_exit,
    a_client_that_never_reads_delays_the_exit_by_drain_at_most,
    a_second_signal_ends_at_once,
    while_the_daemon_drains_health_is_503_and_no_new_client_is_admitted,
    clients_learn_whether_to_come_back,
    closes_are_spread_and_each_client_is_served_until_its_own,
    during_the_delay_the_daemon_serves_as_before_but_for_its_health,
    the_delay_ends_and_the_clients_are_closed,
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
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
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
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
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
    assert!(daemon.exit_within(PATIENCE).is_some(), "it waits for the stalled client");
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
    // A health check uses a new connection, so the daemon may accept one to answer it. It admits no other client. A core
    // that is done closes its listener, with the connections that it has not accepted.
    let statuses = |request: &str, expected: u16| {
        wait_until(|| first_answer(daemon.port(), request).is_none_or(|status| status == expected), PATIENCE)
    };
    assert!(statuses(health, 503), "it says that all is well");
    assert!(statuses(&handshake("/", ""), 503), "it lets clients in");
    drop(stalled);
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
}

/// The status of the answer on a new connection; `None` if there is no connection, or no answer.
fn first_answer(port: u16, request: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut start = [0; "HTTP/1.1 503".len()];
    stream.read_exact(&mut start).ok()?;
    let (_, status) = std::str::from_utf8(&start).ok()?.split_once(' ')?;
    status.parse().ok()
}

fn clients_learn_whether_to_come_back(cores: usize) {
    for (signal, expected) in [("TERM", "restart:1000"), ("INT", "server is stopping")] {
        let daemon = Daemon::start(cores, &[]);
        let mut client = Client::connect(daemon.port());
        client.expect_nothing_before_ack();
        daemon.signal(signal);
        assert_eq!(client.expect_close(), (1001, expected.to_owned()));
    }
}

/// What a client has read until its close: the numbers, and the reason.
fn numbers_until_close(client: &mut Client) -> (Vec<usize>, String) {
    let mut numbers = Vec::new();
    loop {
        let frame = client.recv();
        if frame.opcode == CLOSE {
            let (code, reason) = close_parts(&frame);
            assert_eq!(code, 1001, "{reason}");
            return (numbers, reason);
        }
        numbers.push(Message::parse(&frame.payload).body.parse().expect("a number"));
    }
}

fn closes_are_spread_and_each_client_is_served_until_its_own(cores: usize) {
    const CLIENTS: usize = 300;
    const BEFORE: usize = 10;
    let mut daemon = Daemon::start(cores, &["--drain", "60s"]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(daemon.port())).collect();
    clients.iter_mut().for_each(|client| client.subscribe_acked("room"));
    let post = |number: usize| {
        let message = chat(&["publish:room"], &number.to_string());
        Http::connect(daemon.port()).ask(publish_request(&message, "")).status
    };
    (0..BEFORE).for_each(|number| assert_eq!(post(number), 200));
    daemon.terminate();
    // All clients get the numbers that are acknowledged before their close.
    let mut published = BEFORE;
    while post(published) == 200 {
        published += 1;
    }
    let mut ends: Vec<usize> = Vec::new();
    for client in &mut clients {
        let (mut numbers, reason) = numbers_until_close(client);
        numbers.sort_unstable(); // each is of another connection
        assert!(numbers.iter().copied().eq(0..numbers.len()), "there is a gap: {numbers:?}");
        assert!((BEFORE..=published + 1).contains(&numbers.len()), "{} of {published}", numbers.len());
        let millis: u64 = reason.strip_prefix("restart:").and_then(|millis| millis.parse().ok()).expect("a time");
        assert!((1_000..=1_500).contains(&millis), "5 ms for each client of a core: {millis}");
        ends.push(numbers.len());
    }
    ends.sort_unstable();
    ends.dedup();
    assert!(ends.len() >= CLIENTS / 20, "they are closed at {} different times", ends.len());
    assert!(daemon.exit_within(PATIENCE).is_some_and(|status| status.success()));
}

fn during_the_delay_the_daemon_serves_as_before_but_for_its_health(cores: usize) {
    let health = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut daemon = Daemon::start(cores, &["--drain-delay", "1h"]);
    let mut before = Client::connect(daemon.port());
    before.subscribe_acked("room");
    daemon.terminate();
    daemon.wait_for("SIGTERM: serving for 1h more, then draining for at most 10s");
    // Each core learns of it separately.
    let is_draining = || Http::connect(daemon.port()).ask(health).status == 503;
    assert!(wait_until(|| (0..4 * cores).all(|_| is_draining()), PATIENCE), "it says that all is well");
    let mut after = Client::connect(daemon.port());
    after.subscribe_acked("room");
    let message = chat(&["publish:room"], "hello");
    after.say(&message);
    [&mut before, &mut after].into_iter().for_each(|client| client.expect_text(&message));
    assert_eq!(Http::connect(daemon.port()).ask(publish_request(&message, "")).status, 200);
    before.expect_text(&message);
    daemon.terminate();
    assert!(daemon.exit_within(PATIENCE).is_some_and(|status| !status.success()), "a second signal ends it");
}

fn the_delay_ends_and_the_clients_are_closed(cores: usize) {
    let start = Instant::now();
    let mut daemon = Daemon::start(cores, &["--drain-delay", "500ms"]);
    let mut client = Client::connect(daemon.port());
    client.expect_nothing_before_ack();
    daemon.terminate();
    client.expect_closed_with(1001);
    assert!(start.elapsed() >= Duration::from_millis(500));
    assert!(daemon.exit_within(PATIENCE).is_some_and(|status| status.success()));
    // A person at the terminal does not wait.
    let mut daemon = Daemon::start(cores, &["--drain-delay", "1h"]);
    daemon.signal("INT");
    assert!(daemon.exit_within(PATIENCE).is_some_and(|status| status.success()));
}
