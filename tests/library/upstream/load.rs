//! Many upstream requests at once: the promised order, the bound of the queue, and the effect on other clients.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex},
};

use lhttp::{Config, Handle};
use socket2::{Domain, Socket, Type};

use crate::helpers::{
    Client, PATIENCE,
    backend::{Action, Backend, Barrier, ok},
    one_and_two_cores, start_with_cores, wait_for,
};

fn server(cores: usize, backend: &Backend, change: impl FnOnce(Config) -> Config) -> Handle {
    let config = Config { upstream_allow: vec![backend.url("/")], upstream_timeout: 3 * PATIENCE, ..Config::default() };
    start_with_cores(cores, |builder| builder.config(change(config)))
}

fn connect(handle: &Handle) -> Client {
    Client::connect(handle.local_addrs()[0])
}

/// A client with the loopback address 127.0.0.`last`.
fn connect_from(last: u8, handle: &Handle) -> Client {
    let address = handle.local_addrs()[0];
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    Client::upgrade(socket.into(), address, "/", &[])
}

#[test]
fn ten_thousand_requests_in_flight_arrive_once_each_and_in_order_per_connection() {
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
            // Three times the number of requests, or they would exceed the share of their address.
            upstream_queue_max: 3 * CLIENTS * EACH,
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
                wait_for(|| handle.stats().upstream_requests == sent);
            }
        }
        // No request is answered before all have come.
        wait_for(|| backend.count() == CLIENTS);
        assert_eq!(handle.stats().upstream_waiting, (CLIENTS * EACH) as u64);
        assert_eq!(
            (handle.stats().upstream_answered, handle.stats().upstream_busy + handle.stats().upstream_over_share),
            (0, 0)
        );
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
    // Each client occupies one of the two workers with its requests to that server.
    for client in [&mut one, &mut other] {
        client.say(&post(quick.url("/")));
        client.expect("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\nok");
    }
    assert_eq!(slow.count(), 1);
    barrier.open();
    (0..20).for_each(|_| one.expect("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\nslow"));
}

#[test]
fn past_its_share_a_connection_gets_503_and_the_rest_of_its_message_happens() {
    const FREE: usize = 19; // a connection gets 4 of them
    for cores in one_and_two_cores() {
        let barrier = Barrier::default();
        let gate = barrier.clone();
        let backend = Backend::start(move |_| {
            gate.pass();
            ok("ok")
        });
        let handle =
            server(cores, &backend, |config| Config { upstream_workers: 2, upstream_queue_max: FREE, ..config });
        let (mut client, mut reader) = (connect(&handle), connect(&handle));
        reader.subscribe("room");
        let message = |number: usize| {
            let url = backend.url("/");
            format!(
                "LHTTP/1.0 c\r\nupstream:POST {url}\r\npublish:room\r\nsubscribe:own{number}\r\nack:{number}\r\n\r\nbody"
            )
        };
        // One request is in flight, four wait behind it.
        client.say(&message(0));
        client.expect("LHTTP/1.0 ack\r\nack:0\r\n\r\n");
        backend.wait_for(1);
        for number in 1..8 {
            client.say(&message(number));
            if number <= 4 {
                client.expect(&format!("LHTTP/1.0 ack\r\nack:{number}\r\n\r\n"));
            } else {
                let sentence = client.expect_error(503, "upstream-busy", Some(&number.to_string()));
                assert!(sentence.contains("share"), "{sentence}");
            }
        }
        (0..8).for_each(|number| reader.expect(&message(number)));
        for number in 0..8 {
            let publish = format!("LHTTP/1.0 c\r\npublish:own{number}\r\n\r\nsubscribed");
            reader.say(&publish);
            client.expect(&publish);
        }
        let stats = handle.stats();
        assert_eq!((stats.upstream_requests, stats.upstream_busy, stats.upstream_over_share), (5, 0, 3), "{stats}");
        barrier.open();
        wait_for(|| handle.stats().upstream_answered == 5);
        // There is room again.
        client.say(&message(8));
        client.expect("LHTTP/1.0 ack\r\nack:8\r\n\r\n");
        backend.wait_for(6);
        client.expect_nothing();
    }
}

#[test]
fn a_queue_that_is_full_says_so_and_a_greedy_connection_does_not_fill_it() {
    let backend = Backend::start(|_| Action::Hang);
    let handle = server(1, &backend, |config| Config { upstream_workers: 1, upstream_queue_max: 40, ..config });
    let message = format!("LHTTP/1.0 c\r\nupstream:POST {}\r\nack:t\r\n\r\n", backend.url("/"));
    let mut greedy = connect(&handle);
    greedy.say(&message);
    backend.wait_for(1);
    (0..99).for_each(|_| greedy.say(&message));
    // Each request is acknowledged or refused. A refusal comes at once, so all requests have been checked.
    let answers: Vec<String> = (0..100).map(|_| greedy.recv().to_string()).collect();
    assert_eq!(answers.iter().filter(|answer| answer.contains("upstream-busy")).count(), 91);
    let waiting = |stats: lhttp::Stats| stats.upstream_waiting as usize - 1;
    wait_for(|| handle.stats().upstream_over_share == 91);
    assert_eq!(waiting(handle.stats()), 8, "{}", handle.stats());
    // All other clients get in with one request each, until there is no place left.
    let mut others: Vec<Client> = (2..34).map(|last| connect_from(last, &handle)).collect();
    for client in &mut others {
        client.say(&message);
        client.expect("LHTTP/1.0 ack\r\nack:t\r\n\r\n");
    }
    assert_eq!(waiting(handle.stats()), 40);
    let mut late = connect_from(34, &handle);
    late.say(&message);
    assert!(late.expect_error(503, "upstream-busy", Some("t")).contains("queue of upstream requests is full"));
    wait_for(|| handle.stats().upstream_busy == 1);
    assert_eq!(handle.stats().refused_upstream_busy, 91 + 1);
}

#[test]
fn a_queue_is_full_by_its_bytes_too() {
    let backend = Backend::start(|_| Action::Hang);
    let handle = server(1, &backend, |config| Config {
        message_bytes_max: 6 << 20,
        outbox_bytes_max: 16 << 20,
        upstream_workers: 1,
        upstream_queue_max: 1000,
        ..config
    });
    let mut first = connect(&handle);
    let body = "x".repeat(5 << 20);
    let say = |client: &mut Client, body: &str| {
        client.say(&format!("LHTTP/1.0 c\r\nupstream:POST {}\r\nack:t\r\n\r\n{body}", backend.url("/")));
        let answer = client.recv().into_text().expect("text");
        let share = if answer.contains("share") { "share" } else { "queue" };
        if answer.contains("upstream-busy") { share } else { "" }
    };
    assert_eq!(say(&mut first, ""), "");
    backend.wait_for(1);
    assert_eq!(say(&mut first, &body), "", "one may always wait");
    assert_eq!(say(&mut first, &body), "share");
    assert_eq!(say(&mut first, "small"), "share", "5 MiB are more than a quarter of the 11 that are free");
    assert_eq!(
        say(&mut connect(&handle), &body),
        "share",
        "another 5 MiB are more than half of what its address may have"
    );
    let refused: Vec<_> = (2..5).map(|last| say(&mut connect_from(last, &handle), &body)).collect();
    assert_eq!(refused, ["", "", "queue"], "three of 5 MiB fit 16 MiB");
    assert_eq!(say(&mut connect_from(5, &handle), "small"), "", "what is small still fits");
}

#[test]
fn many_greedy_connections_of_an_address_leave_places_to_other_addresses_and_to_their_neighbours() {
    const QUEUE: usize = 64;
    for cores in one_and_two_cores() {
        let backend = Backend::start(|_| Action::Hang);
        let handle =
            server(cores, &backend, |config| Config { upstream_workers: 1, upstream_queue_max: QUEUE, ..config });
        let message = format!("LHTTP/1.0 c\r\nupstream:POST {}\r\nack:t\r\n\r\n", backend.url("/"));
        let is_queued = |client: &mut Client| {
            client.say(&message);
            !client.recv().to_string().contains("upstream-busy")
        };
        assert!(is_queued(&mut connect(&handle)));
        backend.wait_for(1);
        // Each of these clients takes as many places as it can get, one after the other.
        let take_all = |client: &mut Client| (0..20).filter(|_| is_queued(client)).count();
        let mut greedy: Vec<Client> = (0..5).map(|_| connect(&handle)).collect();
        let queued: usize = greedy.iter_mut().map(take_all).sum();
        assert!(queued < QUEUE / 2, "{queued} queued, more than three quarters of a half only by first requests");
        // A neighbour with the same address gets in, and others with it until their half is full.
        for neighbour in queued..QUEUE / 2 {
            assert!(is_queued(&mut connect(&handle)), "neighbour {neighbour}");
        }
        assert!(!is_queued(&mut connect(&handle)), "the half of their address is full");
        assert_eq!(handle.stats().upstream_waiting as usize, 1 + QUEUE / 2, "one of them is in flight");
        for last in 2..5 {
            assert!(is_queued(&mut connect_from(last, &handle)), "127.0.0.{last}");
        }
        let stats = handle.stats();
        assert_eq!((stats.upstream_busy, stats.upstream_over_share), (0, (5 * 20 - queued + 1) as u64), "{stats}");
    }
}

#[test]
fn a_connection_goes_behind_the_others_after_each_request() {
    let barrier = Barrier::default();
    let gate = barrier.clone();
    let backend = Backend::start(move |_| {
        gate.pass();
        ok("")
    });
    let handle = server(1, &backend, |config| Config { upstream_workers: 1, ..config });
    let (mut greedy, mut modest) = (connect(&handle), connect(&handle));
    let message = |who: &str| format!("LHTTP/1.0 c\r\nupstream:POST {}\r\nack:t\r\n\r\n{who}", backend.url("/"));
    for _ in 0..100 {
        greedy.say(&message("greedy"));
        greedy.expect("LHTTP/1.0 ack\r\nack:t\r\n\r\n");
    }
    for _ in 0..3 {
        modest.say(&message("modest"));
        modest.expect("LHTTP/1.0 ack\r\nack:t\r\n\r\n");
    }
    barrier.open();
    let requests = backend.wait_for(103);
    let order: Vec<_> = requests.iter().map(|request| request.body_text().rsplit('\n').next().unwrap()).collect();
    assert_eq!(order[..7], ["greedy", "modest", "greedy", "modest", "greedy", "modest", "greedy"][..]);
}

#[test]
fn a_backend_that_hangs_leaves_workers_to_other_backends_whichever_client_asks() {
    for cores in one_and_two_cores() {
        let slow = Backend::start(|_| Action::Hang);
        let quick = Backend::answering();
        let handle = server(cores, &slow, |config| Config {
            upstream_allow: vec![slow.url("/"), quick.url("/"), quick.url("/again")],
            upstream_workers: 8,
            ..config
        });
        let mut attackers: Vec<Client> = (0..50).map(|_| connect(&handle)).collect();
        for client in &mut attackers {
            (0..5).for_each(|_| client.say(&format!("LHTTP/1.0 c\r\nupstream:POST {}\r\n\r\n", slow.url("/"))));
            client.expect_nothing();
        }
        slow.wait_for(4);
        for _ in 0..4 {
            let mut client = connect(&handle);
            let url = quick.url("/again/x");
            for _ in 0..10 {
                client.say(&format!("LHTTP/1.0 c\r\nupstream:POST {url}\r\nupstream-reply:true\r\n\r\n"));
                client.expect("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\nok");
            }
        }
        assert_eq!(slow.count(), 4, "half of the workers");
        assert_eq!(handle.stats().upstream_timed_out, 0);
    }
}

/// A request never waits while a worker is idle: each of many rounds needs all workers at once.
#[test]
fn no_worker_sleeps_while_a_request_waits() {
    const WORKERS: usize = 4;
    for cores in one_and_two_cores() {
        let rounds = Arc::new((Mutex::new(0), Condvar::new()));
        let meeting = Arc::clone(&rounds);
        // The answers of a round go out when all its requests have come.
        let backend = Backend::start(move |_| {
            let (count, all_there) = &*meeting;
            let mut count = count.lock().expect("the lock is not poisoned");
            *count += 1;
            let round_is_over = usize::div_ceil(*count, WORKERS) * WORKERS;
            all_there.notify_all();
            let waited = all_there.wait_timeout_while(count, 3 * PATIENCE, |count| *count < round_is_over);
            drop(waited.expect("the lock is not poisoned"));
            ok("")
        });
        let handle = server(cores, &backend, |config| Config { upstream_workers: WORKERS, ..config });
        let mut clients: Vec<Client> = (0..WORKERS).map(|_| connect(&handle)).collect();
        let message = format!("LHTTP/1.0 c\r\nupstream:GET {}\r\nupstream-reply:true\r\n\r\n", backend.url("/"));
        for _ in 0..300 {
            clients.iter_mut().for_each(|client| client.say(&message));
            clients.iter_mut().for_each(|client| client.expect("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\n"));
        }
    }
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
        // Every worker hangs now, and half of the clients that asked wait. On each core a client publishes and all
        // receive.
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
