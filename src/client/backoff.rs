//! Decides when to retry: exponential back-off with full jitter, so that the clients of a restarted server do not all
//! come at once.

use std::time::{Duration, Instant};

/// A connection that lasted this long was steady: the next wait is short again.
const STEADY: Duration = Duration::from_secs(5);

/// The waits between attempts to connect.
#[derive(Debug)]
pub(super) struct Backoff {
    delay_min: Duration,
    delay_max: Duration,
    /// Attempts in a row without a steady connection.
    attempts: u32,
}

impl Backoff {
    pub(super) fn new(delay_min: Duration, delay_max: Duration) -> Self {
        Self { delay_min, delay_max: delay_max.max(delay_min), attempts: 0 }
    }

    /// The wait before the next attempt: a random time below a ceiling that doubles with every attempt. If the server
    /// refused this client, and so would do it again, the wait is at least half of the ceiling.
    pub(super) fn next_delay(&mut self, was_refused: bool) -> Duration {
        let ceiling = self.ceiling();
        self.attempts = self.attempts.saturating_add(1);
        let share = rand::random::<f64>();
        ceiling.mul_f64(if was_refused { f64::midpoint(1.0, share) } else { share })
    }

    /// The last attempt has succeeded.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// A connection that was opened at `opened` has ended.
    pub(super) fn ended(&mut self, opened: Instant) {
        if opened.elapsed() >= STEADY {
            self.attempts = 0;
        }
    }

    fn ceiling(&self) -> Duration {
        // 2^20 times any delay exceeds every sensible limit.
        self.delay_min.saturating_mul(1 << self.attempts.min(20)).min(self.delay_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_limit_and_every_delay_is_below_it() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for millis in [100, 200, 400, 800, 1000, 1000] {
            assert_eq!(backoff.ceiling(), Duration::from_millis(millis));
            assert!(backoff.next_delay(false) <= Duration::from_millis(millis));
        }
        backoff.attempts = u32::MAX;
        assert!(backoff.next_delay(false) <= Duration::from_secs(1));
        let refused = backoff.next_delay(true);
        assert!(refused >= Duration::from_millis(500) && refused <= Duration::from_secs(1), "{refused:?}");
    }

    #[test]
    fn the_delays_are_spread_over_the_whole_range() {
        let delays = (0..200).map(|_| Backoff::new(Duration::from_secs(1), Duration::from_secs(1)).next_delay(false));
        let early = delays.filter(|delay| *delay < Duration::from_millis(500)).count();
        // Each delay is early with probability 1/2. A count outside this range has a probability below 1 in 10^20.
        assert!((30..170).contains(&early), "{early} of 200");
    }

    #[test]
    fn only_a_connection_that_lasted_makes_the_next_wait_short() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(9));
        let _: Vec<Duration> = (0..3).map(|_| backoff.next_delay(false)).collect();
        backoff.ended(Instant::now());
        assert_eq!(backoff.ceiling(), Duration::from_millis(800));
        backoff.ended(Instant::now().checked_sub(STEADY).expect("the machine has been up for 5 seconds"));
        assert_eq!(backoff.ceiling(), Duration::from_millis(100));
    }
}
