//! The limits of one connection: the effect of each, and that other connections are not affected.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    frame::{self, CLOSE, FIN, PING, PONG, TEXT},
    http::{Http, handshake, publish_request},
    let_pass,
    message::chat,
    on_one_and_two_cores, wait_until,
};

on_one_and_two_cores!(
    a_ping_flood_from_a_client_that_does_not_read_costs_bounded_memory,
    an_error_flood_from_a_client_that_does_not_read_costs_bounded_memory,
    past_max_connections_a_client_gets_503_with_the_time_to_retry,
    rejected_clients_take_no_places,
    past_max_subscriptions_a_message_is_refused_whole,
    a_client_that_answers_pings_stays_and_one_that_does_not_gets_1008,
    a_client_that_speaks_needs_no_pings,
    a_client_that_does_not_finish_the_handshake_is_dropped,
    an_http_connection_is_kept_between_requests_for_a_time_of_its_own,
    max_message_limits_messages_and_posted_bodies,
    a_daemon_out_of_file_descriptors_does_not_spin_and_recovers,
    idle_connections_use_no_cpu_time,
);

/// Sends `frame` over and over, up to 64 MiB, without reading. Returns the largest growth of the daemon. The server may
/// stop reading or end the connection.
fn growth_under_flood(daemon: &Daemon, frame: &[u8]) -> usize {
    let mut client = Client::connect_with_small_window(daemon.port());
    client.expect_nothing_before_ack();
    client.set_timeout(Duration::from_secs(1));
    let before = daemon.memory();
    let chunk = frame.repeat((256 << 10) / frame.len());
    let mut most = 0;
    for _ in 0..256 {
        let sent = client.try_send_raw(&chunk);
        most = most.max(daemon.memory().saturating_sub(before));
        match sent {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => break,
            Err(error) => panic!("{error}"),
        }
    }
    most
}

#[track_caller]
fn assert_flood_is_harmless(cores: usize, frame: &[u8]) {
    let mut daemon = Daemon::start(cores, &[]);
    let mut others: Vec<_> = (0..4).map(|_| Client::connect(daemon.port())).collect();
    others.iter_mut().for_each(|client| client.subscribe_acked("room"));
    let growth = growth_under_flood(&daemon, frame);
    assert!(growth < 16 << 20, "{growth} bytes more for one client");
    others[0].say(&chat(&["publish:room"], "healthy"));
    others.iter_mut().for_each(|client| client.expect_text(&chat(&["publish:room"], "healthy")));
    daemon.assert_healthy();
}

fn a_ping_flood_from_a_client_that_does_not_read_costs_bounded_memory(cores: usize) {
    assert_flood_is_harmless(cores, &frame::masked(FIN | PING, &[b'p'; 125]));
}

fn an_error_flood_from_a_client_that_does_not_read_costs_bounded_memory(cores: usize) {
    assert_flood_is_harmless(cores, &frame::masked(FIN | TEXT, b"?"));
}

fn past_max_connections_a_client_gets_503_with_the_time_to_retry(cores: usize) {
    let daemon = Daemon::start(cores, &["--max-connections", "4"]);
    let mut inside: Vec<_> = (0..4).map(|_| Client::connect(daemon.port())).collect();
    for _ in 0..8 {
        let mut http = Http::connect(daemon.port());
        let response = http.ask(handshake("/", ""));
        assert_eq!(response.status, 503, "{response:?}");
        let seconds = response.header("retry-after").expect("a 503 says when to try again");
        assert!(seconds.parse::<u32>().is_ok(), "{response:?}");
        http.expect_end();
    }
    inside.iter_mut().for_each(Client::expect_nothing_before_ack);
    drop(inside.pop());
    let admitted = || Http::connect(daemon.port()).ask(handshake("/", "")).status == 101;
    assert!(wait_until(admitted, Duration::from_secs(10)), "a place became free");
}

fn rejected_clients_take_no_places(cores: usize) {
    let daemon = Daemon::start(cores, &["--max-connections", "1"]);
    let inside = Client::connect(daemon.port());
    // They are refused and stay connected: the server waits 10 s for them to leave.
    let mut outside: Vec<_> = (0..4).map(|_| Http::connect(daemon.port())).collect();
    outside.iter_mut().for_each(|http| assert_eq!(http.ask(handshake("/", "")).status, 503));
    drop(inside);
    let admitted = || Http::connect(daemon.port()).ask(handshake("/", "")).status == 101;
    assert!(wait_until(admitted, Duration::from_secs(8)), "a place is free");
}

fn past_max_subscriptions_a_message_is_refused_whole(cores: usize) {
    let daemon = Daemon::start(cores, &["--max-subscriptions", "3"]);
    let mut witness = Client::connect(daemon.port());
    witness.subscribe_acked("heard");
    let mut client = Client::connect(daemon.port());
    client.say(&chat(&["subscribe:a b c.* d", "publish:heard", "ack:1"], ""));
    client.expect_error(429, "too-many-subscriptions", Some("1"));
    client.subscribe_acked("a b");
    client.say(&chat(&["subscribe:c.*", "subscribe:d", "publish:heard", "unsubscribe:a", "ack:2"], ""));
    client.expect_error(429, "too-many-subscriptions", Some("2"));
    client.say(&chat(&["publish:c.x d"], ""));
    client.expect_nothing_before_ack();
    client.say(&chat(&["publish:a"], "still subscribed"));
    client.expect_text(&chat(&["publish:a"], "still subscribed"));

    client.subscribe_acked("c.*");
    client.subscribe_acked("a b c.* a");
    client.say(&chat(&["subscribe:d"], ""));
    client.expect_error(429, "too-many-subscriptions", None);
    client.say_acked("unsubscribe:c.*");
    client.subscribe_acked("d");
    // The refused messages published nothing, and each connection has its own limit.
    client.say(&chat(&["publish:heard"], "sentinel"));
    witness.expect_text(&chat(&["publish:heard"], "sentinel"));
    witness.subscribe_acked("a b");
}

fn a_client_that_answers_pings_stays_and_one_that_does_not_gets_1008(cores: usize) {
    let daemon = Daemon::start(cores, &["--idle-timeout", "1s", "--ping-interval", "300ms"]);
    let mut silent = Client::connect(daemon.port());
    let mut living = Client::connect(daemon.port());
    living.subscribe_acked("room");
    let start = Instant::now();
    // More than twice the idle timeout.
    while start.elapsed() < Duration::from_millis(2500) {
        let ping = living.recv();
        assert!(ping.fin && ping.opcode == PING, "{ping:?}");
        living.send_frame(FIN | PONG, &ping.payload);
    }
    living.say(&chat(&["publish:room"], "alive"));
    loop {
        let frame = living.recv();
        if frame.opcode == TEXT {
            break;
        }
        assert_eq!(frame.opcode, PING, "{frame:?}");
    }
    let close = loop {
        let frame = silent.recv();
        if frame.opcode != PING {
            break frame;
        }
    };
    assert_eq!((close.opcode, &close.payload[..2]), (CLOSE, &1008_u16.to_be_bytes()[..]), "{close:?}");
    // The client does not answer the close either. The server waits for that for some seconds.
    silent.set_timeout(Duration::from_secs(20));
    silent.expect_end();
}

fn a_client_that_speaks_needs_no_pings(cores: usize) {
    let daemon = Daemon::start(cores, &["--idle-timeout", "1s", "--ping-interval", "500ms"]);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        client.say(&chat(&["publish:room"], ""));
        client.expect_text(&chat(&["publish:room"], ""));
    }
}

fn a_client_that_does_not_finish_the_handshake_is_dropped(cores: usize) {
    let daemon = Daemon::start(cores, &["--handshake-timeout", "500ms"]);
    let request = handshake("/", "");
    let body = publish_request("never comes", "");
    for part in
        ["", &request[..30], &request[..request.len() - 1], std::str::from_utf8(&body[..body.len() - 5]).unwrap()]
    {
        let start = Instant::now();
        let mut http = Http::connect(daemon.port());
        http.send(part);
        // The server may answer 408 first.
        while http.wire().fill().expect("the server ends in time") > 0 {}
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(5), "{took:?} for {part:?}");
    }
    // A byte now and then does not complete the handshake in time.
    let mut http = Http::connect(daemon.port());
    http.wire().set_timeout(Duration::from_millis(50));
    let start = Instant::now();
    for byte in request.as_bytes().chunks(1).cycle() {
        http.send(byte);
        match http.wire().fill() {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
        }
        assert!(start.elapsed() < Duration::from_secs(5), "it is still connected");
    }
    // A completed handshake ends this limit.
    let mut client = Client::connect(daemon.port());
    let_pass(Duration::from_millis(700));
    client.expect_nothing_before_ack();
}

fn an_http_connection_is_kept_between_requests_for_a_time_of_its_own(cores: usize) {
    let health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let times = ["--handshake-timeout", "300ms", "--idle-timeout", "1s", "--ping-interval", "0"];
    let daemon = Daemon::start(cores, &[&times[..], &["--http-keep-alive", "2s"]].concat());
    let mut http = Http::connect(daemon.port());
    assert_eq!(http.ask(health).status, 200);
    let_pass(Duration::from_millis(1500)); // longer than the other timeouts
    assert_eq!(http.ask(health).status, 200);
    let start = Instant::now();
    http.expect_end();
    let taken = start.elapsed();
    assert!(taken > Duration::from_millis(1800) && taken < Duration::from_secs(6), "{taken:?}");

    let daemon = Daemon::start(cores, &[&times[..], &["--http-keep-alive", "0"]].concat());
    let mut http = Http::connect(daemon.port());
    assert_eq!(http.ask(health).status, 200);
    let_pass(Duration::from_millis(1500));
    assert_eq!(http.ask(health).status, 200, "0 is never");
}

fn max_message_limits_messages_and_posted_bodies(cores: usize) {
    let daemon = Daemon::start(cores, &["--max-message", "16KiB"]);
    let message = |length: usize| {
        let head = chat(&["publish:room"], "");
        let body = "b".repeat(length - head.len());
        head + &body
    };
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    client.say(&message(16_384));
    client.expect_text(&message(16_384));
    assert_eq!(Http::connect(daemon.port()).ask(publish_request(message(16_384), "")).status, 200);
    client.expect_text(&message(16_384));
    assert_eq!(Http::connect(daemon.port()).ask(publish_request(message(16_385), "")).status, 413);
    client.say(&message(16_385));
    assert_eq!(client.expect_close(), (1009, "16384".to_owned()), "the reason is the limit");
}

fn a_daemon_out_of_file_descriptors_does_not_spin_and_recovers(cores: usize) {
    // 64 descriptors are reserved and 48 for each core, so this leaves places for some clients.
    let fds = 192;
    let mut daemon = Daemon::start_with_fds(cores, fds, &["--handshake-timeout", "60s"]);
    let mut inside = Client::connect(daemon.port());
    inside.subscribe_acked("room");
    // More connections than descriptors. The kernel accepts them all, whatever the daemon does with them.
    let outside: Vec<_> = (0..3 * fds).map(|_| Http::connect(daemon.port())).collect();
    let before = daemon.cpu_time();
    let_pass(Duration::from_secs(1));
    let used = daemon.cpu_time() - before;
    assert!(used < Duration::from_millis(300), "{used:?} of CPU time in a second of nothing to do");
    inside.say(&chat(&["publish:room"], "still served"));
    inside.expect_text(&chat(&["publish:room"], "still served"));

    drop(outside);
    let admitted = || Http::connect(daemon.port()).ask(handshake("/", "")).status == 101;
    assert!(wait_until(admitted, Duration::from_secs(10)), "places became free");
    let mut client = Client::connect(daemon.port());
    client.say(&chat(&["publish:room"], "as before"));
    inside.expect_text(&chat(&["publish:room"], "as before"));
    daemon.assert_healthy();
}

fn idle_connections_use_no_cpu_time(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(daemon.port())).collect();
    clients.iter_mut().for_each(|client| client.subscribe_acked("room"));
    let before = daemon.cpu_time();
    let_pass(Duration::from_secs(1));
    let used = daemon.cpu_time() - before;
    assert!(used <= Duration::from_millis(100), "{used:?} of CPU time in a second of nothing to do");
}
