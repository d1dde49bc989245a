//! C programs that are clients of a server in the same process, of one that is killed, of one with TLS, of one that looks
//! at tokens, and of one that does not speak LHTTP.

mod common;

#[allow(dead_code, reason = "tests/library uses the rest")]
#[path = "../../../tests/helpers/tls.rs"]
mod tls;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use common::{Linkage, Process, compile};
use tungstenite::handshake::server::{Request, Response};

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

/// Answers the first handshake with 401, and shakes hands with the second client if its token is this one.
fn shake_hands(listener: &TcpListener, token: &str) -> tungstenite::WebSocket<TcpStream> {
    let (mut stream, _) = listener.accept().expect("the client connects");
    let body = "the token has run out";
    let refusal =
        format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole head");
        head.push(byte[0]);
    }
    stream.write_all(refusal.as_bytes()).expect("the client reads");
    let (stream, _) = listener.accept().expect("the client connects again");
    let expected = format!("Bearer {token}");
    #[allow(clippy::result_large_err, reason = "tungstenite decides this type")]
    let check = |request: &Request, response: Response| {
        assert_eq!(request.headers().get("authorization").and_then(|value| value.to_str().ok()), Some(&*expected));
        Ok(response)
    };
    tungstenite::accept_hdr(stream, check).expect("it shakes hands")
}

#[test]
fn a_c_client_gives_its_token_and_hears_what_it_does_not_allow() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    let server = thread::spawn(move || {
        let mut socket = shake_hands(&listener, "e30.e30.c2Vjb25k");
        let mut answer = |header: &str, value: &str, error: Option<&str>| {
            let message = lhttp::Message::parse(&socket.read().expect("it sends").into_data()).expect("LHTTP");
            assert_eq!(message.header_value(header), Some(value), "{message:?}");
            let token = message.header_value("ack").expect("it wants to know");
            let answer = match error {
                Some(lines) => format!("LHTTP/1.0 error\r\n{lines}\r\nack:{token}\r\n\r\nnot this"),
                None => format!("LHTTP/1.0 ack\r\nack:{token}\r\nexpires-in:60\r\n\r\n"),
            };
            socket.send(tungstenite::Message::text(answer)).expect("the client is there");
        };
        answer("token", "e30.e30.Zmlyc3Q", Some("code:401\r\nreason:unauthorized"));
        answer("token", "e30.e30.c2Vjb25k", None);
        answer("publish", "room", Some("code:403\r\nreason:forbidden"));
        let expired = "LHTTP/1.0 error\r\ncode:401\r\nreason:token-expired\r\n\r\nthe token has run out";
        socket.send(tungstenite::Message::text(expired)).expect("the client is there");
        while socket.read().is_ok() {}
    });
    let mut command = Command::new(compile("tools/c/tests/c/token.c", Linkage::Shared));
    let output = command.arg(url).output().expect("it runs");
    assert_eq!((text(&output.stdout), output.status.code()), ("done\n".into(), Some(0)), "{}", text(&output.stderr));
    server.join().expect("the server ends");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn client_c_takes_its_token_from_the_environment() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    let server = thread::spawn(move || {
        // The first program ends with the refusal.
        let mut socket = shake_hands(&listener, "e30.e30.c2lnbmVk");
        let subscribe = lhttp::Message::parse(&socket.read().expect("it subscribes").into_data()).expect("LHTTP");
        let token = subscribe.header_value("ack").expect("it wants to know");
        socket.send(tungstenite::Message::text(format!("LHTTP/1.0 ack\r\nack:{token}\r\n\r\n"))).expect("it reads");
        while socket.read().is_ok() {}
    });
    let program = || {
        let mut command = Command::new(compile("examples/client.c", Linkage::Shared));
        command.args([&url, "room"]).env("LHTTP_TOKEN", "e30.e30.c2lnbmVk");
        command
    };
    let refused = program().output().expect("it runs");
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(text(&refused.stderr), "client: 401 unauthorized: the token has run out\n");
    assert_eq!(Process::start(program()).line(), "subscribed");
    server.join().expect("the server ends");
}
