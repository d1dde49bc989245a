//! The blocking client against servers that misbehave.

use std::{
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use lhttp::client::{Client, ClientError, Event, State};
use tungstenite::{
    WebSocket,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::helpers::{
    self, PATIENCE,
    daemon::Daemon,
    faulty::{ack, against, chat, event, read, read_with, refuse, wait_for_end},
    loopback::free_address,
    wait_until,
};

/// Short, for tests that are about a timeout.
const SOON: Duration = Duration::from_millis(200);

#[test]
fn a_missing_answer_times_out_and_a_late_one_disturbs_no_other_call() {
    let (builder, server) = against(
        |_, mut socket| {
            let (late, _) = read(&mut socket);
            let (second, body) = read(&mut socket);
            assert_eq!(body, "second");
            ack(&mut socket, &late);
            ack(&mut socket, &second);
            wait_for_end(&mut socket);
        },
        1,
    );
    let mut client = builder.timeout(SOON).connect().unwrap();
    let start = Instant::now();
    assert_eq!(client.publish("room", chat("first")), Err(ClientError::TimedOut));
    assert!(start.elapsed() >= SOON);
    let mut published = client.publish("room", chat("second")).map(drop);
    // On a busy machine the answer may take longer than this timeout.
    if published == Err(ClientError::TimedOut) {
        published = Ok(());
    }
    assert_eq!((published, client.poll(SOON)), (Ok(()), Ok(None)));
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn a_publish_whose_connection_is_lost_is_not_repeated_and_a_subscribe_is() {
    let (builder, server) = against(
        |number, mut socket| match number {
            0 => assert_eq!(read(&mut socket).1, "once"),
            // The subscribe, unanswered.
            1 => drop(read(&mut socket)),
            _ => {
                let (token, body) = read(&mut socket);
                assert_eq!(body, "");
                ack(&mut socket, &token);
                wait_for_end(&mut socket);
            }
        },
        3,
    );
    let mut client = builder.connect().unwrap();
    let lost = client.publish("room", chat("once")).unwrap_err();
    assert!(matches!(lost, ClientError::Lost(_)), "{lost:?}");
    client.subscribe("room").unwrap();
    assert_eq!(client.subscriptions().collect::<Vec<_>>(), ["room"]);
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn subscriptions_that_a_restarted_server_refuses_are_reported_and_the_others_kept() {
    let address = free_address();
    let daemon = Daemon::start_at(address, 1, &[]);
    let mut client = Client::builder(format!("ws://{address}"))
        .timeout(PATIENCE)
        .reconnect_delay(Duration::from_millis(1), Duration::from_millis(50))
        .connect()
        .unwrap();
    client.subscribe("a b c").unwrap();
    drop(daemon);
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    let _daemon = Daemon::start_at(address, 1, &["--max-subscriptions", "1"]);
    let mut lost = Vec::new();
    loop {
        match event(&mut client) {
            Event::SubscriptionLost { channel, refusal } => {
                assert_eq!(refusal.reason(), "too-many-subscriptions");
                lost.push(channel);
            }
            Event::State(State::Open) => break,
            Event::State(State::Waiting { .. }) => assert!(lost.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lost, ["b", "c"]);
    assert_eq!(client.subscriptions().collect::<Vec<_>>(), ["a"]);
    client.publish("a", chat("hi")).unwrap();
    assert!(matches!(event(&mut client), Event::Message(message) if message.body_bytes() == b"hi"));
}

#[test]
fn a_channel_that_is_unsubscribed_during_its_renewal_is_not_requested_again() {
    for channels in ["a", "a b"] {
        let (builder, server) = against(
            move |number, mut socket| {
                let subscribe = read_with(&mut socket, "subscribe", channels);
                if number == 0 {
                    return ack(&mut socket, &subscribe);
                }
                let unsubscribe = read_with(&mut socket, "unsubscribe", "a");
                refuse(&mut socket, &subscribe);
                ack(&mut socket, &unsubscribe);
                if channels == "a b" {
                    let again = read_with(&mut socket, "subscribe", "b");
                    refuse(&mut socket, &again);
                }
                assert_eq!(read(&mut socket).1, "the last");
                wait_for_end(&mut socket);
            },
            2,
        );
        let mut client = builder.connect().unwrap();
        client.subscribe(channels).unwrap();
        assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
        while !client.is_open() {
            assert!(!matches!(client.poll(Duration::from_millis(1)), Ok(Some(Event::State(State::Open)))));
        }
        client.unsubscribe("a").unwrap();
        if channels == "a b" {
            let lost = event(&mut client);
            assert!(matches!(&lost, Event::SubscriptionLost { channel, .. } if channel == "b"), "{lost:?}");
        }
        assert_eq!(event(&mut client), Event::State(State::Open));
        assert_eq!(client.subscriptions().count(), 0);
        client.send(&chat("the last")).unwrap();
        client.close().unwrap();
        server.join().unwrap();
    }
}

#[test]
fn a_subscribe_whose_connection_is_lost_says_so_if_it_is_not_repeated() {
    let (builder, server) = against(|_, mut socket| drop(read(&mut socket)), 1);
    let mut client = builder.reconnect(false).connect().unwrap();
    let lost = client.subscribe("room").unwrap_err();
    assert!(matches!(lost, ClientError::Lost(_)), "{lost:?}");
    assert!(matches!(client.subscribe("room"), Err(ClientError::Closed(_))));
    server.join().unwrap();
}

#[test]
fn a_silent_server_is_pinged_and_then_given_up() {
    let (builder, server) = against(
        |_, mut socket| match socket.read() {
            // Reading on would answer the ping.
            Ok(tungstenite::Message::Ping(_)) => {
                let stream = socket.get_mut();
                let mut rest = Vec::new();
                std::io::Read::read_to_end(stream, &mut rest).expect("the client ends the connection");
            }
            other => panic!("no ping but {other:?}"),
        },
        1,
    );
    let mut client = builder.ping_interval(SOON).pong_timeout(SOON).reconnect(false).connect().unwrap();
    let Event::State(State::Closed { why }) = event(&mut client) else { panic!("it is still open") };
    assert!(why.contains("nothing was heard"), "{why}");
    assert_eq!(client.poll(PATIENCE), Err(ClientError::Closed(why.clone())));
    assert_eq!(client.send(&chat("")), Err(ClientError::Closed(why.clone())));
    assert_eq!(client.publish("room", chat("")), Err(ClientError::Closed(why)));
    server.join().unwrap();
}

#[test]
fn short_polls_answer_the_servers_pings() {
    // The server closes a connection that is silent for a second; the pings keep it open.
    let daemon = Daemon::start(1, &["--ping-interval", "100ms", "--idle-timeout", "1s"]);
    let url = format!("ws://127.0.0.1:{}", daemon.port());
    let mut client = Client::builder(url).reconnect(false).connect().unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        assert_eq!(client.poll(Duration::ZERO), Ok(None));
        helpers::let_pass(Duration::from_millis(50));
    }
}

#[test]
fn a_server_that_never_answers_the_handshake_is_given_up_in_time() {
    // The kernel accepts; nobody reads.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let start = Instant::now();
    let error = Client::builder(url).connect_timeout(SOON).connect().unwrap_err();
    assert!(matches!(&error, ClientError::NotConnected(why) if why.contains("in time")), "{error:?}");
    assert!((SOON..PATIENCE).contains(&start.elapsed()));
}

#[test]
fn the_servers_close_reason_is_reported() {
    let daemon = Daemon::start(1, &[]);
    let url = format!("ws://127.0.0.1:{}", daemon.port());
    let mut client = Client::builder(url).reconnect(false).connect().unwrap();
    daemon.terminate();
    let Event::State(State::Closed { why }) = event(&mut client) else { panic!("it is still open") };
    assert_eq!(why, "the server closed with 1001: restart:1000");
}

#[test]
fn a_client_comes_back_within_the_time_that_a_restarting_server_has_told() {
    const RESTARTS: usize = 8;
    const TOLD: Duration = Duration::from_millis(200);
    let close = |_, mut socket: WebSocket<TcpStream>| {
        let frame = CloseFrame { code: CloseCode::Away, reason: "restart:200".into() };
        socket.close(Some(frame)).expect("the client is there");
        while socket.read().is_ok() {}
    };
    // It waits for at most 10 ms otherwise.
    let (builder, server) = against(close, RESTARTS);
    let mut client = builder.connect().unwrap();
    let mut waits = Vec::new();
    while waits.len() < RESTARTS {
        if let Event::State(State::Waiting { retry_in, .. }) = event(&mut client) {
            waits.push(retry_in);
        }
    }
    server.join().unwrap();
    assert!(waits.iter().all(|wait| *wait <= TOLD), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait > TOLD / 20), "{waits:?}");
}

#[test]
fn a_refused_handshake_reports_the_servers_answer() {
    let daemon = Daemon::start(1, &["--max-connections", "1"]);
    let url = format!("ws://127.0.0.1:{}", daemon.port());
    let _first = Client::builder(&url).connect().unwrap();
    let error = Client::builder(&url).connect().unwrap_err();
    assert!(matches!(&error, ClientError::NotConnected(why) if why.contains("503")), "{error:?}");
}

#[test]
fn a_server_that_closes_while_much_is_sent_fails_the_call() {
    let daemon = Daemon::start(1, &[]);
    let url = format!("ws://127.0.0.1:{}", daemon.port());
    let mut client =
        Client::builder(url).timeout(PATIENCE).outbox_bytes_max(32 << 20).reconnect(false).connect().unwrap();
    // Far more than the kernel buffers for a server that has stopped reading.
    let lost = client.publish("room", chat(vec![b'x'; 16 << 20])).unwrap_err();
    assert!(matches!(&lost, ClientError::Lost(_)), "{lost:?}");
    assert!(matches!(event(&mut client), Event::State(State::Closed { .. })));
    assert!(matches!(client.publish("room", chat("")), Err(ClientError::Closed(_))));
}

#[test]
fn a_client_can_be_handed_to_a_thread() {
    fn is_send<T: Send>() {}
    is_send::<Client>();
    is_send::<Event>();
    is_send::<ClientError>();
}

#[test]
fn a_call_that_finds_no_connection_within_its_timeout_has_sent_nothing() {
    let daemon = Daemon::start(1, &[]);
    let url = format!("ws://127.0.0.1:{}", daemon.port());
    let mut client = Client::builder(url).timeout(SOON).reconnect_delay(SOON / 10, SOON / 10).connect().unwrap();
    drop(daemon);
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    let start = Instant::now();
    let error = client.publish("room", chat("")).unwrap_err();
    assert!(matches!(&error, ClientError::NotConnected(why) if !why.is_empty()), "{error:?}");
    assert!((SOON..PATIENCE).contains(&start.elapsed()));
    assert!(matches!(client.subscribe("room"), Err(ClientError::NotConnected(_))));
    // There is no subscription at the server to end, so the call returns at once.
    client.unsubscribe("room").unwrap();
    assert_eq!(client.subscriptions().count(), 0);
}

#[test]
fn over_restarts_no_message_comes_twice_or_out_of_order() {
    const LAST: &str = "the last";
    let address = free_address();
    let mut daemon = Some(Daemon::start_at(address, 1, &[]));
    let connect = || {
        let builder = Client::builder(format!("ws://{address}")).timeout(PATIENCE);
        builder.reconnect_delay(Duration::from_millis(1), Duration::from_millis(20)).connect().expect("it listens")
    };
    let (mut reader, mut writer) = (connect(), connect());
    reader.subscribe("room").unwrap();
    let (restarted, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let arrived = AtomicUsize::new(0);
    let mut written = 0_u64;
    let seen = thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut seen = Vec::new();
            loop {
                let Event::Message(message) = event(&mut reader) else { continue };
                match std::str::from_utf8(message.body_bytes()).expect("a text") {
                    LAST => break,
                    number => seen.push(number.parse::<u64>().expect("a number")),
                }
                arrived.store(seen.len(), Ordering::SeqCst);
            }
            done.store(true, Ordering::SeqCst);
            seen
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let last = restarted.load(Ordering::SeqCst);
                let message = chat(if last { LAST.to_owned() } else { written.to_string() });
                // Every third message waits for its answer. A lost message stays lost, but is never repeated.
                let _ = match written % 3 {
                    0 => writer.publish("room", message).map(drop),
                    _ => writer.publish_unacked("room", message),
                };
                while let Ok(Some(_)) = writer.poll(Duration::ZERO) {}
                written += 1;
            }
        });
        for round in 1..=4 {
            assert!(wait_until(|| arrived.load(Ordering::SeqCst) >= 50 * round, PATIENCE), "messages come");
            drop(daemon.take());
            daemon = Some(Daemon::start_at(address, 1, &[]));
        }
        assert!(wait_until(|| arrived.load(Ordering::SeqCst) >= 250, PATIENCE), "messages come");
        restarted.store(true, Ordering::SeqCst);
        reading.join().expect("the reader")
    });
    assert!(seen.is_sorted_by(|before, after| before < after), "{seen:?}");
}
