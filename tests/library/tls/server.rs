//! A server with TLS and its clients.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
};

use lhttp::{Config, Handle, Server};
use rustls::{
    ClientConnection, StreamOwned, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use tungstenite::Message;

use crate::helpers::{Client, tls::Authority, wait_for};

/// A client over TLS.
pub(super) type TlsClient = Client<StreamOwned<ClientConnection, TcpStream>>;

pub(super) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A server on one core that listens with TLS first, then without.
pub(super) struct TlsServer {
    authority: Authority,
    files: (PathBuf, PathBuf),
    handle: Handle,
}

impl TlsServer {
    /// A server with these options besides.
    pub(super) fn start(name: &str, options: Config) -> Self {
        let authority = Authority::new(name);
        let (cert, key) = authority.certificate_files("localhost");
        let config = Config {
            listen: vec!["tls://127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()],
            cores: Some(1),
            tls_cert: vec![cert.clone()],
            tls_key: vec![key.clone()],
            ..options
        };
        let handle = Server::builder().config(config).start().expect("the server starts");
        Self { authority, files: (cert, key), handle }
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.handle.local_addrs()[0]
    }

    /// A client without TLS.
    pub(super) fn plain(&self) -> Client {
        Client::connect(self.handle.local_addrs()[1])
    }

    pub(super) fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address()).expect("the server accepts")
    }

    pub(super) fn tls(&self, version: &'static SupportedProtocolVersion) -> StreamOwned<ClientConnection, TcpStream> {
        self.authority.connect(self.tcp(), &[version])
    }

    pub(super) fn client(&self, version: &'static SupportedProtocolVersion) -> TlsClient {
        Client::over(self.tls(version))
    }

    /// A client over a socket that was set up before.
    pub(super) fn client_over(&self, stream: TcpStream, version: &'static SupportedProtocolVersion) -> TlsClient {
        Client::over(self.authority.connect(stream, &[version]))
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = (std::fs::remove_file(&self.files.0), std::fs::remove_file(&self.files.1));
    }
}

/// Asks a connection for a path, and returns the answer.
pub(super) fn ask(stream: &mut (impl Read + Write), request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("the server answers");
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer).expect("text");
    let length =
        head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the body");
    head + std::str::from_utf8(&body).expect("text")
}

#[test]
fn clients_with_and_without_tls_share_channels_whatever_the_size_of_a_message() {
    let server = TlsServer::start("shared", Config::default());
    for version in VERSIONS {
        let (mut secure, mut plain) = (server.client(version), server.plain());
        wait_for(|| server.handle().stats().tls_connections == 1 && server.handle().stats().tcp_connections == 1);
        secure.subscribe("room");
        plain.subscribe("room");
        for len in [0, 1, 100, 16_300, 16_384, 16_400, 60_000] {
            for publishes_securely in [true, false] {
                let message = format!("LHTTP/1.0 chat\r\npublish:room\r\n\r\n{}", "x".repeat(len));
                if publishes_securely {
                    secure.say(&message)
                } else {
                    plain.say(&message)
                }
                secure.expect(&message);
                plain.expect(&message);
            }
        }
        secure.close();
        plain.close();
    }
    wait_for(|| server.handle().stats().connections == 0);
    let stats = server.handle().stats();
    assert_eq!((stats.tls_handshakes, stats.tls_failed, stats.faults), (2, 0, 0));
}

#[test]
fn requests_of_one_connection_are_answered_one_after_the_other() {
    let server = TlsServer::start("requests", Config::default());
    for version in VERSIONS {
        let mut stream = server.tls(version);
        let mut room = server.plain();
        room.subscribe("room");
        let body = "LHTTP/1.0 chat\r\npublish:room\r\n\r\nhello";
        let publish =
            format!("POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        for _ in 0..3 {
            assert!(ask(&mut stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").ends_with("ok"));
            assert!(ask(&mut stream, &publish).ends_with("{\"channels\":1}"));
            room.expect(body);
        }
        // The server closes in order: the answer is whole, and close_notify says so.
        let last = ask(&mut stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert!(last.ends_with("ok"));
        assert_eq!(stream.read(&mut [0; 8]).expect("an end that the server has announced"), 0);
    }
}

#[test]
fn many_small_messages_in_one_write_arrive_in_order() {
    let server = TlsServer::start("small", Config::default());
    let (mut publisher, mut reader) = (server.client(&TLS13), server.client(&TLS13));
    reader.subscribe("room");
    for number in 0..2000 {
        publisher.say(&format!("LHTTP/1.0 chat\r\npublish:room\r\n\r\n{number}"));
    }
    for number in 0..2000 {
        assert_eq!(reader.recv(), Message::text(format!("LHTTP/1.0 chat\r\npublish:room\r\n\r\n{number}")));
    }
}
