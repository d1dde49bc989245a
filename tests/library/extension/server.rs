//! The server's handle: addresses, stopping, counters; and two servers in one process.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use lhttp::{Config, Page, Server, StartError};

use crate::helpers::{self, Client, Log, Recorder, on_message, one_and_two_cores, start, start_with_cores, wait_for};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// An address that no other test uses, so that a port stays free after it is closed.
fn alone(number: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 81, number], 0))
}

/// A program that another test is starting has the closed listener's descriptor for a moment.
#[track_caller]
fn wait_until_nobody_listens(address: SocketAddr) {
    wait_for(|| TcpStream::connect(address).is_err());
}

#[test]
fn a_server_listens_on_all_its_addresses_and_reports_them_in_order() {
    for cores in one_and_two_cores() {
        let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0));
        let addresses = if TcpListener::bind(v6).is_ok() { vec![ANY, v6, ANY] } else { vec![ANY, ANY] };
        let builder =
            addresses.iter().fold(Server::builder().cores(cores), |builder, &address| builder.listen(address));
        let server = builder.start().unwrap();
        assert_eq!(server.cores(), cores);
        assert_eq!(server.local_addrs().len(), addresses.len(), "and not the default one");
        for (got, asked) in server.local_addrs().iter().zip(&addresses) {
            assert_eq!(got.ip(), asked.ip());
            Client::connect(*got).expect_nothing();
        }
    }
}

#[test]
fn listen_replaces_the_default_address_and_adds_to_those_of_a_config() {
    let server = Server::builder().config(Config::default()).listen(ANY).start().unwrap();
    assert_eq!(server.local_addrs().len(), 1);
    let config = Config { listen: vec![ANY.into()], ..Config::default() };
    let server = Server::builder().config(config).listen(ANY).start().unwrap();
    assert_eq!(server.local_addrs().len(), 2);
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let busy = TcpListener::bind(ANY).unwrap();
    let address = busy.local_addr().unwrap();
    match Server::builder().listen(address).start() {
        Err(StartError::Listen { at, .. }) => assert_eq!(at.tcp(), Some(address)),
        other => panic!("{other:?}"),
    }
    for cores in [0, 10_000] {
        let error = Server::builder().listen(ANY).cores(cores).start().unwrap_err();
        assert!(matches!(error, StartError::Config(_)), "{error:?}");
    }
}

/// What `address` answers to a GET of this path.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(helpers::PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it takes requests");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and ends");
    answer
}

#[test]
fn pages_have_addresses_of_their_own_and_may_name_those_of_the_server() {
    for cores in one_and_two_cores() {
        let server = start_with_cores(cores, |builder| {
            let pages = builder.pages_on(ANY).pages_on(ANY).page(Page::new("/a", "text/plain", b"static".as_slice()));
            pages.page_with(|addresses| Page::new("/", "text/plain", format!("{addresses:?}").into_bytes()))
        });
        assert_eq!((server.local_addrs().len(), server.pages_addrs().len()), (1, 2));
        for &address in server.pages_addrs() {
            assert!(get(address, "/").ends_with(&format!("\r\n\r\n{:?}", server.local_addrs())));
            assert!(get(address, "/a").ends_with("\r\n\r\nstatic"));
            assert!(get(address, "/healthz").starts_with("HTTP/1.1 404"));
        }
        assert!(get(server.local_addrs()[0], "/a").starts_with("HTTP/1.1 404"));
        assert_eq!(server.stats().turned_away, 0);
    }
}

#[test]
fn pages_that_cannot_be_served_keep_the_server_from_starting() {
    let page = || Page::new("/", "text/plain", b"x".as_slice());
    let builder = || Server::builder().listen(ANY).cores(1);
    for (builder, part) in [
        (builder().page(page()), "no address"),
        (builder().page_with(move |_| page()), "no address"),
        (builder().pages_on(ANY), "no page"),
        (builder().pages_on(ANY).page(page()).page(page()), "given twice"),
        (builder().pages_on(ANY).page(page()).page_with(move |_| page()), "given twice"),
        (builder().pages_on(ANY).page(Page::new("style.css", "text/css", b"".as_slice())), "style.css"),
    ] {
        match builder.start() {
            Err(StartError::Config(sentence)) => assert!(sentence.contains(part), "{sentence:?}"),
            other => panic!("{other:?} instead of {part:?}"),
        }
    }
}

#[test]
fn two_servers_do_not_share_a_port() {
    let server = start(|builder| builder);
    let address = server.local_addrs()[0];
    let error = Server::builder().listen(address).start().unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error:?}");
}

#[test]
fn two_servers_in_one_process_have_nothing_in_common() {
    let answer = |name: &'static str| on_message(move |context| context.send(name));
    let servers = ["one", "two"].map(|name| start(|builder| builder.processor("who", answer(name))));
    let mut clients = servers.each_ref().map(|server| Client::connect(server.local_addrs()[0]));
    for (client, name) in clients.iter_mut().zip(["one", "two"]) {
        client.subscribe("room");
        client.say("LHTTP/1.0 who\r\n\r\n");
        client.expect(&format!("LHTTP/1.0 who\r\n\r\n{name}"));
    }
    servers[0].publisher().publish(&["room"], "c", &[], "").unwrap();
    let [mut one, mut two] = clients;
    one.expect("LHTTP/1.0 c\r\npublish:room\r\n\r\n");
    let [first, second] = servers;
    drop(first);
    two.expect_nothing();
    wait_for(|| second.stats().connections == 1);
    assert_eq!(second.stats().published, 0);
}

#[test]
fn a_stop_tells_every_client_and_join_waits_until_all_is_over() {
    for cores in one_and_two_cores() {
        let log = Log::default();
        let builder = Server::builder().cores(cores).listen(alone(2)).filter(Recorder::new("f", &log));
        let server = builder.start().unwrap();
        let address = server.local_addrs()[0];
        let mut clients: Vec<_> = (0..6).map(|_| Client::connect(address)).collect();
        clients.iter_mut().for_each(Client::expect_nothing);
        let stopper = server.stopper();
        let stopping = thread::spawn(move || {
            stopper.stop(helpers::PATIENCE);
            stopper.clone().stop(Duration::ZERO); // only the first call counts
        });
        let clients = thread::spawn(move || clients.iter_mut().map(|client| client.expect_close(1001)).collect());
        server.join();
        stopping.join().unwrap();
        let reasons: Vec<String> = clients.join().unwrap();
        assert_eq!(reasons, vec!["server is stopping"; 6]);
        assert_eq!(log.lines().iter().filter(|line| *line == "f close").count(), 6);
        wait_until_nobody_listens(address);
    }
}

#[test]
fn a_publish_right_before_a_stop_reaches_every_core() {
    for cores in one_and_two_cores() {
        for round in 0..30 {
            let server = start_with_cores(cores, |builder| builder);
            let mut clients: Vec<_> = (0..6).map(|_| Client::connect(server.local_addrs()[0])).collect();
            clients.iter_mut().for_each(|client| client.subscribe("room"));
            let publisher = server.publisher();
            for number in 0..=round {
                publisher.publish(&["room"], "c", &[], number.to_string()).unwrap();
            }
            server.stop(helpers::PATIENCE);
            for client in &mut clients {
                for number in 0..=round {
                    client.expect(&format!("LHTTP/1.0 c\r\npublish:room\r\n\r\n{number}"));
                }
                client.expect_close(1001);
            }
            drop(clients);
            server.join();
        }
    }
}

#[test]
fn queued_messages_of_a_stopping_server_are_still_sent() {
    const MESSAGES: usize = 200;
    let config = Config { outbox_bytes_max: 64 << 20, memory_budget_bytes: Some(256 << 20), ..Config::default() };
    let server = start(|builder| builder.config(config));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.subscribe("room");
    let body = "x".repeat(32 << 10);
    let publisher = server.publisher();
    for _ in 0..MESSAGES {
        publisher.publish(&["room"], "c", &[], &body).unwrap();
    }
    // All messages are in the outbox. The socket takes only a part, because the client does not read.
    wait_for(|| server.stats().delivered == MESSAGES as u64);
    server.stop(helpers::PATIENCE);
    for _ in 0..MESSAGES {
        client.expect(&format!("LHTTP/1.0 c\r\npublish:room\r\n\r\n{body}"));
    }
    client.expect_close(1001);
    server.join();
}

#[test]
fn a_handle_that_is_dropped_stops_its_server_at_once() {
    for cores in one_and_two_cores() {
        let server = Server::builder().cores(cores).listen(alone(3)).start().unwrap();
        let address = server.local_addrs()[0];
        let mut client = Client::connect(address);
        client.expect_nothing();
        drop(server);
        client.wait_for_end();
        wait_until_nobody_listens(address);
    }
}

#[test]
fn the_stats_are_sums_over_all_cores() {
    for cores in one_and_two_cores() {
        let server = start_with_cores(cores, |builder| builder);
        let address = server.local_addrs()[0];
        let mut clients: Vec<_> = (0..6).map(|_| Client::connect(address)).collect();
        clients.iter_mut().for_each(|client| client.subscribe("a b"));
        clients[0].say("LHTTP/1.0 x\r\npublish:a\r\nno-echo:true\r\n\r\n");
        clients[0].say("LHTTP/1.0 x\r\npublish:a..b\r\n\r\n");
        clients[0].expect_error(400, "bad-channel", None);
        server.publisher().publish(&["b", "nobody"], "x", &[], "").unwrap();
        for client in &mut clients[1..] {
            client.recv();
            client.recv();
        }
        clients[0].recv();
        wait_for(|| server.stats().delivered == 5 + 6);
        clients.pop().unwrap().close();
        wait_for(|| server.stats().connections == 5 && server.stats().subscriptions == 10);
        let stats = server.stats();
        let counted = (stats.accepted, stats.received, stats.published, stats.refused, stats.panics, stats.faults);
        assert_eq!(counted, (6, 8, 3, 1, 0, 0), "{stats}");
        assert!(stats.turns > 0 && stats.to_string().contains("accepted=6 "), "{stats}");
    }
}
