//! One connection to a NATS server: passes the client's commands on, with the bridge's own between them, and reads the
//! server's lines.
//!
//! async-nats logs in and publishes. It hears nothing but the answers to its own `PING`s: its parser ends the connection, or
//! panics, at messages that any other client of the server may publish. So the bridge itself subscribes and receives.

use std::{
    io,
    net::Shutdown,
    pin::Pin,
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::{
    client_lines::ClientLines,
    commands::Commands,
    dial::{Dialed, Stream},
    server_lines::ServerLines,
};

/// Bytes that are read from the client at once.
const CLIENT_BYTES: usize = 64 * 1024;
/// The answer to a `PING` of the client.
const PONG: &[u8] = b"PONG\r\n";

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Names the connection among those of the same client.
    pub(super) id: u64,
    /// The server, for the log.
    pub(super) url: String,
    /// The client's epoch: the connection ends when the client has another one.
    pub(super) epoch: u64,
    /// Messages that the client had published on connections before.
    pub(super) published_before: u64,
    pub(super) commands: Commands,
    /// Bytes of the server that the bridge has not taken.
    pub(super) lines: ServerLines,
    /// The next connection takes over from this one.
    pub(super) is_leaving: bool,
    /// When this connection has brought everything that the next one does not; known once the next one is in use.
    pub(super) close_at: Option<Instant>,
    /// The server has announced that it will close its connections.
    pub(super) is_lame: bool,
    server: Stream,
    /// None if the client has left.
    client: Option<TcpStream>,
    client_lines: ClientLines,
    to_server: ToServer,
    /// Bytes of answers that the client is owed.
    owed_to_client: usize,
}

/// The outcome of a turn of a connection.
#[derive(Debug)]
pub(super) enum Activity {
    /// The server has sent something: see [`Connection::lines`].
    Received,
    /// Something was passed on to the server.
    Sent,
    /// The client has left.
    Left,
    /// The connection is broken.
    Broken(io::Error),
}

impl Connection {
    /// A connection that the client has logged in on.
    pub(super) fn new(id: u64, dialed: Dialed, client: TcpStream, epoch: u64, published_before: u64) -> Self {
        Self {
            id,
            url: dialed.url,
            epoch,
            published_before,
            commands: Commands::default(),
            lines: dialed.lines,
            is_leaving: false,
            close_at: None,
            is_lame: false,
            server: dialed.stream,
            client: Some(client),
            client_lines: ClientLines::default(),
            to_server: ToServer::new(),
            owed_to_client: PONG.len(), // to its login
        }
    }

    /// The server has answered `PING`s of the client.
    pub(super) fn pass_pongs(&mut self, pongs: usize) {
        self.owed_to_client += pongs * PONG.len();
    }

    /// Makes the client connect again, while this connection goes on receiving.
    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
        if let Some(client) = &self.client {
            let _ = SockRef::from(client).shutdown(Shutdown::Both);
        }
    }

    /// Sends and receives a share. Pending only when nothing can be sent or received.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Activity> {
        self.poll_pongs(cx);
        let sent = self.poll_send(cx);
        if let Poll::Ready(Err(end)) = sent {
            return Poll::Ready(end);
        }
        match poll_read(&mut self.server, self.lines.space(), cx) {
            Poll::Ready(Ok(0)) => Poll::Ready(Activity::Broken(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server has closed the connection",
            ))),
            Poll::Ready(Ok(len)) => {
                self.lines.filled(len);
                Poll::Ready(Activity::Received)
            }
            Poll::Ready(Err(error)) => Poll::Ready(Activity::Broken(error)),
            Poll::Pending if sent.is_ready() => Poll::Ready(Activity::Sent),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes the answers that the client is owed.
    fn poll_pongs(&mut self, cx: &mut Context<'_>) {
        while self.owed_to_client > 0
            && let Some(client) = &mut self.client
        {
            // The rest of an answer that was written in part comes first.
            let rest = match self.owed_to_client % PONG.len() {
                0 => PONG,
                rest => &PONG[PONG.len() - rest..],
            };
            match Pin::new(client).poll_write(cx, rest) {
                Poll::Ready(Ok(len)) if len > 0 => self.owed_to_client -= len,
                Poll::Ready(_) => self.owed_to_client = 0, // the client is about to leave
                Poll::Pending => return,
            }
        }
    }

    /// Passes on the client's next bytes, and inserts the bridge's commands where the client's last command ends.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Activity>> {
        if let Err(error) = ready!(self.to_server.poll_write(&mut self.server, cx)) {
            return Poll::Ready(Err(Activity::Broken(error)));
        }
        let read = match &mut self.client {
            Some(client) => poll_read(client, &mut self.to_server.bytes, cx).map(|read| read.unwrap_or(0)),
            None => Poll::Pending,
        };
        match read {
            Poll::Ready(0) if !self.is_leaving => return Poll::Ready(Err(Activity::Left)),
            Poll::Ready(0) => self.client = None,
            Poll::Ready(len) => {
                let end = self.client_lines.follow(&self.to_server.bytes[..len]).unwrap_or(0);
                let published = self.client_lines.published();
                self.commands.note_client_pings(self.client_lines.take_pings(), published);
                self.to_server.take_bytes(end, len);
                if end > 0 {
                    self.commands.write(published, &mut self.to_server.commands);
                }
            }
            Poll::Pending if self.commands.is_empty() || !self.client_lines.is_between() => return Poll::Pending,
            Poll::Pending => self.commands.write(self.client_lines.published(), &mut self.to_server.commands),
        }
        match self.to_server.poll_write(&mut self.server, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(Activity::Broken(error))),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// Bytes on their way to the server: first the client's up to the end of its last command, then the bridge's commands, then
/// the rest of the client's.
#[derive(Debug)]
struct ToServer {
    /// The buffer for the client's bytes.
    bytes: Box<[u8]>,
    /// Bytes in `bytes` that are written.
    written: usize,
    /// The end of the client's last command.
    end: usize,
    /// The end of the client's bytes.
    len: usize,
    commands: Vec<u8>,
    /// Bytes of `commands` that are written.
    commands_written: usize,
    is_flushed: bool,
}

impl ToServer {
    fn new() -> Self {
        Self {
            bytes: vec![0; CLIENT_BYTES].into(),
            written: 0,
            end: 0,
            len: 0,
            commands: Vec::new(),
            commands_written: 0,
            is_flushed: true,
        }
    }

    /// The client's next bytes are in the buffer, which was written before.
    fn take_bytes(&mut self, end: usize, len: usize) {
        (self.written, self.end, self.len) = (0, end, len);
    }

    /// Writes everything.
    fn poll_write(&mut self, server: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let (rest, written) = if self.written < self.end {
                (&self.bytes[self.written..self.end], &mut self.written)
            } else if self.commands_written < self.commands.len() {
                (&self.commands[self.commands_written..], &mut self.commands_written)
            } else if self.written < self.len {
                (&self.bytes[self.written..self.len], &mut self.written)
            } else {
                break;
            };
            self.is_flushed = false;
            match ready!(Pin::new(&mut *server).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => *written += len,
            }
        }
        self.commands.clear();
        self.commands_written = 0;
        if !self.is_flushed {
            ready!(Pin::new(server).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

fn poll_read(from: &mut (impl AsyncRead + Unpin), space: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut space = ReadBuf::new(space);
    ready!(Pin::new(from).poll_read(cx, &mut space))?;
    Poll::Ready(Ok(space.filled().len()))
}
