//! The works that `compare` has every server do, and what lhttpd set out to reach in each.

use super::broadcast::{self, BurstArgs, FanoutArgs, RoomsArgs, Writes};
use crate::{
    bench::{Bench, Target},
    dialect::Dialect,
    failure::Failure,
    report::Outcome,
};

const ALL: &[Dialect] = &[Dialect::Lhttp, Dialect::Nats, Dialect::Bun, Dialect::Floor];

/// Does a work on a newly started server.
type Run = Box<dyn Fn(&Bench, Dialect) -> Result<Outcome, Failure>>;

/// One work, and the lines of the table that it gives.
pub(crate) struct Work {
    /// The name that `--only` takes.
    pub(crate) group: &'static str,
    /// Unlike every other work's.
    pub(crate) title: &'static str,
    /// Those that can do it.
    pub(crate) servers: &'static [Dialect],
    pub(crate) run: Run,
    pub(crate) rows: Vec<Row>,
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    /// The figure's name in an [`Outcome`].
    pub(crate) figure: &'static str,
    pub(crate) more_is_better: bool,
    /// How many times better than another server lhttpd is to be.
    pub(crate) goals: &'static [(Dialect, f64)],
    /// What lhttpd's own figure is not to exceed.
    pub(crate) at_most: Option<f64>,
}

fn less(title: &'static str, figure: &'static str, goals: &'static [(Dialect, f64)]) -> Row {
    Row { title, figure, more_is_better: false, goals, at_most: None }
}

fn more(title: &'static str, figure: &'static str, goals: &'static [(Dialect, f64)]) -> Row {
    Row { title, figure, more_is_better: true, goals, at_most: None }
}

fn at_most(row: Row, limit: f64) -> Row {
    Row { at_most: Some(limit), ..row }
}

/// Every work of the comparison; `quick` makes each a tenth.
pub(crate) fn all(quick: bool) -> Vec<Work> {
    let share = if quick { 10 } else { 1 };
    let burst = move |write| BurstArgs { n: 10_000 / share, body: 64, rounds: 20 / share, write };
    let fanout = move |subs, n| FanoutArgs { subs, n: n / share, body: 64, rounds: 10 / share };
    let rooms = RoomsArgs { rooms: 50, members: 20, n: 100 / share, body: 64, rounds: 10 / share };
    use Dialect::{Bun, Floor, Nats};
    vec![
        Work {
            group: "burst",
            title: "burst 10,000, large writes",
            servers: ALL,
            run: on_new_server(&[], move |bench, target| broadcast::burst(bench, target, burst(Writes::All))),
            rows: vec![
                less("burst 10,000, large writes", "median_ms", &[(Nats, 4.0), (Bun, 6.0), (Floor, 0.4)]),
                less("– server CPU a delivery", "server_ns_per_delivery", &[]),
            ],
        },
        Work {
            group: "burst",
            title: "burst 10,000, one write each",
            servers: ALL,
            run: on_new_server(&[], move |bench, target| broadcast::burst(bench, target, burst(Writes::One))),
            rows: vec![
                less("burst 10,000, one write each", "median_ms", &[(Nats, 1.0), (Bun, 1.0), (Floor, 0.9)]),
                less("– server CPU a delivery", "server_ns_per_delivery", &[]),
            ],
        },
        Work {
            group: "fanout",
            title: "fanout 1→100, 1,000 messages",
            servers: ALL,
            run: on_new_server(&[], move |bench, target| broadcast::fanout(bench, target, fanout(100, 1000))),
            rows: vec![
                more("fanout 1→100, 1,000 messages", "deliveries_per_s", &[(Nats, 8.0), (Bun, 4.0), (Floor, 0.6)]),
                less("– server CPU a delivery", "server_ns_per_delivery", &[]),
            ],
        },
        Work {
            group: "fanout",
            title: "fanout 1→1000, 200 messages",
            servers: ALL,
            run: on_new_server(&[], move |bench, target| broadcast::fanout(bench, target, fanout(1000, 200))),
            rows: vec![
                more("fanout 1→1000, 200 messages", "deliveries_per_s", &[(Nats, 10.0), (Bun, 4.0), (Floor, 0.6)]),
                less("– server CPU a delivery", "server_ns_per_delivery", &[]),
            ],
        },
        Work {
            group: "rooms",
            title: "rooms 50×20",
            servers: ALL,
            run: on_new_server(&[], move |bench, target| broadcast::rooms(bench, target, rooms)),
            rows: vec![
                more("rooms 50×20", "deliveries_per_s", &[]),
                less("– server CPU a delivery", "server_ns_per_delivery", &[(Bun, 2.0)]),
            ],
        },
    ]
}

/// Starts a server, does the work on it, ends it.
fn on_new_server(
    lhttpd_arguments: &'static [&'static str],
    work: impl Fn(&Bench, &Target) -> Result<Outcome, Failure> + 'static,
) -> Run {
    Box::new(move |bench, dialect| {
        let target = bench.start(dialect, lhttpd_arguments)?;
        work(bench, &target)
    })
}
