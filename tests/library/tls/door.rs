//! What stands before a TLS handshake: the header of a proxy, and the limits of an address.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use lhttp::Config;

use super::server::{TlsServer, VERSIONS};

#[test]
fn a_proxy_header_stands_before_the_handshake_and_a_refusal_has_no_plain_text() {
    let mut options = Config::default();
    for (name, value) in
        [("trust-proxy", "127.0.0.1"), ("proxy-header", "proxy-protocol"), ("address-connections", "1")]
    {
        options.set(name, value).expect("an option");
    }
    let server = TlsServer::start("proxied", options);
    let greeted = |client: usize| -> TcpStream {
        let mut stream = server.tcp();
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a read timeout");
        let header = format!("PROXY TCP4 192.0.2.{client} 127.0.0.1 4711 443\r\n");
        stream.write_all(header.as_bytes()).expect("the server reads");
        stream
    };
    for (number, version) in VERSIONS.into_iter().enumerate() {
        let (own, other) = (2 * number + 1, 2 * number + 2);
        let mut first = server.client_over(greeted(own), version);
        first.subscribe("room");
        let mut answer = Vec::new();
        // The end, or a reset: in both cases nothing that is not TLS.
        let _ = greeted(own).read_to_end(&mut answer);
        assert!(answer.is_empty(), "{}", answer.escape_ascii());
        server.client_over(greeted(other), version).subscribe("room");
        first.expect_nothing();
    }
    assert_eq!(server.handle().stats().addresses_full, 2);
}
