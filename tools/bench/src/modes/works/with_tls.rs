//! The works of `compare --tls`. Goals against the column *without TLS* say how much more TLS may cost.

use super::{
    Contender::{Bun, Front, Lhttp, Nats, Plain},
    Row, Work, at_most, best, less, more,
};
use crate::{
    bench::{self, Bench, Target},
    failure::Failure,
    modes::{
        broadcast::{self, BurstArgs, FanoutArgs, RoomsArgs, Writes},
        comeback::{self, ComebackArgs},
        idle::{self, IdleArgs},
        rate::{self, RateArgs},
        slow::{self, SlowArgs},
    },
    report::Outcome,
};

/// The servers that relay messages between connections.
const RELAYS: &[super::Contender] = &[Lhttp, Nats, Bun, Front, Plain];

/// nginx opens two files for each client, so it has fewer clients.
const FRONT_IDLE: usize = 9000;

type Goals = &'static [(super::Contender, f64)];

/// Every work; `share` makes each smaller by that factor.
pub(super) fn all(share: usize) -> Vec<Work> {
    let mut works = broadcasts(share);
    works.push(one_a_turn(share));
    works.extend([idle(share), stalled(share), storm(share)]);
    works
}

fn cpu(goals: Goals) -> Row {
    less("– server CPU a delivery", "server_ns_per_delivery", goals)
}

fn broadcasts(share: usize) -> Vec<Work> {
    let burst = |title, write| {
        let args = BurstArgs { n: 10_000 / share, body: 64, rounds: 20 / share, write };
        Work {
            group: "burst",
            title,
            servers: RELAYS,
            run: over_tls(move |bench, target| broadcast::burst(bench, target, args)),
            rows: vec![less(title, "median_ms", &[]), best(less("– the best round", "min_ms", &[])), cpu(&[])],
        }
    };
    let fanout = |title, subs, n, body, goals| {
        let args = FanoutArgs { subs, n: n / share, body, rounds: 10 / share };
        Work {
            group: "fanout",
            title,
            servers: RELAYS,
            run: over_tls(move |bench, target| broadcast::fanout(bench, target, args)),
            rows: vec![more(title, "deliveries_per_s", &[]), cpu(goals)],
        }
    };
    let rooms = RoomsArgs { rooms: 50, members: 20, n: 100 / share, body: 64, rounds: 10 / share };
    vec![
        burst("burst 10,000, large writes", Writes::All),
        burst("burst 10,000, one write each", Writes::One),
        fanout(
            "fanout 1→100, 1,000 messages",
            100,
            1000,
            64,
            &[(Plain, 1.0 / 2.3), (Bun, 4.0), (Nats, 8.0), (Front, 6.0)],
        ),
        fanout(
            "fanout 1→1000, 200 messages",
            1000,
            200,
            64,
            &[(Plain, 1.0 / 1.6), (Bun, 4.0), (Nats, 9.0), (Front, 6.0)],
        ),
        fanout("fanout 1→100, 1,000 of 1 KB", 100, 1000, 1000, &[]),
        Work {
            group: "rooms",
            title: "rooms 50×20",
            servers: RELAYS,
            run: over_tls(move |bench, target| broadcast::rooms(bench, target, rooms)),
            rows: vec![more("rooms 50×20, 100 messages each", "deliveries_per_s", &[]), cpu(&[])],
        },
    ]
}

/// Messages that come one by one, so that each is a record of its own for each subscriber.
fn one_a_turn(share: usize) -> Work {
    let args = RateArgs { subs: 100, rate: 1000, secs: 10.0 / share as f64, body: 64 };
    Work {
        group: "rate",
        title: "rate 1,000/s→100",
        servers: RELAYS,
        run: over_tls(move |bench, target| rate::run(bench, target, args)),
        rows: vec![less("rate 1,000/s→100, p99", "p99_us", &[]), less("– p50", "p50_us", &[]), cpu(&[])],
    }
}

fn idle(share: usize) -> Work {
    let args = IdleArgs { n: 10_000 / share, per_channel: 100, after_use: true, stalled: 300 };
    let memory = |title, figure| at_most(less(title, figure, &[]), 450.0);
    Work {
        group: "idle",
        title: "idle",
        servers: RELAYS,
        run: Box::new(move |bench, contender| {
            let n = if contender == Front { FRONT_IDLE.min(bench::descriptors()? / 2 - 500) / share } else { args.n };
            let target = contender.start(bench, &[], true)?;
            // nats-server closes a connection that takes nothing for 10 s.
            let after_use = contender != Nats;
            idle::run(bench, &target, IdleArgs { n, after_use, ..args })
        }),
        rows: vec![
            memory("idle, subscribed, a connection", "bytes_per_connection"),
            memory("– after 16 KiB each way", "used_bytes_per_connection"),
            memory("– after 300 have stalled", "stalled_bytes_per_connection"),
            less("– server CPU a connect", "cpu_us_per_connect", &[]),
        ],
    }
}

fn stalled(share: usize) -> Work {
    let args = SlowArgs { stalled: 300, healthy: 3, mb: 20 / share, body: 1000 };
    Work {
        group: "slow",
        title: "300 readers stall, 20 MB",
        servers: &[Lhttp, Plain],
        run: over_tls(move |bench, target| slow::measure(bench, target, args)),
        rows: vec![
            less("300 readers stall, 20 MB: resident at most", "rss_peak_bytes", &[(Plain, 1.0 / 1.1)]),
            less("– of which by the stall", "rss_growth_peak_bytes", &[]),
        ],
    }
}

fn storm(share: usize) -> Work {
    let args = ComebackArgs {
        clients: 19_500 / share,
        per_channel: 100,
        at_once: 3000,
        subs: 10,
        rate: 500,
        secs: 3.0 / share as f64,
    };
    Work {
        group: "comeback",
        title: "19,500 come back at once",
        servers: &[Lhttp, Nats, Bun, Plain],
        run: over_tls(move |bench, target| comeback::run(bench, target, args)),
        rows: vec![
            at_most(less("19,500 come back at once: server CPU", "cpu_ms", &[]), 3500.0),
            at_most(less("– a chat's p99 beside it", "p99_us", &[]), 15_000.0),
            less("– max", "max_us", &[]),
            at_most(less("– with tickets: server CPU", "resumed_cpu_ms", &[]), 3500.0),
            at_most(less("– – the chat's p99", "resumed_p99_us", &[]), 15_000.0),
        ],
    }
}

/// Starts a server with TLS, unless it is the one without, does the work on it, and ends it.
fn over_tls(work: impl Fn(&Bench, &Target) -> Result<Outcome, Failure> + 'static) -> super::Run {
    Box::new(move |bench, contender| {
        let target = contender.start(bench, &[], true)?;
        work(bench, &target)
    })
}
