use std::io::{self, Read, Write};

use proptest::prelude::*;
use tungstenite::{
    ClientRequestBuilder,
    client::{IntoClientRequest, client},
    handshake::client::{Response, generate_request},
};

use super::*;
use crate::protocol::http::{HeaderSlots, parse_head};

/// The request of RFC 6455 §1.3, line by line.
const EXAMPLE: [&str; 8] = [
    "GET /chat HTTP/1.1",
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Origin: http://example.com",
    "Sec-WebSocket-Protocol: chat, superchat",
    "Sec-WebSocket-Version: 13",
];

fn check_bytes(bytes: &[u8]) -> Result<Accepted, Rejected> {
    let mut slots = HeaderSlots::new();
    let (head, head_bytes) = parse_head(bytes, 8192, &mut slots).expect("valid").expect("whole");
    assert_eq!(head_bytes, bytes.len());
    check(&head)
}

fn check_lines(lines: &[&str]) -> Result<Accepted, Rejected> {
    check_bytes((lines.join("\r\n") + "\r\n\r\n").as_bytes())
}

/// The example with the lines that start with `name` replaced by `instead`.
fn with(name: &str, instead: &[&str]) -> Result<Accepted, Rejected> {
    let at = EXAMPLE.iter().position(|line| line.starts_with(name)).expect("a line of the example");
    check_lines(&[&EXAMPLE[..at], instead, &EXAMPLE[at + 1..]].concat())
}

#[track_caller]
fn assert_refused(result: Result<Accepted, Rejected>, status: u16) {
    assert_eq!(result.map_err(|refused| refused.fault.status), Err(status));
}

fn asks(lines: &[&str]) -> bool {
    let text = lines.join("\r\n") + "\r\n\r\n";
    let mut slots = HeaderSlots::new();
    is_upgrade(&parse_head(text.as_bytes(), 8192, &mut slots).expect("valid").expect("whole").0)
}

#[test]
fn the_example_of_the_rfc_gets_the_key_of_the_rfc() {
    let accepted = check_lines(&EXAMPLE).expect("granted");
    assert_eq!(accepted.accept_key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(!accepted.lhttp);
}

#[test]
fn the_answer_reads_back_as_a_101_with_the_subprotocol_only_if_offered() {
    for (offer, lines) in [("chat", 3), ("lhttp", 4)] {
        let accepted = with("Sec-WebSocket-Protocol", &[&format!("Sec-WebSocket-Protocol: {offer}")]).expect("granted");
        let mut out = Vec::new();
        write_accepted(&mut out, &accepted);
        let mut slots = [httparse::EMPTY_HEADER; 8];
        let mut response = httparse::Response::new(&mut slots);
        assert_eq!(response.parse(&out), Ok(httparse::Status::Complete(out.len())));
        assert_eq!((response.code, response.version), (Some(101), Some(1)));
        let expected = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("Sec-WebSocket-Protocol", "lhttp"),
        ];
        let headers: Vec<_> =
            response.headers.iter().map(|h| (h.name, std::str::from_utf8(h.value).expect("ours"))).collect();
        assert_eq!(headers, expected[..lines]);
    }
}

#[test]
fn a_handshake_is_a_get_of_http_1_1() {
    let refused = with("GET", &["POST /chat HTTP/1.1"]).expect_err("refused");
    assert_eq!((refused.fault.status, refused.extra), (405, &[("Allow", "GET")][..]));
    assert_refused(with("GET", &["get /chat HTTP/1.1"]), 405);
    assert_refused(with("GET", &["GET /chat HTTP/1.0"]), 400);
}

#[test]
fn upgrade_and_connection_are_lists_over_several_lines_without_case() {
    for lines in [&["Upgrade: WebSocket"][..], &["upgrade: h2c ,\tWEBSOCKET"], &["Upgrade: h2c", "Upgrade: websocket"]]
    {
        assert!(with("Upgrade", lines).is_ok(), "{lines:?}");
    }
    for lines in
        [&["Connection: UPGRADE"][..], &["Connection: keep-alive, Upgrade"], &["Connection: x", "Connection: upgrade"]]
    {
        assert!(with("Connection", lines).is_ok(), "{lines:?}");
    }
    for lines in [&[][..], &["Upgrade:"], &["Upgrade: h2c"], &["Upgrade: websockets"], &["Upgrade: web, socket"]] {
        assert_refused(with("Upgrade", lines), 400);
    }
    for lines in [&[][..], &["Connection:"], &["Connection: keep-alive"], &["Connection: upgraded"]] {
        assert_refused(with("Connection", lines), 400);
    }
}

#[test]
fn another_version_than_13_is_426_and_the_answer_names_13() {
    for lines in
        [&[][..], &["Sec-WebSocket-Version: 8"], &["Sec-WebSocket-Version: 013"], &["Sec-WebSocket-Version: 13, 8"]]
    {
        let refused = with("Sec-WebSocket-Version", lines).expect_err("refused");
        assert_eq!((refused.fault.status, refused.extra), (426, UPGRADE_REQUIRED), "{lines:?}");
    }
    assert_refused(with("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 13"; 2]), 426);
    assert!(UPGRADE_REQUIRED.contains(&("Sec-WebSocket-Version", "13")));
}

#[test]
fn the_key_is_exactly_one_base64_of_16_bytes() {
    let key = |value: &str| with("Sec-WebSocket-Key", &[&format!("sec-websocket-key: {value}")]);
    for good in ["AAAAAAAAAAAAAAAAAAAAAA==", "x3JJHMbDL1EzLkh9GBhXDw==", "//+/09azAZ++++//zZ0aAQ=="] {
        assert!(key(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25jZQA=",
        "dGhlIHNhbXBsZSBub25jZQAA",
        "dGhlIHNhbXBsZSBub25j====",
        "dGhlIHNhbXBs-SBub25jZQ==",
        "dGhlIHNhbXBs_SBub25jZQ==",
        "dGhl IHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZWU=",
        "dGhlIHNhbXBsZSBub25jZWVlZQ==",
        "\u{e4}GhlIHNhbXBsZSBub25jZ==",
    ] {
        assert_refused(key(bad), 400);
    }
    assert_refused(with("Sec-WebSocket-Key", &[]), 400);
    assert_refused(with("Sec-WebSocket-Key", &[EXAMPLE[4], EXAMPLE[4]]), 400);
}

#[test]
fn lhttp_is_found_in_any_list_and_only_in_its_exact_spelling() {
    let lhttp = |lines: &[&str]| with("Sec-WebSocket-Protocol", lines).expect("granted").lhttp;
    assert!(lhttp(&["Sec-WebSocket-Protocol: lhttp"]));
    assert!(lhttp(&["sec-websocket-protocol: chat ,\tlhttp , x"]));
    assert!(lhttp(&["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: x,lhttp"]));
    for other in ["chat", "LHTTP", "Lhttp", "lhttp2", "x-lhttp", "", ",", "lhttp/1"] {
        assert!(!lhttp(&[&format!("Sec-WebSocket-Protocol: {other}")]), "{other:?}");
    }
    assert!(!lhttp(&[]));
}

#[test]
fn extensions_are_never_answered() {
    let extended = with("Origin", &["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]);
    let mut out = Vec::new();
    write_accepted(&mut out, &extended.expect("granted"));
    assert!(!String::from_utf8(out).expect("ours").to_ascii_lowercase().contains("extensions"));
}

#[test]
fn a_handshake_with_a_body_is_400() {
    assert_refused(with("Origin", &["Content-Length: 1"]), 400);
    assert_refused(with("Origin", &["Transfer-Encoding: chunked"]), 400);
    assert!(with("Origin", &["Content-Length: 0"]).is_ok());
}

#[test]
fn an_upgrade_to_websocket_or_a_key_asks_for_a_websocket_and_a_proxys_connection_line_does_not() {
    assert!(asks(&EXAMPLE));
    assert!(asks(&["POST /publish HTTP/1.1", "Host: a", "UPGRADE: x, WebSocket"]));
    assert!(asks(&["GET / HTTP/1.1", "Host: a", "Upgrade: websocket", "Upgrade: h2c"]));
    assert!(asks(&["GET / HTTP/1.1", "Host: a", "sec-websocket-key:"]));
    assert!(!asks(&["GET / HTTP/1.1", "Host: a"]));
    assert!(!asks(&["POST /publish HTTP/1.1", "Host: a", "Connection: upgrade"]));
    assert!(!asks(&["GET / HTTP/1.1", "Host: a", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"]));
}

/// A connection to a server that consists of this module alone and answers once the request is complete.
struct Loopback {
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Write for Loopback {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.request.extend_from_slice(bytes);
        let mut slots = HeaderSlots::new();
        if let Some((head, head_bytes)) = parse_head(&self.request, 8192, &mut slots).expect("a client's head") {
            assert!(is_upgrade(&head));
            assert_eq!(head_bytes, self.request.len());
            write_accepted(&mut self.answer, &check(&head).expect("granted"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Loopback {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.answer.as_slice().read(buffer)?;
        self.answer.drain(..count);
        Ok(count)
    }
}

fn connect(request: impl IntoClientRequest) -> Response {
    let stream = Loopback { request: Vec::new(), answer: Vec::new() };
    client(request, stream).unwrap_or_else(|error| panic!("the client does not accept the answer: {error:?}")).1
}

#[test]
fn tungstenites_client_accepts_the_answer_with_and_without_the_subprotocol() {
    assert_eq!(connect("ws://localhost:8081/any/path?x=1").headers().get("sec-websocket-protocol"), None);
    let uri = "ws://localhost/".parse().expect("a URI");
    let request = ClientRequestBuilder::new(uri).with_sub_protocol("chat").with_sub_protocol("lhttp");
    assert_eq!(connect(request).headers()["sec-websocket-protocol"], "lhttp");
}

#[test]
fn a_generated_request_is_accepted_at_its_last_byte_and_not_before() {
    let request = "ws://localhost:8081/".into_client_request().expect("a request");
    let (bytes, key) = generate_request(request).expect("a request");
    for end in 0..bytes.len() {
        assert_eq!(parse_head(&bytes[..end], 8192, &mut HeaderSlots::new()), Ok(None), "at {end}");
    }
    assert_eq!(check_bytes(&bytes).expect("granted").accept_key, derive_accept_key(key.as_bytes()));
}

proptest! {
    #[test]
    fn any_other_key_than_22_symbols_and_padding_is_400(key in "[A-Za-z0-9+/]{20,24}={0,3}") {
        let granted = with("Sec-WebSocket-Key", &[&format!("Sec-WebSocket-Key: {key}")]).is_ok();
        let symbols = key.trim_end_matches('=').len();
        prop_assert_eq!(granted, symbols == 22 && key.len() == 24);
    }
}
