//! Strangers at the TLS port.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use lhttp::Config;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustls::version::TLS13;

use super::server::{TlsServer, ask};
use crate::helpers::{PATIENCE, wait_for};

/// Sends bytes, and reads until the server has ended the connection.
fn provoke(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(bytes); // the server may have closed already
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    answer
}

#[test]
fn what_is_no_handshake_is_closed_with_an_alert_and_counted() {
    let server = TlsServer::start("strangers", Config::default());
    let mut hello = Vec::new();
    let mut client = rustls_client();
    client.write_tls(&mut hello).unwrap();
    let too_long = [0x16, 3, 1, 0xff, 0xff];
    let all = [
        &b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        &[0; 300],
        &[0x16, 3, 1, 0, 0],
        &too_long,
        &hello[..hello.len() / 2],
        &[0x17, 3, 3, 0, 1, 0],
    ];
    for (number, bytes) in all.into_iter().enumerate() {
        let answer = provoke(server.tcp(), bytes);
        assert!(answer.is_empty() || answer[0] == 0x15, "case {number}: {answer:?} is no alert");
        wait_for(|| server.handle().stats().tls_failed == number as u64 + 1);
    }
    assert!(ask(&mut server.tls(&TLS13), "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").ends_with("ok"));
    wait_for(|| server.handle().stats().connections <= 1);
}

#[test]
fn a_handshake_that_is_changed_at_any_byte_harms_nobody() {
    const SEED: u64 = 13;
    println!("seed {SEED}");
    let mut rng = StdRng::seed_from_u64(SEED);
    let server = TlsServer::start("changed", Config::default());
    let mut chat = server.client(&TLS13);
    chat.subscribe("room");
    let mut hello = Vec::new();
    rustls_client().write_tls(&mut hello).unwrap();
    for round in 0..300 {
        let mut bytes = hello.clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..3) {
                0 => bytes[at] ^= 1 << rng.random_range(0..8),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, rng.random()),
            }
        }
        provoke(server.tcp(), &bytes);
        chat.say(&format!("LHTTP/1.0 chat\r\npublish:room\r\n\r\n{round}"));
        chat.expect(&format!("LHTTP/1.0 chat\r\npublish:room\r\n\r\n{round}"));
    }
    wait_for(|| server.handle().stats().connections == 1);
}

#[test]
fn a_record_that_was_changed_ends_its_connection_and_no_other() {
    let server = TlsServer::start("tampered", Config::default());
    let mut other = server.client(&TLS13);
    let mut client = server.tls(&TLS13);
    client.conn.writer().write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    let mut record = Vec::new();
    client.conn.write_tls(&mut record).unwrap();
    *record.last_mut().unwrap() ^= 1;
    client.sock.write_all(&record).unwrap();
    let error = client.read(&mut [0; 100]).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    wait_for(|| server.handle().stats().connections == 1);
    other.expect_nothing();
}

#[test]
fn the_oldest_slow_handshake_gives_way_when_very_many_have_begun() {
    const HALF_OPEN_MAX: usize = 1024;
    rlimit::increase_nofile_limit(4 * HALF_OPEN_MAX as u64).unwrap();
    let options = Config { handshake_timeout: 3 * PATIENCE, ..Config::default() };
    let server = TlsServer::start("crowd", options);
    let begin = |_| {
        let mut stream = server.tcp();
        stream.write_all(&[0x16]).unwrap();
        stream
    };
    let crowd: Vec<TcpStream> = (0..HALF_OPEN_MAX + 1).map(begin).collect();
    wait_for(|| server.handle().stats().tls_gave_way == 1);
    assert_eq!(server.handle().stats().tls_connections, HALF_OPEN_MAX as u64);
    drop(crowd);
}

#[test]
fn a_handshake_that_stalls_ends_after_the_handshake_timeout() {
    let options = Config { handshake_timeout: Duration::from_millis(200), ..Config::default() };
    let server = TlsServer::start("stall", options);
    let mut hello = Vec::new();
    rustls_client().write_tls(&mut hello).unwrap();
    let mut stalled = Vec::new();
    for bytes in [&[][..], &hello[..50], &hello[..]] {
        let mut stream = server.tcp();
        stream.write_all(bytes).unwrap();
        stalled.push(stream);
    }
    for mut stream in stalled {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.read_to_end(&mut Vec::new()); // the end, or a reset
    }
    wait_for(|| server.handle().stats().connections == 0);
    assert_eq!(server.handle().stats().timed_out, 3);
}

/// A client that has a ClientHello to send.
fn rustls_client() -> rustls::ClientConnection {
    let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    rustls::ClientConnection::new(config.into(), "localhost".try_into().unwrap()).unwrap()
}
