//! When a core flushes: at once, or a little later because more is about to come.
//!
//! Under a stream of single messages a core would make one write for each, and a write costs several times what the
//! message does. So while turns follow each other closely, the flush is held back for a few tens of microseconds and
//! several turns share it. A hold that collected nothing was in vain: the next ones are skipped, twice as many each time,
//! so that a ping-pong, whose other side waits for the very flush that is held, pays almost nothing. A lone message is
//! never held: what came before it is too long ago.

use std::time::Duration;

/// Turns that are flushed at once after the first hold in vain.
const SKIP_MIN: u32 = 8;
/// After many in a row.
const SKIP_MAX: u32 = 8 * 1024;

/// Decides, turn by turn.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The longest time that a flush is held back; zero is never.
    window: Duration,
    /// Since when the running hold lasts.
    held_since: Option<Duration>,
    /// Whether the running hold has collected more than it began with.
    is_worth_it: bool,
    last_flush: Option<Duration>,
    skip: u32,
    skip_next: u32,
}

impl Pace {
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, held_since: None, is_worth_it: false, last_flush: None, skip: 0, skip_next: SKIP_MIN }
    }

    /// Whether to flush now, at the end of a turn that took something in or did not (`had_input`), or to let the next turn
    /// come first, without sleeping. To be asked only when something waits to be sent.
    pub(crate) fn flushes(&mut self, now: Duration, had_input: bool) -> bool {
        let Some(since) = self.held_since else { return !self.begins_hold(now) };
        self.is_worth_it |= had_input;
        if now.saturating_sub(since) < self.window {
            return false;
        }
        self.end_hold();
        self.last_flush = Some(now);
        true
    }

    fn begins_hold(&mut self, now: Duration) -> bool {
        let is_busy = self.last_flush.is_some_and(|last| now.saturating_sub(last) < self.window);
        if is_busy && self.skip == 0 {
            self.held_since = Some(now);
            self.is_worth_it = false;
            return true;
        }
        self.skip = self.skip.saturating_sub(1);
        self.last_flush = Some(now);
        false
    }

    fn end_hold(&mut self) {
        self.held_since = None;
        if self.is_worth_it {
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
    fn a_lone_message_is_never_held() {
        let mut pace = Pace::new(WINDOW);
        assert!((0..1000).all(|turn| pace.flushes(micros(turn * 40), true)));
        assert!((0..1000).all(|turn| Pace::new(Duration::ZERO).flushes(micros(turn), true)));
    }

    #[test]
    fn a_stream_of_messages_shares_its_flushes() {
        let mut pace = Pace::new(WINDOW);
        let flushes = (0..3000).filter(|&turn| pace.flushes(micros(turn), true)).count();
        assert!((90..110).contains(&flushes), "{flushes} flushes in 3000 µs");
    }

    #[test]
    fn a_ping_pong_is_held_ever_more_rarely() {
        let mut pace = Pace::new(WINDOW);
        let (mut now, mut held) = (0, 0);
        for _ in 0..100_000 {
            now += 15; // the other side answers each flush after this time
            let mut had_input = true;
            while !pace.flushes(micros(now), had_input) {
                had_input = false;
                now += 1;
                held += 1;
            }
        }
        assert!(held < 1000, "held for {held} µs in {now} µs");
    }

    #[test]
    fn no_hold_is_longer_than_the_window() {
        let mut pace = Pace::new(WINDOW);
        assert!(pace.flushes(micros(100), true));
        assert!(!pace.flushes(micros(101), true));
        assert!(!pace.flushes(micros(130), true));
        assert!(pace.flushes(micros(131), true));
    }
}
