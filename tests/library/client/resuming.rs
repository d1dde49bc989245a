//! How the blocking client resumes (PROTOCOL.md §10), seen from a server: what it asks for, and when.

use std::{net::TcpStream, sync::mpsc, time::Duration};

use lhttp::client::{Event, Start, State};
use tungstenite::WebSocket;

use crate::helpers::{
    faulty::{ack, against, chat, event, read_message, read_with, refuse, say, wait_for_end},
    let_pass,
};

/// Reads a message that subscribes to these channels. Returns its token and its `since`.
#[track_caller]
fn read_subscribe(socket: &mut WebSocket<TcpStream>, channels: &str) -> (String, Option<String>) {
    let message = read_message(socket);
    assert_eq!(message.header_value("subscribe"), Some(channels), "{message:?}");
    let since = message.header_value("since").map(str::to_owned);
    (message.header_value("ack").expect("it wants to know").to_owned(), since)
}

/// Sends a numbered message of a channel.
fn publish(socket: &mut WebSocket<TcpStream>, channel: &str, id: &str) {
    say(socket, &format!("LHTTP/1.0 chat\r\nmessage-id:{id}\r\nchannel:{channel}\r\npublish:{channel}\r\n\r\n{id}"));
}

fn ack_with(socket: &mut WebSocket<TcpStream>, token: &str, lines: &str) {
    say(socket, &format!("LHTTP/1.0 ack\r\nack:{token}\r\n{lines}\r\n\r\n"));
}

#[track_caller]
fn body(event: &Event) -> &str {
    let Event::Message(message) = event else { panic!("no message but {event:?}") };
    std::str::from_utf8(message.body_bytes()).expect("a text")
}

#[test]
fn without_a_history_nothing_is_new_on_the_wire() {
    let (builder, server) = against(
        |number, mut socket| {
            let subscribe = read_message(&mut socket);
            let token = subscribe.header_value("ack").unwrap();
            let names = if number == 0 { "b  a" } else { "a b" };
            let expected = format!("LHTTP/1.0 subscribe\r\nsubscribe:{names}\r\nack:{token}\r\n\r\n");
            assert_eq!(String::from_utf8(subscribe.encode()).unwrap(), expected);
            ack(&mut socket, token);
            // The headers of a publisher.
            publish(&mut socket, "a", "x-1");
            publish(&mut socket, "a", "x-1");
            if number == 1 {
                wait_for_end(&mut socket);
            }
        },
        2,
    );
    let mut client = builder.connect().unwrap();
    client.subscribe("b  a").unwrap();
    assert_eq!(client.position("a"), None);
    let mut seen = Vec::new();
    while seen.len() < 4 {
        match event(&mut client) {
            Event::State(State::Waiting { .. } | State::Open) => {}
            message => seen.push(body(&message).to_owned()),
        }
    }
    assert_eq!(seen, ["x-1"; 4]);
    drop(client);
    server.join().unwrap();
}

#[test]
fn it_asks_for_what_follows_the_newest_message_or_the_position_of_the_answer() {
    let (builder, server) = against(
        |number, mut socket| {
            let (token, since) = read_subscribe(&mut socket, "a b c");
            match number {
                0 => {
                    assert_eq!(since, None);
                    // With several channels new messages of one may come before the answer.
                    publish(&mut socket, "a", "e-6");
                    ack_with(&mut socket, &token, "position:e-5 e-1 -");
                }
                1 => {
                    assert_eq!(since.as_deref(), Some("e-6 e-1 -"));
                    publish(&mut socket, "a", "e-7");
                    // The connection ends in the middle.
                }
                _ => {
                    assert_eq!(since.as_deref(), Some("e-7 e-1 -"));
                    ack_with(&mut socket, &token, "position:e-7 f-0 -\r\nlost:b");
                    wait_for_end(&mut socket);
                }
            }
        },
        3,
    );
    let mut client = builder.connect().unwrap();
    client.subscribe("a b c").unwrap();
    let mut seen = Vec::new();
    loop {
        match event(&mut client) {
            Event::State(State::Waiting { .. }) => {}
            Event::State(State::Open) => break,
            Event::MessagesLost { channel } => seen.push(channel),
            message => seen.push(body(&message).to_owned()),
        }
    }
    assert_eq!(seen, ["e-6", "e-7", "b"]);
    assert_eq!((client.position("a"), client.position("b"), client.position("c")), (Some("e-7"), Some("f-0"), None));
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn a_call_whose_connection_is_lost_in_the_middle_goes_on_there() {
    let (builder, server) = against(
        |number, mut socket| {
            let message = read_message(&mut socket);
            assert_eq!(message.header_value("last"), Some("3"));
            if number == 0 {
                assert_eq!(message.header_value("since"), None);
                publish(&mut socket, "a", "e-1");
                return;
            }
            assert_eq!(message.header_value("since"), Some("e-1"));
            publish(&mut socket, "a", "e-2");
            ack_with(&mut socket, message.header_value("ack").unwrap(), "position:e-2");
            wait_for_end(&mut socket);
        },
        2,
    );
    let mut client = builder.connect().unwrap();
    client.subscribe_from("a", Start::last(3)).unwrap();
    assert_eq!(body(&event(&mut client)), "e-1");
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    assert_eq!(event(&mut client), Event::State(State::Open));
    assert_eq!(body(&event(&mut client)), "e-2");
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn a_pattern_that_matches_waits_until_the_channel_has_what_it_missed() {
    let (builder, server) = against(
        |number, mut socket| {
            if number == 0 {
                let (token, _) = read_subscribe(&mut socket, "a.> a.b z.*");
                return ack_with(&mut socket, &token, "position:- e-1 -");
            }
            let (token, since) = read_subscribe(&mut socket, "a.b z.*");
            assert_eq!(since.as_deref(), Some("e-1 -"));
            // The next message waits for this answer.
            socket.get_ref().set_nonblocking(true).unwrap();
            assert!(socket.read().is_err());
            socket.get_ref().set_nonblocking(false).unwrap();
            ack_with(&mut socket, &token, "position:e-2 -");
            let (token, since) = read_subscribe(&mut socket, "a.>");
            assert_eq!(since, None);
            refuse(&mut socket, &token);
            wait_for_end(&mut socket);
        },
        2,
    );
    let mut client = builder.connect().unwrap();
    client.subscribe("a.> a.b z.*").unwrap();
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    let lost = event(&mut client);
    assert!(matches!(&lost, Event::SubscriptionLost { channel, .. } if channel == "a.>"), "{lost:?}");
    assert_eq!(event(&mut client), Event::State(State::Open));
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn after_a_new_token_a_channel_ends_before_it_begins_again_where_it_was() {
    let (builder, server) = against(
        |_, mut socket| {
            let (token, _) = read_subscribe(&mut socket, "a b");
            ack_with(&mut socket, &token, "position:e-1 -");
            say(&mut socket, "LHTTP/1.0 error\r\ncode:401\r\nreason:token-expired\r\n\r\nthe token has run out");
            let token = read_with(&mut socket, "token", "e30.e30.c2Vjb25k");
            ack(&mut socket, &token);
            let ends = read_with(&mut socket, "unsubscribe", "a");
            let (other, since) = read_subscribe(&mut socket, "b");
            assert_eq!(since, None);
            publish(&mut socket, "a", "e-2"); // in flight
            ack(&mut socket, &ends);
            ack(&mut socket, &other);
            let (token, since) = read_subscribe(&mut socket, "a");
            assert_eq!(since.as_deref(), Some("e-2"));
            publish(&mut socket, "a", "e-3");
            ack_with(&mut socket, &token, "position:e-3");
            wait_for_end(&mut socket);
        },
        1,
    );
    let mut client = builder.connect().unwrap();
    client.subscribe("a b").unwrap();
    assert!(matches!(event(&mut client), Event::Refused(refusal) if refusal.code() == 401));
    client.set_token("e30.e30.c2Vjb25k").unwrap();
    assert_eq!((body(&event(&mut client)), body(&event(&mut client))), ("e-2", "e-3"));
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn what_was_missed_may_take_longer_than_the_timeout_as_long_as_it_comes() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let (go_on, told) = mpsc::channel();
    let (builder, server) = against(
        move |number, mut socket| {
            let (token, _) = read_subscribe(&mut socket, "a");
            if number == 0 {
                return ack_with(&mut socket, &token, "position:e-1");
            }
            publish(&mut socket, "a", "e-2");
            publish(&mut socket, "a", "e-3");
            told.recv().unwrap();
            ack_with(&mut socket, &token, "position:e-3");
            wait_for_end(&mut socket);
        },
        2,
    );
    let mut client = builder.timeout(TIMEOUT).connect().unwrap();
    client.subscribe("a").unwrap();
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    assert_eq!(body(&event(&mut client)), "e-2");
    // The program is busy.
    let_pass(TIMEOUT);
    assert_eq!(body(&event(&mut client)), "e-3");
    go_on.send(()).unwrap();
    assert_eq!(event(&mut client), Event::State(State::Open));
    client.publish_unacked("elsewhere", chat("x")).unwrap();
    client.close().unwrap();
    server.join().unwrap();
}
