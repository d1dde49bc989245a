//! `tokens`: what tokens and rules cost per message. Two lhttpd do the same works in turn: one where anybody may do
//! everything, and one where each client shows a token and each channel has a rule.

use std::fs;

use clap::Args;
use serde_json::json;

use super::broadcast::{self, BurstArgs, FanoutArgs, Writes};
use crate::{
    bench::{Bench, Target},
    dialect::Dialect,
    failure::Failure,
    report::{Outcome, median},
    servers::{self, Scratch},
};

/// The secret that signs the tokens.
const SECRET: &str = "the secret of lhttp-bench, of more than thirty-two bytes";
/// A few rules that do not match stand before the one that counts.
const RULES: &str = "[[channel]]\nmatch = \"news.*\"\nsubscribe = \"anyone\"\npublish = \"nobody\"\n\n\
                     [[channel]]\nmatch = \"user.{user}\"\nsubscribe = \"user\"\npublish = \"token\"\n\n\
                     [[channel]]\nmatch = \"*\"\nsubscribe = \"token\"\npublish = \"token\"\n";

/// The arguments of `tokens`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct TokensArgs {
    /// How often both servers do each work
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) rounds: usize,
    /// Messages of a burst; a fan-out to 100 has a tenth
    #[arg(short, default_value_t = 10_000, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) n: usize,
    /// Bytes of a message's body
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    pub(crate) body: usize,
    /// Both over TLS
    #[arg(long)]
    pub(crate) tls: bool,
}

/// A work's figure: its names without and with tokens, and of the quotient.
struct Row {
    what: &'static str,
    figure: &'static str,
    open: &'static str,
    guarded: &'static str,
    percent: &'static str,
}

const BURST: [Row; 2] = [
    Row {
        what: "burst, time",
        figure: "median_ms",
        open: "burst_open_ms",
        guarded: "burst_ms",
        percent: "burst_time_percent",
    },
    Row {
        what: "burst, server CPU a delivery",
        figure: "server_ns_per_delivery",
        open: "burst_open_server_ns_per_delivery",
        guarded: "burst_server_ns_per_delivery",
        percent: "burst_cpu_percent",
    },
];
const FANOUT: [Row; 2] = [
    Row {
        what: "fan-out, time",
        figure: "median_ms",
        open: "fanout_open_ms",
        guarded: "fanout_ms",
        percent: "fanout_time_percent",
    },
    Row {
        what: "fan-out, server CPU a delivery",
        figure: "server_ns_per_delivery",
        open: "fanout_open_server_ns_per_delivery",
        guarded: "fanout_server_ns_per_delivery",
        percent: "fanout_cpu_percent",
    },
];

/// Runs `tokens`.
pub(crate) fn run(bench: &Bench, args: TokensArgs) -> Result<Outcome, Failure> {
    let files = Scratch::make()?;
    let open = bench.start_tls(Dialect::Lhttp, &[], args.tls)?;
    let guarded = guarded(bench, &files, args.tls)?;
    let burst = BurstArgs { n: args.n, body: args.body, rounds: 10, write: Writes::All };
    let fanout = FanoutArgs { subs: 100, n: args.n.div_ceil(10), body: args.body, rounds: 5 };
    let mut runs: [Vec<Outcome>; 4] = Default::default();
    for round in 0..args.rounds {
        bench.progress.show(&format!("tokens: round {} of {}", round + 1, args.rounds));
        // Each is first in every other round.
        let order = if round % 2 == 0 { [(0, &open), (1, &guarded)] } else { [(1, &guarded), (0, &open)] };
        for (at, target) in order {
            runs[at].push(broadcast::burst(bench, target, burst)?);
        }
        for (at, target) in order {
            runs[at + 2].push(broadcast::fanout(bench, target, fanout)?);
        }
    }
    let settings = [
        ("rounds", json!(args.rounds)),
        ("messages", json!(args.n)),
        ("body_bytes", json!(args.body)),
        ("tls", json!(args.tls)),
    ];
    let mut outcome = Outcome::new("tokens", "lhttpd", &settings);
    outcome.text = format!("lhttpd with tokens and rules, beside lhttpd without; medians of {} rounds", args.rounds);
    let [burst_open, burst_guarded, fanout_open, fanout_guarded] = &runs;
    for row in BURST {
        compare(&mut outcome, &row, burst_open, burst_guarded);
    }
    for row in FANOUT {
        compare(&mut outcome, &row, fanout_open, fanout_guarded);
    }
    Ok(outcome)
}

/// An lhttpd that lets nobody do anything without a token.
fn guarded(bench: &Bench, files: &Scratch, tls: bool) -> Result<Target, Failure> {
    let (key, rules) = (files.path().join("token-key"), files.path().join("rules.toml"));
    servers::write_secret(&key, SECRET).map_err(Failure::io("cannot write a token key"))?;
    fs::write(&rules, RULES).map_err(Failure::io("cannot write rules"))?;
    let [key_text, rules] = [&key, &rules].map(|path| path.display().to_string());
    let arguments = ["--config", &rules, "--token-key", &key_text, "--require-token"];
    let mut target = bench.start_tls(Dialect::Lhttp, &arguments, tls)?;
    target.show_tokens(&key)?;
    Ok(target)
}

/// Adds a row. The percentage is the median of the rounds' own, since a round's two runs are close to each other.
fn compare(outcome: &mut Outcome, row: &Row, open: &[Outcome], guarded: &[Outcome]) {
    let figures = |runs: &[Outcome]| -> Option<Vec<f64>> {
        runs.iter().map(|run| run.figures.get(row.figure).copied()).collect()
    };
    let (Some(open), Some(guarded)) = (figures(open), figures(guarded)) else { return };
    let percent: Vec<f64> = open.iter().zip(&guarded).map(|(open, guarded)| 100.0 * guarded / open).collect();
    outcome.set(row.open, median(&open));
    outcome.set(row.guarded, median(&guarded));
    outcome.set(row.percent, median(&percent));
    outcome.text += &format!(
        "\n{}: {} with, {} without: {:.1} %",
        row.what,
        outcome.show(row.guarded),
        outcome.show(row.open),
        median(&percent)
    );
}
