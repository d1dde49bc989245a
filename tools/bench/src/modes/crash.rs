//! `crash`: `kill -9` of lhttpd under load, again and again, with the history in a file. No message that was acknowledged
//! may be missing afterwards, and none may come twice to a client of the SDK that listens all the time.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;

use self::{
    listener::Listener,
    writer::{Kept, Writer},
};
use crate::{
    bench::Bench,
    failure::Failure,
    kept::{self, KEPT_MAX},
    report::Outcome,
    servers::{Scratch, Server, free_address},
};

mod listener;
mod writer;

/// A server that acknowledges nothing for so long does not work.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most acknowledgements of a round before the server is killed.
const ACKS_MAX: u64 = 400;
/// The longest time between the last of these and the kill, in microseconds.
const DELAY_MICROS_MAX: u64 = 3000;

/// The arguments of `crash`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CrashArgs {
    /// How often lhttpd is killed
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = super::at_least_one)]
    rounds: usize,
    /// How many clients publish, each to a channel of its own
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = super::at_least_one)]
    writers: usize,
    /// The most messages of a writer that are not acknowledged yet
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = super::at_least_one)]
    window: usize,
    /// Decides the moments of the kills [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The file of the history, which must not be there yet [default: a temporary one]
    #[arg(long, value_name = "FILE")]
    history_file: Option<PathBuf>,
    /// The JavaScript SDK that listens [default: sdk/javascript/dist/lhttp.mjs of this repository]
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
    /// Node, version 20.10 or later, for the SDK
    #[arg(long, default_value = "node", value_name = "PATH")]
    node: PathBuf,
    /// No client of the SDK listens; only the server is asked what it has
    #[arg(long)]
    without_sdk: bool,
}

/// What went wrong, in numbers.
#[derive(Debug, Default)]
struct Losses {
    /// Acknowledged messages that the server does not have after the crash.
    server_lost: u64,
    /// Messages that the server has twice, or out of order.
    server_repeated: u64,
    /// Acknowledged messages that did not come to the SDK.
    sdk_lost: u64,
    /// Messages that came to the SDK twice, or out of order.
    sdk_repeated: u64,
    /// Gaps that the SDK reported.
    sdk_gaps: u64,
}

impl Losses {
    fn none(&self) -> bool {
        let Self { server_lost, server_repeated, sdk_lost, sdk_repeated, sdk_gaps } = *self;
        server_lost + server_repeated + sdk_lost + sdk_repeated + sdk_gaps == 0
    }
}

/// Runs `crash`. It fails if a message is lost or comes twice, after the report.
pub(crate) fn run(bench: &Bench, args: &CrashArgs) -> Result<Outcome, Failure> {
    super::new_file(args.history_file.as_deref())?;
    let files = Scratch::make()?;
    let rules = files.path().join("rules.toml");
    std::fs::write(&rules, kept::rule("kept.*", KEPT_MAX)).map_err(Failure::io("cannot write rules"))?;
    let file = args.history_file.clone().unwrap_or_else(|| files.path().join("history.db"));
    let address = free_address()?;
    let start = || start_lhttpd(bench, address, &rules, &file);
    let server = start()?;
    let channels: Vec<String> = (0..args.writers).map(kept::channel).collect();
    let listener = if args.without_sdk {
        None
    } else {
        Some(Listener::start(&args.node, args.sdk.as_deref(), address, &channels)?)
    };
    let seed = args.seed.unwrap_or_else(|| std::process::id().into());
    // The first line of a failure, too: with the seed the same moments come again.
    eprintln!("crash: seed {seed}");
    let mut crashes = Crashes { bench, args, address, moments: Moments(seed), losses: Losses::default(), acked: 0 };
    let mut writers = channels.iter().map(|channel| Writer::new(address, channel)).collect::<Result<Vec<_>, _>>()?;
    let server = crashes.rounds(server, start, &mut writers)?;
    if let Some(listener) = &listener {
        crashes.compare(listener, &writers);
    }
    drop(server);
    crashes.report(seed)
}

fn start_lhttpd(bench: &Bench, address: SocketAddr, rules: &Path, file: &Path) -> Result<Server, Failure> {
    let (rules, file) = (rules.display().to_string(), file.display().to_string());
    let arguments = ["--config", &*rules, "--history-file", &*file];
    Server::start_lhttpd_at(address, &bench.programs, &arguments, bench.server_cpu)
}

struct Crashes<'a> {
    bench: &'a Bench,
    args: &'a CrashArgs,
    address: SocketAddr,
    moments: Moments,
    losses: Losses,
    acked: u64,
}

impl Crashes<'_> {
    /// Kills the server `rounds` times while all write, starts it again, and asks what it has. Returns the last one.
    fn rounds(
        &mut self,
        mut server: Server,
        start: impl Fn() -> Result<Server, Failure>,
        writers: &mut [Writer],
    ) -> Result<Server, Failure> {
        for round in 1..=self.args.rounds {
            self.bench.progress.show(&format!("crash: round {round} of {}", self.args.rounds));
            if self.bench.interrupted.load(Ordering::Relaxed) {
                return Err(Failure::Interrupted);
            }
            self.write_until_killed(&mut server, writers)?;
            server = start()?;
            for writer in &mut *writers {
                let Kept { lost, repeated } = writer.check(self.address)?;
                self.losses.server_lost += lost;
                self.losses.server_repeated += repeated;
            }
        }
        self.acked = writers.iter().map(|writer| writer.acked.len() as u64).sum();
        Ok(server)
    }

    fn write_until_killed(&mut self, server: &mut Server, writers: &mut [Writer]) -> Result<(), Failure> {
        let (acks, delay) = (1 + self.moments.below(ACKS_MAX), self.moments.below(DELAY_MICROS_MAX));
        let (count, window, address) = (Arc::new(AtomicU64::new(0)), self.args.window, self.address);
        thread::scope(|scope| {
            let running: Vec<_> = writers
                .iter_mut()
                .map(|writer| {
                    let count = Arc::clone(&count);
                    scope.spawn(move || writer.write(address, window, &count))
                })
                .collect();
            let deadline = Instant::now() + PATIENCE;
            let all_ended = || running.iter().all(|writer| writer.is_finished());
            while count.load(Ordering::Relaxed) < acks && Instant::now() < deadline && !all_ended() {
                thread::sleep(Duration::from_micros(50));
            }
            thread::sleep(Duration::from_micros(delay));
            // Without a server, the writers end.
            let killed = server.kill();
            for writer in running {
                writer.join().expect("a writer does not panic")?;
            }
            killed
        })?;
        if count.load(Ordering::Relaxed) < acks {
            return Err(Failure::Server(format!("it acknowledged less than {acks} messages in {PATIENCE:?}")));
        }
        Ok(())
    }

    /// Waits until the SDK has the last message of each writer, and counts those that did not come.
    fn compare(&mut self, listener: &Listener, writers: &[Writer]) {
        let deadline = Instant::now() + PATIENCE;
        let last = |writer: &Writer| writer.acked.last().is_none_or(|last| listener.has(&writer.channel, *last));
        while !writers.iter().all(last) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        for writer in writers {
            let lost = writer.acked.iter().filter(|number| !listener.has(&writer.channel, **number));
            self.losses.sdk_lost += lost.count() as u64;
        }
        (self.losses.sdk_repeated, self.losses.sdk_gaps) = listener.faults();
    }

    fn report(&self, seed: u64) -> Result<Outcome, Failure> {
        let settings = [
            ("rounds", json!(self.args.rounds)),
            ("writers", json!(self.args.writers)),
            ("window", json!(self.args.window)),
            ("seed", json!(seed)),
            ("sdk", json!(!self.args.without_sdk)),
        ];
        let mut outcome = Outcome::new("crash", "lhttpd", &settings);
        let Losses { server_lost, server_repeated, sdk_lost, sdk_repeated, sdk_gaps } = self.losses;
        outcome.set("crashes", self.args.rounds as f64);
        outcome.set("acknowledged", self.acked as f64);
        outcome.set("acknowledged_lost", server_lost as f64);
        outcome.set("repeated", server_repeated as f64);
        outcome.text = format!(
            "lhttpd: killed {} times under load; {} messages acknowledged, of these lost: {server_lost}; twice or out of order \
             in the history: {server_repeated}",
            self.args.rounds, self.acked
        );
        if !self.args.without_sdk {
            outcome.set("sdk_acknowledged_lost", sdk_lost as f64);
            outcome.set("sdk_repeated", sdk_repeated as f64);
            outcome.set("sdk_gaps", sdk_gaps as f64);
            outcome.text += &format!(
                "\nat the SDK: acknowledged messages lost: {sdk_lost}; duplicates, or out of order: {sdk_repeated}; gaps: \
                 {sdk_gaps}"
            );
        }
        if self.losses.none() { Ok(outcome) } else { Err(Failure::Server(outcome.text)) }
    }
}

/// Numbers that a seed decides (SplitMix64).
#[derive(Debug)]
struct Moments(u64);

impl Moments {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
