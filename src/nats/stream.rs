//! The history of channels that the nodes of a cluster share: a stream in JetStream numbers and keeps the messages.
//!
//! ```text
//!   cores ── batches ──► puts ──► _LHTTP.history.room ──► ┌───────────┐
//!     ▲ ◄── numbers ──────────────────────────────────────│ JetStream │
//!     │ ◄── live messages ──── _LHTTP.live.room ◄─────────│  stream   │
//!     └── loads ─────────────► MSG.GET, in bursts ◄──────►└───────────┘
//! ```
//!
//! A publish is acknowledged when JetStream has it. Subscribers on every node, also on its own, get it only as the stream
//! publishes it again: behind its number. The home of a channel keeps a copy of the newest messages, and has the rest
//! loaded when a client asks for it, or when the numbers show that something is missing.

use std::{collections::HashSet, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::engine::{history::Retention, log_limit::LogLimit, relay::ClusterItem, router::Homes, storing::StoreEnd};

use super::{
    commands::{Command, Commands},
    loads::{Job, Loads},
    puts::Puts,
    stream_api::{INBOX_SID, Names, REPLICAS},
    stream_info::{Known, StreamInfo},
    to_cores::ToCores,
};

/// How long JetStream may take to answer a question about the stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long subscriptions wait for its first answer.
const FIRST_ANSWER_WAIT: Duration = Duration::from_millis(500);
/// How long a load waits until NATS brings the live messages of its channel.
const INTEREST_WAIT: Duration = Duration::from_millis(200);

/// The stream, as this node knows it.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// There is no connection.
    Away,
    /// It was asked for with this request.
    Asked {
        request: u64,
        at: Instant,
    },
    /// It is asked for again at this time.
    Pausing {
        until: Instant,
    },
    Ready,
}

/// The state of the stream. The bridge's task owns it.
pub(super) struct Stream {
    pub(super) names: Names,
    pub(super) homes: Homes,
    pub(super) ends: Vec<StoreEnd>,
    /// The most that rules want to keep of a channel; `None` until a rule keeps something.
    pub(super) wanted: Option<Retention>,
    pub(super) info: Option<StreamInfo>,
    pub(super) known: Known,
    pub(super) phase: Phase,
    /// The connection that subscribes is subscribed to answers.
    has_inbox: bool,
    pub(super) replicas: u32,
    /// Since when there are not enough servers for a new stream's copies.
    pub(super) peers_missing_since: Option<Instant>,
    pub(super) last_request: u64,
    /// The request of publish number n is 2n + 1; others have even numbers.
    pub(super) puts: Puts,
    pub(super) puts_pause: Option<Instant>,
    pub(super) loads: Loads,
    /// The question about the stream's state that ends loads.
    pub(super) state_request: Option<(u64, Instant)>,
    /// The highest number of a live message. A lower one behind it may be of another stream: its state is asked for then.
    pub(super) highest: u64,
    pub(super) is_suspicious: bool,
    /// Channels of which messages did not fit into the path to their core.
    pub(super) missed: HashSet<(usize, Box<[u8]>)>,
    pub(super) has_missed_more: bool,
    /// Since when JetStream was missed, before it was there for the first time.
    pub(super) missing_since: Option<Instant>,
    pub(super) was_there: bool,
    /// The server cannot do what its rules say: there is no JetStream.
    pub(super) is_hopeless: bool,
}

impl Stream {
    /// The stream of a node with these cores. `wanted` is what the rules keep at most.
    pub(super) fn new(names: Names, homes: Homes, ends: Vec<StoreEnd>, wanted: Option<Retention>) -> Self {
        Self {
            names,
            homes,
            ends,
            wanted,
            info: None,
            known: Known::default(),
            phase: Phase::Away,
            has_inbox: false,
            replicas: REPLICAS,
            peers_missing_since: None,
            last_request: 0,
            puts: Puts::default(),
            puts_pause: None,
            loads: Loads::default(),
            state_request: None,
            highest: 0,
            is_suspicious: false,
            missed: HashSet::new(),
            has_missed_more: false,
            missing_since: None,
            was_there: false,
            is_hopeless: false,
        }
    }

    /// The subject of a name's live messages, if there are channels with a history.
    pub(super) fn live_subject(&self, name: &str) -> Option<String> {
        self.wanted.map(|_| self.names.live(name))
    }

    /// Whether subscriptions should wait for a moment: until the numbers of live messages can be understood.
    pub(super) fn is_being_asked(&self, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < FIRST_ANSWER_WAIT;
        self.wanted.is_some() && !self.was_there && matches!(self.phase, Phase::Asked { at, .. } if is_recent(at))
    }

    /// Whether nothing waits for the stream's answer.
    pub(super) fn is_idle(&self) -> bool {
        self.puts.is_empty() && self.ends.iter().all(|end| end.batches.is_empty())
    }

    /// Messages that are not acknowledged.
    pub(super) fn waiting(&self) -> usize {
        self.puts.waiting() + self.ends.iter().map(|end| end.batches.len()).sum::<usize>()
    }

    /// Whether rules keep something. Other subscriptions are needed as soon as they do.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    /// A connection subscribes from now on.
    pub(super) fn connected(&mut self, now: Instant) {
        self.has_inbox = false;
        self.puts.send_again();
        self.puts_pause = None;
        self.loads.ask_again();
        self.state_request = None;
        self.phase = Phase::Pausing { until: now };
    }

    /// Takes in what a core wants to load.
    pub(super) fn want(&mut self, job: Job) {
        self.widen(job.retention);
        self.loads.add(job);
    }

    /// Notes what a rule keeps. The stream must keep as much.
    pub(super) fn widen(&mut self, retention: Retention) {
        let wider = self.wanted.map_or(retention, |wanted| wanted.wider(retention));
        if self.wanted != Some(wider) {
            self.wanted = Some(wider);
            if matches!(self.phase, Phase::Ready) {
                self.phase = Phase::Pausing { until: Instant::now() };
            }
        }
    }

    /// Does the work that is due, on the connection that subscribes, if there is one. `is_heard` tells whether NATS brings
    /// the live messages of a channel.
    pub(super) fn act(
        &mut self,
        mut commands: Option<&mut Commands>,
        to_cores: &mut ToCores,
        message_bytes_max: usize,
        is_heard: impl Fn(&str) -> bool,
        now: Instant,
    ) {
        self.take_batches();
        self.loads.expire(now);
        self.fail_loads(to_cores, now);
        self.tell_missed(to_cores);
        let Some(commands) = &mut commands else {
            self.phase = Phase::Away;
            self.loads.ask_again();
            return to_cores.send();
        };
        match self.phase {
            Phase::Asked { at, .. } if at + ANSWER_TIMEOUT <= now => self.phase = Phase::Pausing { until: now },
            Phase::Pausing { until } if until <= now && self.wanted.is_some() => {
                if !std::mem::replace(&mut self.has_inbox, true) {
                    commands.push(Command::Subscribe(INBOX_SID, self.names.inbox(), None));
                }
                let request = self.ask(commands, "INFO", &Value::Null);
                self.phase = Phase::Asked { request, at: now };
            }
            _ => {}
        }
        if matches!(self.phase, Phase::Ready) {
            self.puts.expire(now);
            self.send_puts(commands, message_bytes_max, now);
            self.ask_for_loads(commands, to_cores, is_heard, now);
            if self.state_request.is_some_and(|(_, at)| at + ANSWER_TIMEOUT <= now) {
                self.state_request = None;
                self.loads.state_is_lost();
            }
            let must_check = self.state_request.is_none() && std::mem::take(&mut self.is_suspicious);
            if self.loads.must_ask_state() || must_check {
                self.state_request = Some((self.ask(commands, "INFO", &Value::Null), now));
            }
        }
        to_cores.send();
    }

    /// When something is due.
    pub(super) fn due_at(&self, now: Instant) -> Option<Instant> {
        let of_phase = match self.phase {
            Phase::Asked { at, .. } => Some(at + ANSWER_TIMEOUT),
            Phase::Pausing { until } if self.wanted.is_some() => Some(until),
            _ => None,
        };
        let is_ready = matches!(self.phase, Phase::Ready);
        let soon = (self.loads.has_queued() || !self.missed.is_empty()).then(|| now + Duration::from_millis(5));
        let soon = soon.filter(|_| is_ready);
        let of_puts = self.puts.expires_at().into_iter().chain(self.puts_pause).min().filter(|_| is_ready);
        let of_state = self.state_request.map(|(_, at)| at + ANSWER_TIMEOUT).filter(|_| is_ready);
        [of_phase, soon, of_puts, of_state, self.loads.expires_at()].into_iter().flatten().min()
    }

    /// A request whose answer is not about a publish.
    pub(super) fn ask(&mut self, commands: &mut Commands, verb: &str, body: &Value) -> u64 {
        self.last_request += 2;
        let request = self.last_request;
        commands.push(Command::Send(self.names.request(verb, request, body)));
        request
    }

    fn take_batches(&mut self) {
        for core in 0..self.ends.len() {
            while let Ok(batch) = self.ends[core].batches.try_recv() {
                for index in 0..batch.len() {
                    self.widen(batch.get(index).0.retention);
                }
                if let Some((core, batch)) = self.puts.add(core, batch) {
                    self.ends[core].give_back(batch);
                }
            }
        }
    }

    fn send_puts(&mut self, commands: &mut Commands, message_bytes_max: usize, now: Instant) {
        if self.puts_pause.is_some_and(|until| until > now) {
            return;
        }
        self.puts_pause = None;
        while !commands.is_behind()
            && let Some((number, _, channel, message)) = self.puts.next(now)
        {
            let channel = String::from_utf8_lossy(channel);
            let bytes = self.names.publish(number, 2 * number + 1, &channel, message);
            if bytes.len() > message_bytes_max {
                self.refuse(number, "it is larger than NATS allows, with its headers");
            } else {
                commands.push(Command::Send(bytes));
            }
        }
    }

    pub(super) fn refuse(&mut self, number: u64, why: &str) {
        static LIMIT: LogLimit = LogLimit::new();
        LIMIT.say(|more| log::warn!("NATS: JetStream does not keep a message: {why}{more}"));
        self.answered(number, None);
    }

    /// The server does not let this node publish at a subject. If it is a channel's, the publishes under way there fail.
    pub(super) fn is_forbidden(&mut self, subject: &str) {
        let Some(channel) = self.names.channel_of_history(subject) else { return };
        for number in self.puts.under_way_to(channel.as_bytes()) {
            self.refuse(number, "NATS does not let this node publish it");
        }
    }

    pub(super) fn answered(&mut self, number: u64, stored: Option<u64>) {
        stored.into_iter().for_each(|stored| self.known.saw(stored));
        if let Some((core, batch)) = self.puts.answered(number, stored) {
            self.ends[core].give_back(batch);
        }
    }

    fn ask_for_loads(
        &mut self,
        commands: &mut Commands,
        to_cores: &ToCores,
        is_heard: impl Fn(&str) -> bool,
        now: Instant,
    ) {
        let is_ready =
            |job: &Job, waits: Duration| to_cores.has_room(job.core) && (waits >= INTEREST_WAIT || is_heard(&job.name));
        while !commands.is_behind()
            && let Some(job) = self.loads.next(is_ready, now)
        {
            self.ask_for_load(commands, job, now);
        }
    }

    pub(super) fn ask_for_load(&mut self, commands: &mut Commands, mut job: Job, now: Instant) {
        if job.first.is_none()
            && let Some(info) = &self.info
        {
            job.position = info.last;
        }
        let (subject, questions) = (self.names.history(&job.name), self.loads.questions(&job));
        let first_request = self.last_request + 2;
        for from in job.next..job.next + questions {
            self.ask(commands, "MSG.GET", &json!({ "seq": from, "next_by_subj": subject }));
        }
        self.loads.asked(first_request, questions, job, now);
    }

    fn fail_loads(&mut self, to_cores: &mut ToCores, now: Instant) {
        for job in self.loads.take_failed(now) {
            static LIMIT: LogLimit = LogLimit::new();
            LIMIT.say(|more| log::warn!("NATS: JetStream does not give the history of {}{more}", job.name));
            to_cores.tell_home(job.core, &ClusterItem::Failed { name: job.name.as_bytes(), load: job.load.id });
        }
    }

    /// Ends a load that has brought everything.
    pub(super) fn load_has_ended(&mut self, job: &Job, to_cores: &mut ToCores) {
        self.loads.has_ended(job);
        let Some(info) = &self.info else { return };
        let dropped = job.dropped(info.first, info.messages_per_channel);
        let (name, load) = (job.name.as_bytes(), job.load.id);
        to_cores.tell_home(job.core, &ClusterItem::Loaded { name, load, dropped, position: job.position });
    }

    /// Tells cores of messages that did not fit, once there is room.
    fn tell_missed(&mut self, to_cores: &mut ToCores) {
        if std::mem::take(&mut self.has_missed_more)
            && let Some(info) = &self.info
        {
            let item = ClusterItem::There { epoch: info.epoch, is_anew: false };
            (0..self.ends.len()).for_each(|core| to_cores.tell_home(core, &item));
        }
        let missed = std::mem::take(&mut self.missed);
        for (core, name) in missed {
            if to_cores.has_room(core) {
                to_cores.tell_home(core, &ClusterItem::Missed { name: &name });
            } else {
                self.missed.insert((core, name));
            }
        }
    }
}

#[cfg(test)]
mod tests;
