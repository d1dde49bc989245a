//! Histograms of times, with fixed buckets.

use std::sync::atomic::{AtomicU64, Ordering};

/// The upper bounds of the buckets, in nanoseconds: 1, 2 and 5 of each power of ten, from 1 µs to 10 s.
const BOUNDS_NANOS: [u64; 22] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// With the bucket of all longer times.
const BUCKETS: usize = BOUNDS_NANOS.len() + 1;

/// The upper bounds of the buckets, in seconds.
#[cfg_attr(not(feature = "admin"), allow(dead_code))] // only the metrics call it
pub(crate) fn bounds() -> impl Iterator<Item = f64> {
    BOUNDS_NANOS.into_iter().map(|nanos| nanos as f64 / 1e9).chain([f64::INFINITY])
}

/// Times, each in the first bucket whose bound is not below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Histogram {
    buckets: [u64; BUCKETS],
    /// The sum of the times. In nanoseconds a `u64` could overflow: under load each second has millions of deliveries.
    nanos: f64,
    /// A bit for each bucket that has changed since the last [`Histogram::share`].
    changed: u32,
}

const _: () = assert!(BUCKETS <= u32::BITS as usize);

impl Histogram {
    /// Adds a time `count` times.
    pub(crate) fn add(&mut self, nanos: u64, count: u64) {
        let bucket = BOUNDS_NANOS.partition_point(|&bound| bound < nanos);
        self.buckets[bucket] += count;
        self.nanos += nanos as f64 * count as f64;
        self.changed |= 1 << bucket;
    }

    /// Adds the times of another histogram.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))] // only the page asks
    pub(crate) fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, bucket)| *sum += bucket);
        self.nanos += other.nanos;
    }

    /// Copies what has changed to a place that other threads can read. This is the place's only writer.
    pub(crate) fn share(&mut self, shared: &SharedHistogram) {
        if self.changed == 0 {
            return;
        }
        let mut changed = std::mem::take(&mut self.changed);
        while changed != 0 {
            let bucket = changed.trailing_zeros() as usize;
            shared.buckets[bucket].store(self.buckets[bucket], Ordering::Relaxed);
            changed &= changed - 1;
        }
        shared.nanos.store(self.nanos.to_bits(), Ordering::Relaxed);
    }

    /// The number of times.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))] // only the metrics call it
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of the times, in seconds.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))] // only the metrics call it
    pub(crate) fn seconds(&self) -> f64 {
        self.nanos / 1e9
    }

    /// The number of times in each bucket, in the order of [`bounds`].
    #[cfg_attr(not(feature = "admin"), allow(dead_code))] // only the metrics call it
    pub(crate) fn buckets(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().copied()
    }
}

/// A core's histogram, for other threads to read.
#[derive(Debug, Default)]
pub(crate) struct SharedHistogram {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl SharedHistogram {
    /// Adds these times to a sum.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))] // only the metrics call it
    pub(crate) fn add_to(&self, sum: &mut Histogram) {
        for (sum, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        sum.nanos += f64::from_bits(self.nanos.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_that_is_not_below_it() {
        for (at, &bound) in BOUNDS_NANOS.iter().enumerate() {
            let mut histogram = Histogram::default();
            histogram.add(bound - 1, 1);
            histogram.add(bound, 2);
            histogram.add(bound + 1, 4);
            assert_eq!((histogram.buckets[at], histogram.buckets[at + 1]), (3, 4), "{bound}");
            assert_eq!(histogram.count(), 7);
        }
        let bounds: Vec<f64> = bounds().collect();
        assert_eq!(bounds.len(), BUCKETS);
        assert!(bounds.is_sorted() && bounds[0] == 1e-6 && bounds[21] == 10.0, "{bounds:?}");
    }

    #[test]
    fn what_is_shared_is_the_sum_of_all_cores() {
        let shared = [SharedHistogram::default(), SharedHistogram::default()];
        let mut cores = [Histogram::default(), Histogram::default()];
        let add = |cores: &mut [Histogram; 2]| {
            cores[0].add(1_500, 10);
            cores[1].add(u64::MAX, 1);
            cores[1].add(0, 3);
            cores.iter_mut().zip(&shared).for_each(|(core, shared)| core.share(shared));
        };
        for round in 1..4 {
            add(&mut cores);
            let mut sum = Histogram::default();
            shared.iter().for_each(|shared| shared.add_to(&mut sum));
            assert_eq!((sum.buckets[0], sum.buckets[1], sum.buckets[BUCKETS - 1]), (3 * round, 10 * round, round));
            assert_eq!(sum.count(), 14 * round);
            let seconds = round as f64 * (u64::MAX as f64 / 1e9 + 15e-6);
            assert!((sum.seconds() - seconds).abs() < seconds * 1e-9, "{} s, not {seconds}", sum.seconds());
        }
    }
}
