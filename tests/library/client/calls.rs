//! The blocking client of the library, against a real daemon.

use std::{
    net::SocketAddr,
    sync::{Barrier, mpsc},
    thread,
    time::{Duration, Instant},
};

use lhttp::{
    Message, Refusal,
    client::{Builder, Client, ClientError, Event, Payload, State},
};

use crate::helpers::{
    PATIENCE, closed_port::ClosedPort, daemon::Daemon, let_pass, loopback::free_address, on_one_and_two_cores,
};

on_one_and_two_cores!(
    an_acknowledged_message_has_reached_the_subscribers,
    messages_come_in_the_order_in_which_they_were_published,
    an_unsubscribed_channel_is_silent,
    a_restarted_server_is_found_again_and_subscriptions_are_renewed_before_anything_is_sent,
);

fn builder(address: SocketAddr) -> Builder {
    Client::builder(format!("ws://{address}")).timeout(PATIENCE)
}

fn connect(daemon: &Daemon) -> Client {
    builder(daemon.address()).connect().expect("the daemon listens")
}

fn chat(body: &str) -> Message {
    Message::new("chat").expect("a command").body(body)
}

/// The next message. Fails the test if something else comes, or nothing.
#[track_caller]
fn message(client: &mut Client) -> Message {
    match event(client) {
        Event::Message(message) => message,
        other => panic!("no message but {other:?}"),
    }
}

#[track_caller]
fn event(client: &mut Client) -> Event {
    client.poll(PATIENCE).expect("the client goes on").expect("something happens in time")
}

#[track_caller]
fn body(client: &mut Client) -> String {
    String::from_utf8(message(client).body_bytes().to_vec()).expect("a text")
}

/// Fails the test if anything is in flight: all earlier messages have arrived once this one is acknowledged.
#[track_caller]
fn expect_nothing(client: &mut Client) {
    client.send_acked(chat("probe")).expect("the daemon answers");
    assert_eq!(client.poll(Duration::ZERO), Ok(None));
}

fn an_acknowledged_message_has_reached_the_subscribers(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let (mut alice, mut bob) = (connect(&daemon), connect(&daemon));
    alice.subscribe("room logs.>").unwrap();
    bob.subscribe("room").unwrap();
    bob.publish("room logs.web.error", chat("hi").header("author", "Bob").unwrap()).unwrap();
    for _ in 0..2 {
        let message = message(&mut alice);
        assert_eq!((message.command(), message.header_value("AUTHOR")), ("chat", Some("Bob")));
        assert_eq!(message.header_value("publish"), Some("room logs.web.error"));
        assert_eq!(message.body_bytes(), b"hi");
    }
    assert_eq!(body(&mut bob), "hi");
    bob.publish("room", chat("again").header("no-echo", "true").unwrap()).unwrap();
    assert_eq!(body(&mut alice), "again");
    expect_nothing(&mut bob);
    alice.close().unwrap();
    bob.close().unwrap();
}

fn messages_come_in_the_order_in_which_they_were_published(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let (mut reader, mut writer) = (connect(&daemon), connect(&daemon));
    reader.subscribe("numbers").unwrap();
    for number in 0..5000 {
        if number % 100 == 0 {
            writer.publish("numbers", chat(&number.to_string())).unwrap();
        } else {
            writer.publish_unacked("numbers", chat(&number.to_string())).unwrap();
        }
    }
    for number in 0..5000 {
        assert_eq!(body(&mut reader), number.to_string());
    }
    expect_nothing(&mut reader);
}

fn an_unsubscribed_channel_is_silent(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let (mut reader, mut writer) = (connect(&daemon), connect(&daemon));
    reader.subscribe("a b c.*").unwrap();
    assert_eq!(reader.subscriptions().collect::<Vec<_>>(), ["a", "b", "c.*"]);
    reader.unsubscribe("a c.*").unwrap();
    assert_eq!(reader.subscriptions().collect::<Vec<_>>(), ["b"]);
    writer.publish("a b c.d", chat("once")).unwrap();
    assert_eq!(body(&mut reader), "once");
    expect_nothing(&mut reader);
}

fn a_restarted_server_is_found_again_and_subscriptions_are_renewed_before_anything_is_sent(cores: usize) {
    let address = free_address();
    let daemon = Daemon::start_at(address, cores, &[]);
    let mut client =
        builder(address).reconnect_delay(Duration::from_millis(5), Duration::from_millis(100)).connect().unwrap();
    client.subscribe("room other.*").unwrap();
    drop(daemon);
    let State::Waiting { why, .. } = state(&mut client) else { panic!("open without a server") };
    assert!(!why.is_empty());
    // These calls wait for the server. The client receives its own messages, so the subscription was renewed first.
    client.publish_unacked("room", chat("first")).unwrap();
    client.send(&chat("second").header("publish", "other.place").unwrap()).unwrap();
    let _daemon = Daemon::start_at(address, cores, &[]);
    client.publish("room", chat("third")).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        match event(&mut client) {
            Event::State(State::Waiting { .. }) => assert!(seen.is_empty(), "{seen:?}"),
            Event::State(State::Open) => seen.push("open".to_owned()),
            Event::Message(message) => seen.push(String::from_utf8(message.body_bytes().to_vec()).unwrap()),
            other => panic!("{other:?}"),
        }
    }
    // Several cores may deliver a message before all of them have confirmed the subscriptions.
    let open = seen.iter().position(|seen| seen == "open").expect("it is told once");
    assert!(open == 0 || cores > 1, "{seen:?}");
    seen.remove(open);
    assert_eq!(seen, ["first", "second", "third"]);
    expect_nothing(&mut client);
}

#[track_caller]
fn state(client: &mut Client) -> State {
    match event(client) {
        Event::State(state) => state,
        other => panic!("no state but {other:?}"),
    }
}

#[test]
fn a_refusal_has_its_code_reason_and_sentence() {
    let daemon = Daemon::start(1, &["--max-subscriptions", "1"]);
    let mut client = connect(&daemon);
    client.subscribe("a").unwrap();
    let refused = client.subscribe("b").unwrap_err();
    assert_eq!((refused.code(), refused.reason()), (Some(429), "too-many-subscriptions"));
    assert!(matches!(&refused, ClientError::Refused(refusal) if refusal.sentence() == refused.sentence()));
    assert_eq!(client.subscriptions().collect::<Vec<_>>(), ["a"]);
    // A message that is invalid by itself is not even sent.
    for wrong in ["", " ", "a..b", "a.*"] {
        let invalid = client.publish(wrong, chat("")).unwrap_err();
        assert!(matches!(invalid, ClientError::Invalid(_)), "{invalid:?}");
        assert_eq!((invalid.code(), invalid.reason()), (Some(400), "bad-channel"), "{wrong:?}");
    }
    assert_eq!(client.subscribe("a.>.b").unwrap_err().reason(), "bad-channel");
    // If no call waits for the answer, the refusal is an event.
    client.send(&chat("").header("subscribe", "c").unwrap()).unwrap();
    let Event::Refused(refusal) = event(&mut client) else { panic!("no refusal") };
    assert_eq!((refusal.code(), refusal.reason()), (429, "too-many-subscriptions"));
    expect_nothing(&mut client);
}

#[test]
fn payloads_that_are_not_lhttp_pass_unchanged() {
    let daemon = Daemon::start(1, &[]);
    let mut client = connect(&daemon);
    client.send_payload(Payload::Text("hello".to_owned())).unwrap();
    let Event::Refused(refusal) = event(&mut client) else { panic!("no refusal") };
    assert_eq!((refusal.code(), refusal.reason()), (400, "not-lhttp"));
    client.subscribe("bytes").unwrap();
    client.publish("bytes", chat("").body([0xff, 0, 0xfe])).unwrap();
    assert_eq!(message(&mut client).body_bytes(), [0xff, 0, 0xfe]);
}

#[test]
fn a_port_without_a_server_is_reported_at_once() {
    let closed = ClosedPort::new();
    let port = closed.number();
    let start = Instant::now();
    let error = builder(([127, 0, 0, 1], port).into()).connect().unwrap_err();
    assert!(matches!(&error, ClientError::NotConnected(why) if why.contains("refused")), "{error:?}");
    assert!(start.elapsed() < PATIENCE);
    for url in ["", "127.0.0.1:1", "http://127.0.0.1", "ws://", "ws://a b"] {
        assert!(matches!(Client::builder(url).connect().unwrap_err(), ClientError::Config(_)), "{url:?}");
    }
    // The client must never use another port than the given one.
    for port in ["", "99999", "+80", "8o", "80:80"] {
        for host in ["127.0.0.1", "[::1]", "user:80@127.0.0.1"] {
            let url = format!("ws://{host}:{port}");
            assert!(matches!(Client::builder(&url).connect().unwrap_err(), ClientError::Config(_)), "{url:?}");
        }
    }
    for host in ["127.0.0.1", "user:80@127.0.0.1"] {
        let error = Client::builder(format!("ws://{host}:{port}/path")).connect().unwrap_err();
        assert!(matches!(&error, ClientError::NotConnected(why) if why.contains(&port.to_string())), "{error:?}");
    }
    let _: Refusal = Message::new("").unwrap_err();
}

/// Wakes a client that polls without an end, and again after it has returned. Both polls give no event.
fn wake_twice(client: &mut Client) {
    let waker = client.waker();
    let woken = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            waker.wake();
            woken.wait();
            waker.wake();
        });
        assert_eq!(client.poll(Duration::MAX), Ok(None));
        woken.wait();
        assert_eq!(client.poll(Duration::MAX), Ok(None));
    });
}

#[test]
fn another_thread_ends_a_poll_with_and_without_a_connection() {
    let daemon = Daemon::start(1, &[]);
    let never = Duration::from_secs(24 * 3600);
    let mut client = builder(daemon.address()).reconnect_delay(never, never).connect().unwrap();
    wake_twice(&mut client);
    client.waker().wake();
    client.publish("room", chat("a call that waits is not for that")).unwrap();
    assert_eq!(client.poll(Duration::MAX), Ok(None), "the next poll is");
    drop(daemon);
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    wake_twice(&mut client);
}

#[test]
fn a_wake_ends_only_one_poll() {
    let daemon = Daemon::start(1, &[]);
    let mut client = connect(&daemon);
    client.waker().wake();
    assert_eq!(client.poll(Duration::MAX), Ok(None));
    let (start, wait) = (Instant::now(), Duration::from_millis(100));
    assert_eq!(client.poll(wait), Ok(None));
    assert!(start.elapsed() >= wait, "a leftover of the first wake ended another poll");
}

#[test]
fn no_wake_is_lost_at_any_moment_between_the_pings() {
    const WAKES: u64 = 1000;
    let daemon = Daemon::start(1, &[]);
    let mut client = builder(daemon.address()).ping_interval(Duration::from_millis(2)).connect().unwrap();
    let waker = client.waker();
    let (ended, polls) = mpsc::channel();
    // Not a scoped thread: it would never end if a wake were lost.
    let polling = thread::spawn(move || {
        for _ in 0..WAKES {
            ended.send(client.poll(Duration::MAX)).expect("the test goes on");
        }
    });
    for number in 0..WAKES {
        // A different moment in every ping interval.
        let_pass(Duration::from_micros(number * 7 % 3000));
        waker.wake();
        assert_eq!(polls.recv_timeout(PATIENCE), Ok(Ok(None)), "wake {number}");
    }
    polling.join().unwrap();
}
