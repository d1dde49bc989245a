//! The works that a server can be put to, a file each.

use hdrhistogram::Histogram;

use crate::procfs::Usage;

pub(crate) mod broadcast;
pub(crate) mod compare;
pub(crate) mod idle;
pub(crate) mod post;
pub(crate) mod rate;
pub(crate) mod rtt;
pub(crate) mod slow;
mod works;

/// Nanoseconds, up to a minute, with three digits.
fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("the bounds are valid")
}

/// The server's CPU time between two moments, shared out among `count` events.
fn cpu_ns_each(before: Option<Usage>, after: Option<Usage>, count: f64) -> Option<f64> {
    Some(after?.cpu_ns.saturating_sub(before?.cpu_ns) as f64 / count)
}

/// Parses an argument of which there cannot be none.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}
