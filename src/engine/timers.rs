//! One core's deadlines: a wheel of coarse ticks. It reads no clock: the caller passes the time since the core's start.

use std::{num::NonZeroU16, time::Duration};

use crate::config::memory;

/// How late a deadline may be noticed. Intervals of pings, idle and handshake timeouts are seconds. With a coarse tick
/// the deadlines of thousands of connections share a wake-up.
const TICK_MILLIS: u64 = 32;

/// Ticks around the wheel: 65.5 s, so that the default idle timeout of 60 s is noted once. 48 KiB a core.
const BUCKETS: u64 = 2048;

const _: () = assert!(BUCKETS as usize * size_of::<Vec<Entry>>() <= memory::TIMERS_BYTES);

/// A bucket with a larger capacity than this frees it when it fires (128 bytes).
const KEPT_ENTRIES: usize = 16;

/// Deadlines of connections. Call these in each turn, in this order: [`expire`](Self::expire), any number of
/// [`schedule`](Self::schedule), then [`next`](Self::next) for the time to sleep.
///
/// Entries cannot be cancelled, because almost no deadline is ever reached: traffic moves it first. An entry that comes
/// out is only a hint to check. Its owner compares the generation (the slot may have another connection by now) and the
/// real deadline, and schedules again if that lies ahead. So moving a deadline *back* costs nothing; moving it
/// *forward* means scheduling a second entry. An entry costs 8 bytes.
pub(crate) struct Timers {
    /// The first tick that has not fired. Tick n fires when n × [`TICK_MILLIS`] have passed. Invariant: all entries are
    /// within one round of the wheel from this tick on, so that a bucket stands for one tick only.
    cursor: u64,
    /// Tick n's entries are in bucket n modulo [`BUCKETS`].
    buckets: Box<[Vec<Entry>]>,
    /// A bit for each bucket that has entries.
    occupied: [u64; (BUCKETS / 64) as usize],
    len: usize,
}

/// The tick in which an entry comes out, in two bytes. It stays distinct from others until half an hour after that
/// tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look(NonZeroU16);

/// The number of ticks that a [`Look`] distinguishes.
const LOOKS: u64 = u16::MAX as u64;

/// A connection and the generation of its slot.
type Entry = (u32, u32);

impl Timers {
    /// No deadlines, at this time since the core's start.
    pub(crate) fn new(now: Duration) -> Self {
        let buckets = (0..BUCKETS).map(|_| Vec::new()).collect();
        Self { cursor: tick_passed(now) + 1, buckets, occupied: [0; (BUCKETS / 64) as usize], len: 0 }
    }

    /// Schedules a check of a connection at `at` (since the core's start). Cost: a push.
    ///
    /// The entry comes out of the first [`expire`](Self::expire) whose `now` is at least `at`, or up to one tick later.
    /// If `at` is past, it comes out within a tick from now. If `at` is more than the wheel's round ahead, the entry
    /// comes out early, a round after the last `expire`, and its owner schedules it again.
    pub(crate) fn schedule(&mut self, slot: u32, generation: u32, at: Duration) -> Look {
        let tick = self.tick(at);
        let bucket = (tick % BUCKETS) as usize;
        self.buckets[bucket].push((slot, generation));
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
        self.len += 1;
        Look(NonZeroU16::MIN.saturating_add((tick % LOOKS) as u16))
    }

    /// The tick in which an entry for this time comes out if it is scheduled now.
    fn tick(&self, at: Duration) -> u64 {
        tick_due(at).clamp(self.cursor, self.cursor + BUCKETS - 1)
    }

    /// Whether the entries of this tick have come out.
    pub(crate) fn has_passed(&self, look: Look) -> bool {
        self.ahead(look) >= BUCKETS
    }

    /// Whether an entry for this time, if scheduled now, comes out before the one of `look`.
    pub(crate) fn is_before(&self, at: Duration, look: Look) -> bool {
        self.tick(at) - self.cursor < self.ahead(look)
    }

    /// How many ticks a look is ahead. If its tick has passed, this is more than the wheel's number of ticks.
    fn ahead(&self, Look(number): Look) -> u64 {
        let cursor = self.cursor % LOOKS;
        (u64::from(number.get() - 1) + LOOKS - cursor) % LOOKS
    }

    /// Appends all due entries to `out`, earlier ticks first, as (slot, generation). The cost grows with the number of
    /// these entries, not with the jump of `now`; within a tick it is close to zero.
    pub(crate) fn expire(&mut self, now: Duration, out: &mut impl Extend<Entry>) {
        let passed = tick_passed(now);
        while let Some(tick) = self.first_tick().filter(|&tick| tick <= passed) {
            let bucket = (tick % BUCKETS) as usize;
            let entries = &mut self.buckets[bucket];
            self.len -= entries.len();
            out.extend(entries.drain(..));
            if entries.capacity() > KEPT_ENTRIES {
                *entries = Vec::new();
            }
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
            self.cursor = tick + 1;
        }
        self.cursor = self.cursor.max(passed + 1);
    }

    /// The first time at which [`expire`](Self::expire) will return entries; `None` if there are none. Cost: 33 words
    /// to check at most.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.first_tick().map(|tick| Duration::from_millis(tick * TICK_MILLIS))
    }

    /// The number of entries.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The first tick that has entries.
    fn first_tick(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let words = self.occupied.len();
        let start = (self.cursor % BUCKETS) as usize;
        // The cursor's word is checked first without the bits before the cursor, and again at the end with them.
        let ahead = |step: usize| if step == 0 { u64::MAX << (start % 64) } else { u64::MAX };
        let bucket = (0..=words).find_map(|step| {
            let word = (start / 64 + step) % words;
            let bits = self.occupied[word] & ahead(step);
            (bits != 0).then(|| word as u64 * 64 + u64::from(bits.trailing_zeros()))
        })?;
        Some(self.cursor + (bucket + BUCKETS - start as u64) % BUCKETS)
    }
}

/// The last tick that has passed at this time.
fn tick_passed(now: Duration) -> u64 {
    (now.as_secs().saturating_mul(1000).saturating_add(u64::from(now.subsec_millis()))) / TICK_MILLIS
}

/// The first tick at or after this deadline.
fn tick_due(at: Duration) -> u64 {
    let millis = u64::from(at.subsec_nanos().div_ceil(1_000_000));
    at.as_secs().saturating_mul(1000).saturating_add(millis).div_ceil(TICK_MILLIS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_millis(TICK_MILLIS);
    const ROUND: Duration = Duration::from_millis(TICK_MILLIS * BUCKETS);

    fn expire(timers: &mut Timers, now: Duration) -> Vec<Entry> {
        let mut out = Vec::new();
        timers.expire(now, &mut out);
        out
    }

    #[test]
    fn deadlines_come_out_in_order_and_never_early() {
        let start = Duration::from_secs(5);
        let mut timers = Timers::new(start);
        assert_eq!((timers.next(), timers.len()), (None, 0));
        timers.schedule(2, 0, start + Duration::from_secs(25));
        timers.schedule(1, 7, start + Duration::from_secs(10));
        assert!(expire(&mut timers, start + Duration::from_nanos(9_999_999_999)).is_empty());
        assert_eq!(expire(&mut timers, start + Duration::from_secs(10) + TICK), [(1, 7)]);
        assert_eq!(expire(&mut timers, start + Duration::from_secs(60)), [(2, 0)]);
        assert_eq!((timers.next(), timers.len()), (None, 0));
    }

    #[test]
    fn a_past_deadline_comes_out_a_tick_later() {
        let now = Duration::from_secs(100);
        let mut timers = Timers::new(now);
        timers.schedule(1, 1, Duration::ZERO);
        timers.schedule(2, 1, now);
        assert!(timers.next().expect("two entries") <= now + TICK);
        assert_eq!(expire(&mut timers, now + TICK), [(1, 1), (2, 1)]);
    }

    #[test]
    fn a_deadline_beyond_the_round_comes_out_early_and_can_be_scheduled_again() {
        let mut timers = Timers::new(Duration::ZERO);
        let mut rounds = 0;
        let at = 3 * ROUND + Duration::from_secs(1);
        timers.schedule(1, 1, at);
        loop {
            let now = timers.next().expect("an entry");
            assert_eq!(expire(&mut timers, now), [(1, 1)]);
            if now >= at {
                assert!(now < at + TICK);
                break;
            }
            rounds += 1;
            timers.schedule(1, 1, at);
        }
        assert_eq!(rounds, 3);
        timers.schedule(1, 1, Duration::MAX);
        assert!(timers.next().expect("an entry") <= at + TICK + ROUND);
    }

    #[test]
    fn a_jump_of_the_clock_fires_everything_once() {
        let mut timers = Timers::new(Duration::ZERO);
        for slot in 0..5_000 {
            timers.schedule(slot, 0, Duration::from_millis(u64::from(slot) * 10));
        }
        let century = Duration::from_secs(100 * 365 * 86_400);
        assert_eq!(expire(&mut timers, century), (0..5_000).map(|slot| (slot, 0)).collect::<Vec<_>>());
        assert_eq!((timers.len(), timers.next()), (0, None));
        timers.schedule(1, 0, century + Duration::from_secs(1));
        assert!(expire(&mut timers, century).is_empty());
        assert_eq!(expire(&mut timers, century + Duration::from_secs(1) + TICK), [(1, 0)]);
        assert!(expire(&mut timers, Duration::ZERO).is_empty(), "a time before the last changes nothing");
    }

    #[test]
    fn a_bucket_that_was_large_gives_its_memory_back() {
        let mut timers = Timers::new(Duration::ZERO);
        for slot in 0..10_000 {
            timers.schedule(slot, 0, Duration::from_secs(1));
        }
        assert_eq!(expire(&mut timers, Duration::from_secs(2)).len(), 10_000);
        assert!(timers.buckets.iter().all(|bucket| bucket.capacity() <= KEPT_ENTRIES));
    }

    #[test]
    fn a_look_passes_with_its_tick_at_any_time() {
        for start in (0..200_000).step_by(6_577).map(|tick| tick * TICK) {
            let mut timers = Timers::new(start);
            let far = timers.schedule(1, 0, start + 1000 * TICK);
            assert!(timers.is_before(start + 999 * TICK, far) && !timers.is_before(start + 1000 * TICK, far));
            let last = timers.schedule(1, 0, Duration::MAX);
            for ahead in [999, 1000, 2000, 3000, 60_000] {
                expire(&mut timers, start + ahead * TICK);
                assert_eq!(timers.has_passed(far), ahead >= 1000, "{ahead} of {start:?}");
                assert_eq!(timers.has_passed(last), ahead >= 3000, "{ahead} of {start:?}");
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule(Duration),
        Advance(Duration),
        /// Advance to just before the next entry, and then to it.
        Follow,
    }

    fn step() -> impl Strategy<Value = Step> {
        let ahead = prop_oneof![
            Just(Duration::ZERO),
            (0..200_000_000u64).prop_map(Duration::from_nanos),
            (0..70_000u64).prop_map(Duration::from_millis),
            (0..400u64).prop_map(Duration::from_secs),
        ];
        prop_oneof![
            3 => ahead.clone().prop_map(Step::Schedule),
            1 => ahead.prop_map(Step::Advance),
            1 => Just(Step::Follow),
        ]
    }

    /// The oracle: all deadlines in a list.
    struct Model {
        timers: Timers,
        now: Duration,
        scheduled: u32,
        /// Entry, deadline, and the earliest time at which it may come out.
        pending: Vec<(Entry, Duration, Duration)>,
    }

    impl Model {
        fn schedule(&mut self, at: Duration) {
            let entry = (self.scheduled, self.scheduled ^ 0xffff);
            self.scheduled += 1;
            self.timers.schedule(entry.0, entry.1, at);
            self.pending.push((entry, at, at.min(self.now + ROUND - TICK)));
        }

        fn advance(&mut self, now: Duration) {
            let out = expire(&mut self.timers, now);
            self.now = self.now.max(now);
            for entry in &out {
                let position = self.pending.iter().position(|(pending, ..)| pending == entry);
                let (_, _, earliest) = self.pending.swap_remove(position.expect("scheduled, and not yet out"));
                assert!(earliest <= now, "{earliest:?} came out at {now:?}");
            }
            for (entry, at, _) in &self.pending {
                assert!(now < *at + TICK, "{entry:?} was due at {at:?} and is not out at {now:?}");
            }
        }

        fn check(&self) {
            assert_eq!(self.timers.len(), self.pending.len());
            assert_eq!(self.timers.next().is_none(), self.pending.is_empty());
            let marked: u32 = self.timers.occupied.iter().map(|word| word.count_ones()).sum();
            assert_eq!(marked as usize, self.timers.buckets.iter().filter(|bucket| !bucket.is_empty()).count());
        }
    }

    proptest! {
        #[test]
        fn the_wheel_agrees_with_a_list(
            start in (0..1_000_000u64).prop_map(Duration::from_millis),
            steps in prop::collection::vec(step(), 1..80),
        ) {
            let mut model = Model { timers: Timers::new(start), now: start, scheduled: 0, pending: Vec::new() };
            for step in steps {
                match step {
                    Step::Schedule(ahead) => model.schedule(model.now + ahead),
                    Step::Advance(by) => model.advance(model.now + by),
                    Step::Follow => {
                        let Some(next) = model.timers.next() else { continue };
                        prop_assert!(next > model.now, "time that has come is not ahead");
                        let before = model.timers.len();
                        model.advance(next - Duration::from_nanos(1));
                        prop_assert_eq!(model.timers.len(), before, "nothing comes out before the next entry");
                        model.advance(next);
                        prop_assert!(model.timers.len() < before, "something comes out with the next entry");
                    }
                }
                model.check();
            }
            while let Some(next) = model.timers.next() {
                model.advance(next);
            }
            prop_assert!(model.pending.is_empty());
        }
    }
}
