//! Decides what must, may and must not be delivered. It knows only what clients sent and what they were told.

use std::time::Duration;

use super::{
    bridge::Bridge,
    client::SimulatedClient,
    guard::{Guard, Question},
    keeper::Keeper,
    resuming::resumes,
    talk,
};
use crate::{engine::rules::Action, protocol::channel};

/// One message to be published.
pub(crate) struct Publication {
    /// A client's number, or another number for a publisher that is not a client.
    pub(crate) publisher: usize,
    pub(crate) channels: Vec<String>,
    pub(crate) payload: Vec<u8>,
    /// The payload without the lines that the server writes itself into messages with a number.
    pub(crate) clean: Vec<u8>,
    pub(crate) is_text: bool,
    pub(crate) no_echo: bool,
    /// The message must be refused.
    pub(crate) is_unsound: bool,
    pub(crate) sent: u64,
    pub(crate) sent_at: Duration,
    /// When all nodes had the message, or it was lost with its publisher.
    pub(crate) settled: u64,
    /// Whether its publisher stayed until then.
    pub(crate) is_certain: bool,
    /// How often the publisher itself receives the message. The publisher knows this, because its subscriptions take
    /// effect in the order in which it sent them.
    pub(crate) own: usize,
}

/// One subscription of a client, from the request to the end.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) name: String,
    asked: u64,
    live: Option<u64>,
    /// When messages of the other node come to it, too.
    live_abroad: Option<u64>,
    pub(crate) left: Option<u64>,
    over: Option<u64>,
    /// The rules may have refused or ended it, or refused its end.
    pub(crate) is_doubtful: bool,
    /// It begins with what the client has missed.
    pub(crate) is_resumed: bool,
    /// The client has begun anew with another one.
    is_replaced: bool,
}

impl Interval {
    pub(crate) fn new(name: String, asked: u64) -> Self {
        let (live, live_abroad, left, over) = Default::default();
        Self { name, asked, live, live_abroad, left, over, is_doubtful: false, is_resumed: false, is_replaced: false }
    }

    pub(crate) fn asked(&self) -> u64 {
        self.asked
    }

    pub(crate) fn live_at(&mut self, clock: u64) {
        self.live.get_or_insert(clock);
    }

    pub(crate) fn live_abroad_at(&mut self, clock: u64) {
        self.live_abroad.get_or_insert(clock);
    }

    pub(crate) fn over_at(&mut self, clock: u64) {
        self.over.get_or_insert(clock);
    }

    /// The client begins anew: it may have got only a part of what it had asked for.
    pub(crate) fn replace(&mut self, clock: u64) {
        (self.left, self.is_replaced) = (Some(clock), true);
    }

    /// Whether the client has left it and does not know yet that it is over.
    pub(crate) fn has_just_left(&self) -> bool {
        self.left.is_some() && self.over.is_none() && !self.is_replaced
    }

    /// Whether the client knows that it is live, and nobody has ended it.
    pub(crate) fn is_certainly_live(&self) -> bool {
        self.live.is_some() && self.left.is_none() && !self.is_doubtful
    }

    /// The request to end it was refused.
    pub(crate) fn goes_on(&mut self) {
        (self.left, self.over, self.is_doubtful, self.is_replaced) = (None, None, true, false);
    }

    /// Nothing is on its way, so what was asked for holds.
    pub(crate) fn at_rest(&mut self, clock: u64, bridge: Option<&Bridge>) {
        self.live_at(clock);
        if bridge.is_some_and(|bridge| bridge.brings(&self.name)) {
            self.live_abroad_at(clock);
        }
        if self.left.is_some() {
            self.over_at(clock);
        }
    }

    pub(crate) fn matches(&self, channels: &[String]) -> usize {
        channels.iter().filter(|name| channel::matches(self.name.as_bytes(), name.as_bytes())).count()
    }

    fn is_certain(&self, publication: &Publication, bridge: Option<&Bridge>) -> bool {
        let Publication { sent, settled, .. } = *publication;
        let is_abroad = publication.publisher >= talk::ABROAD;
        let live = if is_abroad { self.live_abroad } else { self.live };
        let is_refused = is_abroad && bridge.is_some_and(|bridge| bridge.was_refused(&self.name, sent, settled));
        live.is_some_and(|live| live < sent) && self.left.is_none_or(|left| left > settled) && !is_refused
    }

    fn is_possible(&self, publication: &Publication) -> bool {
        self.asked <= publication.settled && self.over.is_none_or(|over| over > publication.sent)
    }
}

/// The number of the publication that has this payload.
pub(crate) fn number(payload: &[u8]) -> usize {
    let body = payload.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    let digits = payload[body..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&payload[body..body + digits]).expect("digits").parse().expect("a number")
}

/// Holds what a client received against all that was ever published.
pub(crate) fn check(
    client: &SimulatedClient,
    publications: &[Publication],
    bridge: Option<&Bridge>,
    guard: Option<&Guard>,
    keeper: Option<&Keeper>,
) {
    let keeps = |name: &String| keeper.is_some_and(|keeper| keeper.keeps(name, 0, u64::MAX).0);
    let resumes = resumes(client);
    for (number, publication) in publications.iter().enumerate() {
        let received = client.received.get(&number).copied().unwrap_or(0);
        // Whether a message to this channel may be delivered to the client, whatever its subscriptions.
        let may_get = |name: &&String| {
            let question = Question { action: Action::Subscribe, name };
            guard.is_none_or(|guard| guard.allows(&client.standings, publication.sent, publication.settled, question).0)
        };
        let may_resume = |name: &str, at: u64| {
            let question = Question { action: Action::Subscribe, name };
            guard.is_none_or(|guard| guard.allows(&client.standings, at, u64::MAX, question).0)
        };
        let channels: Vec<String> = publication.channels.iter().filter(may_get).cloned().collect();
        let must_keep = |interval: &Interval| {
            let question = Question { action: Action::Subscribe, name: &interval.name };
            let from = interval.live.unwrap_or(interval.asked);
            // A client that leaves may not have got all of what it had missed.
            let is_part = interval.is_replaced || (interval.is_resumed && interval.left.is_some());
            !interval.is_doubtful
                && !is_part
                && guard.is_none_or(|guard| guard.allows(&client.standings, from, publication.settled, question).1)
        };
        let sum = |counts: &dyn Fn(&Interval) -> bool| -> usize {
            let intervals = client.intervals.iter().filter(|interval| counts(interval));
            intervals.map(|interval| interval.matches(&channels)).sum()
        };
        let is_own = publication.publisher == client.number;
        let (least, most) = match (publication.is_unsound, is_own) {
            (true, _) => (0, 0),
            (_, true) if publication.no_echo => (0, 0),
            // What another core numbers comes back later.
            (_, true) if guard.is_none() && !publication.channels.iter().any(keeps) => {
                (publication.own, publication.own)
            }
            _ => (
                sum(&|interval| interval.is_certain(publication, bridge) && must_keep(interval)),
                sum(&|interval| interval.is_possible(publication)),
            ),
        };
        // A client that begins anew gets another copy, or none of what it had not read yet.
        let asked = publication.channels.iter().filter_map(|name| Some((name, resumes.get(name.as_str())?)));
        let again: usize = asked.map(|(name, times)| times.iter().filter(|&&at| may_resume(name, at)).count()).sum();
        let is_anew = publication.channels.iter().any(|name| resumes.contains_key(name.as_str()));
        let is_whole = publication.is_unsound || !is_own || !is_anew;
        let (least, most) = (if is_whole { least } else { 0 }, if publication.is_unsound { 0 } else { most + again });
        let is_due = publication.is_certain && publication.settled <= client.caught_up;
        let least = if is_due { least } else { 0 };
        assert!(
            (least..=most).contains(&received),
            "client {} received publication {number} of {} to {:?} {received} times, not {least} to {most}: {:#?}",
            client.number,
            publication.publisher,
            publication.channels,
            client.intervals,
        );
    }
}
