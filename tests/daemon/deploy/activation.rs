//! Listening sockets that systemd hands over (sd_listen_fds(3)): a restart refuses nobody.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::helpers::{
    PATIENCE,
    client::{Client, close_parts},
    daemon::{Daemon, command_with_sockets},
    frame::CLOSE,
    http::{Http, publish_request},
    message::{Message, chat},
    on_one_and_two_cores,
    scratch::Scratch,
    wait_for,
};

on_one_and_two_cores!(
    a_restart_refuses_nobody_and_what_is_acknowledged_arrives,
    a_unix_socket_is_handed_over_and_stays,
    sockets_are_found_by_their_address_and_replace_the_default_one_alone,
);

/// Sockets on free ports, as systemd keeps them.
fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn handed(listener: &TcpListener) -> OwnedFd {
    listener.try_clone().expect("a descriptor").into()
}

/// What the load of the restart has done, on all its threads.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    /// The newest number that the server has acknowledged.
    published: AtomicUsize,
    /// Connections that were told to come back.
    told: AtomicUsize,
    /// Handshakes that succeeded.
    connected: AtomicUsize,
}

/// Publishes one number after the other, each on a connection of its own, until the load is over.
fn publish(load: &Load, port: u16) {
    for number in 1.. {
        let message = chat(&["publish:room"], &number.to_string());
        let response = Http::connect(port).ask(publish_request(&message, ""));
        assert_eq!((response.status, response.body_text()), (200, "{\"channels\":1}"), "number {number}");
        load.published.store(number, Ordering::Release);
        if load.is_over.load(Ordering::Acquire) {
            return;
        }
    }
}

/// Subscribes, and comes back at once when it is told to go. Checks that what has come by then has no gap. Messages of
/// several connections may come in any order.
fn listen(load: &Load, port: u16) {
    while !load.is_over.load(Ordering::Acquire) {
        let mut client = Client::connect(port);
        load.connected.fetch_add(1, Ordering::AcqRel);
        // This may also be told to go before it has subscribed.
        client.say("LHTTP/1.0 chat\r\nsubscribe:room\r\nack:1\r\n\r\n");
        let mut numbers = BTreeSet::new();
        loop {
            let frame = client.recv();
            if frame.opcode == CLOSE {
                let (code, reason) = close_parts(&frame);
                assert!(code == 1001 && reason == "restart:1000", "{code} {reason}");
                load.told.fetch_add(1, Ordering::AcqRel);
                let (first, last) = (numbers.first().unwrap_or(&0), numbers.last().unwrap_or(&0));
                assert!(numbers.is_empty() || last - first + 1 == numbers.len(), "there is a gap: {numbers:?}");
                break;
            }
            let message = Message::parse(&frame.payload);
            if message.command == "ack" {
                continue;
            }
            let number: usize = message.body.parse().expect("a number");
            assert!(numbers.insert(number), "{number} came twice");
            if load.is_over.load(Ordering::Acquire) && number >= load.published.load(Ordering::Acquire) {
                return;
            }
        }
    }
}

fn a_restart_refuses_nobody_and_what_is_acknowledged_arrives(cores: usize) {
    const LISTENERS: usize = 8;
    const RESTARTS: usize = 3;
    let (listener, address) = listening();
    let port = address.port();
    let cores = cores.to_string();
    let start = || Daemon::start_with_sockets(vec![handed(&listener)], &["--cores", &cores]);
    let mut daemon = start();
    assert_eq!(daemon.port(), port);
    let load = Arc::new(Load::default());
    let spawn = |run: fn(&Load, u16)| -> JoinHandle<()> {
        let load = Arc::clone(&load);
        thread::spawn(move || run(&load, port))
    };
    let listeners: Vec<_> = (0..LISTENERS).map(|_| spawn(listen)).collect();
    let publisher = spawn(publish);
    for restart in 1..=RESTARTS {
        let published = load.published.load(Ordering::Acquire);
        wait_for(|| load.published.load(Ordering::Acquire) > published + 20 || publisher.is_finished());
        daemon.terminate();
        assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
        daemon = start();
        wait_for(|| load.connected.load(Ordering::Acquire) >= (restart + 1) * LISTENERS || publisher.is_finished());
    }
    let published = load.published.load(Ordering::Acquire);
    wait_for(|| load.published.load(Ordering::Acquire) > published + 20 || publisher.is_finished());
    load.is_over.store(true, Ordering::Release);
    publisher.join().expect("each post was taken");
    // The last number wakes those that wait for one.
    let last = load.published.load(Ordering::Acquire) + 1;
    let message = chat(&["publish:room"], &last.to_string());
    assert_eq!(Http::connect(port).ask(publish_request(&message, "")).status, 200);
    listeners.into_iter().for_each(|listener| listener.join().expect("nobody was refused"));
    assert!(load.told.load(Ordering::Acquire) >= RESTARTS * LISTENERS);
}

fn a_unix_socket_is_handed_over_and_stays(cores: usize) {
    let scratch = Scratch::new();
    let path = scratch.path().join("lhttpd.sock");
    let unix = UnixListener::bind(&path).expect("a path of ours");
    let (tcp, _) = listening();
    let mut daemon = Daemon::start_with_sockets(vec![handed(&tcp), unix.into()], &["--cores", &cores.to_string()]);
    assert!(daemon.stderr().contains(&format!(", unix:{}: ", path.display())), "{}", daemon.stderr());
    let stream = UnixStream::connect(&path).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    tungstenite::client("ws://localhost/", stream).expect("a handshake");
    daemon.terminate();
    assert!(daemon.exit_within(PATIENCE).is_some_and(|status| status.success()));
    assert!(path.exists(), "the file is systemd's");
}

fn sockets_are_found_by_their_address_and_replace_the_default_one_alone(cores: usize) {
    let cores = cores.to_string();
    let ((one, first), (other, second)) = (listening(), listening());
    // The server makes the socket of an address that has none.
    let listen = ["--listen", "127.0.0.1:0", "--listen", &first.to_string(), "--cores", &cores, "--log", "debug"];
    let daemon = Daemon::start_with_sockets(vec![handed(&one)], &listen);
    assert_ne!(daemon.port(), first.port());
    for port in [daemon.port(), first.port()] {
        Client::connect(port).expect_nothing_before_ack();
    }
    daemon.wait_for(&format!("accepts from the socket for {first} that was handed over"));
    drop(daemon);
    // The demo's pages may have one, too.
    let demo = ["--demo", &second.to_string(), "--cores", &cores];
    let daemon = Daemon::start_with_sockets(vec![handed(&one), handed(&other)], &demo);
    assert_eq!(daemon.port(), first.port());
    let page = Http::connect(second.port()).ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(page.status, 200);
    let health = Http::connect(second.port()).ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(health.status, 404, "it serves pages alone");
}

/// What a daemon says that does not start.
fn refusal(command: &mut Command) -> String {
    let output = command.stderr(Stdio::piped()).output().expect("lhttpd runs");
    let said = String::from_utf8(output.stderr).expect("it is text");
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    said
}

#[test]
fn a_socket_that_nobody_asked_for_and_what_is_no_listener_keep_the_server_from_starting() {
    let ((one, first), (other, second)) = (listening(), listening());
    let mut command = command_with_sockets(vec![handed(&one), handed(&other)]);
    let said = refusal(command.args(["--listen", &second.to_string()]));
    assert!(said.contains(&format!("listen: {first}: a socket was handed over, but")), "{said}");
    let mut command = command_with_sockets(vec![handed(&one), handed(&one)]);
    let said = refusal(command.args(["--listen", &first.to_string()]));
    assert!(said.contains(&format!("listen: {first}: more than one socket")), "{said}");

    let (client, _) = UnixStream::pair().expect("two sockets");
    let said = refusal(&mut command_with_sockets(vec![client.into()]));
    assert!(said.contains("not a listening stream socket"), "{said}");

    let too_many = refusal(Command::new(env!("CARGO_BIN_EXE_lhttpd")).env("LISTEN_FDS", "4000000000"));
    assert!(too_many.contains("LISTEN_FDS: 4000000000 sockets"), "{too_many}");
}

#[test]
fn sockets_of_another_process_are_left_alone() {
    let daemon = Daemon::start_with_variable(1, "LISTEN_FDS", "2", &[]);
    Client::connect(daemon.port()).expect_nothing_before_ack();
    drop(daemon);
    let daemon = Daemon::start_with_variable(1, "LISTEN_PID", "1", &[]);
    Client::connect(daemon.port()).expect_nothing_before_ack();
}
