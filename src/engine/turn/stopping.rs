//! How a core stops. It serves on for a while if it was asked to. Then it closes its clients' connections one by one, spread
//! over the time that it has, so that they do not all come back at once. It answers the requests that have come. At the end
//! it publishes nothing more, and takes what its peers still publish.
//!
//! All publishes of before the first close reach their subscribers, on the other cores too: a core closes nothing before
//! each of its peers has carried out the letters of that time, and has passed on those to channels whose home it is.

use std::time::Duration;

use crate::{
    engine::{
        ending::Ending,
        relay::Word,
        turn::{LETTERS_PER_TURN, Links, Sockets, Turn},
    },
    error::Fault,
};

/// The time of clients to send the request that they have connected for, after the last close; and again to answer the close
/// frame, after all was sent.
const FAREWELL: Duration = Duration::from_secs(1);
/// A core closes one connection in this time at least: a few clients do not make a server's end long.
const CLOSE_EVERY_MAX: Duration = Duration::from_millis(5);
/// The shortest sleep between two closes. Those that are due by then follow each other.
const CLOSE_EVERY_MIN: Duration = Duration::from_millis(1);
/// The most connections that one turn closes.
const CLOSES_PER_TURN: usize = 256;
/// A close waits for this many turns at most that leave batches of peers.
const WAIT_TURNS_MAX: u32 = 64;
/// The shortest time in which clients are asked to come back: a program takes about this long to start again.
const RETURN_MIN: Duration = Duration::from_secs(1);

/// A core that is stopping.
pub(crate) struct Stop {
    ending: Ending,
    /// At this time the core ends, even if something is left.
    deadline: Duration,
    stage: Stage,
}

/// The condition that a stopping core waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For this time. Until then it serves.
    Delay(Duration),
    /// To take this many more letters: those that were in the inbox when the delay was over.
    Letters(usize),
    /// For its peers to have done the same: by then all of their publishes of that time have come, or are at the home of
    /// their channel.
    CatchUp,
    /// For its peers to have heard that of all others: by then homes have passed on the publishes of that time.
    Homes,
    /// To close its clients' connections.
    Closes(Closes),
    /// To answer requests of connections that it has accepted before the first close, until this time.
    Requests(Duration),
    /// To take this many more letters: those that were in the inbox then.
    LastLetters(usize),
    /// For its peers to announce that they publish nothing any more: by then all of their publishes have come, or are at the
    /// home of their channel.
    Peers,
    /// For its peers to have heard that of all others.
    LastHomes,
    /// For its clients to close their connections.
    Drain,
}

/// Closes that are spread evenly over a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Closes {
    began: Duration,
    time: Duration,
    /// The number of open connections when it began.
    all: usize,
    closed: usize,
    /// The connections in the slots before this one are closed.
    next_slot: usize,
    /// The turns that the next close has waited for batches of peers.
    waited: u32,
}

impl Closes {
    fn new(began: Duration, deadline: Duration, all: usize) -> Self {
        // The last quarter is for the last ones to read what they are owed.
        let most = deadline.saturating_sub(began) / 4 * 3;
        let time = CLOSE_EVERY_MAX.saturating_mul(u32::try_from(all).unwrap_or(u32::MAX)).min(most);
        Self { began, time, all, closed: 0, next_slot: 0, waited: 0 }
    }

    /// When the next one is due: the first one at once.
    fn next(&self) -> Duration {
        let share = self.time.as_nanos() * self.closed as u128 / self.all.max(1) as u128;
        self.began + Duration::from_nanos(share as u64)
    }

    /// The time in which clients are to come back.
    fn returns_within(&self) -> Duration {
        self.time.max(RETURN_MIN)
    }
}

impl Stop {
    /// The state of a core that is asked now to end in this way.
    pub(crate) fn new(ending: Ending, now: Duration) -> Self {
        let deadline = now.saturating_add(ending.time());
        Self { ending, deadline, stage: Stage::Delay(now.saturating_add(ending.delay)) }
    }

    /// Whether the core has closed its clients' connections.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn is_draining(&self) -> bool {
        self.stage == Stage::Drain
    }

    /// Whether the core must look again without being woken: a peer that has ended does not wake it.
    pub(super) fn waits_for_peers(&self) -> bool {
        matches!(self.stage, Stage::CatchUp | Stage::Homes | Stage::Peers | Stage::LastHomes)
    }

    /// When the core must look again at the latest.
    pub(super) fn wake(&self, now: Duration) -> Duration {
        match self.stage {
            Stage::Delay(until) | Stage::Requests(until) => until,
            Stage::Letters(_) | Stage::CatchUp | Stage::Homes => self.catch_up_end(),
            Stage::Closes(closes) => closes.next().max(now + CLOSE_EVERY_MIN),
            _ => self.deadline,
        }
        .min(self.deadline)
    }

    /// The end of the wait for publishes of before the first close. Publishers that go on to send huge messages do not delay
    /// the closes for longer than a quarter of the time.
    fn catch_up_end(&self) -> Duration {
        self.deadline.saturating_sub(self.ending.drain / 4 * 3)
    }

    /// The reason that clients get beside 1001.
    fn reason(&self, closes: &Closes) -> String {
        match self.ending.is_restart {
            true => format!("restart:{}", closes.returns_within().as_millis()),
            false => Fault::GOING_AWAY.reason.to_owned(),
        }
    }
}

impl<S: Sockets, L: Links> Turn<S, L> {
    /// Continues to stop, after each turn. Returns true at the end.
    pub(crate) fn go_on_stopping(&mut self, stop: &mut Stop, now: Duration) -> bool {
        let is_time = now >= stop.deadline;
        while let Some(next) = self.next_stage(stop, now) {
            stop.stage = next;
        }
        if is_time && stop.stage != Stage::Drain {
            self.begin_closing(stop, &Closes::new(now, now, 0));
            self.hub.stop_publishing();
            stop.stage = Stage::Drain;
        }
        if stop.stage != Stage::Drain {
            self.send();
            return false;
        }
        self.hub.drain(&mut *self.app);
        self.send();
        let (is_sent, is_empty) = self.hub.drained();
        if is_sent {
            stop.deadline = stop.deadline.min(now + FAREWELL);
        }
        if is_time || is_empty {
            self.hand_to_bridge();
            self.sockets.close_all();
            return true;
        }
        false
    }

    /// The next stage, if the current one is over.
    fn next_stage(&mut self, stop: &mut Stop, now: Duration) -> Option<Stage> {
        let is_late = now >= stop.catch_up_end();
        match &mut stop.stage {
            Stage::Delay(until) => {
                self.hub.tell_leaving();
                (now >= *until).then(|| Stage::Letters(self.inbox.len()))
            }
            Stage::Letters(left) => (self.has_taken(left) || is_late).then(|| {
                self.hub.router.relays.tell_caught_up();
                Stage::CatchUp
            }),
            Stage::CatchUp => (self.hub.router.relays.have_all_caught_up(Word::First) || is_late).then(|| {
                self.hub.router.relays.tell_caught_up();
                Stage::Homes
            }),
            Stage::Homes => (self.hub.router.relays.have_all_caught_up(Word::Second) || is_late).then(|| {
                let closes = Closes::new(now, stop.deadline, self.hub.sessions.count_open());
                self.begin_closing(stop, &closes);
                Stage::Closes(closes)
            }),
            Stage::Closes(closes) => self.close_some(closes, now).then_some(Stage::Requests(now + FAREWELL)),
            Stage::Requests(until) => {
                (now >= *until || !self.hub.has_requests()).then(|| Stage::LastLetters(self.inbox.len()))
            }
            Stage::LastLetters(left) => self.has_taken(left).then(|| {
                self.hub.stop_publishing();
                Stage::Peers
            }),
            Stage::Peers => self.hub.router.relays.have_all_stopped(Word::First).then(|| {
                self.hub.router.relays.tell_stopping();
                Stage::LastHomes
            }),
            Stage::LastHomes => self.hub.router.relays.have_all_stopped(Word::Second).then_some(Stage::Drain),
            Stage::Drain => None,
        }
    }

    fn begin_closing(&mut self, stop: &Stop, closes: &Closes) {
        if !self.hub.is_closing() {
            self.hub.begin_closing(stop.reason(closes));
            self.sockets.leave_listeners();
        }
    }

    /// Takes some of this many letters. Returns whether all are carried out.
    fn has_taken(&mut self, left: &mut usize) -> bool {
        *left -= self.take_letters((*left).min(LETTERS_PER_TURN));
        let has_left = *left > 0 && !self.inbox.is_empty();
        let is_done = self.held.is_empty() && self.hub.router.unfinished.is_empty() && !self.hub.router.is_storing();
        !has_left && is_done
    }

    /// Closes the connections that are due. Returns whether none is left.
    ///
    /// It waits for a turn that has used all batches of peers: then a client that has a message whose publisher knew of
    /// earlier ones has these, too. A core with much traffic may have no such turn, and does not wait for long.
    fn close_some(&mut self, closes: &mut Closes, now: Duration) -> bool {
        if now >= closes.next() && self.has_batches_in() && closes.waited < WAIT_TURNS_MAX {
            closes.waited += 1;
            return false;
        }
        closes.waited = 0;
        for _ in 0..CLOSES_PER_TURN {
            if closes.closed >= closes.all {
                return true;
            }
            if now < closes.next() {
                return false;
            }
            if !self.hub.close_next(&mut *self.app, &mut closes.next_slot) {
                return true;
            }
            closes.closed += 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn closes_are_spread_evenly_over_three_quarters_of_the_time_and_few_ones_take_less() {
        let mut closes = Closes::new(SECOND, 9 * SECOND, 60_000);
        assert_eq!((closes.time, closes.returns_within(), closes.next()), (6 * SECOND, 6 * SECOND, SECOND));
        for closed in 0..60_000 {
            closes.closed = closed;
            assert_eq!(closes.next(), SECOND + Duration::from_micros(100) * closed as u32);
        }
        let few = Closes::new(SECOND, 9 * SECOND, 10);
        assert_eq!((few.time, few.returns_within()), (Duration::from_millis(50), SECOND));
        let none = Closes::new(SECOND, SECOND, 0);
        assert_eq!((none.time, none.next()), (Duration::ZERO, SECOND));
        let for_ever = Closes::new(SECOND, Duration::MAX, usize::MAX);
        assert!(for_ever.next() == SECOND && for_ever.time > SECOND);
    }
}
