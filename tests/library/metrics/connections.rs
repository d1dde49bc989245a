//! Connections by transport, and why they end.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::Duration,
};

use lhttp::{Builder, Config, Context, Filter, Handle, Refusal, config::Listen};
use socket2::SockRef;

use super::series::{ended, value, wait_for_value};
use crate::helpers::{Client, PATIENCE, on_message, scratch::Scratch, start};

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/// A connection to a server that nothing is sent on.
fn connect(server: &Handle) -> TcpStream {
    let stream = TcpStream::connect(server.local_addrs()[0]).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
    stream
}

/// A WebSocket whose frames the test writes itself.
fn upgraded(server: &Handle) -> TcpStream {
    let mut stream = connect(server);
    stream.write_all(HANDSHAKE.as_bytes()).expect("the server takes it");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the server answers");
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    stream
}

fn with(change: impl FnOnce(Config) -> Config) -> Handle {
    start(|builder| builder.config(change(Config::default())))
}

/// The connections with an end, each of which has one reason.
#[track_caller]
fn expect_one_end(server: &Handle, reason: &str) {
    wait_for_value(server, &ended(reason), 1.0);
    let text = server.metrics().text();
    let all = text.lines().filter(|line| line.starts_with("lhttp_connections_ended_total{"));
    let sum: u64 = all.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    assert_eq!(sum, 1, "another reason counts too, beside {reason}");
}

#[test]
fn open_connections_are_counted_by_transport_until_they_are_gone() {
    let folder = Scratch::new();
    let path = folder.path().join("socket");
    let server = start(|builder: Builder| builder.listen_on(Listen::Unix(path.clone())));
    let tcp = Client::connect(server.local_addrs()[0]);
    let unix = Client::over(UnixStream::connect(&path).expect("the server accepts"));
    let silent = connect(&server);
    wait_for_value(&server, "lhttp_connections{transport=\"tcp\"}", 2.0);
    wait_for_value(&server, "lhttp_connections{transport=\"unix\"}", 1.0);
    wait_for_value(&server, "lhttp_websockets", 2.0);
    wait_for_value(&server, "lhttp_core_connections{core=\"0\"}", 3.0);
    assert_eq!(value(&server, "lhttp_connections{transport=\"tls\"}"), 0.0);
    assert_eq!(value(&server, "lhttp_connections_accepted_total"), 3.0);
    unix.close();
    wait_for_value(&server, "lhttp_websockets", 1.0);
    drop((tcp, silent));
    for series in ["lhttp_connections{transport=\"tcp\"}", "lhttp_connections{transport=\"unix\"}", "lhttp_websockets"]
    {
        crate::helpers::wait_for(|| value(&server, series) == 0.0);
    }
    assert_eq!(value(&server, &ended("client")), 3.0);
}

#[test]
fn a_client_that_closes_is_told_from_one_that_breaks_its_socket() {
    let server = with(|config| config);
    Client::connect(server.local_addrs()[0]).close();
    expect_one_end(&server, "client");
    let server = with(|config| config);
    let stream = upgraded(&server);
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a reset at the end");
    drop(stream);
    expect_one_end(&server, "lost");
}

#[test]
fn the_end_of_http_connections_has_its_reason() {
    let cases = [
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "done"),
        ("GET /healthz\r\n\r\n", "bad_request"),
        ("DELETE /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "bad_request"),
    ];
    for (request, reason) in cases {
        let server = with(|config| config);
        let mut stream = connect(&server);
        stream.write_all(request.as_bytes()).expect("the server takes it");
        expect_one_end(&server, reason);
    }
    let server = with(|config| Config { publish_key: Some("secret".into()), ..config });
    let post = "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let mut stream = connect(&server);
    stream.write_all(post.as_bytes()).expect("the server takes it");
    expect_one_end(&server, "unauthorized");
}

#[test]
fn late_and_silent_clients_have_reasons_of_their_own() {
    let short = Duration::from_millis(100);
    let server = with(|config| Config { handshake_timeout: short, ..config });
    let _silent = connect(&server);
    expect_one_end(&server, "handshake_timeout");
    let server = with(|config| Config { ping_interval: short, idle_timeout: 3 * short, ..config });
    let _deaf = upgraded(&server);
    expect_one_end(&server, "idle");
    let server = with(|config| Config { message_timeout: short, ..config });
    let mut slow = upgraded(&server);
    slow.write_all(&[0x81]).expect("the server takes it");
    expect_one_end(&server, "message_timeout");
}

#[test]
fn those_who_break_the_protocol_or_a_size_have_reasons_of_their_own() {
    let server = with(|config| config);
    let mut odd = upgraded(&server);
    odd.write_all(&[0x83, 0x80, 0, 0, 0, 0]).expect("the server takes it");
    expect_one_end(&server, "protocol");
    let server = with(|config| Config { message_bytes_max: 9000, ..config });
    let mut big = Client::connect(server.local_addrs()[0]);
    big.say(&"x".repeat(9001));
    expect_one_end(&server, "too_big");
    let server = with(|config| Config { message_rate: 2, ..config });
    let mut flood = upgraded(&server);
    for _ in 0..100 {
        let _ = flood.write_all(&[0x81, 0x80, 0, 0, 0, 0]); // the server may have closed already
    }
    expect_one_end(&server, "rate");
}

#[test]
fn the_server_and_its_plugged_in_code_have_reasons_of_their_own() {
    struct Refuses;
    impl Filter for Refuses {
        fn on_open(&self, _: &mut Context<'_>) -> Result<(), Refusal> {
            Err(Refusal::new(403, "no", "not today"))
        }
    }
    let server = start(|builder| builder.filter(Refuses));
    let _refused = upgraded(&server);
    expect_one_end(&server, "unauthorized");

    let server = start(|builder| {
        let closes = on_message(|context: &mut Context<'_>| context.close(4000, "bye"));
        builder.processor("close", closes)
    });
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 close\r\n\r\n");
    client.expect_close(4000);
    expect_one_end(&server, "server");

    let server = with(|config| config);
    let mut client = Client::connect(server.local_addrs()[0]);
    server.stop(PATIENCE);
    client.expect_close(1001);
    let metrics = server.metrics();
    server.join();
    let text = metrics.text();
    assert!(text.contains(&format!("{} 1\n", ended("shutdown"))), "{text}");
}

#[test]
fn a_connection_over_the_limit_was_turned_away() {
    let server = with(|config| Config { connections_max: Some(1), ..config });
    let _first = upgraded(&server);
    let mut second = connect(&server);
    second.write_all(HANDSHAKE.as_bytes()).expect("the server takes it");
    let mut answer = String::new();
    second.read_to_string(&mut answer).expect("the server closes");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    expect_one_end(&server, "full");
    assert_eq!(value(&server, "lhttp_connections_turned_away_total"), 1.0);
}

#[test]
fn a_connection_of_a_crowded_address_never_had_a_place() {
    let server = with(|config| Config { address_connections: 1, ..config });
    let _first = upgraded(&server);
    let mut answer = String::new();
    connect(&server).read_to_string(&mut answer).expect("the server closes");
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    wait_for_value(&server, "lhttp_connections_refused_total{reason=\"address_connections\"}", 1.0);
    let server = with(|config| Config { connect_rate: 1, ..config });
    let crowd: Vec<TcpStream> = (0..4).map(|_| connect(&server)).collect();
    crate::helpers::wait_for(|| value(&server, "lhttp_connections_refused_total{reason=\"connect_rate\"}") >= 1.0);
    drop(crowd);
}
