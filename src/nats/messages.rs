//! Takes a server's lines in: messages go to the cores, answers and refusals to the table.

use std::io;

use async_nats::ServerInfo;
use tokio::time::Instant;

use super::{
    audience::Target,
    commands::{Asked, Command, Commands, Unanswered},
    connection::Connection,
    lasting::Lasting,
    member_lines::{ASKED_SID, MEMBERS_SID},
    operators::{ALL_SID, OWN_SID},
    refusals::Refusal,
    server_lines::ServerLine,
    stream_api::{INBOX_SID, LIVE_SIDS},
    task::Task,
};

/// Takes the lines of one connection in.
struct Receiver<'t> {
    lasting: &'t mut Lasting,
    commands: &'t mut Commands,
    published_before: u64,
    /// The next connection is taking over from this one.
    is_leaving: bool,
    news: News,
}

/// The task's work after lines were taken in.
#[derive(Default)]
struct News {
    /// Answers to pass on to the client.
    pongs: usize,
    /// Something was confirmed or refused.
    must_look: bool,
    /// There are subscriptions to ask for.
    must_ask: bool,
    /// The server has confirmed all interest.
    is_interest_live: bool,
    /// The server will close its connections.
    is_lame: bool,
}

impl Task<'_> {
    /// Takes in the lines that a connection has received. Closes the connection if they are not NATS.
    pub(super) fn receive(&mut self, at: usize) {
        let payload_bytes_max = self.lasting.payload_bytes_max();
        let Connection { lines, commands, published_before, is_leaving, .. } = &mut self.connections[at];
        let (published_before, is_leaving) = (*published_before, *is_leaving);
        let lasting = &mut *self.lasting;
        let mut receiver = Receiver { lasting, commands, published_before, is_leaving, news: News::default() };
        let is_sound = loop {
            match lines.next(payload_bytes_max) {
                Ok(Some(line)) => receiver.take(line),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        let news = receiver.news;
        self.lasting.tell_news();
        self.lasting.to_cores.send();
        self.lasting.show_counts();
        self.follow(at, &news);
        if !is_sound {
            let error = io::Error::new(io::ErrorKind::InvalidData, "the server does not speak NATS");
            self.close(at, Some(error.to_string()));
        }
    }

    fn follow(&mut self, at: usize, news: &News) {
        let connection = &mut self.connections[at];
        connection.pass_pongs(news.pongs);
        connection.is_lame |= news.is_lame;
        if news.must_look {
            self.must_look();
        }
        self.hearing.has_news |= news.must_ask;
        if news.is_interest_live {
            self.end_overlap(Instant::now());
        }
    }
}

impl Receiver<'_> {
    fn take(&mut self, line: ServerLine<'_>) {
        match line {
            ServerLine::Message { sid: INBOX_SID, subject, headers, payload } => {
                let Lasting { stream, to_cores, .. } = &mut *self.lasting;
                stream.reply(subject, (headers, payload), self.commands, to_cores, Instant::now());
                self.news.must_ask = true; // subscriptions may have waited for it
            }
            ServerLine::Message { sid: MEMBERS_SID, subject, payload, .. } => {
                let Lasting { members, to_cores, stream, .. } = &mut *self.lasting;
                members.message(subject, payload, to_cores, stream.homes, Instant::now());
            }
            ServerLine::Message { sid: ASKED_SID, payload, .. } => self.lasting.members.asked(payload, Instant::now()),
            ServerLine::Message { sid: ALL_SID | OWN_SID, payload, .. } => self.lasting.operators.message(payload),
            ServerLine::Message { sid, subject, headers, payload } if sid >= LIVE_SIDS => {
                let Lasting { stream, to_cores, .. } = &mut *self.lasting;
                stream.live(subject, (headers, payload), to_cores);
            }
            ServerLine::Message { sid, subject, payload, .. } => self.message(sid, subject, payload),
            ServerLine::TooBig { subject } => {
                self.lasting.to_cores.received += 1;
                self.lasting.to_cores.too_big.add_bytes(subject);
            }
            ServerLine::Ok => {}
            ServerLine::Ping => self.commands.push(Command::Pong),
            ServerLine::Pong => match self.commands.take_answered() {
                Some(Unanswered { asked: Asked::Client, .. }) => self.news.pongs += 1,
                Some(unanswered) => self.answered(unanswered),
                None => {} // nobody has asked
            },
            ServerLine::Error(text) => self.error(&String::from_utf8_lossy(text)),
            ServerLine::Info(json) => {
                if let Ok(info) = serde_json::from_slice::<ServerInfo>(json) {
                    self.lasting.candidates.learn_of(&info.connect_urls);
                    self.news.is_lame |= info.lame_duck_mode;
                }
            }
        }
    }

    /// A message of a subscription.
    fn message(&mut self, sid: u64, subject: &[u8], payload: &[u8]) {
        let Lasting { table, to_cores, prefix, duplicates, .. } = &mut *self.lasting;
        let channel = match prefix {
            Some(prefix) => subject.strip_prefix(prefix.as_bytes()).unwrap_or_default(),
            None => subject,
        };
        let (cores, audience) = match table.target(sid, channel, self.is_leaving) {
            Target::Cores(cores, audience) => (cores, audience),
            Target::Nobody => return,
            Target::Unwanted => {
                to_cores.received += 1;
                to_cores.unwanted += 1;
                return;
            }
            Target::Odd => {
                to_cores.received += 1;
                return to_cores.odd.add_bytes(subject);
            }
        };
        let is_duplicate =
            duplicates.as_mut().is_some_and(|duplicates| duplicates.is_duplicate(self.is_leaving, sid, payload));
        if !is_duplicate {
            to_cores.deliver(cores, audience, subject, payload);
        }
    }

    /// The server has answered a `PING` of the bridge.
    fn answered(&mut self, unanswered: Unanswered) {
        self.lasting.progress.confirm(self.published_before + unanswered.published);
        self.news.must_look = true;
        if self.is_leaving {
            return;
        }
        match unanswered.asked {
            Asked::Client | Asked::Arrival => {}
            Asked::Subscription(sid) => self.lasting.table.confirm(sid),
            Asked::Interest(heard) => {
                self.lasting.answer_interest(&heard);
                self.news.is_interest_live = true;
            }
            Asked::Dissolve(wides) => self.lasting.table.dissolve(&wides),
        }
        for sid in std::mem::take(&mut self.lasting.table.ended) {
            self.commands.push(Command::Unsubscribe(sid));
        }
    }

    /// The server has refused something.
    fn error(&mut self, text: &str) {
        self.news.must_look = true;
        let refused = self.commands.subscription_asked_for().filter(|_| !self.is_leaving);
        match (Refusal::parse(text), refused) {
            (Some(Refusal::Publish(subject)), _) if self.lasting.operators.has_sent(&subject) => {
                self.lasting.operators.are_refused();
            }
            (Some(Refusal::Publish(subject)), _) => {
                let Lasting { refusals, prefix, stream, .. } = &mut *self.lasting;
                stream.is_forbidden(&subject);
                let prefix = prefix.as_deref().unwrap_or_default();
                refusals.publishes.add(subject.strip_prefix(prefix).unwrap_or(&subject));
            }
            (Some(_), Some(MEMBERS_SID | ASKED_SID)) => self.lasting.refusals.subscriptions.add("_LHTTP.presence.*"),
            (_, Some(ALL_SID | OWN_SID)) => self.lasting.operators.are_refused(),
            (refusal, Some(sid)) => {
                let Lasting { table, refusals, .. } = &mut *self.lasting;
                if let Some(name) = table.refuse_asked(sid) {
                    match refusal {
                        Some(_) => refusals.subscriptions.add(&name),
                        None => refusals.limited(text, &name),
                    }
                    self.news.must_ask |= !table.asked.is_empty(); // another subscription takes its place
                }
            }
            _ => self.lasting.refusals.others.add(text),
        }
    }
}
