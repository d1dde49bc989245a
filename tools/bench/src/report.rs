//! The results of a run: figures by name for programs, sentences for people, and the machine.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{failure::Failure, procfs};

/// If a server waits for its CPU longer than this, the figures include its neighbours.
const DELAYED_PERCENT_MAX: f64 = 5.0;

/// The destination of the figures.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Output {
    /// Also write the figures as JSON: to FILE, or without FILE to stdout instead of the text
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub(crate) json: Option<PathBuf>,
}

impl Output {
    /// Writes `report` as JSON where wanted, and `text` to stdout unless the JSON went there.
    pub(crate) fn write(&self, report: &impl Serialize, text: &str) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(report).expect("figures and texts can be written as JSON");
        let to_stdout = match self.json.as_deref() {
            Some(path) if path == Path::new("-") => json,
            Some(path) => {
                let saved = fs::write(path, json + "\n");
                saved.map_err(Failure::io(format!("cannot write {}", path.display())))?;
                text.to_owned()
            }
            None => text.to_owned(),
        };
        writeln!(io::stdout(), "{}", to_stdout.trim_end()).map_err(Failure::io("stdout"))
    }
}

/// The result of one run of one mode with one server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) mode: &'static str,
    pub(crate) server: String,
    /// The arguments of the run.
    pub(crate) settings: Map<String, Value>,
    /// By name. The last part of a name is the unit: `_ms`, `_us`, `_ns`, `_per_s`, `_bytes`, or none for a count.
    pub(crate) figures: BTreeMap<&'static str, f64>,
    /// The same for people.
    #[serde(skip)]
    pub(crate) text: String,
}

impl Outcome {
    pub(crate) fn new(mode: &'static str, server: &str, settings: &[(&str, Value)]) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let server = server.to_owned();
        Self { mode, server, settings, figures: BTreeMap::new(), text: String::new() }
    }

    /// Adds a figure.
    pub(crate) fn set(&mut self, name: &'static str, value: f64) {
        self.figures.insert(name, value);
    }

    /// Adds a figure if it is known.
    pub(crate) fn set_known(&mut self, name: &'static str, value: Option<f64>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Adds the percentiles of a histogram of nanoseconds, in microseconds.
    pub(crate) fn set_percentiles(&mut self, histogram: &Histogram<u64>) {
        self.set_median_percentiles(std::slice::from_ref(histogram));
    }

    /// Adds each percentile's median over several rounds, and the smallest and the largest value of all.
    pub(crate) fn set_median_percentiles(&mut self, rounds: &[Histogram<u64>]) {
        let us = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        let quantiles = [("p50_us", 0.5), ("p90_us", 0.9), ("p99_us", 0.99), ("p999_us", 0.999)];
        for (name, quantile) in quantiles {
            let values: Vec<f64> = rounds.iter().map(|round| us(round.value_at_quantile(quantile))).collect();
            self.set(name, median(&values));
        }
        self.set("max_us", us(rounds.iter().map(Histogram::max).max().unwrap_or_default()));
        self.set("min_us", us(rounds.iter().map(Histogram::min).min().unwrap_or_default()));
    }

    /// A figure with its unit, or a dash.
    pub(crate) fn show(&self, name: &str) -> String {
        self.figures.get(name).map_or_else(|| "–".into(), |value| show(name, *value))
    }

    /// The percentiles for people.
    pub(crate) fn show_percentiles(&self) -> String {
        let names = ["min_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"];
        let shown = names.map(|name| format!("{} {}", name.trim_end_matches("_us"), self.show(name)));
        shown.join(", ")
    }

    /// The line on the server's CPU and memory, if they are known.
    pub(crate) fn show_server(&self) -> String {
        let parts = [
            ("server_ns_per_delivery", "of server CPU a delivery"),
            ("generator_ns_per_delivery", "of this generator's"),
            ("rss_bytes", "resident"),
        ];
        let known = parts.iter().filter(|(name, _)| self.figures.contains_key(name));
        let mut line = known.map(|(name, what)| format!("{} {what}", self.show(name))).collect::<Vec<_>>().join(", ");
        if let Some(delayed) = self.delayed() {
            line += &format!("\nnote: other processes had the server's CPU for {delayed:.0} % of the time it needed");
        }
        line
    }

    /// The share of its time, in percent, for which the server waited for its CPU, if that is enough to spoil the
    /// figures.
    pub(crate) fn delayed(&self) -> Option<f64> {
        self.figures.get("server_delayed_percent").copied().filter(|percent| *percent >= DELAYED_PERCENT_MAX)
    }
}

/// A value in the unit that its name ends with.
pub(crate) fn show(name: &str, value: f64) -> String {
    let digits = |value: f64| match value.abs() {
        0.0..1.0 => format!("{value:.3}"),
        1.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    let scaled = |steps: &[(f64, &str)], last: &str| {
        let step = steps.iter().find(|(size, _)| value.abs() >= *size);
        step.map_or_else(|| digits(value) + last, |(size, unit)| digits(value / size) + unit)
    };
    let has = |unit: &str| name.ends_with(unit);
    if has("_per_s") {
        scaled(&[(1e6, " M/s"), (1e3, " k/s")], " /s")
    } else if has("_bytes") || has("bytes_per_connection") || has("bytes_per_member") {
        scaled(&[(1024.0 * 1024.0, " MiB")], " B")
    } else if has("_ms") {
        digits(value) + " ms"
    } else if has("_us") || has("_us_per_connect") {
        digits(value) + " µs"
    } else if has("_ns") || has("_ns_per_delivery") || has("_ns_per_request") || has("_ns_per_publish") {
        digits(value) + " ns"
    } else if has("_ratio") {
        format!("{value:.2}×")
    } else {
        format!("{value:.0}")
    }
}

/// The median of some values (the mean of the two middle ones).
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => (sorted[length / 2 - 1] + sorted[length / 2]) / 2.0,
    }
}

/// The value that the share `quantile` of the values does not exceed.
pub(crate) fn quantile(values: &[f64], quantile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

/// The machine and the code that the figures belong to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) kernel: String,
    /// The checkout's commit, if this program runs in one.
    pub(crate) commit: Option<String>,
    pub(crate) date: String,
    pub(crate) command: String,
}

impl Machine {
    /// This machine, now.
    pub(crate) fn here() -> Self {
        let git = Command::new("git").args(["rev-parse", "--short", "HEAD"]).stderr(Stdio::null()).output();
        let commit = git.ok().filter(|output| output.status.success());
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            cpu: procfs::cpu_model(),
            cpus: procfs::cpus_online(),
            kernel: procfs::kernel(),
            commit: commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            date: date(since_epoch),
            command: std::env::args().skip(1).fold("lhttp-bench".into(), |line, argument| line + " " + &argument),
        }
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let commit = self.commit.as_deref().map_or(String::new(), |commit| format!(", commit {commit}"));
        format!("{} ({} CPUs), Linux {}{commit}, {}", self.cpu, self.cpus, self.kernel, self.date)
    }
}

/// The day (UTC) of a moment, as year-month-day.
fn date(since_epoch: Duration) -> String {
    // Days to civil date, after Howard Hinnant: years start in March, so that the leap day is the last day of a year.
    let days = since_epoch.as_secs() / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

/// A line on the terminal with the progress of a long run. Nothing is written if stderr is not a terminal.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    shown: bool,
}

impl ProgressLine {
    pub(crate) fn new() -> Self {
        Self { shown: io::stderr().is_terminal() }
    }

    /// Replaces the line.
    pub(crate) fn show(&self, text: &str) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.show("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_the_day_in_utc() {
        assert_eq!(date(Duration::from_secs(0)), "1970-01-01");
        assert_eq!(date(Duration::from_secs(951_782_399)), "2000-02-28");
        assert_eq!(date(Duration::from_secs(951_782_400)), "2000-02-29");
        assert_eq!(date(Duration::from_secs(4_107_542_400)), "2100-03-01");
    }

    #[test]
    fn a_value_is_shown_in_its_unit() {
        assert_eq!(show("deliveries_per_s", 34_000_000.0), "34.0 M/s");
        assert_eq!(show("median_ms", 0.9), "0.900 ms");
        assert_eq!(show("idle_bytes_per_connection", 249.4), "249 B");
        assert_eq!(show("rss_bytes", 3.0 * 1024.0 * 1024.0), "3.00 MiB");
        assert_eq!(show("server_ns_per_delivery", 29.64), "29.6 ns");
    }

    #[test]
    fn median_and_quantile_are_values_of_the_sample() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!((quantile(&ten, 0.9), quantile(&ten, 0.0), quantile(&ten, 1.0)), (9.0, 1.0, 10.0));
        assert!(median(&[]).is_nan() && quantile(&[], 0.5).is_nan());
    }
}
