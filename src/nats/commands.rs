//! The bridge's own commands on a connection, `SUB`, `UNSUB`, `PING`, `PONG` and what is for the stream, and the questions that the server's
//! answers belong to.
//!
//! The server answers each `PING` in order. An answer proves that everything before the `PING` has reached the server: a
//! subscription is live, a message is not lost.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::stream_api::LIVE_SIDS;

/// The most bytes of commands that are written at once.
const WRITTEN_BYTES: usize = 64 * 1024;
/// The most commands that are not written or not answered. Past it the server gets no more interest; it answers so many
/// within some milliseconds.
const COMMANDS_MAX: usize = 4096;

/// A command of the bridge.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// A subscription's number and subject, and the subject of its twin, if it has one. A `PING` of its own follows them.
    Subscribe(u64, String, Option<String>),
    /// Ends the subscription with this number, and its twin.
    Unsubscribe(u64),
    /// Sends a whole command.
    Send(Vec<u8>),
    /// A `PING`.
    Ask(Asked),
    /// The answer to the server's `PING`.
    Pong,
}

/// The meaning of the answer to a `PING`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The client has sent the `PING` for itself.
    Client,
    /// Everything that was sent before has arrived.
    Arrival,
    /// The subscription with this number is live.
    Subscription(u64),
    /// By core, this many of its interests are live.
    Interest(Vec<u64>),
    /// The subscriptions that replace these wide ones are live.
    Dissolve(Vec<u64>),
}

/// A `PING` without an answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// Messages of the connection that went before it.
    pub(super) published: u64,
    pub(super) asked: Asked,
}

/// The commands of one connection.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// Commands that are not written.
    queue: VecDeque<Command>,
    unanswered: VecDeque<Unanswered>,
    /// Since when the server owes an answer; if it owes several, when it gave the last one.
    owes_since: Option<Instant>,
    /// Some subscriptions have a twin.
    has_twins: bool,
    /// Bytes of the whole commands in `queue`.
    waiting_bytes: usize,
}

impl Commands {
    /// Sends a command, between two commands of the client.
    pub(super) fn push(&mut self, command: Command) {
        if matches!(command, Command::Ask(_) | Command::Subscribe(..)) {
            self.owes_since.get_or_insert_with(Instant::now);
        }
        if command == Command::Pong && self.queue.back() == Some(&command) {
            return; // a server that reads nothing needs only one answer
        }
        if let Command::Send(bytes) = &command {
            self.waiting_bytes += bytes.len();
        }
        self.queue.push_back(command);
    }

    /// Bytes of whole commands that are not written.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Asks whether everything has arrived, unless the server owes an answer: then the next question covers it.
    pub(super) fn ask_for_arrival(&mut self) {
        if self.owes_since.is_none() {
            self.push(Command::Ask(Asked::Arrival));
        }
    }

    /// Since when the server owes an answer.
    pub(super) fn owes_since(&self) -> Option<Instant> {
        self.owes_since
    }

    /// True if the server owes so many answers that it must not be asked for more.
    pub(super) fn is_behind(&self) -> bool {
        self.queue.len() + self.unanswered.len() >= COMMANDS_MAX
    }

    /// True if commands wait to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes the `PING` that the server's next `PONG` answers.
    pub(super) fn take_answered(&mut self) -> Option<Unanswered> {
        let answered = self.unanswered.pop_front()?;
        let owes = self.unanswered.iter().any(|unanswered| unanswered.asked != Asked::Client)
            || self.queue.iter().any(|command| matches!(command, Command::Ask(_) | Command::Subscribe(..)));
        self.owes_since = owes.then(Instant::now);
        Some(answered)
    }

    /// The subscription of the server's next error, if the error is about one.
    pub(super) fn subscription_asked_for(&self) -> Option<u64> {
        match self.unanswered.front()?.asked {
            Asked::Subscription(sid) => Some(sid),
            _ => None,
        }
    }

    /// Notes that the client has sent `PING`s behind this many messages.
    pub(super) fn note_client_pings(&mut self, pings: usize, published: u64) {
        self.unanswered.extend((0..pings).map(|_| Unanswered { published, asked: Asked::Client }));
    }

    /// Writes some commands into `out`, behind this many messages of the client.
    pub(super) fn write(&mut self, published: u64, out: &mut Vec<u8>) {
        let mut ask = |out: &mut Vec<u8>, asked| {
            out.extend_from_slice(b"PING\r\n");
            self.unanswered.push_back(Unanswered { published, asked });
        };
        let mut follows_ping = false;
        while out.len() < WRITTEN_BYTES
            && let Some(command) = self.queue.pop_front()
        {
            match command {
                Command::Subscribe(sid, subject, twin) => {
                    // Errors about earlier messages of the client come before the answer to this one.
                    if !follows_ping {
                        ask(out, Asked::Arrival);
                    }
                    out.extend_from_slice(format!("SUB {subject} {sid}\r\n").as_bytes());
                    if let Some(subject) = twin {
                        self.has_twins = true;
                        out.extend_from_slice(format!("SUB {subject} {}\r\n", sid + LIVE_SIDS).as_bytes());
                    }
                    ask(out, Asked::Subscription(sid));
                    follows_ping = true;
                }
                Command::Unsubscribe(sid) => {
                    out.extend_from_slice(format!("UNSUB {sid}\r\n").as_bytes());
                    if self.has_twins {
                        out.extend_from_slice(format!("UNSUB {}\r\n", sid + LIVE_SIDS).as_bytes());
                    }
                }
                Command::Send(bytes) => {
                    self.waiting_bytes -= bytes.len();
                    out.extend_from_slice(&bytes);
                    follows_ping = false;
                }
                Command::Ask(asked) => {
                    ask(out, asked);
                    follows_ping = true;
                }
                Command::Pong => out.extend_from_slice(b"PONG\r\n"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_belongs_to_the_oldest_question_of_the_client_or_the_bridge() {
        let (mut commands, mut written) = (Commands::default(), Vec::new());
        commands.note_client_pings(1, 7);
        commands.push(Command::Subscribe(1, "room".to_owned(), None));
        commands.push(Command::Pong);
        commands.push(Command::Pong);
        commands.push(Command::Unsubscribe(1));
        commands.push(Command::Ask(Asked::Interest(vec![3])));
        commands.ask_for_arrival(); // covered by the others
        commands.write(8, &mut written);
        assert_eq!(written, b"PING\r\nSUB room 1\r\nPING\r\nPONG\r\nUNSUB 1\r\nPING\r\n");
        let expected = [Asked::Client, Asked::Arrival, Asked::Subscription(1), Asked::Interest(vec![3])];
        for (number, asked) in expected.into_iter().enumerate() {
            assert!(commands.owes_since().is_some(), "the bridge waits for the last one");
            let is_about_subscription = commands.subscription_asked_for().is_some();
            assert_eq!(is_about_subscription, asked == Asked::Subscription(1));
            let answered = commands.take_answered().expect("a question");
            assert_eq!((answered.asked, answered.published), (asked, if number == 0 { 7 } else { 8 }));
        }
        assert!(commands.owes_since().is_none() && commands.take_answered().is_none());
    }
}
