//! A core's statistics: plain numbers on the message path, copied once a turn to a place that other threads can read.

pub(crate) mod busiest;
mod histogram;
mod measures;
mod reasons;

use std::fmt;

use crate::token::{Invalid, KeyNumbers, Tally};

#[cfg_attr(not(feature = "admin"), allow(unused_imports))] // only the metrics use them
pub(crate) use self::histogram::{Histogram, bounds};
pub(crate) use self::{
    measures::{Measures, SharedNumbers},
    reasons::Why,
};

/// How a number is shown as a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "admin"), allow(dead_code))] // only the metrics read it
pub(crate) enum Kind {
    /// It only grows.
    Counter,
    /// It is the state of now.
    Gauge,
    /// It follows from the series of another metric, so it is not shown.
    Derived,
}

/// A declared number.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "admin"), allow(dead_code))] // only the metrics read all of it
pub(crate) struct Declared {
    /// The field of [`Stats`].
    pub(crate) field: &'static str,
    pub(crate) kind: Kind,
    /// The metric's name, without `lhttp_` and `_total`.
    pub(crate) metric: &'static str,
    /// The name and the value of the label by which it differs from other numbers with the same name.
    pub(crate) label: Option<(&'static str, &'static str)>,
    /// Its meaning, in one line.
    pub(crate) help: &'static str,
}

impl Declared {
    /// Reads a line of [`DECLARED`].
    fn read(line: &'static str) -> Self {
        let mut parts = line.split('\t');
        let mut next = || parts.next().unwrap_or_default();
        let (field, kind, metric, label, docs) = (next(), next(), next(), next(), next());
        let kind = match kind {
            "Counter" => Kind::Counter,
            "Gauge" => Kind::Gauge,
            _ => Kind::Derived,
        };
        Self { field, kind, metric, label: label.split_once('='), help: docs.trim_start() }
    }
}

/// All declared numbers, in the order of [`Stats::values`].
pub(crate) fn declared() -> impl Iterator<Item = Declared> {
    DECLARED.lines().map(Declared::read)
}

/// One line of `name=number`, for a log.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for (declared, number) in declared().zip(self.values()) {
            write!(f, "{space}{}={number}", declared.field)?;
            space = " ";
        }
        Ok(())
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ident($metric:literal $(, $label:literal = $value:literal)?),)+) => {
        /// What a server has done since its start: the sums of all cores.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// One core's numbers, for other threads to read. Only the core writes them.
        #[derive(Debug, Default)]
        pub(crate) struct SharedStats {
            $($name: AtomicU64,)+
        }

        impl SharedStats {
            /// Copies a core's numbers here. Plain stores are enough, because there is only one writer.
            pub(crate) fn store(&self, stats: &Stats) {
                $(self.$name.store(stats.$name, Ordering::Relaxed);)+
            }

            /// Adds this core's numbers to a sum.
            pub(crate) fn add_to(&self, stats: &mut Stats) {
                $(stats.$name += self.$name.load(Ordering::Relaxed);)+
            }
        }

        /// A line for each number, see [`Declared::read`]. It is one text and not a table of texts, because each pointer to
        /// a text takes 40 bytes of the program.
        pub(super) const DECLARED: &str = concat!($(
            stringify!($name), "\t", stringify!($kind), "\t", $metric, "\t", $($label, "=", $value,)? "\t", $($doc,)+ "\n",
        )+);

        /// How many numbers there are.
        pub(crate) const NUMBERS: usize = [$(stringify!($name)),+].len();

        impl Stats {
            /// The numbers, in the order of [`declared`](super::declared).
            pub(crate) fn values(&self) -> [u64; NUMBERS] {
                [$(self.$name),+]
            }
        }
    };
}

mod table;

use self::table::DECLARED;
pub use self::table::Stats;
#[cfg_attr(not(feature = "admin"), allow(unused_imports))] // only the metrics use all of it
pub(crate) use self::table::{NUMBERS, SharedStats};

impl Stats {
    /// Takes over what the core's verifier has counted.
    pub(crate) fn count_tokens(&mut self, tally: &Tally) {
        self.tokens_verified = tally.verified;
        self.tokens_from_cache = tally.from_cache;
        self.token_cache_bytes = tally.cache_bytes;
        for (invalid, count) in Invalid::ALL.into_iter().zip(tally.reasons) {
            *self.counter(invalid) = count;
        }
    }

    /// Takes over the numbers of the server's keys.
    pub(crate) fn count_keys(&mut self, numbers: KeyNumbers) {
        self.token_keys = numbers.keys;
        self.token_key_fetches = numbers.fetches;
        self.token_key_failures = numbers.failures;
    }

    fn counter(&mut self, invalid: Invalid) -> &mut u64 {
        match invalid {
            Invalid::Malformed => &mut self.tokens_malformed,
            Invalid::Key => &mut self.tokens_without_key,
            Invalid::Signature => &mut self.tokens_forged,
            Invalid::Expired => &mut self.tokens_expired,
            Invalid::NotYet => &mut self.tokens_not_yet,
            Invalid::Issuer => &mut self.tokens_wrong_issuer,
            Invalid::Audience => &mut self.tokens_wrong_audience,
            Invalid::User => &mut self.tokens_bad_user,
            Invalid::Claims => &mut self.tokens_bad_claims,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_against_a_token_has_its_counter() {
        let mut tally = Tally { verified: 20, from_cache: 21, cache_bytes: 22, ..Tally::default() };
        for (at, invalid) in Invalid::ALL.into_iter().enumerate() {
            assert_eq!(invalid as usize, at, "the order of ALL");
            tally.reasons[at] = at as u64 + 1;
        }
        let mut stats = Stats::default();
        stats.count_tokens(&tally);
        assert_eq!((stats.tokens_verified, stats.tokens_from_cache, stats.token_cache_bytes), (20, 21, 22));
        for (at, invalid) in Invalid::ALL.into_iter().enumerate() {
            assert_eq!(*stats.counter(invalid), at as u64 + 1, "{}", invalid.word());
        }
    }

    #[test]
    fn the_numbers_of_the_keys_are_taken_over() {
        let mut stats = Stats::default();
        stats.count_keys(KeyNumbers { keys: 3, fetches: 2, failures: 1 });
        assert_eq!((stats.token_keys, stats.token_key_fetches, stats.token_key_failures), (3, 2, 1));
    }
}
