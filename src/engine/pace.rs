//! Decides when a core polls again: at once, or a little later, so that several messages share a turn.
//!
//! Under a stream of single messages, a core would make one read and one write for each. Each of these costs several
//! times as much as the message itself: a system call, waking a CPU that has just gone to sleep, and a socket that
//! moves between two CPUs. So when small turns follow each other closely, a core rests: it sleeps for a few tens of
//! microseconds after its flush, and then takes all new messages together. If a rest brought almost no messages, the
//! core skips the next ones, twice as many each time, so that a ping-pong pays almost nothing. The core never delays a
//! flush of messages that it has taken. A lone message is not delayed either, because the turn before it is too long
//! ago.

use std::time::Duration;

/// A rest that brings fewer messages than this was useless.
const WORTH_MIN: u64 = 3;
/// A turn with more messages than this is large enough without a rest.
const SMALL_MAX: u64 = 256;
/// The number of turns without a rest after the first useless one.
const SKIP_MIN: u32 = 8;
/// The maximum of this number, after many useless rests in a row.
const SKIP_MAX: u32 = 8 * 1024;

/// Decides after each turn whether to rest.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The duration of a rest; zero means no rests.
    window: Duration,
    /// The current turn came after a rest.
    has_rested: bool,
    last_turn: Option<Duration>,
    /// The number of coming turns without a rest.
    skip: u32,
    /// The value of `skip` after the next useless rest.
    skip_next: u32,
}

impl Pace {
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, has_rested: false, last_turn: None, skip: 0, skip_next: SKIP_MIN }
    }

    /// The end of the rest after a turn that has taken and sent this many messages. `None` means no rest.
    pub(crate) fn rest(&mut self, now: Duration, messages: u64) -> Option<Duration> {
        if messages == 0 && !self.has_rested {
            return None;
        }
        let is_close = self.last_turn.replace(now).is_some_and(|last| now.saturating_sub(last) < self.window * 2);
        if std::mem::take(&mut self.has_rested) {
            self.learn(messages);
        }
        let rests = is_close && messages <= SMALL_MAX && self.skip == 0 && !self.window.is_zero();
        self.skip = self.skip.saturating_sub(1);
        self.has_rested = rests;
        rests.then_some(now + self.window)
    }

    fn learn(&mut self, messages: u64) {
        if messages >= WORTH_MIN {
            self.skip_next = SKIP_MIN;
        } else {
            self.skip = self.skip_next;
            self.skip_next = (self.skip_next * 2).min(SKIP_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_micros(30);

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn there_is_no_rest_before_a_lone_message() {
        let mut pace = Pace::new(WINDOW);
        assert!((0..1000).all(|turn| pace.rest(micros(turn * 60), 1).is_none()));
        let mut never = Pace::new(Duration::ZERO);
        assert!((0..1000).all(|turn| never.rest(micros(turn), 1).is_none()));
    }

    #[test]
    fn there_is_no_rest_between_large_turns() {
        let mut pace = Pace::new(WINDOW);
        assert!((0..1000).all(|turn| pace.rest(micros(turn), SMALL_MAX + 1).is_none()));
    }

    #[test]
    fn a_stream_of_messages_shares_its_turns() {
        let mut pace = Pace::new(WINDOW);
        let (mut now, mut taken, mut turns) = (0, 0, 0);
        while now < 3000 {
            now += 1; // a message comes every microsecond
            turns += 1;
            if let Some(until) = pace.rest(micros(now), now - taken) {
                taken = now;
                now = until.as_micros() as u64;
            } else {
                taken = now;
            }
        }
        assert!((90..110).contains(&turns), "{turns} turns in 3000 µs");
    }

    #[test]
    fn a_ping_pong_rests_ever_more_rarely() {
        let mut pace = Pace::new(WINDOW);
        let (mut now, mut rests) = (micros(0), 0);
        for _ in 0..100_000 {
            now += micros(15); // the other side answers each message after this time
            if let Some(until) = pace.rest(now, 1) {
                rests += 1;
                now = until;
            }
        }
        assert!(rests < 30, "{rests} rests in {now:?}");
    }

    #[test]
    fn a_stream_that_comes_back_rests_again() {
        let mut pace = Pace::new(WINDOW);
        assert!((0..20).filter(|turn| pace.rest(micros(turn * 15), 1).is_some()).count() < 5);
        let rests = (0..100).filter(|turn| pace.rest(micros(1000 + turn * 31), 20).is_some()).count();
        assert!(rests > 50, "{rests} rests in 100 turns");
    }
}
