//! `idle`: the cost of an open, subscribed connection without traffic.

use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::{
    bench::{Bench, Target},
    dialect::Role,
    failure::Failure,
    report::Outcome,
};

/// Opened before the count, so that the server's one-time costs are not divided among the connections.
const WARM_UP: usize = 100;
/// File descriptors that a process needs besides its connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// The arguments of `idle`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct IdleArgs {
    /// How many connections
    #[arg(short, default_value_t = 10_000, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) n: usize,
    /// How many of them share a channel
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) per_channel: usize,
}

/// Runs `idle`.
pub(crate) fn run(bench: &Bench, target: &Target, args: IdleArgs) -> Result<Outcome, Failure> {
    let (descriptors, _) =
        rlimit::getrlimit(rlimit::Resource::NOFILE).map_err(Failure::io("the limit of open files"))?;
    if (args.n + WARM_UP) as u64 + SPARE_DESCRIPTORS > descriptors {
        let most = descriptors.saturating_sub(WARM_UP as u64 + SPARE_DESCRIPTORS);
        return Err(Failure::Usage(format!("this process may open {descriptors} files, so at most -n {most}")));
    }
    let mut load = bench.load(target)?;
    let role = |index: usize| Role::subscriber(&format!("channel{}", index / args.per_channel));
    load.open(&(0..WARM_UP).map(role).collect::<Vec<_>>(), 0, |_| {})?;
    let before = target.usage();
    let start = Instant::now();
    let roles: Vec<Role> = (WARM_UP..WARM_UP + args.n).map(role).collect();
    load.open(&roles, 0, |open| bench.progress.show(&format!("idle: {open} of {}", args.n)))?;
    let seconds = start.elapsed().as_secs_f64();
    let after = target.usage();

    let settings = [("connections", json!(args.n)), ("per_channel", json!(args.per_channel))];
    let mut outcome = Outcome::new("idle", target.name, &settings);
    outcome.set("connects_per_s", args.n as f64 / seconds);
    super::set_usage(&mut outcome, "cpu_us_per_connect", before, after, args.n);
    if let (Some(before), Some(after)) = (before, after) {
        let growth = after.rss_bytes.saturating_sub(before.rss_bytes) as f64;
        outcome.set("bytes_per_connection", growth / args.n as f64);
    }
    outcome.text = format!(
        "{}: {} a connection\n{} connections, {} subscribers a channel: {} connects, {} of server CPU each, {} resident",
        target.name,
        outcome.show("bytes_per_connection"),
        args.n,
        args.per_channel,
        outcome.show("connects_per_s"),
        outcome.show("cpu_us_per_connect"),
        outcome.show("rss_bytes"),
    );
    Ok(outcome)
}
