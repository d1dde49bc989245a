//! The limits of the blocking client: what it does when its inbox, its outbox or the socket is full.

use std::{
    net::TcpStream,
    sync::mpsc,
    time::{Duration, Instant},
};

use lhttp::{
    Message,
    client::{Client, ClientError, Event, Payload, State},
};
use tungstenite::WebSocket;

use crate::helpers::{
    PATIENCE,
    daemon::Daemon,
    faulty::{against, chat, event, read, say, wait_for_end},
    loopback::free_address,
    on_one_and_two_cores,
};

on_one_and_two_cores!(a_full_inbox_fails_the_calls_that_wait_and_loses_nothing);

fn a_full_inbox_fails_the_calls_that_wait_and_loses_nothing(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let url = format!("ws://127.0.0.1:{}", daemon.port());
    let mut writer = Client::builder(&url).timeout(PATIENCE).connect().unwrap();
    let mut reader = Client::builder(&url).timeout(PATIENCE).inbox_messages_max(3).connect().unwrap();
    reader.subscribe("room").unwrap();
    for number in 0..5 {
        writer.publish("room", chat(number.to_string())).unwrap();
    }
    // Five messages come before the answer.
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
fn a_full_outbox_refuses_further_messages_and_sends_the_queued_ones() {
    let address = free_address();
    let daemon = Daemon::start_at(address, 1, &[]);
    let mut client = Client::builder(format!("ws://{address}"))
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
    let _daemon = Daemon::start_at(address, 1, &[]);
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
fn a_message_that_is_larger_than_the_outbox_is_invalid() {
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
    check(client.publish("room", too_big()).map(drop));
    drop(daemon);
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    check(client.send(&too_big()));
    client.close().unwrap();
}

#[test]
fn closing_reports_messages_that_could_not_be_sent() {
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

/// More than the kernel buffers for a server that does not read.
const MUCH: usize = 400;

/// Message `number` of [`MUCH`].
fn one_of_much(number: usize) -> Message {
    chat(format!("{number:65000}"))
}

/// Reads all messages of the client, one by one.
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
    // The next one may fit again, because the kernel keeps moving its bytes.
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
fn a_server_that_comes_back_and_does_not_read_delays_no_poll() {
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
