//! Servers that misbehave as a test wants, and clients of them.

use std::{
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::Duration,
};

use lhttp::{
    Message,
    client::{Builder, Client, Event},
};
use tungstenite::WebSocket;

use super::PATIENCE;

pub(crate) fn chat(body: impl Into<Vec<u8>>) -> Message {
    Message::new("chat").expect("a command").body(body)
}

/// A client of a server that runs `serve` for each connection in turn, after its handshake.
pub(crate) fn against(
    serve: impl Fn(usize, WebSocket<TcpStream>) + Send + 'static,
    connections: usize,
) -> (Builder, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    let server = thread::spawn(move || {
        for number in 0..connections {
            let (stream, _) = listener.accept().expect("the client connects");
            stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
            serve(number, tungstenite::accept(stream).expect("the client shakes hands"));
        }
    });
    let builder = Client::builder(url).timeout(PATIENCE);
    (builder.reconnect_delay(Duration::from_millis(1), Duration::from_millis(10)), server)
}

pub(crate) fn read_message(socket: &mut WebSocket<TcpStream>) -> Message {
    loop {
        if let tungstenite::Message::Text(text) = socket.read().expect("the client sends") {
            return Message::parse(text.as_bytes()).expect("LHTTP");
        }
    }
}

/// Reads a message and returns its `ack` token and its body.
pub(crate) fn read(socket: &mut WebSocket<TcpStream>) -> (String, String) {
    let message = read_message(socket);
    let body = String::from_utf8(message.body_bytes().to_vec()).expect("a text");
    (message.header_value("ack").unwrap_or_default().to_owned(), body)
}

/// Reads a message with this header, and returns its `ack` token.
#[track_caller]
pub(crate) fn read_with(socket: &mut WebSocket<TcpStream>, header: &str, value: &str) -> String {
    let message = read_message(socket);
    assert_eq!(message.header_value(header), Some(value), "{message:?}");
    message.header_value("ack").unwrap_or_default().to_owned()
}

pub(crate) fn say(socket: &mut WebSocket<TcpStream>, text: &str) {
    socket.send(tungstenite::Message::text(text)).expect("the client is there");
}

pub(crate) fn ack(socket: &mut WebSocket<TcpStream>, token: &str) {
    say(socket, &format!("LHTTP/1.0 ack\r\nack:{token}\r\n\r\n"));
}

pub(crate) fn refuse(socket: &mut WebSocket<TcpStream>, token: &str) {
    refuse_with(socket, token, "code:403\r\nreason:forbidden");
}

/// The same with other lines.
pub(crate) fn refuse_with(socket: &mut WebSocket<TcpStream>, token: &str, lines: &str) {
    say(socket, &format!("LHTTP/1.0 error\r\n{lines}\r\nack:{token}\r\n\r\nnot this"));
}

/// Reads until the client has ended the connection.
pub(crate) fn wait_for_end(socket: &mut WebSocket<TcpStream>) {
    while socket.read().is_ok() {}
}

#[track_caller]
pub(crate) fn event(client: &mut Client) -> Event {
    client.poll(PATIENCE).expect("the client goes on").expect("something happens in time")
}
