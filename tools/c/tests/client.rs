//! C programs that are clients of a server in the same process, of one that is killed, of one with TLS, and of one that
//! does not speak LHTTP.

mod common;

#[allow(dead_code, reason = "tests/library uses the rest")]
#[path = "../../../tests/helpers/tls.rs"]
mod tls;

use std::{
    net::TcpListener,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use common::{Linkage, Process, compile};

const SOURCE: &str = "tools/c/tests/c/client.c";

#[test]
fn a_c_client_does_what_the_header_says() {
    assert_eq!(common::run(SOURCE, Linkage::Shared), "done\n");
    assert_eq!(common::run(SOURCE, Linkage::Static), "done\n");
}

#[test]
fn and_valgrind_finds_nothing_wrong() {
    common::run_in_valgrind(SOURCE, Linkage::Shared);
}

/// `examples/client.c`, once it has subscribed.
fn example(linkage: Linkage, arguments: &[&str]) -> Process {
    let mut command = Command::new(compile("examples/client.c", linkage));
    command.args(arguments);
    Process::start(command)
}

/// The server of `examples/embed.c`, and its port.
fn embed(port: u16) -> (Process, u16) {
    let mut command = Command::new(compile("examples/embed.c", Linkage::Shared));
    command.arg(format!("127.0.0.1:{port}"));
    let mut server = Process::start(command);
    let line = server.line();
    let port = line.strip_prefix("listening on port ").and_then(|port| port.parse().ok());
    (server, port.unwrap_or_else(|| panic!("{line:?}")))
}

#[test]
fn client_c_comes_back_to_a_server_that_was_killed() {
    for linkage in [Linkage::Shared, Linkage::Static] {
        let (server, port) = embed(0);
        let mut client = example(linkage, &[&format!("ws://127.0.0.1:{port}"), "room"]);
        assert_eq!(client.line(), "subscribed");
        client.say("one");
        assert_eq!(client.line(), "room: chat one");
        drop(server); // SIGKILL
        let lost = client.line();
        assert!(lost.starts_with("not connected: "), "{lost:?}");
        // Published while there is no server. It waits for the connection up to its timeout.
        client.say("two");
        let _server = embed(port);
        // A server with several cores may deliver it before all of them have confirmed the subscription.
        wait_for_lines(&mut client, &["connected again", "room: chat two"]);
        client.signal("TERM");
        assert_eq!(client.line(), "closed");
        client.finish();
    }
}

/// Reads until each of these lines has come once. Skips the lines about failed attempts.
fn wait_for_lines(client: &mut Process, expected: &[&str]) {
    let mut missing = expected.to_vec();
    while !missing.is_empty() {
        let line = client.line();
        match missing.iter().position(|expected| *expected == line) {
            Some(at) => drop(missing.remove(at)),
            None => assert!(line.starts_with("not connected: "), "{line:?}"),
        }
    }
}

#[test]
fn client_c_ends_with_its_input() {
    let (_server, port) = embed(0);
    let mut client = example(Linkage::Shared, &[&format!("ws://127.0.0.1:{port}"), "clock"]);
    assert_eq!(client.line(), "subscribed");
    let time = client.line();
    assert!(time.strip_prefix("clock: time ").is_some_and(|time| time.parse::<u64>().is_ok()), "{time}");
    client.end_input();
    let start = Instant::now();
    while client.line() != "closed" {
        assert!(start.elapsed() < Duration::from_secs(60), "it goes on");
    }
    client.finish();
}

#[test]
fn client_c_trusts_a_ca_file_and_no_other() {
    let (trusted, other) = (tls::Authority::new("c-trusted"), tls::Authority::new("c-other"));
    let url = format!("wss://127.0.0.1:{}", tls::serve(trusted.server_config("127.0.0.1")));
    let ca_file = |authority: &tls::Authority| authority.file.to_str().expect("the path is UTF-8").to_owned();
    let mut client = example(Linkage::Shared, &[&url, "room", &ca_file(&trusted)]);
    assert_eq!(client.line(), "subscribed");
    client.say("secretly");
    // This server sends everything back, also the subscribe message.
    assert_eq!(client.line(), "subscribe");
    assert_eq!(client.line(), "room: chat secretly");
    client.signal("TERM");
    assert_eq!(client.line(), "closed");
    client.finish();

    let url = format!("wss://127.0.0.1:{}", tls::serve(trusted.server_config("127.0.0.1")));
    let mut refused = Command::new(compile("examples/client.c", Linkage::Shared));
    let output = refused.args([&url, "room", &ca_file(&other)]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("client: not connected: ") && stderr.contains("certificate"), "{stderr}");
}

#[test]
fn client_c_receives_payloads_that_are_not_lhttp() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client connects");
        let mut socket = tungstenite::accept(stream).expect("it shakes hands");
        let subscribe = socket.read().expect("it subscribes").into_data();
        let message = lhttp::Message::parse(&subscribe).expect("LHTTP");
        let token = message.header_value("ack").expect("it wants to know");
        let ack = format!("LHTTP/1.0 ack\r\nack:{token}\r\n\r\n");
        for message in [tungstenite::Message::text("hello"), vec![0xff, 0].into(), tungstenite::Message::text(ack)] {
            socket.send(message).expect("the client is there");
        }
        while socket.read().is_ok() {}
    });
    let mut client = example(Linkage::Shared, &[&url, "room"]);
    assert_eq!(client.line(), "subscribed");
    assert_eq!(client.line(), "not LHTTP, 5 bytes of text");
    assert_eq!(client.line(), "not LHTTP, 2 bytes of something else");
    client.end_input();
    assert_eq!(client.line(), "closed");
    client.finish();
    server.join().expect("the server ends");
}
