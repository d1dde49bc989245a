//! An HTTP/1.1 client that sends exactly the given bytes.

use std::net::Ipv4Addr;

use super::{client::Client, wire::Wire};

/// The example key of RFC 6455 §1.3 and the server's answer to it.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A connection that speaks HTTP, for now.
pub(crate) struct Http {
    wire: Wire,
}

/// A parsed answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Http {
    pub(crate) fn connect(port: u16) -> Self {
        Self { wire: Wire::connect(port) }
    }

    /// A connection from one of this machine's addresses.
    pub(crate) fn connect_from(source: Ipv4Addr, port: u16) -> Self {
        Self::over(Wire::connect_from(source, port))
    }

    pub(crate) fn over(wire: Wire) -> Self {
        Self { wire }
    }

    /// Sends bytes. It is no failure if the server has already ended the connection: its answer can still be read.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.wire.send(bytes.as_ref());
    }

    /// Sends a request and returns the answer.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        self.send(request);
        if request.starts_with(b"HEAD ") { self.response_head() } else { self.response() }
    }

    /// The next answer, with its body.
    pub(crate) fn response(&mut self) -> Response {
        let mut response = self.response_head();
        if response.status >= 200 && response.status != 204 {
            let length = response.header("content-length").unwrap_or_else(|| panic!("no length in {response:?}"));
            let length = length.parse().unwrap_or_else(|_| panic!("length in {response:?}"));
            response.body = self.wire.take(length);
        }
        response
    }

    /// The head of the next answer. A body, if any, is left unread.
    pub(crate) fn response_head(&mut self) -> Response {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut headers);
            match head.parse(self.wire.unread()).expect("the server speaks HTTP") {
                httparse::Status::Complete(length) => {
                    let response = Response::from_head(&head);
                    self.wire.consume(length);
                    return response;
                }
                httparse::Status::Partial => {
                    let read = self.wire.fill().expect("the server answers in time");
                    assert!(read > 0, "no answer; before it: {:?}", String::from_utf8_lossy(self.wire.unread()));
                }
            }
        }
    }

    /// Fails the test unless the server ends the connection without another answer.
    pub(crate) fn expect_end(&mut self) {
        self.wire.expect_end();
    }

    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// The same connection as a WebSocket, after the handshake.
    pub(crate) fn into_client(self) -> Client {
        Client::over(self.wire)
    }
}

impl Response {
    fn from_head(head: &httparse::Response<'_, '_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a header is UTF-8");
        let headers = head.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect();
        Self { status: head.code.expect("a complete answer has a status"), headers, body: Vec::new() }
    }

    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1.as_str())
    }

    pub(crate) fn body_text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the answer's body is UTF-8")
    }
}

/// A handshake's request with extra header lines (each ended by CRLF).
pub(crate) fn handshake(path: &str, extra: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{extra}\r\n"
    )
}

/// A `POST /publish` with this body and extra header lines (each ended by CRLF).
pub(crate) fn publish_request(body: impl AsRef<[u8]>, extra: &str) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{extra}\r\n", body.len());
    [head.as_bytes(), body].concat()
}
