//! The buckets against a bucket that is filled drop by drop.

use proptest::prelude::*;

use super::*;

/// A bucket as one would draw it: it holds a second of its rate, counted in parts of a billion.
struct Drawn {
    rate: i128,
    level: i128,
    at: u64,
}

impl Drawn {
    fn new(rate: u64, at: u64) -> Self {
        let rate = i128::from(rate);
        Self { rate, level: rate * i128::from(SECOND), at }
    }

    /// Whether it holds so many billionths.
    fn holds(&mut self, now: u64, parts: u64) -> bool {
        let full = self.rate * i128::from(SECOND);
        self.level = full.min(self.level + self.rate * i128::from(now - self.at));
        self.at = now;
        self.rate == 0 || self.level >= i128::from(parts)
    }

    fn take(&mut self, count: u64) {
        self.level -= i128::from(count) * i128::from(SECOND);
    }
}

/// Rates that divide a second, so that no time is rounded.
fn rate() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(2), Just(5), Just(10), Just(1000), Just(SECOND)]
}

fn rates(messages: u64, bytes: u64) -> Rates {
    Rates { messages: Rate(messages), bytes: Rate(bytes), subscribes: Rate(0) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_message_is_admitted_exactly_if_there_is_a_whole_message_and_something_of_the_bytes(
        messages in rate(), bytes in rate(), begin in 0..1_000_000_u64,
        sent in proptest::collection::vec((0..1500_u64, 0..3000_u64), 1..60),
    ) {
        let (rates, mut buckets) = (rates(messages, bytes), Buckets::default());
        let mut now = begin * 1_000_000;
        let (mut of_messages, mut of_bytes) = (Drawn::new(messages, now), Drawn::new(bytes, now));
        for (pause, size) in sent {
            now += pause * 1_000_000;
            let (has_message, has_bytes) = (of_messages.holds(now, SECOND), of_bytes.holds(now, 1));
            let has_both = has_message && has_bytes;
            let admitted = rates.admit(&mut buckets, now, size);
            prop_assert_eq!(admitted.is_ok(), has_both);
            if has_both {
                of_messages.take(1);
                of_bytes.take(size);
            }
            if let Err(wait) = admitted {
                let after = |seconds: u32| rates.admit(&mut buckets.clone(), now + u64::from(seconds) * SECOND, size);
                prop_assert!(wait.seconds() >= 1 && after(wait.seconds()).is_ok(), "it may go on when it was told");
            }
        }
    }

    #[test]
    fn a_run_has_as_many_messages_as_would_be_admitted_one_by_one(
        messages in 1..5000_u64, bytes in 1..5000_u64, spent in 0..2000_u64, pause in 0..1_000_000_000_u64,
    ) {
        let (rates, mut buckets) = (rates(messages, bytes), Buckets::default());
        for _ in 0..spent {
            let _ = rates.admit(&mut buckets, 0, 1);
        }
        let (run_messages, run_bytes) = rates.run(&buckets, pause);
        let (mut one_by_one, mut taken) = (buckets, 0);
        while rates.messages.take_one(&mut one_by_one.messages, pause).is_ok() {
            taken += 1;
        }
        // Each message's time is rounded down.
        prop_assert!((run_messages..=run_messages + 1 + taken / 1000).contains(&taken), "{} of {}", taken, run_messages);
        let (mut small, run) = (buckets, run_messages.min(run_bytes));
        for _ in 0..run {
            prop_assert!(rates.admit(&mut small, pause, 1).is_ok());
        }
        rates.take_run(&mut buckets, pause, run, run);
        let next = |mut buckets: Buckets| rates.admit(&mut buckets, pause, 1).is_ok();
        prop_assert!(next(small) || !next(buckets), "a run costs no less than its messages");
    }
}

#[test]
fn a_connection_that_sends_at_ten_times_its_rate_is_a_flood_and_at_nine_times_is_not() {
    for (rates, bytes) in [(rates(100, 0), 1000), (rates(0, 100), 1), (rates(100, 10_000), 100)] {
        for (a_second, is_flood) in [(900, false), (1100, true)] {
            let mut buckets = Buckets::default();
            let flooded = (0..20 * a_second).any(|number| {
                let now = number * SECOND / a_second;
                let _ = rates.admit(&mut buckets, now, bytes);
                Rates::is_flood(&buckets, now)
            });
            assert_eq!(flooded, is_flood, "{a_second} a second of {rates:?}");
        }
    }
}

#[test]
fn one_large_message_is_admitted_and_paid_for_afterwards() {
    let (rates, mut buckets) = (rates(0, 1024), Buckets::default());
    assert_eq!(rates.admit(&mut buckets, 0, 64 << 10), Ok(()));
    assert!(!Rates::is_flood(&buckets, 0));
    let wait = rates.admit(&mut buckets, 0, 1).expect_err("it is in debt");
    assert_eq!(wait.seconds(), 64);
    assert!(rates.admit(&mut buckets, 63 * SECOND, 1).is_err() && rates.admit(&mut buckets, 64 * SECOND, 1).is_ok());
}

#[test]
fn subscribing_has_a_bucket_of_its_own_and_a_message_with_many_names_is_no_flood() {
    let rates = Rates { subscribes: Rate(10), ..rates(0, 0) };
    let mut buckets = Buckets::default();
    assert_eq!(rates.admit_subscribes(&mut buckets, 0, 1000), Ok(()));
    assert!(!Rates::is_flood(&buckets, 0));
    let refused = (0..200).take_while(|_| {
        let refused = rates.admit_subscribes(&mut buckets, 0, 1).is_err();
        refused && !Rates::is_flood(&buckets, 0)
    });
    assert_eq!(refused.count(), 90, "a hundred names is ten times the rate");
    assert!(rates.admit(&mut buckets, 0, 1000).is_ok(), "other messages are not limited");
}

#[test]
fn no_number_is_too_large() {
    let rates = rates(1, 1);
    let mut buckets = Buckets::default();
    assert_eq!(rates.admit(&mut buckets, u64::MAX / 2, u64::MAX), Ok(()));
    assert!(rates.admit(&mut buckets, u64::MAX - SECOND, u64::MAX).is_err());
    assert_eq!(super::Rate(SECOND).left(0, 0), SECOND);
}
