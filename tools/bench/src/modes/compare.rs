//! `compare`: every server does the same works in turn, alone and on the same CPU. One table shows the figures, the
//! ratios and lhttpd's goals.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::Serialize;

use super::works::{self, Contender, Row, Work};
use crate::{
    bench::Bench,
    failure::Failure,
    report::{Machine, Outcome, Output, median, show},
};

/// The arguments of `compare`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareArgs {
    /// How often each server does each work, each time newly started
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) rounds: usize,
    /// Only these works: burst, fanout, rooms, rate, rtt, idle, post, history; with --tls: burst, fanout, rooms, rate, idle, slow,
    /// comeback
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) only: Vec<String>,
    /// Only these servers
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) servers: Vec<Contender>,
    /// A small share of the work, to check that everything runs; the figures mean little
    #[arg(long)]
    pub(crate) quick: bool,
    /// All servers with TLS, beside nginx in front of lhttpd, and lhttpd without TLS
    #[arg(long)]
    pub(crate) tls: bool,
}

/// The results of a comparison.
#[derive(Debug, Serialize)]
struct Comparison {
    machine: Machine,
    rounds: usize,
    quick: bool,
    tls: bool,
    /// The missing servers, and why they are missing.
    left_out: Vec<String>,
    /// The failures, and how often each occurred.
    failures: BTreeMap<String, usize>,
    rows: Vec<RowResult>,
    /// Every single run.
    outcomes: Vec<Outcome>,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct RowResult {
    title: &'static str,
    figure: &'static str,
    /// The median over the rounds, by server.
    values: BTreeMap<Contender, f64>,
    /// How many times better lhttpd is than each of the others.
    ratios: BTreeMap<Contender, f64>,
    goals: Vec<Goal>,
}

/// A goal of lhttpd in one row.
#[derive(Debug, Serialize)]
struct Goal {
    text: String,
    /// `None` if a figure is missing.
    met: Option<bool>,
}

/// Runs the comparison and prints its table.
pub(crate) fn run(bench: &Bench, args: &CompareArgs, output: &Output) -> Result<(), Failure> {
    let works: Vec<Work> = works::all(args.quick, args.tls)
        .into_iter()
        .filter(|work| args.only.is_empty() || args.only.iter().any(|name| name == work.group))
        .collect();
    if let Some(unknown) = args.only.iter().find(|name| works.iter().all(|work| work.group != **name)) {
        return Err(Failure::Usage(format!("there is no work named {unknown}")));
    }
    let mut runs = Runs::default();
    for round in 1..=args.rounds {
        for work in &works {
            for server in Contender::ALL {
                if args.servers.is_empty() || args.servers.contains(&server) {
                    bench.progress.show(&format!("round {round} of {}: {} on {server}", args.rounds, work.title));
                    runs.one(bench, work, server)?;
                }
            }
        }
    }
    bench.progress.show("");
    let rows = works.iter().flat_map(|work| work.rows.iter().map(|row| runs.row(work, row))).collect();
    let comparison = Comparison {
        machine: Machine::here(),
        rounds: args.rounds,
        quick: args.quick,
        tls: args.tls,
        left_out: runs.left_out.into_iter().collect(),
        failures: runs.failures,
        rows,
        outcomes: runs.outcomes.into_iter().map(|(_, _, outcome)| outcome).collect(),
    };
    output.write(&comparison, &text(&comparison))?;
    if comparison.failures.is_empty() {
        return Ok(());
    }
    Err(Failure::Runs(comparison.failures.values().sum()))
}

#[derive(Default)]
struct Runs {
    outcomes: Vec<(&'static str, Contender, Outcome)>,
    left_out: BTreeSet<String>,
    failures: BTreeMap<String, usize>,
}

impl Runs {
    /// Starts a server, has it do a work, and ends it. Missing servers and failures are noted; only an interruption
    /// ends the comparison.
    fn one(&mut self, bench: &Bench, work: &Work, server: Contender) -> Result<(), Failure> {
        if !work.servers.contains(&server) {
            return Ok(());
        }
        let result = (work.run)(bench, server);
        match result {
            Ok(outcome) => self.outcomes.push((work.title, server, outcome)),
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(Failure::NotInstalled(why)) => {
                self.left_out.insert(why);
            }
            Err(failure) => {
                // A server's last output may have several lines.
                let words = failure.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                *self.failures.entry(format!("{} on {server}: {words}", work.title)).or_insert(0) += 1;
            }
        }
        Ok(())
    }

    fn row(&self, work: &Work, row: &Row) -> RowResult {
        let mut values = BTreeMap::new();
        for server in Contender::ALL {
            let runs = self.outcomes.iter().filter(|(title, of, _)| *title == work.title && *of == server);
            let figures: Vec<f64> = runs.filter_map(|(_, _, run)| run.figures.get(row.figure).copied()).collect();
            let best = if row.more_is_better { f64::max } else { f64::min };
            if let Some(best) = figures.iter().copied().reduce(best) {
                values.insert(server, if row.best { best } else { median(&figures) });
            }
        }
        let ours = values.get(&Contender::Lhttp).copied();
        let better = |theirs: f64| ours.map(|ours| if row.more_is_better { ours / theirs } else { theirs / ours });
        let others = values.iter().filter(|(server, _)| **server != Contender::Lhttp);
        let ratios: BTreeMap<Contender, f64> =
            others.filter_map(|(server, theirs)| Some((*server, better(*theirs)?))).collect();
        let mut goals: Vec<Goal> = Vec::new();
        for (server, at_least) in row.goals {
            let met = ratios.get(server).map(|ratio| ratio >= at_least);
            goals.push(Goal { text: format!("{server} ≥ {at_least:.2}×"), met });
        }
        if let Some(at_most) = row.at_most {
            let met = ours.map(|ours| ours <= at_most);
            goals.push(Goal { text: format!("≤ {}", show(row.figure, at_most)), met });
        }
        if let Some(at_least) = row.at_least {
            let met = ours.map(|ours| ours >= at_least);
            goals.push(Goal { text: format!("≥ {}", show(row.figure, at_least)), met });
        }
        RowResult { title: row.title, figure: row.figure, values, ratios, goals }
    }
}

/// The comparison for people: a table in Markdown whose columns also line up in a terminal.
fn text(comparison: &Comparison) -> String {
    let mut lines = vec![
        comparison.machine.line(),
        format!(
            "`{}`: median of {} rounds, one CPU for the server; in brackets how many times better lhttpd is",
            comparison.machine.command, comparison.rounds
        ),
        String::new(),
    ];
    let columns = Contender::ALL.into_iter().filter(|server| {
        *server == Contender::Lhttp || comparison.rows.iter().any(|row| row.values.contains_key(server))
    });
    let columns: Vec<Contender> = columns.collect();
    let mut table = vec![
        ["work".to_owned()].into_iter().chain(columns.iter().map(ToString::to_string)).chain(["goal".into()]).collect(),
    ];
    table.extend(comparison.rows.iter().map(|row| cells(row, &columns)));
    lines.extend(aligned(&table));
    lines.push(String::new());
    let delayed: Vec<f64> = comparison.outcomes.iter().filter_map(Outcome::delayed).collect();
    if let Some(most) = delayed.iter().copied().max_by(f64::total_cmp) {
        let (count, all) = (delayed.len(), comparison.outcomes.len());
        lines.push(format!(
            "The machine was busy: in {count} of {all} runs the server waited for its CPU, up to {most:.0} % of its \
             time. Rely on CPU time and best rounds then."
        ));
    }
    lines.extend(comparison.left_out.iter().map(|why| format!("Left out: {why}.")));
    let rounds = comparison.rounds;
    let failures = comparison.failures.iter();
    lines.extend(failures.map(|(what, count)| format!("Failed in {count} of {rounds} rounds: {what}")));
    lines.join("\n")
}

fn cells(row: &RowResult, columns: &[Contender]) -> Vec<String> {
    let mut cells = vec![row.title.to_owned()];
    for server in columns {
        let value = row.values.get(server).map_or_else(|| "–".into(), |value| show(row.figure, *value));
        let ratio = row.ratios.get(server).map_or(String::new(), |ratio| format!(" ({ratio:.2}×)"));
        cells.push(value + &ratio);
    }
    let goals = row.goals.iter().map(|goal| {
        let mark = match goal.met {
            Some(true) => "✓ ",
            Some(false) => "✗ ",
            None => "? ",
        };
        mark.to_owned() + &goal.text
    });
    cells.push(goals.collect::<Vec<_>>().join(", "));
    cells
}

/// The rows of a Markdown table, padded.
fn aligned(table: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("| {} |", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule = widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("|");
    let mut lines: Vec<String> = table.iter().map(line).collect();
    lines.insert(1, format!("|{rule}|"));
    lines
}
