//! `slow`: stalled readers beside healthy ones in the same channel. A server must bound the backlog of the stalled
//! ones, and must not delay the healthy ones.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;

use crate::{
    bench::{Bench, Target},
    connection::Phase,
    dialect::Role,
    failure::Failure,
    load::{Flow, Load},
    procfs,
    report::{Outcome, quantile},
};

/// The next part is published when the healthy readers have received this much, so that none of them is slow by
/// accident.
const PART_BYTES: usize = 256 * 1024;
/// If nothing came for this long, the stalled readers have read everything.
const QUIET: Duration = Duration::from_secs(1);

/// The arguments of `slow`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct SlowArgs {
    /// How many subscribers do not read
    #[arg(long, default_value_t = 300, value_name = "N")]
    pub(crate) stalled: usize,
    /// How many subscribers do
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) healthy: usize,
    /// How many MB to publish
    #[arg(long, default_value_t = 20, value_name = "MB", value_parser = super::at_least_one)]
    pub(crate) mb: usize,
    /// Bytes of a message's body
    #[arg(long, default_value_t = 1000, value_name = "BYTES")]
    pub(crate) body: usize,
}

/// Runs `slow`. With a server of this program's own that speaks TLS, runs it on one without TLS too.
pub(crate) fn run(bench: &Bench, target: &Target, args: SlowArgs) -> Result<Outcome, Failure> {
    if target.tls.is_none() || !target.is_ours() {
        return measure(bench, target, args);
    }
    let plain = measure(bench, &bench.start(target.dialect, &[])?, args)?;
    let mut outcome = measure(bench, target, args)?;
    for (name, figure) in [
        ("plain_rss_peak_bytes", "rss_peak_bytes"),
        ("plain_rss_growth_peak_bytes", "rss_growth_peak_bytes"),
        ("plain_rss_growth_end_bytes", "rss_growth_end_bytes"),
        ("plain_part_p50_ms", "part_p50_ms"),
        ("plain_part_max_ms", "part_max_ms"),
    ] {
        outcome.set_known(name, plain.figures.get(figure).copied());
    }
    outcome.text += &format!(
        "\nresident at most {}; without TLS {}, of which the stall is {} at most and {} in the end",
        outcome.show("rss_peak_bytes"),
        outcome.show("plain_rss_peak_bytes"),
        outcome.show("plain_rss_growth_peak_bytes"),
        outcome.show("plain_rss_growth_end_bytes"),
    );
    Ok(outcome)
}

/// One server's run.
pub(super) fn measure(bench: &Bench, target: &Target, args: SlowArgs) -> Result<Outcome, Failure> {
    let mut load = bench.load(target)?;
    let mut roles = vec![Role::subscriber("room"); args.stalled + args.healthy];
    roles.push(Role::publisher("room"));
    load.open(&roles, args.body, |open| bench.progress.show(&format!("slow: {open} of {}", roles.len())))?;
    for connection in &mut load.connections[..args.stalled] {
        connection.paused = true;
    }
    let published = publish(bench, &mut load, target, args)?;
    let after = target.usage();
    let ends = resume(&mut load, args.stalled)?;

    let settings = [
        ("stalled", json!(args.stalled)),
        ("healthy", json!(args.healthy)),
        ("mb", json!(args.mb)),
        ("body_bytes", json!(args.body)),
    ];
    let mut outcome = Outcome::new("slow", target.name, &settings);
    let before = published.rss_before;
    let growth = |rss: Option<u64>| Some(rss?.saturating_sub(before?) as f64);
    outcome.set_known("rss_peak_bytes", published.rss_peak.map(|bytes| bytes as f64));
    outcome.set_known("rss_growth_peak_bytes", growth(published.rss_peak));
    outcome.set_known("rss_growth_end_bytes", growth(after.map(|usage| usage.rss_bytes)));
    outcome.set_known("kernel_growth_peak_bytes", published.kernel_growth_peak.map(|bytes| bytes as f64));
    outcome.set("healthy_deliveries", published.deliveries as f64);
    outcome.set("part_p50_ms", quantile(&published.parts_ms, 0.5));
    outcome.set("part_max_ms", quantile(&published.parts_ms, 1.0));
    outcome.set("closed_1013", ends.get("closed with 1013").copied().unwrap_or(0) as f64);
    outcome.set("still_open", ends.get("still open").copied().unwrap_or(0) as f64);
    let ends: Vec<String> = ends.iter().map(|(end, count)| format!("{count} {end}")).collect();
    outcome.text = format!(
        "{}: {} stalled readers cost the server {} at most, {} in the end, and the kernel {}\n{} MB published; the {} healthy readers got all {} \
         deliveries; each {} KiB took {} ({} at most)\nstalled readers, when they read on: {}",
        target.name,
        args.stalled,
        outcome.show("rss_growth_peak_bytes"),
        outcome.show("rss_growth_end_bytes"),
        outcome.show("kernel_growth_peak_bytes"),
        args.mb,
        args.healthy,
        published.deliveries,
        PART_BYTES / 1024,
        outcome.show("part_p50_ms"),
        outcome.show("part_max_ms"),
        ends.join(", "),
    );
    Ok(outcome)
}

struct Published {
    deliveries: u64,
    parts_ms: Vec<f64>,
    rss_before: Option<u64>,
    rss_peak: Option<u64>,
    /// The largest growth of the kernel's socket buffers.
    kernel_growth_peak: Option<u64>,
}

/// Publishes part after part, each when the healthy readers have received the previous one.
fn publish(bench: &Bench, load: &mut Load, target: &Target, args: SlowArgs) -> Result<Published, Failure> {
    let message = target.dialect.publish("room", &vec![b'x'; args.body], [1, 2, 3, 4]).bytes;
    let frames = (PART_BYTES / message.len()).max(1);
    let flow = Flow {
        connection: args.stalled + args.healthy,
        frame_bytes: message.len(),
        block: message.repeat(frames).into(),
        frames,
        one_each: false,
    };
    let parts = (args.mb * 1_000_000).div_ceil(frames * args.body.max(1));
    let before = load.deliveries;
    let rss_before = target.rss_bytes();
    let kernel_before = procfs::tcp_memory_bytes();
    let (mut rss_peak, mut kernel_peak, mut parts_ms) = (rss_before, kernel_before, Vec::new());
    for part in 0..parts {
        parts_ms.push(load.publish(std::slice::from_ref(&flow), (frames * args.healthy) as u64)?.as_secs_f64() * 1e3);
        rss_peak = rss_peak.max(target.rss_bytes());
        kernel_peak = kernel_peak.max(procfs::tcp_memory_bytes());
        bench.progress.show(&format!("slow: part {part} of {parts}"));
    }
    let kernel_growth_peak = kernel_peak.zip(kernel_before).map(|(peak, before)| peak - before);
    Ok(Published { deliveries: load.deliveries - before, parts_ms, rss_before, rss_peak, kernel_growth_peak })
}

/// Lets the stalled readers read their rest, and returns how many ended in each way.
fn resume(load: &mut Load, stalled: usize) -> Result<BTreeMap<String, usize>, Failure> {
    for index in 0..stalled {
        load.connections[index].paused = false;
        load.read(index, true, None);
    }
    let mut last = (Instant::now(), load.deliveries);
    while last.0.elapsed() < QUIET {
        load.turn(Some(Duration::from_millis(20)), None)?;
        if load.deliveries != last.1 {
            last = (Instant::now(), load.deliveries);
        }
    }
    let mut ends = BTreeMap::new();
    for connection in &load.connections[..stalled] {
        let end = match (connection.counter.close_code, connection.phase) {
            (Some(code), _) => format!("closed with {code}"),
            (None, Phase::Closed) => "cut off without a close frame".to_owned(),
            (None, _) => "still open".to_owned(),
        };
        *ends.entry(end).or_insert(0) += 1;
    }
    Ok(ends)
}
