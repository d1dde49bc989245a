//! `rate`: latency at a given load. Messages are due at fixed times, whether or not the previous one has arrived, and
//! each latency counts from its due time. So a stall counts against every message that it delays.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::{
    bench::{Bench, Target},
    dialect::{Publish, Role, counter::STAMP_BYTES},
    failure::Failure,
    load::Load,
    report::Outcome,
};

/// If deliveries are missing this long after the last publish, they are lost.
const TAIL_MAX: Duration = Duration::from_secs(10);
/// The warm-up before the measurement, at the same rate.
pub(super) const WARM_UP: Duration = Duration::from_millis(500);

/// The arguments of `rate`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RateArgs {
    /// How many subscribers
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) subs: usize,
    /// Messages a second
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// How long to measure
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) secs: f64,
    /// Bytes of a message's body, at least 16 for the time stamp
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = with_room_for_a_stamp)]
    pub(crate) body: usize,
}

pub(super) fn with_room_for_a_stamp(text: &str) -> Result<usize, String> {
    let bytes = super::at_least_one(text)?;
    if bytes < STAMP_BYTES { Err(format!("must be at least {STAMP_BYTES}")) } else { Ok(bytes) }
}

/// Parses the duration of a measurement.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    const MAX: f64 = 86_400.0;
    let seconds: f64 = text.parse().map_err(|_| "must be a number of seconds".to_owned())?;
    if seconds > 0.0 && seconds <= MAX { Ok(seconds) } else { Err(format!("must be above 0 and at most {MAX}")) }
}

/// Runs `rate`.
pub(crate) fn run(bench: &Bench, target: &Target, args: RateArgs) -> Result<Outcome, Failure> {
    let mut load = bench.load(target)?;
    let mut roles = vec![Role::subscriber("room"); args.subs];
    roles.push(Role::publisher("room"));
    load.open(&roles, args.body, |open| bench.progress.show(&format!("rate: {open} of {} connections", roles.len())))?;
    paced(bench, &mut load, target, args, WARM_UP.as_secs_f64(), &mut |_| {})?;
    let before = target.usage();
    let mut histogram = super::latency_histogram();
    let messages =
        paced(bench, &mut load, target, args, args.secs, &mut |latency| histogram.saturating_record(latency))?;
    let after = target.usage();

    let settings = [
        ("subscribers", json!(args.subs)),
        ("rate_per_s", json!(args.rate)),
        ("secs", json!(args.secs)),
        ("body_bytes", json!(args.body)),
    ];
    let mut outcome = Outcome::new("rate", target.name, &settings);
    outcome.set_percentiles(&histogram);
    super::set_usage(&mut outcome, "server_ns_per_delivery", before, after, messages * args.subs);
    outcome.text = format!(
        "{}: {} messages/s to {} subscribers: p99 {}\nfrom due to received, {} deliveries: {}\n{}",
        target.name,
        args.rate,
        args.subs,
        outcome.show("p99_us"),
        histogram.len(),
        outcome.show_percentiles(),
        outcome.show_server()
    );
    Ok(outcome)
}

/// Publishes at the rate for `secs` on the connection behind the subscribers', and waits for the last delivery.
/// `on_latency` receives each delivery's nanoseconds. Returns the number of messages. The generator polls without
/// sleeping, because a timer of whole milliseconds could not keep the pace.
pub(super) fn paced(
    bench: &Bench,
    load: &mut Load,
    target: &Target,
    args: RateArgs,
    secs: f64,
    on_latency: &mut dyn FnMut(u64),
) -> Result<usize, Failure> {
    let messages = (f64::from(args.rate) * secs).ceil() as usize;
    let mut pace = Pace::start(load, target, args);
    let mut shown = 0;
    while pace.published < messages {
        pace.step(load, true, on_latency)?;
        if pace.published >= shown + args.rate as usize {
            shown = pace.published;
            bench.progress.show(&format!("rate: {:.0} of {secs:.0} s", pace.start.elapsed().as_secs_f64()));
        }
    }
    pace.finish(load, on_latency)?;
    Ok(messages)
}

/// A chat at a fixed rate, one turn after the other.
pub(super) struct Pace {
    args: RateArgs,
    message: Publish,
    start: Instant,
    before: u64,
    /// Messages so far.
    pub(super) published: usize,
}

impl Pace {
    /// The first message is due now.
    pub(super) fn start(load: &Load, target: &Target, args: RateArgs) -> Self {
        let message = target.dialect.publish("room", &vec![b'x'; args.body], [0x12, 0x34, 0x56, 0x78]);
        Self { args, message, start: Instant::now(), before: load.deliveries, published: 0 }
    }

    /// Publishes one message if it is due and `publishes`, and reads what has come.
    pub(super) fn step(
        &mut self,
        load: &mut Load,
        publishes: bool,
        on_latency: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let start = self.start;
        let mut on_stamp = |stamp: u64| on_latency((start.elapsed().as_nanos() as u64).saturating_sub(stamp));
        let due_ns = (self.published as u64) * 1_000_000_000 / u64::from(self.args.rate);
        if publishes && start.elapsed().as_nanos() as u64 >= due_ns {
            self.message.stamp(due_ns);
            load.write(self.args.subs, &self.message.bytes, Some(&mut on_stamp))?;
            self.published += 1;
        }
        load.turn(Some(Duration::ZERO), Some(&mut on_stamp))
    }

    /// Publishes nothing more, and waits for the last delivery.
    pub(super) fn finish(mut self, load: &mut Load, on_latency: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        let deadline = Instant::now() + TAIL_MAX;
        let expected = (self.published * self.args.subs) as u64;
        while load.deliveries - self.before < expected {
            self.step(load, false, on_latency)?;
            if Instant::now() > deadline {
                return Err(load.missing(load.deliveries - self.before, expected));
            }
        }
        Ok(())
    }
}
