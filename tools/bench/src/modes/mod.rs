//! The modes, one file each.

use std::path::Path;

use hdrhistogram::Histogram;

use crate::{failure::Failure, procfs::Usage, report::Outcome};

pub(crate) mod broadcast;
pub(crate) mod cluster;
pub(crate) mod comeback;
pub(crate) mod compare;
mod confirmed;
pub(crate) mod crash;
pub(crate) mod history;
pub(crate) mod hold;
pub(crate) mod hostile;
pub(crate) mod idle;
pub(crate) mod post;
pub(crate) mod presence;
pub(crate) mod rate;
pub(crate) mod resume;
pub(crate) mod rtt;
pub(crate) mod slow;
pub(crate) mod stalls;
pub(crate) mod tokens;
pub(crate) mod upstream;
mod works;

/// Nanoseconds, up to a minute, with three digits.
fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("the bounds are valid")
}

/// Adds the server's use between two moments: its CPU time for each of `count` events under the name `figure`, and how
/// busy other processes kept its CPU.
fn set_usage(outcome: &mut Outcome, figure: &'static str, before: Option<Usage>, after: Option<Usage>, count: usize) {
    let (Some(before), Some(after)) = (before, after) else { return };
    let cpu_ns = after.cpu_ns.saturating_sub(before.cpu_ns) as f64;
    let delayed_ns = after.delayed_ns.saturating_sub(before.delayed_ns) as f64;
    let unit_ns = if figure.starts_with("cpu_us") { 1e3 } else { 1.0 };
    outcome.set(figure, cpu_ns / unit_ns / count as f64);
    outcome.set("server_delayed_percent", 100.0 * delayed_ns / (cpu_ns + delayed_ns).max(1.0));
    outcome.set("rss_bytes", after.rss_bytes as f64);
}

/// Checks that a file of a server's own is not there yet.
fn new_file(path: Option<&Path>) -> Result<(), Failure> {
    match path {
        Some(path) if path.exists() => Err(Failure::Usage(format!("{} is there already", path.display()))),
        _ => Ok(()),
    }
}

/// Parses an argument that must be at least 1.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}
