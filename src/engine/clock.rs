//! The time of a core: it stands still while the core does.
//!
//! A stopped process (SIGSTOP, a paused container or virtual machine), or a core that gets no CPU, can neither read
//! input nor ping its peers. So the time for which it stood still does not count: no peer is late, idle or slow because
//! of it. A core detects that it stood still when its poll returns much later than it should.

use std::time::Duration;

/// At most one part in this many of a peer's time may pass undetected while the core stands still.
const GRACE_PARTS: u32 = 4;

/// The range of [`Clock::late`]. A busy machine is late by some milliseconds, and it does no harm if these count as
/// standing still.
const LATE_MIN: Duration = Duration::from_millis(50);
const LATE_MAX: Duration = Duration::from_millis(500);

/// The maximum of [`Clock::pulse`]. A wake-up for it takes some microseconds.
const PULSE_MAX: Duration = Duration::from_secs(5);

/// One core's clock. It reads no system clock: the caller passes the time since the core's start.
#[derive(Debug)]
pub(crate) struct Clock {
    /// A poll that returns more than this after its deadline is late: the machine was stopped, or the core got no CPU.
    /// A late turn counts as this much time at most.
    late: Duration,
    /// A core with connections wakes at least this often, so that it detects that it stood still. It cannot know when
    /// that began, so all the time since the last turn counts as standing still.
    pulse: Duration,
    /// The begin of the last turn.
    last: Duration,
    /// The total time for which the core stood still.
    stood: Duration,
    is_late: bool,
    reads_first: bool,
}

impl Clock {
    /// A clock at time zero. Peers have at least `grace` to meet any deadline.
    pub(crate) fn new(grace: Duration) -> Self {
        let (late, pulse) = (LATE_MAX, PULSE_MAX);
        let mut clock =
            Self { late, pulse, last: Duration::ZERO, stood: Duration::ZERO, is_late: false, reads_first: false };
        clock.set_grace(grace);
        clock
    }

    /// Peers have at least `grace` from now on.
    pub(crate) fn set_grace(&mut self, grace: Duration) {
        self.late = (grace / GRACE_PARTS).clamp(LATE_MIN, LATE_MAX);
        self.pulse = (grace / GRACE_PARTS).clamp(LATE_MIN, PULSE_MAX);
    }

    /// Begins a turn, after a poll that should have returned at `due` at the latest. Returns the time for which the
    /// core has run.
    pub(crate) fn turn(&mut self, now: Duration, due: Duration) -> Duration {
        self.is_late = now > due.max(self.last).saturating_add(self.late);
        if self.is_late {
            // The core may have stopped right after the last turn.
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

    /// Whether deadlines wait for the next turn: this one came late, and more input may have come since its poll. A
    /// core that is always late checks deadlines in every other turn.
    pub(crate) fn reads_first(&self) -> bool {
        self.reads_first
    }

    /// When the core must wake to be in time for work that is due after it has run for `ran`.
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
    fn a_turn_in_time_counts_fully_and_a_late_one_for_the_tolerance_alone() {
        let mut clock = Clock::new(Duration::from_secs(10));
        assert_eq!(clock.turn(millis(4_000), millis(5_000)), millis(4_000), "something woke it");
        assert_eq!(clock.turn(millis(9_400), millis(9_000)), millis(9_400), "a little late, as timers are");
        assert!(!clock.is_late());
        assert_eq!(clock.turn(millis(60_000), millis(14_000)), millis(9_900));
        assert!(clock.is_late() && clock.reads_first());
        assert_eq!(clock.wake_at(millis(10_900)), millis(61_000));
        assert_eq!(clock.wake_at(millis(100_000)), millis(62_500), "to detect that it stands still");
        assert_eq!(clock.turn(millis(60_100), millis(0)), millis(10_000), "the poll had no time to wait");
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
