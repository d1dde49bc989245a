//! A WebSocket client on tungstenite. All its waits have an end.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use tungstenite::{
    Message, WebSocket,
    client::IntoClientRequest,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::PATIENCE;

/// A client of a server in this process or another. It speaks over TCP, or over TLS (`helpers::tls`).
pub(crate) struct Client<S = TcpStream> {
    socket: WebSocket<S>,
    tokens: u64,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_to(address, "/", &[])
    }

    /// Connects with this target (path and query) and these headers.
    pub(crate) fn connect_to(address: SocketAddr, target: &str, headers: &[(&'static str, &str)]) -> Self {
        Self::upgrade(TcpStream::connect(address).expect("the server accepts"), address, target, headers)
    }

    /// Upgrades a connection whose socket is already open.
    pub(crate) fn upgrade(
        stream: TcpStream,
        address: SocketAddr,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Self {
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        let mut request = format!("ws://{address}{target}").into_client_request().expect("a request");
        for &(name, value) in headers {
            request.headers_mut().append(name, value.parse().expect("a header value"));
        }
        let (socket, _) = tungstenite::client(request, stream).expect("the server shakes hands");
        Self { socket, tokens: 0 }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.socket.get_ref().local_addr().expect("an address")
    }
}

impl<S: Read + Write> Client<S> {
    /// Upgrades a connection of another kind.
    pub(crate) fn over(stream: S) -> Self {
        let (socket, _) = tungstenite::client("ws://localhost/", stream).expect("the server shakes hands");
        Self { socket, tokens: 0 }
    }

    /// Sends a text message.
    #[track_caller]
    pub(crate) fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the server takes it");
    }

    /// Sends a binary message.
    #[track_caller]
    pub(crate) fn say_binary(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).expect("the server takes it");
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn recv(&mut self) -> Message {
        loop {
            match self.socket.read().expect("the server sends in time") {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// Fails the test unless this text message comes next.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        assert_eq!(self.recv(), Message::text(text));
    }

    /// Fails the test unless this binary message comes next.
    #[track_caller]
    pub(crate) fn expect_binary(&mut self, bytes: &[u8]) {
        assert_eq!(self.recv(), Message::binary(bytes.to_vec()));
    }

    /// Fails the test unless an error (PROTOCOL.md §6) comes next, with this code and reason and the token, if any.
    /// Returns its sentence.
    #[track_caller]
    pub(crate) fn expect_error(&mut self, code: u16, reason: &str, ack: Option<&str>) -> String {
        let message = self.recv().into_text().expect("an error is text");
        let ack = ack.map_or(String::new(), |token| format!("ack:{token}\r\n"));
        let head = format!("LHTTP/1.0 error\r\ncode:{code}\r\nreason:{reason}\r\n{ack}\r\n");
        message.strip_prefix(&head).unwrap_or_else(|| panic!("expected {head:?}, got {message:?}")).to_owned()
    }

    /// Fails the test unless a close frame with this code comes next, and then the end. Returns the reason.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let close = self.recv();
        let Message::Close(Some(CloseFrame { code: got, reason })) = close else { panic!("no close but {close:?}") };
        assert_eq!(got, CloseCode::from(code), "{reason}");
        // Reading on sends our close frame, and waits for the server to close.
        let end = self.socket.read().expect_err("nothing comes behind a close frame");
        assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
        reason.to_string()
    }

    /// Reads and drops everything until the server has ended the connection.
    pub(crate) fn wait_for_end(&mut self) {
        while self.socket.read().is_ok() {}
    }

    /// Subscribes to these channels and waits until the subscriptions are live.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, channels: &str) {
        self.acked(&format!("subscribe:{channels}\r\n"));
    }

    /// Unsubscribes from these channels and waits until that holds.
    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, channels: &str) {
        self.acked(&format!("unsubscribe:{channels}\r\n"));
    }

    /// Fails the test if something comes before all earlier messages of this client have taken effect.
    #[track_caller]
    pub(crate) fn expect_nothing(&mut self) {
        self.acked("");
    }

    /// Closes the connection in order, and waits for the server to agree.
    #[track_caller]
    pub(crate) fn close(mut self) {
        self.socket.close(None).expect("the close frame goes out");
        while self.socket.read().is_ok() {}
    }

    #[track_caller]
    fn acked(&mut self, headers: &str) {
        self.tokens += 1;
        let token = format!("token-{}", self.tokens);
        self.say(&format!("LHTTP/1.0 probe\r\n{headers}ack:{token}\r\n\r\n"));
        self.expect(&format!("LHTTP/1.0 ack\r\nack:{token}\r\n\r\n"));
    }
}
