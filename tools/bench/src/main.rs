//! `lhttp-bench` measures lhttpd and, with the same work, its alternatives. It talks to a server over the wire only,
//! from one thread on its own CPU, and counts every delivery: it never prints a figure for messages that did not
//! arrive.

mod affinity;
mod bench;
mod connection;
mod dialect;
mod failure;
mod floor;
mod http_load;
mod jwt;
mod kept;
mod load;
mod modes;
mod opening;
mod procfs;
mod report;
mod servers;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use clap::{Args, Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{
    bench::{Bench, Placement, Target, TargetArgs},
    failure::Failure,
    floor::Relay,
    modes::{
        broadcast::{self, BurstArgs, FanoutArgs, RoomsArgs},
        cluster::{self, ClusterArgs},
        comeback::{self, ComebackArgs},
        compare::{self, CompareArgs},
        crash::{self, CrashArgs},
        history::{self, HistoryArgs},
        hold::{self, HoldArgs},
        hostile::{self, HostileArgs},
        idle::{self, IdleArgs},
        post::{self, PostArgs},
        presence::{self, PresenceArgs},
        rate::{self, RateArgs},
        resume::{self, ResumeArgs},
        rtt::{self, RttArgs},
        slow::{self, SlowArgs},
        stalls::{self, StallsArgs},
        tokens::{self, TokensArgs},
        upstream::{self, UpstreamArgs},
    },
    report::{Outcome, Output},
    servers::Programs,
};

/// Measure lhttpd, alone or beside other servers; without a command: burst
#[derive(Parser, Debug)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Each run starts the lhttpd beside this program, pinned to another CPU, unless --url names a \
running server. Deliveries are counted, and missing ones are an error. Every PUB to NATS has its own WebSocket frame, \
as from NATS' WebSocket clients, and as every other server here receives messages; NATS may pack its deliveries.")]
struct Cli {
    #[command(subcommand)]
    mode: Option<Mode>,
    #[command(flatten)]
    burst: Single<BurstArgs>,
}

/// A mode that drives one server.
#[derive(Args, Debug)]
struct Single<A: Args> {
    #[command(flatten)]
    work: A,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Common {
    #[command(flatten)]
    placement: Placement,
    #[command(flatten)]
    programs: Programs,
    #[command(flatten)]
    output: Output,
}

#[derive(Subcommand, Debug)]
enum Mode {
    /// One publisher, one subscriber: the time for all messages to arrive
    Burst(Single<BurstArgs>),
    /// One publisher, many subscribers: deliveries a second
    Fanout(Single<FanoutArgs>),
    /// Many channels with members each: deliveries a second
    Rooms(Single<RoomsArgs>),
    /// One message at a time: the round trip's percentiles
    Rtt(Single<RttArgs>),
    /// Messages at a fixed rate: percentiles of the latency, counted from when each was due
    Rate(Single<RateArgs>),
    /// Open, subscribed connections: memory and CPU time for each
    Idle(Single<IdleArgs>),
    /// Messages published over HTTP: requests a second
    Post(Single<PostArgs>),
    /// Stalled readers beside healthy ones: their cost, and how their connections end
    Slow(Single<SlowArgs>),
    /// All clients come back at once while a chat goes on: the server's CPU time, and the chat's latency; with TLS, once
    /// with whole handshakes and once with tickets
    Comeback(Single<ComebackArgs>),
    /// All clients come back at once, and each gets the messages that it has missed, beside the same messages live: the
    /// server's CPU time and memory, and the latency of another channel
    Resume {
        #[command(flatten)]
        work: ResumeArgs,
        #[command(flatten)]
        common: Common,
    },
    /// What a publish costs more if its message is kept, in memory; with --history-file also how many publishes a second are
    /// on the disk, beside the disk's own limits
    History {
        #[command(flatten)]
        work: HistoryArgs,
        #[command(flatten)]
        common: Common,
    },
    /// Many members join a channel at once: the messages that each gets about it, the list, and the memory of a member
    Presence {
        #[command(flatten)]
        work: PresenceArgs,
        #[command(flatten)]
        common: Common,
    },
    /// Kill lhttpd under load, again and again, with the history in a file: acknowledged messages that are lost, and messages
    /// that come twice to a client of the JavaScript SDK
    Crash {
        #[command(flatten)]
        work: CrashArgs,
        #[command(flatten)]
        common: Common,
    },
    /// Connections that another program opens and closes: `open`, `close` and `status` on stdin, each answered in JSON
    Hold {
        #[command(flatten)]
        work: HoldArgs,
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        placement: Placement,
        #[command(flatten)]
        programs: Programs,
    },
    /// A burst and a fan-out on lhttpd with tokens and rules, and on one without, in turn
    Tokens {
        #[command(flatten)]
        work: TokensArgs,
        #[command(flatten)]
        common: Common,
    },
    /// Two nodes with nats-server between them: publishes a second from one to the other, and the latency at a given rate
    Cluster {
        #[command(flatten)]
        work: ClusterArgs,
        #[command(flatten)]
        common: Common,
    },
    /// Messages at a fixed rate while an upstream backend hangs, and the same without: percentiles of the latency
    Upstream {
        #[command(flatten)]
        work: UpstreamArgs,
        #[command(flatten)]
        common: Common,
    },
    /// Messages at a fixed rate on the same core as hostile clients, attack after attack: latency and memory
    Hostile {
        #[command(flatten)]
        work: HostileArgs,
        #[command(flatten)]
        common: Common,
    },
    /// No server: how often this machine stops its CPUs, which delays everything that arrives then
    Stalls {
        #[command(flatten)]
        work: StallsArgs,
        #[command(flatten)]
        common: Common,
    },
    /// lhttpd, nats-server, Bun and floor with the same works in turn, in one table; lhttpd, JetStream and Nchan with those for
    /// messages that are kept; with --tls all of them with TLS,
    /// nginx in front of lhttpd, and lhttpd without TLS
    Compare {
        #[command(flatten)]
        work: CompareArgs,
        #[command(flatten)]
        common: Common,
    },
    /// Run the relay of raw bytes, which `compare` uses as the kernel's limit
    Floor {
        /// The address to listen on
        #[arg(long, value_name = "ADDR")]
        listen: SocketAddr,
        /// The CPU to run on
        #[arg(long, value_name = "N")]
        cpu: Option<usize>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The first signal lets this program end its servers. The second one ends the process at once.
        let registered = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupted)));
        if let Err(error) = registered {
            eprintln!("lhttp-bench: cannot handle signals: {error}");
            return ExitCode::FAILURE;
        }
    }
    match run(cli, interrupted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Interrupted) => ExitCode::from(130),
        Err(failure) => {
            eprintln!("lhttp-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, interrupted: Arc<AtomicBool>) -> Result<(), Failure> {
    match cli.mode.unwrap_or(Mode::Burst(cli.burst)) {
        Mode::Burst(single) => single.run(interrupted, broadcast::burst),
        Mode::Fanout(single) => single.run(interrupted, broadcast::fanout),
        Mode::Rooms(single) => single.run(interrupted, broadcast::rooms),
        Mode::Rtt(single) => single.run(interrupted, rtt::run),
        Mode::Rate(single) => single.run(interrupted, rate::run),
        Mode::Idle(single) => single.run(interrupted, idle::run),
        Mode::Post(single) => single.run(interrupted, |bench, target, args| post::run(bench, target, &args)),
        Mode::Slow(single) => single.run(interrupted, slow::run),
        Mode::Comeback(single) => single.run(interrupted, comeback::run),
        Mode::Hold { work, target, placement, programs } => {
            let bench = Bench::new(placement, programs, interrupted);
            hold::run(&bench, &bench.target(&target)?, work)
        }
        Mode::Tokens { work, common } => common.run(interrupted, |bench| tokens::run(bench, work)),
        Mode::Resume { work, common } => common.run(interrupted, |bench| resume::run(bench, &work)),
        Mode::History { work, common } => common.run(interrupted, |bench| history::run(bench, &work)),
        Mode::Presence { work, common } => common.run(interrupted, |bench| presence::run(bench, work)),
        Mode::Crash { work, common } => common.run(interrupted, |bench| crash::run(bench, &work)),
        Mode::Cluster { work, common } => common.run(interrupted, |bench| cluster::run(bench, work)),
        Mode::Hostile { work, common } => common.run(interrupted, |bench| hostile::run(bench, &work)),
        Mode::Stalls { work, common } => common.run(interrupted, |bench| stalls::run(bench, work)),
        Mode::Upstream { work, common } => common.run(interrupted, |bench| upstream::run(bench, work)),
        Mode::Compare { work, common } => {
            let bench = Bench::new(common.placement, common.programs, interrupted);
            compare::run(&bench, &work, &common.output)
        }
        Mode::Floor { listen, cpu } => {
            let _ = rlimit::increase_nofile_limit(u64::MAX);
            if cpu.is_some_and(|cpu| !affinity::pin(cpu)) {
                eprintln!("warning: the system does not let this run on CPU {}", cpu.unwrap_or_default());
            }
            let relay = Relay::listen(listen).map_err(Failure::io(format!("cannot listen on {listen}")))?;
            relay.run(&interrupted)
        }
    }
}

impl<A: Args> Single<A> {
    fn run(
        self,
        interrupted: Arc<AtomicBool>,
        mode: impl FnOnce(&Bench, &Target, A) -> Result<Outcome, Failure>,
    ) -> Result<(), Failure> {
        let Self { work, target, common } = self;
        common.run(interrupted, |bench| mode(bench, &bench.target(&target)?, work))
    }
}

impl Common {
    /// Runs a mode and writes its report.
    fn run(
        self,
        interrupted: Arc<AtomicBool>,
        mode: impl FnOnce(&Bench) -> Result<Outcome, Failure>,
    ) -> Result<(), Failure> {
        let bench = Bench::new(self.placement, self.programs, interrupted);
        let outcome = mode(&bench)?;
        bench.progress.show("");
        self.output.write(&outcome, &outcome.text)
    }
}
