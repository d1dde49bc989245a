//! `history`: what it costs a publish that its message is kept. In memory, two lhttpd do the same works in turn: one keeps
//! the channel's messages, and one does not. In a file, publishes are counted that are on the disk, beside what the disk
//! itself can do.

use std::{fs, path::PathBuf};

use clap::Args;
use serde_json::json;

use self::durable::DurableArgs;
use super::{
    broadcast::{self, BurstArgs, Writes},
    resume::kept_messages,
};
use crate::{
    bench::{Bench, Target},
    dialect::{Dialect, Role},
    failure::Failure,
    kept,
    report::{Outcome, median},
    servers::Scratch,
};

pub(super) mod disk;
mod durable;

/// How often a run of one of the two works publishes its messages.
const ROUNDS_OF_A_RUN: usize = 10;

/// The arguments of `history`.
#[derive(Args, Clone, Debug)]
pub(crate) struct HistoryArgs {
    /// How often both servers do each work
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) rounds: usize,
    /// Messages of a work
    #[arg(short, default_value_t = 10_000, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) n: usize,
    /// Bytes of a message's body
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    pub(crate) body: usize,
    /// Messages of a channel that are kept
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = kept_messages)]
    pub(crate) kept: usize,
    /// Measure publishes that are on the disk, too: a file that is not there yet, on the disk to measure
    #[arg(long, value_name = "FILE")]
    pub(crate) history_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) durable: DurableArgs,
}

/// A work's names: without a history, with it, and the difference.
struct Row {
    what: &'static str,
    without: &'static str,
    with: &'static str,
    more: &'static str,
}

const TO_ONE: Row =
    Row { what: "to one subscriber", without: "to_one_plain_ns", with: "to_one_kept_ns", more: "to_one_more_ns" };
const TO_NOBODY: Row =
    Row { what: "to nobody", without: "to_nobody_plain_ns", with: "to_nobody_kept_ns", more: "to_nobody_more_ns" };
const ACKNOWLEDGED: Row = Row {
    what: "to nobody, each acknowledged",
    without: "acknowledged_plain_ns",
    with: "acknowledged_kept_ns",
    more: "acknowledged_more_ns",
};

/// Runs `history`.
pub(crate) fn run(bench: &Bench, args: &HistoryArgs) -> Result<Outcome, Failure> {
    super::new_file(args.history_file.as_deref())?;
    let settings = [
        ("rounds", json!(args.rounds)),
        ("messages", json!(args.n)),
        ("body_bytes", json!(args.body)),
        ("kept", json!(args.kept)),
    ];
    let mut outcome = Outcome::new("history", "lhttpd", &settings);
    in_memory(bench, args, &mut outcome)?;
    if let Some(file) = &args.history_file {
        durable::measure(bench, args, file, &mut outcome)?;
    }
    Ok(outcome)
}

fn in_memory(bench: &Bench, args: &HistoryArgs, outcome: &mut Outcome) -> Result<(), Failure> {
    let files = Scratch::make()?;
    let rules = files.path().join("rules.toml");
    fs::write(&rules, kept::rule("room", args.kept)).map_err(Failure::io("cannot write rules"))?;
    let plain = bench.start(Dialect::Lhttp, &[])?;
    let keeping = bench.start(Dialect::Lhttp, &["--config", &rules.display().to_string()])?;
    let burst = BurstArgs { n: args.n, body: args.body, rounds: ROUNDS_OF_A_RUN, write: Writes::All };
    let mut costs: [Vec<f64>; 6] = Default::default();
    for round in 0..args.rounds {
        bench.progress.show(&format!("history: round {} of {}", round + 1, args.rounds));
        // Each is first in every other round.
        let order = if round % 2 == 0 { [(0, &plain), (1, &keeping)] } else { [(1, &keeping), (0, &plain)] };
        for (at, target) in order {
            let run = broadcast::burst(bench, target, burst)?;
            costs[at].extend(run.figures.get("server_ns_per_delivery"));
        }
        for (at, target) in order {
            costs[at + 2].extend(to_nobody(bench, target, args, false)?);
        }
        for (at, target) in order {
            costs[at + 4].extend(to_nobody(bench, target, args, true)?);
        }
    }
    let [one_plain, one_kept, nobody_plain, nobody_kept, acknowledged_plain, acknowledged_kept] = &costs;
    outcome.text = format!(
        "lhttpd that keeps a channel's {} newest messages in memory, beside one that does not: server CPU a message of {} \
         bytes, medians of {} rounds",
        args.kept, args.body, args.rounds
    );
    report(outcome, &TO_ONE, one_plain, one_kept);
    report(outcome, &TO_NOBODY, nobody_plain, nobody_kept);
    report(outcome, &ACKNOWLEDGED, acknowledged_plain, acknowledged_kept);
    Ok(())
}

/// The server's CPU time for each publish that nobody receives. The last message is acknowledged, or each.
fn to_nobody(bench: &Bench, target: &Target, args: &HistoryArgs, each: bool) -> Result<Option<f64>, Failure> {
    let mut load = bench.load(target)?;
    load.open(&[Role::confirmed("room")], args.body, |_| {})?;
    let (flow, answers) = if each {
        (broadcast::confirmed_flow(Dialect::Lhttp, "room", 0, args.body, args.n, usize::MAX), args.n)
    } else {
        (broadcast::flow_with_one_answer("room", 0, args.body, args.n), 1)
    };
    load.publish(std::slice::from_ref(&flow), answers as u64)?;
    let before = target.usage();
    for _ in 0..ROUNDS_OF_A_RUN {
        load.publish(std::slice::from_ref(&flow), answers as u64)?;
    }
    let cpu_ns = target.usage().zip(before).map(|(after, before)| after.cpu_ns.saturating_sub(before.cpu_ns));
    Ok(cpu_ns.map(|cpu_ns| cpu_ns as f64 / (ROUNDS_OF_A_RUN * args.n) as f64))
}

/// Adds a row. The difference is the median of the rounds' own, since a round's two runs are close to each other.
fn report(outcome: &mut Outcome, row: &Row, plain: &[f64], kept: &[f64]) {
    if plain.is_empty() || plain.len() != kept.len() {
        return;
    }
    let more: Vec<f64> = plain.iter().zip(kept).map(|(plain, kept)| kept - plain).collect();
    outcome.set(row.without, median(plain));
    outcome.set(row.with, median(kept));
    outcome.set(row.more, median(&more));
    outcome.text += &format!(
        "\n{}: {} with, {} without: {} more",
        row.what,
        outcome.show(row.with),
        outcome.show(row.without),
        outcome.show(row.more)
    );
}
