//! Decides what must, may and must not be delivered. It knows only what clients sent and what they were told.

use super::{
    bridge::Bridge,
    client::SimulatedClient,
    guard::{Guard, Question},
    talk,
};
use crate::{engine::rules::Action, protocol::channel};

/// One message to be published.
pub(crate) struct Publication {
    /// A client's number, or another number for a publisher that is not a client.
    pub(crate) publisher: usize,
    pub(crate) channels: Vec<String>,
    pub(crate) payload: Vec<u8>,
    pub(crate) is_text: bool,
    pub(crate) no_echo: bool,
    /// The message must be refused.
    pub(crate) is_unsound: bool,
    pub(crate) sent: u64,
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
}

impl Interval {
    pub(crate) fn new(name: String, asked: u64) -> Self {
        Self { name, asked, live: None, live_abroad: None, left: None, over: None, is_doubtful: false }
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

    /// The request to end it was refused.
    pub(crate) fn goes_on(&mut self) {
        (self.left, self.over, self.is_doubtful) = (None, None, true);
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
) {
    for (number, publication) in publications.iter().enumerate() {
        let received = client.received.get(&number).copied().unwrap_or(0);
        // Whether a message to this channel may be delivered to the client, whatever its subscriptions.
        let may_get = |name: &&String| {
            let question = Question { action: Action::Subscribe, name };
            guard.is_none_or(|guard| guard.allows(&client.standings, publication.sent, publication.settled, question).0)
        };
        let channels: Vec<String> = publication.channels.iter().filter(may_get).cloned().collect();
        let must_keep = |interval: &Interval| {
            let question = Question { action: Action::Subscribe, name: &interval.name };
            let from = interval.live.unwrap_or(interval.asked);
            !interval.is_doubtful
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
            (_, true) if guard.is_none() => (publication.own, publication.own),
            _ => (
                sum(&|interval| interval.is_certain(publication, bridge) && must_keep(interval)),
                sum(&|interval| interval.is_possible(publication)),
            ),
        };
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
