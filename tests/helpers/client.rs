//! A WebSocket client for tests. It sends any bytes and waits for every answer.

use std::{io, time::Duration};

use super::{
    frame::{self, BINARY, CLOSE, FIN, Frame, TEXT},
    http::{ACCEPT, Http, handshake},
    message::Message,
    wire::Wire,
};

/// A connection after the handshake.
pub(crate) struct Client {
    wire: Wire,
    acks: u64,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        Self::shake_hands(Http::connect(port))
    }

    /// A client that buffers only a few KiB of unread data.
    pub(crate) fn connect_with_small_window(port: u16) -> Self {
        Self::shake_hands(Http::over(Wire::connect_with_small_window(port)))
    }

    /// Shakes hands on a connection that is open.
    pub(crate) fn shake_hands(mut http: Http) -> Self {
        let response = http.ask(handshake("/", ""));
        assert_eq!(response.status, 101, "{response:?}");
        assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT), "{response:?}");
        http.into_client()
    }

    /// A client on a connection whose handshake is complete.
    pub(crate) fn over(wire: Wire) -> Self {
        Self { wire, acks: 0 }
    }

    /// Sends these bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.try_send_raw(bytes).expect("the server takes it");
    }

    /// Sends these bytes as they are, to a server that may stop reading.
    pub(crate) fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.send(bytes)
    }

    /// Sends a masked frame; `first_byte` is FIN, RSV bits and opcode.
    pub(crate) fn send_frame(&mut self, first_byte: u8, payload: &[u8]) {
        self.send_raw(&frame::masked(first_byte, payload));
    }

    pub(crate) fn send_binary(&mut self, payload: &[u8]) {
        self.send_frame(FIN | BINARY, payload);
    }

    /// Sends a text message.
    pub(crate) fn say(&mut self, message: &str) {
        self.send_frame(FIN | TEXT, message.as_bytes());
    }

    /// Ends the sending side (FIN).
    pub(crate) fn finish_sending(&self) {
        self.wire.finish_sending();
    }

    pub(crate) fn set_timeout(&self, timeout: Duration) {
        self.wire.set_timeout(timeout);
    }

    /// The next frame; fails the test if none comes in time.
    pub(crate) fn recv(&mut self) -> Frame {
        self.try_recv().expect("the server sends in time").expect("the server has not ended")
    }

    /// The next frame, or None if the server ended the connection before a complete frame.
    pub(crate) fn try_recv(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some((frame, length)) = frame::parse(self.wire.unread()) {
                self.wire.consume(length);
                return Ok(Some(frame));
            }
            if self.wire.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Fails the test unless the next frame is exactly this text message.
    #[track_caller]
    pub(crate) fn expect_text(&mut self, expected: &str) {
        let expected = Frame { fin: true, opcode: TEXT, payload: expected.as_bytes().to_vec() };
        assert_eq!(self.recv(), expected);
    }

    /// Fails the test unless the next frame is exactly this binary message.
    #[track_caller]
    pub(crate) fn expect_binary(&mut self, expected: &[u8]) {
        assert_eq!(self.recv(), Frame { fin: true, opcode: BINARY, payload: expected.to_vec() });
    }

    /// Fails the test unless the next frame is the acknowledgement of this token (PROTOCOL.md §2).
    #[track_caller]
    pub(crate) fn expect_ack(&mut self, token: &str) {
        self.expect_text(&format!("LHTTP/1.0 ack\r\nack:{token}\r\n\r\n"));
    }

    /// Subscribes to these channels and waits until the subscriptions are live.
    #[track_caller]
    pub(crate) fn subscribe_acked(&mut self, channels: &str) {
        self.say_acked(&format!("subscribe:{channels}"));
    }

    /// Sends a message with this one header and waits until its effects hold.
    #[track_caller]
    pub(crate) fn say_acked(&mut self, header: &str) {
        let token = self.next_token();
        self.say(&format!("LHTTP/1.0 chat\r\n{header}\r\nack:{token}\r\n\r\n"));
        self.expect_ack(&token);
    }

    /// Fails the test unless the next frame is an error with this code and reason (PROTOCOL.md §6) and this token.
    /// Returns its sentence.
    #[track_caller]
    pub(crate) fn expect_error(&mut self, code: u16, reason: &str, ack: Option<&str>) -> String {
        let error = self.any_error();
        let code = code.to_string();
        assert_eq!((error.header("code"), error.header("reason")), (Some(code.as_str()), Some(reason)), "{error:?}");
        assert_eq!(error.header("ack"), ack, "{error:?}");
        error.body
    }

    /// Fails the test unless the next frame is some error.
    #[track_caller]
    pub(crate) fn any_error(&mut self) -> Message {
        let frame = self.recv();
        assert!(frame.fin && frame.opcode == TEXT, "no error but {frame:?}");
        let error = Message::parse(&frame.payload);
        assert_eq!(error.command, "error", "{error:?}");
        assert!(!error.body.is_empty() && !error.body.contains('\n'), "not one sentence: {error:?}");
        error
    }

    /// Proves without a wait that nothing is in flight to this client: it sends a message with an `ack`, and the
    /// acknowledgement must come next.
    #[track_caller]
    pub(crate) fn expect_nothing_before_ack(&mut self) {
        let token = self.next_token();
        self.say(&format!("LHTTP/1.0 probe\r\nack:{token}\r\n\r\n"));
        self.expect_ack(&token);
    }

    /// Fails the test unless the next frame is a close frame. Returns its code and reason.
    #[track_caller]
    pub(crate) fn expect_close(&mut self) -> (u16, String) {
        let frame = self.recv();
        assert_eq!(frame.opcode, CLOSE, "no close but {frame:?}");
        close_parts(&frame)
    }

    /// Fails the test unless the server closes with this code and then ends the connection.
    #[track_caller]
    pub(crate) fn expect_closed_with(&mut self, code: u16) {
        let (got, reason) = self.expect_close();
        assert_eq!(got, code, "{reason}");
        // The other half of the closing handshake. A server that has failed the connection need not wait for it.
        let _ = self.try_send_raw(&frame::masked(FIN | CLOSE, &code.to_be_bytes()));
        self.wire.expect_end();
    }

    /// Fails the test unless the server ends the connection without sending anything more.
    pub(crate) fn expect_end(&mut self) {
        self.wire.expect_end();
    }

    fn next_token(&mut self) -> String {
        self.acks += 1;
        format!("token-{}", self.acks)
    }
}

/// The code and reason of a close frame.
#[track_caller]
pub(crate) fn close_parts(frame: &Frame) -> (u16, String) {
    let (code, reason) = frame.payload.split_first_chunk().expect("a close frame with a code");
    (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("a close reason is UTF-8"))
}

/// Fails the test unless both are the same bytes. The message shows where they differ, because two long texts side by
/// side do not.
#[track_caller]
pub(crate) fn assert_same(got: &[u8], expected: &[u8], what: &str) {
    if got == expected {
        return;
    }
    let same = got.iter().zip(expected).take_while(|(got, expected)| got == expected).count();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[same..bytes.len().min(same + 60)]).into_owned();
    panic!(
        "{what}: {} bytes instead of {}, the same up to byte {same}, then {:?} instead of {:?}",
        got.len(),
        expected.len(),
        shown(got),
        shown(expected)
    );
}
