//! The channels with the most publishes, estimated from a sample in bounded memory.
//!
//! The path of a message pays a comparison; messages that are taken together pay one for all of them. One message in a stride
//! is sampled, and the stride follows the load: while little happens each message counts. The samples of five seconds go into a table of the Space-Saving kind (Metwally, Agrawal, El Abbadi, 2005).
//! When the table is full, a new channel takes the place of the one with the smallest count, and inherits that count, which is
//! how much too high its own may be. What is told is without that, so an estimate is too low where many channels share the
//! load, and never names a channel that has done nothing.

use std::time::Duration;

/// The channels that a table knows.
const CHANNELS: usize = 64;
/// The time of one table. The last two are told, so a rate is that of five to ten seconds.
const WINDOW: Duration = Duration::from_secs(5);
/// The stride is set anew this often.
const STRIDE_FOR: Duration = Duration::from_millis(250);
/// About so many samples are taken in that time.
const SAMPLES: u64 = 64;
/// The stride until the load is known.
const STRIDE_FIRST: u64 = 256;

/// A channel in a table.
#[derive(Debug)]
struct Counter {
    name: Vec<u8>,
    count: u64,
    /// The part of `count` that may be other channels'.
    inherited: u64,
}

/// The samples of one window.
#[derive(Debug, Default)]
struct Table(Vec<Counter>);

/// The busiest channels of a core.
#[derive(Debug)]
pub(crate) struct Busiest {
    /// The next sample is the message with this number; `u64::MAX` if nobody wants to know.
    next: u64,
    stride: u64,
    /// The state of a generator of random steps: without them, channels that take turns could all be skipped but one.
    random: u32,
    /// Samples since the stride was set.
    samples: u64,
    stride_until: Duration,
    /// The number of messages when it was set.
    stride_from: u64,
    window_since: Duration,
    began: Duration,
    now: Table,
    before: Table,
}

impl Default for Busiest {
    /// Samples nothing.
    fn default() -> Self {
        let (now, before) = (Table::default(), Table::default());
        let (next, stride_until) = (u64::MAX, Duration::MAX);
        let (window_since, began) = (Duration::ZERO, Duration::ZERO);
        let (stride, random) = (STRIDE_FIRST, 1);
        Self { next, stride, random, samples: 0, stride_until, stride_from: 0, window_since, began, now, before }
    }
}

impl Busiest {
    /// Samples from now on.
    pub(crate) fn start() -> Self {
        Self { next: STRIDE_FIRST, stride_until: STRIDE_FOR, ..Self::default() }
    }

    /// Whether one of the messages up to this number is due.
    #[inline]
    pub(crate) fn is_due(&self, number: u64) -> bool {
        number >= self.next
    }

    /// Takes the samples among the messages up to this number that no call has taken, which all are for one channel.
    #[cold]
    #[inline(never)]
    pub(crate) fn take(&mut self, number: u64, name: &[u8]) {
        let taken = (number - self.next) / self.stride + 1;
        self.next += (taken - 1) * self.stride + self.step();
        self.now.add(name, taken * self.stride);
        self.samples += taken;
        if self.samples > 2 * SAMPLES {
            // The load has grown since the stride was set.
            (self.samples, self.stride) = (SAMPLES, 2 * self.stride);
        }
    }

    /// A random step whose mean is the stride.
    fn step(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        1 + u64::from(self.random) % (2 * self.stride - 1)
    }

    /// Begins a turn. `number` messages were published so far.
    #[inline]
    pub(crate) fn begin_turn(&mut self, now: Duration, number: u64) {
        if now >= self.stride_until {
            self.follow(now, number);
        }
    }

    #[cold]
    #[inline(never)]
    fn follow(&mut self, now: Duration, number: u64) {
        let passed = now - (self.stride_until - STRIDE_FOR);
        let messages = (number - self.stride_from) as f64 * (STRIDE_FOR.as_secs_f64() / passed.as_secs_f64());
        self.stride = (messages as u64 / SAMPLES).max(1);
        (self.samples, self.stride_until, self.stride_from) = (0, now + STRIDE_FOR, number);
        self.next = self.next.min(number + self.stride);
        if now >= self.window_since + WINDOW {
            let is_recent = now < self.window_since + 2 * WINDOW;
            self.before = std::mem::take(&mut self.now);
            if !is_recent {
                self.before.0.clear();
            }
            self.began = if is_recent { self.window_since } else { now };
            self.window_since = now;
        }
    }

    /// The channels with the most messages a second, and the rate, largest first.
    pub(crate) fn top(&self, now: Duration, limit: usize) -> Vec<(Box<[u8]>, f64)> {
        let seconds = now.saturating_sub(self.began).as_secs_f64().max(1.0);
        let mut sums: Vec<(&[u8], u64)> = Vec::with_capacity(2 * CHANNELS);
        for counter in self.now.0.iter().chain(&self.before.0) {
            let count = counter.count - counter.inherited;
            match sums.iter_mut().find(|(name, _)| *name == counter.name) {
                Some((_, sum)) => *sum += count,
                None => sums.push((&counter.name, count)),
            }
        }
        sums.sort_unstable_by(|(one, count), (other, more)| more.cmp(count).then(one.cmp(other)));
        sums.into_iter().take(limit).map(|(name, count)| (name.into(), count as f64 / seconds)).collect()
    }
}

impl Table {
    fn add(&mut self, name: &[u8], count: u64) {
        if let Some(counter) = self.0.iter_mut().find(|counter| counter.name == name) {
            counter.count += count;
        } else if self.0.len() < CHANNELS {
            self.0.push(Counter { name: name.to_vec(), count, inherited: 0 });
        } else if let Some(least) = self.0.iter_mut().min_by_key(|counter| counter.count) {
            least.name.clear();
            least.name.extend_from_slice(name);
            least.inherited = least.count;
            least.count += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};

    use super::*;
    use crate::seeds::{Seed, seeds};

    /// A core that publishes to channels that `choose` names, this many a second.
    struct Core {
        busiest: Busiest,
        now: Duration,
        number: u64,
    }

    impl Core {
        fn new() -> Self {
            Self { busiest: Busiest::start(), now: Duration::ZERO, number: 0 }
        }

        fn run(&mut self, millis: u64, a_milli: u64, mut choose: impl FnMut() -> String) {
            for _ in 0..millis {
                self.now += Duration::from_millis(1);
                self.busiest.begin_turn(self.now, self.number);
                for _ in 0..a_milli {
                    self.number += 1;
                    let name = choose();
                    if self.busiest.is_due(self.number) {
                        self.busiest.take(self.number, name.as_bytes());
                    }
                }
            }
        }

        fn top(&self, limit: usize) -> Vec<(String, f64)> {
            let top = self.busiest.top(self.now, limit).into_iter();
            top.map(|(name, rate)| (String::from_utf8(name.into()).unwrap(), rate)).collect()
        }
    }

    #[test]
    fn a_few_busy_channels_are_found_among_thousands_with_their_rates() {
        for seed in seeds(1..6) {
            let _seed = Seed(seed);
            let mut random = SmallRng::seed_from_u64(seed);
            let mut core = Core::new();
            core.run(9_000, 20, || match random.random_range(0..100) {
                0..40 => "first".to_owned(),
                40..60 => "second".to_owned(),
                60..70 => "third".to_owned(),
                _ => format!("other-{}", random.next_u32() % 10_000),
            });
            let top = core.top(3);
            let expected = [("first", 8_000.0), ("second", 4_000.0), ("third", 2_000.0)];
            for ((name, rate), (expected, of)) in top.iter().zip(expected) {
                assert_eq!(name, expected, "{top:?}");
                assert!((of * 0.6..of * 1.4).contains(rate), "{top:?}");
            }
            assert!(core.busiest.now.0.len() <= CHANNELS);
        }
    }

    #[test]
    fn channels_that_take_turns_have_equal_rates() {
        let (mut core, mut number) = (Core::new(), 0);
        core.run(9_000, 64, || {
            number += 1;
            format!("c{}", number % 32)
        });
        let top = core.top(32);
        assert_eq!(top.len(), 32, "{top:?}");
        assert!(top.iter().all(|(_, rate)| (800.0..4_000.0).contains(rate)), "{top:?}");
    }

    #[test]
    fn while_little_happens_each_message_counts() {
        let mut core = Core::new();
        core.run(300, 0, String::new);
        let mut number = 0;
        for _ in 0..40 {
            core.run(99, 0, String::new);
            core.run(1, 1, || {
                number += 1;
                if number % 4 == 0 { "rare" } else { "often" }.to_owned()
            });
        }
        let counts: Vec<u64> = core.busiest.now.0.iter().map(|counter| counter.count).collect();
        assert_eq!(counts.iter().sum::<u64>(), 40, "{:?}", core.top(2));
        assert_eq!(core.top(2)[0].0, "often");
    }

    #[test]
    fn one_channel_alone_is_told_with_its_rate() {
        let mut core = Core::new();
        core.run(7_000, 50, || "room".to_owned());
        let top = core.top(10);
        assert_eq!(top.len(), 1);
        assert!((40_000.0..55_000.0).contains(&top[0].1), "{top:?}");
    }

    #[test]
    fn what_was_busy_ten_seconds_ago_is_forgotten() {
        let mut core = Core::new();
        core.run(5_000, 5, || "old".to_owned());
        core.run(100, 0, String::new);
        assert_eq!(core.top(1)[0].0, "old");
        core.run(10_500, 1, || "new".to_owned());
        assert!(core.top(2).iter().all(|(name, _)| name == "new"), "{:?}", core.top(2));
        let mut idle = Core::new();
        idle.run(5_000, 5, || "old".to_owned());
        idle.now += Duration::from_secs(100);
        idle.run(1, 0, String::new);
        assert_eq!(idle.top(1), []);
    }

    #[test]
    fn a_burst_takes_few_samples_and_no_one_samples_where_it_is_off() {
        let mut core = Core::new();
        core.run(1_000, 0, String::new); // the stride is 1
        let before = core.busiest.stride;
        let mut number = 0;
        core.run(1, 1_000_000, || {
            number += 1;
            format!("c{}", number % 2)
        });
        assert_eq!(before, 1);
        assert!(core.busiest.stride > 1_000, "{}", core.busiest.stride);
        assert!(!Busiest::default().is_due(u64::MAX - 1));
    }
}
