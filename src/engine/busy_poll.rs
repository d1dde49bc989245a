//! Decides whether a core that has no work looks for more at once, or sleeps.
//!
//! A CPU that has fallen asleep takes tens of microseconds to wake, on a virtual machine more than a message takes to go
//! there and back. So a core goes on polling for a *window* of time after it had work, when the time between the last
//! ones predicts that more comes within it. A window that nothing came in is wasted, and three things bound the waste:
//! windows open only after a short gap; misses in a row make the core skip more and more chances; and a token bucket
//! holds all misses below a fiftieth of a CPU. So a ping-pong keeps the core awake, and messages at random do not.

use std::time::Duration;

/// A core that slept opens a window only if it slept for less than so many windows. More than one, because a peer that
/// answers at once comes after the time that it takes to wake a core twice.
const CLOSE_WINDOWS: u32 = 4;
/// The part of a CPU's time that windows without work may take: one in so many.
const WASTE_PARTS: u32 = 50;
/// The most waste that a quiet time allows afterwards.
const WASTE_MAX: Duration = Duration::from_millis(20);
/// The most chances that a core skips after a miss.
const SKIP_MAX: u32 = 255;

/// Decides after each turn whether the core stays awake. It has no clock: all times are since the core's start.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    /// The longest time that a core polls for work that does not come; zero means that it always sleeps.
    window: Duration,
    /// The last time that it had work.
    last: Duration,
    /// The end of the window that is open.
    until: Option<Duration>,
    /// What may be wasted now.
    allowed: Duration,
    /// Windows without work since the last one with some.
    misses: u32,
    /// The chances that are still to be skipped.
    skip: u32,
}

impl BusyPoll {
    pub(crate) fn new(window: Duration) -> Self {
        // One window may be wasted at the start.
        Self { window, last: Duration::ZERO, until: None, allowed: window, misses: 0, skip: 0 }
    }

    /// Whether the core polls again without sleeping.
    pub(crate) fn is_open(&mut self, now: Duration) -> bool {
        match self.until {
            None => false,
            Some(until) if now < until => true,
            Some(_) => {
                self.miss();
                false
            }
        }
    }

    /// The core has had work at this time: it may open a window.
    pub(crate) fn had_work(&mut self, now: Duration) {
        if self.window.is_zero() {
            return;
        }
        let gap = now.saturating_sub(self.last);
        self.last = now;
        self.allowed = (self.allowed + gap / WASTE_PARTS).min(WASTE_MAX.max(self.window));
        if self.until.take().is_some() {
            self.misses = 0;
        } else if gap >= self.window * CLOSE_WINDOWS {
            return;
        } else if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        if self.allowed >= self.window {
            self.until = Some(now + self.window);
        }
    }

    /// Nothing has come in the open window.
    fn miss(&mut self) {
        self.until = None;
        self.allowed = self.allowed.saturating_sub(self.window);
        self.misses += 1;
        self.skip = SKIP_MAX.min((1u32 << self.misses.min(8)) - 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_micros(50);
    /// The time that a sleeping core takes to wake.
    const WAKE: Duration = Duration::from_micros(30);

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// A core whose work comes after these times. It polls each microsecond while it is awake.
    #[derive(Debug, Default)]
    struct Run {
        now: Duration,
        /// How often work came while it was awake, and while it slept.
        awake: u64,
        asleep: u64,
        wasted: Duration,
    }

    impl Run {
        fn work_after(&mut self, core: &mut BusyPoll, gap: Duration) {
            let (began, comes) = (self.now, self.now + gap);
            while core.is_open(self.now) {
                if self.now >= comes {
                    self.awake += 1;
                    core.had_work(self.now);
                    return;
                }
                self.now += micros(1);
            }
            self.wasted += self.now - began;
            self.now = comes.max(self.now) + WAKE;
            self.asleep += 1;
            core.had_work(self.now);
        }

        fn of(window: Duration, gaps: impl IntoIterator<Item = Duration>) -> Self {
            let (mut core, mut run) = (BusyPoll::new(window), Self::default());
            gaps.into_iter().for_each(|gap| run.work_after(&mut core, gap));
            run
        }
    }

    #[test]
    fn a_ping_pong_keeps_the_core_awake() {
        let run = Run::of(WINDOW, (0..10_000).map(|_| micros(24)));
        assert!(run.awake > 9_900 && run.wasted < micros(500), "{run:?}");
    }

    #[test]
    fn a_ping_pong_that_comes_back_after_a_rest_keeps_it_awake_again() {
        let gaps = (0..10_000).map(|number| if number % 1000 == 0 { micros(400_000) } else { micros(24) });
        let run = Run::of(WINDOW, gaps);
        assert!(run.awake > 9_800 && run.wasted < micros(1_000), "{run:?}");
    }

    #[test]
    fn with_a_window_of_zero_the_core_always_sleeps() {
        let run = Run::of(Duration::ZERO, (0..1_000).map(|_| micros(1)));
        assert!(run.awake == 0 && run.wasted.is_zero(), "{run:?}");
    }

    #[test]
    fn work_that_comes_rarely_wastes_nothing() {
        let run = Run::of(WINDOW, (0..1_000).map(|_| micros(5_000)));
        assert!(run.awake == 0 && run.wasted.is_zero(), "{run:?}");
    }

    #[test]
    fn work_that_comes_just_too_late_is_hardly_waited_for() {
        let run = Run::of(WINDOW, (0..100_000).map(|_| micros(60)));
        assert!(run.awake == 0 && run.wasted < run.now / 250, "{run:?}");
    }

    /// Gaps of one kind for a while, then of another.
    fn gaps() -> impl Strategy<Value = Vec<Duration>> {
        let kind =
            prop_oneof![Just((20u64, 30u64)), Just((45, 70)), Just((60, 61)), Just((1, 300)), Just((100, 1_000_000))];
        let some = (kind, 1usize..400).prop_flat_map(|((least, most), count)| {
            prop::collection::vec((least..most).prop_map(Duration::from_micros), count)
        });
        prop::collection::vec(some, 1..20).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn never_more_than_a_fiftieth_is_wasted(gaps in gaps(), window in 1u64..200) {
            let run = Run::of(micros(window), gaps);
            prop_assert!(run.wasted <= run.now / WASTE_PARTS + 2 * micros(window), "{run:?}");
        }
    }
}
