//! The works of `compare`, and lhttpd's goals for each.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use self::Contender::{Bun, Floor, Lhttp, Nats, Nginx};
use super::{
    broadcast::{self, BurstArgs, FanoutArgs, RoomsArgs, Writes},
    idle::{self, IdleArgs},
    post::{self, PostArgs},
    rate::{self, RateArgs},
    rtt::{self, RttArgs},
};
use crate::{
    bench::{Bench, Target},
    dialect::Dialect,
    failure::Failure,
    load::Wait,
    report::Outcome,
};

mod kept;
mod with_tls;

/// The server of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Contender {
    /// lhttpd
    Lhttp,
    /// nats-server with its WebSocket listener
    Nats,
    /// nats-server with JetStream, which keeps messages; for history only
    #[value(name = "jetstream")]
    JetStream,
    /// nginx with Nchan, which keeps messages; for history only
    Nchan,
    /// Bun's WebSocket publish
    Bun,
    /// The relay of raw bytes
    Floor,
    /// nginx that answers an empty 200; for post only
    Nginx,
    /// nginx in front of lhttpd; with --tls only
    Front,
    /// lhttpd without TLS; with --tls only
    Plain,
}

impl Contender {
    /// All, in the order of the columns.
    pub(crate) const ALL: [Self; 9] = [
        Self::Lhttp,
        Self::Nats,
        Self::JetStream,
        Self::Nchan,
        Self::Bun,
        Self::Floor,
        Self::Nginx,
        Self::Front,
        Self::Plain,
    ];

    /// Starts the server: with TLS if `tls`, unless it is the one without.
    fn start(self, bench: &Bench, lhttpd_arguments: &[&str], tls: bool) -> Result<Target, Failure> {
        let dialect = match self {
            Self::Lhttp => Dialect::Lhttp,
            Self::Nats => Dialect::Nats,
            Self::JetStream => Dialect::JetStream,
            Self::Nchan => Dialect::Nchan,
            Self::Bun => Dialect::Bun,
            Self::Floor => Dialect::Floor,
            Self::Nginx => return bench.start_nginx(),
            Self::Front => return bench.start_front(lhttpd_arguments),
            Self::Plain => return bench.start(Dialect::Lhttp, lhttpd_arguments),
        };
        bench.start_tls(dialect, lhttpd_arguments, tls)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Lhttp => "lhttpd",
            Self::Nats => "nats-server",
            Self::JetStream => "JetStream",
            Self::Nchan => "Nchan",
            Self::Bun => "Bun",
            Self::Floor => "floor",
            Self::Nginx => "nginx",
            Self::Front => "nginx in front",
            Self::Plain => "without TLS",
        })
    }
}

/// The servers that relay messages between connections.
const RELAYS: &[Contender] = &[Lhttp, Nats, Bun, Floor];

/// Does a work on a newly started server.
type Run = Box<dyn Fn(&Bench, Contender) -> Result<Outcome, Failure>>;

/// One work, and its rows of the table.
pub(crate) struct Work {
    /// The name for `--only`.
    pub(crate) group: &'static str,
    /// A unique title.
    pub(crate) title: &'static str,
    /// The servers that can do the work.
    pub(crate) servers: &'static [Contender],
    pub(crate) run: Run,
    pub(crate) rows: Vec<Row>,
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    /// The figure's name in an [`Outcome`].
    pub(crate) figure: &'static str,
    pub(crate) more_is_better: bool,
    /// With several runs, take the best and not the median. This removes the influence of other processes on the
    /// machine.
    pub(crate) best: bool,
    /// How many times better than another server lhttpd should be.
    pub(crate) goals: &'static [(Contender, f64)],
    /// The most that lhttpd's own figure should be.
    pub(crate) at_most: Option<f64>,
    /// The least that lhttpd's own figure should be.
    pub(crate) at_least: Option<f64>,
}

fn less(title: &'static str, figure: &'static str, goals: &'static [(Contender, f64)]) -> Row {
    Row { title, figure, more_is_better: false, best: false, goals, at_most: None, at_least: None }
}

fn more(title: &'static str, figure: &'static str, goals: &'static [(Contender, f64)]) -> Row {
    Row { title, figure, more_is_better: true, best: false, goals, at_most: None, at_least: None }
}

fn best(row: Row) -> Row {
    Row { best: true, ..row }
}

fn at_most(row: Row, limit: f64) -> Row {
    Row { at_most: Some(limit), ..row }
}

/// Every work of the comparison, or of the one with TLS; `quick` makes each a tenth as large.
pub(crate) fn all(quick: bool, tls: bool) -> Vec<Work> {
    let share = if quick { 10 } else { 1 };
    if tls {
        return with_tls::all(share);
    }
    let mut works = broadcasts(share);
    works.extend(latencies(share));
    works.extend(connections(share));
    works.extend(posts(share));
    works.extend(kept::all(share));
    works
}

fn broadcasts(share: usize) -> Vec<Work> {
    let cpu = |goals| less("– server CPU a delivery", "server_ns_per_delivery", goals);
    let burst = |title, write, goals| {
        let args = BurstArgs { n: 10_000 / share, body: 64, rounds: 20 / share, write };
        Work {
            group: "burst",
            title,
            servers: RELAYS,
            run: on_new_server(&[], move |bench, target| broadcast::burst(bench, target, args)),
            rows: vec![less(title, "median_ms", goals), best(less("– the best round", "min_ms", &[])), cpu(&[])],
        }
    };
    let fanout = |title, subs, n, goals| {
        let args = FanoutArgs { subs, n: n / share, body: 64, rounds: 10 / share };
        Work {
            group: "fanout",
            title,
            servers: RELAYS,
            run: on_new_server(&[], move |bench, target| broadcast::fanout(bench, target, args)),
            rows: vec![
                more(title, "deliveries_per_s", goals),
                best(more("– the best round", "best_deliveries_per_s", &[])),
                cpu(&[]),
            ],
        }
    };
    let rooms = RoomsArgs { rooms: 50, members: 20, n: 100 / share, body: 64, rounds: 10 / share };
    vec![
        burst("burst 10,000, large writes", Writes::All, &[(Nats, 4.0), (Bun, 6.0), (Floor, 0.4)]),
        burst("burst 10,000, one write each", Writes::One, &[(Nats, 1.0), (Bun, 1.0), (Floor, 0.9)]),
        fanout("fanout 1→100, 1,000 messages", 100, 1000, &[(Nats, 8.0), (Bun, 4.0), (Floor, 0.6)]),
        fanout("fanout 1→1000, 200 messages", 1000, 200, &[(Nats, 10.0), (Bun, 4.0), (Floor, 0.6)]),
        Work {
            group: "rooms",
            title: "rooms 50×20",
            servers: RELAYS,
            run: on_new_server(&[], move |bench, target| broadcast::rooms(bench, target, rooms)),
            rows: vec![more("rooms 50×20, 100 messages each", "deliveries_per_s", &[]), cpu(&[(Bun, 2.0)])],
        },
    ]
}

fn latencies(share: usize) -> Vec<Work> {
    let cpu = || less("– server CPU a delivery", "server_ns_per_delivery", &[]);
    let rate = RateArgs { subs: 100, rate: 2000, secs: 10.0 / share as f64, body: 64 };
    let mut works = vec![Work {
        group: "rate",
        title: "rate 2,000/s→100",
        servers: RELAYS,
        run: on_new_server(&[], move |bench, target| rate::run(bench, target, rate)),
        rows: vec![
            less("rate 2,000/s→100, p99", "p99_us", &[(Nats, 1.0), (Bun, 1.0)]),
            less("– p50", "p50_us", &[]),
            cpu(),
        ],
    }];
    let ahead: &[_] = &[(Nats, 1.0), (Bun, 1.0), (Floor, 0.9)];
    let titles = [
        (Wait::Spin, "rtt, client polls: p50", "rtt, client polls, lhttpd with --busy-poll 0: p50", ahead),
        (
            Wait::Sleep,
            "rtt, client sleeps: p50",
            "rtt, client sleeps, lhttpd with --busy-poll 0: p50",
            &[(Nats, 2.5), (Bun, 1.0), (Floor, 2.5)],
        ),
    ];
    for (wait, plain, sleepy, goals) in titles {
        let rtt = RttArgs { n: 20_000 / share, body: 64, wait: Some(wait) };
        works.push(Work {
            group: "rtt",
            title: plain,
            servers: RELAYS,
            run: on_new_server(&[], move |bench, target| rtt::run(bench, target, rtt)),
            rows: vec![less(plain, "p50_us", goals), less("– p99", "p99_us", ahead), cpu()],
        });
        works.push(Work {
            group: "rtt",
            title: sleepy,
            servers: &[Lhttp, Floor],
            run: on_new_server(&["--busy-poll", "0"], move |bench, target| rtt::run(bench, target, rtt)),
            rows: vec![less(sleepy, "p50_us", &[]), cpu()],
        });
    }
    works
}

fn connections(share: usize) -> Vec<Work> {
    let idle = IdleArgs { n: 10_000 / share, per_channel: 100, after_use: false, stalled: 1 };
    let memory = less("idle, subscribed, a connection", "bytes_per_connection", &[(Nats, 20.0), (Bun, 4.0)]);
    vec![Work {
        group: "idle",
        title: "idle",
        servers: &[Lhttp, Nats, Bun],
        run: on_new_server(&[], move |bench, target| idle::run(bench, target, idle)),
        rows: vec![
            at_most(memory, 500.0),
            at_most(less("– server CPU a connect", "cpu_us_per_connect", &[]), 45.0),
            more("– connects", "connects_per_s", &[]),
        ],
    }]
}

fn posts(share: usize) -> Vec<Work> {
    let post = |title, pipeline, row: Row| {
        let args = PostArgs { n: 100_000 / share, conns: 32, pipeline, body: 64, rounds: 5, plain_get: None };
        Work {
            group: "post",
            title,
            servers: &[Lhttp, Nginx],
            run: on_new_server(&[], move |bench, target| post::run(bench, target, &args)),
            rows: vec![row, less("– server CPU a request", "server_ns_per_request", &[])],
        }
    };
    let pipelined = more("POST, 16 pipelined", "requests_per_s", &[]);
    vec![
        post("post", 1, more("POST, one at a time", "requests_per_s", &[(Nginx, 1.0)])),
        post("post, pipelined", 16, Row { at_least: Some(150_000.0), ..pipelined }),
    ]
}

/// Starts a server, does the work on it, and ends it.
fn on_new_server(
    lhttpd_arguments: &'static [&'static str],
    work: impl Fn(&Bench, &Target) -> Result<Outcome, Failure> + 'static,
) -> Run {
    Box::new(move |bench, contender| {
        let target = contender.start(bench, lhttpd_arguments, false)?;
        work(bench, &target)
    })
}
