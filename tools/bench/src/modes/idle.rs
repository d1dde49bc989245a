//! `idle`: the cost of an open, subscribed connection without traffic.

use std::time::Instant;

use clap::Args;
use serde_json::json;

use self::after_use::Channels;
use crate::{
    bench::{Bench, Target},
    dialect::Role,
    failure::Failure,
    report::Outcome,
};

mod after_use;

/// Opened before the count, so that the server's one-time costs are not divided among the connections.
const WARM_UP: usize = 100;

/// The arguments of `idle`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct IdleArgs {
    /// How many connections
    #[arg(short, default_value_t = 10_000, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) n: usize,
    /// How many of them share a channel
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) per_channel: usize,
    /// Measure the memory again after each has sent and received 16 KiB, and again after some of them have stalled
    #[arg(long)]
    pub(crate) after_use: bool,
    /// How many stall with --after-use: the first, in whole channels
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) stalled: usize,
}

/// Runs `idle`.
pub(crate) fn run(bench: &Bench, target: &Target, args: IdleArgs) -> Result<Outcome, Failure> {
    bench.check_descriptors(args.n + WARM_UP)?;
    let mut load = bench.load(target)?;
    let name = |channel: usize| format!("channel{channel}");
    let role = |index: usize| Role::subscriber(&name(index / args.per_channel));
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
    if args.after_use {
        let channels = Channels { subscribers: WARM_UP + args.n, size: args.per_channel, name: &name };
        let growth = |rss: Option<u64>| Some(rss?.saturating_sub(before?.rss_bytes) as f64 / args.n as f64);
        channels.use_all(bench, target, &mut load)?;
        outcome.set_known("used_bytes_per_connection", growth(target.rest().map(|usage| usage.rss_bytes)));
        let stall = channels.stall(bench, target, &mut load, args.stalled)?;
        outcome.set_known("stalled_bytes_per_connection", growth(target.rest().map(|usage| usage.rss_bytes)));
        outcome.set("stalled_connections", stall.connections as f64);
        outcome.set_known("stalled_backlog_bytes", stall.backlog_bytes);
        outcome.text += &format!(
            "\nafter 16 KiB each way {} a connection; after {} of them had stalled, with {} waiting in the server for \
             each, {}",
            outcome.show("used_bytes_per_connection"),
            stall.connections,
            outcome.show("stalled_backlog_bytes"),
            outcome.show("stalled_bytes_per_connection"),
        );
    }
    Ok(outcome)
}
