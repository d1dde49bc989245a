//! Publishes that are acknowledged, and so on the disk.

use std::path::Path;

use clap::Args;

use super::{
    HistoryArgs,
    disk::{self, Disk},
};
use crate::{
    bench::Bench,
    dialect::{Dialect, Role},
    failure::Failure,
    kept,
    load::{Flow, Window},
    modes::{at_least_one, broadcast},
    report::{Outcome, median},
};

/// The arguments for publishes to a file.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct DurableArgs {
    /// With --history-file: how many messages of a round
    #[arg(long, default_value_t = 200_000, value_name = "N", value_parser = at_least_one)]
    pub(crate) durable: usize,
    /// With --history-file: how many publishers, each with a channel of its own
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = at_least_one)]
    pub(crate) publishers: usize,
    /// With --history-file: the most messages of a publisher that are not acknowledged yet; lhttpd refuses more than 1,024
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) window: u64,
    /// With --history-file: how often to measure
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = at_least_one)]
    pub(crate) durable_rounds: usize,
}

/// Publishes to a server that keeps the messages in `file`, and says what the disk below could do.
pub(super) fn measure(bench: &Bench, args: &HistoryArgs, file: &Path, outcome: &mut Outcome) -> Result<(), Failure> {
    let DurableArgs { durable, publishers, window, durable_rounds } = args.durable;
    bench.progress.show("history: the disk alone");
    let disk = Disk::probe(file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    let keeper = bench.start_keeping(Dialect::Lhttp, args.kept, Some(file), false)?;
    let mut load = bench.load(&keeper.target)?;
    let roles: Vec<Role> = (0..publishers).map(|number| Role::confirmed(&kept::channel(number))).collect();
    load.open(&roles, args.body, |_| {})?;
    let each = durable.div_ceil(publishers);
    // A quarter of the window at once, so that the next batch grows while one is written.
    let block = (window as usize / 4).max(1);
    let flow =
        |number| broadcast::confirmed_flow(Dialect::Lhttp, &kept::channel(number), number, args.body, each, block);
    let flows: Vec<Flow> = (0..publishers).map(flow).collect();
    let messages = each * publishers;
    let mut publish = || load.publish_within(&flows, messages as u64, Window::Each(window));
    publish()?;
    let (before, bytes_before) = (keeper.target.usage(), keeper.target.disk_bytes());
    let mut seconds = Vec::new();
    for round in 1..=durable_rounds {
        bench.progress.show(&format!("history: on the disk, round {round} of {durable_rounds}"));
        seconds.push(publish()?.as_secs_f64());
    }
    let (after, bytes_after) = (keeper.target.usage(), keeper.target.disk_bytes());
    let all = messages * durable_rounds;
    outcome.set("durable_publishes_per_s", messages as f64 / median(&seconds));
    if let (Some(before), Some(after)) = (before, after) {
        outcome.set("durable_ns_per_publish", after.cpu_ns.saturating_sub(before.cpu_ns) as f64 / all as f64);
    }
    if let (Some(before), Some(after)) = (bytes_before, bytes_after) {
        let bytes = after.saturating_sub(before) as f64;
        outcome.set("durable_written_bytes", bytes / all as f64);
        outcome.set("durable_mb_per_second", bytes / 1e6 / seconds.iter().sum::<f64>());
    }
    outcome.set("disk_syncs_per_s", disk.syncs_per_s);
    outcome.set("disk_mb_per_second", disk.mb_per_s);
    outcome.text += &format!(
        "\nin a file: {} publishes on the disk, {} publishers with at most {window} messages in flight each; {} of server CPU \
         each, {} written each, {} MB/s in all\nthe disk alone: {} writes of {} KiB that are each waited for (fdatasync), {} \
         MB/s in one go",
        outcome.show("durable_publishes_per_s"),
        publishers,
        outcome.show("durable_ns_per_publish"),
        outcome.show("durable_written_bytes"),
        outcome.show("durable_mb_per_second"),
        outcome.show("disk_syncs_per_s"),
        disk::SYNCED_BYTES / 1024,
        outcome.show("disk_mb_per_second"),
    );
    Ok(())
}
