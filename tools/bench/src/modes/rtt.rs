//! `rtt`: one connection publishes to itself, one message at a time.

use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;

use crate::{
    bench::{Bench, Target},
    dialect::Role,
    failure::Failure,
    load::Wait,
    procfs::Usage,
    report::Outcome,
};

/// After this long without an answer, the message counts as lost.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);

/// The arguments of `rtt`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RttArgs {
    /// How many round trips, after a warm-up of a tenth as many
    #[arg(short, default_value_t = 20_000, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) n: usize,
    /// Bytes of a message's body
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    pub(crate) body: usize,
    /// Another way to wait than the one for all modes.
    #[arg(skip)]
    pub(crate) wait: Option<Wait>,
}

/// Runs `rtt`.
pub(crate) fn run(bench: &Bench, target: &Target, args: RttArgs) -> Result<Outcome, Failure> {
    let wait = args.wait.unwrap_or(bench.wait);
    let mut load = bench.load_waiting(target, wait)?;
    let connection = load.open(&[Role::both("room")], args.body, |_| {})?;
    let message = target.dialect.publish("room", &vec![b'x'; args.body], [0x12, 0x34, 0x56, 0x78]);
    let mut histogram = super::latency_histogram();
    let warm_up = args.n / 10;
    let mut before = None;
    for number in 0..warm_up + args.n {
        if number == warm_up {
            before = target.usage();
        }
        let start = Instant::now();
        let arrived = load.deliveries + 1;
        load.write(connection, &message.bytes, None)?;
        while load.deliveries < arrived {
            load.turn(wait.patience(), None)?;
            if start.elapsed() > ROUND_TRIP_MAX {
                return Err(load.missing(number as u64, (warm_up + args.n) as u64));
            }
        }
        if number >= warm_up {
            histogram.saturating_record(start.elapsed().as_nanos() as u64);
        }
        if number % 1000 == 0 {
            bench.progress.show(&format!("rtt: {number} of {}", warm_up + args.n));
        }
    }
    let after = target.usage();
    Ok(outcome(target, args, wait, &histogram, (before, after)))
}

fn outcome(
    target: &Target,
    args: RttArgs,
    wait: Wait,
    histogram: &Histogram<u64>,
    (before, after): (Option<Usage>, Option<Usage>),
) -> Outcome {
    let settings = [("round_trips", json!(args.n)), ("body_bytes", json!(args.body)), ("wait", json!(wait))];
    let mut outcome = Outcome::new("rtt", target.name, &settings);
    outcome.set_percentiles(histogram);
    super::set_usage(&mut outcome, "server_ns_per_delivery", before, after, args.n);
    outcome.text = format!(
        "{}: round trip {}\n{} messages of {} bytes, one at a time: {}\n{}",
        target.name,
        outcome.show("p50_us"),
        args.n,
        args.body,
        outcome.show_percentiles(),
        outcome.show_server()
    );
    outcome
}
