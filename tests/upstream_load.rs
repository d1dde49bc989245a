//! Many upstream requests at once: the order that is promised, the bound of the queue, and what it is to others.
#![cfg(feature = "upstream")]

mod support;

use std::collections::HashMap;

use lhttp::{Config, Handle};
use support::{
    Client, PATIENCE,
    backend::{Action, Backend, Barrier, ok},
    one_and_two_cores, start_with_cores, wait_until,
};

fn server(cores: usize, backend: &Backend, change: impl FnOnce(Config) -> Config) -> Handle {
    let config = Config { upstream_allow: vec![backend.url("/")], upstream_timeout: 3 * PATIENCE, ..Config::default() };
    start_with_cores(cores, |builder| builder.config(change(config)))
}

fn connect(handle: &Handle) -> Client {
    Client::connect(handle.local_addrs()[0])
}

#[test]
fn ten_thousand_in_flight_arrive_once_each_and_those_of_a_connection_in_order() {
    const CLIENTS: usize = 50;
    const EACH: usize = 200;
    for cores in one_and_two_cores() {
        let barrier = Barrier::default();
        let gate = barrier.clone();
        let backend = Backend::start(move |_| {
            gate.pass();
            ok("")
        });
        let handle = server(cores, &backend, |config| Config {
            upstream_workers: CLIENTS,
            upstream_queue_max: CLIENTS * EACH,
            ..config
        });
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(&handle)).collect();
        for number in 0..EACH {
            for (client, socket) in clients.iter_mut().enumerate() {
                let url = backend.url("/record");
                socket.say(&format!(
                    "LHTTP/1.0 c\r\nupstream:POST {url}\r\nupstream-reply:true\r\nack:{number}\r\n\r\n{client} {number}"
                ));
            }
            if number % 10 == 9 {
                let sent = (CLIENTS * (number + 1)) as u64;
                wait_until(|| handle.stats().upstream_requests == sent);
            }
        }
        // Not one is answered before all are there.
        wait_until(|| backend.count() == CLIENTS);
        assert_eq!(handle.stats().upstream_waiting, (CLIENTS * EACH) as u64);
        assert_eq!((handle.stats().upstream_answered, handle.stats().upstream_busy), (0, 0));
        barrier.open();
        for socket in &mut clients {
            for number in 0..EACH {
                socket.expect(&format!("LHTTP/1.0 ack\r\nack:{number}\r\n\r\n"));
            }
        }
        for socket in &mut clients {
            for number in 0..EACH {
                socket.expect(&format!("LHTTP/1.0 c\r\nupstream-status:200\r\nack:{number}\r\n\r\n"));
            }
        }
        let requests = backend.requests();
        assert_eq!(requests.len(), CLIENTS * EACH);
        let mut next: HashMap<&str, usize> = HashMap::new();
        for request in &requests {
            let (client, number) = request.body_text().rsplit('\n').next().unwrap().split_once(' ').unwrap();
            let expected = next.entry(client).or_default();
            assert_eq!(number.parse(), Ok(*expected), "of client {client}");
            *expected += 1;
        }
        assert!(backend.connections() <= CLIENTS, "{} connections", backend.connections());
    }
}

#[test]
fn a_connection_waits_for_its_own_requests_to_a_server_and_for_no_others() {
    let barrier = Barrier::default();
    let gate = barrier.clone();
    let slow = Backend::start(move |_| {
        gate.pass();
        ok("slow")
    });
    let quick = Backend::answering();
    let handle = server(1, &slow, |config| Config {
        upstream_allow: vec![slow.url("/"), quick.url("/")],
        upstream_workers: 2,
        ..config
    });
    let (mut one, mut other) = (connect(&handle), connect(&handle));
    let post = |url: String| format!("LHTTP/1.0 c\r\nupstream:POST {url}\r\nupstream-reply:true\r\n\r\n");
    (0..20).for_each(|_| one.say(&post(slow.url("/"))));
    slow.wait_for(1);
    // It holds one of the two workers, with all that it asks of that server.
    for client in [&mut one, &mut other] {
        client.say(&post(quick.url("/")));
        client.expect("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\nok");
    }
    assert_eq!(slow.count(), 1);
    barrier.open();
    (0..20).for_each(|_| one.expect("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\nslow"));
}

#[test]
fn past_a_full_queue_the_sender_gets_503_and_the_rest_of_its_message_happens() {
    for cores in one_and_two_cores() {
        let barrier = Barrier::default();
        let gate = barrier.clone();
        let backend = Backend::start(move |_| {
            gate.pass();
            ok("ok")
        });
        let handle = server(cores, &backend, |config| Config { upstream_workers: 2, upstream_queue_max: 3, ..config });
        let (mut client, mut reader) = (connect(&handle), connect(&handle));
        reader.subscribe("room");
        let message = |number: usize| {
            let url = backend.url("/");
            format!(
                "LHTTP/1.0 c\r\nupstream:POST {url}\r\npublish:room\r\nsubscribe:own{number}\r\nack:{number}\r\n\r\nbody"
            )
        };
        // One is under way, three wait behind it.
        client.say(&message(0));
        client.expect("LHTTP/1.0 ack\r\nack:0\r\n\r\n");
        backend.wait_for(1);
        for number in 1..8 {
            client.say(&message(number));
            if number <= 3 {
                client.expect(&format!("LHTTP/1.0 ack\r\nack:{number}\r\n\r\n"));
            } else {
                client.expect_error(503, "upstream-busy", Some(&number.to_string()));
            }
        }
        (0..8).for_each(|number| reader.expect(&message(number)));
        for number in 0..8 {
            let publish = format!("LHTTP/1.0 c\r\npublish:own{number}\r\n\r\nsubscribed");
            reader.say(&publish);
            client.expect(&publish);
        }
        assert_eq!((handle.stats().upstream_requests, handle.stats().upstream_busy), (4, 4), "{}", handle.stats());
        barrier.open();
        wait_until(|| handle.stats().upstream_answered == 4);
        // There is room again.
        client.say(&message(8));
        client.expect("LHTTP/1.0 ack\r\nack:8\r\n\r\n");
        backend.wait_for(5);
        client.expect_nothing();
    }
}

#[test]
fn a_queue_is_full_by_its_bytes_too() {
    let backend = Backend::start(|_| Action::Hang);
    let handle = server(1, &backend, |config| Config {
        message_bytes_max: 6 << 20,
        outbox_bytes_max: 16 << 20,
        upstream_queue_max: 1000,
        ..config
    });
    let mut client = connect(&handle);
    let body = "x".repeat(5 << 20);
    let mut say = |ack: &str, body: &str| {
        client.say(&format!("LHTTP/1.0 c\r\nupstream:POST {}\r\nack:{ack}\r\n\r\n{body}", backend.url("/")));
        client.recv().into_text().expect("text").contains("upstream-busy")
    };
    assert!(!say("0", ""));
    backend.wait_for(1);
    let refused: Vec<bool> = ["1", "2", "3", "4"].iter().map(|ack| say(ack, &body)).collect();
    assert_eq!(refused, [false, false, false, true], "three of 5 MiB fit 16 MiB");
    assert!(!say("5", "small"), "what is small still fits");
}

#[test]
fn a_chat_goes_on_while_every_worker_hangs() {
    const WORKERS: usize = 4;
    for cores in one_and_two_cores() {
        let backend = Backend::start(|_| Action::Hang);
        let handle = server(cores, &backend, |config| Config { upstream_workers: WORKERS, ..config });
        let mut askers: Vec<Client> = (0..2 * WORKERS).map(|_| connect(&handle)).collect();
        for client in &mut askers {
            client.say(&format!("LHTTP/1.0 c\r\nupstream:POST {}\r\npublish:room\r\n\r\n", backend.url("/")));
        }
        backend.wait_for(WORKERS);
        // Every worker hangs now, and half of the askers wait. On each core somebody speaks and everybody is heard.
        let mut clients: Vec<Client> = (0..8).map(|_| connect(&handle)).collect();
        clients.iter_mut().chain(&mut askers).for_each(|client| client.subscribe("room"));
        for number in 0..200 {
            let speaker = number % clients.len();
            let message = format!("LHTTP/1.0 chat\r\npublish:room\r\n\r\n{number}");
            clients[speaker].say(&message);
            clients.iter_mut().chain(&mut askers).for_each(|client| client.expect(&message));
        }
        assert_eq!(backend.count(), WORKERS, "they still hang");
        let stats = handle.stats();
        assert_eq!((stats.upstream_answered, stats.upstream_failed, stats.upstream_timed_out), (0, 0, 0), "{stats}");
        assert_eq!(stats.upstream_waiting, 2 * WORKERS as u64);
    }
}
