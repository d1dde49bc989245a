//! Publishing from the program that embeds the server.

use std::{sync::mpsc, thread};

use lhttp::{Config, PublishError, Publisher};

use crate::helpers::{Client, on_message, one_and_two_cores, start, start_with_cores, wait_for};

const MESSAGES: usize = 2000;
const CLIENTS: usize = 6;

/// Publishes, and retries while the server is behind.
fn publish(publisher: &Publisher, channel: &str, body: &str) {
    wait_for(|| match publisher.publish(&[channel], "n", &[], body) {
        Ok(()) => true,
        Err(PublishError::Full) => false,
        Err(error) => panic!("{error}"),
    });
}

#[test]
fn a_publish_reaches_the_subscribers_of_each_channel_on_every_core() {
    for cores in one_and_two_cores() {
        let server = start_with_cores(cores, |builder| builder);
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.local_addrs()[0])).collect();
        clients.iter_mut().for_each(|client| client.subscribe("a b.*"));
        // Each publisher of a handle goes in through another core.
        for publisher in [server.publisher(), server.publisher()] {
            publisher.publish(&["a"], "chat", &[("from", "mike"), ("x", "")], "hello").unwrap();
            publisher.publish(&["a", "b.c", "nobody"], "chat", &[], [0xff]).unwrap();
        }
        for client in &mut clients {
            let mut counts = [0, 0];
            for _ in 0..6 {
                let message = client.recv();
                let text = b"LHTTP/1.0 chat\r\npublish:a\r\nfrom:mike\r\nx:\r\n\r\nhello";
                let is_text = message.is_text() && message.clone().into_data() == text[..];
                let is_binary = message.is_binary()
                    && message.clone().into_data() == b"LHTTP/1.0 chat\r\npublish:a b.c nobody\r\n\r\n\xff"[..];
                assert!(is_text || is_binary, "{message:?}");
                counts[usize::from(is_binary)] += 1;
            }
            assert_eq!(counts, [2, 4]);
            client.expect_nothing();
        }
    }
}

#[test]
fn messages_of_one_caller_to_a_channel_arrive_in_order_on_every_core() {
    for cores in one_and_two_cores() {
        let server = start_with_cores(cores, |builder| builder);
        let publisher = server.publisher();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = Client::connect(server.local_addrs()[0]);
                client.subscribe("room");
                client
            })
            .collect();
        // Two callers with clones of one publisher, and clients that read all the time.
        let callers: Vec<_> = ["x", "y"]
            .map(|caller| {
                let publisher = publisher.clone();
                thread::spawn(move || {
                    (0..MESSAGES).for_each(|number| publish(&publisher, "room", &format!("{caller} {number}")));
                })
            })
            .into();
        let readers: Vec<_> = clients.into_iter().map(|client| thread::spawn(|| read_both(client))).collect();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        let orders: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert!(orders.iter().all(|order| *order == orders[0]), "clones share one way in, so there is one order");
    }
}

/// Reads the messages of both callers. Fails the test if those of one caller are out of order. Returns the bodies.
fn read_both(mut client: Client) -> Vec<String> {
    let mut next = [0, 0];
    let mut bodies = Vec::new();
    for _ in 0..2 * MESSAGES {
        let text = client.recv().into_text().unwrap();
        let body = text.strip_prefix("LHTTP/1.0 n\r\npublish:room\r\n\r\n").expect("what was published");
        let (caller, number) = body.split_once(' ').unwrap();
        let next = &mut next[usize::from(caller == "y")];
        assert_eq!(number.parse(), Ok(*next), "{caller}");
        *next += 1;
        bodies.push(body.to_owned());
    }
    client.expect_nothing();
    bodies
}

#[test]
fn an_invalid_publish_is_an_error_and_reaches_nobody() {
    let config = Config { message_bytes_max: 10_000, ..Config::default() };
    let server = start(|builder| builder.config(config));
    let publisher = server.publisher();
    let mut client = Client::connect(server.local_addrs()[0]);
    client.subscribe("room >");
    let large = "x".repeat(10_000);
    let invalid = [
        (&[][..], "c", &[][..], "", "bad-channel"),
        (&["room", ""], "c", &[], "", "bad-channel"),
        (&["room", "a..b"], "c", &[], "", "bad-channel"),
        (&["room", "a b"], "c", &[], "", "bad-channel"),
        (&["room", "a.*"], "c", &[], "", "bad-channel"),
        (&["room", "a\r\nb"], "c", &[], "", "bad-channel"),
        (&["room"], "", &[], "", "bad-start-line"),
        (&["room"], "a b", &[], "", "bad-start-line"),
        (&["room"], "c", &[("a:b", "")], "", "bad-header"),
        (&["room"], "c", &[("a", "b\r\nc:d")], "", "bad-header"),
        (&["room"], "c", &[], &large, "message-too-big"),
    ];
    for (channels, command, headers, body, reason) in invalid {
        match publisher.publish(channels, command, headers, body) {
            Err(PublishError::Invalid(refusal)) => assert_eq!(refusal.reason(), reason),
            other => panic!("{channels:?} {command:?} {headers:?}: {other:?}"),
        }
    }
    let room = 10_000 - "LHTTP/1.0 c\r\npublish:last\r\n\r\n".len();
    publisher.publish(&["last"], "c", &[], &large[..room]).unwrap();
    client.expect(&format!("LHTTP/1.0 c\r\npublish:last\r\n\r\n{}", &large[..room]));
}

#[test]
fn a_core_that_is_behind_reports_full_and_loses_nothing_that_it_accepted() {
    let (release, held) = mpsc::channel();
    let (entered, is_held) = mpsc::channel();
    let (held, entered) = (std::sync::Mutex::new(held), std::sync::Mutex::new(entered));
    let hold = on_message(move |_| {
        entered.lock().unwrap().send(()).unwrap();
        held.lock().unwrap().recv().unwrap();
    });
    let config = Config { outbox_bytes_max: 64 << 20, memory_budget_bytes: Some(256 << 20), ..Config::default() };
    let server = start(|builder| builder.config(config).processor("hold", hold));
    let publisher = server.publisher();
    let mut client = Client::connect(server.local_addrs()[0]);
    client.subscribe("room");
    client.say("LHTTP/1.0 hold\r\n\r\n");
    is_held.recv().unwrap();

    let filler = "x".repeat(32 << 10);
    let mut taken = 0;
    let full = loop {
        match publisher.publish(&["room"], "n", &[("n", &taken.to_string())], &filler) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 100_000, "the inbox has no bound");
    };
    assert_eq!(full, PublishError::Full);
    release.send(()).unwrap();
    for number in 0..taken {
        client.expect(&format!("LHTTP/1.0 n\r\npublish:room\r\nn:{number}\r\n\r\n{filler}"));
    }
    publish(&publisher, "room", "again");
    client.expect("LHTTP/1.0 n\r\npublish:room\r\n\r\nagain");
}

#[test]
fn a_publisher_outlives_its_server_and_reports_stopped() {
    for cores in one_and_two_cores() {
        let server = start_with_cores(cores, |builder| builder);
        let publishers = [server.publisher(), server.publisher()];
        publishers[0].publish(&["room"], "c", &[], "").unwrap();
        drop(server);
        for publisher in &publishers {
            assert_eq!(publisher.publish(&["room"], "c", &[], ""), Err(PublishError::Stopped));
        }
    }
}
