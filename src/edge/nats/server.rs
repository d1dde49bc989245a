//! One connection to a NATS server: what goes by on it in both directions, with our own commands between the client's.
//!
//! async-nats logs in and publishes; it hears nothing but the answers to its `PING`s. Subscriptions are ours, and messages
//! go from here to the cores, so that nothing a neighbour sends ever reaches the client's parser.

use std::{
    collections::VecDeque,
    io,
    net::Shutdown,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::tcp::OwnedReadHalf,
    sync::Notify,
    task::yield_now,
    time::Instant,
};

use super::{
    Shared, inbound, lock,
    said::{Listener, Said},
    spoken::Follower,
};

/// Read at once from the client.
const CLIENT_BYTES: usize = 64 * 1024;
/// Commands of ours that are written at once, in bytes.
const COMMANDS_BYTES: usize = 64 * 1024;
/// Commands that are not written or not answered: past it the server is given no more interest. It answers so many within
/// some milliseconds.
const COMMANDS_MAX: usize = 4096;
/// Pieces that are read from the server before others get their turn.
const READS_PER_TURN: usize = 16;

/// A command of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Number and subject. Its answer is that of a `PING` that goes with it.
    Subscribe(u64, String),
    Unsubscribe(u64),
    Ask(Asked),
    /// The server has asked.
    Pong,
}

/// What the answer to a `PING` is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The client has asked.
    Client,
    /// Whether all has arrived.
    Arrival,
    /// Whether the subscription with this number is confirmed.
    Subscription(u64),
    /// By core, so many interests were taken in before.
    Interest(Vec<u64>),
    /// What takes the place of these wide subscriptions was asked for.
    Dissolve(Vec<u64>),
}

/// A `PING` that is not answered.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Messages of this connection that went before.
    pub(super) published: u64,
    pub(super) asked: Asked,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Server {
    /// For the log.
    pub(super) url: String,
    commands: Mutex<VecDeque<Command>>,
    commanded: Notify,
    waiting: Mutex<VecDeque<Waiting>>,
    /// Since when the server owes an answer, or has all that it was to answer with the last one.
    owes_since: Mutex<Option<Instant>>,
    /// Messages that the client had published on connections before.
    pub(super) published_before: u64,
    /// The next connection takes over from this one.
    pub(super) is_leaving: AtomicBool,
    /// The server says that it will close its connections soon.
    pub(super) is_lame: AtomicBool,
    /// The client is to connect anew, while this one goes on listening.
    pub(super) leave: Notify,
    /// It is to be closed.
    pub(super) ended: Notify,
}

impl Server {
    pub(super) fn new(url: String, published_before: u64) -> Self {
        Self {
            url,
            commands: Mutex::default(),
            commanded: Notify::new(),
            waiting: Mutex::default(),
            owes_since: Mutex::default(),
            published_before,
            is_leaving: AtomicBool::new(false),
            is_lame: AtomicBool::new(false),
            leave: Notify::new(),
            ended: Notify::new(),
        }
    }

    /// Says something between two commands of the client.
    pub(super) fn command(&self, command: Command) {
        if matches!(command, Command::Ask(_) | Command::Subscribe(..)) {
            lock(&self.owes_since).get_or_insert_with(Instant::now);
        }
        let mut commands = lock(&self.commands);
        if command == Command::Pong && commands.back() == Some(&command) {
            return; // one answer is as good as many, to a server that takes none
        }
        commands.push_back(command);
        drop(commands);
        self.commanded.notify_one();
    }

    /// Asks whether all has arrived, unless something was asked that is not answered: whatever came behind that may be
    /// asked for then.
    pub(super) fn ask(&self) {
        if lock(&self.owes_since).is_none() {
            self.command(Command::Ask(Asked::Arrival));
        }
    }

    /// Since when the server has not answered what it was asked.
    pub(super) fn owes_since(&self) -> Option<Instant> {
        *lock(&self.owes_since)
    }

    /// Whether the server has so much to answer that it shall be asked for no more.
    pub(super) fn is_behind(&self) -> bool {
        lock(&self.commands).len() + lock(&self.waiting).len() >= COMMANDS_MAX
    }

    /// Takes what the next `PONG` answers, and how many messages had arrived by then.
    fn answered(&self) -> Option<Waiting> {
        let mut waiting = lock(&self.waiting);
        let answered = waiting.pop_front()?;
        let is_ours = |asked: &Asked| *asked != Asked::Client;
        let owes = waiting.iter().any(|waiting| is_ours(&waiting.asked))
            || lock(&self.commands).iter().any(|command| matches!(command, Command::Ask(_) | Command::Subscribe(..)));
        *lock(&self.owes_since) = owes.then(Instant::now);
        Some(answered)
    }

    /// The subscription that what the server says now is about, if it is about one.
    pub(super) fn subscription_asked_for(&self) -> Option<u64> {
        match lock(&self.waiting).front()?.asked {
            Asked::Subscription(sid) => Some(sid),
            _ => None,
        }
    }

    /// Writes down commands of ours, some at a time, and notes what the server is to answer. Says whether there were any.
    /// For what is left it wakes [`Server::speak`] again, which reads from the client in between.
    fn take_commands(&self, follower: &Follower, out: &mut Vec<u8>) -> bool {
        let (mut commands, mut waiting) = (lock(&self.commands), lock(&self.waiting));
        out.clear();
        let published = follower.published();
        let mut ask = |out: &mut Vec<u8>, asked| {
            out.extend_from_slice(b"PING\r\n");
            waiting.push_back(Waiting { published, asked });
        };
        let mut is_behind_answer = false;
        while out.len() < COMMANDS_BYTES
            && let Some(command) = commands.pop_front()
        {
            match command {
                Command::Subscribe(sid, subject) => {
                    // What the client has said before may be refused, too: that has its answer first.
                    if !is_behind_answer {
                        ask(out, Asked::Arrival);
                    }
                    out.extend_from_slice(format!("SUB {subject} {sid}\r\n").as_bytes());
                    ask(out, Asked::Subscription(sid));
                    is_behind_answer = true;
                }
                Command::Unsubscribe(sid) => out.extend_from_slice(format!("UNSUB {sid}\r\n").as_bytes()),
                Command::Ask(asked) => {
                    ask(out, asked);
                    is_behind_answer = true;
                }
                Command::Pong => out.extend_from_slice(b"PONG\r\n"),
            }
        }
        if !commands.is_empty() {
            self.commanded.notify_one();
        }
        !out.is_empty()
    }

    fn note_client(&self, follower: &mut Follower) {
        let pings = follower.take_pings();
        if pings > 0 {
            let published = follower.published();
            let waiting = (0..pings).map(|_| Waiting { published, asked: Asked::Client });
            lock(&self.waiting).extend(waiting);
        }
    }

    /// Brings what the client says to the server, and what we say. Ends with the client, or if the server takes nothing
    /// more; while the next connection takes over it goes on without the client.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) async fn speak(&self, mut client: OwnedReadHalf, mut server: impl AsyncWrite + Unpin) -> io::Result<()> {
        let (mut follower, mut bytes, mut own) = (Follower::default(), vec![0; CLIENT_BYTES], Vec::new());
        let mut has_client = true;
        loop {
            let len = tokio::select! {
                len = client.read(&mut bytes), if has_client => len.unwrap_or(0),
                () = self.leave.notified() => {
                    let _ = SockRef::from(client.as_ref()).shutdown(Shutdown::Both);
                    continue;
                }
                () = self.commanded.notified() => {
                    if follower.is_between() && self.take_commands(&follower, &mut own) {
                        server.write_all(&own).await?;
                    }
                    server.flush().await?;
                    continue;
                }
            };
            if len == 0 {
                if !self.is_leaving.load(Ordering::Relaxed) {
                    return Ok(());
                }
                has_client = false;
                continue;
            }
            let end = follower.follow(&bytes[..len]).unwrap_or(0);
            self.note_client(&mut follower);
            server.write_all(&bytes[..end]).await?;
            if end > 0 && self.take_commands(&follower, &mut own) {
                server.write_all(&own).await?;
            }
            server.write_all(&bytes[end..len]).await?;
            server.flush().await?;
        }
    }

    /// Takes what the server says: messages to the cores, answers to who waits for them.
    ///
    /// # Errors
    /// The connection is broken, or what comes is not NATS.
    pub(super) async fn listen(
        &self,
        shared: &Shared,
        mut listener: Listener,
        mut server: impl AsyncRead + Unpin,
        mut client: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        loop {
            for _ in 0..READS_PER_TURN {
                let pongs = self.take_in(shared, &mut listener)?;
                for _ in 0..pongs {
                    // The client is gone while the next connection takes over.
                    let _ = client.write_all(b"PONG\r\n").await;
                }
                let len = server.read(listener.space()).await?;
                if len == 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server has closed the connection"));
                }
                listener.filled(len);
            }
            yield_now().await;
        }
    }

    /// Gives how many answers are for the client.
    fn take_in(&self, shared: &Shared, listener: &mut Listener) -> io::Result<usize> {
        let mut pongs = 0;
        let is_leaving = self.is_leaving.load(Ordering::Relaxed);
        let mut receiver = inbound::Receiver::new(shared, is_leaving);
        let payload_bytes_max = receiver.payload_bytes_max();
        loop {
            let said = listener.next(payload_bytes_max);
            let said =
                said.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the server does not speak NATS"))?;
            let Some(said) = said else { break };
            match said {
                Said::Message { sid, subject, payload } => receiver.message(sid, subject, payload),
                Said::TooBig { subject } => receiver.too_big(subject),
                Said::Ok => {}
                Said::Ping => self.command(Command::Pong),
                Said::Pong => match self.answered() {
                    Some(Waiting { asked: Asked::Client, .. }) => pongs += 1,
                    Some(waiting) => receiver.answered(self, waiting),
                    None => {} // nobody has asked
                },
                Said::Error(text) => receiver.error(self, &String::from_utf8_lossy(text)),
                Said::Info(json) => shared.servers_changed(self, json),
            }
        }
        receiver.done();
        Ok(pongs)
    }
}
