//! The blocking client against servers that misbehave, and its limits.

mod common;

use std::{
    net::{TcpListener, TcpStream},
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use common::{PATIENCE, daemon::Daemon, on_one_and_two_cores, wait_until};
use lhttp::{
    Message,
    client::{Builder, Client, ClientError, Event, Payload, State},
};
use tungstenite::WebSocket;

on_one_and_two_cores!(a_full_inbox_fails_the_calls_that_wait_and_loses_nothing);

/// Short enough to wait for, where a timeout is what the test is about.
const SOON: Duration = Duration::from_millis(200);

fn chat(body: impl Into<Vec<u8>>) -> Message {
    Message::new("chat").expect("a command").body(body)
}

/// A client of a server that does what `serve` does with each connection in turn, after its handshake.
fn against(
    serve: impl Fn(usize, WebSocket<TcpStream>) + Send + 'static,
    connections: usize,
) -> (Builder, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    let server = thread::spawn(move || {
        for number in 0..connections {
            let (stream, _) = listener.accept().expect("the client connects");
            stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
            serve(number, tungstenite::accept(stream).expect("the client shakes hands"));
        }
    });
    let builder = Client::builder(url).timeout(PATIENCE);
    (builder.reconnect_delay(Duration::from_millis(1), Duration::from_millis(10)), server)
}

fn read_message(socket: &mut WebSocket<TcpStream>) -> Message {
    loop {
        if let tungstenite::Message::Text(text) = socket.read().expect("the client sends") {
            return Message::parse(text.as_bytes()).expect("LHTTP");
        }
    }
}

/// Reads a message and gives its `ack` token and its body.
fn read(socket: &mut WebSocket<TcpStream>) -> (String, String) {
    let message = read_message(socket);
    let body = String::from_utf8(message.body_bytes().to_vec()).expect("a text");
    (message.header_value("ack").unwrap_or_default().to_owned(), body)
}

/// Reads a message with this header, and gives its `ack` token.
#[track_caller]
fn read_with(socket: &mut WebSocket<TcpStream>, header: &str, value: &str) -> String {
    let message = read_message(socket);
    assert_eq!(message.header_value(header), Some(value), "{message:?}");
    message.header_value("ack").unwrap_or_default().to_owned()
}

fn say(socket: &mut WebSocket<TcpStream>, text: &str) {
    socket.send(tungstenite::Message::text(text)).expect("the client is there");
}

fn ack(socket: &mut WebSocket<TcpStream>, token: &str) {
    say(socket, &format!("LHTTP/1.0 ack\r\nack:{token}\r\n\r\n"));
}

fn refuse(socket: &mut WebSocket<TcpStream>, token: &str) {
    say(socket, &format!("LHTTP/1.0 error\r\ncode:403\r\nreason:forbidden\r\nack:{token}\r\n\r\nnot this"));
}

/// Reads until the client has ended the connection.
fn wait_for_end(socket: &mut WebSocket<TcpStream>) {
    while socket.read().is_ok() {}
}

#[track_caller]
fn event(client: &mut Client) -> Event {
    client.poll(PATIENCE).expect("the client goes on").expect("something happens in time")
}

#[test]
fn an_answer_that_does_not_come_times_out_and_a_late_one_disturbs_nobody() {
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
    let mut published = client.publish("room", chat("second"));
    // On a busy machine the answer may take longer than that.
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
    let daemon = Daemon::start(1, &[]);
    let port = daemon.port();
    let mut client = Client::builder(format!("ws://127.0.0.1:{port}"))
        .timeout(PATIENCE)
        .reconnect_delay(Duration::from_millis(1), Duration::from_millis(50))
        .connect()
        .unwrap();
    client.subscribe("a b c").unwrap();
    drop(daemon);
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    let _daemon = Daemon::start_on(port, 1, &["--max-subscriptions", "1"]);
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
fn what_was_unsubscribed_while_it_was_being_renewed_is_not_asked_for_again() {
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

fn a_full_inbox_fails_the_calls_that_wait_and_loses_nothing(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let url = format!("ws://127.0.0.1:{}", daemon.port());
    let mut writer = Client::builder(&url).timeout(PATIENCE).connect().unwrap();
    let mut reader = Client::builder(&url).timeout(PATIENCE).inbox_messages_max(3).connect().unwrap();
    reader.subscribe("room").unwrap();
    for number in 0..5 {
        writer.publish("room", chat(number.to_string())).unwrap();
    }
    // Five messages are in front of the answer.
    assert_eq!(reader.publish("elsewhere", chat("")), Err(ClientError::InboxFull));
    assert_eq!(reader.publish("elsewhere", chat("")), Err(ClientError::InboxFull));
    for number in 0..5 {
        let Event::Message(message) = event(&mut reader) else { panic!("no message") };
        assert_eq!(message.body_bytes(), number.to_string().as_bytes());
    }
    reader.publish("elsewhere", chat("")).unwrap();
    assert_eq!(reader.poll(Duration::ZERO), Ok(None));
}

#[test]
fn a_full_outbox_refuses_what_comes_next_and_sends_what_it_has() {
    let daemon = Daemon::start(1, &[]);
    let port = daemon.port();
    let mut client = Client::builder(format!("ws://127.0.0.1:{port}"))
        .timeout(PATIENCE)
        .outbox_bytes_max(120)
        .reconnect_delay(Duration::from_millis(1), Duration::from_millis(50))
        .connect()
        .unwrap();
    client.subscribe("room").unwrap();
    drop(daemon);
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    client.publish_unacked("room", chat([b'a'; 50])).unwrap();
    assert_eq!(client.publish_unacked("room", chat([b'b'; 50])), Err(ClientError::OutboxFull));
    let _daemon = Daemon::start_on(port, 1, &[]);
    let body = loop {
        if let Event::Message(message) = event(&mut client) {
            break message.body_bytes().to_vec();
        }
    };
    assert_eq!(body, [b'a'; 50]);
    client.send_acked(chat("")).unwrap();
    assert_eq!(client.poll(Duration::ZERO), Ok(None));
}

#[test]
fn an_empty_message_takes_room_in_the_outbox_too() {
    let daemon = Daemon::start(1, &[]);
    let url = format!("ws://127.0.0.1:{}", daemon.port());
    let never = Duration::from_secs(24 * 3600);
    let mut client = Client::builder(url).outbox_bytes_max(1000).reconnect_delay(never, never).connect().unwrap();
    drop(daemon);
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    let taken = (0..1000).take_while(|_| client.send_payload(Payload::Text(String::new())).is_ok()).count();
    assert!((1..1000).contains(&taken), "{taken}");
}

#[test]
fn a_message_that_no_outbox_could_ever_take_is_not_a_valid_one() {
    let daemon = Daemon::start(1, &[]);
    let mut client = Client::builder(format!("ws://127.0.0.1:{}", daemon.port())).connect().unwrap();
    let too_big = || chat(vec![b'x'; 2 << 20]);
    let check = |result: Result<(), ClientError>| {
        let invalid = result.unwrap_err();
        assert!(matches!(invalid, ClientError::Invalid(_)), "{invalid:?}");
        assert_eq!((invalid.code(), invalid.reason()), (Some(413), "message-too-big"));
    };
    check(client.send(&too_big()));
    check(client.publish_unacked("room", too_big()));
    check(client.publish("room", too_big()));
    drop(daemon);
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    check(client.send(&too_big()));
    client.close().unwrap();
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
fn what_could_not_be_sent_is_said_when_closing() {
    let daemon = Daemon::start(1, &[]);
    let mut client = Client::builder(format!("ws://127.0.0.1:{}", daemon.port())).connect().unwrap();
    drop(daemon);
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    client.publish_unacked("room", chat("hi")).unwrap();
    let unsent = client.close().unwrap_err();
    assert!(
        matches!(&unsent, ClientError::NotConnected(why) if why.ends_with("messages that were not sent: 1")),
        "{unsent:?}"
    );
}

#[test]
fn a_message_over_the_limit_ends_the_connection_with_1009() {
    let (builder, server) = against(
        |_, mut socket| {
            say(&mut socket, &"x".repeat(1001));
            let close = loop {
                match socket.read() {
                    Ok(tungstenite::Message::Close(Some(frame))) => break u16::from(frame.code),
                    Ok(_) => {}
                    Err(error) => panic!("no close frame: {error}"),
                }
            };
            assert_eq!(close, 1009);
        },
        1,
    );
    let mut client = builder.message_bytes_max(1000).reconnect(false).connect().unwrap();
    let Event::State(State::Closed { why }) = event(&mut client) else { panic!("it is taken") };
    assert!(why.contains("1001"), "{why}");
    server.join().unwrap();
}

#[test]
fn a_silent_server_is_pinged_and_then_given_up() {
    let (builder, server) = against(
        |_, mut socket| match socket.read() {
            // Reading on would answer it.
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
    // It closes a connection that is silent for a second; the pings keep it.
    let daemon = Daemon::start(1, &["--ping-interval", "100ms", "--idle-timeout", "1s"]);
    let url = format!("ws://127.0.0.1:{}", daemon.port());
    let mut client = Client::builder(url).reconnect(false).connect().unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        assert_eq!(client.poll(Duration::ZERO), Ok(None));
        common::let_pass(Duration::from_millis(50));
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
fn what_the_server_says_when_it_closes_is_told() {
    let daemon = Daemon::start(1, &[]);
    let url = format!("ws://127.0.0.1:{}", daemon.port());
    let mut client = Client::builder(url).reconnect(false).connect().unwrap();
    daemon.terminate();
    let Event::State(State::Closed { why }) = event(&mut client) else { panic!("it is still open") };
    assert_eq!(why, "the server closed with 1001: server is stopping");
}

#[test]
fn a_handshake_that_is_refused_says_how() {
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
    // Far more than the kernel takes from a client whose server has stopped reading.
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
    // There is nothing to end, so that is done at once.
    client.unsubscribe("room").unwrap();
    assert_eq!(client.subscriptions().count(), 0);
}

#[test]
fn through_restarts_nothing_comes_twice_or_out_of_order() {
    const LAST: &str = "the last";
    let mut daemon = Some(Daemon::start(1, &[]));
    let port = daemon.as_ref().expect("it runs").port();
    let connect = || {
        let builder = Client::builder(format!("ws://127.0.0.1:{port}")).timeout(PATIENCE);
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
                // Every third waits for its answer; what is lost is lost, but never repeated.
                let _ = match written % 3 {
                    0 => writer.publish("room", message),
                    _ => writer.publish_unacked("room", message),
                };
                while let Ok(Some(_)) = writer.poll(Duration::ZERO) {}
                written += 1;
            }
        });
        for round in 1..=4 {
            assert!(wait_until(|| arrived.load(Ordering::SeqCst) >= 50 * round, PATIENCE), "messages come");
            drop(daemon.take());
            daemon = Some(Daemon::start_on(port, 1, &[]));
        }
        assert!(wait_until(|| arrived.load(Ordering::SeqCst) >= 250, PATIENCE), "messages come");
        restarted.store(true, Ordering::SeqCst);
        reading.join().expect("the reader")
    });
    assert!(seen.is_sorted_by(|before, after| before < after), "{seen:?}");
}

/// More than the kernel takes for a server that does not read.
const MUCH: usize = 400;

/// The message of `much` with this number.
fn one_of_much(number: usize) -> Message {
    chat(format!("{number:65000}"))
}

/// Reads what the client has sent, message by message.
fn read_much(socket: &mut WebSocket<TcpStream>) {
    for number in 0..MUCH {
        assert_eq!(read(socket).1.trim_start(), number.to_string());
    }
}

#[test]
fn a_server_that_does_not_read_makes_a_send_fail_at_once_and_gets_the_rest_later() {
    let (go_on, goes_on) = mpsc::channel();
    let (builder, server) = against(
        move |_, mut socket| {
            goes_on.recv().expect("the client has sent");
            read_much(&mut socket);
            wait_for_end(&mut socket);
        },
        1,
    );
    let mut client = builder.outbox_bytes_max(1 << 20).connect().unwrap();
    let start = Instant::now();
    let mut number = 0;
    // The next one may find room again: the kernel goes on moving what it has.
    let refused = loop {
        match client.send(&one_of_much(number)) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, ClientError::OutboxFull);
    assert!(number < MUCH && start.elapsed() < PATIENCE, "{number} in {:?}", start.elapsed());
    go_on.send(()).unwrap();
    while number < MUCH {
        assert_eq!(client.poll(Duration::from_millis(1)), Ok(None));
        number += usize::from(client.send(&one_of_much(number)) == Ok(()));
    }
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn a_server_that_comes_back_and_does_not_read_holds_no_poll_up() {
    let (go_on, goes_on) = mpsc::channel();
    let (builder, server) = against(
        move |number, mut socket| {
            if number == 1 {
                goes_on.recv().expect("the client is connected again");
                read_much(&mut socket);
                wait_for_end(&mut socket);
            }
        },
        2,
    );
    let mut client = builder.outbox_bytes_max(32 << 20).connect().unwrap();
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    (0..MUCH).for_each(|number| client.send(&one_of_much(number)).unwrap());
    let start = Instant::now();
    while !client.is_open() {
        client.poll(Duration::ZERO).unwrap();
    }
    client.poll(Duration::ZERO).unwrap();
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    go_on.send(()).unwrap();
    client.close().unwrap();
    server.join().unwrap();
}
