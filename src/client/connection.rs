//! One connection: the WebSocket, its pings, and its end.

use std::{
    io,
    time::{Duration, Instant},
};

use tungstenite::{
    Error, HandshakeError, Message, WebSocket,
    client::IntoClientRequest,
    error::{CapacityError, ProtocolError},
    http::{HeaderValue, header::AUTHORIZATION},
    protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
};

use super::{
    builder::ClientOptions,
    event::Payload,
    refused::NoConnection,
    stream::{Socket, Stream},
    target::Target,
    token::Token,
    wait::Wait,
};

/// Bytes of one read; a message may be longer.
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of one write.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// The longest header of a client's frame (RFC 6455 §5.2).
const FRAME_HEADER_BYTES_MAX: usize = 14;

/// The result of a read.
#[derive(Debug)]
pub(super) enum Received {
    /// A complete message.
    Payload(Payload),
    /// No message, but the client has put an event of its own into the inbox.
    Event,
    /// No message came before the deadline.
    Nothing,
    /// A signal came or the client was woken before a message.
    Interrupted,
    /// The connection is over, for this reason.
    Ended(String),
}

/// The result of a send.
#[derive(Debug)]
pub(super) enum Sent {
    /// The kernel has the payload, or this connection's own bounded buffer.
    Taken,
    /// That buffer is full, and did not take the payload.
    Full,
    /// The connection is over, for this reason.
    Ended(String),
}

/// A connection after its handshake.
#[derive(Debug)]
pub(super) struct Connection {
    socket: WebSocket<Stream>,
    opened: Instant,
    /// When the server last sent anything.
    heard: Instant,
    /// When the client pinged the server, if nothing has come from the server since.
    pinged: Option<Instant>,
    ping_interval: Duration,
    pong_timeout: Duration,
    /// The socket has not taken everything that was written.
    unsent: bool,
}

impl Connection {
    /// The longest payload that fits into an empty buffer.
    pub(super) fn payload_bytes_max(options: &ClientOptions) -> usize {
        buffer_bytes_max(options) - FRAME_HEADER_BYTES_MAX
    }

    /// Connects and completes the handshakes before the deadline.
    pub(super) fn connect(
        target: &Target,
        options: &ClientOptions,
        token: Option<&Token>,
        wait: &Wait,
        deadline: Instant,
    ) -> Result<Self, NoConnection> {
        let mut request = target.uri.clone().into_client_request().map_err(|error| sentence(&error))?;
        for (name, value) in &target.headers {
            request.headers_mut().append(name, value.clone());
        }
        if let Some(value) = token.and_then(bearer) {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(buffer_bytes_max(options))
            .max_message_size(Some(options.message_bytes_max))
            .max_frame_size(Some(options.message_bytes_max));
        let stream = target.stream(wait, deadline)?;
        let mut shaken = tungstenite::client::client_with_config(request, stream, Some(config));
        loop {
            match shaken {
                Ok((socket, _)) => {
                    let now = Instant::now();
                    return Ok(Self {
                        socket,
                        opened: now,
                        heard: now,
                        pinged: None,
                        ping_interval: options.ping_interval,
                        pong_timeout: options.pong_timeout,
                        unsent: false,
                    });
                }
                // A signal came, or the client was woken: go on.
                Err(HandshakeError::Interrupted(rest)) if Instant::now() < deadline => shaken = rest.handshake(),
                Err(HandshakeError::Interrupted(_)) => {
                    return Err("the server did not answer the handshake in time".to_owned().into());
                }
                Err(HandshakeError::Failure(error)) => return Err(NoConnection::from(&error)),
            }
        }
    }

    /// When the handshake was completed.
    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Waits for a message until the deadline. Answers pings, and pings the server when it is silent.
    pub(super) fn receive(&mut self, deadline: Instant) -> Received {
        // An interruption of an earlier send does not concern this call.
        self.socket().take_interrupted();
        loop {
            if self.unsent
                && let Sent::Ended(why) = self.flush(Instant::now())
            {
                return Received::Ended(why);
            }
            let wake = self.next_check().map_or(deadline, |check| check.min(deadline));
            let unsent = self.unsent;
            self.socket().set_deadline(wake);
            self.socket().watch_room(unsent);
            match self.socket.read() {
                Ok(Message::Text(text)) => return self.heard(Payload::Text(text.as_str().to_owned())),
                Ok(Message::Binary(bytes)) => return self.heard(Payload::Binary(bytes.into())),
                Ok(Message::Close(frame)) => {
                    // The close frame that answers goes out if the socket takes it at once. There is nothing else to
                    // wait for.
                    self.socket().set_deadline(Instant::now());
                    let _ = self.socket.flush();
                    return Received::Ended(farewell(frame.as_ref()));
                }
                // Answer a ping at once, because this may be the last call for a while.
                Ok(_) => {
                    self.heard_now();
                    let now = Instant::now();
                    match self.flush(now) {
                        Sent::Ended(why) => return Received::Ended(why),
                        _ if now >= deadline => return Received::Nothing,
                        _ => {}
                    }
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Some(end) = self.check_life() {
                        return end;
                    }
                    if Instant::now() >= deadline {
                        return Received::Nothing;
                    }
                    if self.socket().take_interrupted() {
                        return Received::Interrupted;
                    }
                }
                Err(error) => return Received::Ended(self.fail(&error)),
            }
        }
    }

    /// Sends a message, and waits until the deadline for the socket to take all of it. The rest stays in the buffer,
    /// and goes out with the next call of any kind. There is always one try, even after the deadline.
    pub(super) fn send(&mut self, payload: &Payload, deadline: Instant) -> Sent {
        let message = match payload {
            Payload::Text(text) => Message::text(text.as_str()),
            Payload::Binary(bytes) => Message::binary(bytes.clone()),
        };
        self.write(message, deadline)
    }

    fn write(&mut self, message: Message, deadline: Instant) -> Sent {
        // Make room in the buffer.
        if self.unsent
            && let Sent::Ended(why) = self.flush(deadline)
        {
            return Sent::Ended(why);
        }
        self.socket().set_deadline(deadline);
        match self.socket.write(message) {
            Ok(()) => self.flush(deadline),
            // The payload is in the buffer.
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => self.flush(deadline),
            Err(Error::WriteBufferFull(_)) => Sent::Full,
            Err(error) => Sent::Ended(self.fail(&error)),
        }
    }

    fn flush(&mut self, deadline: Instant) -> Sent {
        self.socket().set_deadline(deadline);
        loop {
            match self.socket.flush() {
                Ok(()) => self.unsent = false,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A signal or a waker ends a poll, but not a send.
                    if Instant::now() < deadline {
                        continue;
                    }
                    self.unsent = true;
                }
                Err(error) => return Sent::Ended(self.fail(&error)),
            }
            return Sent::Taken;
        }
    }

    fn socket(&mut self) -> &mut Socket {
        self.socket.get_mut().socket()
    }

    /// Sends the rest of the buffer and a close frame, and waits until the deadline for the server to close too.
    ///
    /// # Errors
    /// Why not everything could be sent.
    pub(super) fn close(mut self, deadline: Instant) -> Result<(), String> {
        if let Sent::Ended(why) = self.flush(deadline) {
            return Err(why);
        }
        if self.unsent {
            return Err("the server did not read all in time".to_owned());
        }
        self.socket().set_deadline(deadline);
        self.socket().watch_room(false);
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        while let Err(error) = self.socket.close(Some(frame.clone())) {
            match error {
                Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {}
                error => return Err(sentence(&error)),
            }
        }
        loop {
            match self.socket.read() {
                Ok(_) if Instant::now() < deadline => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {}
                _ => return Ok(()),
            }
        }
    }

    fn heard(&mut self, payload: Payload) -> Received {
        self.heard_now();
        Received::Payload(payload)
    }

    fn heard_now(&mut self) {
        self.heard = Instant::now();
        self.pinged = None;
    }

    /// When to check next whether the server is still there.
    fn next_check(&self) -> Option<Instant> {
        match self.pinged {
            Some(pinged) => pinged.checked_add(self.pong_timeout),
            None if self.ping_interval.is_zero() => None,
            None => self.heard.checked_add(self.ping_interval),
        }
    }

    /// Nothing could be read: pings the server if a ping is due, and gives up if the last ping is too old.
    fn check_life(&mut self) -> Option<Received> {
        let now = Instant::now();
        if self.next_check().is_none_or(|check| now < check) {
            return None;
        }
        if self.pinged.is_some() {
            return Some(Received::Ended(format!("nothing was heard for {:?}", now - self.heard)));
        }
        self.pinged = Some(now);
        match self.write(Message::Ping(Vec::new().into()), now) {
            Sent::Taken | Sent::Full => None,
            Sent::Ended(why) => Some(Received::Ended(why)),
        }
    }

    /// The connection has failed: tells the server why if the server caused the error, and returns the reason.
    fn fail(&mut self, error: &Error) -> String {
        // Nothing can be sent any more, but there may still be something to read.
        self.unsent = false;
        let code = match error {
            Error::Capacity(_) => Some(CloseCode::Size),
            Error::Utf8(_) => Some(CloseCode::Invalid),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
            Error::Protocol(_) => Some(CloseCode::Protocol),
            _ => None,
        };
        if let Some(code) = code {
            self.socket().set_deadline(Instant::now());
            let _ = self.socket.close(Some(CloseFrame { code, reason: "".into() }));
        }
        sentence(error)
    }
}

/// The most bytes that may wait for the socket; more than the minimum that tungstenite requires.
fn buffer_bytes_max(options: &ClientOptions) -> usize {
    WRITE_BUFFER_BYTES.saturating_add(options.outbox_bytes_max.max(1))
}

/// The content of a close frame, as a sentence without control characters.
fn farewell(frame: Option<&CloseFrame>) -> String {
    match frame {
        Some(frame) if frame.reason.is_empty() => format!("the server closed with {}", u16::from(frame.code)),
        Some(frame) => {
            let reason: String = frame.reason.chars().filter(|c| !c.is_control()).collect();
            format!("the server closed with {}: {reason}", u16::from(frame.code))
        }
        None => "the server closed".to_owned(),
    }
}

/// The value of the header `authorization`. A JWT always makes one.
fn bearer(token: &Token) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.as_str())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub(super) fn sentence(error: &Error) -> String {
    match error {
        Error::Http(response) => format!("the server answered {} instead of shaking hands", response.status()),
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server ended the connection".to_owned()
        }
        Error::Io(error) => error.to_string(),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete) => {
            "the server ended the connection".to_owned()
        }
        Error::ConnectionClosed | Error::AlreadyClosed => "the connection was closed".to_owned(),
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            format!("a message of {size} bytes came, and {max_size} are allowed")
        }
        error => error.to_string(),
    }
}
