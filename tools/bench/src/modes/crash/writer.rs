//! A client that publishes until its server is killed, and that asks the next one what it has.

use std::{
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tungstenite::{Message, WebSocket};

use crate::failure::Failure;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

type Client = WebSocket<TcpStream>;

/// What a server has after a crash, beside what it acknowledged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Acknowledged messages that it does not have.
    pub(super) lost: u64,
    /// Messages that it has twice, or out of order.
    pub(super) repeated: u64,
}

/// One writer and its channel. Its messages are numbers that grow.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) channel: String,
    /// The numbers of acknowledged messages.
    pub(super) acked: Vec<u64>,
    next: u64,
    /// How many of `acked` the server was asked for already.
    checked: usize,
    /// The id of the channel's newest message when it was asked last.
    place: String,
    /// The number of that message.
    newest: Option<u64>,
}

impl Writer {
    /// A writer that begins where the channel is now.
    pub(super) fn new(address: SocketAddr, channel: &str) -> Result<Self, Failure> {
        let (_, ack) = subscribe(address, channel, "")?;
        Ok(Self {
            channel: channel.to_owned(),
            acked: Vec::new(),
            next: 0,
            checked: 0,
            place: position(&ack)?,
            newest: None,
        })
    }

    /// Publishes, with at most `window` messages on their way, until the connection breaks. Counts acknowledgements in
    /// `count`, too.
    pub(super) fn write(&mut self, address: SocketAddr, window: usize, count: &AtomicU64) -> Result<(), Failure> {
        let mut client = connect(address)?;
        let mut in_flight = 0;
        loop {
            while in_flight < window {
                let (channel, number) = (&self.channel, self.next);
                let message = format!("LHTTP/1.0 chat\r\npublish:{channel}\r\nack:{number}\r\n\r\n{number}");
                if client.send(Message::text(message)).is_err() {
                    return Ok(());
                }
                self.next += 1;
                in_flight += 1;
            }
            let Ok(answer) = client.read() else { return Ok(()) };
            let answer = String::from_utf8_lossy(&answer.into_data()).into_owned();
            let number = header(&answer, "ack").and_then(|number| number.parse().ok());
            match number.filter(|_| answer.starts_with("LHTTP/1.0 ack\r\n")) {
                Some(number) => self.acked.push(number),
                None => return Err(Failure::Server(format!("it answered {answer:?}"))),
            }
            in_flight -= 1;
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Asks the server for all messages since the last time, and compares them with those that were acknowledged.
    pub(super) fn check(&mut self, address: SocketAddr) -> Result<Kept, Failure> {
        let (bodies, ack) = subscribe(address, &self.channel, &format!("since:{}\r\n", self.place))?;
        let numbers = bodies.iter().map(|body| body.parse()).collect::<Result<Vec<u64>, _>>();
        let numbers = numbers.map_err(|_| Failure::Server(format!("it kept {bodies:?}")))?;
        let kept = compare(&self.acked[self.checked..], &numbers, self.newest);
        self.checked = self.acked.len();
        self.newest = numbers.last().copied().or(self.newest);
        self.place = position(&ack)?;
        Ok(kept)
    }
}

/// `newest` is the number before the first.
fn compare(acked: &[u64], kept: &[u64], newest: Option<u64>) -> Kept {
    let lost = acked.iter().filter(|number| !kept.contains(number)).count() as u64;
    let all: Vec<u64> = newest.into_iter().chain(kept.iter().copied()).collect();
    let repeated = all.windows(2).filter(|pair| pair[1] <= pair[0]).count() as u64;
    Kept { lost, repeated }
}

fn connect(address: SocketAddr) -> Result<Client, Failure> {
    let stream = TcpStream::connect(address).map_err(Failure::io(format!("cannot connect to {address}")))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(Failure::io("a read timeout"))?;
    stream.set_nodelay(true).map_err(Failure::io("TCP_NODELAY"))?;
    let handshake = tungstenite::client(format!("ws://{address}/"), stream);
    handshake.map(|(client, _)| client).map_err(|error| Failure::Server(format!("no handshake: {error}")))
}

/// Subscribes with one more header line, and returns the bodies of the messages before the acknowledgement, and that. What
/// the server does not keep any more counts as lost by itself: nothing old comes then.
fn subscribe(address: SocketAddr, channel: &str, line: &str) -> Result<(Vec<String>, String), Failure> {
    let broken = |error: tungstenite::Error| Failure::Server(format!("it does not answer: {error}"));
    let mut client = connect(address)?;
    let message = format!("LHTTP/1.0 chat\r\nsubscribe:{channel}\r\n{line}ack:s\r\n\r\n");
    client.send(Message::text(message)).map_err(broken)?;
    let mut bodies = Vec::new();
    loop {
        let message = String::from_utf8_lossy(&client.read().map_err(broken)?.into_data()).into_owned();
        match message.split_once("\r\n\r\n") {
            Some((head, _)) if head.starts_with("LHTTP/1.0 ack") => return Ok((bodies, message)),
            Some((head, body)) if head.starts_with("LHTTP/1.0 chat") => bodies.push(body.to_owned()),
            _ => return Err(Failure::Server(format!("it answered {message:?}"))),
        }
    }
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

fn position(ack: &str) -> Result<String, Failure> {
    let id = header(ack, "position").filter(|id| *id != "-");
    id.map(str::to_owned).ok_or_else(|| Failure::Server(format!("it acknowledged without a position: {ack:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_repeated_are_counted() {
        let kept = |lost, repeated| Kept { lost, repeated };
        assert_eq!(compare(&[3, 4, 6], &[3, 4, 5, 6, 7], Some(2)), kept(0, 0));
        assert_eq!(compare(&[3, 4, 6], &[3, 5, 6], Some(2)), kept(1, 0));
        assert_eq!(compare(&[3, 4], &[3, 3, 4], Some(2)), kept(0, 1));
        assert_eq!(compare(&[3, 4], &[4, 3], None), kept(0, 1));
        assert_eq!(compare(&[3], &[3], Some(3)), kept(0, 1), "the message of before comes again");
        assert_eq!(compare(&[3, 4], &[], Some(2)), kept(2, 0));
    }
}
