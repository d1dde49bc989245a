//! Readers that stall: their plaintext waits in the server, once for all of them, and nothing is lost or sent twice.

use std::net::{SocketAddr, TcpStream};

use lhttp::Config;
use rustls::version::{TLS12, TLS13};
use socket2::{Domain, Socket, Type};
use tungstenite::Message;

use super::server::{TlsClient, TlsServer, VERSIONS};
use crate::helpers::{Client, wait_for};

const READERS: usize = 8;

/// A connection whose kernel takes little before its reader does.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

fn readers(server: &TlsServer) -> Vec<TlsClient> {
    let reader = |number: usize| {
        let mut reader = server.client_over(narrow(server.address()), VERSIONS[number % 2]);
        reader.subscribe("room");
        reader
    };
    (0..READERS).map(reader).collect()
}

fn message(number: usize, len: usize) -> String {
    format!("LHTTP/1.0 chat\r\npublish:room\r\n\r\n{number} {}", "x".repeat(len))
}

/// Publishes `count` messages of this length; all of them are carried out when it returns.
fn publish(publisher: &mut Client, count: usize, len: usize) {
    (0..count).for_each(|number| publisher.say(&message(number, len)));
    publisher.expect_nothing();
}

#[test]
fn a_stalled_audience_costs_its_backlog_once_and_gets_every_message() {
    let options = Config { outbox_bytes_max: 32 << 20, send_buffer_bytes: 16 << 10, ..Config::default() };
    for (count, len) in [(3000, 1000), (100, 30_000), (30_000, 60)] {
        let server = TlsServer::start("stalled", options.clone());
        let mut readers = readers(&server);
        let mut publisher = server.plain();
        publish(&mut publisher, count, len);
        let bytes = (count * message(0, len).len()) as u64;
        wait_for(|| server.handle().stats().delivered >= (READERS * count) as u64);
        let kept = server.handle().stats().kept_bytes;
        assert!(kept > bytes / 2, "{kept} bytes are kept of {bytes}: nobody has stalled");
        assert!(kept < 2 * bytes, "{kept} bytes are kept of {bytes}");
        for reader in &mut readers {
            (0..count).for_each(|number| reader.expect(&message(number, len)));
        }
        // What comes later waits for nobody.
        publisher.say(&message(7, 10));
        readers.iter_mut().for_each(|reader| reader.expect(&message(7, 10)));
        wait_for(|| server.handle().stats().kept_bytes < 10_000);
    }
}

#[test]
fn a_slow_consumer_gets_whole_messages_and_then_the_reason() {
    let options = Config { outbox_bytes_max: 100_000, send_buffer_bytes: 16 << 10, ..Config::default() };
    let server = TlsServer::start("slow", options);
    let mut readers = readers(&server);
    publish(&mut server.plain(), 400, 3000);
    wait_for(|| server.handle().stats().slow_consumers == READERS as u64);
    for reader in &mut readers {
        let mut next = 0;
        loop {
            match reader.recv() {
                Message::Text(text) => assert_eq!(text, message(next, 3000)),
                Message::Close(Some(close)) => {
                    assert_eq!(u16::from(close.code), 1013);
                    break;
                }
                other => panic!("{other:?}"),
            }
            next += 1;
        }
        assert!(next < 400);
    }
}

#[test]
fn an_unfinished_record_is_kept_counted_and_freed() {
    let server = TlsServer::start("unfinished", Config::default());
    for version in [&TLS12, &TLS13] {
        let mut client = server.tls(version);
        std::io::Write::write_all(&mut client.conn.writer(), &[b'x'; 12_000]).unwrap();
        let mut record = Vec::new();
        client.conn.write_tls(&mut record).unwrap();
        std::io::Write::write_all(&mut client.sock, &record[..10_000]).unwrap();
        wait_for(|| server.handle().stats().kept_bytes >= 10_000);
        drop(client);
        wait_for(|| server.handle().stats().kept_bytes < 1000);
    }
}
