//! `stalls`: how often this machine stops a CPU for a while, with no server at all. Anything that arrives in such a
//! time is late with every server, so this bounds the percentiles of the other modes.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;

use super::rate;
use crate::{affinity, bench::Bench, failure::Failure, report::Outcome};

/// A loop that reads the clock takes far less than this.
const GAP_MIN: Duration = Duration::from_micros(20);
/// The shortest gap that counts as a stall.
const STALL_MIN: Duration = Duration::from_millis(1);

/// The arguments of `stalls`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct StallsArgs {
    /// How long to measure
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS", value_parser = rate::seconds)]
    secs: f64,
    /// A wait longer than this counts as late
    #[arg(long, default_value_t = 1500, value_name = "MICROS")]
    late_us: u64,
}

/// The time that a CPU lost.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    stalls: u64,
    longest: Duration,
    all: Duration,
    /// The time in which an arrival would have waited longer than `late`.
    late: Duration,
}

/// Runs `stalls`.
pub(crate) fn run(bench: &Bench, args: StallsArgs) -> Result<Outcome, Failure> {
    let time = Duration::from_secs_f64(args.secs);
    let late = Duration::from_micros(args.late_us);
    let cpus = [bench.server_cpu, bench.generator_cpu];
    let lost = thread::scope(|scope| {
        let watched = cpus.map(|cpu| scope.spawn(move || affinity::on_cpu(cpu, || watch(time, late))));
        watched.map(|thread| thread.join().unwrap_or_default())
    });
    let mut outcome = Outcome::new("stalls", "none", &[("secs", json!(args.secs)), ("late_us", json!(args.late_us))]);
    let names = [
        ["server_cpu_stalls", "server_cpu_lost_percent", "server_cpu_late_percent", "server_cpu_longest_us"],
        [
            "generator_cpu_stalls",
            "generator_cpu_lost_percent",
            "generator_cpu_late_percent",
            "generator_cpu_longest_us",
        ],
    ];
    for ((cpu, lost), [stalls, lost_percent, late_percent, longest]) in cpus.into_iter().zip(lost).zip(names) {
        let percent = |of: Duration| 100.0 * of.as_secs_f64() / args.secs;
        outcome.set(stalls, lost.stalls as f64);
        outcome.set(lost_percent, percent(lost.all));
        outcome.set(late_percent, percent(lost.late));
        outcome.set(longest, lost.longest.as_nanos() as f64 / 1e3);
        outcome.text += &format!(
            "CPU {cpu}: did not run for {:.2} % of {} s; {} times for a millisecond or more, {} at most; for {:.2} % of the time \
             what had come would have waited longer than {} µs\n",
            percent(lost.all),
            args.secs,
            lost.stalls,
            outcome.show(longest),
            percent(lost.late),
            args.late_us,
        );
    }
    Ok(outcome)
}

/// Reads the clock in a loop.
fn watch(time: Duration, late: Duration) -> Lost {
    let (start, mut lost) = (Instant::now(), Lost::default());
    let mut last = start;
    while last - start < time {
        let now = Instant::now();
        let gap = now - last;
        if gap > GAP_MIN {
            lost.all += gap;
            lost.late += gap.saturating_sub(late);
            lost.longest = lost.longest.max(gap);
            lost.stalls += u64::from(gap >= STALL_MIN);
        }
        last = now;
    }
    lost
}
