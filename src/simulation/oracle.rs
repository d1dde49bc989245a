//! Decides what must, may and must not be delivered. It knows only what clients sent and what they were told.

use super::client::SimulatedClient;
use crate::protocol::channel;

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
    pub(crate) left: Option<u64>,
    over: Option<u64>,
}

impl Interval {
    pub(crate) fn new(name: String, asked: u64) -> Self {
        Self { name, asked, live: None, left: None, over: None }
    }

    pub(crate) fn live_at(&mut self, clock: u64) {
        self.live.get_or_insert(clock);
    }

    pub(crate) fn over_at(&mut self, clock: u64) {
        self.over.get_or_insert(clock);
    }

    /// Nothing is in flight, so every request has taken effect.
    pub(crate) fn at_rest(&mut self, clock: u64) {
        self.live_at(clock);
        if self.left.is_some() {
            self.over_at(clock);
        }
    }

    pub(crate) fn matches(&self, channels: &[String]) -> usize {
        channels.iter().filter(|name| channel::matches(self.name.as_bytes(), name.as_bytes())).count()
    }

    fn is_certain(&self, publication: &Publication) -> bool {
        self.live.is_some_and(|live| live < publication.sent) && self.left.is_none_or(|left| left > publication.settled)
    }

    fn is_possible(&self, publication: &Publication) -> bool {
        self.asked <= publication.settled && self.over.is_none_or(|over| over > publication.sent)
    }
}

/// Compares what a client received with all publications.
pub(crate) fn check(client: &SimulatedClient, publications: &[Publication]) {
    for (number, publication) in publications.iter().enumerate() {
        let received = client.received.get(&number).copied().unwrap_or(0);
        let sum = |counts: &dyn Fn(&Interval) -> bool| -> usize {
            let intervals = client.intervals.iter().filter(|interval| counts(interval));
            intervals.map(|interval| interval.matches(&publication.channels)).sum()
        };
        let is_own = publication.publisher == client.number;
        let (least, most) = match (publication.is_unsound, is_own) {
            (true, _) => (0, 0),
            (_, true) if publication.no_echo => (0, 0),
            (_, true) => (publication.own, publication.own),
            _ => {
                (sum(&|interval| interval.is_certain(publication)), sum(&|interval| interval.is_possible(publication)))
            }
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
