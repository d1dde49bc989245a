//! The time that a core goes by: it stands still while the core does.
//!
//! A process that is stopped (SIGSTOP, a container's pause, a virtual machine's), or a core that gets no CPU, can neither
//! read what has come nor ask anybody. So the time for which it stood counts for nothing: nobody is late, silent or slow
//! by it. A core knows that it stood when its poll returns much later than it was asked to.

use std::time::Duration;

/// The most of a peer's time that may pass unnoticed while the core stands still: one part in so many.
const GRACE_PARTS: u32 = 4;

/// The range of [`Clock::late`]. A busy machine is late by some milliseconds, and nothing is lost when that counts as
/// standing still.
const LATE_MIN: Duration = Duration::from_millis(50);
const LATE_MAX: Duration = Duration::from_millis(500);

/// The most that [`Clock::pulse`] can be. A wake-up for it takes some microseconds.
const PULSE_MAX: Duration = Duration::from_secs(5);

/// One core's clock. It never reads one; time is what the caller says since the core started.
#[derive(Debug)]
pub(crate) struct Clock {
    /// A poll that returns more than this after the time that it was given has come late: the machine was stopped, or the
    /// core got no CPU. It is also the most that such a turn counts.
    late: Duration,
    /// A core with connections wakes at least this often, so that it notices that it stood still. When that began is not
    /// known: all the time since the last turn is taken for it.
    pulse: Duration,
    /// When the last turn began.
    last: Duration,
    /// How long the core stood still in all.
    stood: Duration,
    is_late: bool,
    reads_first: bool,
}

impl Clock {
    /// At time zero, for peers that have at least so much time for what is asked of them.
    pub(crate) fn new(grace: Duration) -> Self {
        let (late, pulse) = (LATE_MAX, PULSE_MAX);
        let mut clock =
            Self { late, pulse, last: Duration::ZERO, stood: Duration::ZERO, is_late: false, reads_first: false };
        clock.set_grace(grace);
        clock
    }

    /// Peers have at least so much time from now on.
    pub(crate) fn set_grace(&mut self, grace: Duration) {
        self.late = (grace / GRACE_PARTS).clamp(LATE_MIN, LATE_MAX);
        self.pulse = (grace / GRACE_PARTS).clamp(LATE_MIN, PULSE_MAX);
    }

    /// A turn begins, behind a poll that was to return at `due` at the latest. Gives the time for which the core ran.
    pub(crate) fn turn(&mut self, now: Duration, due: Duration) -> Duration {
        self.is_late = now > due.max(self.last).saturating_add(self.late);
        if self.is_late {
            // When it stopped is not known: perhaps right behind the last turn.
            self.stood += now.saturating_sub(self.last).saturating_sub(self.late);
        }
        self.reads_first = self.is_late && !self.reads_first;
        self.last = now;
        now.saturating_sub(self.stood)
    }

    /// Whether this turn came late.
    pub(crate) fn is_late(&self) -> bool {
        self.is_late
    }

    /// Whether deadlines wait for the next turn: this one came late, and more may have come since its poll. A core that is
    /// always late looks at them in every other turn.
    pub(crate) fn reads_first(&self) -> bool {
        self.reads_first
    }

    /// When the core is to wake that has something to do when it has run for so long.
    pub(crate) fn wake_at(&self, ran: Duration) -> Duration {
        ran.saturating_add(self.stood).min(self.last + self.pulse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_turn_that_is_in_time_counts_whole_and_a_late_one_next_to_nothing() {
        let mut clock = Clock::new(Duration::from_secs(10));
        assert_eq!(clock.turn(millis(4_000), millis(5_000)), millis(4_000), "something woke it");
        assert_eq!(clock.turn(millis(9_400), millis(9_000)), millis(9_400), "a little late, as timers are");
        assert!(!clock.is_late());
        assert_eq!(clock.turn(millis(60_000), millis(14_000)), millis(9_900));
        assert!(clock.is_late() && clock.reads_first());
        assert_eq!(clock.wake_at(millis(10_900)), millis(61_000));
        assert_eq!(clock.wake_at(millis(100_000)), millis(62_500), "to notice that it stands still");
        assert_eq!(clock.turn(millis(60_100), millis(0)), millis(10_000), "the poll was not to wait");
        assert!(!clock.is_late());
    }

    #[test]
    fn a_core_whose_turns_are_all_late_still_gets_older() {
        let mut clock = Clock::new(Duration::from_secs(60));
        let ran = (1..=100).map(|turn| clock.turn(millis(turn * 2_000), Duration::ZERO)).last();
        assert_eq!(ran, Some(LATE_MAX * 100));
        let mut turns = (101..=200).map(|turn| {
            clock.turn(millis(turn * 2_000), Duration::ZERO);
            clock.reads_first()
        });
        assert_eq!(turns.by_ref().filter(|reads_first| !reads_first).count(), 50, "deadlines are looked at");
    }
}
